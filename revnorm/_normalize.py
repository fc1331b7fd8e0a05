"""The straight way of the data: measured, put in a frame, carried to another by a line.

y = (x − mean) / sqrt(variance + eps) in the frame of x, then the same in that of y
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

from revnorm import _blocks, _checks
from revnorm._backward import Step, through
from revnorm._data import Data, Options, wider
from revnorm._frames import UNIT, Frame, Line, line
from revnorm._libraries import array_namespace
from revnorm._moments import in_parts, statistics
from revnorm._place import Whole
from revnorm._sample import CLOSE, Sample, measure
from revnorm._scaling import invertible, near_one
from revnorm._tracing import constant
from revnorm._trees import Array, is_array, leaves, mapped

# A frame on the side of x and one on the side of y, from a sample and operands.
Frames = Callable[..., tuple[Frame, Frame]]


def standard(sample: Sample, options: Options) -> Frame:
    """The frame in which the sample has mean 0 and variance 1: the one use of eps."""
    xp = array_namespace(sample.pivot)
    one = 1.0 if sample.power is None else sample.power
    unit = _deviation(xp, sample, options)
    unit = xp.where(unit == 0, one, unit)
    if is_array(sample.count):
        unit = xp.where(sample.count == 0, one, unit)
    return Frame(sample.pivot, sample.residual, unit, sample.power)


def affine(
    sample: Sample, scale: Any = None, bias: Any = None, *, options: Options
) -> tuple[Frame, Frame]:
    """Those of a map to mean 0 and variance 1, then the scale and bias; of no sample, equal."""
    source = standard(sample, options)
    target = UNIT.affine(scale, bias)
    if not is_array(sample.count):
        return source, target
    xp = array_namespace(sample.pivot)
    seen, (origin, _, unit, _) = sample.count != 0, target.solid(sample.pivot)
    return source, Frame(xp.where(seen, origin, 0.0), 0.0, xp.where(seen, unit, 1.0))


def normalize(
    data: Data,
    frames: Frames,
    *operands: Any,
    known: Sample | None = None,
    out: Array | None = None,
    keep: bool = False,
    detached: bool = False,
) -> tuple[Array, Any]:
    """x carried by the map between the frames that its statistics make; with `keep` these too.

    `detached` statistics have no gradient.
    """
    x, where, axis, options, recipe = data
    gaps = where is not None
    if known is not None:
        worked = data.worked(operands)
        return _drawn(frames, x, known, *worked, out=out, gaps=gaps, sampled=True), known
    _checks.writable(out, x)

    def still(sample: Sample) -> Sample:
        return mapped(constant, sample) if detached else sample

    def lowered(sample: Sample, *operands: Any) -> Line:
        source, target = frames(sample, *operands)
        return line(source, target, sample.pivot, recipe.widened)

    def kernel(place: Whole, x: Array, where: Array | None, keep: bool, *operands: Any) -> Any:
        sample, d = measure(place, x, where, recipe, options)
        sample = still(sample)
        y = place.draw(d, lowered(sample, *operands), gaps)
        return (y, *sample) if keep else (y,)

    def forward(x: Array, where: Any, *operands: Any, out: Any = None, keep: bool = True) -> Any:
        if in_parts(x, where, axis):
            sample = still(statistics(data._replace(x=x, where=where)))
            worked = data.worked(operands)
            return _drawn(frames, x, sample, *worked, out=out, gaps=gaps, sampled=True), *sample
        given = dict(axis=axis, dtype=recipe.work, out=out, narrow=recipe.widened)
        return _blocks.run(kernel, x, where, keep, *operands, **given)

    def again(sample: Sample, *operands: Any) -> Line:
        return lowered(sample, *data.worked(operands))

    step = Step(forward, again, axis, recipe.work, recipe.accumulate, gaps, detached)
    y, *fields = through(step, x, where, *operands, out=out, keep=keep)
    return y, Sample(*fields) if fields else None


def apply(
    source: Frame, target: Frame, x: Array, *, out: Array | None = None, **options: Any
) -> Array:
    """x carried from one frame to another; the options are those of `_drawn`."""
    xp = array_namespace(x)
    if x.ndim == 0:
        _checks.writable(out, x, options.get("dtype"))
        room = None if out is None else xp.reshape(out, (1,))
        y = apply(source, target, xp.reshape(x, (1,)), out=room, **options)
        return xp.reshape(y, ()) if out is None else out
    source, target = mapped(lambda a: _checks.aligned(xp, a, x.ndim), (source, target))
    return _drawn(lambda *ends: ends, x, source, target, out=out, **options)


def _drawn(
    frames: Callable[..., tuple[Frame, Frame]],
    x: Array,
    *operands: Any,
    dtype: Any = None,
    out: Array | None = None,
    gaps: bool = False,
    sampled: bool = False,
) -> Array:
    """x carried between the frames that operands make, rounded to `dtype` or that of x.

    If the first operand is the sample of x, results are wanted to the precision of their spread.
    """
    xp = array_namespace(x)
    dtype = x.dtype if dtype is None else dtype
    _checks.writable(out, x, dtype)
    fields = leaves(operands)
    work = reduce(partial(wider, xp), [a.dtype for a in fields], x.dtype)
    work = wider(xp, work, dtype)
    # A block of data that are wide already is their own memory, not to be written over.
    widened = xp.float64 == work not in (x.dtype, dtype)
    shared = tuple(i for i in range(x.ndim) if all(field.shape[i] == 1 for field in fields))

    def lowered(_: Any, *operands: Any, looks: bool = False) -> Line:
        source, target = frames(*operands)
        variance = (operands[0].variance if sampled else 0.0) if looks else None
        return _around_center(source, target.solid(source.unit), widened, variance)

    def kernel(place: Whole, x: Array, *operands: Any) -> Any:
        drawn = lowered(None, *operands, looks=place.looks)
        scaled = x if drawn.power_in is None else x * drawn.power_in
        return (place.draw(place.minus(scaled, drawn.pivot), drawn, gaps),)

    def forward(x: Array, _: Any, *operands: Any, out: Any = None, keep: bool = True) -> Any:
        given = dict(axis=shared, dtype=work, out=out, result=dtype, whole=False)
        return _blocks.run(kernel, x, *operands, **given)

    step = Step(forward, lowered, shared, work, widened, gaps)
    return through(step, x, None, *operands, out=out)[0]


def _around_center(source: Frame, target: Frame, widened: bool, variance: Any) -> Line:
    """The map's line around the center of x, or with the variance told around 0 if that is near."""
    xp = array_namespace(source.unit)
    scale = target.unit / source.unit
    if widened:
        pivot = constant(source.origin)
        if variance is not None:
            reached, level = variance * scale * scale, target.origin * target.origin
            near = xp.where(level > reached, level, reached)
            pivot = xp.where((pivot * scale) ** 2 > CLOSE * CLOSE * near, pivot, 0.0)
        return line(source, target, pivot, widened)
    # The low bits go to the side whose own numbers are small enough to hold them.
    held = (abs(source.origin * scale) <= abs(target.origin)) & (scale != 0)
    low = source.residual - target.residual / xp.where(scale == 0, 1.0, scale)
    pivot = source.origin + xp.where(held, low, 0.0)
    if source.power is None:
        width = abs(source.unit / xp.where(target.unit == 0, 1.0, target.unit))
        power = constant(invertible(xp, abs(source.origin), width))
        source, pivot = source.at(power), pivot * power
    return line(source, target, constant(pivot), widened)


