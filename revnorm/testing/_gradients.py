"""Exact gradients, from formulas written once on the array API.

With z = (x − c) / D and a cotangent g of z, what reaches the statistics is

    ∂c = −Σ g / D,   ∂D = −Σ g·z / D,   ∂variance = ∂D / 2D   (0 where D does not depend on it)

and from there the data, each observed element of n, N = n − correction:

    ∂x = g / D + ∂mean / n + 2·∂variance·(x − mean) / N

With relative eps D² has eps·Σ x² / n in it, and ∂x as much of ∂D as makes eps·x / (n·D).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_compat

Array = Any


def reference_gradients(
    name: str, cotangent: Array, /, *arrays: Array, **keywords: Any
) -> tuple[Any, ...]:
    """The gradients of a kernel with respect to its arrays, computed in float64.

    Parameters
    ----------
    name : str
        As in `cases`.
    cotangent : array
        The gradient with respect to the kernel's result, of that shape.
    *arrays : array
        The positional arguments of the kernel, from one library that has float64. All finite,
        but for elements of the data that `where` leaves out.
    **keywords
        The keywords of the kernel, as in `reference`; no moments.

    Returns
    -------
    tuple of array
        One for each of `arrays`, in float64 or what is wider, of its shape; None for integer
        labels.

    Raises
    ------
    ValueError
        If there is no kernel of that name.

    Notes
    -----
    Data is taken relative to one of its elements first, so the error is a small multiple of
    2⁻⁵³ of the gradient's terms for float32 data at any distance from zero; for float64 data give
    NumPy's longdouble. Where the variance and eps are both 0, and where a clamp is active, the
    divisor does not depend on the data.

    Examples
    --------
    >>> import numpy as np
    >>> from revnorm.testing import reference_gradients
    >>> x, g = np.asarray([1.0, 3.0, 8.0]), np.asarray([1.0, 1.0, 1.0])
    >>> (dx,) = reference_gradients("instance_norm", g, x, axis=0)
    >>> bool(np.all(abs(dx) < 1e-15))
    True
    """
    if name not in _GRADIENTS:
        raise ValueError(f"`name` must be one of {', '.join(_GRADIENTS)}, got {name!r}")
    found = evaluate_gradients(name, cotangent, *arrays, **keywords)
    return tuple(None if one is None else one.value for one in found)


class Gradient(NamedTuple):
    """A gradient, and the magnitudes that its rounding is to be judged by.

    `parts` is the largest of the gradient and of what is added up to it, `terms` the sum of the
    magnitudes of all terms, those of the inner sums too; for data the largest of an instance. A
    normalized element counts as at least 1 there, as it does in the error of a result.
    """

    value: Array
    parts: Array
    terms: Array


def evaluate_gradients(
    name: str, cotangent: Array, *arrays: Array, **keywords: Any
) -> list[Gradient | None]:
    """What `reference_gradients` gives, with magnitudes."""
    xp = array_api_compat.array_namespace(cotangent)
    keywords.pop("out", None), keywords.pop("precision", None)
    return _GRADIENTS[name](xp, *(_wide(xp, a) for a in (cotangent, *arrays)), **keywords)


def _wide(xp: Any, a: Array) -> Array:
    """In float64, or what is wider; integers as they are."""
    real = xp.isdtype(a.dtype, "real floating")
    return xp.astype(a, xp.result_type(a.dtype, xp.float64)) if real else a


class _Frame(NamedTuple):
    """z = d / divisor; `observed` is 1 or 0, `of_divisor` is ∂divisor/∂x."""

    d: Array
    divisor: Array
    of_divisor: Array
    observed: Array
    count: Array
    seen: Array


def _frame(
    xp: Any,
    x: Array,
    axis: Any,
    where: Array | None = None,
    correction: float = 0,
    eps: float = 1e-5,
    eps_mode: str = "add",
    centered: bool = True,
) -> _Frame:
    options = {"axis": axis, "keepdims": True}
    observed = xp.ones_like(x)
    if where is not None:
        observed = xp.where(where, observed, xp.zeros_like(x))
    count = xp.sum(observed, **options)
    safe = xp.where(count > 0, count, xp.ones_like(count))
    d = x - xp.sum(observed * x / safe, **options)
    d = d - xp.sum(observed * d, **options) / safe if centered else x
    left = xp.where(safe > correction, safe - correction, xp.ones_like(safe))
    variance = xp.sum(observed * d * d, **options) / left
    by_x = d / left
    if eps_mode == "relative":
        square = variance + eps * xp.sum(observed * x * x / safe, **options)
        by_x, free = by_x + eps * x / safe, square > 0
    elif eps_mode == "clamp":
        square = xp.where(variance > eps, variance, xp.full_like(variance, eps))
        free = variance > eps
    else:
        square = variance + eps
        free = square > 0
    seen = count > 0
    divisor = xp.sqrt(xp.where(square > 0, square, xp.ones_like(square)))
    divisor = xp.where(seen, divisor, xp.ones_like(divisor))
    of_divisor = xp.where(free & seen & (observed > 0), by_x / divisor, xp.zeros_like(by_x))
    return _Frame(xp.where(seen, d, x), divisor, of_divisor, observed, safe, seen)


def _pull(
    xp: Any, frame: _Frame, axis: Any, direct: Array, mean: Gradient, divisor: Gradient
) -> Gradient:
    """The gradient of the data, from its own part and those of its mean and divisor."""
    of_mean = frame.observed * xp.where(frame.seen, 1 / frame.count, xp.zeros_like(frame.count))
    by_mean, by_divisor = mean.value * of_mean, divisor.value * frame.of_divisor
    total = direct + by_mean + by_divisor
    parts = abs(total)
    for part in (direct, by_mean, by_divisor):
        parts = xp.maximum(parts, abs(part))
    terms = abs(direct) + mean.terms * of_mean + divisor.terms * abs(frame.of_divisor)
    parts, terms = (
        xp.max(each, axis=axis, keepdims=True) + xp.zeros_like(each) for each in (parts, terms)
    )
    return Gradient(total, parts, terms)


def _through(xp: Any, frame: _Frame, g: Array, z: Array) -> tuple[Array, Gradient, Gradient]:
    """What a cotangent of z is for the data itself, its center and its divisor."""
    direct, shape = g / frame.divisor, tuple(frame.divisor.shape)
    return direct, _summed(xp, -direct, xp.ones_like(g), shape), _summed(xp, -direct, z, shape)


def _summed(
    xp: Any, g: Array, z: Array, shape: tuple[int, ...], size: Array | None = None
) -> Gradient:
    """Terms g · z, z of about `size`, added up to what was broadcast from `shape`."""
    terms, magnitudes = (
        g * z,
        abs(g) * xp.maximum(xp.ones_like(z), abs(z) if size is None else size),
    )
    extra = tuple(range(terms.ndim - len(shape)))
    over = extra + tuple(
        i + len(extra) for i, one in enumerate(shape) if one == 1 != terms.shape[i + len(extra)]
    )
    total, largest, all_terms = (
        xp.reshape(reduce(each, axis=over, keepdims=True), shape)
        for reduce, each in ((xp.sum, terms), (xp.max, magnitudes), (xp.sum, magnitudes))
    )
    return Gradient(total, xp.maximum(abs(total), largest), all_terms)


def _laid(xp: Any, parameter: Any, ndim: int, channel_axis: int | None) -> Any:
    if getattr(parameter, "ndim", 0) != 1 or channel_axis is None:
        return parameter
    return xp.reshape(parameter, _along(parameter, ndim, channel_axis))


def _along(parameter: Any, ndim: int, channel_axis: int) -> tuple[int, ...]:
    shape = [1] * ndim
    shape[channel_axis] = parameter.shape[0]
    return tuple(shape)


def _of_parameter(
    xp: Any,
    g: Array,
    z: Array,
    parameter: Any,
    channel_axis: int | None,
    size: Array | None = None,
) -> Gradient | None:
    if not hasattr(parameter, "dtype"):
        return None
    laid = _laid(xp, parameter, g.ndim, channel_axis)
    found = _summed(xp, g, z, tuple(laid.shape), size)
    return Gradient(*(xp.reshape(each, tuple(parameter.shape)) for each in found))


def _instance_norm(
    xp, g, x, scale=None, bias=None, *, axis, channel_axis=None, center="mean", **options
):
    frame = _frame(xp, x, axis, **options)
    last = None
    d = frame.d
    if center == "last":
        last = _last(xp, x, axis, options.get("where"))
        d = xp.where(frame.seen, x - xp.sum(last * x, axis=axis, keepdims=True), x)
    z = d / frame.divisor
    factor = 1.0 if scale is None else _laid(xp, scale, x.ndim, channel_axis)
    gz = xp.where(frame.seen, g * factor, g)
    direct, to_center, to_divisor = _through(xp, frame, gz, z)
    if last is not None:
        through = to_center.value
        direct = direct + last * xp.where(frame.seen, through, xp.zeros_like(through))
        to_center = Gradient(*(xp.zeros_like(each) for each in to_center))
    seen = xp.astype(frame.seen, g.dtype)
    given = [
        _of_parameter(xp, g * seen, one, parameter, channel_axis)
        for one, parameter in ((z, scale), (xp.ones_like(z), bias))
    ]
    gradients = [_pull(xp, frame, axis, direct, to_center, to_divisor), *given]
    return gradients[: 1 + (scale is not None or bias is not None) + (bias is not None)]


def _last(xp: Any, x: Array, axis: Any, where: Array | None) -> Array:
    """1 at the last observed element of each instance, else 0."""
    seen = xp.ones_like(x)
    if where is not None:
        seen = xp.where(where, seen, xp.zeros_like(x))
    named = axis if isinstance(axis, tuple) else (axis,)
    done: tuple[int, ...] = ()
    for one in sorted((a % x.ndim for a in named), reverse=True):
        present = xp.max(seen, axis=done, keepdims=True) if done else seen
        rank = xp.cumulative_sum(present, axis=one)
        at_end = rank == xp.max(rank, axis=one, keepdims=True)
        seen = seen * present * xp.astype(at_end, x.dtype)
        done = (*done, one)
    return seen


def _group_norm(xp, g, x, scale=None, bias=None, *, groups, channel_axis=1, eps=1e-5):
    at = channel_axis % x.ndim
    split = (*x.shape[:at], groups, x.shape[at] // groups, *x.shape[at + 1 :])
    own = tuple(split[i] if i in (at, at + 1) else 1 for i in range(len(split)))
    laid = [None if p is None else xp.reshape(p, own) for p in (scale, bias)]
    axis = tuple(i for i in range(len(split)) if i not in (0, at))
    found = _instance_norm(
        xp, xp.reshape(g, split), xp.reshape(x, split), *laid, axis=axis, eps=eps
    )
    shapes = (tuple(x.shape), (x.shape[at],), (x.shape[at],))
    return [
        None if one is None else Gradient(*(xp.reshape(each, shape) for each in one))
        for one, shape in zip(found, shapes)
    ]


def _rms_norm(xp, g, x, scale=None, *, axis, eps=1e-5):
    frame = _frame(xp, x, axis, eps=eps, centered=False)
    z = frame.d / frame.divisor
    direct, center, divisor = _through(xp, frame, g if scale is None else g * scale, z)
    none = Gradient(*(xp.zeros_like(each) for each in center))
    data = _pull(xp, frame, axis, direct, none, divisor)
    return [data] if scale is None else [data, _of_parameter(xp, g, z, scale, None)]


def _adain(
    xp,
    g,
    content,
    style,
    *,
    axis,
    eps=1e-5,
    correction=0,
    strength=1.0,
    where=None,
    style_where=None,
):
    options = {"correction": correction, "eps": eps}
    frame = _frame(xp, content, axis, where, **options)
    target = _frame(xp, style, axis, style_where, **options)
    z = frame.d / frame.divisor
    styled = g * strength
    direct, to_mean, to_divisor = _through(xp, frame, styled * target.divisor, z)
    own = _pull(xp, frame, axis, direct + g * (1 - strength), to_mean, to_divisor)
    shape = tuple(target.divisor.shape)
    to_style = [_summed(xp, styled, one, shape) for one in (xp.ones_like(z), z)]
    return [own, _pull(xp, target, axis, xp.zeros_like(style), *to_style)]


def _batch_instance_norm(
    xp,
    g,
    x,
    gate,
    scale=None,
    bias=None,
    *,
    axis,
    batch_axis,
    channel_axis=None,
    eps=1e-5,
    where=None,
):
    named = axis if isinstance(axis, tuple) else (axis,)
    pooled = (*named, batch_axis)
    weight, factor, _ = (_laid(xp, p, x.ndim, channel_axis) for p in (gate, scale, bias))
    gy = g if scale is None else g * factor
    parts, frames, normal = [], [], []
    for axes, share in ((pooled, weight), (named, 1 - weight)):
        frame = _frame(xp, x, axes, where, eps=eps)
        z = frame.d / frame.divisor
        parts.append(_pull(xp, frame, axes, *_through(xp, frame, gy * share, z)))
        frames.append(frame)
        normal.append(z)
    mixed = weight * normal[0] + (1 - weight) * normal[1]
    pooled_part, own = parts
    data = Gradient(
        pooled_part.value + own.value,
        xp.maximum(pooled_part.parts, own.parts),
        pooled_part.terms + own.terms,
    )
    # What a blend around either center adds up.
    apart = abs(frames[0].d - frames[1].d) / xp.minimum(frames[0].divisor, frames[1].divisor)
    size = abs(normal[0]) + abs(normal[1]) + apart
    by_gate = _of_parameter(xp, gy, normal[0] - normal[1], gate, channel_axis, size)
    gradients = [data, by_gate]
    for one, parameter in ((mixed, scale), (xp.ones_like(mixed), bias)):
        if parameter is not None:
            gradients.append(_of_parameter(xp, g, one, parameter, channel_axis))
    return gradients


def _conditional_instance_norm(
    xp, g, x, scales, biases, labels, *, axis, batch_axis, channel_axis, **options
):
    batch_axis, channel_axis = batch_axis % x.ndim, channel_axis % x.ndim
    weighted = labels.ndim == 2
    weights = labels
    if not weighted:
        at = xp.arange(scales.shape[0], dtype=labels.dtype)
        weights = xp.astype(labels[:, None] == at[None, :], x.dtype)
    shape = [1] * x.ndim
    shape[batch_axis], shape[channel_axis] = x.shape[batch_axis], x.shape[channel_axis]
    rows = weights @ scales
    turned = batch_axis > channel_axis
    factor = xp.reshape(rows.T if turned else rows, tuple(shape))
    frame = _frame(xp, x, axis, **options)
    z = frame.d / frame.divisor
    gz = xp.where(frame.seen, g * factor, g)
    found = [_pull(xp, frame, axis, *_through(xp, frame, gz, z))]
    g = g * xp.astype(frame.seen, g.dtype)
    by_row = []
    for one in (z, xp.ones_like(z)):
        row = Gradient(
            *(
                xp.reshape(each, (shape[channel_axis], -1)).T
                if turned
                else xp.reshape(each, (shape[batch_axis], -1))
                for each in _summed(xp, g, one, tuple(shape))
            )
        )
        by_row.append(row)
        across = abs(weights).T
        found.append(Gradient(weights.T @ row.value, across @ row.parts, across @ row.terms))
    if not weighted:
        return [*found, None]
    tables = (scales.T, biases.T)
    exact = [row.value @ table for row, table in zip(by_row, tables, strict=True)]
    parts = [abs(row.value) @ abs(table) for row, table in zip(by_row, tables, strict=True)]
    terms = [row.terms @ abs(table) for row, table in zip(by_row, tables, strict=True)]
    return [*found, Gradient(sum(exact), sum(parts), sum(terms))]


def _spatially_adaptive_norm(xp, g, x, scale_map, bias_map, *, axis, **options):
    frame = _frame(xp, x, axis, **options)
    z = frame.d / frame.divisor
    gz = xp.where(frame.seen, g * (1 + scale_map), g)
    own = _pull(xp, frame, axis, *_through(xp, frame, gz, z))
    g = g * xp.astype(frame.seen, g.dtype)
    maps = ((z, scale_map), (xp.ones_like(z), bias_map))
    return [own, *(_of_parameter(xp, g, one, parameter, None) for one, parameter in maps)]


_GRADIENTS: dict[str, Callable[..., Any]] = {
    "instance_norm": _instance_norm,
    "revin": _instance_norm,
    "adain": _adain,
    "batch_instance_norm": _batch_instance_norm,
    "conditional_instance_norm": _conditional_instance_norm,
    "spatially_adaptive_norm": _spatially_adaptive_norm,
    "layer_norm": _instance_norm,
    "group_norm": _group_norm,
    "batch_norm": _instance_norm,
    "rms_norm": _rms_norm,
}
