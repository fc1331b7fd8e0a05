"""Ways to normalize the same data: this library's, the textbook's, PyTorch's.

A way takes NumPy data and gives a function without arguments that normalizes it. What a way
needs beside the data it makes beforehand, so that only the normalization is timed. A way whose
library is missing raises ImportError.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

import revnorm as rn

Array = Any
Function = Callable[[], Any]
EPS = 1e-5


def data(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """Normal numbers around 1, the same ones at every call."""
    random = np.random.default_rng(0)
    x = random.standard_normal(shape, dtype="float32")
    x += 1
    return x.astype(dtype, copy=False)


def axis(x: np.ndarray) -> tuple[int, ...]:
    """What is reduced: space in an image (N, C, H, W) or volume, time in a series (B, T, C)."""
    return rn.Layout({3: "BTC", 4: "NCHW", 5: "NCDHW"}[x.ndim]).axis


def affine(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A scale and a bias for every channel of a series."""
    channels = np.arange(x.shape[-1]) / x.shape[-1]
    return (1 + channels / 2).astype(x.dtype), channels.astype(x.dtype)


@cache
def torch() -> Any:
    """PyTorch, with as many threads as the other libraries."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return torch


def compiled(function: Callable[..., Any], engine: str | None = None) -> Callable[..., Any]:
    """`rn.compile(function)`; an ImportError where this version has none."""
    if not hasattr(rn, "compile"):
        raise ImportError(f"revnorm {rn.__version__} has no `compile`")
    return rn.compile(function, engine=engine)


def copy(x: np.ndarray) -> Function:
    to = np.empty_like(x)
    return lambda: np.copyto(to, x)


def textbook(x: np.ndarray) -> Function:
    over = axis(x)

    def line() -> np.ndarray:
        mean, variance = x.mean(over, keepdims=True), x.var(over, keepdims=True)
        return (x - mean) / np.sqrt(variance + EPS)

    return line


def numpy(x: np.ndarray, **keywords: Any) -> Function:
    over = axis(x)
    return lambda: rn.instance_norm(x, axis=over, **keywords)


def numpy_out(x: np.ndarray, **keywords: Any) -> Function:
    return numpy(x, out=np.empty_like(x), **keywords)


def numpy_two_threads_out(x: np.ndarray) -> Function:
    pool, half, out = ThreadPoolExecutor(2), len(x) // 2, np.empty_like(x)
    calls = [numpy(x[part], out=out[part]) for part in (slice(half), slice(half, None))]
    return lambda: [done.result() for done in [pool.submit(call) for call in calls]]


def numpy_native_out(x: np.ndarray) -> Function:
    return numpy_out(x, precision="native")


def numpy_adain(x: np.ndarray) -> Function:
    style, over = 2 * x + 1, axis(x)
    return lambda: rn.adain(x, style, axis=over)


def numpy_batch_instance(x: np.ndarray) -> Function:
    gate, over = np.full(x.shape[1], 0.5, dtype=x.dtype), axis(x)
    return lambda: rn.batch_instance_norm(x, gate, axis=over, batch_axis=0, channel_axis=1)


def torch_eager(x: np.ndarray) -> Function:
    t, over = torch().from_numpy(x), axis(x)
    return lambda: rn.instance_norm(t, axis=over)


def torch_instance_norm(x: np.ndarray) -> Function:
    t, function = torch().from_numpy(x), torch().nn.functional.instance_norm
    return lambda: function(t, eps=EPS)


def torch_group_norm(x: np.ndarray) -> Function:
    t, function = torch().from_numpy(x), torch().nn.functional.group_norm
    return lambda: function(t, x.shape[1], eps=EPS)


def compiled_torch(x: np.ndarray) -> Function:
    t, over, function = torch().from_numpy(x), axis(x), compiled(rn.instance_norm)
    return lambda: function(t, axis=over)


def compiled_torch_out(x: np.ndarray) -> Function:
    t, over, function = torch().from_numpy(x), axis(x), compiled(rn.instance_norm)
    out = torch().empty_like(t)
    return lambda: function(t, axis=over, out=out)


def compiled_numpy_out(x: np.ndarray) -> Function:
    torch()
    over, function, out = axis(x), compiled(rn.instance_norm), np.empty_like(x)
    return lambda: function(x, axis=over, out=out)


def revin_numpy(x: np.ndarray) -> Function:
    return _there_and_back(x, *affine(x), rn.revin, undo)


def revin_numpy_out(x: np.ndarray) -> Function:
    outs = np.empty_like(x), np.empty_like(x)
    return _there_and_back(x, *affine(x), rn.revin, undo, *outs)


def revin_compiled(x: np.ndarray) -> Function:
    tensors = (torch().from_numpy(one) for one in (x, *affine(x)))
    return _there_and_back(*tensors, compiled(rn.revin), compiled(undo))


def revin_compiled_out(x: np.ndarray) -> Function:
    tensors = [torch().from_numpy(one) for one in (x, *affine(x))]
    outs = (torch().empty_like(tensors[0]) for _ in range(2))
    return _there_and_back(*tensors, compiled(rn.revin), compiled(undo), *outs)


def revin_published(x: np.ndarray) -> Function:
    t, weight, bias = (torch().from_numpy(one) for one in (x, *affine(x)))
    return lambda: published_revin(t, weight, bias)


def published_revin(x: Array, weight: Array, bias: Array, /) -> Array:
    """The code of ts-kim's RevIN in PyTorch: norm with its affine parameters, then denorm."""
    mean = x.mean(dim=1, keepdim=True).detach()
    stdev = torch().sqrt(torch().var(x, dim=1, keepdim=True, unbiased=False) + EPS).detach()
    y = x - mean
    y = y / stdev
    y = y * weight
    y = y + bias
    z = y - bias
    z = z / (weight + EPS * EPS)
    z = z * stdev
    return z + mean


def undo(y: Array, map: rn.AffineMap, out: Array = None) -> Array:
    return map.inv(y, out=out)


def _there_and_back(
    x: Array,
    scale: Array,
    bias: Array,
    revin: Callable,
    undo: Callable,
    there: Array = None,
    back: Array = None,
) -> Function:
    def there_and_back() -> Array:
        y, map = revin(x, scale, bias, axis=1, channel_axis=-1, out=there)
        return undo(y, map, out=back)

    return there_and_back
