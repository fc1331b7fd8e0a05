"""Properties over random shapes, axes, masks and magnitudes, against the exact oracle."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import oracle
import revnorm as rn
import tolerances
from backends import BACKENDS

NUMPY = next(backend for backend in BACKENDS if backend.library == "numpy")
MODES = st.sampled_from(["add", "clamp", "relative"])
MODEST = settings(deadline=None, max_examples=40, print_blob=True)


@st.composite
def samples(draw, masked=False):
    """float32 data with mean/std up to 1e6, the axes to reduce, and maybe a mask."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
    axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    seed = draw(st.integers(0, 2**32 - 1))
    mean = draw(st.sampled_from([0.0, 1.0, -1e2, 1e4, -1e6]))
    std = draw(st.sampled_from([1e-12, 1.0, 1e12]))
    values = (np.random.default_rng(seed).standard_normal(shape) + mean) * std
    signs = draw(st.tuples(*(st.booleans() for _ in axes)))
    axis = tuple(a - len(shape) if s else a for a, s in zip(sorted(axes), signs, strict=True))
    where = draw(hnp.arrays(bool, shape)) if masked else None
    return values.astype(np.float32), axis, where


def unit_of(x, axis):
    return oracle.ulp(oracle.reach(x, axis), "float32")


def worst(errors):
    return np.max(errors, initial=0)


@MODEST
@given(samples(masked=True), MODES, st.sampled_from([0.0, 1e-5]))
def test_forward(sample, eps_mode, eps):
    x, axis, where = sample
    options = {"axis": axis, "where": where, "eps": eps, "eps_mode": eps_mode}
    y = rn.instance_norm(x, **options)
    seen = np.broadcast_to(True if where is None else where, x.shape)
    expected = oracle.instance_norm(x, **options)
    if seen.any():
        error = oracle.ulp_error(y[seen], expected[seen], "float32")
        assert error <= tolerances.WIDER_FORWARD


@MODEST
@given(samples())
def test_native_precision(sample):
    x, axis, _ = sample
    y, map = rn.revin(x, axis=axis, precision="native")
    bound = tolerances.forward(NUMPY, "float32", "native")
    assert oracle.ulp_error(y, oracle.revin(x, axis=axis), "float32") <= bound
    exact = oracle.exact(x)
    errors = abs(oracle.exact(map.inv(y)) - exact) / unit_of(exact, axis)
    assert worst(errors) <= tolerances.round_trip(NUMPY, "float32", "native")


@MODEST
@given(samples(), st.sampled_from(["mean", "last"]), MODES)
def test_way_back(sample, center, eps_mode):
    x, axis, _ = sample
    y, map = rn.revin(x, axis=axis, center=center, eps_mode=eps_mode)
    exact = oracle.exact(x)
    errors = abs(oracle.exact(map.inv(y)) - exact)
    # Each of the two roundings is at most half an ULP, the first divided by the scale.
    scale = oracle.standardizer(x, axis=axis, eps_mode=eps_mode).scale
    y_unit = oracle.ulp(np.maximum(oracle.reach(y, axis), oracle.exact(2.0**-126)), "float32")
    allowed = (y_unit / abs(scale) + unit_of(exact, axis)) * oracle.exact(tolerances.WIDER_FORWARD)
    assert np.all(errors <= allowed)


@MODEST
@given(samples(masked=True))
def test_moments(sample):
    x, axis, where = sample
    got = rn.moments(x, axis=axis, where=where)
    expected = oracle.moments(x, axis=axis, where=where)
    np.testing.assert_array_equal(got.count, expected.count.astype(float))
    exact_mean = oracle.exact(got.mean) + oracle.exact(got.residual)
    reach = oracle.reach(x, axis)
    # float64 against a sum of float32 numbers: n roundings of 2^-53 of the largest.
    count = np.maximum(expected.count, oracle.exact(1))
    unit = oracle.exact(2.0**-53) * count
    assert np.all(abs(exact_mean - expected.mean) <= unit * reach)
    # Samuelson's inequality: at most a factor n is lost.
    allowed = 4 * unit * count * expected.variance
    assert np.all(abs(oracle.exact(got.variance) - expected.variance) <= allowed)


@MODEST
@given(samples(), st.integers(-(2**20), 2**20))
def test_exact_shifts_are_without_effect(sample, shift):
    """Integers shifted by an integer: every difference is the same, so is every result."""
    x, axis, _ = sample
    x = np.clip(np.round(x), -(2.0**20), 2.0**20).astype(np.float32)
    y, shifted = (rn.instance_norm(a, axis=axis) for a in (x, x + np.float32(shift)))
    expected = oracle.instance_norm(x, axis=axis)
    assert oracle.ulp_error(y, expected, "float32") <= tolerances.WIDER_FORWARD
    assert oracle.ulp_error(shifted, expected, "float32") <= tolerances.WIDER_FORWARD


@MODEST
@given(samples(), st.integers(-20, 20))
def test_powers_of_two_are_without_effect(sample, exponent):
    x, axis, _ = sample
    y = rn.instance_norm(x, axis=axis, eps=0.0)
    np.testing.assert_array_equal(rn.instance_norm(x * 2.0**exponent, axis=axis, eps=0.0), y)
    np.testing.assert_array_equal(rn.instance_norm(-x, axis=axis, eps=0.0), -y)


