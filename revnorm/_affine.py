"""Invertible affine maps, one an instance: the only place that applies one.

    y = (x − center) / divisor · factor + offset

Center and divisor are a frame on the side of x, offset and factor the same on the side of y.
The inverse swaps the frames, so it divides by the very number that the map multiplied by.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from revnorm import _blocks, _checks, _registry
from revnorm._blocks import Line, Place
from revnorm._checks import Array
from revnorm._libraries import array_namespace, device
from revnorm._moments import Moments, corrected, statistics, taken
from revnorm._sample import CLOSE, Sample, measure
from revnorm._scaling import invertible
from revnorm._sums import two_sum
from revnorm._trees import is_array


@_registry.add
class AffineMap(NamedTuple):
    """The map y = (x − center) / divisor · factor + offset, one an instance.

    All fields broadcast against the arrays that the map is applied to.

    Attributes
    ----------
    center, center_residual : array
        What is subtracted, and the low bits that rounding took from it.
    divisor : array
        The unit of length on the side of x; never 0, and positive where it comes from data.
    factor : array
        The unit of length on the side of y.
    offset, offset_residual : array
        What is added, and its low bits.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> x = np.asarray([1.0, 2.0, 3.0, 4.0])
    >>> standardize = rn.standardizer(x, axis=0, eps=0.0)
    >>> standardize(x).round(3)
    array([-1.342, -0.447,  0.447,  1.342])
    >>> standardize.inv(standardize(x))
    array([1., 2., 3., 4.])
    >>> standardize.inv.spread(np.asarray([1.0])).round(3)
    array([1.118])
    """

    center: Array
    center_residual: Array
    divisor: Array
    factor: Array
    offset: Array
    offset_residual: Array

    def __call__(self, x: Array, /, *, out: Array | None = None) -> Array:
        """The map applied to an array that broadcasts against it; dtype as `x`.

        With `out` the result is written there; it is as `x`, which the map may not enlarge.
        """
        xp = _checks.namespace(x=x, map=self.center)
        _checks.floating(xp, x=x)
        _checks.together("x", x, *self)
        if out is not None:
            _checks.writable(out, x)
            for field in self:
                _checks.broadcasts("map", field, _checks.shape(x))
        return transform(self, x, out=out)

    def __matmul__(self, inner: "AffineMap") -> "AffineMap":
        """The map that applies `inner`, then this one."""
        if not isinstance(inner, AffineMap):
            return NotImplemented
        _checks.namespace(outer=self.center, inner=inner.center)
        return compose(self, inner)

    @property
    def inv(self) -> "AffineMap":
        """The inverse; where the factor is 0, the pseudo-inverse, which gives the center."""
        center, center_residual, divisor, factor, offset, offset_residual = self
        xp = array_namespace(center)
        flat = factor == 0
        unit, scale = xp.where(flat, 1.0, factor), xp.where(flat, 0.0, divisor)
        return AffineMap(offset, offset_residual, unit, scale, center, center_residual)

    @property
    def scale(self) -> Array:
        """How much a difference is stretched: factor / divisor."""
        return self.factor / self.divisor

    def spread(self, std: Array | float, /) -> Array:
        """A standard deviation carried through the map: std · |scale|."""
        return self._times(std, abs(self.scale))

    def variance(self, variance: Array | float, /) -> Array:
        """A variance carried through the map: variance · scale²."""
        return self._times(variance, self.scale, self.scale)

    def _times(self, x: Any, *factors: Array) -> Array:
        if type(x) in (int, float):
            x = x + 0 * factors[0]
        xp = _checks.namespace(x=x, map=self.center)
        _checks.floating(xp, x=x)
        _checks.together("x", x, *factors)
        y = xp.astype(x, _checks.promoted(xp, x.dtype, self.center.dtype), copy=False)
        for factor in factors:
            y = y * factor
        return xp.astype(y, x.dtype, copy=False)

    def take(self, indices: Array | Sequence[int], *, axis: int) -> "AffineMap":
        """The map of some of the channels: each field taken along `axis`, where it varies."""
        if isinstance(indices, list | tuple):
            own = array_namespace(self.center)
            indices = own.asarray(indices, device=device(self.center))
        xp = _checks.namespace(map=self.center, indices=indices)
        _checks.indices(xp, indices)
        fields = []
        for field in self:
            at = _checks.one_axis("axis", axis, field.ndim)
            fields.append(field if field.shape[at] == 1 else pick(xp, field, indices, at))
        return AffineMap(*fields)


# Leaves `array @ map` to the map, which has no such product.
AffineMap.__array_ufunc__ = None  # type: ignore[attr-defined]


@_blocks.quiet
def standardizer(
    x: Array | Moments,
    /,
    scale: Array | float | None = None,
    bias: Array | float | None = None,
    *,
    axis: int | tuple[int, ...] | None = None,
    channel_axis: int | None = None,
    eps: float = 1e-5,
    eps_mode: str = "add",
    correction: float = 0,
    where: Array | None = None,
    precision: str = "full",
) -> AffineMap:
    """The map that gives each instance mean 0 and variance 1, then the scale and bias.

        y = (x − mean) / sqrt(variance + eps) · scale + bias

    Parameters
    ----------
    x : array or Moments
        The data, or its moments, which are taken as they are.
    scale, bias : array or float, optional
        Broadcastable against the data, or 1-D with `channel_axis`.
    axis : int or tuple of int
        The axes that are reduced; required with an array.
    channel_axis : int, optional
        Where a 1-D scale or bias lies.
    eps : float
        In units of the variance.
    eps_mode : {"add", "clamp"}
        sqrt(variance + eps), or sqrt(max(variance, eps)).
    correction, where, precision
        As in `moments`; without meaning where moments are given.

    Returns
    -------
    AffineMap
        The identity where nothing was observed. With eps 0 a constant instance is not
        stretched.

    Raises
    ------
    TypeError
        If a dtype is not real floating, `axis` is missing, or libraries are mixed.
    ValueError
        If an axis, shape or option is not a valid one.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> x = np.asarray([[1.0, 3.0], [10.0, 30.0]])
    >>> rn.standardizer(x, axis=1, eps=0.0)(x)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    options = _checks.options(
        eps=eps, eps_mode=eps_mode, correction=correction, precision=precision
    )
    if isinstance(x, Moments):
        scale, bias = _against_moments(x, axis, channel_axis, scale=scale, bias=bias)
        return solid(standardize(taken(x, x.mean, options), scale, bias, options))
    reduced, where, scale, bias = _checks.operands(
        x, axis, channel_axis, where, scale=scale, bias=bias
    )
    sample = statistics(x, where, reduced, options)
    return _finished(standardize(sample, scale, bias, options), sample.power)


