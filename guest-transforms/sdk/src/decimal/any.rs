//! Decimals whose scale is known at run time only.

use std::fmt;
use std::ops::Neg;
use std::str::FromStr;

use super::parse::{ParseDecimalError, parse};
use super::{Decimal, SCALE_MAX, arithmetic, in_range, write_decimal};

/// An exact decimal number of the scale that its column has: `unscaled / 10^scale`.
///
/// For guests that take a decimal column of any scale. Where the scale is known, [`Decimal`] says it in
/// its type.
///
/// Two of them are equal (`==`) when both number and scale are: `1.50` is not `1.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AnyDecimal {
    unscaled: i64,
    scale: u8,
}

impl AnyDecimal {
    /// `unscaled / 10^scale`; `None` when that has more than 18 digits or the scale is over 18.
    #[must_use]
    pub const fn new(unscaled: i64, scale: u8) -> Option<Self> {
        if in_range(unscaled) && scale <= SCALE_MAX {
            Some(Self { unscaled, scale })
        } else {
            None
        }
    }

    /// A value of a column, which the host has checked.
    #[inline]
    pub(crate) const fn trusted(unscaled: i64, scale: u8) -> Self {
        Self { unscaled, scale }
    }

    /// The number × 10^scale.
    #[must_use]
    #[inline]
    pub const fn unscaled(self) -> i64 {
        self.unscaled
    }

    /// Digits after the point.
    #[must_use]
    #[inline]
    pub const fn scale(self) -> u8 {
        self.scale
    }

    /// The sum, at the larger of the scales; `None` when it has more than 18 digits.
    #[must_use]
    #[inline]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (a, b) = self.aligned(other)?;
        Self::new(a.unscaled + b.unscaled, a.scale)
    }

    /// The difference, at the larger of the scales; `None` when it has more than 18 digits.
    #[must_use]
    #[inline]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(-other)
    }

    /// The product, rounded half to even to `scale` digits after the point; `None` when it has more
    /// than 18 digits.
    #[must_use]
    #[inline]
    pub fn checked_mul(self, other: Self, scale: u8) -> Option<Self> {
        check_scale(scale)?;
        let sum = self.scale + other.scale;
        arithmetic::multiply(self.unscaled, other.unscaled, sum, scale)
            .map(|unscaled| Self { unscaled, scale })
    }

    /// The quotient, rounded half to even to `scale` digits after the point; `None` when `other` is 0
    /// or the quotient has more than 18 digits.
    #[must_use]
    pub fn checked_div(self, other: Self, scale: u8) -> Option<Self> {
        check_scale(scale)?;
        let (a, b) = (self, other);
        arithmetic::divide((a.unscaled, a.scale), (b.unscaled, b.scale), scale)
            .map(|unscaled| Self { unscaled, scale })
    }

    /// The same at another scale, rounded half to even; `None` when it has more than 18 digits.
    #[must_use]
    #[inline]
    pub fn rescale(self, scale: u8) -> Option<Self> {
        check_scale(scale)?;
        arithmetic::rescale(self.unscaled, self.scale, scale)
            .map(|unscaled| Self { unscaled, scale })
    }

    /// The same at a scale that is known, rounded half to even; `None` when it has more than 18 digits.
    #[must_use]
    #[inline]
    pub fn to_decimal<const S: u8>(self) -> Option<Decimal<S>> {
        arithmetic::rescale(self.unscaled, self.scale, S).map(Decimal::trusted)
    }

    fn aligned(self, other: Self) -> Option<(Self, Self)> {
        if self.scale == other.scale {
            return Some((self, other));
        }
        let scale = self.scale.max(other.scale);
        Some((self.rescale(scale)?, other.rescale(scale)?))
    }
}

/// Scales stay at most 18, so that sums of two of them fit into the tables.
#[inline]
fn check_scale(scale: u8) -> Option<()> {
    (scale <= SCALE_MAX).then_some(())
}

impl Neg for AnyDecimal {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            unscaled: -self.unscaled,
            scale: self.scale,
        }
    }
}

impl<const S: u8> From<Decimal<S>> for AnyDecimal {
    fn from(decimal: Decimal<S>) -> Self {
        Self {
            unscaled: decimal.unscaled(),
            scale: S,
        }
    }
}

impl FromStr for AnyDecimal {
    type Err = ParseDecimalError;

    /// Reads `[-]digits[.digits][e[±]digits]`. The scale is the smallest that holds it: that of `1.50`
    /// is 1.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(|(unscaled, scale)| Self { unscaled, scale })
    }
}

impl fmt::Display for AnyDecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.unscaled, self.scale)
    }
}
