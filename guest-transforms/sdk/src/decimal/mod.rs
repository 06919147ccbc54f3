//! Exact decimals: money, and whatever else must add up.
//!
//! A decimal is stored unscaled, as in the columns of the contract: the number is `unscaled / 10^scale`.
//! It has at most 18 digits, so `unscaled` lies strictly between -10^18 and 10^18. All arithmetic is
//! checked: a result that has more digits is `None`, never a wrapped or a rounded one; where digits after
//! the point are cut off, they are rounded half to even.

mod any;
mod arithmetic;
mod json;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Neg;
use std::str::FromStr;

pub use any::AnyDecimal;
pub use parse::ParseDecimalError;

/// Digits that a decimal has at most.
pub(crate) const DIGITS_MAX: u8 = 18;

/// Digits that a decimal has after the point at most.
pub(crate) const SCALE_MAX: u8 = 18;

/// The first magnitude that has more than 18 digits.
pub(crate) const TOO_LARGE: u64 = 10_u64.pow(DIGITS_MAX as u32);

pub(crate) const fn in_range(unscaled: i64) -> bool {
    unscaled.unsigned_abs() < TOO_LARGE
}

/// An exact decimal number with `S` digits after the point, `S` being at most 18.
///
/// ```
/// # use wasmill_guest::Decimal;
/// let price: Decimal<2> = "19.90".parse()?;
/// let rate: Decimal<4> = "1.0850".parse()?;
/// let converted: Decimal<2> = price.checked_mul(rate).expect("this has five digits");
/// assert_eq!(converted.to_string(), "21.59");
/// # Ok::<(), wasmill_guest::ParseDecimalError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal<const S: u8> {
    unscaled: i64,
}

impl<const S: u8> Decimal<S> {
    /// 0
    pub const ZERO: Self = Self { unscaled: 0 };

    /// 18 nines
    pub const MAX: Self = Self::trusted(TOO_LARGE.cast_signed() - 1);

    /// minus 18 nines
    pub const MIN: Self = Self::trusted(1 - TOO_LARGE.cast_signed());

    /// Fails to compile where it is used with a scale over 18.
    const SCALE: u8 = {
        assert!(S <= SCALE_MAX, "the scale of a decimal is at most 18");
        S
    };

    /// `unscaled / 10^S`; `None` when that has more than 18 digits.
    #[must_use]
    #[inline]
    pub const fn from_unscaled(unscaled: i64) -> Option<Self> {
        if in_range(unscaled) {
            Some(Self::trusted(unscaled))
        } else {
            None
        }
    }

    /// A whole number; `None` when it has more than 18 digits, those after the point included.
    #[must_use]
    #[inline]
    pub fn from_integer(integer: i64) -> Option<Self> {
        // `rescale` takes 18 digits, and more than these are too many anyway.
        if !in_range(integer) {
            return None;
        }
        arithmetic::rescale(integer, 0, Self::SCALE).map(Self::trusted)
    }

    /// A value of a column, which the host has checked.
    #[inline]
    pub(crate) const fn trusted(unscaled: i64) -> Self {
        let _ = Self::SCALE;
        Self { unscaled }
    }

    /// The number × 10^S.
    #[must_use]
    #[inline]
    pub const fn unscaled(self) -> i64 {
        self.unscaled
    }

    /// The sum; `None` when it has more than 18 digits.
    #[must_use]
    #[inline]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        Self::from_unscaled(self.unscaled + other.unscaled)
    }

    /// The difference; `None` when it has more than 18 digits.
    #[must_use]
    #[inline]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        Self::from_unscaled(self.unscaled - other.unscaled)
    }

    /// The product, rounded half to even to `T` digits after the point; `None` when it has more than 18
    /// digits.
    #[must_use]
    #[inline]
    pub fn checked_mul<const R: u8, const T: u8>(self, other: Decimal<R>) -> Option<Decimal<T>> {
        let scale = Self::SCALE + Decimal::<R>::SCALE;
        arithmetic::multiply(self.unscaled, other.unscaled, scale, T).map(Decimal::trusted)
    }

    /// The quotient, rounded half to even to `T` digits after the point; `None` when `other` is 0 or the
    /// quotient has more than 18 digits.
    #[must_use]
    pub fn checked_div<const R: u8, const T: u8>(self, other: Decimal<R>) -> Option<Decimal<T>> {
        let (a, b) = (self.unscaled, other.unscaled);
        arithmetic::divide((a, Self::SCALE), (b, R), Decimal::<T>::SCALE).map(Decimal::trusted)
    }

    /// The same with `T` digits after the point, rounded half to even; `None` when it has more than 18
    /// digits.
    #[must_use]
    #[inline]
    pub fn rescale<const T: u8>(self) -> Option<Decimal<T>> {
        arithmetic::rescale(self.unscaled, Self::SCALE, Decimal::<T>::SCALE).map(Decimal::trusted)
    }

    /// The number without its sign.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self {
            unscaled: self.unscaled.abs(),
        }
    }
}

impl<const S: u8> Neg for Decimal<S> {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            unscaled: -self.unscaled,
        }
    }
}

impl<const S: u8> FromStr for Decimal<S> {
    type Err = ParseDecimalError;

    /// Reads `[-]digits[.digits][e[±]digits]`. Rounds nothing: digits that `S` has no place for are an
    /// error, unless they are zeros.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (unscaled, scale) = parse::parse(text)?;
        if scale > S {
            return Err(ParseDecimalError::TooFine {
                text: text.to_owned(),
                scale: S,
            });
        }
        arithmetic::rescale(unscaled, scale, Self::SCALE)
            .map(Self::trusted)
            .ok_or_else(|| ParseDecimalError::TooLong(text.to_owned()))
    }
}

impl<const S: u8> fmt::Display for Decimal<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.unscaled, S)
    }
}

impl<const S: u8> fmt::Debug for Decimal<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal<{S}>({self})")
    }
}

/// All digits after the point, those that are 0 too; respects width and sign as numbers do.
fn write_decimal(f: &mut fmt::Formatter<'_>, unscaled: i64, scale: u8) -> fmt::Result {
    let magnitude = unscaled.unsigned_abs();
    let divisor = arithmetic::POWERS[usize::from(scale)];
    let (whole, fraction) = (magnitude / divisor, magnitude % divisor);
    let text = if scale == 0 {
        whole.to_string()
    } else {
        format!("{whole}.{fraction:0width$}", width = usize::from(scale))
    };
    f.pad_integral(unscaled >= 0, "", &text)
}
