"""Memory of NumPy and PyTorch arrays on the processor: whether it may be cut up, and how."""

import math
import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, NamedTuple

import numpy as np

from revnorm._libraries import array_namespace, is_torch
from revnorm._rounding import rounded
from revnorm._sums import divisor
from revnorm._trees import Array, leaves

# From such a size on, in bytes, NumPy asks for huge pages, which PyTorch does not: its new memory
# costs several times the arithmetic.
HUGE = 1 << 22
# Elements along which NumPy's loops are long.
LOOP = 1024
# Rows that are added up side by side, enough of 16 numbers for a long loop; and one after another.
SIDE, CHAIN = 16, 1024


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with which NumPy says nothing of NaN, infinity and overflow in the data.

    So do the libraries that compute with it; PyTorch does not, whose compiler cannot trace this.
    """

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        if all(map(is_torch, leaves(arguments))):
            return function(*arguments, **keywords)
        with np.errstate(all="ignore"):
            return function(*arguments, **keywords)

    return call


def is_cut(x: Array, *operands: Any) -> bool:
    """Whether the arrays may be taken apart: NumPy's, and PyTorch's where nothing records."""
    if type(x) is np.ndarray:
        numpy = all(type(leaf) is np.ndarray for leaf in leaves(operands))
        return numpy and x.size > 0 and x.dtype.itemsize <= 8
    if not is_torch(x) or not is_eager(x, *operands):
        return False
    return x.device.type == "cpu" and x.numel() > 0 and not is_recorded(x, *operands)


def is_eager(x: Array, *operands: Any) -> bool:
    """Whether PyTorch tensors are just that, neither traced nor watched."""
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    watched = (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
    )
    plain = all(type(a) in (torch.Tensor, torch.nn.Parameter) for a in (x, *leaves(operands)))
    return plain and not watched


def is_recorded(*tree: Any) -> bool:
    """Whether PyTorch records what is done with any of the tensors."""
    torch = sys.modules["torch"]
    return torch.is_grad_enabled() and any(a.requires_grad for a in leaves(tree))


def is_single(x: Array) -> bool:
    """Whether a tensor of PyTorch does not stand for a batch of them, as in a vmap of gradients."""
    torch = sys.modules["torch"]._C
    return torch._dispatch_keys(x).has(getattr(torch.DispatchKey, x.device.type.upper()))


def is_narrow(x: Array) -> bool:
    """Whether there are wider numbers than those of x."""
    return x.dtype.itemsize < 8


@cache
def numpy_dtype(dtype: Any) -> np.dtype:
    """NumPy's name for a dtype; for one that it lacks, that of the numbers that hold it."""
    if isinstance(dtype, np.dtype | type):
        return np.dtype(dtype)
    name = str(dtype).removeprefix("torch.")
    return np.dtype(np.uint16 if name == "bfloat16" else name)


def order(x: Array) -> tuple[int, ...]:
    """The axes as they lie in memory, the last one closest."""
    strides = x.strides if type(x) is np.ndarray else x.stride()
    axes = range(x.ndim)
    return tuple(sorted(axes, key=lambda i: -abs(strides[i]) if x.shape[i] > 1 else -math.inf))


def empty_like(x: Array, dtype: Any) -> Array:
    """Room for a result: shape and memory order of x."""
    if type(x) is np.ndarray:
        return np.empty_like(x, dtype=dtype)
    torch = sys.modules["torch"]
    size = math.prod(x.shape) * dtype.itemsize
    if size < HUGE:
        return torch.empty_like(x, dtype=dtype)
    steps, step = [0] * x.ndim, 1
    for i in reversed(order(x)):
        steps[i], step = step, step * x.shape[i]
    # No view of the room: autograd forbids to change one of several results that are views.
    room = torch.from_numpy(np.empty(size, np.uint8)).untyped_storage()
    return torch.empty(0, dtype=dtype).set_(room, 0, x.shape, steps)


def large_like(x: Array, *operands: Any) -> Array | None:
    """Room for a result like x, where it had better be asked for by NumPy; else None."""
    large = math.prod(x.shape) * x.dtype.itemsize >= HUGE
    return empty_like(x, x.dtype) if large and is_cut(x, *operands) else None


