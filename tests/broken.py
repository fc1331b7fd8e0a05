"""Instance norms in float32 that are sound, and those with one fault each."""

import numpy as np


def _laid(parameter, x, channel_axis):
    if parameter is None or parameter.ndim != 1 or channel_axis is None:
        return parameter
    shape = [1] * x.ndim
    shape[channel_axis] = -1
    return parameter.reshape(shape)


def _mean(x, axis):
    return x.mean(axis, keepdims=True)


def _variance(x, axis):
    return _mean((x - _mean(x, axis)) ** 2, axis)


def _affine(z, scale, bias):
    z = z if scale is None else z * scale
    return z if bias is None else z + bias


def _root(variance, eps):
    return np.sqrt(variance + eps)


def norm(*, mean=_mean, variance=_variance, root=_root, affine=_affine, lay=_laid):
    """Two passes in the type of the data, with a part exchanged."""

    def instance_norm(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
        z = (x - mean(x, axis)) / root(variance(x, axis), np.float32(eps))
        laid = (lay(parameter, x, channel_axis) for parameter in (scale, bias))
        return affine(z, *laid).astype(x.dtype)

    return instance_norm


two_passes = norm()


def _welford(x, axis):
    axes = tuple(np.atleast_1d(axis).tolist())
    moved = np.moveaxis(x, axes, tuple(range(len(axes))))
    rows = moved.reshape(-1, *moved.shape[len(axes) :])
    mean, square = np.zeros_like(rows[:1][0]), np.zeros_like(rows[:1][0])
    for n, row in enumerate(rows, start=1):
        d = row - mean
        mean = mean + d / np.float32(n)
        square = square + d * (row - mean)
    return [np.expand_dims(one, axes) for one in (mean, square / np.float32(len(rows)))]


welford = norm(
    mean=lambda x, axis: _welford(x, axis)[0],
    variance=lambda x, axis: _welford(x, axis)[1],
)


def in_float64(x, scale=None, bias=None, **options):
    wide = (None if one is None else one.astype(np.float64) for one in (x, scale, bias))
    return two_passes(*wide, **options).astype(x.dtype)


def _one_pass(x, axis):
    return np.maximum(_mean(x * x, axis) - _mean(x, axis) ** 2, 0)


one_pass = norm(variance=_one_pass)


def _half(x, axis):
    first = np.atleast_1d(axis)[0]
    return np.take(x, range(max(1, x.shape[first] // 2)), axis=first)


def _no_reduction(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
    return (x - np.float32(0.5)) * np.float32(12**0.5)


def _batch_norm(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
    axes = tuple(i for i in range(x.ndim) if i != 1) if x.ndim > 2 else axis
    return two_passes(x, scale, bias, axis=axes, channel_axis=channel_axis, eps=eps)


def _zeros(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
    return np.zeros_like(x)


def _without_tail(x, axis):
    """Mean and variance of what whole vectors of four hold."""
    axes = tuple(np.atleast_1d(axis).tolist())
    moved = np.moveaxis(x, axes, tuple(range(-len(axes), 0)))
    flat = moved.reshape(*moved.shape[: -len(axes)], -1)
    n = flat.shape[-1]
    part = flat[..., : n - n % 4]
    mean = part.sum(-1, keepdims=True) / np.float32(n)
    variance = ((part - mean) ** 2).sum(-1, keepdims=True) / np.float32(n)
    return [np.expand_dims(one[..., 0], axes) for one in (mean, variance)]


def _last_axis(parameter, x, channel_axis):
    if parameter is not None and parameter.shape == x.shape[-1:]:
        return parameter
    return _laid(parameter, x, channel_axis)


def _swapped(z, scale, bias):
    return z if bias is None else z * bias + scale


def _cached():
    kept = []

    def instance_norm(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
        if not kept:
            kept.append(two_passes(x, scale, bias, axis=axis, channel_axis=channel_axis, eps=eps))
        return kept[0]

    return instance_norm


def _in_place(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
    x[...] = two_passes(x, scale, bias, axis=axis, channel_axis=channel_axis, eps=eps)
    return x.copy()


def _one_buffer():
    buffers = {}

    def instance_norm(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
        y = two_passes(x, scale, bias, axis=axis, channel_axis=channel_axis, eps=eps)
        kept = buffers.setdefault(y.shape, y)
        kept[...] = y
        return kept

    return instance_norm


# Each with the tier that is made for it, and a part of the diagnosis.
BROKEN = {
    "unbiased variance": (
        norm(variance=lambda x, axis: x.var(axis, keepdims=True, ddof=1)),
        "formula",
        "looks like the unbiased variance.",
    ),
    "eps outside": (
        norm(root=lambda variance, eps: np.sqrt(variance) + eps),
        "formula",
        "looks like eps outside the root.",
    ),
    "no eps": (norm(root=lambda v, eps: np.sqrt(v)), "formula", "looks like no eps."),
    "another eps": (
        norm(root=lambda v, eps: np.sqrt(v + np.float32(1e-3))),
        "formula",
        "looks like eps 0.001 whatever is asked for.",
    ),
    "one pass": (one_pass, "conditioning", "looks like E[x²] − E[x]²: the spread is off by "),
    "no reduction": (_no_reduction, "formula", "looks like no reduction at all"),
    "half": (
        norm(
            mean=lambda x, axis: _mean(_half(x, axis), axis),
            variance=lambda x, axis: _variance(_half(x, axis), axis),
        ),
        "formula",
        "looks like the statistics of the first half (along the first reduced axis) alone.",
    ),
    "batch norm": (
        _batch_norm,
        "formula",
        "statistics over all but the channels, as a batch norm has them.",
    ),
    "no scale": (
        norm(affine=lambda z, scale, bias: _affine(z, None, bias)),
        "formula",
        "looks like the scale left out.",
    ),
    "no bias": (
        norm(affine=lambda z, scale, bias: _affine(z, scale, None)),
        "formula",
        "looks like the bias left out.",
    ),
    "first bias": (
        norm(affine=lambda z, s, bias: _affine(z, s, None if bias is None else bias.flat[0])),
        "formula",
        "looks like the bias of the first channel alone.",
    ),
    "tail": (
        norm(
            mean=lambda x, axis: _without_tail(x, axis)[0],
            variance=lambda x, axis: _without_tail(x, axis)[1],
        ),
        "formula",
        "looks like sums without a tail that is no multiple of 4",
    ),
    "swapped": (norm(affine=_swapped), "formula", "looks like scale and bias swapped."),
    "wrong axis": (
        norm(lay=_last_axis),
        "formula",
        "looks like scale and bias along the last axis.",
    ),
    "zeros": (_zeros, "formula", "looks like zeros."),
    "cached": (_cached(), "conduct", "It gives the result of an earlier call."),
    "in place": (_in_place, "conduct", "It overwrites its input."),
    "one buffer": (_one_buffer(), "conduct", "It writes every result to the same memory."),
}
