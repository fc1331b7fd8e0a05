"""Moments of a table's columns in one read.

Rows are laid side by side, so that NumPy's loops are long, in blocks that fit in the cache. Sixteen
of them, a chain, are added in one, and chains pairwise.

Of float32 data the pivot is subtracted from the sums of chains, which are fewer than the data:

    Σ d = Σ x − 16 · pivot        Σ d² = Σ x² − 2 · pivot · Σ x + 16 · pivot²

Products of two float32 numbers, and sums of sixteen such products, are exact in float64 as long as
the numbers are within a factor of two. Where one is not, it is far from the pivot too, and its
deviation is as large as what rounding is a share of.
"""

from itertools import pairwise

import numpy as np

from revnorm._memory import is_narrow
from revnorm._moments import Moments
from revnorm._pivoted import BLOCK, FEW, added, moments_of, pivot_of

# Rows in a chain, and elements side by side: few enough that BLAS adds a chain on one thread.
_CHAIN, _WIDE = 16, 560
_ONES = np.ones(_CHAIN)
# Elements measured in one.
_PIECE = 1 << 20


def columns(table: np.ndarray) -> list[Moments] | None:
    """The moments of the columns, in parts that each hold some of the rows; or None."""
    length, width = table.shape
    if length < 4 * FEW:
        return None
    pieces = min(max(round(table.size / _PIECE), 1), length // (4 * FEW))
    edges = [length * i // pieces for i in range(pieces + 1)]
    found = []
    for start, stop in pairwise(edges):
        cuts = [_measured(table[start:stop, i : i + _WIDE]) for i in range(0, width, _WIDE)]
        known = [one for one in cuts if one is not None]
        if len(known) < len(cuts):
            return None
        found.append(Moments(*map(np.concat, zip(*known, strict=True))))
    return found


def _measured(table: np.ndarray) -> Moments | None:
    length, width = table.shape
    pivot = pivot_of(table[:: length // FEW])
    sums = _sums(table, pivot, min(_WIDE // width, length // _CHAIN))
    return moments_of(pivot, sums, length)


def _sums(table: np.ndarray, pivot: np.ndarray, side: int) -> np.ndarray:
    """The sums of the deviations from the pivot and of their squares, column by column."""
    length, width = table.shape
    whole = length - length % (side * _CHAIN)
    chains = table[:whole].reshape(-1, _CHAIN, side * width)
    count, _, wide = chains.shape
    few = min(BLOCK // (_CHAIN * wide), count)
    first, second = sums = np.empty((2, count + 1, wide))
    room, row = np.empty((few, _CHAIN, wide)), np.tile(pivot, side)
    for start in range(0, count, few):
        block = chains[start : start + few]
        at = slice(start, start + len(block))
        _add(block, row, room[: len(block)], first[at], second[at])
    # Rows that are no chain, and behind them what deviates by nothing.
    last = np.broadcast_to(pivot, (side * _CHAIN, width)).astype(table.dtype)
    last[: length - whole] = table[whole:]
    _add(last.reshape(1, _CHAIN, wide), row, room[:1], first[count:], second[count:])
    if is_narrow(table):
        second -= first * (2 * row)
        second += _CHAIN * row * row
        first -= _CHAIN * row
    sums = added(sums.swapaxes(0, 1))
    return added(sums.reshape(2, side, width).swapaxes(0, 1))


def _add(
    chains: np.ndarray, row: np.ndarray, room: np.ndarray, first: np.ndarray, second: np.ndarray
) -> None:
    """Writes the sums of chains; of float32 numbers the pivot is left in."""
    if is_narrow(chains):
        room[...] = chains
    else:
        np.subtract(chains, row, out=room)
    np.matmul(_ONES, room, out=first)
    np.matmul(_ONES, np.multiply(room, room, out=room), out=second)
