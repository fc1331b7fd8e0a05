"""Moments of a table's columns in one read.

Rows are laid side by side, so that NumPy's loops are long, in blocks that fit in the cache. Sixteen
of them, a chain, are added in one, and chains pairwise.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from revnorm._chains import Chains, rows_in_block
from revnorm._memory import is_narrow
from revnorm._moments import Moments
from revnorm._pivoted import BLOCK, CHAIN, FEW, ONES, WIDE, added, is_near, moments_of, pivot_of

# Elements measured in one.
_PIECE = 1 << 20
_Measure = Callable[[np.ndarray], Moments | None]


def columns(table: np.ndarray) -> list[Moments] | None:
    """The moments of the columns, in parts that each hold some of the rows; or None."""
    length, width = table.shape
    pieces = min(max(round(table.size / _PIECE), 1), max(length // (4 * FEW), 1))
    # Of whole blocks, where there are several.
    block = rows_in_block(width)
    edges = [0, *(length * i // pieces // block * block for i in range(1, pieces)), length]
    cuts = range(0, width, WIDE)
    measures: list[_Measure] = [_around for _ in cuts]
    if is_narrow(table):
        longest = max(stop - start for start, stop in pairwise(edges))
        measures = [_of_chains(Chains(longest, min(WIDE, width - i))) for i in cuts]
    found = []
    for start, stop in pairwise(edges):
        parts = [one(table[start:stop, i : i + WIDE]) for i, one in zip(cuts, measures)]
        known = [one for one in parts if one is not None]
        if len(known) < len(parts):
            return None
        found.append(Moments(*map(np.concat, zip(*known, strict=True))))
    return found


def _of_chains(chains: Chains) -> _Measure:
    """By sums that are written over each time."""

    def measured(table: np.ndarray) -> Moments:
        chains.take(table)
        return chains.finish()

    return measured


def _around(table: np.ndarray) -> Moments | None:
    """Around a pivot, if that turns out to be near the mean."""
    length, width = table.shape
    if length < 4 * FEW:
        return None
    pivot = pivot_of(table[:: length // FEW])
    sums = _sums(table, pivot, min(WIDE // width, length // CHAIN))
    return moments_of(pivot, sums, length) if is_near(sums, length) else None


def _sums(table: np.ndarray, pivot: np.ndarray, side: int) -> np.ndarray:
    """The sums of the deviations from the pivot and of their squares, column by column."""
    length, width = table.shape
    whole = length - length % (side * CHAIN)
    chains = table[:whole].reshape(-1, CHAIN, side * width)
    count, _, wide = chains.shape
    few = min(BLOCK // (CHAIN * wide), count)
    first, second = sums = np.empty((2, count + 1, wide))
    room, row = np.empty((few, CHAIN, wide)), np.tile(pivot, side)
    for start in range(0, count, few):
        block = chains[start : start + few]
        at = slice(start, start + len(block))
        _add(block, row, room[: len(block)], first[at], second[at])
    # Rows that are no chain, and behind them what deviates by nothing.
    last = np.broadcast_to(pivot, (side * CHAIN, width)).astype(table.dtype)
    last[: length - whole] = table[whole:]
    _add(last.reshape(1, CHAIN, wide), row, room[:1], first[count:], second[count:])
    sums = added(sums.swapaxes(0, 1))
    return added(sums.reshape(2, side, width).swapaxes(0, 1))


def _add(
    chains: np.ndarray, row: np.ndarray, room: np.ndarray, first: np.ndarray, second: np.ndarray
) -> None:
    """Writes the sums of the deviations in chains, and of their squares."""
    np.subtract(chains, row, out=room)
    np.matmul(ONES, room, out=first)
    np.matmul(ONES, np.multiply(room, room, out=room), out=second)
