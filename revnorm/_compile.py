"""Functions run by an array library's own compiler.

Arrays of another library go in and come out through DLPack, which copies nothing.
"""

import contextlib
import functools
import importlib
import inspect
import itertools
import math
import re
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import array_api_compat

from revnorm import _calls, _checks, _memory
from revnorm._libraries import array_namespace, is_torch
from revnorm._trees import Array, is_array, leaves, mapped

_ENGINES = ("torch", "jax")

# Up to this length PyTorch's sums in registers of 512 bits take longer than in those of 256.
_SHORT = 256

# What PyTorch's tracer calls the modules that it comes to, its globals, and what `_build` holds.
_FIXED = re.compile(r"__import_(revnorm|array_api_compat)('|_dot_)|^(\w+\()*frame\b")
_FIXED_ALONE = re.compile(r"^(\w+\()*(G\[|(frame|function)\b)")

# As often PyTorch compiles one function, all in all.
_MOST = 256

_builds = itertools.count()

# PyTorch's tracer reads what a first call from another thread may be changing.
_first = threading.RLock()


def compile(function: Callable[..., Any], /, *, engine: str | None = None) -> Callable[..., Any]:
    """A function of the same signature, run by a compiler in one or two passes over the data.

    Parameters
    ----------
    function : callable
        A function of this package, or one that calls them, or a map: arrays in, arrays out.
        Arguments that are no arrays must be hashable and are constants to the compiler, as are
        the arrays that the function closes over.
    engine : {"torch", "jax"}, optional
        ``torch.compile`` or ``jax.jit``. By default the arrays' own library, and for arrays of
        one that has no compiler the first of these that is installed.

    Returns
    -------
    callable
        Takes and gives arrays of any library that shares memory by DLPack; what cannot be shared,
        such as read-only memory, is copied. With `out` the first result is written there, where
        the arrays are writable. What JAX gives for NumPy arrays is read-only, as its own are.
        Called by another compiled function it is a part of that one; under ``torch.func``, and
        with tensors of a subclass, the function runs as it is.

    Raises
    ------
    ImportError
        When called, if no engine is installed, or not the one named.
    TypeError
        When called, if an array is of a library or dtype that the engine cannot take, or a
        constant is not hashable.
    ValueError
        If `engine` is neither of the two.

    Notes
    -----
    Each set of constants, and each size along the reduced axes, is compiled for itself, which
    makes the fastest loops. With PyTorch a second batch size compiles once more, for any size,
    and a second value of a float, such as `eps`, for any value; JAX compiles for every shape and
    value. NumPy and CuPy arrays are computed in float64 where the recipe asks for it, with either
    engine. What the function raises it raises here too. First calls from several threads wait for
    each other.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> normalize = rn.compile(rn.instance_norm)
    >>> x = np.asarray([[1.0, 3.0], [10.0, 30.0]])
    >>> normalize(x, axis=1, eps=0.0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    if engine is not None:
        _checks.choice("engine", engine, _ENGINES)
    compiled: dict[Any, Callable[..., Any]] = {}
    seen: set[Any] = set()
    # The results of these have the shape and dtype of the first array.
    takes_out = _is_ours(function) and "out" in _parameters(function)

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        out, tree = keywords.pop("out", None), (arguments, keywords)
        first = _calls.first_array(arguments, keywords)
        if first is None:
            raise TypeError("`function` must be given an array, got none")
        if _is_traced(first, engine):
            return _written(function(*arguments, **keywords), out)
        chosen = _engine(first, engine)
        own, varies = _is_own(first, chosen), _calls.VARIES[chosen]
        structure, values = _calls.apart(tree, varies)
        arrays = [value for value in values if type(value) is not float]
        _checks.one_library(arrays if out is None else [*arrays, out])
        _checks.writable(out, first)
        if out is None and chosen == "torch" and takes_out and "dtype" not in keywords:
            out = _memory.large_like(first, *arrays)
        lengths = _lengths(first, keywords)
        key = (chosen, structure, lengths)
        call_of_this = (key, own, *map(_calls.signature, values))
        with _doubles(chosen, own), _alone(_checks.hashed(call_of_this) not in seen):
            shared = values if own else [_shared(value, chosen) for value in values]
            target = _target(out, shared) if chosen == "torch" else None
            if key not in compiled:
                compiled[key] = _build(function, _calls.frame(tree, varies), chosen, lengths)
            failure: Exception | None = None
            try:
                result = compiled[key](target, *shared)
                seen.add(call_of_this)
            except Exception as error:
                failure = error
        if failure is not None:
            again = _calls.together(_calls.frame(tree, varies), shared)
            _explain(failure, function, _calls.numbers(tree), again)
        if not own:
            result = mapped(array_namespace(first).from_dlpack, result)
        if target is None:
            return _written(result, out)
        others = result[1:]
        return (out, *others) if others else out

    return call


def _written(result: Any, out: Array | None) -> Any:
    """The result, the first of it in `out`."""
    if out is None:
        return result
    y, *others = result if isinstance(result, tuple) else (result,)
    out[...] = y
    return (out, *others) if others else out


def _explain(failure: Exception, function: Any, *trees: Any) -> None:
    """Raises what the function itself raises of its arguments, else what the compiler did."""
    if type(failure).__module__.startswith("torch."):
        for arguments, keywords in trees:
            function(*arguments, **keywords)
    raise failure


def _is_ours(function: Any) -> bool:
    return str(getattr(function, "__module__", None)).startswith("revnorm.")


def _parameters(function: Callable[..., Any]) -> Any:
    return inspect.signature(function).parameters


def _build(
    function: Callable[..., Any],
    frame: Any,
    engine: str,
    lengths: tuple[Any, ...],
) -> Callable[..., Any]:
    """A compiled function of the leaves alone, in the order of the frame, written to `out`."""
    guards, function = _guards(function), _carried(function, engine)

    def of_leaves(out: Array | None, *values: Any) -> Any:
        arguments, keywords = _calls.together(frame, values)
        result = function(*arguments, **keywords)
        if out is None:
            return result
        y, *others = result if isinstance(result, tuple) else (result,)
        out[...] = y
        return (None, *others)

    if engine == "jax":
        return importlib.import_module("jax").jit(of_leaves)
    torch = importlib.import_module("torch")
    # By the code's name PyTorch remembers which sizes have varied, and compiles for any then.
    of_leaves.__code__ = of_leaves.__code__.replace(co_name=f"of_leaves_{next(_builds)}")
    # Each dtype, way of recording and memory order is compiled for itself: more than the usual 8.
    limits = {"isolate_recompiles": True, "recompile_limit": _MOST}
    limits = {name: one for name, one in limits.items() if name in _parameters(torch.compile)}
    options: dict[str, Any] = {"guard_filter_fn": guards}
    if math.prod(lengths) <= _SHORT and torch.backends.cpu.get_cpu_capability() == "AVX512":
        options["cpp.simdlen"] = 256
    return torch.compile(of_leaves, fullgraph=True, options=options, **limits)


def _guards(function: Any) -> Callable[[Sequence[Any]], list[bool]]:
    """Which of PyTorch's checks are made at every call: not those that this package is as it was.

    There are hundreds of these, and they take longer than a small call. A function of this package
    depends on nothing but its arguments.
    """
    alone = isinstance(function, types.FunctionType) and _is_ours(function)
    fixed = _FIXED_ALONE if alone else _FIXED
    return lambda entries: [fixed.search(entry.name) is None for entry in entries]


def _carried(function: Any, engine: str) -> Any:
    """The function, with the arrays that it holds, closes over or names in the engine's library."""

    def shared(tree: Any) -> Any:
        numbers = _calls.numbers(tree)
        return mapped(lambda array: _shared(array, engine), numbers, _calls.is_plain_array)

    if isinstance(function, functools.partial):
        inner = _carried(function.func, engine)
        return functools.partial(inner, *shared(function.args), **shared(function.keywords))
    if isinstance(function, types.MethodType):
        return types.MethodType(function.__func__, shared(function.__self__))
    if not isinstance(function, types.FunctionType):
        return shared(function)
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    names = function.__globals__.keys() & set(function.__code__.co_names)
    named = {name: function.__globals__[name] for name in names}
    held = (cells, named, function.__defaults__, function.__kwdefaults__)
    if not leaves(held, lambda value: is_array(value) or _calls.is_scalar(value)):
        return function
    cells, named, defaults, keywords = shared(held)
    scope = {**function.__globals__, **named}
    # By this PyTorch's tracer would find the module, and there what was replaced.
    scope.pop("__name__", None)
    closure = tuple(map(types.CellType, cells))
    code, name = function.__code__, function.__name__
    function = types.FunctionType(code, scope, name, defaults, closure)
    function.__kwdefaults__ = keywords
    return function


