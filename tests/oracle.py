"""The formulas in exact arithmetic, as the papers write them; nothing of the package.

Arrays are NumPy arrays of `fractions.Fraction`; only square roots round, to some 200 bits. Data
may be given as `pairs` instead, which are right to some 120 bits and take a million elements.
"""

from fractions import Fraction
from math import isqrt
from typing import NamedTuple

import numpy as np

from pairs import Pairs, pairs

_BITS = 200


class Moments(NamedTuple):
    mean: np.ndarray
    variance: np.ndarray
    count: np.ndarray


class Affine(NamedTuple):
    """y = (x - center) * scale + offset."""

    center: np.ndarray
    scale: np.ndarray
    offset: np.ndarray

    def __call__(self, x):
        return (exact(x) - self.center) * self.scale + self.offset


def exact(value):
    """Any number or array of numbers as fractions; pairs as they are."""
    if isinstance(value, Pairs) or (isinstance(value, np.ndarray) and value.dtype == object):
        return value
    numbers = np.asarray(value, dtype=np.float64)
    fractions = np.empty(numbers.shape, dtype=object)
    fractions.flat = [Fraction(number) for number in numbers.ravel().tolist()]
    return fractions


def root(value):
    """The square root of numbers that are not negative."""
    return value.root() if isinstance(value, Pairs) else _elementwise(_root, value)


