"""Maps and moments carried from any library to any other."""

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from backends import BACKENDS, absence

HERE = [backend for backend in BACKENDS if not absence(backend)]
X = np.random.default_rng(0).normal(1e6, 1, (3, 50)).astype(np.float32)


@pytest.mark.parametrize("target", HERE, ids=repr)
@pytest.mark.parametrize("source", HERE, ids=repr)
def test_every_library_to_every_other(source, target):
    with source.context():
        x = source.asarray(X)
        known, norm_map = rn.moments(x, axis=1), rn.standardizer(x, axis=1)
        with target.context():
            like = target.asarray(X)
            moved = rn.convert(norm_map, like)
            y = target.to_numpy(moved(like))
            there = rn.convert(known, like)
    assert type(moved.center) is type(there.count) is type(like)
    assert target.widest in str(moved.center.dtype) or source.widest in str(moved.center.dtype)
    exact = oracle.standardizer(X, axis=1)(X)
    bounds = [tolerances.forward(one, "float32") for one in (source, target)]
    assert oracle.ulp_error(y, exact, "float32") <= max(bounds)


def test_dtype_is_kept_where_there_is_one():
    torch = pytest.importorskip("torch")
    wide = rn.moments(np.asarray([1e8, 1e8 + 1]), axis=0)
    moved = rn.convert(wide, torch.ones(1))
    assert {field.dtype for field in moved} == {torch.float64}
    narrow = rn.convert(wide.astype(np.float32), torch.ones(1))
    assert {field.dtype for field in narrow} == {torch.float32}


def test_low_bits_go_to_the_residual_where_there_is_no_float64():
    jax = pytest.importorskip("jax")
    known = rn.moments(np.asarray([1e8, 1e8 + 1]), axis=0)
    moved = rn.convert(known, jax.numpy.ones(1))
    assert moved.mean.dtype == "float32"
    np.testing.assert_array_equal(np.float64(moved.mean) + np.float64(moved.residual), [1e8 + 0.5])


def test_fields_that_require_a_gradient_and_read_only_ones():
    torch = pytest.importorskip("torch")
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    norm_map = rn.standardizer(x, axis=0)
    assert rn.convert(norm_map, np.ones(1)).center == 2
    assert rn.convert(norm_map, torch.ones(1)).center.requires_grad
    fields = [np.broadcast_to(one, (2, 1)) for one in rn.convert(norm_map, np.ones(1))]
    assert rn.convert(rn.AffineMap(*fields), torch.ones(1)).center.shape == (2, 1)


def test_within_a_trace():
    jax = pytest.importorskip("jax")
    torch = pytest.importorskip("torch")
    norm_map = rn.standardizer(np.asarray([1.0, 2.0, 3.0]), axis=0, eps=0.0)
    applied = jax.jit(lambda x: rn.convert(norm_map, x)(x))(jax.numpy.asarray([2.0]))
    assert float(applied[0]) == 0
    by_map = torch.func.vmap(lambda x: rn.convert(norm_map, x)(x))
    assert by_map(torch.full((3, 1), 2.0)).tolist() == [[0], [0], [0]]


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        (np.ones(1), np.ones(1), "`value` must be a Moments or AffineMap, got ndarray"),
        (rn.moments(np.ones(1), axis=0), "cuda", "`like` must be an array, got str"),
    ],
)
def test_what_does_not_fit_is_refused(value, like, text):
    with pytest.raises(TypeError, match=text):
        rn.convert(value, like)