@_blocks.quiet
def blend(maps: Sequence[AffineMap], weights: Sequence[Array | float], /) -> AffineMap:
    """The weighted sum of maps: y = Σ wᵢ · mapᵢ(x).

    Parameters
    ----------
    maps : sequence of AffineMap
        At least one, of fields that broadcast against each other.
    weights : sequence of array or float
        One for each map, broadcastable against its fields.

    Returns
    -------
    AffineMap

    Raises
    ------
    TypeError
        If `maps` are not AffineMaps, or libraries are mixed.
    ValueError
        If there are no maps, or not as many weights.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> x = np.asarray([0.0, 4.0])
    >>> centred = rn.standardizer(x, axis=0, eps=0.0)
    >>> rn.blend([centred, centred.inv], [0.5, 0.5])(x)
    array([0.5, 5.5])
    """
    if not maps or len(maps) != len(weights):
        raise ValueError(
            "`weights` must be one for each of at least one map, "
            f"got {len(weights)} for {len(maps)} maps"
        )
    for one in maps:
        if not isinstance(one, AffineMap):
            raise TypeError(f"`maps` must hold AffineMaps, got {type(one).__name__}")
    xp = _checks.mixture(maps, weights)
    maps = [solid(one) for one in maps]
    weights = [as_dtype_of(weight, maps[0].center) for weight in weights]
    scales = [weight * one.scale for one, weight in zip(maps, weights, strict=True)]
    # Around the center of the steepest map the others' offsets cancel least.
    around, steepest = maps[0], abs(scales[0])
    for one, scale in zip(maps[1:], scales[1:], strict=True):
        steeper = abs(scale) > steepest
        around = AffineMap(*(xp.where(steeper, a, b) for a, b in zip(one, around, strict=True)))
        steepest = xp.where(steeper, abs(scale), steepest)
    factor = offset = residual = xp.zeros_like(steepest)
    for one, weight, scale in zip(maps, weights, scales, strict=True):
        # The ratio is 1 for equal units of length; beside a weight of 0 it could overflow.
        close = abs(around.divisor) * 2.0**-100 < abs(one.divisor)
        ratio = around.divisor / xp.where(close, one.divisor, 1.0)
        factor = factor + xp.where(close, weight * one.factor * ratio, scale * around.divisor)
        gap, low = two_sum(around.center, -one.center)
        low = low + (around.center_residual - one.center_residual)
        for term in (weight * one.offset, scale * gap):
            offset, error = two_sum(offset, term)
            residual = residual + error
        residual = residual + (weight * one.offset_residual + scale * low)
    offset, residual = two_sum(offset, residual)
    return around._replace(factor=factor, offset=offset, offset_residual=residual)


