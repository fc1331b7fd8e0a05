"""What the layers ask of Keras: its backend, its dtypes, its masks."""

import sys
from collections.abc import Sequence
from typing import Any

import keras

from revnorm._trees import Array

BACKENDS = ("torch", "jax", "numpy")


def check_backend() -> None:
    """Refuses backends whose tensors are not arrays of the array API standard."""
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        raise NotImplementedError(
            f"`KERAS_BACKEND` must be one of {', '.join(BACKENDS)}, whose tensors are arrays of "
            f"the array API standard, got {backend!r}"
        )


def widened(x: Array, compute_dtype: str) -> Array:
    """The tensor in a dtype that holds both itself and what the layer computes in."""
    own = keras.backend.standardize_dtype(x.dtype)
    own = own if keras.backend.is_float_dtype(own) else "float32"
    if "float64" in (own, compute_dtype):  # Keras's own rules stop at float32
        return keras.ops.cast(x, "float64")
    return keras.ops.cast(x, keras.backend.result_type(own, compute_dtype))


def widest() -> str:
    """The widest dtype there is: JAX has no float64 unless it is told to."""
    if keras.backend.backend() == "jax" and not sys.modules["jax"].config.jax_enable_x64:
        return "float32"
    return "float64"


def is_traced(x: Array) -> bool:
    """Whether a tensor has no values yet, and none beyond the trace that it belongs to."""
    return keras.backend.backend() == "jax" and isinstance(x, sys.modules["jax"].core.Tracer)


def value(variable: Any) -> Array | None:
    """The tensor of a weight that a layer may do without."""
    return None if variable is None else keras.ops.convert_to_tensor(variable)


def channel(axis: int | None, shape: Sequence[int | None]) -> tuple[int | None, int]:
    """The channel axis, counted from the front, and how many channels there are: 1 without."""
    if axis is None:
        return None, 1
    if not -len(shape) <= axis < len(shape) or axis % len(shape) == 0:
        raise ValueError(
            f"`axis` must be an axis of the inputs other than that of the batch, got {axis} "
            f"for shape {tuple(shape)}"
        )
    channels = shape[axis]
    if channels is None:
        raise ValueError(
            f"`inputs` must have a known size along the channel axis {axis}, "
            f"got shape {tuple(shape)}"
        )
    return axis % len(shape), channels


def reduced(shape: Sequence[int | None], channel_axis: int | None) -> tuple[int, ...]:
    """All axes but those of the batch and of the channels."""
    axes = tuple(i for i in range(1, len(shape)) if i != channel_axis)
    if not axes:
        raise ValueError(
            "`inputs` must have an axis besides those of the batch and of the channels, "
            f"got shape {tuple(shape)}"
        )
    return axes


def observed(mask: Array | None, x: Array, channel_axis: int | None) -> Array | None:
    """Keras's mask of (batch, steps), laid out with the axes of x."""
    if mask is None:
        return None
    mask = keras.ops.cast(mask, "bool")
    if channel_axis is not None and mask.ndim < x.ndim and mask.ndim > channel_axis:
        mask = keras.ops.expand_dims(mask, channel_axis)
    while mask.ndim < x.ndim:
        mask = keras.ops.expand_dims(mask, -1)
    return mask
