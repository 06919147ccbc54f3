//! Exact numbers from their JSON text: what the producer wrote counts, never its nearest float.
//!
//! The grammar is that of JSON numbers, also where a decimal stands in a string.

use thiserror::Error;

use crate::schema::DECIMAL_DIGITS;

/// The greatest unscaled value of a decimal.
pub(super) const UNSCALED_MAX: u64 = POWERS[DECIMAL_DIGITS as usize] - 1;

/// 10^0 to 10^19.
pub(super) const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut i = 1;
    while i < 20 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Why a text is no value of a numeric type. Reads on after the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum NumberError {
    /// Not JSON's grammar.
    #[error("is not a number")]
    Form,
    /// Only for integers; decimals are rounded.
    #[error("has a fraction")]
    Fraction,
    /// Too great, or too far below zero.
    #[error("is out of range")]
    OutOfRange,
}

/// A JSON number, taken apart: ±`whole`.`fraction` × 10^`exponent`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'t> {
    /// as it was written, ASCII
    pub(super) text: &'t [u8],
    negative: bool,
    /// digits, at least one
    whole: &'t [u8],
    /// digits
    fraction: &'t [u8],
    /// all digits as one number, if there are at most 18
    digits: u64,
    /// as written, or `i64::MIN` or `i64::MAX` where it is beyond
    exponent: i64,
}

/// What lies behind the last digit that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    None,
    BelowHalf,
    Half,
    AboveHalf,
}

impl<'t> Number<'t> {
    /// The number that is this text, and nothing else.
    pub(super) fn whole_text(text: &'t [u8]) -> Result<Self, NumberError> {
        Self::at_start(text)
            .filter(|number| number.text.len() == text.len())
            .ok_or(NumberError::Form)
    }

    /// The longest number that the text begins with.
    #[inline]
    pub(super) fn at_start(text: &'t [u8]) -> Option<Self> {
        let negative = text.first() == Some(&b'-');
        let (whole, mut rest, mut all) = digits(&text[usize::from(negative)..], 0);
        if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
            return None;
        }
        let mut fraction = &[][..];
        if let [b'.', after @ ..] = rest {
            (fraction, rest, all) = digits(after, all);
            if fraction.is_empty() {
                return None;
            }
        }
        let mut exponent = 0;
        if let [b'e' | b'E', after @ ..] = rest {
            (exponent, rest) = power(after)?;
        }
        Some(Self {
            text: &text[..text.len() - rest.len()],
            negative,
            whole,
            fraction,
            digits: all,
            exponent,
        })
    }

    /// The value times 10^`scale`, rounded half to even; at most 18 digits.
    pub(super) fn decimal(&self, scale: u8) -> Result<i64, NumberError> {
        let (whole, rest) = self.scaled(scale)?;
        let up = match rest {
            Rest::None | Rest::BelowHalf => false,
            Rest::Half => whole % 2 == 1,
            Rest::AboveHalf => true,
        };
        let magnitude = whole.saturating_add(u64::from(up));
        if magnitude > UNSCALED_MAX {
            return Err(NumberError::OutOfRange);
        }
        let magnitude = magnitude.cast_signed();
        Ok(if self.negative { -magnitude } else { magnitude })
    }

    /// The value, which must be whole: `5`, `5.0` and `0.5e1` are, `5.5` is not.
    pub(super) fn integer(&self) -> Result<i64, NumberError> {
        let (magnitude, rest) = self.scaled(0)?;
        if rest != Rest::None {
            return Err(NumberError::Fraction);
        }
        let value = if self.negative {
            0_i64.checked_sub_unsigned(magnitude)
        } else {
            0_i64.checked_add_unsigned(magnitude)
        };
        value.ok_or(NumberError::OutOfRange)
    }

    /// The nearest float, which must be finite.
    pub(super) fn float(&self) -> Result<f64, NumberError> {
        let text = str::from_utf8(self.text).map_err(|_| NumberError::Form)?;
        let value: f64 = text.parse().map_err(|_| NumberError::Form)?;
        if value.is_finite() {
            Ok(value)
        } else {
            Err(NumberError::OutOfRange)
        }
    }

    /// The whole part of |value| × 10^`scale`, and what is behind it.
    fn scaled(&self, scale: u8) -> Result<(u64, Rest), NumberError> {
        let length = self.whole.len() + self.fraction.len();
        if self.exponent == 0 && length <= 18 {
            return self.scaled_short(scale);
        }
        // How many of all digits stand before the point once the value is scaled.
        let before_point = (self.whole.len() as i64)
            .saturating_add(self.exponent)
            .saturating_add(i64::from(scale));
        let split = usize::try_from(before_point).unwrap_or(0).min(length);
        let mut digits = self.whole.iter().chain(self.fraction).map(|d| d - b'0');
        let whole = digits.by_ref().take(split).try_fold(0_u64, |whole, digit| {
            whole.checked_mul(10)?.checked_add(u64::from(digit))
        });
        let whole = whole.ok_or(NumberError::OutOfRange)?;
        // Digits run out before the point: zeros follow.
        let zeros = usize::try_from(before_point).map_or(0, |count| count - split);
        let whole = match whole {
            0 => 0,
            _ => POWERS
                .get(zeros)
                .and_then(|power| whole.checked_mul(*power))
                .ok_or(NumberError::OutOfRange)?,
        };
        // Zeros between the point and the first digit.
        let first = if before_point < 0 {
            0
        } else {
            digits.next().unwrap_or(0)
        };
        let others = digits.any(|digit| digit != 0);
        let rest = match (first, others) {
            (0, false) => Rest::None,
            (0..5, _) => Rest::BelowHalf,
            (5, false) => Rest::Half,
            _ => Rest::AboveHalf,
        };
        Ok((whole, rest))
    }

    /// The same for at most 18 digits and no exponent, which is what producers write.
    fn scaled_short(&self, scale: u8) -> Result<(u64, Rest), NumberError> {
        let all = self.digits;
        let (have, want) = (self.fraction.len(), usize::from(scale));
        if have <= want {
            let whole = all.checked_mul(POWERS[want - have]);
            return Ok((whole.ok_or(NumberError::OutOfRange)?, Rest::None));
        }
        let power = POWERS[have - want];
        let rest = match (all % power).cmp(&(power / 2)) {
            _ if all.is_multiple_of(power) => Rest::None,
            std::cmp::Ordering::Less => Rest::BelowHalf,
            std::cmp::Ordering::Equal => Rest::Half,
            std::cmp::Ordering::Greater => Rest::AboveHalf,
        };
        Ok((all / power, rest))
    }
}

