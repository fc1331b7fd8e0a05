"""The reference against itself in rationals, against plain formulas, and what it imports."""

import ast
import inspect
import math
from fractions import Fraction

import numpy as np
import pytest

from revnorm.testing import _reference, from_numpy, reference
from revnorm.testing._reference import _forward, _frame, _Pair, _Rational

# What the docstring of `reference` promises of numbers that are pairs.
PAIR_ERROR = Fraction(1, 2**80)


def samples():
    x = np.random.default_rng(3).standard_normal((2, 400))
    outlier = np.ones_like(x)
    outlier[:, 7] = 1e20
    return {
        "normal": x,
        "far": x + 1e15,
        "huge": x * 4e307,
        "tiny": x * 1e-300,
        "subnormal": np.round(x * 1000) * 5e-324,
        "float32, far": (x + 1e6).astype(np.float32).astype(np.float64),
        "two neighbours": np.where(x > 0, 1.0, np.nextafter(1.0, 2.0)),
        "outlier": outlier,
        "constant": np.full_like(x, 1 / 3),
    }


SAMPLES = samples()


def fractions_of(pair):
    lift = np.frompyfunc(Fraction, 1, 1)
    return lift(pair.high) + lift(pair.low)


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_pairs_are_as_good_as_promised(name, mask, eps):
    x = SAMPLES[name]
    where = np.random.default_rng(5).random(x.shape) < 0.6 if mask else None
    exact, paired = (
        _forward(kind, _frame(kind, x, 1, where, eps=eps), x) for kind in (_Rational, _Pair)
    )
    error = abs(fractions_of(paired) - exact.values)
    reach = np.maximum(abs(exact.values), np.full(x.shape, Fraction(1)))
    assert np.max(error / reach) <= PAIR_ERROR


def test_pair_division_and_root_are_of_a_hundred_bits():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 1000))
    quotient = fractions_of(_Pair.of(a) / _Pair.of(b))
    root = fractions_of(_Pair.of(abs(a)).root())
    for found, square, exact in zip(quotient, root, zip(a, b, strict=True), strict=True):
        p, q = map(Fraction, exact)
        assert abs(found - p / q) <= abs(p / q) / 2**100
        assert abs(square * square - abs(p)) <= abs(p) / 2**100


@pytest.mark.parametrize("value", [Fraction(2), Fraction(1, 3), Fraction(10) ** 300])
def test_root_of_a_rational(value):
    root = _reference._root(value)
    assert abs(root * root - value) <= value / 2**189


def test_sizes_on_either_side_of_the_rational_limit_agree():
    x = np.random.default_rng(2).standard_normal((2, _reference.RATIONAL)).astype(np.float32)
    together = reference("instance_norm", x, axis=1)
    alone = reference("instance_norm", x[:1], axis=1)
    np.testing.assert_array_equal(together[:1], alone)


def test_by_hand():
    x = np.asarray([1.0, 2.0, 3.0, 6.0], dtype=np.float32)
    mean, variance, count = reference("moments", x, axis=0)
    assert (mean, variance, count) == (3.0, 14 / 4, 4)
    y = reference("instance_norm", x, 2.0, 1.0, axis=0, eps=0.5)
    expected = [(v - 3) / math.sqrt(3.5 + 0.5) * 2 + 1 for v in x]
    assert y.tolist() == expected
    clamped = reference("instance_norm", x, axis=0, eps=4.0, eps_mode="clamp")
    assert clamped.tolist() == [-1.0, -0.5, 0.0, 1.5]
    # The mean square is 50 / 4.
    relative = reference("instance_norm", x, axis=0, eps=0.44, eps_mode="relative")
    np.testing.assert_allclose(relative, [-2 / 3, -1 / 3, 0, 1], rtol=1e-15)


def test_constant_with_eps_zero_has_scale_one():
    x = np.asarray([3.0, 3.0, 5.0], dtype=np.float32)
    where = np.asarray([True, True, False])
    y = reference("instance_norm", x, 2.0, 1.0, axis=0, eps=0.0, where=where)
    assert y.tolist() == [1.0, 1.0, 5.0]


def test_nothing_observed_is_the_identity():
    x = np.asarray([3.0, 7.0], dtype=np.float32)
    none = np.asarray([False, False])
    for name in ("instance_norm", "revin"):
        assert reference(name, x, 2.0, 1.0, axis=0, where=none).tolist() == [3.0, 7.0]


