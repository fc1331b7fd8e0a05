"""What the result of an attack is exactly, and what it is added up from."""

import dataclasses
from typing import Any

import numpy as np

import oracle
import tolerances
from pairs import pairs
from tolerances import Terms


@dataclasses.dataclass
class Frame:
    """What the data of an instance are measured by."""

    center: Any
    scale: Any
    level: Any
    exact: Any
    vague: Any
    spread: Any


def longdouble(value):
    return pairs(value).high


def frame_of(
    one, x, axis, where=None, *, eps, correction=0, eps_mode="add", center=None, given=None
):
    moments = oracle.moments(pairs(x), axis=axis, where=where) if given is None else given
    at = oracle.last(pairs(x), axis=axis, where=where) if center == "last" else None
    options = {"eps": eps, "eps_mode": eps_mode, "correction": correction}
    map = oracle.from_moments(moments, center=at, **options)
    moments = oracle.corrected(moments, correction)
    mean, variance, scale = (longdouble(a) for a in (moments.mean, moments.variance, map.scale))
    count = longdouble(moments.count)
    vague = tolerances.doubt(one.work, mean, variance, count, scale**-2)
    missed = (tolerances.DEPTH + 1) * tolerances.roundoff(one.work) * abs(mean)
    spread = abs(scale) * (np.sqrt(variance) + missed) * (at is None) * (variance > 0)
    if given is not None:
        vague, spread = 0 * vague, 0 * spread
    return Frame(longdouble(map.center), abs(scale), 0.0, map, vague, spread)


def expected(one):
    """The exact result and its terms."""
    given = dict(one.arrays)
    x, axis = given.pop("x"), one.layout.axis
    where, options = given.pop("where", None), dict(one.options)
    scale, bias = given.pop("scale", 1.0), given.pop("bias", 0.0)
    if one.kernel == "spatially_adaptive_norm":
        scale, bias = pairs(given.pop("scale_map")) + 1, pairs(given.pop("bias_map"))
    d = longdouble(x)
    if one.kernel == "adain":
        return expected_adain(one, d, where, **options, **given)
    if one.kernel == "batch_instance_norm":
        return expected_gated(one, d, where, scale, bias, **options, **given)
    frame = frame_of(one, x, axis, where, **options)
    y = frame.exact(pairs(x))
    unseen = frame.scale * 0 if where is None else unseen_of(x, where, axis)
    y = np.where(unseen > 0, y, y * pairs(scale) + pairs(bias))
    factor, added = abs(longdouble(scale)), abs(longdouble(bias))
    stretch = factor * frame.scale * abs(d - frame.center)
    return y, Terms(stretch, frame.vague, factor * frame.spread, added)


def unseen_of(x, where, axis):
    return 1 - np.max(np.broadcast_to(where, x.shape), axis=axis, keepdims=True)


def expected_adain(one, d, where, *, style, eps, correction, strength, style_where=None):
    x, axis = one.arrays["x"], one.layout.axis
    of = {"eps": eps, "correction": correction}
    content, target = (
        frame_of(one, x, axis, where, **of),
        frame_of(one, style, axis, style_where, **of),
    )
    size, mean = 1 / longdouble(target.exact.scale), target.exact.center
    if one.options["strength"] == 0:
        y = pairs(x)
        zero = 0 * d
        return y, Terms(zero, zero, zero, zero)
    styled = content.exact(pairs(x)) / target.exact.scale + mean
    kept = pairs(x) * (1 - pairs(strength))
    y = styled * pairs(strength) + kept
    slope = strength * size * content.scale
    gap = abs(content.center) * np.minimum(slope, 1 - strength)
    return y, Terms(
        slope * abs(d - content.center),
        content.vague + target.vague,
        strength * size * (content.spread + target.spread),
        strength * abs(longdouble(mean)) + abs(kept).high + gap,
    )


def expected_gated(
    one, d, where, scale, bias, *, gate, eps, batch_axis, batch_mean=None, batch_variance=None
):
    x, axis = one.arrays["x"], one.layout.axis
    own = frame_of(one, x, axis, where, eps=eps)
    given = None
    if batch_mean is not None:
        count = oracle.exact(np.ones_like(batch_mean))
        given = oracle.Moments(oracle.exact(batch_mean), oracle.exact(batch_variance), count)
    batch = frame_of(one, x, (batch_axis, *axis), where, eps=eps, given=given)
    share, rest = pairs(gate), 1 - pairs(gate)
    y = batch.exact(pairs(x)) * share + own.exact(pairs(x)) * rest
    y = y * pairs(scale) + pairs(bias)
    factor = abs(longdouble(scale))
    steep = [factor * part.high * frame.scale for part, frame in ((share, batch), (rest, own))]
    gap = np.minimum(*steep) * abs(batch.center - own.center)
    stretches = [a * abs(d - frame.center) for a, frame in zip(steep, (batch, own), strict=True)]
    vague = np.maximum(batch.vague, own.vague)
    spread = factor * (share.high * batch.spread + rest.high * own.spread)
    return y, Terms(sum(stretches), vague, spread, abs(longdouble(bias)) + gap)