def as_library(array: np.ndarray, like: Array) -> Array:
    """The same memory as an array of the library of another."""
    return array if type(like) is np.ndarray else sys.modules["torch"].from_numpy(array)


def folded(d: Array, each: Array) -> tuple[Array, Array]:
    """Short rows made one of several, and what they have in common repeated as often.

    NumPy's loops along short rows cost several times those along long ones.
    """
    width = math.prod(d.shape[1:])
    apart = np.ndim(each) < d.ndim or each.shape[0] != 1 or each.shape == d.shape
    if apart or not 0 < width < LOOP // 2:
        return d, each
    rows = divisor(d.shape[0], LOOP // width) or 1
    repeated = np.tile(np.broadcast_to(each, (1, *d.shape[1:])).reshape(1, width), (1, rows))
    return d.reshape(-1, rows * width), repeated


def down(a: np.ndarray, b: np.ndarray | None, dtype: Any = None) -> np.ndarray:
    """The sum of a, or of a · b, over the first axis of a block, in a type wider than the data.

    Rows are laid side by side, for long loops, and added in an order that their number alone sets.
    """
    length, width = a.shape[0], math.prod(a.shape[1:])
    side = min(SIDE, length)
    parts = -(-length // (side * CHAIN))
    chain = length // (side * parts)
    whole = parts * chain * side

    def added(start: int, stop: int, *shape: int) -> np.ndarray:
        first, *second = (one[start:stop].reshape(*shape) for one in (a, b) if one is not None)
        if second:
            return np.einsum("ijk,ijk->ik", first, *second, dtype=dtype)
        return np.add.reduce(first, axis=1, dtype=dtype)

    sums = added(0, whole, parts, chain, side * width).reshape(-1, width)
    if whole < length:
        sums = np.concat([sums, added(whole, length, 1, length - whole, width)])
    return np.add.reduce(sums, axis=0).reshape(1, *a.shape[1:])


def view(array: Array) -> "View":
    """The array as NumPy's, or as PyTorch's where NumPy lacks the dtype."""
    if type(array) is np.ndarray:
        return View(array)
    array = array.detach()
    return View(array if str(array.dtype) == "torch.bfloat16" else array.numpy())


class View(NamedTuple):
    """An array that is read and written block by block."""

    array: Any

    def permute(self, order: tuple[int, ...]) -> "View":
        if order == tuple(range(self.array.ndim)):
            return self
        xp = array_namespace(self.array)
        return View(xp.permute_dims(self.array, order))

    def block(
        self, cut: tuple[slice, ...], piece: tuple[int, ...], group: slice, dtype: Any
    ) -> np.ndarray:
        """A cut of the array, its `group` of axes made one; contiguous if it is a whole piece."""
        array = self.array
        part = array[tuple(c if n > 1 else slice(None) for n, c in zip(array.shape, cut))]
        if type(part) is not np.ndarray:
            part = part.double().numpy()
        wanted = part.dtype if part.dtype == np.bool else dtype
        if part.shape == piece:
            # Axes of size 1 keep NumPy from taking others together.
            part = np.ascontiguousarray(part.squeeze(), wanted).reshape(piece)
        else:
            grouped = part.shape[group]
            if math.prod(grouped) != 1 and grouped != piece[group]:
                before, behind = part.shape[: group.start], part.shape[group.stop :]
                part = np.broadcast_to(part, (*before, *piece[group], *behind))
            part = part.astype(wanted, copy=False)
        grouped = part.shape[group]
        if len(grouped) <= 1:
            return part
        before, behind = part.shape[: group.start], part.shape[group.stop :]
        return part.reshape((*before, math.prod(grouped), *behind))

    def write(self, cut: tuple[slice, ...], y: np.ndarray) -> None:
        if type(self.array) is np.ndarray:
            self.array[cut].squeeze()[...] = y.squeeze()
            return
        y = sys.modules["torch"].from_numpy(y)
        self.array[cut].copy_(rounded(y, self.array.dtype))