def _is_traced(array: Array, engine: str | None) -> bool:
    """Whether something else is at work, of which the function had better be a part."""
    if is_torch(array):
        return not _memory.is_eager(array)
    if engine == "torch" and array_api_compat.is_jax_array(array):
        return isinstance(array, sys.modules["jax"].core.Tracer)
    return False


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


def _shared(value: Any, engine: str) -> Any:
    """An array in the engine's library: the same memory, or a copy where it cannot be shared."""
    if value is None or type(value) is float or _is_own(value, engine):
        return value
    module = importlib.import_module("torch" if engine == "torch" else "jax.numpy")
    try:
        if _is_plain(value):
            return module.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError, AttributeError):
        # Read-only memory, or strides that the engine does not know.
        pass
    try:
        xp = array_namespace(value)
        flat = xp.reshape(value, (-1,), copy=True)
        if not _is_native(value):
            flat = flat.astype(value.dtype.newbyteorder("="))
        return module.from_dlpack(xp.reshape(flat, value.shape))
    except (BufferError, RuntimeError, TypeError, AttributeError) as error:
        _checks.shareable(value, engine, error)


def _target(out: Array | None, values: list[Any]) -> Array | None:
    """What compiled code may write to: the memory of `out`, if it is to read nothing there."""
    if out is None or not _is_plain(out):
        return None
    target = _shared(out, "torch")
    return None if any(_overlap(target, value) for value in values) else target


def _overlap(a: Array, b: Any) -> bool:
    """Whether two tensors may have memory in common."""
    if type(b) is float or a.device != b.device:
        return False
    (a_start, a_end), (b_start, b_end) = map(_span, (a, b))
    return a_start < b_end and b_start < a_end


def _span(array: Array) -> tuple[int, int]:
    """The first address, and the one behind the last."""
    start, steps = array.data_ptr(), zip(array.shape, array.stride(), strict=True)
    reach = sum((size - 1) * stride for size, stride in steps)
    return start, start + (reach + 1) * array.element_size() * (array.numel() > 0)


def _is_plain(array: Array) -> bool:
    """Whether PyTorch can take an array at all; it ends the process over a negative stride."""
    return min(getattr(array, "strides", ()), default=0) >= 0 and _is_native(array)


def _is_native(array: Array) -> bool:
    return bool(getattr(array.dtype, "isnative", True))


def _alone(first: bool) -> contextlib.AbstractContextManager[Any]:
    """For a first call: no other one, and no remarks of PyTorch on what it imports itself."""
    return _silent() if first else contextlib.nullcontext()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with _first, warnings.catch_warnings():
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
