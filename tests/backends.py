"""The one table of array libraries that the package is held to."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from unittest import mock

import array_api_compat
import numpy as np

Array = Any


@dataclass(frozen=True, eq=False)
class Backend:
    """A library on a device, and how its arrays are made and read back."""

    library: str
    device: str
    module: str
    requirement: str
    from_numpy: Callable[["Backend", np.ndarray, str], Array]
    to_numpy: Callable[[Array], np.ndarray]
    variant: str = ""
    dtypes: tuple[str, ...] = ("float16", "float32", "float64")
    lazy: bool = False
    # A call costs compilations, or the building of a graph.
    slow: bool = False
    # An instance is bit for bit the same alone and in any batch.
    batch_invariant: bool = False
    device_of: Callable[[Array], Any] = array_api_compat.device
    has_device: Callable[[], bool] = lambda: True
    context: Callable[[], AbstractContextManager] = nullcontext
    # Test function to a reason that ends in a link; these must fail.
    known_failures: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self):
        return self.id

    @property
    def id(self) -> str:
        return ":".join(filter(None, (self.library, self.variant, self.device)))

    @property
    def widest(self) -> str:
        return "float64" if "float64" in self.dtypes else "float32"

    def asarray(self, array: Any, dtype: str | None = None) -> Array:
        """An array of the library, on the device, of the values of a NumPy array."""
        array = np.asarray(array)
        if dtype is None and array.dtype.kind == "f":
            dtype = "float32" if array.dtype == np.float64 != self.widest else None
        return self.from_numpy(self, array, dtype or array.dtype.name)

    def asarrays(self, arrays: Mapping[str, Any], dtype: str) -> dict[str, Array]:
        """Arrays of the library, floating ones of the dtype given."""
        kinds = {name: np.asarray(array).dtype for name, array in arrays.items()}
        return {
            name: self.asarray(array, dtype if kinds[name].kind == "f" else kinds[name].name)
            for name, array in arrays.items()
        }


@cache
def absence(backend: Backend) -> str:
    """Why a backend cannot run here; empty if it can."""
    if find_spec(backend.module) is None:
        return "not installed"
    return "" if backend.has_device() else f"no {backend.device} device"


def _numpy(backend, array, dtype):
    return np.array(array, dtype=dtype)


def _torch(backend, array, dtype):
    torch = import_module("torch")
    return torch.tensor(array, device=backend.device).to(getattr(torch, dtype))


def _torch_to_numpy(array):
    torch = import_module("torch")
    array = array.detach().cpu().resolve_neg()
    return (array.float() if array.dtype == torch.bfloat16 else array).numpy()


def _torch_has_cuda():
    return import_module("torch").cuda.is_available()


def _cupy(backend, array, dtype):
    return import_module("cupy").asarray(array, dtype=dtype)


def _cupy_has_device():
    cupy = import_module("cupy")
    try:
        return cupy.cuda.runtime.getDeviceCount() > 0
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


def _jax(backend, array, dtype):
    jax = import_module("jax")
    values = np.asarray(array, dtype=jax.numpy.dtype(dtype))
    return jax.device_put(values, jax.devices(backend.device)[0])


def _jax_to_numpy(array):
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _jax_has_cuda():
    try:
        return bool(import_module("jax").devices("cuda"))
    except RuntimeError:
        return False


def _jax_x64():
    return import_module("jax").enable_x64(True)


def _dask(backend, array, dtype):
    values = np.array(array, dtype=dtype)
    cut = range(values.ndim - 2, values.ndim) if backend.variant == "split" else (0,)
    chunks = tuple(-(-n // 2) if i in cut else n for i, n in enumerate(values.shape))
    return import_module("dask.array").from_array(values, chunks=chunks)


def _dask_synchronous():
    return import_module("dask").config.set(scheduler="synchronous")


def _strict(backend, array, dtype):
    xp = import_module("array_api_strict")
    values = np.array(array, dtype=dtype)
    return xp.asarray(values, device=xp.Device(backend.device))


def _strict_to_numpy(array):
    xp = import_module("array_api_strict")
    return np.array(array.to_device(xp.Device("CPU_DEVICE")))


def _strict_flags():
    flags = import_module("array_api_strict").ArrayAPIStrictFlags
    return flags(boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=())


def _ndonnx(backend, array, dtype):
    return import_module("ndonnx").asarray(np.array(array, dtype=dtype))


def _ndonnx_to_numpy(array):
    return array.unwrap_numpy()


def _mlx(backend, array, dtype):
    mx = import_module("mlx.core")
    dtype = "bool_" if dtype == "bool" else dtype
    return mx.array(np.array(array), dtype=getattr(mx, dtype))


def _mlx_to_numpy(array):
    mx = import_module("mlx.core")
    return np.array(array.astype(mx.float32) if array.dtype == mx.bfloat16 else array)


@contextmanager
def _mlx_as_on_gpu():
    """No float64, as where MLX runs on a GPU."""
    info = type(import_module("mlx.core").__array_namespace_info__())
    known = info.dtypes

    def dtypes(self, **asked):
        return {name: dtype for name, dtype in known(self, **asked).items() if name != "float64"}

    with mock.patch.object(info, "dtypes", dtypes):
        yield


def _backends():
    with_bfloat16 = ("float16", "bfloat16", "float32", "float64")
    torch = {
        "module": "torch",
        "requirement": "torch",
        "from_numpy": _torch,
        "to_numpy": _torch_to_numpy,
        "dtypes": with_bfloat16,
    }
    jax = {
        "module": "jax",
        "requirement": "jax",
        "from_numpy": _jax,
        "to_numpy": _jax_to_numpy,
        "slow": True,
    }
    dask = {
        "module": "dask.array",
        "requirement": "dask[array]",
        "from_numpy": _dask,
        "to_numpy": np.asarray,
        "context": _dask_synchronous,
        "lazy": True,
        "slow": True,
    }
    strict = {
        "module": "array_api_strict",
        "requirement": "array-api-strict",
        "from_numpy": _strict,
        "to_numpy": _strict_to_numpy,
        "dtypes": ("float32", "float64"),
    }
    mlx = {
        "module": "mlx",
        "requirement": "mlx[cpu]",
        "from_numpy": _mlx,
        "to_numpy": _mlx_to_numpy,
        # https://github.com/ml-explore/mlx/issues/3514
        "device_of": lambda array: None,
    }
    return (
        Backend("numpy", "cpu", "numpy", "numpy", _numpy, np.asarray, batch_invariant=True),
        Backend("torch", "cpu", **torch, batch_invariant=True),
        Backend("torch", "cuda", **torch, has_device=_torch_has_cuda),
        Backend(
            "cupy",
            "cuda",
            module="cupy",
            requirement="cupy-cuda12x",
            from_numpy=_cupy,
            to_numpy=lambda array: array.get(),
            has_device=_cupy_has_device,
        ),
        Backend("jax", "cpu", **jax, dtypes=with_bfloat16[:-1]),
        Backend("jax", "cpu", **jax, variant="x64", dtypes=with_bfloat16, context=_jax_x64),
        Backend("jax", "cuda", **jax, dtypes=with_bfloat16[:-1], has_device=_jax_has_cuda),
        Backend("dask", "cpu", **dask),
        Backend("dask", "cpu", **dask, variant="split"),
        Backend("array-api-strict", "device1", **strict),
        Backend("array-api-strict", "device1", **strict, variant="flags", context=_strict_flags),
        Backend("array-api-strict", "no_float64", **strict | {"dtypes": ("float32",)}),
        Backend(
            "ndonnx",
            "cpu",
            module="ndonnx",
            requirement="ndonnx onnxruntime",
            from_numpy=_ndonnx,
            to_numpy=_ndonnx_to_numpy,
            lazy=True,
            slow=True,
        ),
        Backend("mlx", "cpu", **mlx, dtypes=with_bfloat16),
        Backend(
            "mlx",
            "cpu",
            **mlx,
            variant="no_float64",
            dtypes=with_bfloat16[:-1],
            context=_mlx_as_on_gpu,
        ),
    )


BACKENDS = _backends()
LIBRARIES = tuple(dict.fromkeys(backend.library for backend in BACKENDS))
DEVICES = tuple(dict.fromkeys(backend.device for backend in BACKENDS))

# Those without which a run proves too little, unless --backend names others.
REQUIRED = ("numpy", "torch", "jax", "dask", "array-api-strict", "ndonnx", "mlx")
