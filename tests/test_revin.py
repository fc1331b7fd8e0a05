"""RevIN: what it centers on, and what its map does to a forecast."""

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import AFFINE, BIAS, WHERE, X

pytestmark = pytest.mark.backends("numpy", "torch", "cupy", "array-api-strict")


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
