"""Kernels run on blocks of instances that fit in the cache.

A block is a contiguous copy in NumPy, in the dtype worked in. Its reduced axes are made one: the
last, so that the result for an instance depends on no other, on no stride and on no block size; or
the first, where data that are widened lie so in memory and the order of a sum is lost in the one
rounding. Only eager arrays in the processor's memory are cut up; all others go on whole.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from revnorm import _chunks, _memory
from revnorm._libraries import array_namespace, is_torch
from revnorm._place import Block, Lanes, Rows, Whole
from revnorm._rounding import rounded
from revnorm._trees import Array, filler, is_array, leaves, mapped

# Elements in a block. An instance longer than LONG is measured in parts of at most PART.
BLOCK = 3 << 16
LONG = 1 << 17
PART = 1 << 15
_BUFFER = 256
# Arrays so many times smaller than x are copied whole.
_FEW = 32
# With as many channels behind it, a reduced axis is the first of a block instead of the last.
CHANNELS = 16


class _Cut(NamedTuple):
    """Where a block lies, its shape, and where it lies if the reduced axes are one."""

    at: tuple[slice, ...]
    shape: tuple[int, ...]
    joined: tuple[slice, ...]


class _Plan(NamedTuple):
    """The axes in the order of a block, the slice of the reduced ones, and the blocks."""

    order: tuple[int, ...]
    group: slice
    place: Block
    cuts: tuple[_Cut, ...]
    short_loops: bool


def run(
    kernel: Callable[..., tuple[Any, ...]],
    x: Array,
    *operands: Any,
    axis: tuple[int, ...],
    dtype: Any,
    out: Array | None = None,
    result: Any = None,
    whole: bool = True,
    narrow: bool = False,
) -> tuple[Any, ...]:
    """What `kernel(place, x, *operands)` gives for arrays in the dtype worked in.

    That is None or an array like `x`, to be rounded to the dtype `result` or that of `x` and put
    into `out`; then arrays with `axis` at size 1, numbers and None. Without `whole`, instances may
    be cut up as well. With `narrow`, a tensor of PyTorch that is not cut comes as it is: its tracer
    then finds no wider copy that it could keep.
    """
    result = x.dtype if result is None else result
    if _memory.is_cut(x, *operands, out):
        with np.errstate(all="ignore"):
            return _in_blocks(kernel, x, operands, axis, dtype, out, result, whole)
    if _chunks.hold_instances(x, operands, axis, whole):
        options = dict(axis=axis, dtype=dtype, result=result, whole=whole)
        return _chunks.run(
            lambda block, given: run(kernel, block, *given, **options), x, operands, axis, result
        )
    xp = array_namespace(x)

    def widened(a: Array) -> Array:
        return a if xp.isdtype(a.dtype, "bool") else xp.astype(a, dtype, copy=False)

    y, *others = kernel(
        Whole(axis), x if narrow and is_torch(x) else widened(x), *mapped(widened, operands)
    )
    if y is None:
        return y, *others
    y = rounded(y, result)
    if out is None:
        return y, *others
    out[...] = y
    return out, *others


def is_many(x: Array) -> bool:
    """Whether x is cut in blocks of which the cache holds one at a time."""
    return _memory.is_cut(x) and math.prod(x.shape) > BLOCK


def is_long(x: Array, axis: tuple[int, ...]) -> bool:
    """Whether an instance is to be measured in parts."""
    if not _memory.is_cut(x) or math.prod(x.shape) <= min(LONG, 2 * BLOCK):
        return False
    return math.prod(x.shape[one] for one in axis) > _longest(x, axis)[0]


def parts(x: Array, beside: Any, axis: tuple[int, ...]) -> Iterator[tuple[Array, Any]]:
    """`x` and arrays beside it cut along `axis`, at places that depend on the lengths alone."""
    for cut in _rectangles([x.shape[one] for one in axis], _longest(x, axis)[1]):
        at = [slice(None)] * x.ndim
        for one, piece in zip(axis, cut, strict=True):
            at[one] = piece
        yield x[tuple(at)], mapped(partial(_at, cut=tuple(at)), beside)


def _longest(x: Array, axis: tuple[int, ...]) -> tuple[int, int]:
    """The longest instance to be measured in one, and the longest part of another."""
    memory = _memory.order(x)
    inner = _inner(tuple(x.shape), memory, axis)
    if inner < CHANNELS or not _memory.is_narrow(x):
        return LONG, PART
    return min(LONG, 2 * BLOCK // inner), min(PART, max(BLOCK // inner, 1))


def _in_blocks(
    kernel: Any, x: Any, operands: Any, axis: Any, dtype: Any, out: Any, result: Any, whole: bool
) -> tuple[Any, ...]:
    _keep_pages()
    work = _memory.numpy_dtype(dtype)
    sizes, memory = tuple(x.shape), _memory.order(x)
    plan = _plan(sizes, memory, axis, _memory.numpy_dtype(x.dtype) != work, whole, BLOCK)

    def laid(array: Array) -> Callable[[_Cut], np.ndarray]:
        return _laid(_memory.view(array).permute(plan.order), plan, work, math.prod(sizes))

    x_of, operand_of, fill = laid(x), [laid(a) for a in leaves(operands)], filler(operands)
    target = None if out is None else _memory.view(out).permute(plan.order)
    others: list[Any] = []
    if plan.short_loops:
        # NumPy copies what broadcasts along fewer elements than its buffer into the buffer, which
        # takes longer than the loop, unless the loops are short. The setting ends with errstate.
        np.setbufsize(_BUFFER)
    for cut in plan.cuts:
        given = fill(iter([block(cut) for block in operand_of]))
        y, *rest = kernel(plan.place, x_of(cut), *given)
        if y is not None:
            if target is None:
                out = _memory.empty_like(x, result)
                target = _memory.view(out).permute(plan.order)
            target.write(cut.at, y.reshape(cut.shape))
        if not others:
            kept = tuple(1 if i in axis else size for i, size in enumerate(sizes))
            others = [np.empty(kept, a.dtype) if is_array(a) else a for a in rest]
            laid_out = [a.transpose(plan.order) if is_array(a) else a for a in others]
        for other, part in zip(laid_out, rest, strict=True):
            if is_array(other):
                into = _at(other, cut.at)
                into[...] = part.reshape(into.shape)
    return out, *(_memory.as_library(a, x) if is_array(a) else a for a in others)


def _laid(view: _memory.View, plan: _Plan, work: Any, size: int) -> Callable[[_Cut], np.ndarray]:
    """How the blocks of an array are had; numbers of instances are widened once for all blocks."""
    shape = view.array.shape
    few = math.prod(shape) * _FEW <= size and math.prod(shape[plan.group]) == 1
    if not few:
        return lambda cut: view.block(cut.at, cut.shape, plan.group, work)
    whole = view.block((slice(None),) * len(shape), shape, plan.group, work)
    if whole.size == 1:
        return lambda cut: whole
    return lambda cut: _at(whole, cut.joined)


@lru_cache(1024)
def _plan(
    shape: tuple[int, ...],
    memory: tuple[int, ...],
    axis: tuple[int, ...],
    widened: bool,
    whole: bool,
    limit: int,
) -> _Plan:
    inner = _inner(shape, memory, axis)
    if not whole and inner >= _BUFFER:
        # Loops along the last axes are long enough as they are.
        axis = ()
    kept = tuple(i for i in memory if i not in axis)
    length = math.prod(shape[one] for one in axis)
    place: Block
    if axis and widened and inner >= CHANNELS:
        order, at, place = (*axis, *kept), 0, Rows((0,))
    elif axis:
        order, at, place = (*kept, *axis), len(kept), Lanes((len(kept),))
    else:
        order, at, place = memory, len(shape), Block(())
    # Where instances may be cut, they are if need be; else only the axes that are kept.
    cut = memory if not whole and (at == 0 or length > limit) else kept
    share = limit if cut is memory else max(1, limit // length)
    cuts = []
    group = slice(at, at + len(axis))
    for one in _rectangles([shape[i] for i in cut], share):
        along = dict(zip(cut, one, strict=True))
        where = tuple(along.get(i, slice(None)) for i in order)
        piece = tuple(len(range(*c.indices(shape[i]))) for i, c in zip(order, where))
        joined = (*where[:at], *(slice(None) for _ in axis[:1]), *where[group.stop :])
        cuts.append(_Cut(where, piece, joined))
    row = length if axis else shape[memory[-1]]
    return _Plan(order, group, place, tuple(cuts), row >= _BUFFER or at == 0)


def _inner(shape: tuple[int, ...], memory: tuple[int, ...], axis: tuple[int, ...]) -> int:
    """How many elements lie together behind the reduced axes."""
    last = max((memory.index(one) for one in axis), default=len(memory))
    return math.prod(shape[i] for i in memory[last + 1 :])


def _rectangles(shape: Sequence[int], limit: int) -> Iterator[tuple[slice, ...]]:
    """Slices of about even size that cover a shape, the last axes whole; near `limit` elements."""
    whole = tuple(slice(None) for _ in shape)
    if math.prod(shape) <= limit + limit // 2:
        yield whole
        return
    pieces = math.ceil(shape[0] / max(1, limit // math.prod(shape[1:])))
    edges = [shape[0] * i // pieces for i in range(pieces + 1)]
    for start, stop in pairwise(edges):
        rest = [whole[1:]] if stop > start + 1 else _rectangles(shape[1:], limit)
        for cut in rest:
            yield (slice(start, stop), *cut)


def _at(array: Array, cut: tuple[slice, ...]) -> Array:
    """A cut of an array that broadcasts against the one that the cut was made for."""
    whole = slice(None)
    return array[tuple(whole if n == 1 else c for n, c in zip(array.shape, cut, strict=True))]


@cache
def _keep_pages() -> None:
    """Lets malloc keep the pages of temporaries, where it would give each back and fetch it anew.

    glibc serves sizes up to the largest that it has mapped and freed from its own heap, see
    mallopt(3) on M_MMAP_THRESHOLD; others have no such limit.
    """
    np.empty(1 << 24, np.uint8)
