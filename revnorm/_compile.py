"""Functions run by an array library's own compiler.

Arrays of another library go in and come out through DLPack, which copies nothing.
"""

import contextlib
import functools
import importlib
import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import array_api_compat

from revnorm import _blocks, _checks
from revnorm._checks import Array
from revnorm._libraries import array_namespace, is_torch
from revnorm._trees import filled, leaves, mapped

_ENGINES = ("torch", "jax")

# Up to this length PyTorch's sums in registers of 512 bits take longer than in those of 256.
_SHORT = 256

_builds = itertools.count()


def compile(function: Callable[..., Any], /, *, engine: str | None = None) -> Callable[..., Any]:
    """A function of the same signature, run by a compiler in one or two passes over the data.

    Parameters
    ----------
    function : callable
        A function of this package, or one that calls them: arrays in, arrays out. Arguments
        that are no arrays must be hashable and are constants to the compiler.
    engine : {"torch", "jax"}, optional
        ``torch.compile`` or ``jax.jit``. By default the arrays' own library, and for arrays of
        one that has no compiler the first of these that is installed.

    Returns
    -------
    callable
        Takes and gives arrays of any library that shares memory by DLPack; what cannot be shared,
        such as read-only memory, is copied. With `out` the first result is written there, where
        the arrays are writable. What JAX gives for NumPy arrays is read-only, as its own are.

    Raises
    ------
    ImportError
        When called, if no engine is installed, or not the one named.
    ValueError
        If `engine` is neither of the two.

    Notes
    -----
    Each set of constants, and each size along the reduced axes, is compiled for itself, which
    makes the fastest loops. With PyTorch a second batch size compiles once more, for any size;
    JAX compiles for every shape. NumPy and CuPy arrays are computed in float64 where the
    recipe asks for it, with either engine.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> normalize = rn.compile(rn.instance_norm)
    >>> x = np.asarray([[1.0, 3.0], [10.0, 30.0]])
    >>> normalize(x, axis=1, eps=0.0)  # doctest: +SKIP
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    if engine is not None:
        _checks.choice("engine", engine, _ENGINES)
    compiled: dict[Any, Callable[..., Any]] = {}
    # The results of these have the shape and dtype of the first array.
    ours = str(getattr(function, "__module__", None)).startswith("revnorm.")
    takes_out = ours and "out" in _parameters(function)

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        out, tree = keywords.get("out"), (arguments, keywords)
        given = leaves(tree)
        if not given:
            raise TypeError("`function` must be given an array, got none")
        first = given[0]
        chosen = _engine(first, engine)
        own = _is_own(first, chosen)
        _checks.writable(out, first)
        # Whether the engine writes to `out` itself.
        written = chosen == "torch" and (own or out is None or _is_plain(out))
        if not written:
            tree = (arguments, {**keywords, "out": None})
        elif out is None and takes_out and _blocks.is_cut(*given):
            out = _blocks.memory_for(first)
            tree = (arguments, {**keywords, "out": out})
        frame = mapped(lambda _: _HOLE, tree)
        lengths = _lengths(first, keywords)
        key = (chosen, repr(frame), lengths)
        new = key not in compiled
        if new:
            compiled[key] = _build(function, frame, chosen, lengths)
        with _quiet(new), _doubles(chosen, own):
            shared = [leaf if own else _shared(leaf, chosen) for leaf in leaves(tree)]
            result = compiled[key](*shared)
        if not own:
            result = mapped(array_namespace(first).from_dlpack, result)
        if out is None:
            return result
        y, *others = result if isinstance(result, tuple) else (result,)
        if not written:
            out[...] = y
        return (out, *others) if others else out

    return call


def _parameters(function: Callable[..., Any]) -> Any:
    return inspect.signature(function).parameters


class _Hole:
    """Where an array stood."""

    ndim = 0

    def __repr__(self) -> str:
        return "<array>"


_HOLE = _Hole()


def _build(
    function: Callable[..., Any], frame: Any, engine: str, lengths: tuple[Any, ...]
) -> Callable[..., Any]:
    """A compiled function of the arrays alone, in the order of the frame."""

    def of_arrays(*arrays: Array) -> Any:
        arguments, keywords = filled(frame, iter(arrays))
        out = keywords.pop("out", None)
        result = function(*arguments, **keywords)
        if out is None:
            return result
        y, *others = result if isinstance(result, tuple) else (result,)
        out[...] = y
        return (None, *others)

    if engine == "jax":
        return importlib.import_module("jax").jit(of_arrays)
    torch = importlib.import_module("torch")
    # By the code's name PyTorch remembers which sizes have varied, and compiles for any then.
    of_arrays.__code__ = of_arrays.__code__.replace(co_name=f"of_arrays_{next(_builds)}")
    apart: dict[str, Any] = {
        name: True for name in ("isolate_recompiles",) if name in _parameters(torch.compile)
    }
    if math.prod(lengths) <= _SHORT and torch.backends.cpu.get_cpu_capability() == "AVX512":
        apart["options"] = {"cpp.simdlen": 256}
    return torch.compile(of_arrays, fullgraph=True, **apart)


def _engine(array: Array, engine: str | None) -> str:
    for one in _ENGINES if engine is None else ():
        if _is_own(array, one):
            return one
    for one in _ENGINES if engine is None else (engine,):
        if find_spec(one) is not None:
            return one
    wanted = engine or _ENGINES[0]
    raise ImportError(f"`engine` {wanted!r} must be installed, got none: pip install {wanted}")


def _is_own(array: Array, engine: str) -> bool:
    if engine == "jax":
        return array_api_compat.is_jax_array(array)
    return is_torch(array)


def _shared(array: Array, engine: str) -> Array:
    """The array in the engine's library: the same memory, or a copy where it cannot be shared."""
    module = importlib.import_module("torch" if engine == "torch" else "jax.numpy")
    try:
        if _is_plain(array):
            return module.from_dlpack(array)
    except (BufferError, RuntimeError):
        # Read-only memory, or strides that the engine does not know.
        pass
    xp = array_namespace(array)
    flat = xp.reshape(array, (-1,), copy=True)
    if not _is_native(array):
        flat = flat.astype(array.dtype.newbyteorder("="))
    return module.from_dlpack(xp.reshape(flat, array.shape))


def _is_plain(array: Array) -> bool:
    """Whether PyTorch can take an array at all; it ends the process over a negative stride."""
    return min(getattr(array, "strides", ()), default=0) >= 0 and _is_native(array)


def _is_native(array: Array) -> bool:
    return bool(getattr(array.dtype, "isnative", True))


@contextlib.contextmanager
def _quiet(new: bool) -> Iterator[None]:
    """Without the compiler's remarks on the caches of array_api_compat, which are sound."""
    if not new:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lru_cache", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        yield


def _doubles(engine: str, own: bool) -> contextlib.AbstractContextManager[Any]:
    """JAX with float64, for arrays that are not its own and had it."""
    if engine == "torch" or own:
        return contextlib.nullcontext()
    return importlib.import_module("jax").enable_x64(True)


def _lengths(array: Array, keywords: dict[str, Any]) -> tuple[Any, ...]:
    """The sizes that are constants to the compiler: of the reduced axes, else all but the first."""
    try:
        reduced = _checks.axes(keywords.get("axis"), array.ndim)
    except (TypeError, ValueError):
        return tuple(array.shape[1:])
    return tuple(array.shape[one] for one in reduced)