@_blocks.quiet
def normalize(
    build: Callable[..., AffineMap],
    x: Array,
    *operands: Any,
    axis: tuple[int, ...],
    options: _checks.Options,
    where: Array | None = None,
    given: Sample | None = None,
    out: Array | None = None,
    keep: bool = False,
) -> Any:
    """`x` under the map that `build(sample, *operands)` makes of its statistics.

    With `keep`, that map as well.
    """
    _checks.writable(out, x)
    if given is not None or _blocks.is_long(x, axis):
        known = statistics(x, where, axis, options) if given is None else given
        map = solid(build(known, *operands))
        y = transform(map, x, known.power, out=out, gaps=where is not None, least=1.0)
        return (y, _finished(map, known.power)) if keep else y
    recipe = _checks.recipe(x, options.precision)
    once = recipe.once

    def kernel(x: Array, where: Array, *arguments: Any) -> Any:
        *operands, place = arguments
        sample, d = measure(x, where, place, recipe)
        sample = corrected(sample, options)
        # The map makes up for the rest, which saves a pass where each counts.
        folded = place.cut or once
        rest = 0.0 if folded else sample.rest
        centred = d if folded else d - rest
        y = _stretch(build(sample, *operands), centred, sample.near, rest, once)
        y = y._replace(gaps=where is not None)
        return (y, *sample) if keep else (y,)

    y, *fields = _blocks.each(kernel, x, where, *operands, axis=axis, dtype=recipe.work, out=out)
    if not keep:
        return y
    sample = Sample(*fields)
    return y, _finished(build(sample, *operands), sample.power)


@_blocks.quiet
def transform(
    map: AffineMap,
    x: Array,
    power: Array | None = None,
    *,
    out: Array | None = None,
    gaps: bool = False,
    least: float = 0.0,
) -> Array:
    """The map applied to x, or to x · power, block by block where that can be done.

    The results are wanted to the precision of their instance's largest, or that of `least`.
    """
    xp = array_namespace(x)
    dtype = _checks.promoted(xp, x.dtype, map.center.dtype)
    once = dtype == xp.float64 and x.dtype != dtype
    if x.ndim == 0 or not all(_checks.fits(field.shape, x.shape) for field in map):
        y = apply(map, xp.astype(x, dtype, copy=False), once).drawn()
        return xp.astype(y, x.dtype, copy=False)

    def kernel(x: Array, map: AffineMap, power: Array, place: Place) -> Any:
        x = x if power is None else x * power
        return (apply(map, x, once, least if place.cut else None)._replace(gaps=gaps),)

    map = AffineMap(*(_checks.aligned(xp, field, x.ndim) for field in map))
    shared = tuple(i for i in range(x.ndim) if all(field.shape[i] == 1 for field in map))
    return _blocks.each(kernel, x, map, power, axis=shared, dtype=dtype, out=out, whole=False)[0]


