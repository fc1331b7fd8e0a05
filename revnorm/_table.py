"""Moments of a table's columns in one read, where that is as exact as reading it twice.

    d = x − pivot        mean = pivot + E[d]        variance = E[d²] − E[d]²

Rows are laid side by side, so that NumPy's loops are long, and are added pairwise. That loses few
digits as long as the pivot is near the mean; where it turns out not to be, or squares leave the
range, there is no result, and the data are to be measured as any others.
"""

from itertools import pairwise

import numpy as np

from revnorm._moments import Moments
from revnorm._sums import two_sum

# Elements side by side, rows of them that are added in one, and elements measured in one.
_WIDE, _ROWS, _PIECE = 640, 128, 1 << 20
# Rows by which a pivot is chosen.
_FEW = 64


def columns(x: np.ndarray, axis: tuple[int, ...]) -> list[Moments] | None:
    """Moments over the first axes of an array that lies in order, of parts of it; or None."""
    if axis != tuple(range(len(axis))) or not x.flags.c_contiguous or x.dtype.itemsize < 4:
        return None
    kept = (*(1 for _ in axis), *x.shape[len(axis) :])
    table = x.reshape(-1, x.size // max(np.prod(x.shape[: len(axis)], dtype=int), 1))
    length, width = table.shape
    if width > _WIDE or length < 4 * _FEW:
        return None
    pieces = max(round(x.size / _PIECE), 1)
    edges = [length * i // pieces for i in range(pieces + 1)]
    found = []
    with np.errstate(all="ignore"):
        for start, stop in pairwise(edges):
            fields = _measured(table[start:stop])
            if fields is None:
                return None
            found.append(Moments(*(field.reshape(kept) for field in fields)))
    return found


def _measured(table: np.ndarray) -> Moments | None:
    length, width = table.shape
    some = table[:: length // _FEW].astype(np.float64)
    pivot = np.clip(some.mean(axis=0), some.min(axis=0), some.max(axis=0))
    # Where numbers are wider than the data, three bits are to spare.
    loose = 1.0 if table.dtype == np.float64 else 8.0
    if loose > 1 and (pivot * pivot <= loose / 2 * some.var(axis=0)).all():
        pivot[:] = 0.0
    side = min(_WIDE // width, length)
    whole = length - length % side
    sums = _sums(table[:whole].reshape(-1, side * width), np.tile(pivot, side))
    first, second = (_added(one.reshape(side, width)) for one in sums)
    if whole < length:
        rest = table[whole:] - pivot
        first, second = first + rest.sum(axis=0), second + (rest * rest).sum(axis=0)
    step = first / length
    variance = second / length - step * step
    if not ((step * step <= loose * variance) & (second < np.inf)).all():
        return None
    return Moments(*two_sum(pivot, step), variance, np.full(width, float(length)))


def _sums(rows: np.ndarray, pivot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the deviations from the pivot, and of their squares, column by column."""
    count = -(-len(rows) // _ROWS)
    first, second = np.empty((2, count, rows.shape[1]))
    room, squares = np.empty((2, _ROWS, rows.shape[1]))
    shifted = pivot.any()
    for i in range(count):
        block = rows[i * _ROWS : (i + 1) * _ROWS]
        d, square = room[: len(block)], squares[: len(block)]
        if shifted and block.dtype == d.dtype:
            np.subtract(block, pivot, out=d)
        else:
            d[...] = block
            if shifted:
                d -= pivot
        np.multiply(d, d, out=square)
        first[i], second[i] = _added(d), _added(square)
    return _added(first), _added(second)


def _added(rows: np.ndarray) -> np.ndarray:
    """The sum of rows, pairwise; they are written over."""
    length = len(rows)
    while length > 1:
        half = length // 2
        rows[:half] += rows[length - half : length]
        length -= half
    return rows[0]
