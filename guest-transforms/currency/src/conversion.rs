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

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn convert(amount: i64, scale: u8, rate: &str) -> Option<i64> {
        Conversion::new(scale, Rate::parse(rate).unwrap()).apply(amount)
    }

    #[test]
    fn cents_are_multiplied_by_the_rate() {
        assert_eq!(convert(10_000, 2, "1.08"), Some(10_800));
        assert_eq!(convert(296_190, 2, "1.27"), Some(376_161));
        assert_eq!(convert(7, 0, "1.08"), Some(756));
        assert_eq!(convert(0, 2, "1.08"), Some(0));
    }

    #[test]
    fn half_a_cent_goes_to_the_even_cent() {
        // × 0.5: 0.005, 0.015, 0.025, 0.035
        for (cents, expected) in [(1, 0), (3, 2), (5, 2), (7, 4)] {
            assert_eq!(convert(cents, 2, "0.5"), Some(expected), "{cents} cents");
            assert_eq!(convert(-cents, 2, "0.5"), Some(-expected), "-{cents} cents");
        }
    }

    #[test]
    fn more_or_less_than_half_goes_to_the_nearer_cent() {
        for (cents, expected) in [(149, 149), (150, 150), (151, 151), (250, 250)] {
            assert_eq!(convert(cents, 2, "0.999"), Some(expected));
        }
        assert_eq!(convert(51, 2, "0.01"), Some(1));
        assert_eq!(convert(49, 2, "0.01"), Some(0));
        assert_eq!(convert(-51, 2, "0.01"), Some(-1));
    }

    #[test]
    fn the_amount_is_rounded_before_it_is_multiplied() {
        // 0.005 is 0.00 in cents, though 0.005 × 100 would be 0.50.
        assert_eq!(convert(5, 3, "100"), Some(0));
        // 0.015 is 0.02.
        assert_eq!(convert(15, 3, "100"), Some(200));
        assert_eq!(convert(-15, 3, "100"), Some(-200));
        // 0.0050000000000000001 is more than half.
        assert_eq!(convert(5_000_000_000_000_001, 18, "1"), Some(1));
    }

    #[test]
    fn a_result_of_nineteen_digits_is_none() {
        let most = 999_999_999_999_999_999;
        assert_eq!(convert(most, 2, "1"), Some(most));
        assert_eq!(convert(-most, 2, "1"), Some(-most));
        assert_eq!(convert(most, 2, "1.000000000000001"), None);
        assert_eq!(convert(most, 2, "999999999999999999"), None);
        assert_eq!(convert(-most, 0, "1"), None);
        // Too large in cents, but not in the base.
        assert_eq!(convert(most, 0, "0.01"), Some(most));
    }

    /// The same by digits of text, one at a time, as one learns it at school.
    mod by_hand {
        /// `a × b` of decimal digits, most significant first.
        pub(super) fn multiply(a: &[u8], b: &[u8]) -> Vec<u8> {
            let mut product = vec![0_u32; a.len() + b.len()];
            for (i, x) in a.iter().rev().enumerate() {
                for (j, y) in b.iter().rev().enumerate() {
                    product[i + j] += u32::from(*x) * u32::from(*y);
                }
            }
            for i in 0..product.len() - 1 {
                product[i + 1] += product[i] / 10;
                product[i] %= 10;
            }
            product.iter().rev().map(|&digit| digit as u8).collect()
        }

        /// Cuts off the last `count` digits, rounding half to even.
        pub(super) fn cut(digits: &[u8], count: usize) -> Vec<u8> {
            let padded = [vec![0; count + 1], digits.to_vec()].concat();
            let (kept, cut) = padded.split_at(padded.len() - count);
            let mut kept = kept.to_vec();
            let half = [vec![5; count.min(1)], vec![0; count.saturating_sub(1)]].concat();
            let odd = kept[kept.len() - 1] % 2 == 1;
            if count > 0 && (cut > half.as_slice() || (cut == half && odd)) {
                for digit in kept.iter_mut().rev() {
                    *digit = (*digit + 1) % 10;
                    if *digit != 0 {
                        break;
                    }
                }
            }
            kept
        }

        pub(super) fn digits(number: u64) -> Vec<u8> {
            number.to_string().bytes().map(|b| b - b'0').collect()
        }
    }

    fn convert_by_hand(amount: i64, scale: u8, rate: Rate) -> Option<i64> {
        let amount_digits = by_hand::digits(amount.unsigned_abs());
        let cents = if scale >= 2 {
            by_hand::cut(&amount_digits, usize::from(scale - 2))
        } else {
            [amount_digits, vec![0; usize::from(2 - scale)]].concat()
        };
        let product = by_hand::multiply(&cents, &by_hand::digits(rate.unscaled()));
        let base = by_hand::cut(&product, usize::from(rate.scale()));
        let text: String = base.iter().map(|&digit| char::from(b'0' + digit)).collect();
        let text = text.trim_start_matches('0');
        if text.len() > 18 {
            return None;
        }
        let base: i64 = format!("0{text}").parse().unwrap();
        Some(if amount < 0 { -base } else { base })
    }

    /// Numbers of every length up to 18 digits, equally likely.
    fn any_length() -> impl Strategy<Value = u64> {
        (0_u32..=18).prop_flat_map(|digits| 0..10_u64.pow(digits))
    }

    fn any_rate() -> impl Strategy<Value = Rate> {
        (any_length(), 0_i32..=18).prop_filter_map("a rate", |(unscaled, scale)| {
            Rate::parse(&format!("{unscaled}e-{scale}")).ok()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_conversion_is_what_one_computes_by_hand(
            magnitude in any_length(), negative: bool, scale in 0_u8..=18, rate in any_rate()
        ) {
            let amount = if negative { -magnitude.cast_signed() } else { magnitude.cast_signed() };
            prop_assert_eq!(
                Conversion::new(scale, rate).apply(amount),
                convert_by_hand(amount, scale, rate)
            );
        }

        #[test]
        fn ties_are_what_one_computes_by_hand(
            cents in 0_i64..1_000_000, scale in 2_u8..=14, odd in 0_u64..500
        ) {
            let half = 10_i64.pow(u32::from(scale - 2)) / 2;
            let amount = cents * 10_i64.pow(u32::from(scale - 2)) + half;
            let rate = Rate::parse(&format!("{}.5", odd * 2 + 1)).unwrap();
            prop_assert_eq!(
                Conversion::new(scale, rate).apply(amount),
                convert_by_hand(amount, scale, rate)
            );
        }

        #[test]
        fn the_wide_path_agrees_with_the_small_one(
            magnitude in any_length(), scale in 0_u8..=18, rate in any_rate()
        ) {
            let conversion = Conversion::new(scale, rate);
            prop_assume!(magnitude <= conversion.small);
            prop_assert_eq!(
                conversion.apply(magnitude.cast_signed()),
                conversion.apply_wide(magnitude).filter(|&base| base < TOO_LARGE).map(u64::cast_signed)
            );
        }
    }
}
