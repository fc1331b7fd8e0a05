"""Array libraries of the tests' table, eager or compiled, as strings that name a benchmark."""

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import ways
from .ways import Array, Function

sys.path.append(str(Path(__file__).parents[2] / "tests"))
backends = import_module("backends")


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


def bound(name: str, function: Callable[..., Any], arrays: tuple, keywords: dict) -> Function:
    """The function on a library's own copies of NumPy arrays, waited for."""
    backend = backend_of(name)
    engine = LIBRARIES[name].engine
    held = [backend.asarray(one, one.dtype.name) for one in arrays]
    run = partial(ways.compiled(function, engine) if engine else function, **keywords)
    wait = waiter(backend)
    return lambda: wait(run(*held))


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
    synchronize = {
        "torch": lambda: import_module("torch").cuda.synchronize,
        "cupy": lambda: import_module("cupy").cuda.get_current_stream().synchronize,
    }[backend.library]()

    def wait(result: Array) -> Array:
        synchronize()
        return result

    return wait


def copy(name: str, x: np.ndarray) -> Function:
    """A copy of the same bytes, into an array that exists where the library has such."""
    backend = backend_of(name)
    held, wait = backend.asarray(x, x.dtype.name), waiter(backend)
    if backend.library == "jax":
        duplicate = import_module("jax.numpy").copy
        return lambda: wait(duplicate(held))
    to = backend.asarray(x, x.dtype.name)

    def into() -> Array:
        to[...] = held
        return wait(to)

    return into
