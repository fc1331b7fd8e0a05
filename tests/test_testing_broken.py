"""Kernels that are broken on purpose: each is caught, by the case that is made for it."""

import numpy as np
import pytest

import revnorm as rn
from revnorm.testing import check


def _ready(x, scale, bias, channel_axis):
    def laid(parameter):
        if getattr(parameter, "ndim", 0) == 1 and channel_axis is not None:
            shape = [1] * x.ndim
            shape[channel_axis] = -1
            return parameter.reshape(shape)
        return parameter

    return 1.0 if scale is None else laid(scale), 0.0 if bias is None else laid(bias)


def _mean(d, axis, where):
    counted = True if where is None else where
    n = np.sum(np.broadcast_to(counted, d.shape), axis=axis, keepdims=True)
    return np.sum(np.where(counted, d, 0), axis=axis, keepdims=True) / np.maximum(n, 1), n


def kernel(wide, shift=None, root=None, total=None, squares=None):
    """An instance norm in the manner of the package, with a part exchanged."""

    def instance_norm(
        x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5, where=None, **other
    ):
        scale, bias = _ready(x, scale, bias, channel_axis)
        data = x.astype(wide)
        around = 0 if shift is None else shift(data, axis)
        d = data - around
        if squares is None:
            m = (total or _mean)(d, axis, where)[0]
            variance = (total or _mean)((d - m) ** 2, axis, where)[0]
        else:
            m = _mean(d, axis, where)[0]
            variance = squares(d, m, axis, where)
        divisor = np.sqrt(variance + eps) if root is None else root(variance, eps)
        divisor = np.where(divisor > 0, divisor, 1)
        return ((d - m) / divisor * scale + bias).astype(x.dtype)

    return instance_norm


def expectation_of_squares(d, m, axis, where):
    return np.maximum(_mean(d * d, axis, where)[0] - m * m, 0)


def in_a_row(d, axis, where):
    """Added one after the other, as NumPy does along an axis that is not contiguous."""
    counted = np.broadcast_to(True if where is None else where, d.shape)
    moved = np.moveaxis(np.where(counted, d, 0), axis, tuple(range(np.size(axis))))
    rows = moved.reshape(-1, *moved.shape[np.size(axis) :])
    added = np.expand_dims(np.add.accumulate(rows, axis=0)[-1], axis)
    return added / np.sum(counted, axis=axis, keepdims=True, dtype=d.dtype), None


BROKEN = {
    "E[x²] − E[x]² in float32": (
        kernel(np.float32, squares=expectation_of_squares),
        "mean 1e4, std 1",
    ),
    "E[x²] − E[x]² in float64": (
        kernel(np.float64, squares=expectation_of_squares),
        "far from zero, near each other",
    ),
    "naive sums in float32": (kernel(np.float32, total=in_a_row), "10^6 rows, axis 0"),
    "eps outside the root": (
        kernel(np.float64, root=lambda variance, eps: np.sqrt(variance) + eps),
        "variance below eps",
    ),
    "a shift that is no member": (
        kernel(
            np.float64, shift=lambda x, axis: np.float64(2.0**40), squares=expectation_of_squares
        ),
        "far from zero, near each other",
    ),
}


def _failed(report):
    return {outcome.case.name for outcome in report.failures}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_forward(fault):
    function, case = BROKEN[fault]
    report = check(function, "instance_norm", only=lambda one: one.name == case)
    assert not report.passed
    assert report.worst[0] == case


def test_the_same_without_a_fault():
    """What is exchanged above is at fault, and not the frame around it."""
    names = {case for _, case in BROKEN.values()}
    report = check(kernel(np.float64), "instance_norm", only=lambda case: case.name in names)
    assert report.passed, report


def _no_undo(x, scale=None, bias=None, *, axis, eps=1e-5, eps_mode="add", **options):
    """Forward divides by the clamped variance, back multiplies by the variance as it is."""
    y, map = rn.revin(x, scale, bias, axis=axis, eps=eps, eps_mode=eps_mode, **options)
    plain = rn.revin(x, scale, bias, axis=axis, eps=0.0, **options)[1]
    return y, plain.inv if eps_mode == "clamp" else map.inv


def test_clamp_that_is_not_undone():
    report = check(_no_undo, "revin", only=lambda case: case.name.startswith("clamp"))
    assert "clamp, variance below eps" in _failed(report)


def _without_residual(x, scale=None, bias=None, **options):
    """A map of the rounded mean alone."""
    map = rn.revin(x, scale, bias, **options)[1]
    map = map._replace(center_residual=np.zeros_like(map.center_residual))
    return map(x), map


def test_lost_residual():
    case = "mean 1e6, std 1"
    options = {"dtypes": ("float64",), "only": lambda one: one.name == case}
    assert _failed(check(_without_residual, "revin", **options)) == {case}
    assert check(rn.revin, "revin", **options).passed


def _changes_its_input(x, scale=None, bias=None, *, axis, **options):
    y = rn.instance_norm(x, scale, bias, axis=axis, **options)
    x -= np.mean(x, axis=axis, keepdims=True)
    return y


def test_changed_input():
    report = check(_changes_its_input, "instance_norm", only=lambda c: c.name == "mean 1e2, std 1")
    assert "the input was changed" in report.failures[0].text


def _wider_than_asked(x, scale=None, bias=None, **options):
    return rn.instance_norm(x.astype(np.float64), scale, bias, **options)


def test_another_dtype():
    report = check(_wider_than_asked, "instance_norm", only=lambda case: case.name == "mean 0")
    assert "dtype float64, the input's is float32" in report.failures[0].text


def _statistics_of_the_mask_ignored(x, *, axis, where=None, **options):
    return rn.instance_norm(x, axis=axis, **options)


def test_ignored_mask():
    report = check(
        _statistics_of_the_mask_ignored, "instance_norm", only=lambda case: "where" in case.keywords
    )
    passed = {o.case.name for o in report.outcomes if o.status == "passed"}
    assert passed == set()


def _batch_mates_matter(x, scale=None, bias=None, **options):
    y = rn.instance_norm(x, scale, bias, **options)
    return y if np.isfinite(y).all() else np.full_like(y, np.nan)


def test_nan_that_spreads():
    report = check(_batch_mates_matter, "instance_norm")
    assert _failed(report) == {
        "NaN in one instance",
        "infinity in one instance",
        "NaN under False",
    }
