"""PyTorch's own functions, which are this package's under other axes, and their gradients.

Everything is float64 on both sides.
"""

import numpy as np
import pytest

import revnorm as rn
from tolerances import AGAINST_TORCH as CLOSE

torch = pytest.importorskip("torch")
F = torch.nn.functional


pytestmark = pytest.mark.usefixtures("torch_asked")


def sample(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return torch.asarray(rng.standard_normal(shape) * 1.5 + 0.3)


def pair(channels):
    """A scale and a bias for each channel."""
    return sample(channels, seed=1), sample(channels, seed=2)


def same(ours, theirs, *leaves):
    """Two functions of the same tensors agree in value and in the gradient of every tensor."""
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    y, expected = ours(*leaves), theirs(*leaves)
    torch.testing.assert_close(y, expected, **CLOSE)
    cotangent = sample(*y.shape, seed=3)
    gradients = torch.autograd.grad(y, leaves, cotangent)
    wanted = torch.autograd.grad(expected, leaves, cotangent)
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want, **CLOSE)


@pytest.mark.parametrize("shape", [(4, 3, 11), (4, 3, 6, 5), (2, 3, 4, 3, 5)])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_instance_norm(shape, eps):
    axis = tuple(range(2, len(shape)))
    same(
        lambda x, w, b: rn.instance_norm(x, w, b, axis=axis, channel_axis=1, eps=eps),
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=eps),
        sample(*shape),
        *pair(3),
    )


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups):
    def ours(x, w, b):
        grouped = x.reshape(4, groups, 6 // groups, 5, 3)
        y = rn.instance_norm(grouped, axis=(2, 3, 4)).reshape(x.shape)
        return y * w[:, None, None] + b[:, None, None]

    same(ours, lambda x, w, b: F.group_norm(x, groups, w, b), sample(4, 6, 5, 3), *pair(6))


def test_group_norm_takes_a_scale_per_channel():
    def ours(x, w, b):
        w, b = w.reshape(3, 2, 1, 1), b.reshape(3, 2, 1, 1)
        return rn.instance_norm(x.reshape(4, 3, 2, 5, 3), w, b, axis=(2, 3, 4)).reshape(x.shape)

    same(ours, lambda x, w, b: F.group_norm(x, 3, w, b), sample(4, 6, 5, 3), *pair(6))


@pytest.mark.parametrize("normalized", [(7,), (5, 7), (3, 5, 7)])
def test_layer_norm(normalized):
    axis = tuple(range(-len(normalized), 0))
    scale, bias = sample(*normalized, seed=1), sample(*normalized, seed=2)
    same(
        lambda x, w, b: rn.instance_norm(x, w, b, axis=axis),
        lambda x, w, b: F.layer_norm(x, normalized, w, b),
        sample(4, 3, 5, 7),
        scale,
        bias,
    )


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5), (6, 3, 5, 4)])
def test_batch_norm(shape):
    axis = tuple(i for i in range(len(shape)) if i != 1)
    same(
        lambda x, w, b: rn.instance_norm(x, w, b, axis=axis, channel_axis=1),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        sample(*shape),
        *pair(3),
    )


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (torch.nn.InstanceNorm1d, (4, 3, 9)),
        (torch.nn.InstanceNorm2d, (4, 3, 5, 6)),
        (torch.nn.InstanceNorm3d, (4, 3, 2, 5, 4)),
    ],
)
def test_layers(layer, shape):
    norm = layer(3, affine=True, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.copy_(sample(3, seed=1))
        norm.bias.copy_(sample(3, seed=2))
    axis = tuple(range(2, len(shape)))
    same(
        lambda x: rn.instance_norm(x, norm.weight, norm.bias, axis=axis, channel_axis=1),
        norm,
        sample(*shape),
    )


def given(mean, variance, ndim):
    """Moments of statistics kept for each channel, whatever they were counted over."""
    mean, variance = (s.reshape(-1, *[1] * (ndim - 2))[None] for s in (mean, variance))
    return rn.Moments(mean, torch.zeros_like(mean), variance, torch.ones_like(mean))


def test_batch_norm_at_inference():
    mean, variance = sample(3, seed=4), sample(3, seed=5).square() + 0.1
    same(
        lambda x, w, b: rn.instance_norm(
            x, w, b, axis=(0, 2, 3), channel_axis=1, moments=given(mean, variance, 4)
        ),
        lambda x, w, b: F.batch_norm(x, mean, variance, w, b),
        sample(4, 3, 5, 6),
        *pair(3),
    )


def test_instance_norm_at_inference():
    norm = torch.nn.InstanceNorm2d(3, track_running_stats=True, dtype=torch.float64)
    norm(sample(4, 3, 5, 6, seed=6))
    norm.eval()
    moments = given(norm.running_mean, norm.running_var, 4)
    same(lambda x: rn.instance_norm(x, axis=(2, 3), moments=moments), norm, sample(4, 3, 5, 6))


def test_statistics_that_running_ones_are_made_of():
    x, momentum = sample(4, 3, 5, 6), 0.1
    norm = torch.nn.InstanceNorm2d(3, track_running_stats=True, momentum=momentum).double()
    norm(x)
    seen = rn.moments(x, axis=(2, 3))
    unbiased = seen.variance * seen.count / (seen.count - 1)
    mean = momentum * seen.mean.mean(dim=0).flatten()
    variance = (1 - momentum) + momentum * unbiased.mean(dim=0).flatten()
    torch.testing.assert_close(norm.running_mean, mean, **CLOSE)
    torch.testing.assert_close(norm.running_var, variance, **CLOSE)


def test_detached_statistics():
    def ours(x, w, b):
        moments = rn.moments(x.detach(), axis=1)
        return rn.instance_norm(x, w, b, axis=1, channel_axis=-1, moments=moments)

    def published(x, w, b):
        mean = x.mean(1, keepdim=True).detach()
        std = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5).detach()
        return (x - mean) / std * w + b

    same(ours, published, sample(4, 12, 3), *pair(3))


def test_detached_statistics_change_the_gradient():
    x = sample(4, 12, 3).requires_grad_()
    weights = sample(4, 12, 3, seed=1)
    detached = rn.instance_norm(x, axis=1, moments=rn.moments(x.detach(), axis=1))
    (apart,) = torch.autograd.grad((detached * weights).sum(), x)
    (through,) = torch.autograd.grad((rn.instance_norm(x, axis=1) * weights).sum(), x)
    assert not torch.allclose(apart, through)


def test_float32_is_as_near_as_float64_rounded():
    x = sample(4, 3, 16, 16).float()
    expected = F.instance_norm(x.double()).float()
    y = rn.instance_norm(x, axis=(2, 3))
    # Both round a float64 result once; where those two fall on either side of a tie, by 1 ULP.
    torch.testing.assert_close(y, expected, rtol=2**-23, atol=0.0)
