//! The arithmetic of one amount: exact integers, rounded half to even.
//!
//! Rounding half to even is the same on both sides of zero, so everything is computed on magnitudes
//! and the sign put back at the end.

use std::num::NonZeroU64;

use crate::rate::{DIGITS_MAX, Rate};

/// Digits after the point of an amount that is converted, and of the result.
pub const CENTS_SCALE: u8 = 2;

/// The first magnitude that has more than 18 digits.
const TOO_LARGE: u64 = 10_u64.pow(DIGITS_MAX as u32);

/// From a decimal of a given scale into the base, at one rate.
#[derive(Debug, Clone, Copy)]
pub struct Conversion {
    rate: u64,
    rate_divisor: NonZeroU64,
    // Amount to cents: × `multiplier` for scales below 2, ÷ `divisor` above; the other of them is 1.
    multiplier: u64,
    divisor: NonZeroU64,
    // Up to this magnitude of an amount nothing below overflows an u64.
    small: u64,
}

impl Conversion {
    /// Of amounts of this scale (at most 18), at this rate.
    #[must_use]
    pub fn new(scale: u8, rate: Rate) -> Self {
        let multiplier = 10_u64.pow(u32::from(CENTS_SCALE.saturating_sub(scale)));
        let divisor = power_of_ten(scale.saturating_sub(CENTS_SCALE));
        let small_cents = u64::MAX / rate.unscaled();
        Self {
            rate: rate.unscaled(),
            rate_divisor: power_of_ten(rate.scale()),
            multiplier,
            divisor,
            // One cent less, because the division may round up.
            small: if scale > CENTS_SCALE {
                (small_cents.saturating_sub(1)).saturating_mul(divisor.get())
            } else {
                small_cents / multiplier
            },
        }
    }

    /// `round_half_even(round_half_even(amount, 2) × rate, 2)` in cents; `None` when that has more
    /// than 18 digits. `amount` is unscaled and has at most 18 digits.
    #[must_use]
    pub fn apply(&self, amount: i64) -> Option<i64> {
        let magnitude = amount.unsigned_abs();
        let base = if magnitude <= self.small {
            let cents = if self.divisor == NonZeroU64::MIN {
                magnitude * self.multiplier
            } else {
                divide_half_even(magnitude, self.divisor)
            };
            divide_half_even(cents * self.rate, self.rate_divisor)
        } else {
            self.apply_wide(magnitude)?
        };
        if base >= TOO_LARGE {
            return None;
        }
        let base = base.cast_signed();
        Some(if amount < 0 { -base } else { base })
    }

    /// The same for any magnitude. 18 digits × 100 × 18 digits of rate stay below 2^128.
    #[cold]
    fn apply_wide(&self, magnitude: u64) -> Option<u64> {
        let amount = u128::from(magnitude) * u128::from(self.multiplier);
        let cents = divide_half_even_wide(amount, self.divisor);
        let product = cents.checked_mul(u128::from(self.rate))?;
        u64::try_from(divide_half_even_wide(product, self.rate_divisor)).ok()
    }
}

fn power_of_ten(exponent: u8) -> NonZeroU64 {
    NonZeroU64::new(10_u64.pow(u32::from(exponent))).expect("a power of ten is not 0")
}

/// `n / d`, rounded half to even; `d` is at most 10^18.
fn divide_half_even(n: u64, d: NonZeroU64) -> u64 {
    let (quotient, twice_rest) = (n / d, (n % d) * 2);
    // Without branches: whether to round up is a coin toss that no processor foresees.
    let (more, tie) = (twice_rest > d.get(), twice_rest == d.get());
    quotient + (u64::from(more) | (u64::from(tie) & quotient & 1))
}

fn divide_half_even_wide(n: u128, d: NonZeroU64) -> u128 {
    let d = u128::from(d.get());
    let (quotient, twice_rest) = (n / d, (n % d) * 2);
    let up = twice_rest > d || (twice_rest == d && quotient % 2 == 1);
    quotient + u128::from(up)
}
