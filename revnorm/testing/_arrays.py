"""Arrays of any library from NumPy and back, and the widths of their types."""

import math
from importlib import import_module
from typing import Any

import numpy as np

from revnorm._data import has_float64
from revnorm._host import to_numpy
from revnorm._libraries import array_namespace
from revnorm._libraries import device as placed_on

# Bits of the significand, the leading one among them, and the largest exponent.
_FORMATS = {
    "float16": (11, 15),
    "bfloat16": (8, 127),
    "float32": (24, 127),
    "float64": (53, 1023),
}

_MODULES = {
    "numpy": "numpy",
    "torch": "torch",
    "jax": "jax.numpy",
    "dask": "dask.array",
    "array-api-strict": "array_api_strict",
    "ndonnx": "ndonnx",
    "cupy": "cupy",
    "mlx": "mlx.core",
}

LIBRARIES = tuple(_MODULES)


def module(library: str) -> Any:
    """The module of an array library; ImportError where it is not installed."""
    if library not in _MODULES:
        raise ValueError(f"`library` must be one of {', '.join(LIBRARIES)}, got {library!r}")
    return import_module(_MODULES[library])


def significand(dtype: str) -> tuple[int, int]:
    """Bits of the significand and the largest exponent of a type."""
    dtype = getattr(dtype, "__name__", str(dtype).rpartition(".")[2])
    if dtype not in _FORMATS:
        raise ValueError(f"`dtype` must be one of {', '.join(_FORMATS)}, got {dtype!r}")
    return _FORMATS[dtype]


def largest(dtype: str) -> float:
    """The largest finite number of a type."""
    bits, exponent = significand(dtype)
    return math.ldexp(2 - math.ldexp(1, 1 - bits), exponent)


def smallest(dtype: str) -> float:
    """The smallest positive number of a type, a subnormal one."""
    bits, exponent = significand(dtype)
    return math.ldexp(1, 2 - exponent - bits)


def is_subnormal(values: np.ndarray, dtype: str) -> np.ndarray:
    """Where numbers are below those that a type has with all of its bits."""
    return (values != 0) & (np.abs(values) < math.ldexp(1, 1 - significand(dtype)[1]))


def from_numpy(
    array: Any, library: str = "numpy", /, *, dtype: str | None = None, device: Any = None
) -> Any:
    """An array of a library with the values of a NumPy array.

    Strides are kept where the library has them and can take these.
    """
    xp = module(library)
    array = np.asarray(array)
    if library == "torch":
        if any(stride < 0 for stride in array.strides) or not array.flags.writeable:
            array = array.copy(order="K")
        tensor = xp.from_numpy(array)
        return tensor.to(device=device, dtype=None if dtype is None else getattr(xp, dtype))
    wanted = None if dtype is None else getattr(xp, dtype, None)
    if dtype == "bfloat16" and wanted is None:
        raise ValueError(f"`dtype` must be one that {library} has, got 'bfloat16'")
    if library == "numpy":
        return array if dtype is None else array.astype(dtype, order="K", copy=False)
    if library == "cupy":
        with xp.cuda.Device(device):
            return xp.asarray(array, dtype=wanted)
    if library == "dask":
        return xp.from_array(array if wanted is None else array.astype(dtype))
    if library == "array-api-strict" and isinstance(device, str):
        device = xp.Device(device)
    if library == "mlx":
        return import_module("revnorm._mlx").asarray(array, dtype=wanted)
    return xp.asarray(array, dtype=wanted, device=device)


def has_wider(library: str, dtype: str, device: Any = None) -> bool:
    """Whether a library has float64 on a device, and the type is narrower than that."""
    empty = from_numpy(np.zeros(1, dtype=np.float32), library, device=device)
    return dtype != "float64" and has_float64(array_namespace(empty), placed_on(empty))


def flushes(library: str, dtype: str, device: Any = None) -> bool:
    """Whether a library's arithmetic takes the subnormal numbers of a type for 0."""
    least = from_numpy(np.full(1, smallest(dtype)), library, dtype=dtype, device=device)
    return not np.any(to_numpy(least + least))


def rounded(values: Any, dtype: str) -> np.ndarray:
    """Values of float64 rounded to a type, bfloat16 being held in float32."""
    values = np.asarray(values)
    with np.errstate(over="ignore", under="ignore"):
        if dtype != "bfloat16":
            return values.astype(dtype, order="K")
        bits, top = significand(dtype)
        _, exponent = np.frexp(values)
        # Subnormal numbers lie as far from each other as the smallest normal ones do.
        last = np.maximum(exponent, 2 - top) - bits
        return np.ldexp(np.rint(np.ldexp(values, -last)), last).astype(np.float32)
