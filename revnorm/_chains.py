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
_BLOCK = 5


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
        start, size, most = 0, len(self._rows), len(self._first)
        while start < len(table) and self._count < most:
            part = table[start : start + size - self._filled]
            start, stop = start + len(part), self._filled + len(part)
            self._rows[self._filled : stop] = part
            self._filled = stop
            if stop == size:
                self._add()
        return start

    def _add(self) -> None:
        """Write the sums of the block, and use it up."""
        at, block = slice(self._count, self._count + _BLOCK), self._block
        with np.errstate(all="ignore"):
            np.matmul(ONES, block, out=self._first[at])
            np.matmul(ONES, np.multiply(block, block, out=block), out=self._second[at])
        self._count, self._filled = at.stop, 0

    @np.errstate(all="ignore")
    def moments(self) -> Moments:
        """The moments of all rows taken so far, of which there are some; more may come."""
        np.setbufsize(BUFFER)
        left = self._rows[: self._filled]
        total = np.add.reduce(self._first[: self._count], axis=0).reshape(-1, left.shape[1])
        mean = (np.add.reduce(total, axis=0) + np.add.reduce(left, axis=0)) / len(self)
        # As float32 holds it: no number of the data is nearer.
        pivot = mean.astype(np.float32).astype(np.float64)
        row = np.tile(pivot, len(total))
        sums = np.zeros((2, len(row)))
        if self._count:
            sums += self._of_chains(row)
        if self._filled:
            sums += self._of_left(row)
        sums = added(sums.reshape(2, len(total), -1).swapaxes(0, 1))
        return moments_of(pivot, sums, len(self))

    def _of_chains(self, row: np.ndarray) -> np.ndarray:
        """The sums of the deviations from the pivot and of their squares, in chains."""
        first, second = self._first[: self._count], self._second[: self._count]
        ones, squares = sums = np.empty((2, *first.shape))
        np.subtract(first, CHAIN / 2 * row, out=ones)
        np.multiply(ones, 2 * row, out=ones)
        np.subtract(second, ones, out=squares)
        np.subtract(first, CHAIN * row, out=ones)
        return added(sums.swapaxes(0, 1))

    def _of_left(self, row: np.ndarray) -> np.ndarray:
        """The same in the rows that fill no block."""
        filled = -(-self._filled * self._rows.shape[1] // len(row))
        d = self._block.reshape(-1, len(row))[:filled] - row
        d.reshape(-1, self._rows.shape[1])[self._filled :] = 0
        return added(np.stack([d, d * d], axis=1))
