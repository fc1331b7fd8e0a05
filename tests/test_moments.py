"""Moments: where every statistic comes from."""

from fractions import Fraction

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import WHERE, X

FAST = pytest.mark.backends("numpy", "torch", "cupy", "array-api-strict")


def test_keep_the_reduced_axes_and_the_dtype_worked_in(backend):
    for axis, shape in ((2, (4, 3, 1, 5)), ((-1, 0), (1, 3, 6, 1))):
        for field in rn.moments(backend.asarray(X), axis=axis):
            assert tuple(field.shape) == shape
            assert backend.to_numpy(field).dtype.name == backend.widest


@FAST
def test_native_keeps_float32(backend):
    for field in rn.moments(backend.asarray(X), axis=2, precision="native"):
        assert backend.to_numpy(field).dtype == np.float32


@FAST
def test_values(backend):
    x, where = backend.asarray(X), backend.asarray(WHERE)
    got = rn.moments(x, axis=(0, 3), where=where)
    expected = oracle.moments(X, axis=(0, 3), where=WHERE)
    for field in ("mean", "variance", "count"):
        values = backend.to_numpy(getattr(got, field)).astype(np.float32)
        exact = getattr(expected, field)
        # The worst of float64 is 2^-29 of this unit; float32 alone is held to recipe B's.
        bound = 0.51 if backend.widest == "float64" else 4
        assert oracle.ulp_error(values, exact, "float32") <= bound


@pytest.mark.parametrize("length", [4096, 1 << 17, 200_000])
def test_no_first_element_takes_digits(length):
    """Up to 4127 additions around a pivot within a deviation of the mean: see docs/numbers.rst."""
    for seed in range(10):
        low, high = np.random.default_rng(seed).uniform((1, 2), (2, 3)).astype(np.float32)
        x = np.full(length, low)
        x[0] = high
        gap = Fraction(float(high)) - Fraction(float(low))
        exact = gap**2 * (length - 1) / Fraction(length) ** 2
        found = Fraction(float(rn.moments(x, axis=0).variance[0]))
        assert abs(found - exact) <= 2.6e4 * 2.0**-53 * exact


def test_constants_far_from_zero_have_no_variance():
    x = np.stack([np.full(70_000, c, np.float32) for c in (0.1, -3.4028235e38, 1e-45)])
    assert not rn.moments(x, axis=1).variance.any()


def test_residual_is_the_low_part_of_the_mean():
    x = np.asarray([1.0, 2.0**-53, 2.0**-53, 0.0])
    mean, residual, *_ = rn.moments(x, axis=0)
    exact = sum(oracle.exact(x)) / 4
    assert oracle.exact(mean)[0] + oracle.exact(residual)[0] == exact


def test_belong_to_the_population():
    with pytest.raises(TypeError, match="correction"):
        rn.moments(X, axis=2, correction=1)


@FAST
def test_merged_moments_are_corrected_where_they_are_used(backend):
    """The variance of 0 to 9 is 8.25, the unbiased one 9.1667."""
    x = backend.asarray(np.arange(10, dtype=np.float32))
    merged = rn.merge(rn.moments(x[:4], axis=0), rn.moments(x[4:], axis=0))
    for given in (merged, rn.moments(x, axis=0), x):
        map = rn.standardizer(given, axis=0, eps=0.0, correction=1)
        spread = backend.to_numpy(map.divisor).astype(np.float32)
        exact = oracle.root(oracle.exact([82.5]) / 9)
        assert oracle.ulp_error(spread, exact, "float32") <= tolerances.forward(backend, "float32")


def test_correction_that_leaves_nothing_divides_by_one():
    x = np.asarray([[3.0, 5.0]])

    def spread(x, correction):
        moments = rn.moments(x, axis=1)
        return rn.standardizer(moments, correction=correction, eps=0.25).divisor ** 2 - 0.25

    assert spread(x[:, :1], 1) == 0.0
    for correction in (2, 3):
        np.testing.assert_allclose(spread(x, correction), 2.0, rtol=2**-51)


@FAST
def test_nothing_observed_counts_nothing(backend):
    where = backend.asarray(np.zeros_like(WHERE))
    for field in rn.moments(backend.asarray(X), axis=2, where=where):
        assert not backend.to_numpy(field).any()


@FAST
def test_merge_of_parts_is_the_whole(backend):
    x = backend.asarray(X)
    parts = [rn.moments(x[n : n + 1, ...], axis=(0, 2, 3)) for n in range(4)]
    merged = rn.merge(rn.merge(parts[0], parts[1]), rn.merge(parts[2], parts[3]))
    expected = oracle.moments(X, axis=(0, 2, 3))
    for field in ("mean", "variance", "count"):
        values = backend.to_numpy(getattr(merged, field)).astype(np.float32)
        bound = 0.51 if backend.widest == "float64" else 4
        assert oracle.ulp_error(values, getattr(expected, field), "float32") <= bound


def test_merge_with_nothing_is_the_other():
    full = rn.moments(X, axis=(2, 3))
    nothing = rn.moments(X, axis=(2, 3), where=np.zeros_like(WHERE))
    for merged in (rn.merge(full, nothing), rn.merge(nothing, full)):
        for got, field in zip(merged, full, strict=True):
            np.testing.assert_allclose(got, field, rtol=2**-52)
    for field in rn.merge(nothing, nothing):
        assert not field.any()


def test_merge_keeps_a_small_variance_far_from_zero():
    x = np.asarray([1e8, 1e8 + 1, 1e8 + 2, 1e8 + 3])
    merged = rn.merge(*(rn.moments(half, axis=0) for half in (x[:1], x[1:])))
    assert merged.variance[0] == 1.25
