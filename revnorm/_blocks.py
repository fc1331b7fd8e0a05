"""Pure functions run on blocks of instances that fit in the cache.

A block is contiguous, its instances first and the reduced axes last and made one, whatever the
layout of the array: so the result for an instance depends on no other, on no stride and on no
block size. Short series of many channels stay as they are, time first, where the data are widened:
the order of a sum is then lost in the one rounding. Only eager arrays in the processor's memory
are cut up; all others go on whole.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, wraps
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from revnorm._checks import Array
from revnorm._libraries import array_namespace, is_torch
from revnorm._stored import stored
from revnorm._trees import filled, is_array, leaves

# Elements in a block. An instance longer than LONG is measured in parts of at most PART.
BLOCK = 3 << 16
LONG = 1 << 17
PART = 1 << 15
_BUFFER = 256
# With as many channels behind it, a reduced axis of at most such a length stays before them.
CHANNELS = 16
SEQUENCE = 1024
# From such a size on, in bytes, NumPy asks for huge pages, which PyTorch does not: its new memory
# costs several times the arithmetic.
_HUGE = 1 << 22


class Place(NamedTuple):
    """Where a function is evaluated: the reduced axes, and whether on a block.

    On a block with `lanes` the last axis is reduced, and dot products along it are quick.
    """

    axis: tuple[int, ...]
    cut: bool = False
    lanes: bool = False


class Line(NamedTuple):
    """The values d · slope + level, over `power` if that is not None.

    With `gaps`, a NaN in d is without effect on the gradients of the others.
    """

    d: Array
    slope: Array
    level: Array
    power: Array | None
    gaps: bool = False

    def drawn(self) -> Array:
        """The values, in a new array."""
        d, slope, level, power, gaps = self
        if gaps:
            xp = array_namespace(d)
            # Where d is left out of the product, 0 · NaN cannot reach the gradient of the slope.
            y = self._replace(d=xp.where(d == d, d, 0.0), gaps=False).drawn()
            return xp.where(d == d, y, d)
        slope, level, power = (a if _as_large(a, d) else stored(a) for a in (slope, level, power))
        y = d * slope + level
        return y if power is None else y / power

    def drawn_over(self) -> Array:
        """The values, in the array of d."""
        y = self.d
        y *= self.slope
        y += self.level
        if self.power is not None and (self.power != 1).any():
            y /= self.power
        return y


def _as_large(a: Any, d: Array) -> bool:
    return not is_array(a) or a.shape == d.shape


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with which NumPy says nothing of NaN, infinity and overflow in the data."""

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        if not any(type(leaf) is np.ndarray for leaf in leaves(arguments)):
            return function(*arguments, **keywords)
        with np.errstate(all="ignore"):
            return function(*arguments, **keywords)

    return call


def each(
    function: Callable[..., tuple[Any, ...]],
    x: Array,
    *operands: Any,
    axis: tuple[int, ...],
    dtype: Any,
    out: Array | None = None,
    whole: bool = True,
) -> tuple[Any, ...]:
    """What `function(x, *operands, place)` gives for `x` in the dtype worked in.

    That is a Line to be rounded to the dtype of `x` and put into `out`, or None, then arrays
    with `axis` at size 1, numbers and None. Without `whole`, instances may be cut up as well.
    """
    if is_cut(x, *operands):
        inner = math.prod(x.shape[axis[-1] + 1 :]) if axis else 0
        if not whole and inner >= _BUFFER:
            # Loops along the last axes are long enough as they are.
            axis = ()
        length = math.prod(x.shape[one] for one in axis) if axis else x.shape[-1]
        turned = len(axis) > 0 and length <= SEQUENCE and inner >= CHANNELS and _widened(x, dtype)
        # NumPy copies what broadcasts along fewer elements than its buffer into the buffer, which
        # takes longer than the loop, unless the loops are short. The setting ends with errstate.
        with np.errstate(all="ignore"):
            if length >= _BUFFER or turned:
                np.setbufsize(_BUFFER)
            return _each(function, x, operands, axis, dtype, out, whole, turned)
    xp = array_namespace(x)
    first, *others = function(xp.astype(x, dtype, copy=False), *operands, Place(axis))
    if first is not None:
        first = xp.astype(first.drawn(), x.dtype, copy=False)
    if out is None or first is None:
        return first, *others
    out[...] = first
    return out, *others


def is_cut(x: Array, *operands: Any) -> bool:
    """Whether the arrays may be taken apart: NumPy's, and PyTorch's where nothing records."""
    if type(x) is np.ndarray:
        return x.size > 0
    return is_torch(x) and _is_plain_torch(x, leaves(operands))


def is_long(x: Array, axis: tuple[int, ...]) -> bool:
    """Whether an instance is to be measured in parts."""
    return is_cut(x) and math.prod(x.shape[one] for one in axis) > LONG


def memory_for(x: Array) -> Array | None:
    """Memory for a result as large as x, where it had better be asked for by NumPy; else None."""
    large = math.prod(x.shape) * x.dtype.itemsize >= _HUGE
    return _empty(x, x.shape, x.dtype) if large else None


