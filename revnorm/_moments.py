"""Moments of instances of any length: taken in blocks or parts, merged and pooled."""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from revnorm import _blocks, _checks, _chunks, _fields, _map_checks, _memory, _registry
from revnorm._arguments import public
from revnorm._backward import Step, through
from revnorm._data import Data, wider
from revnorm._layout import Axis
from revnorm._libraries import array_namespace
from revnorm._place import Whole
from revnorm._sample import Sample, extent, measure, pooled, power_for
from revnorm._sums import two_sum
from revnorm._trees import Array, is_array, leaves


@_registry.add
@_fields.without_arithmetic("`rn.merge`")
class Moments(NamedTuple):
    """Mean, variance and count of every instance, with the reduced axes kept at size 1.

    Attributes
    ----------
    mean : array
        The mean, rounded to the dtype worked in.
    residual : array
        What rounding took: `mean + residual` is the mean to about twice the precision.
    variance : array
        The population variance: the mean of the squares of what deviates from the mean.
    count : array
        How many elements were observed.
    """

    mean: Array
    residual: Array
    variance: Array
    count: Array

    def take(self, indices: Array | Sequence[int] | slice | int, *, axis: int) -> "Moments":
        """The moments of some of the instances: each field at `indices` along `axis`."""
        return _fields.take(self, indices, axis)

    @classmethod
    def concat(cls, moments: Iterable["Moments"], /, *, axis: int) -> "Moments":
        """The moments of the instances of several, which follow each other along `axis`."""
        return _fields.concat(cls, moments, axis)

    def astype(self, dtype: Any, /) -> "Moments":
        """The moments in another dtype; what the mean loses by it goes to the residual."""
        return _fields.astype(self, dtype, {"mean": "residual"})

    def __repr__(self) -> str:
        """The fields in full if they are short, else by shape and dtype."""
        return _fields.described(self)


@public
def moments(
    x: Array,
    /,
    *,
    axis: Axis,
    where: Array | None = None,
    precision: str = "full",
) -> Moments:
    """Mean and population variance over the axes given.

        mean = Σ x / n,   variance = Σ (x − mean)² / n

    Parameters
    ----------
    x : array
        Real floating, any shape.
    axis : int, tuple of int or Layout
        The axes that are reduced.
    where : array of bool, optional
        Broadcastable against `x`; only elements under True are counted.
    precision : {"full", "native"}
        "full" works in float64 where the library and device have it, "native" in the dtype
        of `x`, at least float32.

    Returns
    -------
    Moments
        Arrays of the dtype worked in, shaped as `x` with the reduced axes at size 1. An
        instance of which nothing is observed has mean, variance and count 0.

    Raises
    ------
    TypeError
        If `x` is not real floating, `where` is not boolean, or libraries are mixed.
    ValueError
        If `axis` names no or one axis twice, or has no elements, or `where` does not fit.

    Notes
    -----
    The sum of squares is taken around a number near the mean and corrected by what that number
    missed, the corrected two-pass algorithm [1]_; that a member of the sample is near enough
    follows from Samuelson's inequality [2]_.

    What divides by count − 1 says so where the moments are used,
    ``standardizer(moments, correction=1)``: only population variances can be merged.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample
       variance: analysis and recommendations", The American Statistician 37 (1983).
    .. [2] P. A. Samuelson, "How deviant can you be?", JASA 63 (1968).

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> m = rn.moments(np.asarray([[1.0, 2.0, 3.0], [1e8, 1e8, 1e8 + 3]]), axis=1)
    >>> m.variance
    array([[0.66666667],
           [2.        ]])
    """
    options = _checks.options(precision=precision)
    data = _checks.data(x, axis, where=where, options=options)[0]
    return as_moments(statistics(data))


@public
def merge(first: Moments, second: Moments, /) -> Moments:
    """Moments of two disjoint samples taken together.

        n = n₁ + n₂,   δ = mean₂ − mean₁,   w = n₂ / n
        mean = mean₁ + w·δ,   variance = variance₁·(1 − w) + variance₂·w + w·(1 − w)·δ²

    Parameters
    ----------
    first, second : Moments
        Of shapes that broadcast.

    Returns
    -------
    Moments
        What `moments` gives for the two samples laid end to end.

    Raises
    ------
    TypeError
        If an argument is not a Moments, or libraries are mixed.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm
       for computing sample variances", COMPSTAT 1982.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> x = np.arange(10.0)
    >>> merged = rn.merge(rn.moments(x[:4], axis=0), rn.moments(x[4:], axis=0))
    >>> merged.mean, merged.variance, merged.count
    (array([4.5]), array([8.25]), array([10.]))
    """
    for name, one in (("first", first), ("second", second)):
        if not isinstance(one, Moments):
            raise TypeError(f"`{name}` must be a Moments, got {type(one).__name__}")
    for one in (first, second):
        _map_checks.fields(one)
    _checks.namespace(first=first.mean, second=second.mean)
    _checks.together("second", second.mean, first.mean)
    if _chunks.are_plain(first.mean, (*first, *second)):
        return _chunks.elementwise(merged, first, second)
    return merged(first, second)


