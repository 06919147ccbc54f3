//! Exact exchange rates.

use std::fmt;

/// Digits that a decimal has at most.
pub const DIGITS_MAX: u8 = 18;

/// How much one unit of a currency is worth in the base: `unscaled / 10^scale`.
///
/// Greater than 0, without trailing zeros in its fraction, at most 18 digits, scale at most 18.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    unscaled: u64,
    scale: u8,
}

impl Rate {
    /// The rate of the base itself.
    pub const ONE: Self = Self {
        unscaled: 1,
        scale: 0,
    };

    /// The rate × 10^[`scale`](Self::scale).
    #[must_use]
    pub fn unscaled(self) -> u64 {
        self.unscaled
    }

    /// Digits after the point.
    #[must_use]
    pub fn scale(self) -> u8 {
        self.scale
    }

    /// Reads `digits[.digits][e[±]digits]`.
    ///
    /// # Errors
    ///
    /// When it is no such number, is not greater than 0, or needs more than 18 digits.
    pub fn parse(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{text}` is no decimal number");
        let too_long = || format!("a rate has at most {DIGITS_MAX} digits: `{text}`");

        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                (mantissa, exponent.parse::<i16>().map_err(|_| malformed())?)
            }
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(malformed());
        }

        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_end_matches('0');
        let scale =
            fraction.len() as i64 - (digits.len() - significant.len()) as i64 - i64::from(exponent);
        let significant = significant.trim_start_matches('0');
        if significant.is_empty() {
            return Err("a rate is greater than 0".to_owned());
        }
        let zeros = u32::try_from(-scale).unwrap_or(0);
        if significant.len() as i64 + i64::from(zeros) > i64::from(DIGITS_MAX)
            || scale > i64::from(DIGITS_MAX)
        {
            return Err(too_long());
        }
        let unscaled: u64 = significant.parse().map_err(|_| malformed())?;
        Ok(Self {
            unscaled: unscaled * 10_u64.pow(zeros),
            scale: scale.max(0) as u8,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divisor = 10_u64.pow(u32::from(self.scale));
        write!(f, "{}", self.unscaled / divisor)?;
        if self.scale > 0 {
            let width = usize::from(self.scale);
            write!(f, ".{:0width$}", self.unscaled % divisor)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn reads_as(text: &str) -> String {
        Rate::parse(text).unwrap().to_string()
    }

    #[test]
    fn a_rate_keeps_every_digit() {
        assert_eq!(reads_as("1.08"), "1.08");
        assert_eq!(reads_as("0.000000000000000001"), "0.000000000000000001");
        assert_eq!(reads_as("999999999999999999"), "999999999999999999");
        assert_eq!(reads_as("123456789.123456789"), "123456789.123456789");
    }

    #[test]
    fn zeros_that_mean_nothing_are_dropped() {
        assert_eq!(reads_as("001.0800"), "1.08");
        assert_eq!(reads_as("100"), "100");
        assert_eq!(Rate::parse("1.000"), Ok(Rate::ONE));
        assert_eq!(reads_as(&format!("1.{}", "0".repeat(300))), "1");
    }

    #[test]
    fn exponents_move_the_point() {
        assert_eq!(reads_as("6.5e-3"), "0.0065");
        assert_eq!(reads_as("1.5E+2"), "150");
        assert_eq!(reads_as("25e16"), "250000000000000000");
    }

    #[test]
    fn nineteen_digits_are_too_many() {
        for text in [
            "1000000000000000000",
            "1.000000000000000001",
            "0.0000000000000000001",
            "1e18",
            "1e32767",
            "1e-19",
        ] {
            let error = Rate::parse(text).unwrap_err();
            assert!(
                error.starts_with("a rate has at most 18 digits"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn zero_is_no_rate() {
        for text in ["0", "0.00", "0e9"] {
            assert_eq!(
                Rate::parse(text),
                Err("a rate is greater than 0".to_owned())
            );
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", ".", "1.", ".5", "-1", "+1", "1,08", "1.0.8", "1e", "e1", "1e99999", " 1", "1_0",
            "١",
        ] {
            assert_eq!(
                Rate::parse(text),
                Err(format!("`{text}` is no decimal number"))
            );
        }
    }

    proptest! {
        #[test]
        fn a_rate_reads_back_from_its_own_text(unscaled in 1_u64..1_000_000_000_000_000_000, scale in 0_usize..=18) {
            let digits = format!("{unscaled:0width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let text = if scale == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") };
            let rate = Rate::parse(&text).unwrap();
            prop_assert_eq!(Rate::parse(&rate.to_string()), Ok(rate));
            // The same number: unscaled / 10^scale, compared crosswise.
            prop_assert_eq!(
                u128::from(rate.unscaled()) * 10_u128.pow(scale as u32),
                u128::from(unscaled) * 10_u128.pow(u32::from(rate.scale()))
            );
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = Rate::parse(&text);
        }

        #[test]
        fn no_digits_make_the_parser_panic(text in "[0-9.eE+-]{0,40}") {
            let _ = Rate::parse(&text);
        }
    }
}
