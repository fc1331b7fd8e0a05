"""ONNX models and functions of C libraries, called as kernels with NumPy arrays."""

import ctypes
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from revnorm.testing._adapters import Adapted, Call
from revnorm.testing._case import Case

# Elements before and behind a result that a function is given to write.
_MARGIN = 64


def of_onnx(path: Path, name: str) -> Adapted:
    """A model with the inputs data, or data, scale and bias; of the sizes that it fixes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()

    def call(asked: Call) -> Any:
        channels = (asked.channels,)
        fill = (np.ones(channels, asked.x.dtype), np.zeros(channels, asked.x.dtype))
        given = [asked.x]
        for one, other in zip((asked.scale, asked.bias), fill):
            given.append(other if one is None else one)
        feed = {one.name: np.ascontiguousarray(a) for one, a in zip(inputs, given)}
        return session.run(None, feed)[0]

    def fits(case: Case) -> str:
        wanted, shape = inputs[0].shape, case.arrays[0].shape
        if wanted and len(wanted) != len(shape):
            return f"not declared: it takes {len(wanted)} axes"
        fixed = [(w, n) for w, n in zip(wanted, shape) if isinstance(w, int) and w != n]
        return f"not declared: it takes {fixed[0][0]}, not {fixed[0][1]}" if fixed else ""

    takes = frozenset({1: set(), 2: {"scale"}}.get(len(inputs), {"scale", "bias"}))
    return Adapted(path, name, call, takes, fits)


def of_ctypes(function: Any, name: str) -> Adapted:
    """A function that ctypes has loaded."""
    pointer = ctypes.POINTER(ctypes.c_float)
    sizes = [ctypes.c_int64] * 4
    function.argtypes = [*[pointer] * 4, *sizes, ctypes.c_float]
    function.restype = None

    def as_pointer(array: np.ndarray | None) -> Any:
        return None if array is None else array.ctypes.data_as(pointer)

    return _of_c(function, name, as_pointer)


def of_cffi(function: Any, name: str) -> Adapted:
    """A function of a library that cffi has opened or compiled."""
    import cffi

    ffi = cffi.FFI()

    def as_pointer(array: np.ndarray | None) -> Any:
        return ffi.NULL if array is None else ffi.cast("float *", array.ctypes.data)

    return _of_c(function, name, as_pointer)


def _of_c(function: Any, name: str, as_pointer: Callable[[np.ndarray | None], Any]) -> Adapted:
    """``f(y, x, scale, bias, n, c, l, groups, eps)``, with contiguous float32 arrays."""

    def call(asked: Call) -> Any:
        x = np.ascontiguousarray(asked.x, dtype=np.float32)
        # What is not written stays NaN, and what is beyond the result should.
        around = np.full(x.size + 2 * _MARGIN, np.nan, dtype=np.float32)
        y = around[_MARGIN:-_MARGIN].reshape(x.shape)
        parameters = [
            None if one is None else np.ascontiguousarray(one, dtype=np.float32)
            for one in (asked.scale, asked.bias)
        ]
        if name in ("layer_norm", "rms_norm"):
            length = math.prod(asked.shape)
            n, c = 1, x.size // max(length, 1)
        else:
            n, c = x.shape[:2]
            length = math.prod(x.shape[2:])
        arrays = map(as_pointer, (y, x, *parameters))
        function(*arrays, n, c, length, asked.groups or 1, asked.eps)
        beyond = np.concatenate([around[:_MARGIN], around[-_MARGIN:]])
        adapted.strays |= not np.isnan(beyond).all()
        return y

    adapted = Adapted(function, name, call, frozenset({"scale", "bias", "eps", "shape"}))
    return adapted