def parts(x: Array, where: Array | None, axis: tuple[int, ...]) -> Iterator[tuple[Array, Array]]:
    """`x` and `where` cut along `axis`, at places that depend on the lengths alone."""
    for cut in _rectangles([x.shape[one] for one in axis], PART):
        at = [slice(None)] * x.ndim
        for one, piece in zip(axis, cut, strict=True):
            at[one] = piece
        yield x[tuple(at)], None if where is None else _at(where, tuple(at))


@cache
def _keep_pages() -> None:
    """Lets malloc keep the pages of temporaries, where it would give each back and fetch it anew.

    glibc serves sizes up to the largest that it has mapped and freed from its own heap, see
    mallopt(3) on M_MMAP_THRESHOLD; others have no such limit.
    """
    np.empty(1 << 24, np.uint8)


def _each(
    function: Any,
    x: Array,
    operands: Any,
    axis: Any,
    dtype: Any,
    out: Any,
    whole: bool,
    turned: bool,
) -> tuple[Any, ...]:
    _keep_pages()
    order = (*(i for i in range(x.ndim) if i not in axis), *axis)
    rows = len(order) - len(axis)
    place = Place((0,), True) if turned else Place((rows,), True, type(x) is np.ndarray)
    forth, back = (rows, *range(rows)), (*range(1, rows + 1), 0)
    given, *arrays = (x, *leaves(operands))
    if out is not None:
        given, *arrays = (_apart(a, out) for a in (given, *arrays))
    x, *arrays = (_permuted(a, order) for a in (given, *arrays))
    others: list[Any] = []
    target = None if out is None else _permuted(out, order)
    for cut in _cuts(x.shape, rows, whole):
        piece = x[cut]
        block, *laid = (
            _flat(a, piece.shape, rows) for a in (piece, *(_at(a, cut) for a in arrays))
        )
        if turned:
            block, *laid = (a.transpose(forth) for a in (block, *laid))
        block = _contiguous(block, dtype)
        first, *rest = function(block, *(filled(operands, iter(laid)) if laid else operands), place)
        if first is not None:
            if target is None:
                out = _empty(given, given.shape, given.dtype)
                target = _permuted(out, order)
            y = first.drawn_over()
            target[cut] = (y.transpose(back) if turned else y).reshape(piece.shape)
        if not others:
            others = [_room(part, (*x.shape[:rows], 1)) for part in rest]
        for other, part in zip(others, rest, strict=True):
            if is_array(other):
                other[cut[:rows]] = part.transpose(back) if turned else part
    kept = [1 if i in axis else size for i, size in enumerate(given.shape)]
    return out, *(o.reshape(kept) if is_array(o) else o for o in others)


def _cuts(shape: Sequence[int], rows: int, whole: bool) -> Iterator[tuple[slice, ...]]:
    length = math.prod(shape[rows:])
    if not whole and length > BLOCK:
        yield from _rectangles(shape, BLOCK)
        return
    for cut in _rectangles(shape[:rows], max(1, BLOCK // length)):
        yield (*cut, *(slice(None) for _ in shape[rows:]))


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


def _flat(array: Array, shape: Sequence[int], rows: int) -> Array:
    """The axes behind the first `rows` made one, broadcast among themselves where they vary."""
    inner = array.shape[rows:]
    if math.prod(inner) > 1 and inner != shape[rows:]:
        xp = array_namespace(array)
        array = xp.broadcast_to(array, (*array.shape[:rows], *shape[rows:]))
    return array.reshape((*array.shape[:rows], math.prod(array.shape[rows:])))


def _permuted(array: Array, order: tuple[int, ...]) -> Array:
    if order == tuple(range(array.ndim)):
        return array
    return array_namespace(array).permute_dims(array, order)


def _room(part: Any, shape: Sequence[int]) -> Any:
    return _empty(part, shape, part.dtype) if is_array(part) else part


def _widened(x: Array, dtype: Any) -> bool:
    return type(x) is np.ndarray and x.dtype != dtype == np.float64


def _is_plain_torch(x: Array, others: list[Array]) -> bool:
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    arrays = [x, *others]
    plain = all(type(a) in (torch.Tensor, torch.nn.Parameter) for a in arrays)
    recorded = torch.is_grad_enabled() and any(a.requires_grad for a in arrays)
    watched = (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
    )
    return plain and not recorded and not watched and x.device.type == "cpu" and x.numel() > 0


def _empty(like: Array, shape: Sequence[int], dtype: Any) -> Array:
    if type(like) is np.ndarray:
        return np.empty(shape, dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _HUGE:
        return like.new_empty(tuple(shape), dtype=dtype)
    memory = sys.modules["torch"].from_numpy(np.empty(size, np.uint8))
    return memory.view(dtype).reshape(tuple(shape))


def _contiguous(array: Array, dtype: Any) -> Array:
    if type(array) is np.ndarray:
        return np.ascontiguousarray(array, dtype)
    return array.to(dtype).contiguous()


def _apart(array: Array, out: Array) -> Array:
    """The array, or a copy if writing to `out` would change what is still to be read."""
    if type(out) is np.ndarray:
        shared = np.may_share_memory(array, out)
        aligned = array.ctypes.data == out.ctypes.data and array.strides == out.strides
        return array.copy() if shared and not aligned else array
    shared = array.untyped_storage().data_ptr() == out.untyped_storage().data_ptr()
    aligned = array.data_ptr() == out.data_ptr() and array.stride() == out.stride()
    return array.clone() if shared and not aligned else array
