"""Mean and variance of the instances in hand: the only place that reduces.

    pivot      a number near the data
    d          x − pivot
    mean       pivot + E[d]
    variance   E[d²] − E[d]²

Where a wider type has bits to spare, the pivot is a member of the sample, and long instances are
measured in segments with a member each: by Samuelson's inequality that loses at most a factor of
their length. In blocks it is 0, or the mean as the data could hold it, which is as near as the
nearest member. Elsewhere it is the mean itself, and a power of two keeps the squares within range.
In blocks, where values can be looked at, instances that need neither get neither; what is done for
an instance depends on no other.
"""

import math
from typing import Any, NamedTuple

from revnorm import _checks
from revnorm._data import Options, Recipe
from revnorm._libraries import array_namespace
from revnorm._place import Whole
from revnorm._scaling import between, ordinary, rooted, squarable, summable
from revnorm._sums import divisor, total
from revnorm._tracing import constant, is_fixed, measured
from revnorm._trees import Array, is_array

# Up to this mean/std a wider type needs no pivot: its square is what the variance loses.
CLOSE = 16.0
# Elements that share a pivot: their number, and that of the roundings in a plain sum of them, is
# what the variance may lose.
SEGMENT = 1536


class Sample(NamedTuple):
    """Moments of data times `power`, a power of two or None; the mean is a sum left open.

    The count is a number where every element of a known shape counts.
    """

    pivot: Array
    residual: Array
    variance: Array
    count: Any
    power: Array | None = None

    def at(self, power: Array | None) -> "Sample":
        """The same sample, of data times another power."""
        if self.power is None and power is None:
            return self
        share = (1.0 if power is None else power) / (1.0 if self.power is None else self.power)
        pivot, residual, variance = self.pivot * share, self.residual * share, self.variance * share
        return Sample(pivot, residual, variance * share, self.count, power)

    def corrected(self, correction: float) -> "Sample":
        """The variance divided by count − correction instead of the count."""
        if not correction:
            return self
        xp = array_namespace(self.pivot)
        count = self.count + xp.zeros_like(self.pivot)
        left = count - correction
        return self._replace(variance=self.variance * (count / xp.where(left > 0, left, 1.0)))


class Split(NamedTuple):
    """The sizes of data in segments, the axes of a segment, and those that count segments."""

    sizes: tuple[Any, ...]
    along: tuple[int, ...]
    outer: tuple[int, ...]


class _Sums(NamedTuple):
    """How the observed elements of instances are added up."""

    xp: Any
    place: Whole
    where: Array | None
    recipe: Recipe
    work: Any
    count: Any
    options: Options

    def mean(self, a: Array) -> Array:
        return self._summed(self.seen(a))

    def mean_square(self, a: Array) -> Array:
        a = self.seen(a)
        return self._summed(a, a)

    def _summed(self, a: Array, b: Array | None = None) -> Array:
        """Unrounded where sums are wider."""
        count = self.count
        divisor = self.xp.where(count == 0, 1.0, count) if is_array(count) else count
        return self.place.sum(a, b, self.xp.float64 if self.recipe.accumulate else None) / divisor

    def seen(self, a: Array) -> Array:
        return a if self.where is None else self.xp.where(self.where, a, 0.0)

    def sample(self, d: Array, pivot: Array, residual: Array, power: Array | None = None) -> Sample:
        """The sample, given the mean of d."""
        xp = self.xp
        square = xp.astype(self.mean_square(d), d.dtype, copy=False)
        variance = square - residual * residual
        return Sample(pivot, residual, xp.where(variance < 0, 0.0, variance), self.count, power)


def measure(
    place: Whole,
    x: Array,
    where: Array | None,
    recipe: Recipe,
    options: Options,
    power: Array | None = None,
) -> tuple[Sample, Array]:
    """The sample, with d = x · power − pivot that it was taken of; the power suits the options.

    Where a wider type is worked in, x may still be narrow: differences from a pivot widen it.
    """
    xp = array_namespace(x)
    work = x.dtype if place.looks else recipe.work
    sums = _Sums(xp, place, where, recipe, work, _count(xp, x, place.axis, where, work), options)
    if recipe.widened and not is_array(sums.count):
        return (_around_zero_or_mean if place.looks else _around_members)(sums, x)
    if place.looks and not recipe.widened and power is None:
        return _around_mean_if_usual(sums, x)
    return _around_mean(sums, x, power)


