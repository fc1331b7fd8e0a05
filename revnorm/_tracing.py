"""What a library's tracer is told: what is constant, and what had better be kept in memory.

Elsewhere all of this is without effect.
"""

import sys
from typing import Any

import array_api_compat

from revnorm._checks import Array
from revnorm._libraries import array_namespace, is_mlx, is_torch


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


def stored(array: Array, each: Array | None = None) -> Array:
    """The array, which PyTorch's compiler computes in a loop of its own.

    Left alone, it repeats for `each` element what leads up to a number of the instance, and joins
    the steps of short sums into one expression that grows with each.
    """
    if not is_torch(array) or (each is not None and array.shape == each.shape):
        return array
    torch = sys.modules["torch"]
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return array
    if torch._C._functorch.peek_interpreter_stack() is not None:
        # The transforms of torch.func do not take it, inside a compiled function.
        return array
    from revnorm._stored import Stored

    return Stored.apply(array)
