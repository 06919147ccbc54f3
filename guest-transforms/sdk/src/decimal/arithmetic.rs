//! Exact integer arithmetic on unscaled decimals, rounded half to even.
//!
//! Rounding half to even is the same on both sides of zero, so everything is computed on magnitudes
//! and the sign put back at the end. What fits into 64 bits is computed in 64; 128 bits cost several
//! times as much, most of all in WebAssembly, which has no such numbers.

use super::{SCALE_MAX, TOO_LARGE};

/// 10^0 … 10^18.
pub(super) const POWERS: [u64; SCALE_MAX as usize + 1] = {
    let mut powers = [1; SCALE_MAX as usize + 1];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

/// Another scale; `None` when the result has more than 18 digits. Scales are at most 18.
#[inline]
pub(super) fn rescale(unscaled: i64, from: u8, to: u8) -> Option<i64> {
    if from == to {
        return Some(unscaled);
    }
    with_sign(shift(unscaled.unsigned_abs(), from, to)?, unscaled < 0)
}

/// `a × b`, of which `scale` is the sum of the scales, at the scale `to`; `None` when the result has
/// more than 18 digits.
#[inline]
pub(super) fn multiply(a: i64, b: i64, scale: u8, to: u8) -> Option<i64> {
    let (x, y) = (a.unsigned_abs(), b.unsigned_abs());
    let product = match product(x, y) {
        Some(product) if scale <= to + SCALE_MAX => shift(product, scale, to)?,
        _ => multiply_wide(x, y, scale, to)?,
    };
    with_sign(product, (a < 0) != (b < 0))
}

/// `x × y` if that surely fits into 64 bits: `None` where it has 64 or more.
///
/// The product of n and m bits has n + m or one less. To count bits is cheap everywhere, while
/// WebAssembly multiplies in 128 bits to find out about an overflow.
#[inline]
fn product(x: u64, y: u64) -> Option<u64> {
    (x.leading_zeros() + y.leading_zeros() >= u64::BITS).then(|| x.wrapping_mul(y))
}

/// From one scale to another, 18 apart at most; `None` when the result has 64 bits or more, and so more
/// than 18 digits.
#[inline]
fn shift(magnitude: u64, from: u8, to: u8) -> Option<u64> {
    if to >= from {
        product(magnitude, POWERS[usize::from(to - from)])
    } else {
        Some(divide_half_even(magnitude, POWERS[usize::from(from - to)]))
    }
}

#[cold]
fn multiply_wide(x: u64, y: u64, scale: u8, to: u8) -> Option<u64> {
    // Each has at most 18 digits, so their product at most 36.
    let product = u128::from(x) * u128::from(y);
    let product = if to >= scale {
        product.checked_mul(power(to - scale))?
    } else {
        divide_half_even_wide(product, power(scale - to))
    };
    u64::try_from(product).ok()
}

/// `a ÷ b` of these scales, at the scale `to`; `None` when `b` is 0 or the result has more than 18
/// digits.
pub(super) fn divide(a: (i64, u8), b: (i64, u8), to: u8) -> Option<i64> {
    let (x, y) = (a.0.unsigned_abs(), b.0.unsigned_abs());
    if y == 0 {
        return None;
    }
    let (up, down) = (to + b.1, a.1);
    let (mut dividend, mut divisor) = (u128::from(x), u128::from(y));
    if up >= down {
        // A dividend of over 36 digits gives a quotient of over 18, so overflow is no loss.
        dividend = dividend.checked_mul(power(up - down))?;
    } else {
        divisor *= power(down - up);
    }
    let quotient = u64::try_from(divide_half_even_wide(dividend, divisor)).ok()?;
    with_sign(quotient, (a.0 < 0) != (b.0 < 0))
}

/// 10^`exponent`, which is at most 36.
fn power(exponent: u8) -> u128 {
    10_u128.pow(u32::from(exponent))
}

#[inline]
fn with_sign(magnitude: u64, negative: bool) -> Option<i64> {
    if magnitude >= TOO_LARGE {
        return None;
    }
    let positive = magnitude.cast_signed();
    Some(if negative { -positive } else { positive })
}

/// `n / d`, rounded half to even; `d` is 1 to 10^18.
#[inline]
fn divide_half_even(n: u64, d: u64) -> u64 {
    let (quotient, twice_rest) = (n / d, (n % d) * 2);
    // Without branches: whether to round up is a coin toss that no processor foresees.
    let (more, tie) = (twice_rest > d, twice_rest == d);
    quotient + (u64::from(more) | (u64::from(tie) & quotient & 1))
}

/// The same for `d` up to 10^36.
fn divide_half_even_wide(n: u128, d: u128) -> u128 {
    let (quotient, twice_rest) = (n / d, (n % d) * 2);
    let up = twice_rest > d || (twice_rest == d && quotient % 2 == 1);
    quotient + u128::from(up)
}