def standardize(sample: Sample, scale: Any, bias: Any, options: _checks.Options) -> AffineMap:
    """The map to mean 0 and variance 1, then the scale and bias; of no sample, the identity.

    As the sample is of the data times a power of two, so is the map.
    """
    xp = array_namespace(sample.near)
    unit = 1.0 if sample.power is None else sample.power
    std = _deviation(xp, sample, options)
    if not options.eps:
        std = xp.where(std == 0, unit, std)
    map = then(AffineMap(sample.near, sample.rest, std, 1.0, 0.0, 0.0), scale, bias)
    if not is_array(sample.count):
        return map
    unseen, map = sample.count == 0, solid(map)
    return map._replace(
        divisor=xp.where(unseen, unit, map.divisor),
        factor=xp.where(unseen, 1.0, map.factor),
        offset=xp.where(unseen, 0.0, map.offset),
    )


def _deviation(xp: Any, sample: Sample, options: _checks.Options) -> Array:
    """sqrt(variance + eps), or of the larger of the two; its gradient is 0 where it is 0."""
    variance, power, eps = sample.variance, sample.power, options.eps
    clamp = options.eps_mode == "clamp"

    def root(a: Array) -> Array:
        return xp.where(a != 0, xp.sqrt(xp.where(a != 0, a, 1.0)), 0.0)

    if not eps:
        return root(variance)
    if power is None:
        return xp.sqrt(xp.where(variance < eps, eps, variance) if clamp else variance + eps)
    # The square of the power may be too large or too small to multiply eps with.
    std, least = root(variance), math.sqrt(eps) * power
    large, small = xp.where(std < least, least, std), xp.where(std < least, std, least)
    ratio = small / large
    together = large if clamp else large * xp.sqrt(1 + ratio * ratio)
    usual = xp.where(variance < eps, eps, variance) if clamp else variance + eps
    return xp.where(power == 1, xp.sqrt(usual), together)


def rescaled(map: AffineMap, power: Array | None) -> AffineMap:
    """The map of x · power that does to it what `map` does to x."""
    if power is None:
        return map
    center, residual = map.center * power, map.center_residual * power
    return map._replace(center=center, center_residual=residual, factor=map.factor / power)


@_blocks.quiet
def compose(outer: AffineMap, inner: AffineMap) -> AffineMap:
    """The map that applies `inner`, then `outer`."""
    gap, residual = two_sum(inner.offset, -outer.center)
    residual = residual + (inner.offset_residual - outer.center_residual)
    unit = outer.factor / outer.divisor
    offset, low = two_sum(outer.offset, gap * unit)
    offset, low = two_sum(offset, low + (outer.offset_residual + residual * unit))
    factor = inner.factor / outer.divisor * outer.factor
    return inner._replace(factor=factor, offset=offset, offset_residual=low)


def _finished(map: AffineMap, power: Array | None) -> AffineMap:
    """The map of x, from that of x · power."""
    return solid(rescaled(map, None if power is None else 1 / power))


def solid(map: AffineMap) -> AffineMap:
    """The map with arrays for numbers, and its center and offset rounded with what is left."""
    zero = array_namespace(map.center).zeros_like(map.divisor)
    center, offset = two_sum(map.center, map.center_residual), map.offset + zero
    return AffineMap(*center, map.divisor, map.factor + zero, offset, map.offset_residual + zero)


def identity(shaped: Array) -> AffineMap:
    """The map y = x, with fields shaped as an array."""
    xp = array_namespace(shaped)
    zero, one = xp.zeros_like(shaped), xp.ones_like(shaped)
    return AffineMap(zero, zero, one, one, zero, zero)


