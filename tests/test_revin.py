"""RevIN: what it centers on, and what its map does to a forecast."""

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import AFFINE, BIAS, WHERE, X

pytestmark = pytest.mark.backends("numpy", "torch", "cupy", "array-api-strict")
EVERYWHERE = pytest.mark.backends(
    "numpy", "torch", "cupy", "array-api-strict", "jax", "dask", "ndonnx"
)


def test_normalizes_as_instance_norm_does(backend):
    x = backend.asarray(X)
    parameters = [backend.asarray(p) for p in AFFINE.values()]
    options = {"axis": 2, "channel_axis": 1, "eps_mode": "clamp", "correction": 1}
    y, map = rn.revin(x, *parameters, **options)
    expected = rn.instance_norm(x, *parameters, **options)
    tolerances.assert_same(backend, y, expected)
    tolerances.assert_same(backend, map(x), expected)


@pytest.mark.parametrize("axis", [2, 3, (2, 3), (1, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_last_observed_element_becomes_the_bias(backend, masked, axis):
    where = WHERE if masked else None
    given = backend.asarray(where) if masked else None
    y, map = rn.revin(backend.asarray(X), None, 0.25, axis=axis, center="last", where=given)
    last = oracle.last(X, axis=axis, where=where)
    np.testing.assert_array_equal(backend.to_numpy(map.center), last.astype(np.float64))
    at_last = np.broadcast_to(oracle.exact(X) == last, X.shape)
    at_last = at_last & (True if where is None else where)
    assert at_last.any()
    quarter = backend.asarray(np.full(at_last.sum(), 0.25, np.float32))
    tolerances.assert_same(backend, backend.asarray(backend.to_numpy(y)[at_last]), quarter)


def test_last_with_nan_after_it(backend):
    """What is not observed is not the last, whatever it is."""
    x = X.copy()
    x[:, :, -2:] = np.nan
    where = np.isfinite(x)
    options = {"axis": 2, "center": "last"}
    y, map = rn.revin(backend.asarray(x), where=backend.asarray(where), **options)
    seen, _ = rn.revin(backend.asarray(X[:, :, :-2]), **options)
    np.testing.assert_array_equal(backend.to_numpy(map.center)[:, :, 0], X[:, :, -3])
    bound = 1 if backend.widest == "float64" else 2 * tolerances.SAME_FORWARD
    expected = oracle.exact(backend.to_numpy(seen))
    error = oracle.ulp_error(backend.to_numpy(y)[:, :, :-2], expected, "float32")
    assert error <= bound


def test_a_forecast_of_zeros_is_the_center(backend):
    x, bias = backend.asarray(X), backend.asarray(BIAS)
    for center in ("mean", "last"):
        map = rn.revin(x, None, bias, axis=2, channel_axis=1, center=center)[1]
        steps = np.broadcast_to(BIAS[:, None, None], (4, 3, 9, 5)).astype(np.float32)
        back = map.inv(backend.asarray(steps))
        expected = backend.to_numpy(map.center).astype(np.float32)
        expected = backend.asarray(np.broadcast_to(expected, steps.shape))
        tolerances.assert_same(backend, back, expected, axis=2)


def test_the_last_becomes_the_bias_beside_any_weight(backend):
    """It is nothing from the center, and no weight makes anything of that."""
    scale, bias = (np.full(3, a, np.float32) for a in (4e11, 0.006))
    given = [backend.asarray(a) for a in (X, scale, bias)]
    y = backend.to_numpy(rn.revin(*given, axis=2, channel_axis=1, center="last")[0])
    np.testing.assert_array_equal(y[:, :, -1], np.broadcast_to(bias[:, None], y[:, :, -1].shape))


@pytest.mark.parametrize("weight", [1e-9, 1e-4, 1e4])
def test_small_and_large_weights_come_back(backend, weight):
    """The published code divides by weight + eps*eps: 9% off at a weight of 1e-9."""
    x, scale = backend.asarray(X), backend.asarray(np.full(3, weight, np.float32))
    y, map = rn.revin(x, scale, axis=2, channel_axis=1)
    exact = oracle.exact(X)
    error = oracle.ulp_error(
        backend.to_numpy(map.inv(y)), exact, "float32", of=oracle.reach(exact, 2)
    )
    assert error <= tolerances.round_trip(backend, "float32")


def test_flat_series_come_back_as_flat_as_they_were(backend):
    """With eps clamped on the way there and not on the way back, 34 times too flat."""
    values = (1 + (X - 7) * np.float32(1e-4)).astype(np.float32)
    y, map = rn.revin(backend.asarray(values), axis=2, eps_mode="clamp")
    exact = oracle.exact(values)
    error = oracle.ulp_error(
        backend.to_numpy(map.inv(y)), exact, "float32", of=oracle.reach(exact, 2)
    )
    assert error <= tolerances.round_trip(backend, "float32")


@EVERYWHERE
@pytest.mark.parametrize("precision", ["full", "native"])
def test_relative_eps_knows_no_unit(backend, precision):
    options = {"axis": 2, "eps": 0.1, "eps_mode": "relative", "precision": precision}
    y = backend.to_numpy(rn.revin(backend.asarray(X), **options)[0])
    for unit in (2.0**-70, 2.0**-13, 2.0**70):
        scaled, norm_map = rn.revin(backend.asarray(X * np.float32(unit)), **options)
        np.testing.assert_array_equal(backend.to_numpy(scaled), y)
        back = backend.to_numpy(norm_map.inv(scaled)) / np.float32(unit)
        error = oracle.ulp_error(back, oracle.exact(X), "float32", of=oracle.reach(X, 2))
        assert error <= tolerances.round_trip(backend, "float32", precision)


@EVERYWHERE
@pytest.mark.parametrize("precision", ["full", "native"])
def test_relative_eps_of_a_constant(backend, precision):
    """The divisor is sqrt(eps) times the constant; near the smallest number it has an inverse."""
    values = np.asarray([[-7.0], [2.0**90], [2.0**-70], [0.0], [1.2e-38]], np.float32)
    x = backend.asarray(np.broadcast_to(values, (5, 6)))
    y, norm_map = rn.revin(x, axis=1, eps=2.0**-10, eps_mode="relative", precision=precision)
    assert not backend.to_numpy(y).any()
    np.testing.assert_array_equal(backend.to_numpy(norm_map.inv(y)), backend.to_numpy(x))
    divisor = backend.to_numpy(norm_map.divisor)[:4] / backend.to_numpy(norm_map.factor)[:4]
    expected = np.asarray([[7 / 32], [2.0**85], [2.0**-75], [1.0]])
    np.testing.assert_array_equal(divisor, expected)


@EVERYWHERE
def test_relative_eps_of_moments_of_any_size(backend):
    """Their squares need not be within range."""
    edge = 1e200 if backend.widest == "float64" else 1e25
    mean, variance = np.asarray([[edge, 1 / edge, 3.0]]), np.asarray([[edge, 0.0, 16.0]])
    fields = (mean, np.zeros((1, 3)), variance, np.ones((1, 3)))
    moments = rn.Moments(*(backend.asarray(a, backend.widest) for a in fields))
    norm_map = rn.standardizer(moments, eps=0.25, eps_mode="relative")
    expected = [[edge / 2, 1 / edge / 2, 22.25**0.5]]
    # A handful of roundings.
    rtol = 8 * np.finfo(backend.widest).eps
    np.testing.assert_allclose(backend.to_numpy(norm_map.divisor), expected, rtol=rtol)
