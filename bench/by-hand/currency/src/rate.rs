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