def test_what_is_not_finite_stays_where_it_is():
    x = np.asarray([[1.0, 2.0, np.nan], [1.0, 2.0, np.inf], [1.0, 2.0, 3.0]], dtype=np.float32)
    y = reference("instance_norm", x, axis=1)
    assert np.isnan(y[:2]).all()
    assert np.isfinite(y[2]).all()
    y = reference("instance_norm", x, axis=1, eps=0.0, where=np.isfinite(x))
    assert y[0, :2].tolist() == [-1.0, 1.0]
    assert np.isnan(y[0, 2])
    assert y[1, 2] == np.inf


def test_last_is_the_last_observed():
    x = np.asarray([[1.0, 3.0, 9.0], [5.0, 5.0, 7.0]], dtype=np.float32)
    where = np.asarray([[True, True, False], [True, False, False]])
    y = reference("revin", x, axis=1, center="last", where=where, eps=0.0)
    assert y.tolist() == [[-2.0, 0.0, 6.0], [0.0, 0.0, 2.0]]


def test_adain_gives_the_styles_moments():
    content, style = np.float32([0.0, 2.0]), np.float32([10.0, 14.0, 10.0, 14.0])
    assert reference("adain", content, style, axis=0, eps=0.0).tolist() == [10.0, 14.0]
    half = reference("adain", content, style, axis=0, eps=0.0, strength=0.5)
    assert half.tolist() == [5.0, 8.0]


def test_gate_lies_between_batch_and_instance():
    x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    options = {"axis": 2, "batch_axis": 0, "channel_axis": 1}
    gates = [reference("batch_instance_norm", x, np.full(3, g), **options) for g in (1.0, 0.0)]
    np.testing.assert_array_equal(gates[0], reference("instance_norm", x, axis=(0, 2)))
    np.testing.assert_array_equal(gates[1], reference("instance_norm", x, axis=2))


@pytest.mark.parametrize("turned", [False, True])
def test_labels_pick_rows_and_weights_mix_them(turned):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    scales, biases = rng.standard_normal((2, 5, 3)).astype(np.float32)
    axes = {"axis": 2, "batch_axis": 0, "channel_axis": 1}
    data = x
    if turned:
        data, axes = x.transpose(1, 0, 2), {"axis": 2, "batch_axis": 1, "channel_axis": 0}
    picked = reference("conditional_instance_norm", data, scales, biases, [4, 0], **axes)
    expected = [
        reference("instance_norm", x[i], scales[k], biases[k], axis=1, channel_axis=0)
        for i, k in enumerate((4, 0))
    ]
    picked = picked.transpose(1, 0, 2) if turned else picked
    np.testing.assert_array_equal(picked, expected)
    weights = np.eye(5, dtype=np.float32)[[4, 0]]
    mixed = reference("conditional_instance_norm", data, scales, biases, weights, **axes)
    np.testing.assert_array_equal(mixed.transpose(1, 0, 2) if turned else mixed, expected)


def test_float64_data_gives_more_than_float64():
    x = np.asarray([0.0, 0.0, 1.0])
    y = reference("instance_norm", x, axis=0, eps=0.0)
    assert y.dtype == np.longdouble
    assert reference("instance_norm", np.float32(x), axis=0).dtype == np.float64
    if np.finfo(np.longdouble).nmant > 52:
        assert y[2] != np.float64(y[2])


@pytest.mark.parametrize("library", ["torch", "jax", "dask", "array-api-strict", "ndonnx", "mlx"])
def test_takes_arrays_of_any_library(library):
    pytest.importorskip(library.replace("-", "_"))
    x = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    scale, where = np.float32([2, 3]), x > -1
    options = {"axis": 1, "channel_axis": 0}
    expected = reference("instance_norm", x, scale, where=where, **options)
    given = [from_numpy(array, library) for array in (x, scale)]
    found = reference("instance_norm", *given, where=from_numpy(where, library), **options)
    np.testing.assert_array_equal(found, expected)


def test_takes_lists():
    np.testing.assert_allclose(reference("instance_norm", [1, 3], [2.0], axis=0, eps=0), [-2, 2])


def test_unknown_name():
    with pytest.raises(ValueError, match=r"^`name` must be one of instance_norm, .*'norm'$"):
        reference("norm", np.zeros(3), axis=0)


def test_shares_no_arithmetic_with_the_package():
    imported = {
        name
        for node in ast.walk(ast.parse(inspect.getsource(_reference)))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    conversion = "revnorm.testing._arrays"
    plain = {"collections.abc", "fractions", "math", "numpy", "operator", "typing"}
    assert imported == {conversion, *plain}
