"""What people normalize with today, each to be called as the kernel that it is."""

import os
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

import revnorm as rn
from revnorm.testing import adapt, from_numpy

EPS = 1e-5


class Implementation(NamedTuple):
    """A function that is called as the kernel of a name is, with arrays of a library."""

    name: str
    kernel: str
    library: str
    function: Any
    only: Any = None


def adapted(name, kernel, library, given, only=None):
    return Implementation(name, kernel, library, adapt(given, as_=kernel), only)


def of_torch():
    import torch
    import torch.nn.functional as F

    kernels = ("instance_norm", "layer_norm", "group_norm", "batch_norm", "rms_norm")
    found = [adapted(f"torch F.{k}", k, "torch", getattr(F, k)) for k in kernels]
    return [*found, Implementation("RevIN, published formulas", "revin", "torch", revin(torch))]


def revin(torch):
    """Statistics of their own, detached; back by weight + eps²."""

    def run(x, scale=None, bias=None, *, axis, channel_axis=None, eps=EPS):
        mean = torch.mean(x, dim=axis, keepdim=True).detach()
        variance = torch.var(x, dim=axis, keepdim=True, unbiased=False)
        std = torch.sqrt(variance + eps).detach()
        weight, shift = (laid(p, x, channel_axis) for p in (scale, bias))
        y = (x - mean) / std
        y = y if weight is None else y * weight
        y = y if shift is None else y + shift

        def back(y):
            y = y if shift is None else y - shift
            y = y if weight is None else y / (weight + eps * eps)
            return y * std + mean

        return y, back

    return run


def of_flax():
    from flax import linen

    layers = {
        "InstanceNorm": "instance_norm",
        "LayerNorm": "layer_norm",
        "GroupNorm": "group_norm",
        "BatchNorm": "batch_norm",
        "RMSNorm": "rms_norm",
    }
    found = [adapted(f"flax {k}", kernel, "jax", getattr(linen, k)) for k, kernel in layers.items()]
    slow = linen.InstanceNorm(use_fast_variance=False)
    return [*found, adapted("flax InstanceNorm, slow variance", "instance_norm", "jax", slow)]


def of_jax():
    import jax

    def run(algorithm):
        def standardize(x, eps=EPS):
            axis = tuple(range(2, x.ndim))
            run = partial(jax.nn.standardize, axis=axis, epsilon=eps, algorithm=algorithm)
            return jax.jit(run)(x)

        return standardize

    return [
        adapted(f"jax.nn.standardize, {one}", "instance_norm", "jax", run(one))
        for one in ("fast", "stable")
    ]


def of_keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    library = {"tensorflow": "numpy"}.get(keras.backend.backend(), keras.backend.backend())
    layers = {
        "LayerNormalization": "layer_norm",
        "GroupNormalization": "group_norm",
        "BatchNormalization": "batch_norm",
        "RMSNormalization": "rms_norm",
    }
    return [
        adapted(f"Keras {name} on {library}", kernel, library, getattr(keras.layers, name))
        for name, kernel in layers.items()
    ]


@cache
def session(operator, ndim, eps, groups):
    import onnx
    import onnxruntime

    make, float32 = onnx.helper, onnx.TensorProto.FLOAT
    shapes = {"x": [None] * ndim, "scale": [None], "bias": [None]}
    attributes = {"epsilon": eps} | ({} if groups is None else {"num_groups": groups})
    node = make.make_node(operator, list(shapes), ["y"], **attributes)
    inputs = [make.make_tensor_value_info(key, float32, s) for key, s in shapes.items()]
    output = make.make_tensor_value_info("y", float32, [None] * ndim)
    graph = make.make_graph([node], "norm", inputs, [output])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 21)], ir_version=10)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def of_onnx():
    import onnxruntime  # noqa: F401

    def run(operator, last):
        def norm(x, scale=None, bias=None, eps=EPS, groups=None):
            size = (x.shape[-1 if last else 1],)
            given = {
                "x": np.ascontiguousarray(x),
                "scale": np.ones(size, x.dtype) if scale is None else scale,
                "bias": np.zeros(size, x.dtype) if bias is None else bias,
            }
            return session(operator, x.ndim, eps, groups).run(None, given)[0]

        if operator == "GroupNormalization":
            return lambda x, groups, scale=None, bias=None, eps=EPS: norm(
                x, scale, bias, eps, groups
            )
        return lambda x, scale=None, bias=None, eps=EPS: norm(x, scale, bias, eps)

    operators = {
        "InstanceNormalization": "instance_norm",
        "LayerNormalization": "layer_norm",
        "GroupNormalization": "group_norm",
    }
    return [
        adapted(f"ONNX Runtime {name}", k, "numpy", run(name, k == "layer_norm"))
        for name, k in operators.items()
    ]


