"""Kernels of styles, gates, labels and maps, in float32: sound ones, and those with one fault."""

import numpy as np


def _mean(x, axis):
    return x.mean(axis, keepdims=True)


def _variance(x, axis):
    return _mean((x - _mean(x, axis)) ** 2, axis)


def _unbiased(x, axis):
    return x.var(axis, keepdims=True, ddof=1)


def _root(variance, eps):
    return np.sqrt(variance + np.float32(eps))


def _without(variance, eps):
    return np.sqrt(variance)


def _outside(variance, eps):
    return np.sqrt(variance) + np.float32(eps)


def _laid(parameter, x, channel_axis):
    if parameter.ndim != 1 or channel_axis is None:
        return parameter
    shape = [1] * x.ndim
    shape[channel_axis] = -1
    return parameter.reshape(shape)


def adain(
    *,
    variances=(_variance, _variance),
    roots=(_root, _root),
    swapped=False,
    weight=lambda strength: strength,
    level=1.0,
    axes=lambda axis: axis,
):
    """AdaIN with a part exchanged."""

    def kernel(content, style, *, axis, eps=1e-5, strength=1.0):
        axis = axes(axis)
        first, second = (style, content) if swapped else (content, style)
        own, target = (
            root(variance(x, axis), eps)
            for root, variance, x in zip(roots, variances, (first, second))
        )
        styled = (first - _mean(first, axis)) / own * target + level * _mean(second, axis)
        part = np.float32(weight(strength))
        return (styled * part + (1 - part) * content).astype(content.dtype)

    return kernel


def batch_instance_norm(
    *,
    variances=(_variance, _variance),
    roots=(_root, _root),
    weight=lambda gate: gate,
    pooled=lambda axis, batch_axis: (*np.atleast_1d(axis).tolist(), batch_axis),
    ahead=False,
):
    """Batch-Instance norm with a part exchanged; the scale on the batch's part alone if `ahead`."""

    def kernel(x, gate, scale=None, bias=None, *, axis, batch_axis, channel_axis=None, eps=1e-5):
        own = tuple(np.atleast_1d(axis).tolist())
        parts = [
            (x - _mean(x, axes)) / root(variance(x, axes), eps)
            for axes, variance, root in zip((pooled(axis, batch_axis), own), variances, roots)
        ]
        share = weight(_laid(gate, x, channel_axis))
        factor = 1 if scale is None else _laid(scale, x, channel_axis)
        parts[0] = parts[0] * factor
        y = share * parts[0] + (1 - share) * (parts[1] if ahead else parts[1] * factor)
        return (y if bias is None else y + _laid(bias, x, channel_axis)).astype(x.dtype)

    return kernel


def conditional_instance_norm(*, rows=lambda labels, count: labels, variance=_variance):
    """Conditional instance norm with a part exchanged."""

    def kernel(x, scales, biases, labels, *, axis, batch_axis, channel_axis, eps=1e-5):
        labels = rows(labels, len(scales))
        shape = [1] * x.ndim
        shape[batch_axis], shape[channel_axis] = x.shape[batch_axis], x.shape[channel_axis]
        scale, bias = (
            (t[labels] if labels.ndim == 1 else labels @ t).reshape(shape) for t in (scales, biases)
        )
        z = (x - _mean(x, axis)) / _root(variance(x, axis), eps)
        return (z * scale + bias).astype(x.dtype)

    return kernel


def spatially_adaptive_norm(*, plus=1, variance=_variance):
    """Spatially adaptive norm with a part exchanged."""

    def kernel(x, scale_map, bias_map, *, axis, eps=1e-5):
        z = (x - _mean(x, axis)) / _root(variance(x, axis), eps)
        return (z * (plus + scale_map) + bias_map).astype(x.dtype)

    return kernel


SOUND = {
    "adain": adain(),
    "batch_instance_norm": batch_instance_norm(),
    "conditional_instance_norm": conditional_instance_norm(),
    "spatially_adaptive_norm": spatially_adaptive_norm(),
}


# Each with what the diagnosis says that it looks like.
BROKEN = {
    "adain": {
        "the unbiased variance, of the style alone": adain(variances=(_variance, _unbiased)),
        "the unbiased variance, of the content alone": adain(variances=(_unbiased, _variance)),
        "the unbiased variance": adain(variances=(_unbiased, _unbiased)),
        "no eps, of the style alone": adain(roots=(_root, _without)),
        "no eps, of the content alone": adain(roots=(_without, _root)),
        "no eps": adain(roots=(_without, _without)),
        "eps outside the root, of the content alone": adain(roots=(_outside, _root)),
        "eps outside the root": adain(roots=(_outside, _outside)),
        "content and style swapped": adain(swapped=True),
        "the strength reversed": adain(weight=lambda strength: 1 - strength),
        "strength 1 whatever is asked for": adain(weight=lambda strength: 1),
        "the style's mean left out": adain(level=0),
        "statistics over": adain(axes=lambda axis: (0, *np.atleast_1d(axis).tolist())),
    },
    "batch_instance_norm": {
        "the gate reversed": batch_instance_norm(weight=lambda gate: 1 - gate),
        "an instance norm, without the statistics of the batch": batch_instance_norm(
            pooled=lambda axis, batch_axis: axis
        ),
        "a batch norm, without the statistics of the instances": batch_instance_norm(
            weight=lambda gate: np.float32(1)
        ),
        "their mean, without a gate": batch_instance_norm(weight=lambda gate: np.float32(0.5)),
        "the unbiased variance": batch_instance_norm(variances=(_unbiased, _unbiased)),
        "the unbiased variance, of the batch alone": batch_instance_norm(
            variances=(_unbiased, _variance)
        ),
        "no eps, of the instances alone": batch_instance_norm(roots=(_root, _without)),
        "eps outside the root": batch_instance_norm(roots=(_outside, _outside)),
        "the scale on the batch's part alone": batch_instance_norm(ahead=True),
    },
    "conditional_instance_norm": {
        "the first row for all of the batch": conditional_instance_norm(
            rows=lambda labels, count: np.zeros(len(labels), dtype=int)
        ),
        "the place in the batch in place of the label": conditional_instance_norm(
            rows=lambda labels, count: np.arange(len(labels))
        ),
        "labels that count from 1": conditional_instance_norm(
            rows=lambda labels, count: labels - 1 if labels.ndim == 1 else labels
        ),
        "the unbiased variance": conditional_instance_norm(variance=_unbiased),
    },
    "spatially_adaptive_norm": {
        "the scale as it is, without the 1 that is added": spatially_adaptive_norm(plus=0),
        "the unbiased variance": spatially_adaptive_norm(variance=_unbiased),
    },
}