def _root(value):
    if not value:
        return Fraction(0)
    shift = max(0, 2 * _BITS - value.numerator.bit_length() + value.denominator.bit_length())
    shift += shift % 2
    return Fraction(isqrt((value.numerator << shift) // value.denominator), 1 << (shift // 2))


def _elementwise(function, values):
    return np.asarray(np.frompyfunc(function, 1, 1)(values), dtype=object)


def ulp(magnitude, dtype):
    """The distance between neighbours of a dtype, around magnitudes within its range."""
    digits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}[dtype]
    exponents = np.frexp(np.asarray(magnitude, dtype=np.float64))[1]
    return _elementwise(lambda exponent: Fraction(2) ** (int(exponent) - digits), exponents)


def ulp_error(actual, expected, dtype, of=None):
    """The worst error, in ULP of max(|expected|, 1), or of `of`."""
    units = ulp(np.maximum(abs(expected), Fraction(1)) if of is None else of, dtype)
    assert np.shape(actual) == np.shape(expected)
    assert np.all(np.isfinite(actual))
    errors = abs(exact(actual) - expected) / units
    return float(np.max(errors)) if errors.size else 0.0


def reach(x, axis):
    """The largest magnitude of every instance; 1 where all is 0."""
    largest = np.max(abs(exact(x)), axis=axis, keepdims=True)
    return np.where(largest == 0, Fraction(1), largest)


def along(parameter, ndim, channel_axis):
    """A parameter as fractions, laid along the channels if it is 1-D and they are named."""
    parameter = exact(parameter)
    if channel_axis is None or parameter.ndim != 1:
        return parameter
    shape = [1] * ndim
    shape[channel_axis] = -1
    return parameter.reshape(shape)


def moments(x, *, axis, where=None):
    x = exact(x)
    seen = np.broadcast_to(True if where is None else where, x.shape)
    x = np.where(seen, x, Fraction(0))
    count = exact(np.sum(seen, axis=axis, keepdims=True))
    mean = np.sum(x, axis=axis, keepdims=True) / np.maximum(count, Fraction(1))
    squares = np.where(seen, (x - mean) ** 2, Fraction(0))
    squares = np.sum(squares, axis=axis, keepdims=True)
    return Moments(mean, squares / np.maximum(count, Fraction(1)), count)


def corrected(given, correction):
    """The variances divided by count - correction, or by 1 where that leaves nothing."""
    left = given.count - exact(correction)
    divisor = np.where(left > 0, left, Fraction(1))
    squares = given.variance * np.maximum(given.count, Fraction(1))
    return given._replace(variance=squares / divisor)


def last(x, *, axis, where=None):
    """The last observed element of every instance, 0 if there is none."""
    x = exact(x)
    axes = sorted(one % x.ndim for one in (axis if isinstance(axis, tuple) else (axis,)))
    seen = np.broadcast_to(True if where is None else where, x.shape)
    kept = np.empty([1 if i in axes else size for i, size in enumerate(x.shape)], dtype=object)
    for position in np.ndindex(kept.shape):
        at = tuple(slice(None) if i in axes else p for i, p in enumerate(position))
        observed = x[at][seen[at]][-1:]
        observed = observed.fractions() if isinstance(observed, Pairs) else observed
        kept[position] = observed[0] if observed.size else Fraction(0)
    return kept


def std(variance, eps, eps_mode="add", mean_square=0):
    eps = exact(eps)
    if eps_mode == "clamp":
        return root(np.where(variance < eps, eps, variance))
    return root(variance + (eps * mean_square if eps_mode == "relative" else eps))


def from_moments(
    given, scale=1, bias=0, *, eps=1e-5, eps_mode="add", correction=0, center=None,
    channel_axis=None,
):  # fmt: skip
    """The map to mean 0 and variance 1; the identity where nothing was observed."""
    mean_square = given.mean**2 + given.variance
    given = corrected(given, correction)
    ndim = given.mean.ndim
    scale, bias = along(scale, ndim, channel_axis), along(bias, ndim, channel_axis)
    spread = std(given.variance, eps, eps_mode, mean_square)
    unseen = given.count == 0
    stretch = np.where(spread == 0, Fraction(1), spread)
    return Affine(
        np.where(unseen, Fraction(0), given.mean if center is None else center),
        np.where(unseen, Fraction(1), scale / stretch),
        np.where(unseen, Fraction(0), bias),
    )


def standardizer(x, scale=1, bias=0, *, axis, where=None, **options):
    given = moments(x, axis=axis, where=where)
    return from_moments(given, scale, bias, **options)


def instance_norm(x, scale=1, bias=0, *, axis, moments=None, **options):
    if moments is not None:
        return from_moments(moments, scale, bias, **options)(x)
    return standardizer(x, scale, bias, axis=axis, **options)(x)


def revin(x, scale=1, bias=0, *, axis, center="mean", where=None, **options):
    at = last(x, axis=axis, where=where) if center == "last" else None
    return standardizer(x, scale, bias, axis=axis, where=where, center=at, **options)(x)


def adain(
    content, style, *, axis, eps=1e-5, correction=0, strength=1, where=None, style_where=None
):
    """(x - mean_c) / std_c * std_s + mean_s; nothing observed means mean 0 and std 1."""
    seen = ((content, where), (style, style_where))
    c, s = (corrected(moments(x, axis=axis, where=mask), correction) for x, mask in seen)
    std_c, std_s = (np.where(one.count == 0, Fraction(1), std(one.variance, eps)) for one in (c, s))
    std_c, std_s = (np.where(one == 0, Fraction(1), one) for one in (std_c, std_s))
    x, strength = exact(content), exact(strength)
    return ((x - c.mean) / std_c * std_s + s.mean) * strength + x * (1 - strength)


def batch_instance_norm(
    x, gate, scale=1, bias=0, *, axis, batch_axis, channel_axis=None, batch_moments=None,
    where=None, eps=1e-5,
):  # fmt: skip
    axes = axis if isinstance(axis, tuple) else (axis,)
    if batch_moments is None:
        batch_moments = moments(x, axis=(batch_axis, *axes), where=where)
    batch = from_moments(batch_moments, eps=eps)(x)
    instance = standardizer(x, axis=axis, where=where, eps=eps)(x)
    gate, scale, bias = (along(p, np.ndim(x), channel_axis) for p in (gate, scale, bias))
    return (gate * batch + (1 - gate) * instance) * scale + bias


def conditional_instance_norm(
    x, scales, biases, labels, *, axis, batch_axis, channel_axis, **options
):
    ndim = np.ndim(x)
    weights = np.eye(len(scales))[labels] if np.ndim(labels) == 1 else labels

    def spread(table):
        rows = exact(weights) @ exact(table)
        rows = rows if batch_axis < channel_axis else rows.T
        shape = [1] * ndim
        shape[batch_axis], shape[channel_axis] = np.shape(weights)[0], np.shape(table)[1]
        return rows.reshape(shape)

    return instance_norm(x, spread(scales), spread(biases), axis=axis, **options)


def spatially_adaptive_norm(x, scale_map, bias_map, *, axis, **options):
    return instance_norm(x, 1 + exact(scale_map), exact(bias_map), axis=axis, **options)


class Gradient(NamedTuple):
    """A gradient; the largest it is added up from, and the sum of the magnitudes of all terms.

    Of data both are the largest of the instance. Normalized values count as 1 at least. `passed` is
    the largest number on the way there: Σ |g·scale·z| / D², which pulls on the variance.
    """

    value: np.ndarray
    parts: np.ndarray
    terms: np.ndarray
    passed: np.ndarray


def revin_gradients(g, x, scale=1, *, axis, where=None, center="mean", eps=1e-5, **options):
    """Gradients of the data, the scale and the bias, for a cotangent g of y; as pairs.

        z = (x - center) / D,   dx = g·scale/D - Σ g·scale/D / n - (x - mean)/(N·D) · Σ g·scale·z/D

    where the divisor D depends on x, the sum of g·scale/D going to the last where that is the
    center; where nothing was observed, dx = g. With relative eps there is eps·x/n beside
    (x - mean)/N. The scale and bias have one entry an instance.
    """
    x, g, of = pairs(x), pairs(g), {"axis": axis, "keepdims": True}
    seen = np.broadcast_to(True if where is None else where, x.shape)
    mode, given = options.get("eps_mode", "add"), moments(x, axis=axis, where=where)
    mean_square = given.mean**2 + given.variance
    given = corrected(given, options.get("correction", 0))
    at = last(x, axis=axis, where=where) if center == "last" else given.mean
    clamped = given.variance < exact(eps) if mode == "clamp" else False
    divisor = std(given.variance, eps, mode, mean_square)
    free = (divisor > 0) & ~(clamped | ((given.variance == 0) & (mode != "relative")))
    divisor = np.where(divisor == 0, Fraction(1), divisor)
    unseen, count = given.count == 0, exact(np.maximum(given.count, Fraction(1)))
    z, pulled = (x - at) / divisor, g * pairs(scale) / divisor
    left = count - exact(options.get("correction", 0))
    left = np.where(left > 0, left, Fraction(1))
    whole = np.sum(pulled, **of)
    if center == "last":
        share = _is_last(seen, axis)
    else:
        share = pairs(seen.astype(np.float64)) / count
    deviates = (x - given.mean) / left
    if mode == "relative":
        deviates = deviates + x * exact(eps) / count
    slope = np.where(seen & free, deviates / divisor, Fraction(0))
    by_center, by_spread = -(share * whole), -(slope * np.sum(pulled * z, **of))
    value = np.where(unseen, g, pulled + by_center + by_spread)

    def high(a):
        return abs(pairs(a)).high

    unit = np.maximum(high(z), 1)
    terms = high(pulled) + high(share) * np.sum(high(pulled), **of)
    terms = terms + high(slope) * np.sum(high(pulled) * unit, **of)
    parts = np.maximum(
        np.maximum(high(value), high(pulled)), np.maximum(high(by_center), high(by_spread))
    )
    pull = np.sum(high(pulled) * high(z), **of) / high(divisor)
    data = (np.max(a, **of) for a in (parts, terms, np.maximum(terms, pull)))
    found = [Gradient(value, *data)]
    for factor, size in ((z, unit), (exact(1), np.ones_like(unit))):
        each = np.where(unseen, Fraction(0), g * factor)
        total, sizes = np.sum(each, **of), high(g) * size
        largest = np.maximum(high(total), np.max(sizes, **of))
        terms = np.sum(sizes, **of)
        found.append(Gradient(total, largest, terms, terms))
    return found


def _is_last(seen, axis):
    """1 at the last of those seen in every instance, in the order of the axes; else 0."""
    axes = sorted(one % seen.ndim for one in axis)
    order = [i for i in range(seen.ndim) if i not in axes] + axes
    rows = np.transpose(seen, order)
    flat = rows.reshape(*rows.shape[: seen.ndim - len(axes)], -1)
    from_end = np.cumsum(flat[..., ::-1], axis=-1)[..., ::-1]
    found = (flat & (from_end == 1)).reshape(rows.shape)
    return np.transpose(found, np.argsort(order)).astype(np.float64)
