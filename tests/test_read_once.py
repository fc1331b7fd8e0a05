"""Moments in one read: of every memory order, or none where one read would be less exact."""

import itertools
from functools import reduce

import numpy as np
import pytest

import oracle
import revnorm as rn
from revnorm._read_once import read_once

SHAPES = [(5000, 3), (3, 5000), (300, 1, 5), (2, 3, 1, 500), (60_000, 2), (90_000,), (600, 700)]
LAYOUTS = [
    (shape, order, axis)
    for shape in SHAPES
    for order in itertools.permutations(range(len(shape)))
    for kept in range(len(shape))
    for axis in itertools.combinations(range(len(shape)), len(shape) - kept)
]


def laid(shape, order, dtype):
    """Data far from 0 of a shape, with their axes in memory in an order."""
    memory = [shape[one] for one in order]
    x = np.random.default_rng(0).normal(100, 3, memory).astype(dtype)
    return x.transpose(np.argsort(order))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_memory_order_and_axis(dtype):
    known = 0
    for shape, order, axis in LAYOUTS:
        x = laid(shape, order, dtype)
        parts = read_once(x, axis)
        if parts is None:
            continue
        known += 1
        found, wide = reduce(rn.merge, parts), x.astype(np.longdouble)
        mean = wide.mean(axis=axis, keepdims=True)
        assert found.mean.shape == mean.shape
        # Of a level of 100 and a deviation of 3, in sums of up to 4·10^5.
        np.testing.assert_allclose(found.mean, mean, rtol=2.0**-50)
        variance = wide.var(axis=axis, keepdims=True)
        np.testing.assert_allclose(found.variance, variance, rtol=2.0**-46)
        np.testing.assert_array_equal(found.count, x.size // mean.size)
    assert known > len(LAYOUTS) / 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [True, False])
def test_a_pivot_is_within_a_deviation_or_there_is_none(dtype, columns):
    """Narrow columns show theirs, whatever a few of their rows are."""
    x = np.random.default_rng(0).normal(size=20_000).astype(dtype)
    for away, fits in ((0.9, True), (1.2, columns and dtype == "float32")):
        x[:: 20_000 // 64] = away * x.std()
        two = np.stack([x, x], axis=columns)
        found = read_once(two, (0,) if columns else (1,))
        assert (found is not None) == fits


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_of_another_byte_order(dtype):
    x = 1e6 + np.random.default_rng(0).normal(size=(3000, 4)).astype(dtype)
    (found,), (expected,) = read_once(x.astype(x.dtype.newbyteorder()), (0,)), read_once(x, (0,))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("values", [[1e200, -1e200], [np.nan, 1.0], [np.inf, 1.0]])
def test_what_leaves_the_range_is_read_twice(values):
    x = np.tile(np.asarray(values), 5000)
    assert read_once(x, (0,)) is None
    assert read_once(np.stack([x, x]), (1,)) is None


@pytest.mark.parametrize("near", [2.0**-3, 1.0, 2.0**10, 2.0**20])
def test_chains_of_float32_are_shifted_exactly(near):
    """The pivot is subtracted from sums of numbers that are near it, far from it, and both."""
    random = np.random.default_rng(0)
    x = near + random.choice([-1.0, 1.0], 20_000) * random.choice([1e-3, 0.1, 1.0], 20_000)
    x = x.astype(np.float32)[:, None]
    parts = read_once(x, (0,))
    found, exact = reduce(rn.merge, parts), oracle.moments(x, axis=0)
    # In sums of sixteen and then pairwise.
    lost = abs(oracle.exact(found.variance) - exact.variance) / exact.variance
    assert lost <= (12 + np.log2(20_000)) / 2**53