def _around_members(sums: _Sums, x: Array) -> tuple[Sample, Array]:
    """Around a member of each segment."""
    axis = sums.place.axis
    split = segments(tuple(x.shape), axis)
    if split is None:
        return _around_mean(sums, x, None)
    if not split.outer:
        return _around_first(sums, x)
    pivot, residual, variance = measured(x, axis, split)
    pivot = constant(pivot)
    return Sample(pivot, residual, variance, sums.count), x - pivot


def of_segments(x: Array, axis: tuple[int, ...], split: Split) -> tuple[Array, Array, Array]:
    """Pivot, residual and variance, in float64, of what is cut in segments."""
    xp, (sizes, along, outer) = array_namespace(x), split
    length = math.prod([sizes[one] for one in along])
    recipe = Recipe(xp.float64, True, True)
    sums = _Sums(xp, Whole(along), None, recipe, xp.float64, length, Options())
    whole = pooled(_around_first(sums, xp.reshape(x, sizes))[0], outer)
    kept = tuple(1 if i in axis else size for i, size in enumerate(x.shape))
    pivot, residual, variance = (xp.reshape(field, kept) for field in whole[:3])
    return pivot, residual, variance


def _around_first(sums: _Sums, x: Array) -> tuple[Sample, Array]:
    xp = sums.xp
    pivot = constant(xp.astype(first(x, sums.place.axis), sums.work, copy=False) + 0.0)
    d = x - pivot
    return sums.sample(d, pivot, sums.mean(d)), d


def _around_zero_or_mean(sums: _Sums, x: Array) -> tuple[Sample, Array]:
    """Around 0 where the mean is near, else the mean as the data could hold it."""
    xp, place = sums.xp, sums.place
    mean = sums.mean(x)
    sample = sums.sample(x, xp.zeros_like(mean), mean)
    close = mean * mean <= CLOSE * CLOSE * sample.variance
    if xp.all(close):
        return sample, x
    pivot = xp.where(close, 0.0, _nearest(xp, mean, x.dtype))
    d = place.minus(x, pivot)
    return sums.sample(d, pivot, sums.mean(d)), d


def _around_mean(
    sums: _Sums, x: Array, power: Array | None, usual: Array | None = None
) -> tuple[Sample, Array]:
    """Around the mean; where `usual`, of the data as they are."""
    xp = sums.xp
    if sums.recipe.widened:
        mean = sums.mean(x)
        return _around(sums, x, mean, constant(_nearest(xp, mean, sums.work)), None)
    low, high = extent(xp, x, sums.where, sums.place.axis)
    if power is None:
        power = power_for(xp, low, high, sums.options)
    if usual is not None:
        power = xp.where(usual, 1.0, power)
    x, low, high = x * power, low * power, high * power
    mean = sums.mean(x)
    pivot = between(xp, xp.astype(mean, sums.work, copy=False), low, high)
    return _around(sums, x, mean, constant(pivot), power)


def _nearest(xp: Any, mean: Array, dtype: Any) -> Array:
    """A mean as the data could hold it: no element is nearer, and a constant is met exactly."""
    return xp.astype(xp.astype(mean, xp.float32), dtype)


def _around_mean_if_usual(sums: _Sums, x: Array) -> tuple[Sample, Array]:
    """The same, without a look at the least and greatest where the result needs none."""
    xp = sums.xp
    mean = sums.mean(x)
    pivot = xp.astype(mean, x.dtype, copy=False)
    sample, d = _around(sums, x, mean, pivot, xp.ones_like(pivot))
    usual = ordinary(xp, pivot, sample.variance)
    return (sample, d) if xp.all(usual) else _around_mean(sums, x, None, usual)


def _around(
    sums: _Sums, x: Array, mean: Array, pivot: Array, power: Array | None
) -> tuple[Sample, Array]:
    d = x - pivot
    return sums.sample(d, pivot, sums.xp.astype(sums.mean(d), pivot.dtype, copy=False), power), d


