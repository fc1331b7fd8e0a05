"""Dask arrays of which every chunk holds its instances whole: each chunk is a NumPy array."""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from revnorm._checks import is_known
from revnorm._libraries import is_dask
from revnorm._trees import Array, filled, is_array, leaves, mapped

# Chunks whose statistics are taken together: a deeper tree has more tasks, a flatter one larger.
_TOGETHER = 16


def hold_instances(x: Array, operands: Any, axis: tuple[int, ...], whole: bool) -> bool:
    """Whether a chunk of x knows all of what it needs; without `whole`, it always does."""
    return are_plain(x, operands) and not (whole and _is_cut(x, axis))


def cut_instances(x: Array, operands: Any, axis: tuple[int, ...]) -> bool:
    """Whether instances of x lie in several chunks, of which each is a NumPy array."""
    return are_plain(x, operands) and _is_cut(x, axis)


def are_plain(x: Array, operands: Any = ()) -> bool:
    """Whether the chunks of x are NumPy arrays of known sizes, not all of them empty."""
    if not is_dask(x) or type(getattr(x, "_meta", None)) is not np.ndarray:
        return False
    sizes = (size for a in (x, *leaves(operands)) for sizes in a.chunks for size in sizes)
    return all(map(is_known, sizes)) and 0 not in x.shape


def run(
    on_block: Callable[..., tuple[Any, ...]], x: Array, operands: Any, axis: Any, result: Any
) -> tuple[Any, ...]:
    """What `on_block(x, operands)` gives for each chunk: y or None, then numbers an instance."""
    # What goes into a graph had better not hold one.
    given, operands = [x, *_laid(operands, x)], mapped(_one, operands)
    y, *fields = on_block(_one(x), operands)

    def drawn(block: Any, *others: Any) -> Any:
        return on_block(block, filled(operands, iter(others)))[0]

    def measured(block: Any, *others: Any) -> Any:
        return _packed(on_block(block, filled(operands, iter(others)))[1:])

    y = None if y is None else _blockwise(drawn, given, np.dtype(result))
    if not leaves(fields):
        return y, *fields
    packed = _blockwise(measured, given, _kept(fields), axis)
    count = math.prod([x.shape[one] for one in axis])
    # The one number among them is how many elements an instance has.
    return y, *(a if is_array(a) or a is None else count for a in _unpacked(packed, fields))


def gathered(
    taken: Callable[..., Any], pool: Callable[..., Any], x: Array, operands: Any, axis: Any
) -> Any:
    """What `pool` makes of the fields that `taken(x, operands)` gives for chunks along `axis`.

    Both keep it at size 1, and `pool` takes what neighbours gave, then what it gave of them, and so
    on: a tree, in which no task waits for more than a few. Chunks without elements are left out.
    """
    whole = tuple(
        tuple(size for size in sizes if size or i not in axis) for i, sizes in enumerate(x.chunks)
    )
    x = x.rechunk(whole)
    given, operands = [x, *_laid(operands, x)], mapped(_one, operands)
    fields = taken(_one(x), operands)

    def first(block: Any, *others: Any) -> Any:
        return _packed(taken(block, filled(operands, iter(others))))

    def pooled(packed: Any) -> Any:
        return _packed(pool(_unpacked(packed, fields)))

    packed = _blockwise(first, given, _kept(fields), axis)
    while _is_cut(packed, axis):
        packed = packed.rechunk(_with_neighbours(packed, axis))
        packed = _blockwise(_quiet(pooled), [packed], packed.dtype, axis)
    return _unpacked(packed, fields)


def elementwise(function: Callable[..., Any], *trees: Any) -> Any:
    """A tuple of arrays that NumPy computes of each chunk in one."""
    arrays = leaves(trees)
    ndim = max(a.ndim for a in arrays)
    arrays = [a.reshape((1,) * (ndim - a.ndim) + a.shape) for a in arrays]
    trees = mapped(_one, trees)

    def called(*values: Any) -> Any:
        return function(*filled(trees, iter(values)))

    fields = _quiet(called)(*map(_one, arrays))
    packed = _quiet(lambda *values: _packed(called(*values)))
    return _unpacked(_blockwise(packed, arrays, _kept(fields)), fields)


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, of which NumPy tells nothing."""

    def quiet(*values: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*values)

    return quiet


def _with_neighbours(packed: Array, axis: tuple[int, ...]) -> dict[int, Any]:
    """Sizes of chunks of which each is a few of those that lie along some axes."""
    cut = [i for i in axis if packed.numblocks[i] > 1]
    few = max(2, int(_TOGETHER ** (1 / len(cut))))
    return {
        i: tuple(sum(sizes[k : k + few]) for k in range(0, len(sizes), few))
        for i, sizes in enumerate(packed.chunks)
        if i in cut
    }


def _is_cut(x: Array, axis: tuple[int, ...]) -> bool:
    return any(x.numblocks[i] > 1 for i in axis)


def _one(array: Array) -> np.ndarray:
    """An array of one element, by which a function tells what it gives."""
    return np.ones((1,) * array.ndim, array.dtype)


def _laid(operands: Any, x: Array) -> list[Any]:
    """Operands in chunks like those of x, which Dask would cut where an operand is cut."""
    return [a.rechunk(_like(a, x)) for a in leaves(operands)]


def _like(array: Array, x: Array) -> tuple[Any, ...]:
    """The chunks of x, along the axes on which an array varies."""
    chunks = zip(array.shape, array.chunks, x.chunks, strict=True)
    return tuple(own if size == 1 else other for size, own, other in chunks)


def _blockwise(function: Any, arrays: Any, dtype: np.dtype, axis: Any = ()) -> Array:
    """An array of what a function gives of each chunk, with `axis` at size 1 there."""
    every = tuple(range(arrays[0].ndim))
    pairs = [part for a in arrays for part in (a, every)]
    return import_module("dask.array").blockwise(
        function, every, *pairs, dtype=dtype, meta=np.empty((0,) * len(every), dtype),
        adjust_chunks={i: lambda _: 1 for i in axis},
    )  # fmt: skip


# Several arrays travel as one of a structured dtype, so that they are taken once.


def _kept(fields: Any) -> np.dtype:
    return np.dtype([(str(i), a.dtype) for i, a in enumerate(leaves(fields))])


def _packed(fields: Any) -> np.ndarray:
    arrays = leaves(fields)
    packed = np.empty(np.broadcast_shapes(*(a.shape for a in arrays)), _kept(fields))
    for i, array in enumerate(arrays):
        packed[str(i)] = array
    return packed


def _unpacked(packed: Array, fields: Any) -> Any:
    return filled(fields, (packed[str(i)] for i in range(len(leaves(fields)))))
