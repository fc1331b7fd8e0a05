"""Mean and variance of the instances in hand: the only place that reduces.

    shift    a member of the sample, or the rounded mean
    d        x − shift
    mean     shift + E[d]
    variance E[d²] − E[d]²

A shift by a member loses at most a factor n, by Samuelson's inequality, which float64 has to
spare for narrower data. Where there is no wider type the shift is the mean itself, and a power of
two keeps the squares within range. In blocks, where values can be looked at, both are left out for
the instances that do not need them; what is done for an instance depends on no other.
"""

import math
from typing import Any, NamedTuple

from revnorm import _checks
from revnorm._blocks import Place
from revnorm._checks import Array
from revnorm._libraries import array_namespace
from revnorm._scaling import ordinary, squarable
from revnorm._stored import stored
from revnorm._sums import dot, total
from revnorm._trees import is_array

# Up to this mean/std a wider type needs no shift: its square is what the variance loses.
CLOSE = 16.0


class Sample(NamedTuple):
    """Moments of data times `power`, a power of two or None; the mean is a sum left open.

    The count is a number where every element of a known shape counts.
    """

    near: Array
    rest: Array
    variance: Array
    count: Array
    power: Array | None


def measure(
    x: Array,
    where: Array | None,
    place: Place,
    recipe: _checks.Recipe,
    power: Array | None = None,
) -> tuple[Sample, Array]:
    """The sample, with d = x · power − near that it was taken of."""
    xp = array_namespace(x)
    x = xp.astype(x, recipe.work, copy=False)
    instances = _Instances(xp, where, place, recipe, _count(xp, x, place.axis, where))
    if recipe.once and not is_array(instances.count):
        return instances.around_member(x)
    if place.cut and not recipe.once and power is None:
        return instances.around_mean_if_usual(x)
    return instances.around_mean(x, power)


class _Instances(NamedTuple):
    """How the instances of an array are summed up."""

    xp: Any
    where: Array | None
    place: Place
    recipe: _checks.Recipe
    count: Any

    def around_member(self, x: Array) -> tuple[Sample, Array]:
        """Around the first element, in a type with bits to spare."""
        xp, place = self.xp, self.place
        near = first(x, place.axis) + 0.0
        if place.lanes:
            sample, d = self._around(x, xp.zeros_like(near), self._mean(x))
            close = sample.rest * sample.rest <= CLOSE * CLOSE * sample.variance
            if xp.all(close):
                return sample, d
            near = xp.where(close, 0.0, near)
        if place.cut:
            # The block is a wider copy of the data, which nobody else reads.
            x -= near
        d = x if place.cut else x - near
        return self._around(d, near, self._mean(d))

    def around_mean(
        self, x: Array, power: Array | None, usual: Array | None = None
    ) -> tuple[Sample, Array]:
        """Around the mean; where `usual`, of the data as they are."""
        xp = self.xp
        low, high = self._range(x)
        if not self.recipe.once:
            if power is None:
                power = squarable(xp, reach(xp, low, high))
            if usual is not None:
                power = xp.where(usual, 1.0, power)
            power = stored(power)
            x, low, high = x * power, low * power, high * power
        mean = self._mean(self._seen(x))
        near = stored(between(xp, xp.astype(mean, self.recipe.work, copy=False), low, high))
        return self._around_near(x, near, mean, power)

    def around_mean_if_usual(self, x: Array) -> tuple[Sample, Array]:
        """The same, without a look at the least and greatest where the result needs none."""
        xp = self.xp
        mean = self._mean(self._seen(x))
        near = xp.astype(mean, self.recipe.work, copy=False)
        sample, d = self._around_near(x, near, mean, xp.ones_like(near))
        usual = ordinary(xp, near, sample.variance)
        return (sample, d) if xp.all(usual) else self.around_mean(x, None, usual)

    def _around_near(
        self, x: Array, near: Array, mean: Array, power: Array | None
    ) -> tuple[Sample, Array]:
        d = x - near
        exact = mean.dtype == near.dtype or self.place.lanes
        rest = self._mean(self._seen(d)) if exact else mean - near
        return self._around(d, near, self.xp.astype(rest, self.recipe.work, copy=False), power)

    def _around(
        self, d: Array, near: Array, rest: Array, power: Array | None = None
    ) -> tuple[Sample, Array]:
        """The sample, given the mean of d."""
        square = self._mean_square(self._seen(d))
        variance = self.xp.astype(square, self.recipe.work, copy=False) - rest * rest
        variance = self.xp.where(variance < 0, 0.0, variance)
        return Sample(near, rest, variance, self.count, power), d

    def _seen(self, a: Array) -> Array:
        return a if self.where is None else self.xp.where(self.where, a, 0.0)

    def _mean(self, a: Array) -> Array:
        if self.place.lanes:
            return dot(self.xp, a, None, self.recipe.wide) / self._divisor()
        return total(self.xp, a, self.place.axis, self.recipe.wide) / self._divisor()

    def _mean_square(self, a: Array) -> Array:
        if self.place.lanes:
            return dot(self.xp, a, a, self.recipe.wide) / self._divisor()
        return total(self.xp, a * a, self.place.axis, self.recipe.wide) / self._divisor()

    def _divisor(self) -> Array | int:
        count = self.count
        return self.xp.where(count == 0, 1.0, count) if is_array(count) else count

    def _range(self, x: Array) -> tuple[Array, Array]:
        return extent(self.xp, x, self.where, self.place.axis)


def extent(xp: Any, x: Array, where: Array | None, axis: tuple[int, ...]) -> tuple[Array, Array]:
    """The least and the greatest element observed, 0 where there is none."""
    if where is None:
        return xp.min(x, axis=axis, keepdims=True), xp.max(x, axis=axis, keepdims=True)
    low = xp.min(xp.where(where, x, xp.inf), axis=axis, keepdims=True)
    high = xp.max(xp.where(where, x, -xp.inf), axis=axis, keepdims=True)
    return xp.where(low > high, 0.0, low), xp.where(low > high, 0.0, high)


def reach(xp: Any, low: Array, high: Array) -> Array:
    return xp.maximum(abs(low), abs(high))


def between(xp: Any, a: Array, low: Array, high: Array) -> Array:
    """The number, or the end of the range that rounding took it past."""
    return xp.where(a < low, low, xp.where(a > high, high, a))


def first(x: Array, axis: tuple[int, ...]) -> Array:
    return x[tuple(slice(0, 1) if i in axis else slice(None) for i in range(x.ndim))]


def _count(xp: Any, x: Array, axis: tuple[int, ...], where: Array | None) -> Array | int:
    sizes = [x.shape[one] for one in axis]
    if where is None and all(_checks.is_known(size) for size in sizes):
        return math.prod(sizes)
    ones = xp.ones_like(x)
    seen = ones if where is None else xp.where(where, ones, 0.0)
    return xp.sum(seen, axis=axis, keepdims=True)
