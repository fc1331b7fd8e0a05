"""Every differentiable function of the package, each beside the plain formula that it stands for.

The formulas are PyTorch's own operations on whole arrays in float64, which its autograd
differentiates as often as is asked: what gradients of the package are held against.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import revnorm as rn

SHAPE = (2, 3, 3, 2)
SPACE = {"axis": (2, 3)}
CHANNELS = {"axis": (2, 3), "channel_axis": 1}
BATCH = {**CHANNELS, "batch_axis": 0}
_MASKS = torch.Generator().manual_seed(7)
WHERE = torch.rand(SHAPE, generator=_MASKS) < 0.7
STYLE_WHERE = torch.rand((2, 3, 5, 2), generator=_MASKS) < 0.7
LABELS = torch.tensor([3, 0])


@dataclass(frozen=True, eq=False)
class Case:
    """A call of the package and its formula, of the same operands in the same order.

    Attributes
    ----------
    ours, plain : callable
        From the operands to a tensor or a tuple of them; `ours` takes `precision` as well.
    shapes : mapping
        The operands, by names that say which values they take.
    """

    id: str
    ours: Callable[..., Any]
    plain: Callable[..., Any]
    shapes: dict[str, tuple[int, ...]]
    typical: bool = False

    def operands(self, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
        """New tensors that require gradients, of the same values at every call."""
        return [
            values(name, shape, seed).to(dtype).requires_grad_()
            for seed, (name, shape) in enumerate(self.shapes.items())
        ]

    def __repr__(self):
        return self.id


def values(name: str, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Float32 numbers as float64: data away from 0, variances positive, gates within 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    if name in ("gate", "strength", "weights"):
        found = 0.2 + 0.6 * torch.rand(shape, generator=generator)
    elif name in ("variance", "spread"):
        found = 0.5 + torch.rand(shape, generator=generator)
    elif name in ("x", "style", "second", "forecast"):
        found = 3 + 2 * torch.randn(shape, generator=generator)
    else:
        found = 0.5 + torch.randn(shape, generator=generator)
    return found.double()


def tensors(result: Any) -> tuple[torch.Tensor, ...]:
    """The results of a case, one or several."""
    return result if isinstance(result, tuple) else (result,)


def loss(result: Any) -> torch.Tensor:
    """The sum of the results, each element with a weight of its own."""
    parts = []
    for one in tensors(result):
        weights = torch.linspace(-1, 1, one.numel() + 1, dtype=one.dtype)[1:].sin()
        parts.append((weights.reshape(one.shape) * one).sum())
    return sum(parts)


def frame(x, *, axis, where=None, correction=0, eps=1e-5, eps_mode="add"):
    """Mean and deviation by their definitions."""
    mean, variance = statistics(x, axis=axis, where=where, correction=correction)
    if eps_mode == "relative":
        own = statistics(x, axis=axis, where=where)[1]
        return mean, (variance + eps * (mean**2 + own)).sqrt()
    square = variance.clamp(min=eps) if eps_mode == "clamp" else variance + eps
    return mean, square.sqrt()


def statistics(x, *, axis, where=None, correction=0):
    seen = torch.ones_like(x) if where is None else where.to(x.dtype).expand_as(x)
    count = seen.sum(axis, keepdim=True)
    mean = (seen * x).sum(axis, keepdim=True) / count
    square = (seen * (x - mean) ** 2).sum(axis, keepdim=True)
    return mean, square / (count - correction)


def laid(parameter, ndim, channel_axis=None):
    if parameter is None or not isinstance(parameter, torch.Tensor) or parameter.ndim != 1:
        return parameter
    shape = [1] * ndim
    shape[channel_axis] = -1
    return parameter.reshape(shape)


def plain_norm(x, scale=None, bias=None, *, channel_axis=None, center="mean", **options):
    mean, deviation = frame(x, **options)
    if center == "last":
        mean = x[tuple(slice(-1, None) if i in options["axis"] else slice(None) for i in range(4))]
    y = (x - mean) / deviation
    y = y if scale is None else y * laid(scale, x.ndim, channel_axis)
    return y if bias is None else y + laid(bias, x.ndim, channel_axis)


def _norm(id, shapes, *, shape=SHAPE, typical=False, **options):
    """Instance norm under some options, with operands of some shapes."""

    def ours(x, scale=None, bias=None, *, precision="full"):
        return rn.instance_norm(x, scale, bias, precision=precision, **options)

    def plain(x, scale=None, bias=None):
        return plain_norm(x, scale, bias, **options)

    return Case(f"norm-{id}", ours, plain, {"x": shape, **shapes}, typical)


def _affine(shape):
    return {"scale": shape, "bias": shape}


NORMS = [
    _norm("plain", {}, **SPACE, typical=True),
    _norm("channels", _affine((3,)), **CHANNELS, typical=True),
    _norm("channels-kept", _affine((3, 1, 1)), **SPACE),
    _norm("full", _affine(SHAPE), **SPACE, typical=True),
    _norm("space", _affine((3, 2)), **SPACE),
    _norm("batch", _affine((2, 1, 1, 1)), **SPACE),
    _norm("0d", _affine(()), **SPACE),
    _norm("scale", {"scale": (3,)}, **CHANNELS),
    _norm("layer", _affine((3, 3, 2)), axis=(1, 2, 3)),
    _norm("batch-norm", _affine((3,)), axis=(0, 2, 3), channel_axis=1, typical=True),
    _norm("time-major", _affine((3,)), shape=(2, 7, 3), axis=1, channel_axis=-1, typical=True),
    _norm("split", _affine((3,)), shape=(3, 2, 3, 2), axis=(1, 3), channel_axis=2),
    _norm("where", _affine((3,)), **CHANNELS, where=WHERE, correction=1, typical=True),
    _norm("where-broadcast", {}, **SPACE, where=WHERE[:1, :1]),
    _norm("eps", {}, **SPACE, eps=4.0),
    _norm("clamp", _affine((3,)), **CHANNELS, eps=4.0, eps_mode="clamp"),
    _norm("clamp-0", {}, **SPACE, eps=0.0, eps_mode="clamp"),
    _norm("relative", _affine((3,)), **CHANNELS, eps=0.25, eps_mode="relative"),
    _norm("relative-where", {}, **SPACE, where=WHERE, correction=1, eps=1.0, eps_mode="relative"),
]


def _number(x, *, precision="full"):
    return rn.instance_norm(x, 1.5, -0.25, **SPACE, precision=precision)


def _given(x, mean, variance, scale, *, precision="full"):
    residual, count = torch.zeros_like(mean), torch.full_like(mean, 6)
    moments = rn.Moments(mean, residual, variance, count)
    return rn.instance_norm(x, scale, moments=moments, **CHANNELS, precision=precision)


def _given_plain(x, mean, variance, scale):
    return (x - mean) / (variance + 1e-5).sqrt() * laid(scale, 4, 1)


def _of_another(x, second, *, precision="full"):
    moments = rn.moments(second, axis=(2, 3), precision=precision)
    return rn.instance_norm(x, moments=moments, **SPACE, precision=precision)


def _of_another_plain(x, second):
    mean, deviation = frame(second, **SPACE)
    return (x - mean) / deviation


def _revin(x, scale, bias, *, precision="full", **options):
    return rn.revin(x, scale, bias, **CHANNELS, **options, precision=precision)


def _there(**options):
    def ours(x, scale, bias, *, precision="full"):
        return _revin(x, scale, bias, precision=precision, **options)[0]

    return ours, lambda x, scale, bias: plain_norm(x, scale, bias, **CHANNELS, **options)


def _back(**options):
    """A forecast brought back, and what carries its spread."""

    def ours(x, scale, bias, forecast, spread, *, precision="full"):
        y, map = _revin(x, scale, bias, precision=precision, **options)
        inverse = map.inv
        return y, inverse(forecast), inverse.spread(spread), inverse.variance(spread)

    def plain(x, scale, bias, forecast, spread):
        _, deviation = frame(x, **SPACE)
        center = x[:, :, -1:, -1:] if options else frame(x, **SPACE)[0]
        scale, bias = laid(scale, 4, 1), laid(bias, 4, 1)
        stretch = deviation / scale
        carried = spread * stretch.abs(), spread * stretch**2
        y = (x - center) / deviation * scale + bias
        return y, (forecast - bias) * stretch + center, *carried

    return ours, plain


def _around(x, scale, bias, *, precision="full"):
    y, map = _revin(x, scale, bias, precision=precision)
    return map.inv(2 * y)


def _around_plain(x, scale, bias):
    mean, deviation = frame(x, **SPACE)
    scale, bias = laid(scale, 4, 1), laid(bias, 4, 1)
    return ((2 * plain_norm(x, scale, bias, **SPACE)) - bias) / scale * deviation + mean


def _map(x, scale, bias, *, precision="full"):
    """What a map consists of, without its result."""
    map = _revin(x, scale, bias, precision=precision)[1]
    return map.center + map.center_residual, map.scale, map.offset + map.offset_residual


def _map_plain(x, scale, bias):
    mean, deviation = frame(x, **SPACE)
    # What broadcasts against the data may be kept smaller than an instance each.
    bias = laid(bias, 4, 1) + 0 * mean
    return mean, laid(scale, 4, 1) / deviation, bias


def _map_ours(x, scale, bias, *, precision="full"):
    center, stretch, offset = _map(x, scale, bias, precision=precision)
    return center, stretch, offset + 0 * center


REVINS = [
    Case("revin", *_there(), {"x": SHAPE, **_affine((3,))}),
    Case("revin-last", *_there(center="last"), {"x": SHAPE, **_affine((3,))}, typical=True),
    Case(
        "revin-back",
        *_back(),
        {"x": SHAPE, **_affine((3,)), "forecast": (2, 3, 4, 1), "spread": (2, 3, 4, 1)},
        typical=True,
    ),
    Case(
        "revin-last-back",
        *_back(center="last"),
        {"x": SHAPE, **_affine((3,)), "forecast": (2, 3, 1, 1), "spread": (2, 3, 1, 1)},
    ),
    Case("revin-around", _around, _around_plain, {"x": SHAPE, **_affine((3,))}, typical=True),
    Case("revin-map", _map_ours, _map_plain, {"x": SHAPE, **_affine((3,))}),
]


def _adain(content, style, *strength, precision="full", **options):
    keywords = {"strength": strength[0]} if strength else {}
    return rn.adain(content, style, **SPACE, **keywords, **options, precision=precision)


def _adain_plain(content, style, strength=1.0, *, where=None, style_where=None, correction=0):
    mean, deviation = frame(content, **SPACE, where=where, correction=correction)
    level, spread = frame(style, **SPACE, where=style_where, correction=correction)
    styled = (content - mean) / deviation * spread + level
    return strength * styled + (1 - strength) * content


def _masked_adain(*operands, precision="full"):
    options = {"where": WHERE, "style_where": STYLE_WHERE, "correction": 1}
    return _adain(*operands, **options, precision=precision)


def _masked_adain_plain(*operands):
    return _adain_plain(*operands, where=WHERE, style_where=STYLE_WHERE, correction=1)


def _kept_style(content, style, *, precision="full"):
    moments = rn.moments(style, axis=(2, 3), precision=precision)
    return rn.adain(content, moments, **SPACE, precision=precision)


_STYLED = {"x": SHAPE, "style": (2, 3, 5, 2)}

ADAINS = [
    Case("adain", _adain, _adain_plain, _STYLED),
    Case("adain-strength", _adain, _adain_plain, _STYLED | {"strength": ()}, typical=True),
    Case("adain-strengths", _adain, _adain_plain, _STYLED | {"strength": (3, 1, 1)}),
    Case("adain-where", _masked_adain, _masked_adain_plain, _STYLED | {"strength": (2, 1, 1, 1)}),
    Case("adain-moments", _kept_style, _adain_plain, _STYLED),
]


def _gated(x, gate, *parameters, precision="full", **options):
    return rn.batch_instance_norm(x, gate, *parameters, **BATCH, **options, precision=precision)


def _gated_plain(x, gate, scale=None, bias=None, *, where=None):
    gate = laid(gate, 4, 1)
    pooled = plain_norm(x, axis=(0, 2, 3), where=where)
    mixed = gate * pooled + (1 - gate) * plain_norm(x, axis=(2, 3), where=where)
    return mixed if scale is None else mixed * laid(scale, 4, 1) + laid(bias, 4, 1)


def _masked_gated(*operands, precision="full"):
    return _gated(*operands, where=WHERE, precision=precision)


def _masked_gated_plain(*operands):
    return _gated_plain(*operands, where=WHERE)


def _running(x, gate, mean, variance, scale, bias, *, precision="full"):
    moments = rn.Moments(mean, torch.zeros_like(mean), variance, torch.full_like(mean, 12))
    return _gated(x, gate, scale, bias, batch_moments=moments, precision=precision)


def _running_plain(x, gate, mean, variance, scale, bias):
    gate = laid(gate, 4, 1)
    pooled = (x - mean) / (variance + 1e-5).sqrt()
    mixed = gate * pooled + (1 - gate) * plain_norm(x, **SPACE)
    return mixed * laid(scale, 4, 1) + laid(bias, 4, 1)


_GATED = {"x": SHAPE, "gate": (3,)}

GATED = [
    Case("gate", _gated, _gated_plain, _GATED),
    Case("gate-affine", _gated, _gated_plain, _GATED | _affine((3,)), typical=True),
    Case("gate-where", _masked_gated, _masked_gated_plain, _GATED | _affine((3,))),
    Case(
        "gate-running",
        _running,
        _running_plain,
        {**_GATED, "mean": (1, 3, 1, 1), "variance": (1, 3, 1, 1), **_affine((3,))},
        typical=True,
    ),
]


def _labelled(x, scales, biases, *, precision="full"):
    return _weighted(x, scales, biases, LABELS, precision=precision)


def _labelled_plain(x, scales, biases):
    scale, bias = (rows[LABELS][:, :, None, None] for rows in (scales, biases))
    return plain_norm(x, scale, bias, **SPACE)


def _weighted(x, scales, biases, weights, *, precision="full"):
    return rn.conditional_instance_norm(x, scales, biases, weights, **BATCH, precision=precision)


def _weighted_plain(x, scales, biases, weights):
    scale, bias = ((weights @ rows)[:, :, None, None] for rows in (scales, biases))
    return plain_norm(x, scale, bias, **SPACE)


def _spatial(x, scale_map, bias_map, *, precision="full"):
    return rn.spatially_adaptive_norm(x, scale_map, bias_map, **SPACE, precision=precision)


def _spatial_plain(x, scale_map, bias_map):
    return plain_norm(x, 1 + scale_map, bias_map, **SPACE)


_TABLES = {"x": SHAPE, "scales": (4, 3), "biases": (4, 3)}

LOOKED_UP = [
    Case("labels", _labelled, _labelled_plain, _TABLES, typical=True),
    Case("weights", _weighted, _weighted_plain, _TABLES | {"weights": (2, 4)}),
    Case(
        "maps",
        _spatial,
        _spatial_plain,
        {"x": SHAPE, "scale_map": SHAPE, "bias_map": SHAPE},
        typical=True,
    ),
    Case(
        "maps-broadcast",
        _spatial,
        _spatial_plain,
        {"x": SHAPE, "scale_map": (1, 1, 3, 2), "bias_map": (2, 1, 3, 2)},
    ),
]


def _moments(x, *, precision="full", **options):
    found = rn.moments(x, **SPACE, **options, precision=precision)
    return found.mean + found.residual, found.variance


def _masked_moments(x, *, precision="full"):
    return _moments(x, where=WHERE, precision=precision)


def _standardizer(x, scale, bias, forecast, *, precision="full"):
    return rn.standardizer(x, scale, bias, **CHANNELS, precision=precision)(forecast)


def _standardizer_plain(x, scale, bias, forecast):
    mean, deviation = frame(x, **SPACE)
    return (forecast - mean) / deviation * laid(scale, 4, 1) + laid(bias, 4, 1)


def _blend(x, style, gate, forecast, *, precision="full"):
    maps = [rn.standardizer(one, **SPACE, precision=precision) for one in (x, style)]
    weights = [laid(w, 4, 1) for w in (gate, 1 - gate)]
    return rn.blend(maps, weights)(forecast)


def _blend_plain(x, style, gate, forecast):
    first, second = ((forecast - m) / s for m, s in (frame(one, **SPACE) for one in (x, style)))
    gate = laid(gate, 4, 1)
    return gate * first + (1 - gate) * second


def _merge(x, second, forecast, *, precision="full"):
    halves = [rn.moments(one, **SPACE, precision=precision) for one in (x, second)]
    return rn.standardizer(rn.merge(*halves))(forecast)


def _merge_plain(x, second, forecast):
    both = torch.cat([x, second], dim=2)
    mean, deviation = frame(both, **SPACE)
    return (forecast - mean) / deviation


def _composed(x, style, forecast, *, precision="full"):
    into, out_of = (rn.standardizer(one, **SPACE, precision=precision) for one in (x, style))
    picked = (out_of.inv @ into).take(torch.tensor([2, 0]), axis=1)
    return picked(forecast[:, [2, 0]])


def _composed_plain(x, style, forecast):
    return _adain_like(x, style, forecast)[:, [2, 0]]


def _adain_like(x, style, forecast):
    (mean, deviation), (level, spread) = (frame(one, **SPACE) for one in (x, style))
    return (forecast - mean) / deviation * spread + level


_FORECAST = {"forecast": (2, 3, 2, 2)}

PARTS = [
    Case("moments", _moments, lambda x: statistics(x, **SPACE), {"x": SHAPE}, typical=True),
    Case(
        "moments-where",
        _masked_moments,
        lambda x: statistics(x, **SPACE, where=WHERE),
        {"x": SHAPE},
    ),
    Case(
        "standardizer",
        _standardizer,
        _standardizer_plain,
        {"x": SHAPE, **_affine((3,)), **_FORECAST},
        typical=True,
    ),
    Case(
        "blend",
        _blend,
        _blend_plain,
        {"x": SHAPE, "style": (2, 3, 4, 2), "gate": (3,), **_FORECAST},
    ),
    Case("merge", _merge, _merge_plain, {"x": SHAPE, "second": (2, 3, 4, 2), **_FORECAST}),
    Case("composed", _composed, _composed_plain, {"x": SHAPE, "style": (2, 3, 4, 2), **_FORECAST}),
]

GIVEN = [
    Case("norm-number", _number, lambda x: plain_norm(x, 1.5, -0.25, **SPACE), {"x": SHAPE}),
    Case(
        "norm-given",
        _given,
        _given_plain,
        {"x": SHAPE, "mean": (2, 3, 1, 1), "variance": (2, 3, 1, 1), "scale": (3,)},
        typical=True,
    ),
    Case(
        "norm-of-another",
        _of_another,
        _of_another_plain,
        {"x": SHAPE, "second": (2, 3, 4, 2)},
    ),
]

CASES = [*NORMS, *GIVEN, *REVINS, *ADAINS, *GATED, *LOOKED_UP, *PARTS]
TYPICAL = [case for case in CASES if case.typical]
