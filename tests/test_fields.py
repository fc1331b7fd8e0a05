"""Maps and moments in parts, joined, in another dtype, and as a person reads them."""

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import X, sample

FAST = pytest.mark.backends("numpy", "torch", "cupy", "mlx", "array-api-strict")
EVERY = pytest.mark.backends(
    "numpy", "torch", "cupy", "jax", "dask", "array-api-strict", "ndonnx", "mlx"
)
PARTS = [
    (slice(1, 3), [1, 2]),
    (slice(None, None, 2), [0, 2]),
    (2, [2]),
    (np.int64(1), [1]),
    (range(2), [0, 1]),
    ((3, 0), [3, 0]),
    ([1], [1]),
]


def both(backend):
    x = backend.asarray(X)
    return rn.standardizer(x, 2.0, 1.0, axis=(2, 3)), rn.moments(x, axis=(2, 3))


def same(backend, one, other):
    for field, expected in zip(one, other, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(field), backend.to_numpy(expected))


@EVERY
@pytest.mark.parametrize(("indices", "rows"), PARTS, ids=str)
def test_some_instances(backend, indices, rows):
    """A number keeps its axis, so that the part still broadcasts."""
    for value in both(backend):
        part = value.take(indices, axis=0)
        assert type(part) is type(value)
        for field, whole in zip(part, value, strict=True):
            np.testing.assert_array_equal(backend.to_numpy(field), backend.to_numpy(whole)[rows])


@FAST
def test_a_part_of_what_does_not_vary(backend):
    map = rn.standardizer(backend.asarray(X), axis=(0, 2, 3))
    same(backend, map.take(2, axis=0), map)
    same(backend, map.take(slice(1, 3), axis=0), map)


@EVERY
def test_concat_joins_what_take_parts(backend):
    for value in both(backend):
        parts = [value.take(slice(0, 1), axis=0), value.take([1, 2], axis=0), value.take(3, axis=0)]
        same(backend, type(value).concat(parts, axis=0), value)
        same(backend, type(value).concat(iter(parts), axis=-4), value)


@FAST
def test_concat_of_fields_that_vary_in_some(backend):
    """A scale for every position in one map, and for none in the other."""
    x = backend.asarray(X)
    scale = backend.asarray(sample(mean=1.0, std=0.1))
    first = rn.standardizer(x[:1, ...], scale[:1, ...], axis=(2, 3))
    second = rn.standardizer(x[1:, ...], axis=(2, 3))
    joined = rn.AffineMap.concat([first, second], axis=0)
    y = backend.to_numpy(joined(x))
    np.testing.assert_array_equal(y[:1], backend.to_numpy(first(x[:1, ...])))
    np.testing.assert_array_equal(y[1:], backend.to_numpy(second(x[1:, ...])))


@FAST
def test_another_dtype_keeps_the_low_bits(backend):
    if backend.widest != "float64":
        pytest.skip("no float64")
    x = backend.asarray(X + np.float32(1e5))
    narrow = backend.asarray(X).dtype
    map = rn.standardizer(x, 2.0, 1e5, axis=(2, 3))
    cast = map.astype(narrow)
    assert all(field.dtype == narrow for field in cast)
    for name in ("center", "offset"):
        exact, kept = (
            sum(oracle.exact(backend.to_numpy(getattr(m, n))) for n in (name, f"{name}_residual"))
            for m in (map, cast)
        )
        assert np.max(abs(exact - kept)) <= 1e5 * 2.0**-48
    expected = oracle.standardizer(X + np.float32(1e5), 2, 0, axis=(2, 3))(X + np.float32(1e5))
    lower = cast._replace(offset=0 * cast.offset, offset_residual=0 * cast.offset)
    error = oracle.ulp_error(backend.to_numpy(lower(x)), expected, "float32")
    assert error <= tolerances.SAME_FORWARD
    same(backend, map.astype(map.center.dtype), map)


@FAST
def test_moments_in_another_dtype(backend):
    if backend.widest != "float64":
        pytest.skip("no float64")
    moments = rn.moments(backend.asarray(X + np.float32(1e5)), axis=(2, 3))
    cast = moments.astype(backend.asarray(X).dtype)
    exact, kept = (
        sum(oracle.exact(backend.to_numpy(part)) for part in m[:2]) for m in (moments, cast)
    )
    assert np.max(abs(exact - kept)) <= 1e5 * 2.0**-48
    same(backend, cast.astype(moments.mean.dtype)[2:], cast[2:])


@EVERY
def test_repr_is_short(backend):
    large = backend.asarray(np.ones((64, 5, 7), np.float32))
    dtype = rn.moments(large, axis=1).mean.dtype
    for value in (rn.standardizer(large, axis=1), rn.moments(large, axis=1)):
        told = repr(value)
        assert told.startswith(type(value).__name__)
        assert f"(64, 1, 7) {dtype}" in told
        assert all(field in told for field in value._fields)
        assert len(told) < 200


def test_repr_of_few_numbers_shows_them():
    moments = rn.moments(np.asarray([1.0, 3.0]), axis=0)
    assert repr(moments) == (
        "Moments(mean=array([2.]), residual=array([0.]), variance=array([1.]), count=array([2.]))"
    )


def test_repr_of_something_else_in_the_fields():
    assert repr(rn.Moments(None, "x", 1, 2.0)) == (
        "Moments(mean=None, residual='x', variance=1, count=2.0)"
    )
