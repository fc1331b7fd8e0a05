"""Every kernel of the package on data of a shape, as a function, arrays and keywords."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import revnorm as rn

from . import ways
from .ways import Array


class Call(NamedTuple):
    """What is called: the function, its arrays as NumPy's, its keyword arguments."""

    function: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    keywords: dict[str, Any]


def instance_norm(x: np.ndarray) -> Call:
    return Call(rn.instance_norm, (x,), {"axis": ways.axis(x)})


def adain(x: np.ndarray) -> Call:
    return Call(rn.adain, (x, 2 * x + 1), {"axis": ways.axis(x)})


def batch_instance_norm(x: np.ndarray) -> Call:
    gate = np.full(x.shape[1], 0.5, dtype=x.dtype)
    keywords = {"axis": ways.axis(x), "batch_axis": 0, "channel_axis": 1}
    return Call(rn.batch_instance_norm, (x, gate), keywords)


def conditional_instance_norm(x: np.ndarray) -> Call:
    scales = np.ones((10, x.shape[1]), dtype=x.dtype)
    labels = np.arange(x.shape[0]) % 10
    keywords = {"axis": ways.axis(x), "batch_axis": 0, "channel_axis": 1}
    return Call(rn.conditional_instance_norm, (x, scales, 0 * scales, labels), keywords)


def spatially_adaptive_norm(x: np.ndarray) -> Call:
    return Call(rn.spatially_adaptive_norm, (x, x / 2, x), {"axis": ways.axis(x)})


def revin(x: np.ndarray) -> Call:
    return Call(rn.revin, (x, *ways.affine(x)), {"axis": ways.axis(x), "channel_axis": -1})


def there_and_back(x: np.ndarray) -> Call:
    return revin(x)._replace(function=_there_and_back)


IMAGES = {
    one.__name__: one
    for one in (
        instance_norm,
        adain,
        batch_instance_norm,
        conditional_instance_norm,
        spatially_adaptive_norm,
    )
}
SERIES = {one.__name__: one for one in (revin, there_and_back)}


def _there_and_back(x: Array, scale: Array, bias: Array, /, **keywords: Any) -> Array:
    y, map = rn.revin(x, scale, bias, **keywords)
    return map.inv(y)
