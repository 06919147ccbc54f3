"""Exact decimals: an unscaled integer, and how many of its digits stand after the point."""

import re
from typing import NamedTuple

DIGITS_MAX = 18

# The largest unscaled integer that a decimal may have.
LARGEST = 10**DIGITS_MAX - 1

# As JSON writes numbers, and with zeros in front. `\d` alone would be every digit of Unicode.
NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")

# Exponents beyond this are no numbers but mischief: 10^exponent would be computed.
EXPONENT_MAX = 32767


class Malformed(ValueError):
    """It is no number."""


class TooLong(ValueError):
    """It needs more than 18 digits."""


class Decimal(NamedTuple):
    """`unscaled / 10^scale`"""

    unscaled: int
    scale: int

    def __str__(self):
        if self.scale == 0:
            return str(self.unscaled)
        digits = str(abs(self.unscaled)).rjust(self.scale + 1, "0")
        sign = "-" if self.unscaled < 0 else ""
        return f"{sign}{digits[: -self.scale]}.{digits[-self.scale :]}"


def divide_half_even(n, d):
    """n ÷ d, rounded half to even; d > 0.

    `divmod` rounds down, below zero too, so the rest is never negative.
    """
    quotient, rest = divmod(n, d)
    rest *= 2
    if rest > d or (rest == d and quotient & 1):
        quotient += 1
    return quotient


def parse_decimal(text):
    """Reads `[-]digits[.digits][e[±]digits]`; the scale is the smallest that holds it."""
    match = NUMBER.fullmatch(text)
    if match is None:
        raise Malformed
    sign, whole, fraction, exponent = match.groups(default="")
    if len(exponent) > 6 or abs(int(exponent or "0")) > EXPONENT_MAX:
        raise Malformed
    significand = (whole + fraction).lstrip("0")
    digits = significand.rstrip("0")
    if not digits:
        return Decimal(0, 0)

    zeros = len(significand) - len(digits)
    scale = len(fraction) - zeros - int(exponent or "0")
    more_zeros = max(-scale, 0)
    if len(digits) + more_zeros > DIGITS_MAX or scale > DIGITS_MAX:
        raise TooLong
    magnitude = int(digits) * 10**more_zeros
    return Decimal(-magnitude if sign else magnitude, max(scale, 0))
