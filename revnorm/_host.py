"""Arrays of any library as NumPy's, in the memory of the host."""

from typing import Any

import array_api_compat
import numpy as np

from revnorm._data import has_float64
from revnorm._libraries import array_namespace, device, is_mlx


def to_numpy(array: Any, /) -> np.ndarray:
    """The values of an array of any library; float32 where they are bfloat16."""
    if isinstance(array, np.ndarray):
        return array
    if array_api_compat.is_torch_array(array):
        array = array.detach().cpu()
        return (array.float() if "bfloat16" in str(array.dtype) else array).numpy()
    if array_api_compat.is_ndonnx_array(array):
        return array.unwrap_numpy()
    if array_api_compat.is_dask_array(array):
        return to_numpy(array.compute())
    if array_api_compat.is_cupy_array(array):
        return array.get()
    if is_mlx(array) and "bfloat16" in str(array.dtype):
        array = array.astype(array_namespace(array).float32)
    if type(array).__module__.startswith("array_api_strict"):
        array = array.to_device(type(array.device)("CPU_DEVICE"))
    values = np.asarray(array)
    return values.astype(np.float32) if values.dtype.name == "bfloat16" else values


def is_on_host(array: Any, /) -> bool:
    """Whether the values lie in the memory of the host, or are not worth a device."""
    if isinstance(array, np.ndarray):
        return True
    if array_api_compat.is_torch_array(array):
        return str(array.device) == "cpu" or not _is_wide(array)
    if array_api_compat.is_cupy_array(array) or array_api_compat.is_dask_array(array):
        return False
    if array_api_compat.is_jax_array(array):
        return all(one.platform == "cpu" for one in array.devices()) or not _is_wide(array)
    return True


def _is_wide(array: Any) -> bool:
    """Whether there is float64 where an array lies."""
    return has_float64(array_namespace(array), device(array))
