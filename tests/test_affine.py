"""Affine maps: application, inverse, composition, and what else goes through them."""

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import AFFINE, BIAS, SCALE, STYLE, X

pytestmark = pytest.mark.backends("numpy", "torch", "cupy", "mlx", "array-api-strict")
NCHW = {"axis": (2, 3), "channel_axis": 1}


def exact_map():
    return oracle.standardizer(X, SCALE, BIAS, **NCHW)


def our_map(backend, **options):
    parameters = (backend.asarray(p) for p in AFFINE.values())
    return rn.standardizer(backend.asarray(X), *parameters, **NCHW, **options)


def near(backend, array, expected, axis=None):
    of = None if axis is None else oracle.reach(expected, axis)
    error = oracle.ulp_error(backend.to_numpy(array), expected, "float32", of=of)
    return error <= tolerances.forward(backend, "float32")


def test_applies_to_any_array_that_broadcasts(backend):
    """A forecast of another horizon, one step, more of the batch's axes."""
    map = our_map(backend)
    for shape in ((4, 3, 1, 1), (4, 3, 9, 2), (2, 4, 3, 6, 5)):
        z = np.linspace(-1, 1, np.prod(shape)).reshape(shape).astype(np.float32)
        y = map(backend.asarray(z))
        expected = exact_map()(z)
        assert tuple(y.shape) == expected.shape
        assert near(backend, y, expected)


@pytest.mark.backends("numpy", "torch", "cupy")
def test_out(backend):
    map = our_map(backend).inv
    y = backend.asarray(X)
    expected = backend.to_numpy(map(y))
    out = backend.asarray(np.zeros_like(X))
    assert map(y, out=out) is out
    assert map(y, out=y) is y
    for written in (out, y):
        np.testing.assert_array_equal(backend.to_numpy(written), expected)


def test_out_that_does_not_fit(backend):
    map = our_map(backend)
    one = backend.asarray(X[:1])
    with pytest.raises(ValueError, match=r"^`x` must be of shape \(4, 3, any, any\)"):
        map(one, out=one)
    with pytest.raises(ValueError, match=r"^`out` must be of shape"):
        map(backend.asarray(X), out=one)


def test_a_forecast_of_few_bits_comes_back_in_more(backend):
    """At level 1000 a bfloat16 comes in steps of 4, and a float16 in halves."""
    narrow = "bfloat16" if "bfloat16" in backend.dtypes else "float16"
    if narrow not in backend.dtypes:
        pytest.skip("no narrow dtype")
    x = backend.asarray(X[..., :1] + 1000)
    map = rn.standardizer(x, axis=(2, 3)).inv
    forecast = backend.asarray(np.linspace(-1, 1, 12).reshape(4, 3, 1, 1), narrow)
    back = map(forecast, dtype=x.dtype)
    assert back.dtype == x.dtype
    center, scale, offset = oracle.standardizer(X[..., :1] + 1000, axis=(2, 3))
    exact = (oracle.exact(backend.to_numpy(forecast)) - offset) / scale + center
    assert near(backend, back, exact)
    assert not near(backend, map(forecast), exact)


def test_a_result_of_fewer_bits_is_rounded_once(backend):
    if backend.widest != "float64" or "float16" not in backend.dtypes:
        pytest.skip("nothing wider, or nothing narrower")
    map, x = our_map(backend), backend.asarray(X)
    half = backend.asarray(np.zeros(1), "float16").dtype
    out = backend.asarray(np.zeros_like(X), "float16")
    y = map(x, dtype=half, out=out)
    assert y is out
    exact = exact_map()(X)
    assert oracle.ulp_error(backend.to_numpy(y), exact, "float16") <= tolerances.WIDER_FORWARD


def test_scale_is_the_slope(backend):
    scale = backend.to_numpy(our_map(backend).scale).astype(np.float32)
    assert oracle.ulp_error(scale, exact_map().scale, "float32") <= tolerances.SAME_FORWARD


def test_spread_and_variance_go_through(backend):
    map = our_map(backend)
    one, slope = backend.asarray(np.full(X.shape, 2.0, np.float32)), abs(exact_map().scale)
    full = np.broadcast_to(slope, X.shape)
    assert near(backend, map.spread(one), 2 * full)
    assert near(backend, map.variance(one), 2 * full**2)
    assert map.spread(one).dtype == one.dtype
    unit, stretched = backend.to_numpy(map.spread(1.0)), backend.to_numpy(map.scale)
    np.testing.assert_array_equal(unit, np.abs(stretched))
    back = map.inv.spread(map.spread(one))
    assert oracle.ulp_error(backend.to_numpy(back), oracle.exact(np.full(X.shape, 2.0)),
                            "float32") <= tolerances.SAME_ROUND_TRIP  # fmt: skip


