"""Dask arrays of which every chunk holds its instances whole: each chunk is a NumPy array."""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from revnorm._checks import Array, is_known
from revnorm._libraries import is_dask
from revnorm._trees import filled, is_array, leaves, mapped


def hold_instances(x: Array, operands: Any, axis: tuple[int, ...], whole: bool) -> bool:
    """Whether a chunk of x knows all of what it needs; without `whole`, it always does."""
    if not is_dask(x) or type(getattr(x, "_meta", None)) is not np.ndarray:
        return False
    sizes = (size for a in (x, *leaves(operands)) for sizes in a.chunks for size in sizes)
    cut = whole and any(x.numblocks[i] > 1 for i in axis)
    return all(map(is_known, sizes)) and 0 not in x.shape and not cut


def run(
    on_block: Callable[..., tuple[Any, ...]], x: Array, operands: Any, axis: Any, result: Any
) -> tuple[Any, ...]:
    """What `on_block(x, operands)` gives for each chunk: y or None, then numbers an instance.

    The latter travel as one array of a structured dtype, so that they are taken once.
    """
    # Dask would cut x where an operand is cut.
    given = [a.rechunk(_like(a, x)) for a in leaves(operands)]
    every = tuple(range(x.ndim))
    like = mapped(lambda a: np.ones((1,) * a.ndim, a.dtype), (x, operands))
    y, *fields = on_block(*like)
    kept = np.dtype([(str(i), a.dtype) for i, a in enumerate(fields) if is_array(a)])

    def drawn(block: Any, *others: Any) -> Any:
        return on_block(block, filled(operands, iter(others)))[0]

    def measured(block: Any, *others: Any) -> Any:
        _, *taken = on_block(block, filled(operands, iter(others)))
        arrays = [a for a in taken if is_array(a)]
        packed = np.empty(arrays[0].shape, kept)
        for name, array in zip(kept.names or (), arrays, strict=True):
            packed[name] = array
        return packed

    def blockwise(function: Any, dtype: Any, **options: Any) -> Any:
        pairs = [part for a in (x, *given) for part in (a, every)]
        meta = np.empty((0,) * x.ndim, dtype)
        return import_module("dask.array").blockwise(
            function, every, *pairs, dtype=dtype, meta=meta, **options
        )

    y = None if y is None else blockwise(drawn, np.dtype(result))
    if not kept.names:
        return y, *fields
    packed = blockwise(measured, kept, adjust_chunks={i: lambda _: 1 for i in axis})
    count, names = math.prod([x.shape[one] for one in axis]), iter(kept.names)
    # The one number among them is how many elements an instance has.
    return y, *(packed[next(names)] if is_array(a) else a and count for a in fields)


def _like(array: Array, x: Array) -> tuple[Any, ...]:
    """The chunks of x, along the axes on which an array varies."""
    chunks = zip(array.shape, array.chunks, x.chunks, strict=True)
    return tuple(own if size == 1 else other for size, own, other in chunks)