@MODEST
@given(samples(masked=True), st.integers(-20, 20), st.sampled_from(["full", "native"]))
def test_powers_of_two_are_without_effect_on_relative_eps(sample, exponent, precision):
    x, axis, where = sample
    options = {"axis": axis, "where": where, "eps_mode": "relative", "precision": precision}
    seen = np.broadcast_to(np.any(True if where is None else where, axis, keepdims=True), x.shape)
    y, scaled = (rn.instance_norm(a, **options) for a in (x, x * np.float32(2.0**exponent)))
    np.testing.assert_array_equal(scaled[seen], y[seen])


@MODEST
@given(samples(masked=True), st.randoms(use_true_random=False))
def test_permuted_instances_are_permuted_results(sample, random):
    x, axis, where = sample
    x, where, axis = x[None], where[None], tuple(a if a < 0 else a + 1 for a in axis)
    x, where = (np.concatenate([a, a[:, ..., ::-1]]) for a in (x, where))
    order = random.sample(range(2), 2)
    y = rn.instance_norm(x, axis=axis, where=where)
    np.testing.assert_array_equal(
        rn.instance_norm(x[order], axis=axis, where=where[order]), y[order]
    )


@MODEST
@given(samples(), st.integers(0, 5))
def test_merge_is_the_whole(sample, cut):
    x, axis, _ = sample
    at = axis[0]
    cut = min(cut, x.shape[at])
    if not 0 < cut < x.shape[at]:
        return
    parts = np.split(x, [cut], axis=at)
    merged = rn.merge(*(rn.moments(part, axis=axis) for part in parts))
    expected = oracle.moments(x, axis=axis)
    count = expected.count
    np.testing.assert_array_equal(merged.count, count.astype(float))
    unit = oracle.exact(2.0**-53) * count
    reach = oracle.reach(x, axis)
    mean = oracle.exact(merged.mean) + oracle.exact(merged.residual)
    assert np.all(abs(mean - expected.mean) <= unit * reach)
    # Errors of the two means, in the between-groups part, and of the two variances.
    allowed = 4 * unit * count * expected.variance + 4 * (unit * reach) ** 2
    assert np.all(abs(oracle.exact(merged.variance) - expected.variance) <= allowed)


@st.composite
def lines(draw):
    """Maps of any slope and sign, near each other or far."""
    reach = draw(st.sampled_from([0, 3, 12]))
    exponent = st.floats(-reach, reach)
    signs = draw(st.tuples(*[st.sampled_from([-1, 1])] * 4))
    fields = [np.asarray([sign * 10.0 ** draw(exponent)]) for sign in signs]
    center, divisor, factor, offset = fields
    return rn.AffineMap(center, np.zeros(1), divisor, factor, offset, np.zeros(1))


def followed(line, x):
    """What a map makes of exact numbers, the sizes of what that is added up from, and its slope."""
    center, _, divisor, factor, offset, _ = (oracle.exact(field) for field in line)
    slope = factor / divisor
    stretched = slope * (x - center)
    return stretched + offset, abs(stretched) + abs(offset), abs(slope)


def points(seed, *lines):
    """float64 numbers beside the centers of maps."""
    rng = np.random.default_rng(seed)
    spread = rng.standard_normal((len(lines), 5)) * 10.0 ** rng.uniform(-12, 12, (len(lines), 1))
    return np.concat([line.center + near for line, near in zip(lines, spread, strict=True)])


WEIGHTS = st.just(0.0) | st.floats(1e-3, 2) | st.floats(-2, -1e-3)

# Roundings of 2^-53 of each number that is added, in a map made of two.
FEW = oracle.exact(16 * 2.0**-53)


@MODEST
@given(lines(), lines(), st.integers(0, 2**32 - 1))
def test_composition_is_one_after_the_other(inner, outer, seed):
    x = points(seed, inner)
    between, sizes, _ = followed(inner, oracle.exact(x))
    expected, last, slope = followed(outer, between)
    sizes = slope * (sizes + abs(oracle.exact(outer.center))) + last
    assert np.all(abs(oracle.exact((outer @ inner)(x)) - expected) <= FEW * sizes)


@MODEST
@given(lines(), lines(), WEIGHTS, WEIGHTS, st.integers(0, 2**32 - 1))
def test_blend_is_the_weighted_sum(first, second, a, b, seed):
    """Whichever map is the steepest, and whatever its sign."""
    x = points(seed, first, second)
    ends = [followed(line, oracle.exact(x)) for line in (first, second)]
    weights = [oracle.exact(abs(weight)) for weight in (a, b)]
    expected = oracle.exact(a) * ends[0][0] + oracle.exact(b) * ends[1][0]
    gap = abs(oracle.exact(first.center) - oracle.exact(second.center))
    flatter = np.minimum(*(weight * end[2] for weight, end in zip(weights, ends, strict=True)))
    sizes = sum(weight * end[1] for weight, end in zip(weights, ends, strict=True))
    y = rn.blend([first, second], [a, b])(x)
    assert np.all(abs(oracle.exact(y) - expected) <= FEW * (sizes + flatter * gap))
