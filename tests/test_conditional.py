"""Conditional instance norm: rows of scales and biases, picked or mixed."""

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import BIASES, LABELS, SCALES, X

pytestmark = pytest.mark.backends("numpy", "torch", "cupy", "mlx", "array-api-strict")
OPTIONS = {"axis": (2, 3), "batch_axis": 0, "channel_axis": 1}


def norm(backend, x, labels, **options):
    arrays = (backend.asarray(a) for a in (x, SCALES, BIASES, labels))
    return backend.to_numpy(rn.conditional_instance_norm(*arrays, **{**OPTIONS, **options}))


def test_one_hot_weights_are_labels(backend):
    hot = np.eye(5, dtype=np.float32)[LABELS]
    np.testing.assert_array_equal(norm(backend, X, hot), norm(backend, X, LABELS))


def test_each_instance_has_the_parameters_of_its_label(backend):
    y = norm(backend, X, LABELS)
    for n, label in enumerate(LABELS):
        scale, bias = (backend.asarray(table[label]) for table in (SCALES, BIASES))
        x = backend.asarray(X[n : n + 1])
        expected = rn.instance_norm(x, scale, bias, axis=(2, 3), channel_axis=1)
        np.testing.assert_array_equal(y[n : n + 1], backend.to_numpy(expected))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_labels_of_any_integers(backend, dtype):
    np.testing.assert_array_equal(norm(backend, X, LABELS.astype(dtype)), norm(backend, X, LABELS))


@pytest.mark.backends("numpy", "torch", "jax", "dask", "array-api-strict", "ndonnx", "mlx")
@pytest.mark.parametrize("label", [0, 4])
def test_a_batch_of_one(backend, label):
    alone = norm(backend, X[:1], np.asarray([label]))
    scale, bias = (backend.asarray(table[label]) for table in (SCALES, BIASES))
    expected = rn.instance_norm(backend.asarray(X[:1]), scale, bias, axis=(2, 3), channel_axis=1)
    np.testing.assert_array_equal(alone, backend.to_numpy(expected))


def test_mixed_rows(backend):
    weights = np.asarray([[0.1, 0.2, 0.3, 0.4, 0]] * 4, dtype=np.float32)
    expected = oracle.conditional_instance_norm(X, SCALES, BIASES, weights, **OPTIONS)
    error = oracle.ulp_error(norm(backend, X, weights), expected, "float32")
    assert error <= tolerances.forward(backend, "float32")


def test_channels_before_the_batch(backend):
    y = norm(backend, X, LABELS)
    turned = norm(backend, np.moveaxis(X, 0, 2).copy(), LABELS, axis=(1, 3), batch_axis=2,
                  channel_axis=0)  # fmt: skip
    np.testing.assert_array_equal(np.moveaxis(turned, 2, 0), y)
