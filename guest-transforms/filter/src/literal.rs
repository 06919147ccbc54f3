//! Literals → values of the type of what they stand beside.

use wasmill_guest::{Date, Timestamp};

const DAY_MICROS: i64 = 86_400_000_000;

/// Digits of an exact literal, before and after the point together.
const DIGITS_MAX: usize = 36;

/// An exact number: the value is `unscaled / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exact {
    pub(crate) unscaled: i128,
    pub(crate) scale: u32,
}

impl Exact {
    /// Reads `digits[.digits]`; zeros at the end of the fraction are dropped.
    ///
    /// # Errors
    ///
    /// When it has too many digits.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let (whole, fraction) = (
            whole.trim_start_matches('0'),
            fraction.trim_end_matches('0'),
        );
        if whole.len() + fraction.len() > DIGITS_MAX {
            return Err(format!("a number has at most {DIGITS_MAX} digits"));
        }
        let unscaled = (whole.bytes().chain(fraction.bytes()))
            .fold(0, |value, digit| value * 10 + i128::from(digit - b'0'));
        let scale = fraction.len() as u32;
        Ok(Self { unscaled, scale })
    }

    /// The greatest unscaled integer of another scale that is not above it, and whether it is the
    /// same number. What does not fit is cut to the ends of `i64`, where no column value lies beyond.
    pub(crate) fn floor(self, scale: u32) -> (i128, bool) {
        if scale >= self.scale {
            let factor = 10_i128.pow(scale - self.scale);
            (self.unscaled.saturating_mul(factor), true)
        } else {
            let divisor = 10_i128.pow(self.scale - scale);
            let exact = self.unscaled % divisor == 0;
            (self.unscaled.div_euclid(divisor), exact)
        }
    }
}

/// µs since 1970 of `2024-02-29T10:00:00Z`, perhaps with a fraction, a space instead of the `T` and
/// without the `Z`, always in UTC; or of `2024-02-29`, which is midnight.
pub(crate) fn timestamp(text: &str) -> Result<i64, String> {
    if let Ok(date) = text.parse::<Date>() {
        return Ok(i64::from(date.days()) * DAY_MICROS);
    }
    let time: Result<Timestamp, _> = text.replacen(' ', "T", 1).parse();
    time.map(Timestamp::micros)
        .map_err(|_| format!("`{text}` is no time such as 2024-02-29 or 2024-02-29T10:00:00Z"))
}

/// Days since 1970 of `2024-02-29`.
pub(crate) fn date(text: &str) -> Result<i64, String> {
    let date: Result<Date, _> = text.parse();
    date.map(|date| date.days().into())
        .map_err(|_| format!("`{text}` is no date such as 2024-02-29"))
}

/// The bytes that pairs of hexadecimal digits stand for.
pub(crate) fn binary(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.as_bytes();
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    (digits.chunks(2))
        .map(|pair| match *pair {
            [high, low] => Some((nibble(high)? * 16 + nibble(low)?) as u8),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or_else(|| format!("`{text}` is no even number of hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(unscaled: i128, scale: u32) -> Exact {
        Exact { unscaled, scale }
    }

    #[test]
    fn a_number_keeps_its_digits() {
        assert_eq!(Exact::parse("100"), Ok(exact(100, 0)));
        assert_eq!(Exact::parse("007.250"), Ok(exact(725, 2)));
        assert_eq!(Exact::parse("0.0"), Ok(exact(0, 0)));
        assert!(Exact::parse(&"9".repeat(36)).is_ok());
        assert!(Exact::parse(&"9".repeat(37)).is_err());
    }

    #[test]
    fn a_number_is_found_between_those_of_a_column() {
        assert_eq!(exact(100, 0).floor(2), (10_000, true));
        assert_eq!(exact(100_555, 3).floor(2), (10_055, false));
        assert_eq!(exact(-100_555, 3).floor(2), (-10_056, false));
        assert_eq!(exact(10_i128.pow(35), 0).floor(18), (i128::MAX, true));
    }

    #[test]
    fn a_time_is_read_in_the_forms_of_records() {
        let hour = 3_600_000_000;
        let leap_day = 1_709_164_800_000_000;
        for (text, micros) in [
            ("2024-02-29", leap_day),
            ("2024-02-29T10:00:00Z", leap_day + 10 * hour),
            ("2024-02-29 10:00:00", leap_day + 10 * hour),
            ("2024-02-29T10:00:00.000001", leap_day + 10 * hour + 1),
        ] {
            assert_eq!(timestamp(text), Ok(micros), "{text}");
        }
        for text in ["2023-02-29", "yesterday", "2024-02-29T25:00:00Z", ""] {
            assert!(timestamp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_date_is_a_day() {
        assert_eq!(date("1970-01-01"), Ok(0));
        assert_eq!(date("2024-02-29"), Ok(19_782));
        assert!(date("2024-02-29T10:00:00Z").is_err());
    }

    #[test]
    fn bytes_are_pairs_of_hexadecimal_digits() {
        assert_eq!(binary("00fF"), Ok(vec![0, 255]));
        assert!(binary("0").is_err());
        assert!(binary("0g").is_err());
    }
}