/// The digits that a text begins with, what follows, and the digits appended to those of `before`;
/// nonsense where that is beyond a `u64`.
#[inline]
fn digits(text: &[u8], before: u64) -> (&[u8], &[u8], u64) {
    let (mut all, mut count) = (before, 0);
    while let Some(digit @ b'0'..=b'9') = text.get(count) {
        all = all.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        count += 1;
    }
    let (digits, rest) = text.split_at(count);
    (digits, rest, all)
}

/// The number after `e`, and what follows.
fn power(text: &[u8]) -> Option<(i64, &[u8])> {
    let (negative, text) = match text {
        [b'-', text @ ..] => (true, text),
        [b'+', text @ ..] | text => (false, text),
    };
    let (digits, rest, _) = digits(text, 0);
    if digits.is_empty() {
        return None;
    }
    let exponent = digits.iter().fold(0_i64, |exponent, digit| {
        let digit = i64::from(digit - b'0');
        let next = exponent.saturating_mul(10);
        if negative {
            next.saturating_sub(digit)
        } else {
            next.saturating_add(digit)
        }
    });
    Some((exponent, rest))
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str, scale: u8) -> Result<i64, NumberError> {
        Number::whole_text(text.as_bytes())?.decimal(scale)
    }

    fn integer(text: &str) -> Result<i64, NumberError> {
        Number::whole_text(text.as_bytes())?.integer()
    }

    fn float(text: &str) -> Result<f64, NumberError> {
        Number::whole_text(text.as_bytes())?.float()
    }

    #[test]
    fn long_tails_of_floats_become_cents() {
        assert_eq!(decimal("2961.8999999999996", 2), Ok(296_190));
        assert_eq!(decimal("1008.8100000000001", 2), Ok(100_881));
        assert_eq!(decimal("159.34", 2), Ok(15_934));
        assert_eq!(decimal("445.1", 2), Ok(44_510));
        assert_eq!(decimal("0.1", 18), Ok(100_000_000_000_000_000));
    }

    #[test]
    fn a_half_goes_to_the_even_neighbour() {
        assert_eq!(decimal("0.125", 2), Ok(12));
        assert_eq!(decimal("0.135", 2), Ok(14));
        assert_eq!(decimal("-0.125", 2), Ok(-12));
        assert_eq!(decimal("0.1250000000000000000000000001", 2), Ok(13));
        assert_eq!(decimal("0.1249999999999999999999999999", 2), Ok(12));
        assert_eq!(decimal("0.5", 0), Ok(0));
        assert_eq!(decimal("5e-1", 0), Ok(0));
        assert_eq!(decimal("15e-1", 0), Ok(2));
        assert_eq!(decimal("0.05", 0), Ok(0));
        assert_eq!(decimal("99e-3", 0), Ok(0));
        assert_eq!(decimal("-0.001", 2), Ok(0));
    }

    #[test]
    fn nineteen_digits_of_result_are_out_of_range() {
        let out = Err(NumberError::OutOfRange);
        assert_eq!(
            decimal("9999999999999999.99", 2),
            Ok(999_999_999_999_999_999)
        );
        assert_eq!(
            decimal("9999999999999999.994", 2),
            Ok(999_999_999_999_999_999)
        );
        assert_eq!(decimal("9999999999999999.995", 2), out);
        assert_eq!(decimal("10000000000000000", 2), out);
        assert_eq!(decimal("1e16", 2), out);
        assert_eq!(decimal("1e400", 2), out);
        assert_eq!(decimal("1e99999999999999999999", 2), out);
        assert_eq!(decimal("0e99999999999999999999", 2), Ok(0));
        assert_eq!(decimal("1e-99999999999999999999", 2), Ok(0));
        assert_eq!(decimal("-1e18", 0), out);
    }

    #[test]
    fn a_whole_number_may_be_written_with_point_or_exponent() {
        for text in ["5", "5.0", "0.5e1", "50e-1", "5.000000000000000000000000"] {
            assert_eq!(integer(text), Ok(5), "{text}");
        }
        assert_eq!(integer("-0"), Ok(0));
        assert_eq!(integer("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(integer("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer("9223372036854775808"), Err(NumberError::OutOfRange));
        assert_eq!(integer("9007199254740993.0"), Ok(9_007_199_254_740_993));
        assert_eq!(integer("5.5"), Err(NumberError::Fraction));
        assert_eq!(
            integer("5.00000000000000000000000001"),
            Err(NumberError::Fraction)
        );
        assert_eq!(integer("1e-1"), Err(NumberError::Fraction));
    }

    #[test]
    fn a_float_is_finite() {
        assert_eq!(float("0.1"), Ok(0.1));
        assert_eq!(float("1e308"), Ok(1e308));
        assert_eq!(float("1e309"), Err(NumberError::OutOfRange));
        assert_eq!(float("inf"), Err(NumberError::Form));
    }

    #[test]
    fn what_json_does_not_call_a_number_is_none() {
        for text in [
            "", "-", "+1", "01", "1.", ".5", "1.e3", "1e", "1e+", "1e1.5", "1_0", "0x10", " 1",
            "1 ", "NaN", "Infinity", "١", "1.5.", "--1", "1-",
        ] {
            assert_eq!(decimal(text, 2), Err(NumberError::Form), "{text}");
            assert_eq!(integer(text), Err(NumberError::Form), "{text}");
            assert_eq!(float(text), Err(NumberError::Form), "{text}");
        }
    }

    /// |value| × 10^scale by writing the digits out: whole digits, and digits behind the point.
    fn written_out(whole: &str, fraction: &str, exponent: i32, scale: u8) -> (String, String) {
        let shift = exponent + i32::from(scale);
        let mut before = whole.to_owned();
        let mut behind = fraction.to_owned();
        for _ in 0..shift.max(0) {
            before.push(if behind.is_empty() {
                '0'
            } else {
                behind.remove(0)
            });
        }
        for _ in 0..(-shift).max(0) {
            behind.insert(0, before.pop().unwrap_or('0'));
        }
        (before.trim_start_matches('0').to_owned(), behind)
    }

    fn expected(whole: &str, fraction: &str, exponent: i32, scale: u8) -> Option<i64> {
        let (before, behind) = written_out(whole, fraction, exponent, scale);
        if before.len() > 18 {
            return None;
        }
        let mut value = if before.is_empty() {
            0
        } else {
            before.parse::<i64>().unwrap()
        };
        // Compared as texts of one length: 5000…
        let half = format!("5{}", "0".repeat(behind.len().max(1) - 1));
        let up = match behind.as_str().cmp(&half) {
            _ if behind.is_empty() => false,
            Ordering::Less => false,
            Ordering::Equal => value % 2 == 1,
            Ordering::Greater => true,
        };
        value += i64::from(up);
        (value < 1_000_000_000_000_000_000).then_some(value)
    }

    proptest! {
        #[test]
        fn decimals_equal_digits_written_out(
            negative: bool,
            whole in "0|[1-9][0-9]{0,24}",
            fraction in "[0-9]{0,30}|[0-9]{1,4}50{0,20}|[0-9]{0,3}49{0,20}",
            exponent in prop_oneof![2 => Just(0), 1 => -40_i32..40],
            scale in 0_u8..=18,
        ) {
            let mut text = format!("{}{whole}", if negative { "-" } else { "" });
            if !fraction.is_empty() {
                text = format!("{text}.{fraction}");
            }
            if exponent != 0 {
                text = format!("{text}e{exponent}");
            }
            let expected = expected(&whole, &fraction, exponent, scale)
                .map(|value| if negative { -value } else { value });
            prop_assert_eq!(decimal(&text, scale).ok(), expected, "{} at scale {}", text, scale);
        }

        #[test]
        fn an_integer_equals_std(value: i64) {
            prop_assert_eq!(integer(&value.to_string()), Ok(value));
            prop_assert_eq!(integer(&format!("{value}.000")), Ok(value));
        }

        #[test]
        fn a_float_reads_back(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
            prop_assert_eq!(float(&format!("{value:e}")), Ok(value));
        }

        #[test]
        fn a_text_is_a_number_exactly_if_serde_json_says_so(text in "[-+]?[0-9.eE+-]{0,8}") {
            let ours = Number::whole_text(text.as_bytes()).is_ok();
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }
}