def _deviation(xp: Any, sample: Sample, options: Options) -> Array:
    """The root of what variance and eps make together; its gradient is 0 where it is 0."""
    variance, power, eps = sample.corrected(options.correction).variance, sample.power, options.eps
    clamp = options.eps_mode == "clamp"
    info = xp.finfo(variance.dtype)
    if not eps:
        return _root(xp, variance)
    if options.eps_mode == "relative":
        return _scale_free(xp, sample, variance, eps)
    held = float(info.smallest_normal) < eps < float(info.max) / 4
    if held:
        usual = xp.where(variance < eps, eps, variance) if clamp else variance + eps
        if power is None:
            return xp.sqrt(usual)
    # The square of the power may be too large or too small to multiply eps with, and eps to hold.
    std = _root(xp, variance)
    least = xp.zeros_like(std) + math.sqrt(eps)
    least = least if power is None else least * power
    together = xp.where(std < least, least, std) if clamp else _hypot(xp, std, least)
    if not held:
        return together
    return xp.where(power == 1, xp.sqrt(xp.where(power == 1, usual, 1.0)), together)


def _scale_free(xp: Any, sample: Sample, variance: Array, eps: float) -> Array:
    """sqrt(variance + eps · mean square), which is as many times larger as the data are."""
    mean, own = sample.pivot + sample.residual, sample.variance
    power = constant(near_one(xp, xp.maximum(abs(mean), _root(xp, own))))
    mean, own, variance = mean * power, own * power * power, variance * power * power
    square, info = mean * mean + own, xp.finfo(variance.dtype)
    # Near 1 is within the fourth root of the range.
    room = float(info.max) ** 0.25
    if float(info.smallest_normal) * room < eps < float(info.max) / room / 8:
        root = _root(xp, variance + eps * square)
    else:
        root = _hypot(xp, _root(xp, variance), math.sqrt(eps) * _root(xp, square))
    unit, least, most = root / power, 4 * float(info.smallest_normal), float(info.max) / 4
    # Of a constant near the ends of the range it may be no number to divide by.
    unit = xp.where(unit > most, most, unit)
    return xp.where((root > 0) & (unit < least), least, unit)


def _hypot(xp: Any, a: Array, b: Array) -> Array:
    """sqrt(a² + b²) of numbers whose squares may be out of range."""
    large, small = xp.where(a < b, b, a), xp.where(a < b, a, b)
    ratio = small / xp.where(large == 0, 1.0, large)
    return large * xp.sqrt(1 + ratio * ratio)


def _root(xp: Any, a: Array) -> Array:
    return xp.where(a != 0, xp.sqrt(xp.where(a != 0, a, 1.0)), 0.0)
