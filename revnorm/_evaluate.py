"""How a pure kernel is run on the arrays at hand."""

from collections.abc import Callable
from typing import Any

import array_api_compat

from revnorm import _checks
from revnorm._checks import Array


def run(
    kernel: Callable[..., Any], x: Array, *operands: Any, axis: tuple[int, ...], out: Any = None
) -> Any:
    """`kernel(x, *operands, axis)`; with `out`, its first or only array is written there."""
    writable(out, x)
    result = kernel(x, *operands, axis)
    if out is None:
        return result
    if isinstance(result, tuple):
        out[...] = result[0]
        return out, *result[1:]
    out[...] = result
    return out


def writable(out: Array, x: Array) -> None:
    """Raises unless `out` is None, or an array that a result for `x` can be written into."""
    if out is None:
        return
    _checks.namespace(x=x, out=out)
    if array_api_compat.is_lazy_array(out) or not array_api_compat.is_writeable_array(out):
        raise ValueError(f"`out` must be a writable eager array, got {type(out).__name__}")
    if out.dtype != x.dtype:
        raise TypeError(f"`out` must be of dtype {x.dtype}, got {out.dtype}")
    if _checks.shape(out) != _checks.shape(x):
        shapes = f"{_checks.shape(x)}, got {_checks.shape(out)}"
        raise ValueError(f"`out` must be of shape {shapes}")
