"""Batches of NumPy's taken in one after another, as a call costs as much as many elements."""

import math
from collections.abc import Callable

import numpy as np

from revnorm._chains import Chains
from revnorm._memory import is_narrow
from revnorm._moments import Moments
from revnorm._pivoted import WIDE

# Bytes of a batch that may be copied.
SMALL = 1 << 21

Measure = Callable[[np.ndarray, tuple[int, ...]], list[Moments]]


def room(like: np.ndarray, axis: tuple[int, ...], elements: int, measure: Measure) -> "Room | None":
    """Space for so many elements, of batches like one; None if that is better measured alone."""
    leading = axis == tuple(range(len(axis)))
    if is_narrow(like) and leading and math.prod(like.shape[len(axis) :]) <= WIDE:
        return _Rows(like, len(axis), elements) if _Rows.is_read(like) else None
    return _Copies(like, axis, elements, measure) if _Copies.is_read(like) else None


class Room:
    """Space for batches of one dtype, and of the same sizes but along some neighbouring axes."""

    def __init__(self, like: np.ndarray, start: int, stop: int) -> None:
        self._start, self._stop = start, stop
        self._kind = self._kind_of(like)

    def takes(self, x: np.ndarray) -> bool:
        """Whether a batch is of the kind that there is space for, and not better measured alone."""
        return self._kind_of(x) == self._kind and self.is_read(x)

    @staticmethod
    def is_read(x: np.ndarray) -> bool:
        """Whether a batch is small enough to be copied, or read as it lies."""
        return x.nbytes <= SMALL

    def add(self, x: np.ndarray) -> list[Moments]:
        """Take in a batch; the moments of what there was no more space for."""
        raise NotImplementedError

    def moments(self) -> list[Moments]:
        """The moments of all that is held."""
        raise NotImplementedError

    def _kind_of(self, x: np.ndarray) -> tuple[object, ...]:
        shape = x.shape
        return x.dtype, x.ndim, shape[: self._start], shape[self._stop :]


class _Rows(Room):
    """Of narrow numbers, of which the axes that are kept come last: rows of a table."""

    def __init__(self, like: np.ndarray, axes: int, elements: int) -> None:
        super().__init__(like, 0, axes)
        self._shape = (1,) * axes + like.shape[axes:]
        self._width = math.prod(self._shape)
        self._chains = Chains(elements // self._width, self._width)

    def add(self, x: np.ndarray) -> list[Moments]:
        table, full = x.reshape(-1, self._width), []
        while len(table := table[self._chains.take(table) :]):
            full.append(self._laid(self._chains.finish()))
        return full

    @staticmethod
    def is_read(x: np.ndarray) -> bool:
        return x.nbytes <= SMALL or x.flags.c_contiguous

    def moments(self) -> list[Moments]:
        return [self._laid(self._chains.moments())] if len(self._chains) else []

    def _laid(self, found: Moments) -> Moments:
        return Moments(*(field.reshape(self._shape) for field in found))


class _Copies(Room):
    """Laid behind each other along an axis."""

    def __init__(
        self, like: np.ndarray, axis: tuple[int, ...], elements: int, measure: Measure
    ) -> None:
        shape, at = like.shape, axis[0]
        super().__init__(like, at, at + 1)
        length = max(elements * shape[at] // like.size, shape[at])
        self._array = np.empty((*shape[:at], length, *shape[at + 1 :]), like.dtype)
        self._before = (slice(None),) * at
        self._measured = lambda held: measure(held, axis)
        self._filled = 0

    def add(self, x: np.ndarray) -> list[Moments]:
        full, size = [], x.shape[self._start]
        if self._filled + size > self._array.shape[self._start]:
            full, self._filled = self.moments(), 0
        self._array[(*self._before, slice(self._filled, self._filled + size))] = x
        self._filled += size
        return full

    def moments(self) -> list[Moments]:
        held = self._array[(*self._before, slice(self._filled))]
        return self._measured(held) if self._filled else []