def then(inner: AffineMap, scale: Any, bias: Any) -> AffineMap:
    """The map that gives inner(x) · scale + bias."""
    if scale is not None:
        scale = as_dtype_of(scale, inner.divisor)
        level = (inner.offset, inner.offset_residual)
        offset, residual = (a * scale if is_array(a) else a for a in level)
        factor = inner.factor * scale
        inner = inner._replace(factor=factor, offset=offset, offset_residual=residual)
    if bias is not None:
        inner = inner._replace(offset=inner.offset + as_dtype_of(bias, inner.divisor))
    return inner


def apply(map: AffineMap, x: Array, once: bool, least: float | None = None) -> Line:
    """The map applied to an array in the dtype worked in, to be rounded once after, or not.

    With `least`, as in `transform`, values may be looked at.
    """
    xp = array_namespace(x)
    if once:
        near = map.center
        if least is not None:
            # As in `measure`: the wider type has bits enough to leave out a small shift.
            offset = abs(map.offset)
            reach = CLOSE * xp.where(offset > least, offset, least)
            close = abs(near * map.scale) <= reach
            if xp.all(close):
                return _stretch(map, x, 0.0, 0.0, once)
            near = xp.where(close, 0.0, near)
        return _stretch(map, x - near, near, 0.0, once)
    # The low bits go to the side whose own numbers are small enough to hold them.
    scale = map.scale
    held = (abs(map.center * scale) <= abs(map.offset)) & (scale != 0)
    low = map.center_residual - map.offset_residual / xp.where(scale == 0, 1.0, scale)
    width = abs(map.divisor / xp.where(map.factor == 0, 1.0, map.factor))
    power = invertible(xp, abs(map.center), width)
    near = (map.center + xp.where(held, low, 0.0)) * power
    return _stretch(rescaled(map, power), x * power - near, near, 0.0, once)


def _stretch(map: AffineMap, d: Array, near: Any, rest: Any, once: bool) -> Line:
    """The map applied to x, given d = x − near − rest, whose sum is a number near the center."""
    center, center_residual, divisor, factor, offset, offset_residual = map
    missed = (near - center) + (rest - center_residual)
    if once or (isinstance(factor, float) and isinstance(offset, float)):
        slope = factor / divisor
        return Line(d, slope, offset + (offset_residual + missed * slope), None)
    xp = array_namespace(d)
    offset = offset + 0 * divisor
    power = invertible(xp, abs(offset), abs(factor / divisor))
    slope = factor * power / divisor
    level = offset * power + (offset_residual * power + missed * slope)
    return Line(d, slope, level, power)


def pick(xp: Any, array: Array, indices: Array, axis: int) -> Array:
    """What `take` gives, of one index by way of two: https://github.com/dask/dask/issues/6709."""
    if indices.shape[0] != 1:
        return xp.take(array, indices, axis=axis)
    twice = xp.take(array, xp.concat([indices, indices]), axis=axis)
    return twice[(slice(None),) * axis + (slice(1), ...)]


def as_dtype_of(value: Any, array: Array) -> Any:
    """An array of the dtype of another; a number as it is."""
    if not is_array(value):
        return value if type(value) in (int, float) else float(value)
    xp = array_namespace(array)
    return xp.astype(value, array.dtype, copy=False)


def _against_moments(
    moments: Moments, axis: Any, channel_axis: Any, **parameters: Any
) -> tuple[Any, ...]:
    """Parameters laid out with the axes of the data that the moments came from."""
    given = {name: p for name, p in parameters.items() if is_array(p)}
    xp = _checks.namespace(x=moments.mean, **given)
    ndim = moments.mean.ndim
    reduced = () if axis is None else _checks.axes(axis, ndim)
    if channel_axis is not None:
        channel_axis = _checks.kept_axis("channel_axis", channel_axis, ndim, reduced)
    unknown = tuple(None if size == 1 else size for size in moments.mean.shape)
    return tuple(_checks.parameter(xp, n, p, unknown, channel_axis) for n, p in parameters.items())
