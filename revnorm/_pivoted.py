"""Moments from sums around a number near the mean.

    d = x − pivot        mean = pivot + E[d]        variance = E[d²] − E[d]²

That loses few digits as long as the pivot is within a standard deviation of the mean, and squares
stay within the range.
"""

import numpy as np

from revnorm._moments import Moments
from revnorm._sums import two_sum

# Elements that fit in the cache, in float64.
BLOCK = 44800
# NumPy copies what broadcasts along fewer elements into a buffer, again and again.
BUFFER = 256
# Samples by which a pivot is chosen.
FEW = 64
# Rows in a chain, and elements side by side: few enough that BLAS adds a chain on one thread.
CHAIN, WIDE = 16, 560
ONES = np.ones(CHAIN)


def pivot_of(some: np.ndarray) -> np.ndarray:
    """A number near the mean of each column by a few of its rows, which those could hold."""
    mean = (np.add.reduce(some, axis=0, dtype=np.float64) / len(some)).astype(some.dtype)
    return np.clip(mean, some.min(axis=0), some.max(axis=0)).astype(np.float64)


def is_near(sums: np.ndarray, length: int) -> bool:
    """Whether the pivot was within a deviation of every mean, and no square left the range."""
    step, square = sums / length
    return bool(((2 * step * step <= square) & (square < np.inf)).all())


def moments_of(pivot: np.ndarray, sums: np.ndarray, length: int) -> Moments:
    """The moments, given the sums of so many deviations from the pivot and of their squares."""
    step, square = sums / length
    variance = np.maximum(square - step * step, 0.0)
    return Moments(*two_sum(pivot, step), variance, np.full(pivot.shape, float(length)))


def added(rows: np.ndarray) -> np.ndarray:
    """The sum of rows, pairwise; they are written over."""
    length = len(rows)
    while length > 1:
        half = length // 2
        rows[:half] += rows[length - half : length]
        length -= half
    return rows[0]
