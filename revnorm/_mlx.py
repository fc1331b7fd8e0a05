"""The namespace of MLX, which is that of `mlx.core` but for what the standard has and it lacks.

MLX's arrays lie on no device, https://github.com/ml-explore/mlx/issues/3514, nor do its functions
take one; array_api_compat wraps none of that yet,
https://github.com/data-apis/array-api-compat/issues/450. What runs, runs on the default device, and
in float64 only if that is a processor.
"""

from typing import Any

import mlx.core as mx
import numpy as np

from revnorm._trees import Array

bool = mx.bool_


def __getattr__(name: str) -> Any:
    return getattr(mx, name)


def astype(x: Array, dtype: Any, /, *, copy: Any = True) -> Array:
    """The array in another dtype; arrays share memory where MLX lets them."""
    return x if x.dtype == dtype and not copy else mx.astype(x, dtype)


def sum(x: Array, /, *, axis: Any = None, dtype: Any = None, keepdims: Any = False) -> Array:
    """The sum, taken in a dtype."""
    return mx.sum(x if dtype is None else mx.astype(x, dtype), axis=axis, keepdims=keepdims)


def asarray(values: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Array:
    """An array; what is float64 in NumPy stays so, which MLX makes float32 of unless told."""
    if isinstance(values, np.ndarray | list):
        # MLX takes no negative strides, nor lists of NumPy's numbers.
        values = np.array(values, order="C", copy=None)
        dtype = mx.float64 if dtype is None and values.dtype == np.float64 else dtype
    return mx.asarray(values, dtype=dtype, copy=copy)


def from_dlpack(x: Any, /) -> Array:
    """An array that lies in another library's memory, but for float64, which MLX would narrow."""
    return asarray(np.from_dlpack(x)) if str(x.dtype).endswith("float64") else mx.from_dlpack(x)


def arange(start: Any, stop: Any, /, *, device: Any = None) -> Array:
    """The whole numbers from `start` on, up to `stop`."""
    return mx.arange(start, stop)
