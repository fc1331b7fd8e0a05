"""Instance norm, and the other norms that it is over other axes."""

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import BIAS, SCALE, X

pytestmark = pytest.mark.backends("numpy", "torch", "cupy", "mlx", "array-api-strict")


def textbook(x, axis):
    """(x - mean) / sqrt(variance + eps), spelled out."""
    x = oracle.exact(x)
    n = int(np.prod([x.shape[one] for one in axis]))
    mean = x.sum(axis=axis, keepdims=True) / n
    variance = ((x - mean) ** 2).sum(axis=axis, keepdims=True) / n
    return (x - mean) / oracle.root(variance + oracle.exact(1e-5))


def error(backend, y, expected):
    return oracle.ulp_error(backend.to_numpy(y), expected, "float32")


def test_batch_norm(backend):
    y = rn.instance_norm(backend.asarray(X), axis=(0, 2, 3))
    expected = np.stack([textbook(X[:, c], (0, 1, 2)) for c in range(3)], axis=1)
    assert error(backend, y, expected) <= tolerances.forward(backend, "float32")


def test_layer_norm(backend):
    y = rn.instance_norm(backend.asarray(X), axis=(1, 2, 3))
    expected = np.stack([textbook(one, (0, 1, 2)) for one in X])
    assert error(backend, y, expected) <= tolerances.forward(backend, "float32")


def test_layer_norm_of_features(backend):
    y = rn.instance_norm(backend.asarray(X), axis=-1)
    expected = textbook(X.reshape(-1, 5), (1,)).reshape(X.shape)
    assert error(backend, y, expected) <= tolerances.forward(backend, "float32")


def test_group_norm(backend):
    """Groups of channels are an axis more."""
    x = np.concatenate([X, 2 * X], axis=1)
    y = rn.instance_norm(backend.asarray(x.reshape(4, 3, 2, 6, 5)), axis=(2, 3, 4))
    groups = [textbook(x[:, 2 * g : 2 * g + 2], (1, 2, 3)) for g in range(3)]
    expected = np.concatenate(groups, axis=1).reshape(4, 3, 2, 6, 5)
    assert error(backend, y, expected) <= tolerances.forward(backend, "float32")


def test_frozen_statistics_are_used_as_they_are(backend):
    x = backend.asarray(X)
    moments = rn.moments(backend.asarray(X[:1]), axis=(0, 2, 3))
    y = rn.instance_norm(x, axis=(0, 2, 3), moments=moments)
    expected = rn.standardizer(moments)(x)
    np.testing.assert_array_equal(backend.to_numpy(y), backend.to_numpy(expected))


def test_is_its_standardizer_applied(backend):
    x, scale, bias = (backend.asarray(a) for a in (X, SCALE, BIAS))
    options = {"axis": (2, 3), "channel_axis": 1}
    y = rn.instance_norm(x, scale, bias, **options)
    tolerances.assert_same(backend, y, rn.standardizer(x, scale, bias, **options)(x))


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("shape", [(3, 200, 300), (2, 100_000), (50_000, 2), (300, 70, 5)])
@pytest.mark.parametrize("axis", [0, 1])
def test_blocks_are_without_effect(backend, shape, axis):
    """Large arrays are worked on in parts; an instance comes out as it does alone."""
    x = np.random.default_rng(7).standard_normal(shape).astype(np.float32) + 1e3
    y = rn.instance_norm(x, axis=axis)
    for i in (0, shape[1 - axis] - 1):
        alone = np.take(x, [i], axis=1 - axis)
        np.testing.assert_array_equal(
            rn.instance_norm(alone, axis=axis), np.take(y, [i], axis=1 - axis)
        )


@pytest.mark.backends("numpy")
def test_empty_batch(backend):
    assert rn.instance_norm(X[:0], axis=(2, 3)).shape == (0, 3, 6, 5)
