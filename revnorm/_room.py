"""Small batches of NumPy's laid behind each other, as a call costs as much as many elements."""

import math

import numpy as np


class Room:
    """Space for batches of one dtype, and of the same sizes but along one axis."""

    def __init__(self, like: np.ndarray, at: int, elements: int) -> None:
        self._others = (*like.shape[:at], *like.shape[at + 1 :])
        self._length = max(elements // math.prod(self._others), like.shape[at])
        shape = (*like.shape[:at], self._length, *like.shape[at + 1 :])
        self._array = np.empty(shape, like.dtype)
        self._at, self._before = at, (slice(None),) * at
        self._filled = 0

    def take(self, x: np.ndarray) -> bool:
        """Copy a batch; False if it is of another kind, or does not fit behind the others."""
        if x.dtype != self._array.dtype or x.ndim != self._array.ndim:
            return False
        shape, at = x.shape, self._at
        end = self._filled + shape[at]
        if end > self._length or (*shape[:at], *shape[at + 1 :]) != self._others:
            return False
        self._array[(*self._before, slice(self._filled, end))] = x
        self._filled = end
        return True

    def held(self) -> np.ndarray | None:
        """All batches taken so far as one, or None."""
        return self._array[(*self._before, slice(self._filled))] if self._filled else None

    def clear(self) -> None:
        self._filled = 0
