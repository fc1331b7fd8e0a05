"""Spatially adaptive norm: a scale and bias for every position."""

import numpy as np
import pytest

import revnorm as rn
from functions import BIAS, SCALE_MAP, X

pytestmark = pytest.mark.backends("numpy", "torch", "cupy", "array-api-strict")


def test_maps_of_zeros_are_without_effect(backend):
    x, zero = backend.asarray(X), backend.asarray(np.zeros_like(X))
    np.testing.assert_array_equal(
        backend.to_numpy(rn.spatially_adaptive_norm(x, zero, zero, axis=(2, 3))),
        backend.to_numpy(rn.instance_norm(x, axis=(2, 3))),
    )


def test_constant_maps_are_a_scale_and_bias(backend):
    x = backend.asarray(X)
    slopes, bias = np.asarray([0.5, -0.25, 1.0], np.float32), BIAS
    maps = (np.broadcast_to(p[:, None, None], X.shape).copy() for p in (slopes, bias))
    y = rn.spatially_adaptive_norm(x, *(backend.asarray(m) for m in maps), axis=(2, 3))
    scale, bias = backend.asarray(1 + slopes), backend.asarray(bias)
    expected = rn.instance_norm(x, scale, bias, axis=(2, 3), channel_axis=1)
    np.testing.assert_array_equal(backend.to_numpy(y), backend.to_numpy(expected))


def test_maps_broadcast(backend):
    x = backend.asarray(X)
    one = SCALE_MAP[:1, :1]
    small = backend.asarray(one)
    full = backend.asarray(np.broadcast_to(one, X.shape))
    np.testing.assert_array_equal(
        backend.to_numpy(rn.spatially_adaptive_norm(x, small, small, axis=(0, 2, 3))),
        backend.to_numpy(rn.spatially_adaptive_norm(x, full, full, axis=(0, 2, 3))),
    )
