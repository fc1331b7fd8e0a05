"""Moments from sums around a number near the mean.

    d = x − pivot        mean = pivot + E[d]        variance = E[d²] − E[d]²

That loses few digits as long as the pivot is within a standard deviation of the mean. Where it
turns out not to be, or squares leave the range, there are none.
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


def pivot_of(some: np.ndarray) -> np.ndarray:
    """A number near the mean of each column by a few of its rows, which those could hold."""
    mean = (np.add.reduce(some, axis=0, dtype=np.float64) / len(some)).astype(some.dtype)
    return np.clip(mean, some.min(axis=0), some.max(axis=0)).astype(np.float64)


def moments_of(pivot: np.ndarray, sums: np.ndarray, length: int) -> Moments | None:
    """The moments, given the sums of so many deviations from the pivot and of their squares."""
    first, second = sums
    step = first / length
    variance = second / length - step * step
    if not ((step * step <= variance) & (second < np.inf)).all():
        return None
    return Moments(*two_sum(pivot, step), variance, np.full(pivot.shape, float(length)))


def added(rows: np.ndarray) -> np.ndarray:
    """The sum of rows, pairwise; they are written over."""
    length = len(rows)
    while length > 1:
        half = length // 2
        rows[:half] += rows[length - half : length]
        length -= half
    return rows[0]
