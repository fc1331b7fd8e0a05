"""Moments of a stream of batches: one pass, float64, and memory that does not grow.

Parts are merged as the digits of a binary counter are: a part takes in the one before it as long as
that holds at most twice as much. So there are few parts, each was merged few times, and no sum
runs on for the whole length of the stream.
"""

import math
from contextlib import AbstractContextManager
from functools import reduce
from threading import Lock
from typing import Any

import numpy as np

from revnorm import _checks
from revnorm._convert import convert, moved
from revnorm._host import is_on_host, to_numpy
from revnorm._libraries import array_namespace, is_dask
from revnorm._memory import quiet
from revnorm._moments import Moments, as_moments, merged, moments, together
from revnorm._read_once import read_once
from revnorm._room import Room, room
from revnorm._sample import Sample, pooled
from revnorm._trees import Array

# Elements that are gathered before they are measured.
GATHERED = 1 << 20
_HOST = np.empty(0)


class Stream:
    """The moments of all batches added, over axes that are the same for each of them."""

    def __init__(self, shape: tuple[int, ...], axis: tuple[int, ...]) -> None:
        self.axis = axis
        self.shape = tuple(1 if i in axis else size for i, size in enumerate(shape))
        self._parts: list[Moments] = []
        self._room: Room | None = None
        self._known: Moments | None = None
        self.changes = 0
        # What was made of the moments, after how many changes: kept by whoever makes it.
        self.map: Any = None
        self._lock: AbstractContextManager[Any] = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock, which cannot be copied; what was gathered is a part."""
        with self._lock:
            state = {name: value for name, value in vars(self).items() if name != "_lock"}
            return state | {
                "_parts": [*self._parts, *self._gathered()],
                "_room": None,
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The same with a lock of its own."""
        vars(self).update(state, _lock=Lock())

    def add(self, x: Array, where: Array | None = None, weights: Array | None = None) -> None:
        """Take in a batch that was checked, with a mask and weights of its shape or less."""
        if 0 in x.shape:
            return
        if is_on_host(x):
            x = to_numpy(x)
            if where is None and weights is None:
                with self._lock:
                    if self._gather(x):
                        return
        where, weights = (None if a is None else moved(a, x) for a in (where, weights))
        parts = measured(x, self.axis, where, weights)
        with self._lock:
            for part in parts:
                self._put(part if isinstance(part.mean, np.ndarray) else convert(part, _HOST))

    def takes(self, x: Array) -> bool:
        """Take in a batch that is just as one before, and needs no check; False if it is not."""
        if type(x) is not np.ndarray:
            return False
        with self._lock:
            if self._room is None or not self._room.takes(x):
                return False
            self._lay(self._room, x)
            return True

    def put(self, part: Moments) -> None:
        """Take in what another stream has seen."""
        with self._lock:
            self._put(part)

    @np.errstate(all="ignore")
    def moments(self) -> Moments:
        """Those of all that was added; the parts stay as they are."""
        with self._lock:
            if self._known is None:
                parts = [*self._parts, *self._gathered()]
                self._known = reduce(lambda last, one: merged(one, last), reversed(parts))
            return Moments(*(field.copy() for field in self._known))

    def _gather(self, x: np.ndarray) -> bool:
        """Take a batch in with those before it, to be measured with them; False if it is not."""
        if self._room is None or not self._room.takes(x):
            other = room(x, self.axis, GATHERED, measured)
            if other is None:
                return False
            for part in self._gathered():
                self._put(part)
            self._room = other
        self._lay(self._room, x)
        return True

    def _lay(self, held: Room, x: np.ndarray) -> None:
        self._change()
        for part in held.add(x):
            self._put(part)

    def _gathered(self) -> list[Moments]:
        return [] if self._room is None else self._room.moments()

    def _change(self) -> None:
        self._known = None
        self.changes += 1

    @np.errstate(all="ignore")
    def _put(self, part: Moments) -> None:
        self._change()
        parts = self._parts
        while parts and np.max(parts[-1].count) <= 2 * np.max(part.count):
            part = merged(parts.pop(), part)
        parts.append(part)


@quiet
def measured(
    x: Array, axis: tuple[int, ...], where: Array | None = None, weights: Array | None = None
) -> list[Moments]:
    """Moments of a batch, in parts; an element counts as much as it weighs."""
    if weights is None:
        parts = read_once(x, axis) if where is None and type(x) is np.ndarray else None
        return parts or [moments(x, axis=axis, where=where)]
    xp, at, size = array_namespace(x), axis[0], math.prod(x.shape)
    weights = _checks.aligned(xp, weights, x.ndim)
    if is_dask(x):
        weights = weights + xp.zeros_like(x, dtype=weights.dtype)
    else:
        weights = xp.broadcast_to(weights, x.shape)
    if where is not None:
        weights = xp.where(where, weights, 0.0)
    if is_dask(x):
        return [as_moments(together(_weighted(x, weights, axis), axis))]
    rows = max(GATHERED * x.shape[at] // size, 1)
    cuts = [
        (slice(None),) * at + (slice(start, start + rows), ...)
        for start in range(0, x.shape[at], rows)
    ]
    samples = (_weighted(x[cut], weights[cut], axis) for cut in cuts)
    return [as_moments(pooled(sample, axis)) for sample in samples]


def _weighted(x: Array, weights: Array, axis: tuple[int, ...]) -> Sample:
    """Samples of one element each, as large as it weighs."""
    xp = array_namespace(x)
    seen = weights > 0
    x, weights = (xp.astype(a, xp.float64) for a in (xp.where(seen, x, 0.0), weights))
    nothing = xp.zeros_like(x)
    return Sample(x, nothing, nothing, weights)