def positive_eps(case):
    return case.keywords.get("eps", EPS) > 0


def up_to_four_axes(case):
    return case.arrays[0].ndim <= 4


def of_mlx():
    import mlx.core as mx
    import mlx.nn as nn

    def layer_norm(x, weight=None, bias=None, eps=EPS):
        return mx.fast.layer_norm(x, weight, bias, eps)

    def rms_norm(x, weight=None, eps=EPS):
        return mx.fast.rms_norm(x, weight, eps)

    def channels_last(layer, x, weight, bias):
        if weight is not None:
            layer.weight = weight
        if bias is not None:
            layer.bias = bias
        return mx.moveaxis(layer(mx.moveaxis(x, 1, -1)), -1, 1)

    def instance_norm(x, weight=None, bias=None, eps=EPS):
        layer = nn.InstanceNorm(x.shape[1], eps=eps, affine=weight is not None)
        return channels_last(layer, x, weight, bias)

    def group_norm(x, num_groups, weight=None, bias=None, eps=EPS):
        layer = nn.GroupNorm(num_groups, x.shape[1], eps=eps, pytorch_compatible=True)
        return channels_last(layer, x, weight, bias)

    def batch_norm(x, weight=None, bias=None, eps=EPS):
        return channels_last(nn.BatchNorm(x.shape[1], eps=eps), x, weight, bias)

    return [
        adapted("MLX fast.layer_norm", "layer_norm", "mlx", layer_norm),
        adapted("MLX fast.rms_norm", "rms_norm", "mlx", rms_norm),
        adapted("MLX InstanceNorm", "instance_norm", "mlx", instance_norm, positive_eps),
        adapted("MLX GroupNorm", "group_norm", "mlx", group_norm),
        adapted("MLX BatchNorm", "batch_norm", "mlx", batch_norm, up_to_four_axes),
    ]


def laid(parameter, x, channel_axis):
    if parameter is None or parameter.ndim != 1 or channel_axis is None:
        return parameter
    shape = [1] * x.ndim
    shape[channel_axis] = -1
    return parameter.reshape(shape)


def norm_of(moments):
    """An instance norm in the type of the data, with mean and variance from a function."""

    def instance_norm(x, scale=None, bias=None, *, axis, channel_axis=None, eps=EPS):
        mean, variance = moments(x, axis)
        y = (x - mean) / np.sqrt(variance + np.float32(eps))
        scale, bias = (laid(p, x, channel_axis) for p in (scale, bias))
        y = y if scale is None else y * scale
        return (y if bias is None else y + bias).astype(x.dtype)

    return instance_norm


def two_passes(x, axis):
    return x.mean(axis, keepdims=True), x.var(axis, keepdims=True)


def one_pass(x, axis):
    mean = x.mean(axis, keepdims=True)
    return mean, np.maximum((x * x).mean(axis, keepdims=True) - mean * mean, 0)


def welford(x, axis):
    axes = tuple(np.atleast_1d(axis).tolist())
    moved = np.moveaxis(x, axes, tuple(range(len(axes))))
    rows = moved.reshape(-1, *moved.shape[len(axes) :])
    mean = square = np.zeros_like(rows[0])
    for count, row in enumerate(rows, start=1):
        d = row - mean
        mean = mean + d / np.float32(count)
        square = square + d * (row - mean)
    return [np.expand_dims(one, axes) for one in (mean, square / np.float32(len(rows)))]


def in_float64(x, axis):
    return two_passes(x.astype(np.float64), axis)


def of_numpy():
    ways = {
        "NumPy float32, two passes": two_passes,
        "NumPy float32, E[x²] − E[x]²": one_pass,
        "NumPy float32, Welford": welford,
        "NumPy float64, two passes": in_float64,
    }
    return [
        Implementation(name, "instance_norm", "numpy", norm_of(way)) for name, way in ways.items()
    ]


def of_revnorm():
    found = []
    for library in ("numpy", "torch", "jax"):
        try:
            from_numpy(np.zeros(1), library)
        except ImportError:
            continue
        kernel = compiled if library == "jax" else rn.instance_norm
        found.append(Implementation(f"revnorm on {library}", "instance_norm", library, kernel))
    return found


def compiled(*arrays, **keywords):
    import jax

    return jax.jit(partial(rn.instance_norm, **keywords))(*arrays)


# Those whose every shape is compiled come last.
MAKERS = (of_torch, of_keras, of_onnx, of_mlx, of_numpy, of_revnorm, of_jax, of_flax)


def implementations():
    """Every implementation that is installed, and the names of what is not."""
    found, missing = [], []
    for make in MAKERS:
        try:
            found += make()
        except ImportError as error:
            missing.append(str(error.name))
    return found, missing
