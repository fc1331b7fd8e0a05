"""The layers that those of `revnorm.keras` stand in for, and their gradients on Keras's backends.

Keras has one backend a process, see `conftest.py`. Its own operations round
float64 to float32, so the formulas here are made of the methods that all its tensors have.
"""

import keras
import numpy as np
from keras import ops

from revnorm.keras import _tensors

BACKEND = keras.backend.backend()
TRAINS = BACKEND != "numpy"
WIDE = _tensors.widest()
# In float64 as in test_training; in float32 half of its digits, of which cancelling sums lose some.
CLOSE = {
    "float64": {"rtol": 1e-11, "atol": 1e-11},
    "float32": {"rtol": 2.0**-9, "atol": 2.0**-12},
}


def mean(x, axis):
    return x.mean(axis=axis, keepdims=True)


def deviation(x, axis, eps):
    return (mean((x - mean(x, axis)) ** 2, axis) + eps) ** 0.5


@keras.saving.register_keras_serializable("kerasfactory.layers")
class ReversibleInstanceNorm(keras.layers.Layer):
    """That of KerasFactory 0.1.0 (MIT), after its formulas."""

    def __init__(
        self,
        num_features,
        eps=1e-5,
        affine=False,
        subtract_last=False,
        non_norm=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_features, self.eps, self.affine = num_features, eps, affine
        self.subtract_last, self.non_norm = subtract_last, non_norm

    def build(self, input_shape):
        if self.affine:
            shape = (self.num_features,)
            self.affine_weight = self.add_weight(shape, "ones", name="affine_weight")
            self.affine_bias = self.add_weight(shape, "zeros", name="affine_bias")

    def call(self, inputs, mode="norm"):
        if self.non_norm:
            return inputs
        if mode == "denorm":
            if self.affine:
                inputs = (inputs - self.affine_bias) / self.affine_weight
            return inputs * self.kept[1] + self.kept[0]
        axis = tuple(range(1, inputs.ndim - 1))
        if self.subtract_last:
            center = inputs[:, -1:, :]
        else:
            center = mean(inputs, axis)
        self.kept = center, deviation(inputs, axis, self.eps)
        y = (inputs - center) / self.kept[1]
        return y * self.affine_weight + self.affine_bias if self.affine else y

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        names = ("num_features", "eps", "affine", "subtract_last", "non_norm")
        return super().get_config() | {name: getattr(self, name) for name in names}


class Contributed(keras.layers.Layer):
    """InstanceNormalization of keras-contrib (MIT) with axis=None, after its formula."""

    def __init__(self, epsilon=1e-3, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        self.gamma = self.add_weight((1,), "ones", name="gamma")
        self.beta = self.add_weight((1,), "zeros", name="beta")

    def call(self, inputs):
        axis = tuple(range(1, inputs.ndim))
        y = (inputs - mean(inputs, axis)) / (deviation(inputs, axis, 0.0) + self.epsilon)
        return y * self.gamma + self.beta


class Grouped(keras.layers.GroupNormalization):
    """Keras's own with groups=-1, which works in float32, after its formula in any dtype."""

    def call(self, inputs):
        channel = self.axis % inputs.ndim
        axis = tuple(i for i in range(1, inputs.ndim) if i != channel)
        shape = [-1 if i == channel else 1 for i in range(inputs.ndim)]
        y = (inputs - mean(inputs, axis)) / deviation(inputs, axis, self.epsilon)
        return y * self.gamma.value.reshape(shape) + self.beta.value.reshape(shape)


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def values(*shape, seed=0, level=2.0, dtype="float32"):
    return (level + 3 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def randomize(layer, seed=1):
    """Weights away from their initial values, drawn alike for layers of the same weights."""
    random = np.random.default_rng(seed)
    layer.set_weights([random.uniform(0.5, 2, size=w.shape) for w in layer.get_weights()])


def results(layer, function, x, cotangent):
    """What a function of a layer gives, and the gradients for x and for the layer's weights."""
    weights = layer.trainable_variables
    if BACKEND == "torch":
        import torch

        x, cotangent = (ops.convert_to_tensor(each) for each in (x, cotangent))
        y = function(layer, x.requires_grad_())
        wanted = [x, *(weight.value for weight in weights)]
        found = torch.autograd.grad((y * cotangent).sum(), wanted)
        return [numpy(each) for each in (y, *found)]
    import jax

    def loss(x, tensors):
        with keras.StatelessScope(list(zip(weights, tensors, strict=True))):
            y = function(layer, x)
        return (y * cotangent).sum(), y

    tensors = [weight.value for weight in weights]
    differentiated = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
    (of_x, of_weights), y = differentiated(jax.numpy.asarray(x), tensors)
    return [np.asarray(each) for each in (y, of_x, *of_weights)]


def assert_alike(ours, theirs, function, x):
    """Outputs and gradients of two layers."""
    bound = CLOSE[ours.compute_dtype]
    cotangent = values(*x.shape, seed=2, level=0.0, dtype=x.dtype)
    if not TRAINS:
        np.testing.assert_allclose(function(ours, x), function(theirs, x), **bound)
        return
    pairs = zip(results(ours, function, x, cotangent), results(theirs, function, x, cotangent))
    for one, other in pairs:
        np.testing.assert_allclose(one, other, **bound)