def test_take_keeps_channels(backend):
    map = our_map(backend)
    indices = backend.asarray(np.asarray([2, 0]))
    taken = map.take(indices, axis=1)
    chosen = backend.asarray(X[:, [2, 0]])
    np.testing.assert_array_equal(
        backend.to_numpy(taken(chosen)), backend.to_numpy(map(backend.asarray(X)))[:, [2, 0]]
    )
    assert tuple(taken.center.shape) == (4, 2, 1, 1)


def test_take_along_an_axis_that_does_not_vary(backend):
    map = our_map(backend)
    for field, same in zip(
        map, map.take(backend.asarray(np.asarray([0, 0])), axis=-1), strict=True
    ):
        assert tuple(field.shape) == tuple(same.shape)


def test_composition_is_one_after_the_other(backend):
    inner, outer = our_map(backend), rn.standardizer(backend.asarray(STYLE), axis=(2, 3)).inv
    center, scale, offset = oracle.standardizer(STYLE, axis=(2, 3))
    expected = (exact_map()(X) - offset) / scale + center
    assert near(backend, (outer @ inner)(backend.asarray(X)), expected, axis=(2, 3))


def test_a_map_after_its_inverse_is_the_identity(backend):
    map, x = our_map(backend), backend.asarray(X)
    assert near(backend, (map.inv @ map)(x), oracle.exact(X), axis=(2, 3))


def test_inverse_of_a_composition(backend):
    a, b = our_map(backend), rn.standardizer(backend.asarray(STYLE), axis=(2, 3)).inv
    x = backend.asarray(X)
    expected = backend.to_numpy((a.inv @ b.inv)(x))
    got = backend.to_numpy((b @ a).inv(x))
    unit = oracle.reach(expected, (2, 3))
    # Both are rounded once from the same number.
    bound = 1 if backend.widest == "float64" else 2 * tolerances.SAME_ROUND_TRIP
    assert oracle.ulp_error(got, oracle.exact(expected), "float32", of=unit) <= bound


def test_moments_make_the_same_map_as_their_data(backend):
    x = backend.asarray(X)
    parameters = [backend.asarray(p) for p in AFFINE.values()]
    moments = rn.moments(x, axis=(2, 3))
    for options in ({}, {"eps": 0.0}, {"eps": 10.0, "eps_mode": "clamp"}):
        a = rn.standardizer(x, *parameters, **NCHW, **options)
        for given in ({"channel_axis": 1}, NCHW):
            b = rn.standardizer(moments, *parameters, **given, **options)
            np.testing.assert_array_equal(backend.to_numpy(b(x)), backend.to_numpy(a(x)))


def test_blend_of_one_map_is_the_map(backend):
    map, x = our_map(backend), backend.asarray(X)
    assert near(backend, rn.blend([map], [1.0])(x), exact_map()(X))


def test_blend_is_the_weighted_sum(backend):
    x = backend.asarray(X)
    maps = [our_map(backend), rn.standardizer(backend.asarray(STYLE), axis=(2, 3))]
    exact = exact_map()(X) / 4 + oracle.standardizer(STYLE, axis=(2, 3))(X) / 2
    assert near(backend, rn.blend(maps, [0.25, 0.5])(x), exact, axis=(2, 3))


def test_blend_that_cancels_keeps_its_inverse_finite(backend):
    map, x = our_map(backend), backend.asarray(X)
    nothing = rn.blend([map, map], [1.0, -1.0])
    assert not backend.to_numpy(nothing(x)).any()
    assert np.isfinite(backend.to_numpy(nothing.inv(x))).all()


@pytest.mark.backends("numpy")
def test_a_scale_reaches_the_low_bits(backend):
    first, second = our_map(backend), our_map(backend).inv
    blended = rn.blend([first, second], [0.3, 0.7])
    assert blended.offset_residual.any()
    scaled = blended.target.affine(2.0, 1.0)
    np.testing.assert_array_equal(scaled.residual, 2 * blended.offset_residual)
    np.testing.assert_array_equal(scaled.origin, 2 * blended.offset + 1)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_narrower_result_leaves_wide_data_as_they_are(backend, dtype):
    """Nothing is widened then, so a block is the data's own memory."""
    if "float64" not in backend.dtypes or dtype not in backend.dtypes:
        pytest.skip("a narrower type of two")
    given = 100 + np.random.default_rng(0).standard_normal((3, 400))
    x = backend.asarray(given, "float64")
    norm_map = rn.standardizer(x, axis=1)
    narrow = backend.asarray(np.zeros(1), dtype).dtype
    y = norm_map(x, dtype=narrow)
    np.testing.assert_array_equal(backend.to_numpy(x), given)
    expected = backend.to_numpy(norm_map(x)).astype(dtype)
    # Rounded from float64, of which the last bits may differ: on either side of a tie.
    np.testing.assert_allclose(backend.to_numpy(y), expected, rtol=np.finfo(dtype).eps)