def merged(first: Moments, second: Moments) -> Moments:
    """The same of moments that are known to fit."""
    xp = array_namespace(first.mean)
    count = first.count + second.count
    weight = second.count / xp.where(count == 0, 1.0, count)
    gap, low = two_sum(second.mean, -first.mean)
    low = low + (second.residual - first.residual)
    mean, residual = two_sum(first.mean, weight * gap)
    mean, residual = two_sum(mean, residual + (first.residual + weight * low))
    delta = gap + low
    within = first.variance * (1 - weight) + second.variance * weight
    return Moments(mean, residual, within + weight * delta * ((1 - weight) * delta), count)


def statistics(data: Data) -> Sample:
    """The sample that the data are, its instances of any length."""
    step = Step(partial(_taken, data), None, data.axis, data.recipe.work, data.recipe.accumulate)
    return Sample(*through(step, data.x, data.where)[1:])


def together(sample: Sample, axis: tuple[int, ...]) -> Sample:
    """The sample that those along some axes make, pooled few at a time."""
    pivot, rest = sample.pivot, sample[1:]

    def pool(pivot: Array, rest: Any) -> Sample:
        return _counted(pooled(Sample(pivot, *rest), axis))

    if _chunks.are_plain(pivot, rest):
        return _chunks.gathered(pool, lambda one: pooled(one, axis), pivot, rest, axis)
    if _memory.is_cut(*leaves(sample)) and pivot.shape[axis[0]] > _blocks.BLOCK:
        xp, parts = array_namespace(pivot), list(_blocks.parts(pivot, rest, axis))
        several = zip(*(pool(*part) for part in parts), strict=True)
        sample = Sample(*(None if f[0] is None else xp.concat(f, axis=axis[0]) for f in several))
    return pooled(sample, axis)


def in_parts(x: Array, where: Array | None, axis: tuple[int, ...]) -> bool:
    """Whether an instance is to be measured in parts, which are then pooled."""
    return _blocks.is_long(x, axis) or _chunks.cut_instances(x, where, axis)


def as_sample(moments: Moments, data: Data) -> Sample:
    """Given moments as a sample, in no narrower dtype than is worked in."""
    xp = array_namespace(data.x)
    work = data.recipe.work
    return Sample(*(xp.astype(f, wider(xp, f.dtype, work), copy=False) for f in moments))


def as_moments(sample: Sample) -> Moments:
    """Moments of the data itself."""
    if _chunks.are_plain(sample.pivot, sample):
        return _chunks.elementwise(as_moments, sample)
    pivot, residual, variance, count, power = _counted(sample)
    mean, residual = two_sum(pivot, residual)
    if power is None:
        return Moments(mean, residual, variance, count)
    return Moments(mean / power, residual / power, variance / power / power, count)


def _counted(sample: Sample) -> Sample:
    """The same sample, its count an array."""
    if is_array(sample.count):
        return sample
    ones = array_namespace(sample.pivot).ones_like(sample.pivot)
    return sample._replace(count=ones * sample.count)


def _taken(data: Data, x: Array, where: Array | None, **_: Any) -> tuple[Any, ...]:
    if _chunks.cut_instances(x, where, data.axis):
        return None, *_of_chunks(data, x, where)
    if not _blocks.is_long(x, data.axis):
        return _measured(data, x, where)
    parts = list(_blocks.parts(x, where, data.axis))
    power = None if data.recipe.widened else _joint_power(data, parts)
    samples = [Sample(*_measured(data, *part, power)[1:]) for part in parts]
    xp = array_namespace(x)
    known = [as_moments(sample._replace(power=None)) for sample in samples]
    stacked = Sample(*(xp.stack(fields) for fields in zip(*known, strict=True)))
    whole: Any = (field[0, ...] for field in pooled(stacked, (0,))[:-1])
    return None, *whole, power


def _of_chunks(data: Data, x: Array, where: Array | None) -> Sample:
    """The sample of instances that lie in several of Dask's chunks."""
    axis, size = data.axis, math.prod([x.shape[one] for one in data.axis])
    # A graph had better not hold another.
    data = data._replace(x=None, where=None)

    def taken(block: Array, where: Array | None) -> Sample:
        return _counted(Sample(*_taken(data, block, where)[1:]))

    whole = _chunks.gathered(taken, lambda one: pooled(one, axis), x, where, axis)
    return whole if where is not None else whole._replace(count=size)


def _measured(data: Data, x: Array, where: Array | None, power: Array | None = None) -> Any:
    recipe = data.recipe

    def kernel(place: Whole, x: Array, where: Array | None, power: Array | None) -> Any:
        return None, *measure(place, x, where, recipe, data.options, power)[0]

    given = dict(axis=data.axis, dtype=recipe.work, narrow=recipe.widened)
    return _blocks.run(kernel, x, where, power, **given)


def _joint_power(data: Data, parts: Any) -> Array:
    """The power of two for all parts of the same instances."""
    xp = array_namespace(parts[0][0])

    def kernel(place: Whole, x: Array, where: Array | None) -> Any:
        return None, *extent(array_namespace(x), x, where, place.axis)

    axis, dtype = data.axis, data.recipe.work
    ends = [_blocks.run(kernel, *part, axis=axis, dtype=dtype)[1:] for part in parts]
    low, high = (xp.stack(one) for one in zip(*ends, strict=True))
    return power_for(xp, xp.min(low, axis=0), xp.max(high, axis=0), data.options)
