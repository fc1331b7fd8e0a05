"""Training steps: a way there and its gradients, and nothing of an optimizer.

A way takes NumPy data and gives a Step: the function, and the tensors whose gradients are taken,
the data first. Called, it goes there and back once.
"""

from functools import cached_property
from typing import Any

import numpy as np

import revnorm as rn

from . import ways
from .ways import Array, Callable

CHANNELS_LAST = {4: "channels_last", 5: "channels_last_3d"}


class Step:
    """A function of tensors that require gradients, and the backward of its result."""

    def __init__(self, function: Callable[..., Array], operands: tuple[Array, ...]):
        self.function, self.operands = function, operands

    @cached_property
    def cotangent(self) -> Array:
        """In the memory order of the result, as the layer behind it would give it."""
        return ways.torch().randn_like(self.forward().detach())

    def forward(self) -> Array:
        return self.function(*self.operands)

    def __call__(self) -> tuple[Array, ...]:
        return ways.torch().autograd.grad(self.forward(), self.operands, self.cotangent)


def operands(x: np.ndarray) -> tuple[Array, ...]:
    """The data, a weight and a bias a channel."""
    channels = x.shape[_channel_axis(x)]
    made = x, np.linspace(0.5, 1.5, channels, dtype=x.dtype), np.zeros(channels, x.dtype)
    return tuple(ways.torch().tensor(one, requires_grad=True) for one in made)


def channels_last(x: np.ndarray) -> tuple[Array, ...]:
    """The same, with the channels of every pixel together in memory."""
    data, *parameters = operands(x)
    order = getattr(ways.torch(), CHANNELS_LAST[x.ndim])
    data = data.detach().to(memory_format=order).requires_grad_()
    return data, *parameters


def normalizer(x: np.ndarray, **keywords: Any) -> Callable[..., Array]:
    """Instance norm over such data, as a function of it, the weight and the bias."""
    axis, channel_axis = ways.axis(x), _channel_axis(x)

    def normalize(x: Array, weight: Array, bias: Array) -> Array:
        return rn.instance_norm(
            x, weight, bias, axis=axis, channel_axis=channel_axis, eps=ways.EPS, **keywords
        )

    return normalize


def theirs() -> Callable[..., Array]:
    function, eps = ways.torch().nn.functional.instance_norm, ways.EPS
    return lambda x, weight, bias: function(x, weight=weight, bias=bias, eps=eps)


def eager(x: np.ndarray) -> Step:
    return Step(normalizer(x), operands(x))


def eager_native(x: np.ndarray) -> Step:
    return Step(normalizer(x, precision="native"), operands(x))


def torch_instance_norm(x: np.ndarray) -> Step:
    return Step(theirs(), operands(x))


def torch_group_norm(x: np.ndarray) -> Step:
    function, groups = ways.torch().nn.functional.group_norm, x.shape[1]
    return Step(lambda x, weight, bias: function(x, groups, weight, bias, ways.EPS), operands(x))


def compiled(x: np.ndarray) -> Step:
    return Step(_compiled(x), operands(x))


def users_own(x: np.ndarray) -> Step:
    return Step(traced(normalizer(x)), operands(x))


def users_own_torch(x: np.ndarray) -> Step:
    return Step(traced(theirs()), operands(x))


def eager_channels_last(x: np.ndarray) -> Step:
    return Step(normalizer(x), channels_last(x))


def compiled_channels_last(x: np.ndarray) -> Step:
    return Step(_compiled(x), channels_last(x))


def forward_of(way: Callable[[np.ndarray], Step]) -> Callable[[np.ndarray], ways.Function]:
    """The way there alone, of data without gradients."""

    def prepare(x: np.ndarray) -> ways.Function:
        step = way(x)
        held = [one.detach() for one in step.operands]
        return lambda: step.function(*held)

    return prepare


def unet(x: np.ndarray) -> Step:
    """What stands behind every convolution of nnU-Net: norm and leaky ReLU in its place."""
    return Step(_activated(normalizer(x)), operands(x))


def unet_torch(x: np.ndarray) -> Step:
    return Step(_activated(theirs()), operands(x))


def unet_channels_last(x: np.ndarray) -> Step:
    return Step(_activated(normalizer(x)), channels_last(x))


def unet_torch_channels_last(x: np.ndarray) -> Step:
    return Step(_activated(theirs()), channels_last(x))


def revin(x: np.ndarray) -> Step:
    return Step(_there_and_back, operands(x))


def revin_compiled(x: np.ndarray) -> Step:
    return Step(ways.compiled(_there_and_back), operands(x))


def revin_published(x: np.ndarray) -> Step:
    return Step(ways.published_revin, operands(x))


def _there_and_back(x: Array, weight: Array, bias: Array) -> Array:
    y, map = rn.revin(x, weight, bias, axis=1, channel_axis=-1)
    return map.inv(y)


def _activated(normalize: Callable[..., Array]) -> Callable[..., Array]:
    activate = ways.torch().nn.functional.leaky_relu
    return lambda *operands: activate(normalize(*operands), 0.01, inplace=True)


def _compiled(x: np.ndarray) -> Callable[..., Array]:
    function, axis, channel_axis = ways.compiled(rn.instance_norm), ways.axis(x), _channel_axis(x)
    return lambda x, weight, bias: function(x, weight, bias, axis=axis, channel_axis=channel_axis)


def traced(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function or module as a user's own torch.compile makes it, and nothing compiled before."""
    # PyTorch compiles the same line of code for few shapes only.
    ways.torch().compiler.reset()
    return traced_beside(function)


def traced_beside(function: Callable[..., Array]) -> Callable[..., Array]:
    """The same beside what was compiled before, to be timed by turns."""
    return ways.torch().compile(function, fullgraph=True, dynamic=False)


def _channel_axis(x: np.ndarray) -> int:
    return -1 if x.ndim == 3 else 1
