"""Every bound that a result is held to, and where it comes from.

Errors are in units in the last place (ULP) of the input's dtype: of max(|y|, 1) forward, of the
instance's largest magnitude on the way back and wherever a result is in the units of data.
"""

import numpy as np

import oracle

# Computed in a wider type and rounded once: half an ULP for the rounding, and 0.01 for what is
# left of the wider type's own errors, which are 2^-29 (float64 to float32) to 2^-8 (float32 to
# bfloat16) of an ULP each.
WIDER_FORWARD = 0.51

# The way back rounds twice, y and then x: up to 1 ULP from the first, and a result that is itself
# a number of the dtype cannot be off by 1.5.
WIDER_ROUND_TRIP = 1

# Corrected two-pass in the dtype itself: the roundings of d, of the variance through its root, of
# the division, the scale and the bias, half an ULP each, and as many on the way back.
SAME_FORWARD = 4
SAME_ROUND_TRIP = 4


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
