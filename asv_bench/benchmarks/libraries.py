"""Array libraries of the tests' table, eager or compiled, as strings that name a benchmark."""

import operator
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from . import measure, ways
from .ways import Function

backends = measure.of_tests("backends")


class Library(NamedTuple):
    """A backend of the tests' table, and the engine that `rn.compile` takes; None is eager."""

    backend: str
    engine: str | None = None


LIBRARIES = {
    "numpy": Library("numpy:cpu"),
    "numpy-compile": Library("numpy:cpu", "torch"),
    "torch": Library("torch:cpu"),
    "torch-compile": Library("torch:cpu", "torch"),
    "jax-eager": Library("jax:cpu"),
    "jax-jit": Library("jax:cpu", "jax"),
    "dask": Library("dask:cpu"),
    "cupy": Library("cupy:cuda"),
    "cupy-compile": Library("cupy:cuda", "torch"),
    "torch-cuda": Library("torch:cuda"),
    "torch-cuda-compile": Library("torch:cuda", "torch"),
    "jax-cuda-eager": Library("jax:cuda"),
    "jax-cuda-jit": Library("jax:cuda", "jax"),
}


def bound(
    name: str,
    function: Callable[..., Any],
    arrays: tuple[np.ndarray, ...],
    keywords: dict[str, Any],
    *,
    into: bool = False,
    calls: int = 1,
) -> Function:
    """Calls on a library's own copies of NumPy arrays, the last one waited for.

    With `into` the result goes into an array made beforehand, where the library has such.
    """
    backend, engine = backend_of(name), LIBRARIES[name].engine
    held = [backend.asarray(one, one.dtype.name) for one in arrays]
    if into and backend.library != "jax":
        keywords = keywords | {"out": backend.asarray(arrays[0], arrays[0].dtype.name)}
    run = partial(ways.compiled(function, engine) if engine else function, **keywords)
    return _repeated(lambda: run(*held), waiter(backend), calls)


def backend_of(name: str) -> Any:
    """The backend of a library; ImportError with the reason where it cannot run."""
    found = next(one for one in backends.BACKENDS if one.id == LIBRARIES[name].backend)
    if reason := backends.absence(found):
        raise ImportError(f"{found.id}: {reason}")
    if found.library == "torch":
        ways.torch()
    return found


def waiter(backend: Any) -> Callable[[Any], Any]:
    """What returns a result once it has been computed."""
    if backend.library == "dask":
        return lambda result: import_module("dask").compute(result, scheduler="synchronous")
    if backend.library == "jax":
        return import_module("jax").block_until_ready
    if backend.device != "cuda":
        return lambda result: result
    if backend.library == "torch":
        synchronize = import_module("torch").cuda.synchronize
    else:
        synchronize = import_module("cupy").cuda.get_current_stream().synchronize
    return lambda result: (synchronize(), result)[1]


def copy(name: str, x: np.ndarray, *, calls: int = 1) -> Function:
    """Copies of the same bytes, into an array that exists where the library has such."""
    backend = backend_of(name)
    held, to = (backend.asarray(x, x.dtype.name) for _ in range(2))
    if backend.library == "jax":
        once = partial(import_module("jax.numpy").copy, held)
    else:
        once = partial(operator.setitem, to, ..., held)
    return _repeated(once, waiter(backend), calls)


def _repeated(once: Function, wait: Callable[[Any], Any], calls: int) -> Function:
    def run() -> Any:
        for _ in range(calls):
            result = once()
        return wait(result)

    return run
