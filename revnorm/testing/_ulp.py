"""Errors in units in the last place."""

from typing import Any

import numpy as np

from revnorm.testing._arrays import significand, to_numpy


def ulp_error(actual: Any, expected: Any, /, *, dtype: str = "float32") -> float:
    """The worst error, in units in the last place (ULP) of max(|expected|, 1).

    Parameters
    ----------
    actual : array
        Of any library, broadcastable against `expected`.
    expected : array
        The exact values, such as `reference` gives.
    dtype : {"float32", "float64", "float16", "bfloat16"}
        The type whose units are counted.

    Returns
    -------
    float
        A correctly rounded result has at most 0.5. Infinite where one array holds NaN or
        infinity and the other does not hold the same, or where a shape differs.

    Raises
    ------
    ValueError
        If `dtype` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> from revnorm.testing import ulp_error
    >>> ulp_error(np.float32([1.0, 2.0]), [1.0, 2.0 + 2**-23])
    0.5
    """
    expected = to_numpy(expected)
    return worst(to_numpy(actual), expected, np.maximum(np.abs(expected), 1), dtype)


def worst(actual: np.ndarray, expected: np.ndarray, reach: np.ndarray, dtype: str) -> float:
    """The worst error in ULP of `reach`."""
    bits, largest = significand(dtype)
    if actual.shape != expected.shape:
        return np.inf
    if actual.size == 0:
        return 0.0
    wide = np.longdouble
    actual, expected = actual.astype(wide), expected.astype(wide)
    edge = np.ldexp(wide(2) - np.ldexp(wide(1), -bits), largest)
    expected = np.where(np.abs(expected) >= edge, np.copysign(wide(np.inf), expected), expected)
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        exponent = np.frexp(np.where(np.isfinite(reach), reach, 1).astype(wide))[1] - 1
        lowest = 2 - largest - bits
        unit = np.ldexp(wide(1), np.maximum(exponent - (bits - 1), lowest))
        error = np.where(same, 0, np.abs(actual - expected) / unit)
    return float(np.max(np.where(np.isfinite(error), error, np.inf)))
