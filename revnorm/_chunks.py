"""Dask arrays of which every chunk holds its instances whole: each chunk is a NumPy array."""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from revnorm._checks import Array, is_known
from revnorm._libraries import is_dask
from revnorm._trees import filled, is_array, leaves, mapped


def hold_instances(x: Array, axis: tuple[int, ...], whole: bool) -> bool:
    """Whether a chunk of x knows all of what it needs; without `whole`, it always does."""
    if not is_dask(x) or type(getattr(x, "_meta", None)) is not np.ndarray:
        return False
    known = all(is_known(size) for sizes in x.chunks for size in sizes)
    return known and 0 not in x.shape and (not whole or all(x.numblocks[i] == 1 for i in axis))


def run(
    on_block: Callable[..., tuple[Any, ...]], x: Array, operands: Any, axis: Any, result: Any
) -> tuple[Any, ...]:
    """What `on_block(x, operands)` gives for each chunk: y or None, then numbers an instance.

    The latter travel as one array of a structured dtype, so that they are taken once.
    """
    given, every = leaves(operands), tuple(range(x.ndim))
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
