"""Moments of rows of narrow numbers, in one read, however few of them come at a time.

Rows are laid side by side, so that NumPy's loops are long, in a block that fits in the cache.
Sixteen of them, a chain, are added in one, and chains pairwise. Their sums show a number near the
mean, the pivot, which is subtracted from them, as they are fewer than the data:

    Σ d = Σ x − 16 · pivot        Σ d² = Σ x² − 2 · pivot · (Σ x − 8 · pivot)

Products of two float32 numbers, and sums of sixteen such products, are exact in float64 as long as
the numbers are within a factor of two. Where one is not, it is far from the pivot too, and its
deviation is as large as what rounding is a share of.
"""

import numpy as np

from revnorm._moments import Moments
from revnorm._pivoted import BUFFER, CHAIN, ONES, WIDE, added, moments_of

# Chains in a block.
_BLOCK = 7


def rows_in_block(width: int) -> int:
    return _BLOCK * CHAIN * max(WIDE // width, 1)


class Chains:
    """Rows of one width that are added up as they come."""

    def __init__(self, rows: int, width: int) -> None:
        side = max(min(WIDE // width, rows // (_BLOCK * CHAIN)), 1)
        self._block = np.empty((_BLOCK, CHAIN, side * width))
        self._rows = self._block.reshape(-1, width)
        count = -(-rows // len(self._rows)) * _BLOCK
        self._first, self._second = np.empty((2, count, side * width))
        self.clear()

    def clear(self) -> None:
        self._count = self._filled = 0

    def __len__(self) -> int:
        """How many rows were taken."""
        return self._count * len(self._rows) // _BLOCK + self._filled

    def take(self, table: np.ndarray) -> int:
        """Add rows, at most as many as still fit; how many these are."""
        start, free, most = 0, len(self._rows) - self._filled, len(self._first)
        if len(table) >= free:
            with np.errstate(all="ignore"):
                while len(table) - start >= free and self._count < most:
                    self._lay(table[start : start + free])
                    self._add()
                    start, free = start + free, len(self._rows)
        if self._count == most:
            return start
        self._lay(table[start:])
        return len(table)

    def _lay(self, table: np.ndarray) -> None:
        """Rows behind those in the block, in which there is room for them."""
        stop = self._filled + len(table)
        self._rows[self._filled : stop] = table
        self._filled = stop

    def _add(self) -> None:
        """Write the sums of the block, and use it up."""
        at, block = slice(self._count, self._count + _BLOCK), self._block
        np.matmul(ONES, block, out=self._first[at])
        np.matmul(ONES, np.multiply(block, block, out=block), out=self._second[at])
        self._count, self._filled = at.stop, 0

    def moments(self) -> Moments:
        """The moments of all rows taken so far, of which there are some; more may come."""
        return self._moments(self._first[: self._count].copy(), self._second[: self._count].copy())

    def finish(self) -> Moments:
        """The same, where those that come are to be added up anew."""
        found = self._moments(self._first[: self._count], self._second[: self._count])
        self.clear()
        return found

    @np.errstate(all="ignore")
    def _moments(self, first: np.ndarray, second: np.ndarray) -> Moments:
        """By the sums of the chains, which are written over."""
        np.setbufsize(BUFFER)
        left = self._rows[: self._filled]
        total = np.add.reduce(first, axis=0).reshape(-1, left.shape[1])
        mean = (np.add.reduce(total, axis=0) + np.add.reduce(left, axis=0)) / len(self)
        # As float32 holds it: no number of the data is nearer.
        pivot = mean.astype(np.float32).astype(np.float64)
        row = np.tile(pivot, len(total))
        sums = np.zeros((2, len(row)))
        if len(first):
            gap = first - CHAIN / 2 * row
            second -= np.multiply(gap, 2 * row, out=gap)
            first -= CHAIN * row
            sums += added(first), added(second)
        if len(left):
            sums += self._of_left(row)
        sums = added(sums.reshape(2, len(total), -1).swapaxes(0, 1))
        return moments_of(pivot, sums, len(self))

    def _of_left(self, row: np.ndarray) -> np.ndarray:
        """The sums of the deviations, and of their squares, in the rows that fill no block."""
        filled = -(-self._filled * self._rows.shape[1] // len(row))
        d = self._block.reshape(-1, len(row))[:filled] - row
        d.reshape(-1, self._rows.shape[1])[self._filled :] = 0
        return added(np.stack([d, d * d], axis=1))
