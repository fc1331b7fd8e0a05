"""Every bound that a result is held to, and where it comes from.

Errors are in units in the last place (ULP) of the input's dtype: of max(|y|, 1) forward, of the
instance's largest magnitude on the way back and wherever a result is in the units of data.
"""

from typing import Any, NamedTuple

import numpy as np

import oracle

# Computed in a wider type and rounded once: half an ULP for the rounding, and 0.01 for what is
# left of the wider type's own errors, which are 2^-29 (float64 to float32) to 2^-8 (float32 to
# bfloat16) of an ULP each.
WIDER_FORWARD = 0.51

# y as stored is off by half an ULP of itself. A value at -M among values near +M has
# y * divisor = 2 M, so that is up to 1 ULP of M, or just below 2 where M is just above a power of
# two; a number of the dtype that near the data is at most 2 away.
WIDER_ROUND_TRIP = 2

# Corrected two-pass in the dtype itself, on ordinary data: the roundings of d, of the variance
# through its root, of the division, the scale and the bias, half an ULP each, and as many on the
# way back.
SAME_FORWARD = 4
SAME_ROUND_TRIP = 4

# A gradient gathers from up to three readings of the data, each rounded once to the dtype, and two
# sums of them; of what it and its summands reach. In the dtype itself up to 30 roundings lie
# between the data and a term; of the sum of the terms' magnitudes.
WIDER_GRADIENT = 2.5
SAME_GRADIENT = 16

# PyTorch's own functions beside these, float64 on both sides, on data near zero with a variance
# near 1: PyTorch's measure up to 2 ULP of max(|y|, 1), these have 4, and a gradient adds up fewer
# than a thousand such terms. Above all of it, and far below any mistake.
AGAINST_TORCH = {"rtol": 1e-12, "atol": 1e-12}

# Additions that a number passes through before the errors of a sum in the dtype itself are kept.
DEPTH = 16

# Significant bits, and the least exponent of a number that has them all.
FORMATS = {
    "float16": (11, -14),
    "bfloat16": (8, -126),
    "float32": (24, -126),
    "float64": (53, -1022),
}


class Terms(NamedTuple):
    """What an element of a result is added up from, in magnitudes that broadcast against it.

    Attributes
    ----------
    stretch
        |x - center| times the slope, of the frames that it passes through together.
    vague
        How much of that is in doubt with the variances, in units of the dtype's roundoff.
    spread
        The standard deviation times the slope: what a mean is in doubt by, in units of
        (DEPTH + 4) roundoffs.
    level
        All else that is added: the bias, the style's mean, the gap between two centers.
    """

    stretch: Any
    vague: Any
    spread: Any
    level: Any


def roundoff(dtype: str):
    return np.longdouble(2) ** -FORMATS[dtype][0]


def ulp(magnitude, dtype: str):
    """The gap between the neighbours of numbers, in longdouble."""
    bits, least = FORMATS[dtype]
    magnitude = np.asarray(magnitude, dtype=np.longdouble)
    exponents = np.maximum(np.frexp(np.where(np.isfinite(magnitude), magnitude, 1))[1] - 1, least)
    return np.ldexp(np.longdouble(1), exponents - (bits - 1))


def doubt(work: str, mean, variance, count, square):
    """How far a variance is off by, relative to the square of the divisor that it makes, halved.

    In roundoffs: d and its square, a sum of DEPTH additions, the mean square of what the rounded
    mean missed, r, which is (DEPTH + 1) roundoffs of the mean at most.
    """
    missed = np.minimum(
        (DEPTH + 1) * roundoff(work) * abs(mean), np.sqrt(count) * np.sqrt(variance)
    )
    off = variance + 2 * missed * np.sqrt(variance) + 3 * missed**2
    return (DEPTH + 5) * off / (2 * np.where(square == 0, 1, square))


def allowed(dtype: str, work: str, recipe: str, y, terms: Terms, merges: int = 0):
    """How far each element of a result may be off.

    Recipe A rounds once and has 0.01 ULP of the terms for all else. Recipe B, in roundoffs:
    the doubt of the variances, 8 for what else happens to the stretched difference (d, root,
    division, scale, product, correction, two to spare), DEPTH + 4 for the mean and 4 for each
    sum. Every merge costs 2.5 of the stretch and 3 of the spread.
    """
    stretch, vague, spread, level = (np.asarray(term, dtype=np.longdouble) for term in terms)
    once = ulp(abs(y), dtype) / 2 if recipe == "A" or work != dtype else 0
    least = np.ldexp(np.longdouble(1), FORMATS[work][1] - FORMATS[work][0] + 3)
    if recipe == "A":
        return once + 0.01 * 2 * roundoff(dtype) * (stretch + spread + level) + least
    units = (vague + 8 + 2.5 * merges) * stretch
    units = units + (DEPTH + 4 + 3 * merges) * spread + 4 * (level + abs(y))
    return once + roundoff(work) * units + least


def wider(backend, dtype: str, precision: str) -> bool:
    """Whether a dtype is computed in a wider one."""
    if dtype in ("float16", "bfloat16"):
        return True
    return precision == "full" and dtype == "float32" and backend.widest == "float64"


def forward(backend, dtype: str, precision: str = "full") -> float:
    return WIDER_FORWARD if wider(backend, dtype, precision) else SAME_FORWARD


def round_trip(backend, dtype: str, precision: str = "full") -> float:
    return WIDER_ROUND_TRIP if wider(backend, dtype, precision) else SAME_ROUND_TRIP


def assert_same(backend, actual, expected, *, axis=None):
    """Two ways to one float32 result: bit for bit what is rounded once, else each within bounds."""
    actual, expected = (backend.to_numpy(array) for array in (actual, expected))
    if wider(backend, "float32", "full"):
        np.testing.assert_array_equal(actual, expected)
        return
    exact = oracle.exact(expected)
    unit = None if axis is None else oracle.reach(exact, axis)
    assert oracle.ulp_error(actual, exact, "float32", of=unit) <= 2 * SAME_FORWARD
