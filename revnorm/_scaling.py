"""Powers of two that keep squares and differences of any finite data within range.

Multiplying by a power of two is exact, so a result within range does not change by a bit.
"""

import math
from typing import Any

from revnorm._trees import Array

# The exponent of the largest finite number, by width in bits.
_EXPONENT = {16: 16, 32: 128}


def squarable(xp: Any, reach: Array) -> Array:
    """A power of two that brings magnitudes up to `reach` near enough to 1 to sum squares."""
    top = _exponent(xp, reach)
    edge, step, end = 2.0 ** (top * 5 // 16), 2.0 ** (top * 5 // 8), 2.0 ** (top * 15 // 16)
    small = xp.where(reach < 1 / end, xp.full_like(reach, end), step)
    usual = xp.where((reach < 1 / edge) & (reach > 0), small, 1.0)
    return xp.where(reach > edge, 1 / step, usual)


def summable(xp: Any, reach: Array) -> Array:
    """A power of two with which billions of magnitudes up to `reach` may be added."""
    top = _exponent(xp, reach)
    return xp.where(reach > 2.0 ** (top * 3 // 4), xp.full_like(reach, 2.0 ** -(top // 4)), 1.0)


def rooted(xp: Any, power: Array, eps: float) -> Array:
    """The power, or the largest one with which the root of eps is a number."""
    top = _exponent(xp, power)
    most = top - 2 - math.ceil(math.log2(eps) / 2) if eps else top
    if most >= top * 15 // 16:
        return power
    largest = 2.0 ** max(most, 0)
    return xp.where(power > largest, largest, power)


def near_one(xp: Any, reach: Array) -> Array:
    """A power of two that brings magnitudes up to `reach` where squares have range to spare."""
    top, power = _exponent(xp, reach), xp.ones_like(reach)
    for exponent in (top * 5 // 8, top // 4):
        edge, step, level = 2.0 ** (exponent // 2), 2.0**exponent, reach * power
        larger = xp.where((level < 1 / edge) & (level > 0), power * step, power)
        power = xp.where(level > edge, power / step, larger)
    return power


def ordinary(xp: Any, near: Array, square: Array) -> Array:
    """Whether data with that mean and square deviation need no power, nor a more careful mean."""
    edge = 2.0 ** (_exponent(xp, square) * 5 // 8)
    return (square > 1 / edge) & (square < edge) & (abs(near) * 2.0**-10 < xp.sqrt(square))


def invertible(xp: Any, reach: Array, width: Array) -> Array:
    """A power of two with which `reach` may be doubled, and `width` has an inverse."""
    top = _exponent(xp, reach)
    edge, step = 2.0 ** (top * 7 // 8), 2.0 ** (top // 4)
    wide = xp.where(width < 1 / edge, xp.full_like(width, step), 1.0)
    return xp.where(reach > edge, 1 / step, wide)


def between(xp: Any, a: Array, low: Array, high: Array) -> Array:
    """The number, or the end of the range that rounding took it past."""
    return xp.where(a < low, low, xp.where(a > high, high, a))


def _exponent(xp: Any, array: Array) -> int:
    return _EXPONENT.get(xp.finfo(array.dtype).bits, 1024)
