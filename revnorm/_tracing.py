"""What a library's tracer is told: what is constant, and what had better be kept in memory.

Elsewhere all of this is without effect.
"""

import sys

import array_api_compat

from revnorm._checks import Array


def constant(array: Array) -> Array:
    """The array, through which no gradient flows."""
    if array_api_compat.is_torch_array(array):
        return array.detach()
    if array_api_compat.is_jax_array(array):
        return sys.modules["jax"].lax.stop_gradient(array)
    return array


def stored(array: Array, each: Array) -> Array:
    """The array, which PyTorch's compiler computes once an instance and not for `each` element."""
    if not array_api_compat.is_torch_array(array) or array.shape == each.shape:
        return array
    compiler = sys.modules["torch"].compiler
    if not compiler.is_compiling() or compiler.is_exporting():
        return array
    return array.as_strided(array.size(), array.stride())
