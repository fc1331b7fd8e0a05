"""Arrays of any library as NumPy's, in the memory of the host."""

from typing import Any

import array_api_compat
import numpy as np

from revnorm._libraries import array_namespace, is_mlx


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
