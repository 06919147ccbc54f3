//! The numbers that producers mostly write, without a loop over their digits.
//!
//! # Invariants
//!
//! A number that is read here is what [`Number`](super::number::Number) makes of the same text. Any
//! other one is left to that, with what is to be said about it.

use super::number::{POWERS, UNSCALED_MAX};
use super::scan::{Chunk, chunk, non_digits, number};

/// A number of at most seven digits before the point and seven behind, without an exponent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Short {
    negative: bool,
    /// all its digits as one number
    digits: u64,
    /// how many of them are behind the point
    places: usize,
    /// bytes that it takes
    pub(super) length: usize,
}

impl Short {
    /// The number at this place of a text.
    #[inline]
    pub(super) fn at(text: &[u8], at: usize) -> Option<Self> {
        let negative = text.get(at) == Some(&b'-');
        let sign = usize::from(negative);
        let chunk = chunk(text, at + sign)?;
        let others = non_digits(chunk);
        let whole = others.trailing_zeros() as usize;
        if whole == 0 || whole > 7 || (whole > 1 && chunk[0] == b'0') {
            return None;
        }
        let point = usize::from(chunk[whole] == b'.');
        let places = (others >> (whole + point)).trailing_zeros() as usize * point;
        let end = whole + point + places;
        if places > 7 || places < point || chunk[end] | 0x20 == b'e' {
            return None;
        }
        let digits = number(eight(chunk, 0), whole) * POWERS[places]
            + number(eight(chunk, whole + point), places);
        Some(Self {
            negative,
            digits,
            places,
            length: sign + end,
        })
    }

    /// The same, if it ends before `end`.
    #[inline]
    pub(super) fn before(text: &[u8], at: usize, end: usize) -> Option<Self> {
        Self::at(text, at).filter(|number| at + number.length < end)
    }

    /// The value times 10^`scale`, where nothing is to be rounded.
    #[inline]
    pub(super) fn decimal(self, scale: u8) -> Option<i64> {
        let zeros = usize::from(scale).checked_sub(self.places)?;
        let unscaled = self.digits.checked_mul(*POWERS.get(zeros)?)?;
        (unscaled <= UNSCALED_MAX).then(|| self.signed(unscaled))
    }

    /// The value, where it is written as a whole number.
    #[inline]
    pub(super) fn integer(self) -> Option<i64> {
        (self.places == 0).then(|| self.signed(self.digits))
    }

    /// The nearest float. Digits and power are floats themselves, so dividing rounds once (Clinger,
    /// *How to Read Floating Point Numbers Accurately*, 1990).
    #[inline]
    pub(super) fn float(self) -> f64 {
        let magnitude = self.digits as f64 / POWERS[self.places] as f64;
        if self.negative { -magnitude } else { magnitude }
    }

    #[inline]
    fn signed(self, magnitude: u64) -> i64 {
        let magnitude = magnitude.cast_signed();
        if self.negative { -magnitude } else { magnitude }
    }
}

/// Eight bytes from `at` on, which is at most 8.
#[inline]
fn eight(chunk: &Chunk, at: usize) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&chunk[at..at + 8]);
    eight
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::number::Number;
    use super::*;

    proptest! {
        #[test]
        fn a_short_number_is_the_number(
            text in "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,9})?|[-+]?[0-9.eE+-]{0,8}",
            after in "[,}\\] \"0-9eE.]? {16}|.{16,20}",
            scale in 0_u8..=18,
        ) {
            let text = format!("{text}{after}");
            if let Some(short) = Short::at(text.as_bytes(), 0) {
                let number = Number::at_start(text.as_bytes()).expect("a short number is one");
                prop_assert_eq!(short.length, number.text.len());
                prop_assert_eq!(Some(short.float().to_bits()), number.float().ok().map(f64::to_bits));
                if let Some(value) = short.decimal(scale) {
                    prop_assert_eq!(Ok(value), number.decimal(scale));
                }
                if let Some(value) = short.integer() {
                    prop_assert_eq!(Ok(value), number.integer());
                }
            }
        }

        #[test]
        fn what_producers_write_is_short(cents in -999_999_999_i64..=999_999_999) {
            let text = format!("{}{}.{:02}{:16}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100, "}");
            prop_assert_eq!(Short::at(text.as_bytes(), 0).and_then(|short| short.decimal(2)), Some(cents));
        }
    }
}
