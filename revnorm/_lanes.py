"""Moments of lanes, numbers that lie one behind the other in memory, in one read.

Blocks of them fit in the cache, and NumPy adds them pairwise.
"""

import numpy as np

from revnorm._moments import Moments
from revnorm._pivoted import BLOCK, FEW, added, is_near, moments_of, pivot_of


def lanes(x: np.ndarray) -> list[Moments] | None:
    """The moments over the first and last of three axes; or None."""
    outer, width, length = x.shape
    if outer * length < 4 * FEW:
        return None
    side = min(outer, max(int(FEW**0.5), FEW // length))
    some = x[:: outer // side, :, :: max(length * side // FEW, 1)]
    pivot = pivot_of(some.swapaxes(1, 2).reshape(-1, width))
    sums = _sums(x.reshape(-1, length), np.tile(pivot, outer))
    sums = added(sums.reshape(2, outer, width).swapaxes(0, 1))
    count = outer * length
    return [moments_of(pivot, sums, count)] if is_near(sums, count) else None


def _sums(rows: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    """The sums of the deviations from the pivot and of their squares, row by row."""
    count, length = rows.shape
    long = min(length, BLOCK)
    few = max(BLOCK // long, 1)
    sums, room = np.empty((-(-length // long), 2, count)), np.empty((min(few, count), long))
    for i, left in enumerate(range(0, length, long)):
        for start in range(0, count, few):
            at = slice(start, start + few)
            block = rows[at, left : left + long]
            d = room[: block.shape[0], : block.shape[1]]
            d[...] = block
            np.subtract(d, pivot[at, None], out=d)
            np.add.reduce(d, axis=1, out=sums[i, 0, at])
            np.add.reduce(np.multiply(d, d, out=d), axis=1, out=sums[i, 1, at])
    return added(sums)
