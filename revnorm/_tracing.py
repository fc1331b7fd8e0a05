"""What a library's tracer is told: what is constant, and what had better be kept in memory.

Elsewhere all of this is without effect.
"""

import sys
from typing import Any

import array_api_compat

from revnorm._libraries import array_namespace, is_mlx, is_torch
from revnorm._trees import Array


def constant(array: Array) -> Array:
    """The array, through which no gradient flows."""
    if is_torch(array):
        return array.detach()
    if array_api_compat.is_jax_array(array):
        return sys.modules["jax"].lax.stop_gradient(array)
    if is_mlx(array):
        return array_namespace(array).stop_gradient(array)
    return array


def is_fixed(size: Any) -> bool:
    """Whether a size is a number, and none that a compiler or an exporter leaves open."""
    if not isinstance(size, int):
        return False
    torch = sys.modules.get("torch")
    if torch is None or not torch.compiler.is_compiling():
        return True
    from torch.fx.experimental.symbolic_shapes import has_static_value

    return bool(has_static_value(size))


def measured(x: Array, axis: tuple[int, ...], split: Any) -> tuple[Array, Array, Array]:
    """The sample of segments, through which PyTorch's compiler need not differentiate."""
    from revnorm._sample import of_segments

    if not _in_torch_compiler(x):
        return of_segments(x, axis, split)
    from revnorm._functions import Measured

    pivot, residual, variance = Measured.apply(x, axis, tuple(split))
    return pivot, residual, variance


def stored(array: Array, each: Array | None = None) -> Array:
    """The array, which PyTorch's compiler computes in a loop of its own.

    Left alone, it repeats for `each` element what leads up to a number of the instance, and joins
    the steps of short sums into one expression that grows with each.
    """
    if (each is not None and array.shape == each.shape) or not _in_torch_compiler(array):
        return array
    from revnorm._functions import Stored

    return Stored.apply(array)


def _in_torch_compiler(array: Array) -> bool:
    """Whether PyTorch's compiler takes functions with a backward of their own.

    Exporters and the transforms of torch.func inside compiled code do not.
    """
    if not is_torch(array):
        return False
    torch = sys.modules["torch"]
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return False
    return not torch._C._are_functorch_transforms_active()
