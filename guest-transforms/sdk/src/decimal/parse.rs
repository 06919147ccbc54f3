//! Text to decimal, digit by digit: what goes through a float is no longer what was written.

use std::error::Error;
use std::fmt;

use super::arithmetic::POWERS;
use super::{DIGITS_MAX, SCALE_MAX};

/// Why a text cannot be read as a decimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseDecimalError {
    /// It is no number as JSON has them.
    Malformed(String),
    /// It needs more than 18 digits.
    TooLong(String),
    /// It has more digits after the point than the type's scale.
    TooFine {
        /// what was to be read
        text: String,
        /// digits after the point that there may be
        scale: u8,
    },
}

impl fmt::Display for ParseDecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) => write!(f, "`{text}` is no decimal number"),
            Self::TooLong(text) => {
                write!(f, "a decimal has at most {DIGITS_MAX} digits: `{text}`")
            }
            Self::TooFine { text, scale } => {
                write!(f, "`{text}` has more than {scale} digits after the point")
            }
        }
    }
}

impl Error for ParseDecimalError {}

/// Reads `[-]digits[.digits][e[±]digits]` into the unscaled number and the smallest scale that holds it.
pub(super) fn parse(text: &str) -> Result<(i64, u8), ParseDecimalError> {
    let malformed = || ParseDecimalError::Malformed(text.to_owned());
    let too_long = || ParseDecimalError::TooLong(text.to_owned());

    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, text),
    };
    let (mantissa, exponent) = match magnitude.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().map_err(|_| malformed())?),
        None => (magnitude, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return Err(malformed());
    }

    let mut significand = 0_u64;
    let mut digits = 0;
    let mut zeros = 0;
    for digit in whole.bytes().chain(fraction.bytes()).map(|b| b - b'0') {
        if digit == 0 {
            zeros += usize::from(significand > 0);
            continue;
        }
        digits += zeros + 1;
        if digits > usize::from(DIGITS_MAX) {
            return Err(too_long());
        }
        significand = significand * POWERS[zeros + 1] + u64::from(digit);
        zeros = 0;
    }
    if significand == 0 {
        return Ok((0, 0));
    }

    let scale = fraction.len() as i64 - zeros as i64 - i64::from(exponent);
    let more_zeros = usize::try_from(-scale).unwrap_or(0);
    if digits + more_zeros > usize::from(DIGITS_MAX) || scale > i64::from(SCALE_MAX) {
        return Err(too_long());
    }
    let unscaled = (significand * POWERS[more_zeros]).cast_signed();
    let unscaled = if negative { -unscaled } else { unscaled };
    Ok((unscaled, scale.max(0) as u8))
}
