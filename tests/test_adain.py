"""AdaIN: two standardizers, nothing else."""

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import STYLE, STYLE_WHERE, WHERE, X

pytestmark = pytest.mark.backends("numpy", "torch", "cupy", "mlx", "array-api-strict")


@pytest.mark.parametrize("correction", [0, 1])
def test_is_the_style_undone_after_the_content(backend, correction):
    content, style = backend.asarray(X), backend.asarray(STYLE)
    options = {"axis": (2, 3), "correction": correction}
    y = rn.adain(content, style, **options)
    map = rn.standardizer(style, **options).inv @ rn.standardizer(content, **options)
    tolerances.assert_same(backend, y, map(content), axis=(2, 3))


def test_style_may_be_moments(backend):
    content, style = backend.asarray(X), backend.asarray(STYLE)
    seen = backend.asarray(STYLE_WHERE)
    where = backend.asarray(WHERE)
    moments = rn.moments(style, axis=(2, 3), where=seen)
    np.testing.assert_array_equal(
        backend.to_numpy(rn.adain(content, moments, axis=(2, 3), where=where)),
        backend.to_numpy(rn.adain(content, style, axis=(2, 3), where=where, style_where=seen)),
    )


def test_one_style_for_a_batch(backend):
    content = backend.asarray(X)
    one = backend.asarray(STYLE[:1])
    each = backend.asarray(np.repeat(STYLE[:1], 4, axis=0))
    np.testing.assert_array_equal(
        backend.to_numpy(rn.adain(content, one, axis=(2, 3))),
        backend.to_numpy(rn.adain(content, each, axis=(2, 3))),
    )


def test_content_has_the_moments_of_the_style(backend):
    content, style = backend.asarray(X), backend.asarray(STYLE)
    y = backend.to_numpy(rn.adain(content, style, axis=(2, 3), eps=0.0))
    got, wanted = oracle.moments(y, axis=(2, 3)), oracle.moments(STYLE, axis=(2, 3))
    unit = oracle.ulp(oracle.reach(y, (2, 3)), "float32")
    bound = oracle.exact(tolerances.forward(backend, "float32"))
    assert np.all(abs(got.mean - wanted.mean) <= bound * unit)
    std = oracle.root(got.variance), oracle.root(wanted.variance)
    assert np.all(abs(std[0] - std[1]) <= bound * unit)


def test_its_own_style_leaves_content_as_it_is(backend):
    content = backend.asarray(X)
    y = backend.to_numpy(rn.adain(content, content, axis=(2, 3)))
    exact = oracle.exact(X)
    bound = tolerances.forward(backend, "float32")
    assert oracle.ulp_error(y, exact, "float32", of=oracle.reach(exact, (2, 3))) <= bound


def test_strength_0_leaves_content_as_it_is_and_1_is_the_style(backend):
    content, style = backend.asarray(X), backend.asarray(STYLE)
    full = rn.adain(content, style, axis=(2, 3))
    ones = backend.asarray(np.asarray([0, 1, 0, 1], np.float32)[:, None, None, None])
    mixed = backend.to_numpy(rn.adain(content, style, axis=(2, 3), strength=ones))
    bound = tolerances.forward(backend, "float32")
    for rows, expected in (([0, 2], X), ([1, 3], oracle.adain(X, STYLE, axis=(2, 3)))):
        exact = oracle.exact(expected)[rows]
        unit = oracle.reach(exact, (2, 3))
        assert oracle.ulp_error(mixed[rows], exact, "float32", of=unit) <= bound
    same = rn.adain(content, style, axis=(2, 3), strength=1.0)
    np.testing.assert_array_equal(backend.to_numpy(same), backend.to_numpy(full))


def test_content_and_style_of_size_one(backend):
    """A 1x1 image, of which unbiased variances are NaN elsewhere."""
    content, style = backend.asarray(X[:, :, :1, :1]), backend.asarray(STYLE[:, :, :1, :1])
    y = backend.to_numpy(rn.adain(content, style, axis=(2, 3), correction=1))
    np.testing.assert_array_equal(y, STYLE[:, :, :1, :1])


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_tiny_content_in_a_large_style(backend, strength):
    """A slope beyond the range of the dtype, of which the result is well within."""
    content = np.asarray([[1.0, 2.0, 4.0, 7.0]], np.float32) * np.float32(2.0**-120)
    style = np.asarray([[1.0, -1.0]], np.float32) * np.float32(2.0**25)
    arrays = (backend.asarray(a) for a in (content, style))
    y = rn.adain(*arrays, axis=1, eps=0.0, strength=strength, precision="native")
    d = np.asarray([[-2.5, -1.5, 0.5, 3.5]])
    expected = strength * d / np.sqrt(np.mean(d * d)) * 2.0**25
    # Eight roundings of the largest.
    np.testing.assert_allclose(backend.to_numpy(y), expected, rtol=0, atol=8 * 2.0**2)


@pytest.mark.parametrize("precision", ["full", "native"])
def test_strength_0_of_a_constant_beside_a_style_far_from_it(backend, precision):
    """What the style's map would carry beyond the range is left out, and not multiplied by 0."""
    content = backend.asarray(np.full((1, 4), 1.5e33, np.float32))
    style = backend.asarray(np.asarray([[1e18, -1e18]], np.float32))
    y = rn.adain(content, style, axis=1, strength=0.0, precision=precision)
    np.testing.assert_array_equal(backend.to_numpy(y), backend.to_numpy(content))
