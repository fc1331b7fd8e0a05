"""Which library an array is of, as array_api_compat says.

PyTorch's tracer warns at every cached function that it meets, and those of array_api_compat are:
so its own tensors are told apart by where their type is defined.
"""

from typing import Any

import array_api_compat
import numpy as np

from revnorm._trees import Array


def is_torch(array: Any) -> bool:
    """Whether an array is a PyTorch tensor."""
    if type(array) is np.ndarray:
        return False
    return _is_tensor(array) or array_api_compat.is_torch_array(array)


def is_dask(array: Any) -> bool:
    """Whether an array is one of Dask's."""
    return not _is_tensor(array) and type(array).__module__.startswith("dask.")


def is_mlx(array: Any) -> bool:
    """Whether an array is one of MLX's."""
    return type(array).__module__ == "mlx.core"


def is_writable(array: Any) -> bool:
    """Whether an array has its values by now, and lets them be written over."""
    if _is_tensor(array):
        return True
    eager = not array_api_compat.is_lazy_array(array)
    return eager and array_api_compat.is_writeable_array(array)


def is_array(value: Any) -> bool:
    """Whether a value is an array of a library that has a namespace."""
    return _is_tensor(value) or array_api_compat.is_array_api_obj(value)


def array_namespace(*arrays: Array) -> Any:
    """The one namespace of all arrays; a TypeError if there are several."""
    if all(type(array) is np.ndarray for array in arrays):
        # Loads all of NumPy, which an import of this package had better not.
        from array_api_compat import numpy

        return numpy
    if all(map(_is_tensor, arrays)):
        from array_api_compat import torch

        return torch
    if all(map(is_mlx, arrays)):
        from revnorm import _mlx

        return _mlx
    return array_api_compat.array_namespace(*arrays)


def device(array: Array) -> Any:
    """Where an array lives."""
    if is_mlx(array):
        # They lie in memory that every device shares: what matters is where functions of them run.
        return array_namespace(array).default_device()
    return array.device if _is_tensor(array) else array_api_compat.device(array)


def _is_tensor(value: Any) -> bool:
    return type(value).__module__ in ("torch", "torch.nn.parameter")
