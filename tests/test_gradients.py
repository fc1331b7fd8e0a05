"""Gradients flow through the statistics, and are finite where the formula has a corner."""

from functools import partial

import array_api_compat
import numpy as np
import pytest

import revnorm as rn
from functions import FUNCTIONS, SCALE, WHERE, X

SMALL = (slice(0, 2), slice(None), slice(0, 3), slice(0, 2))
WHOLE = ("scale", "bias", "gate", "scales", "biases")


def small(function):
    """Few elements of every operand, in float64."""
    arrays = {"x": X, **function.operands}
    cut = {}
    for name, array in arrays.items():
        if name == "labels":
            array = array[:2]
        elif name not in WHOLE:
            array = array[SMALL]
        cut[name] = array.astype(np.float64) if array.dtype == np.float32 else array
    return cut


@pytest.mark.backends("torch")
@pytest.mark.parametrize("function", FUNCTIONS, ids=repr)
def test_gradients_are_those_of_the_formula(backend, function):
    """Of x and of every real operand at once, against finite differences."""
    torch = pytest.importorskip("torch")
    arrays = {n: backend.asarray(a, a.dtype.name) for n, a in small(function).items()}
    real = [n for n, a in arrays.items() if a.dtype == torch.float64]

    def call(*values):
        return function.call(**(arrays | dict(zip(real, values, strict=True))))

    leaves = [arrays[name].clone().requires_grad_() for name in real]
    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("center", ["mean", "last"])
def test_gradients_of_the_way_back(backend, center):
    torch = pytest.importorskip("torch")
    x = backend.asarray(X[SMALL], "float64").requires_grad_()
    forecast = backend.asarray(X[:2, :, :1, :1], "float64").requires_grad_()
    where = backend.asarray(WHERE[SMALL])

    def call(x, forecast):
        map = rn.revin(x, axis=(2, 3), where=where, center=center)[1]
        return map.inv(forecast), map.inv.spread(forecast), map.variance(forecast)

    assert torch.autograd.gradcheck(call, (x, forecast))


@pytest.mark.backends("torch")
def test_second_derivatives(backend):
    torch = pytest.importorskip("torch")
    x = backend.asarray(X[0, 0, :3, :2], "float64").requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: rn.instance_norm(x, axis=(0, 1)), x)


@pytest.mark.backends("torch")
def test_gradients_of_relative_eps_at_constants(backend):
    """The divisor of a constant follows its size, and bends where it stops being one."""
    torch = pytest.importorskip("torch")
    x = backend.asarray(np.full((2, 5), 3.0) * [[1.0], [-1e3]], "float64").requires_grad_()

    def call(x):
        y, norm_map = rn.revin(x, axis=1, eps=0.5, eps_mode="relative")
        return y, norm_map.divisor

    assert torch.autograd.gradcheck(call, x)
    assert torch.autograd.gradgradcheck(call, x)


def gradient(backend, function, *values):
    """The gradients of a weighted sum of the function's result, at each of the values."""
    weights = backend.asarray(np.linspace(-1, 1, X.size).reshape(X.shape).astype(np.float32))

    def weighted(x):
        return (function(x) * weights).sum()

    def torch_gradient(x):
        x.requires_grad_()
        weighted(x).backward()
        return x.grad

    if backend.library == "jax":
        jax = pytest.importorskip("jax")
        # Compiled as one, which is quicker than one by one.
        call = jax.jit(jax.grad(weighted))
    elif backend.library == "mlx":
        call = pytest.importorskip("mlx.core").grad(weighted)
    else:
        call = torch_gradient
    found = [backend.to_numpy(call(backend.asarray(one))) for one in values]
    return found if len(found) > 1 else found[0]


@pytest.mark.backends("torch", "jax", "mlx")
@pytest.mark.parametrize("precision", ["full", "native"])
def test_constant_instance_with_eps_0_has_finite_gradients(backend, precision):
    def norm(x):
        return rn.instance_norm(x, axis=(2, 3), eps=0.0, precision=precision)

    assert np.isfinite(gradient(backend, norm, np.zeros_like(X), np.full_like(X, 3.0))).all()


@pytest.mark.backends("torch", "jax", "mlx")
@pytest.mark.parametrize("function", [f for f in FUNCTIONS if "where" in f.operands], ids=repr)
def test_gaps_reach_no_gradient(backend, function):
    """NaN under False gives the others the gradients that any number there would give them."""
    operands = backend.asarrays(function.operands, "float32")
    where = operands["where"]
    xp = array_api_compat.array_namespace(where)

    def masked(x):
        return xp.where(where, function.call(x, **operands), 0.0)

    at = (np.where(WHERE, X, hidden).astype(X.dtype) for hidden in (1.0, np.nan))
    expected, beside_gaps = gradient(backend, masked, *at)
    np.testing.assert_array_equal(np.where(WHERE, beside_gaps, 0.0), expected)


@pytest.mark.backends("torch", "jax", "mlx")
def test_nothing_observed_has_finite_gradients(backend):
    seen = WHERE.copy()
    seen[1] = False
    where = backend.asarray(seen)
    slope = gradient(backend, lambda x: rn.instance_norm(x, axis=(2, 3), where=where), X)
    assert np.isfinite(slope).all()
    weights = np.linspace(-1, 1, X.size).reshape(X.shape).astype(np.float32)
    np.testing.assert_array_equal(slope[1], weights[1])


@pytest.mark.backends("torch", "jax", "mlx")
def test_scale_zero_has_finite_gradients_on_the_way_back(backend):
    zero = backend.asarray(np.zeros_like(SCALE))

    def there_and_back(x):
        y, map = rn.revin(x, zero, axis=(2, 3), channel_axis=1)
        return map.inv(y)

    assert np.isfinite(gradient(backend, there_and_back, X)).all()


@pytest.mark.backends("jax", "mlx")
def test_gradients_agree_with_torch(backend):
    torch = pytest.importorskip("torch")

    def norm(x):
        return rn.instance_norm(x, axis=(2, 3))

    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    weights = torch.linspace(-1, 1, X.size, dtype=torch.float64).reshape(X.shape)
    (norm(x) * weights).sum().backward()
    expected = x.grad.numpy()
    slope = gradient(backend, norm, X)
    # A sum of 30 products in float32, each rounded, and the weights as well.
    allowed = 30 * np.spacing(np.float32(np.abs(expected).max()))
    assert np.abs(slope - expected).max() <= allowed


@pytest.mark.backends("torch", "jax", "mlx")
@pytest.mark.parametrize("outlier", [0.0, 1e12, -1e20])
def test_outlier_under_false_takes_nothing_from_the_gradient(backend, outlier):
    """What one element, all that is observed, is subtracted from pulls on nothing else of it."""
    if backend.widest != "float64":
        pytest.skip("sums of float32 in float32")
    x, seen = np.full(X.shape, outlier, X.dtype), np.zeros(X.shape, bool)
    x[:, :, 0, 0], seen[:, :, 0, 0] = 6061.13, True
    where = backend.asarray(seen)
    norm = partial(rn.instance_norm, axis=(2, 3), eps=1.0, where=where)
    weights = np.linspace(-1, 1, X.size).reshape(X.shape).astype(np.float32)
    expected = weights.astype(np.float64)
    expected[:, :, 0, 0] -= np.sum(expected, axis=(2, 3))
    # A sum of 30 weights of up to 1 in float32, then the rounding.
    np.testing.assert_allclose(gradient(backend, norm, x), expected, rtol=0, atol=30 * 2.0**-24)
