// Exact decimals: an unscaled integer, and how many of its digits stand after the point.

const DIGITS_MAX = 18;
const TOO_LARGE = 10n ** BigInt(DIGITS_MAX);

/**
 * Doubles below this are whole numbers exactly, and so is what `divideHalfEven` makes of them: a
 * quotient that is not whole lies at least 1/d below the next whole number, which is too far for the
 * division to round it up to that as long as dividend and divisor are below this bound.
 */
export const EXACT = 2 ** 52;

/** n ÷ d, rounded half to even. Whole numbers, d > 0, both of a magnitude below EXACT. */
export function divideHalfEven(n, d) {
  const quotient = Math.floor(n / d);
  const twiceRest = 2 * (n - quotient * d);
  if (twiceRest < d) return quotient;
  if (twiceRest > d) return quotient + 1;
  return quotient % 2 === 0 ? quotient : quotient + 1;
}

/**
 * (amount ÷ cut) × factor ÷ divisor, where each division rounds half to even, in BigInts; undefined when
 * that has more than 18 digits.
 */
export function multiply(amount, cut, factor, divisor) {
  const negative = amount < 0n;
  const cents = divideHalfEvenExactly(negative ? -amount : amount, cut);
  const magnitude = divideHalfEvenExactly(cents * factor, divisor);
  if (magnitude >= TOO_LARGE) return undefined;
  return negative ? -magnitude : magnitude;
}

/** The same for BigInts that are not negative. */
function divideHalfEvenExactly(n, d) {
  const quotient = n / d;
  const twiceRest = 2n * (n % d);
  const up = twiceRest > d || (twiceRest === d && quotient % 2n === 1n);
  return up ? quotient + 1n : quotient;
}

/**
 * Reads `[-]digits[.digits][e[±]digits]`; the scale is the smallest that holds it. Returns
 * `{ unscaled, scale }`, or in words what is wrong with it.
 */
export function parseDecimal(text) {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  const exponent = Number(match?.[4] ?? '0');
  if (match === null || Math.abs(exponent) > 32767) return 'malformed';
  const [, sign, whole, fraction = ''] = match;
  const significand = (whole + fraction).replace(/^0+/, '');
  const digits = significand.replace(/0+$/, '');
  if (digits === '') return { unscaled: 0n, scale: 0 };

  const zeros = significand.length - digits.length;
  const scale = fraction.length - zeros - exponent;
  const moreZeros = Math.max(-scale, 0);
  if (digits.length + moreZeros > DIGITS_MAX || scale > DIGITS_MAX) return 'too long';
  const magnitude = BigInt(digits + '0'.repeat(moreZeros));
  return { unscaled: sign === '-' ? -magnitude : magnitude, scale: Math.max(scale, 0) };
}

/** The number as people write it. It is not negative. */
export function showDecimal({ unscaled, scale }) {
  const digits = unscaled.toString().padStart(scale + 1, '0');
  const point = digits.length - scale;
  return scale === 0 ? digits : `${digits.slice(0, point)}.${digits.slice(point)}`;
}
