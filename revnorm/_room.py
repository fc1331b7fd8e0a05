"""Small batches of NumPy's taken in one after another, as a call costs as much as many elements."""

import math
from collections.abc import Callable

import numpy as np

from revnorm._chains import Chains
from revnorm._memory import is_narrow
from revnorm._moments import Moments
from revnorm._pivoted import WIDE

Measure = Callable[[np.ndarray, tuple[int, ...]], list[Moments]]


class Room:
    """Space for batches of one dtype, of the same sizes but along axes that are reduced.

    Rows of narrow numbers are added up as they come, others laid behind each other.
    """

    def __init__(
        self, like: np.ndarray, axis: tuple[int, ...], elements: int, measure: Measure
    ) -> None:
        width = math.prod(like.shape[len(axis) :])
        leading = axis == tuple(range(len(axis)))
        self._store: _Sums | _Copies
        if is_narrow(like) and leading and width <= WIDE:
            self._free = slice(0, len(axis))
            self._store = _Sums(like.shape, len(axis), elements // width)
        else:
            self._free = slice(axis[0], axis[0] + 1)
            self._store = _Copies(like, axis, elements, measure)
        self._dtype, self._sizes = like.dtype, self._sizes_of(like)

    def takes(self, x: np.ndarray) -> bool:
        """Whether a batch is of the kind that there is space for."""
        return x.dtype == self._dtype and self._sizes_of(x) == self._sizes

    def add(self, x: np.ndarray) -> list[Moments]:
        """Take in a batch; the moments of what there was no more space for."""
        return self._store.add(x)

    def moments(self) -> list[Moments]:
        """The moments of all that is held."""
        return self._store.moments()

    def _sizes_of(self, x: np.ndarray) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        return x.ndim, x.shape[: self._free.start], x.shape[self._free.stop :]


class _Sums:
    """Batches of which the axes that are kept come last, as rows of a table."""

    def __init__(self, shape: tuple[int, ...], axes: int, rows: int) -> None:
        self._shape = (1,) * axes + shape[axes:]
        self._width = math.prod(shape[axes:])
        self._chains = Chains(rows, self._width)

    def add(self, x: np.ndarray) -> list[Moments]:
        table, full = x.reshape(-1, self._width), []
        while len(table := table[self._chains.take(table) :]):
            full += self.moments()
            self._chains.clear()
        return full

    def moments(self) -> list[Moments]:
        if not len(self._chains):
            return []
        return [Moments(*(field.reshape(self._shape) for field in self._chains.moments()))]


class _Copies:
    """Batches laid behind each other along an axis."""

    def __init__(
        self, like: np.ndarray, axis: tuple[int, ...], elements: int, measure: Measure
    ) -> None:
        shape, at = like.shape, axis[0]
        length = max(elements * shape[at] // like.size, shape[at])
        self._array = np.empty((*shape[:at], length, *shape[at + 1 :]), like.dtype)
        self._before = (slice(None),) * at
        self._measured = lambda held: measure(held, axis)
        self._filled = 0

    def add(self, x: np.ndarray) -> list[Moments]:
        at, full = len(self._before), []
        if self._filled + x.shape[at] > self._array.shape[at]:
            full, self._filled = self.moments(), 0
        stop = self._filled + x.shape[at]
        self._array[(*self._before, slice(self._filled, stop))] = x
        self._filled = stop
        return full

    def moments(self) -> list[Moments]:
        held = self._array[(*self._before, slice(self._filled))]
        return self._measured(held) if self._filled else []