def pooled(sample: Sample, axis: tuple[int, ...]) -> Sample:
    """The sample that those along some axes make together.

    mean = Σ n·mean / Σ n,   variance = Σ n·(variance + (mean − mean of all)²) / Σ n
    """
    xp = array_namespace(sample.pivot)
    if sample.power is not None:
        sample = sample.at(constant(_common_power(xp, sample, axis)))
    pivot, residual, variance, count, power = sample
    if not is_array(count) and not all(_checks.is_known(pivot.shape[one]) for one in axis):
        count = count + xp.zeros_like(pivot)
    if is_array(count):
        together = xp.sum(count, axis=axis, keepdims=True)
        weight = count / xp.where(together == 0, 1.0, together)
    else:
        parts = math.prod([pivot.shape[one] for one in axis])
        # Between two symbolic sizes an ONNX exporter divides in float32.
        together, weight = count * parts, xp.ones_like(pivot) / parts

    def mean(a: Array) -> Array:
        return total(xp, weight * a, axis, None)

    low, high = extent(xp, pivot, None, axis)
    middle = constant(between(xp, mean(pivot), low, high))
    d = (pivot - middle) + residual
    step = mean(d)
    d = d - step
    return Sample(middle, step, mean(variance + d * d), together, power)


def _common_power(xp: Any, sample: Sample, axis: tuple[int, ...]) -> Array:
    """The power of two for samples that are pooled: what is one number may differ from the next."""
    level, flat = sample.pivot / sample.power, sample.variance == 0
    low, high = extent(xp, level, None, axis)
    alone = (low == high) & xp.all(flat, axis=axis, keepdims=True)
    needed = xp.where(flat & ~alone, squarable(xp, abs(level)), sample.power)
    needed = xp.where(flat & (level == 0), xp.inf, needed)
    joint = xp.min(needed, axis=axis, keepdims=True)
    return xp.where(joint == xp.inf, 1.0, joint)


def segments(shape: tuple[Any, ...], axis: tuple[int, ...]) -> Split | None:
    """How to split an axis so that the inner reduced ones make a segment.

    None where the lengths have no divisors for that, or a size is unknown.
    """
    left = SEGMENT
    if not all(is_fixed(shape[one]) for one in axis) or not all(map(_checks.is_known, shape)):
        return None
    for at, one in reversed(list(enumerate(axis))):
        size = shape[one]
        if size <= left:
            left //= size
            continue
        part = divisor(size, left)
        if part is None:
            return None
        sizes = (*shape[:one], size // part, part, *shape[one + 1 :])
        return Split(sizes, tuple(i + 1 for i in axis[at:]), (*axis[:at], one))
    return Split(shape, axis, ())


def extent(xp: Any, x: Array, where: Array | None, axis: tuple[int, ...]) -> tuple[Array, Array]:
    """The least and the greatest element observed, 0 where there is none."""
    if where is None:
        return xp.min(x, axis=axis, keepdims=True), xp.max(x, axis=axis, keepdims=True)
    low = xp.min(xp.where(where, x, xp.inf), axis=axis, keepdims=True)
    high = xp.max(xp.where(where, x, -xp.inf), axis=axis, keepdims=True)
    return xp.where(low > high, 0.0, low), xp.where(low > high, 0.0, high)


def reach(xp: Any, low: Array, high: Array) -> Array:
    return xp.maximum(abs(low), abs(high))


def power_for(xp: Any, low: Array, high: Array, options: Options) -> Array:
    """The power of two for data in a range, and the eps that their variance meets."""
    top = reach(xp, low, high)
    power = squarable(xp, top)
    # A relative eps is no length, and meets the mean square.
    if options.eps_mode == "relative":
        return constant(power)
    # One number alone is added, and has nothing to square.
    return constant(rooted(xp, xp.where(low == high, summable(xp, top), power), options.eps))


def first(x: Array, axis: tuple[int, ...]) -> Array:
    return x[tuple(slice(0, 1) if i in axis else slice(None) for i in range(x.ndim))]


def _count(xp: Any, x: Array, axis: tuple[int, ...], where: Array | None, dtype: Any) -> Any:
    sizes = [x.shape[one] for one in axis]
    if where is None and all(_checks.is_known(size) for size in sizes):
        return math.prod(sizes)
    ones = xp.ones_like(x, dtype=dtype)
    seen = ones if where is None else xp.where(where, ones, 0.0)
    return xp.sum(seen, axis=axis, keepdims=True)
