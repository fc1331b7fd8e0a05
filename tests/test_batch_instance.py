"""Batch-Instance norm: what lies at the two ends of the gate, and between."""

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import AFFINE, BIAS, GATE, SCALE, WHERE, X

pytestmark = pytest.mark.backends("numpy", "torch", "cupy", "mlx", "array-api-strict")
OPTIONS = {"axis": (2, 3), "batch_axis": 0, "channel_axis": 1}


def near(backend, y, expected):
    error = oracle.ulp_error(backend.to_numpy(y), expected, "float32")
    return error <= tolerances.forward(backend, "float32")


@pytest.mark.parametrize("masked", [False, True])
def test_ends_of_the_gate(backend, masked):
    x = backend.asarray(X)
    parameters = [backend.asarray(p) for p in AFFINE.values()]
    where = WHERE if masked else None
    given = backend.asarray(where) if masked else None
    for gate, axis in ((1.0, (0, 2, 3)), (0.0, (2, 3))):
        y = rn.batch_instance_norm(x, gate, *parameters, **OPTIONS, where=given)
        expected = oracle.instance_norm(X, **AFFINE, axis=axis, channel_axis=1, where=where)
        assert near(backend, y, expected)


def test_gate_may_be_a_number_a_row_or_laid_out(backend):
    x = backend.asarray(X)
    row = backend.asarray(np.full(3, 0.25, np.float32))
    laid = backend.asarray(np.full((3, 1, 1), 0.25, np.float32))
    y = backend.to_numpy(rn.batch_instance_norm(x, 0.25, **OPTIONS))
    for gate in (row, laid):
        same = backend.to_numpy(rn.batch_instance_norm(x, gate, **OPTIONS))
        np.testing.assert_array_equal(same, y)


def test_running_statistics_take_the_place_of_the_batch(backend):
    x, gate, scale, bias = (backend.asarray(a) for a in (X, GATE, SCALE, BIAS))
    other = X[::-1, :, ::-1] * np.float32(2)
    moments = rn.moments(backend.asarray(other), axis=(0, 2, 3))
    y = rn.batch_instance_norm(x, gate, scale, bias, **OPTIONS, batch_moments=moments)
    expected = oracle.batch_instance_norm(
        X, GATE, SCALE, BIAS, **OPTIONS, batch_moments=oracle.moments(other, axis=(0, 2, 3))
    )
    assert near(backend, y, expected)


def test_batch_of_one_is_instance_norm(backend):
    x, gate = backend.asarray(X[:1]), backend.asarray(GATE)
    y = rn.batch_instance_norm(x, gate, **OPTIONS)
    assert near(backend, y, oracle.instance_norm(X[:1], axis=(2, 3)))


def test_series_and_volumes(backend):
    """Any rank, any place of batch and channels."""
    for shape, options in (
        ((6, 3, 20), {"axis": 2, "batch_axis": 1, "channel_axis": 0}),
        ((2, 3, 5, 3, 4), {"axis": (1, 2, 3), "batch_axis": -1, "channel_axis": 0}),
    ):
        values = X.reshape(shape)
        gate = GATE[: shape[0]] if shape[0] <= 3 else np.resize(GATE, shape[0])
        y = rn.batch_instance_norm(backend.asarray(values), backend.asarray(gate), **options)
        forward = {**options, "batch_axis": options["batch_axis"] % len(shape)}
        assert near(backend, y, oracle.batch_instance_norm(values, gate, **forward))


def test_an_empty_batch_has_no_statistics(backend):
    x = backend.asarray(X[:0])
    with pytest.raises(ValueError, match=r"`x` must have an element along `axis` \(0, 2, 3\)"):
        rn.batch_instance_norm(x, 0.5, **OPTIONS)


def test_unobserved_instance_far_from_zero(backend):
    """It is left as it is by its own map, and read around the center of the batch by the other."""
    dtype = backend.widest
    x = np.full((3, 4), -1.0, dtype=dtype)
    x[:2] += 2.0**-20 * np.arange(4)
    where = np.asarray([[True], [True], [False]])
    y = rn.batch_instance_norm(
        backend.asarray(x, dtype),
        0.5,
        axis=1,
        batch_axis=0,
        where=backend.asarray(where),
        eps=1e-12,
    )
    seen = x[:2].astype(np.longdouble)
    batch = (x[2] - seen.mean()) / np.sqrt(seen.var() + 1e-12)
    expected = (batch + x[2]) / 2
    rounding = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(backend.to_numpy(y)[2], expected.astype(dtype), rtol=rounding)


def test_unobserved_instance_near_zero_beside_a_batch_far_away(backend):
    """Its own map is the steeper one, and what it leaves as it is is not lost."""
    dtype = backend.widest
    x = np.asarray([[-9e15, 0.5], [0.25, 3.0], [0.75, 0.5]], dtype=dtype)
    where = np.asarray([[True, False], [True, False], [False, False]])
    gate = 2.0**-14
    y = rn.batch_instance_norm(
        backend.asarray(x, dtype), gate, axis=1, batch_axis=0, where=backend.asarray(where)
    )
    seen = x[where].astype(np.longdouble)
    batch = (x[2] - seen.mean()) / np.sqrt(seen.var() + 1e-5)
    expected = gate * batch + (1 - gate) * x[2]
    rounding = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(backend.to_numpy(y)[2], expected.astype(dtype), rtol=rounding)


@pytest.mark.parametrize("scale", [1e25, 1e37, 1e-30, 1e-40, 1e5])
def test_batches_of_single_numbers_over_the_range(backend, scale):
    """Each alone has no deviation; the batch has one, also where its square leaves the range."""
    x = (scale * np.random.default_rng(0).normal(size=(7, 1, 3))).astype("float32")
    y = rn.batch_instance_norm(
        backend.asarray(x, "float32"), 1.0, axis=1, batch_axis=0, eps=0.0, precision="native"
    )
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(axis=0)) / wide.std(axis=0)
    np.testing.assert_allclose(backend.to_numpy(y), expected, rtol=1e-6, atol=1e-6)


def test_constant_instances_that_differ_by_far_less_than_eps(backend):
    """A line drawn around 0 would lose them in the rounding of what they have in common."""
    levels = 1e-9 * (1 + 1e-7 * np.arange(8))[:, None, None, None]
    x = np.broadcast_to(levels, (8, 3, 4, 5)).astype(np.float32)
    exact = oracle.batch_instance_norm(x, 1e-5, **OPTIONS).astype(np.longdouble)
    y = backend.to_numpy(rn.batch_instance_norm(backend.asarray(x), 1e-5, **OPTIONS))
    room = tolerances.forward(backend, "float32") * tolerances.ulp(np.max(abs(exact)), "float32")
    assert np.max(abs(y - exact)) <= room
