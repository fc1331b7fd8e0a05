"""Moments of instances of any length: taken in blocks or parts, merged and pooled."""

from typing import Any, NamedTuple

from revnorm import _blocks, _checks, _registry
from revnorm._blocks import Place
from revnorm._checks import Array
from revnorm._libraries import array_namespace
from revnorm._sample import Sample, between, extent, measure, reach
from revnorm._scaling import squarable
from revnorm._sums import total, two_sum
from revnorm._trees import is_array


@_registry.add
class Moments(NamedTuple):
    """Mean, variance and count of every instance, with the reduced axes kept at size 1.

    Attributes
    ----------
    mean : array
        The mean, rounded to the dtype worked in.
    residual : array
        What rounding took: `mean + residual` is the mean to about twice the precision.
    variance : array
        The variance, divided by `count - correction`.
    count : array
        How many elements were observed.
    """

    mean: Array
    residual: Array
    variance: Array
    count: Array


@_blocks.quiet
def moments(
    x: Array,
    /,
    *,
    axis: int | tuple[int, ...],
    where: Array | None = None,
    correction: float = 0,
    precision: str = "full",
) -> Moments:
    """Mean and variance over the axes given.

        mean = Σ x / n,   variance = Σ (x − mean)² / (n − correction)

    Parameters
    ----------
    x : array
        Real floating, any shape.
    axis : int or tuple of int
        The axes that are reduced.
    where : array of bool, optional
        Broadcastable against `x`; only elements under True are counted.
    correction : float
        0 for the population variance, 1 for the unbiased one. Where it leaves nothing to divide
        by, the divisor is 1.
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
    options = _checks.options(correction=correction, precision=precision)
    reduced, where = _checks.operands(x, axis, where=where)
    return plain(statistics(x, where, reduced, options))


@_blocks.quiet
def merge(first: Moments, second: Moments, /) -> Moments:
    """Moments of two disjoint samples taken together.

        n = n₁ + n₂,   δ = mean₂ − mean₁,   w = n₂ / n
        mean = mean₁ + w·δ,   variance = variance₁·(1 − w) + variance₂·w + w·(1 − w)·δ²

    Parameters
    ----------
    first, second : Moments
        Of shapes that broadcast, with population variances (`correction=0`).

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
    _checks.namespace(first=first.mean, second=second.mean)
    _checks.together("second", second.mean, first.mean)
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


@_blocks.quiet
def statistics(
    x: Array, where: Array | None, axis: tuple[int, ...], options: _checks.Options
) -> Sample:
    """The sample that `x` is, its instances of any length."""
    recipe = _checks.recipe(x, options.precision)

    def kernel(x: Array, where: Array, power: Array, place: Place) -> Any:
        return None, *measure(x, where, place, recipe, power)[0]

    if not _blocks.is_long(x, axis):
        sample = _blocks.each(kernel, x, where, None, axis=axis, dtype=recipe.work)[1:]
        return corrected(Sample(*sample), options)
    cut = list(_blocks.parts(x, where, axis))
    power = None if recipe.once else _joint_power(cut, axis, recipe)
    samples = [
        Sample(*_blocks.each(kernel, *part, power, axis=axis, dtype=recipe.work)[1:])
        for part in cut
    ]
    xp = array_namespace(x)
    known = [plain(sample._replace(power=None)) for sample in samples]
    stacked = Sample(*(xp.stack(fields) for fields in zip(*known, strict=True)), None)
    whole = (field[0, ...] for field in pooled(stacked, 0)[:-1])
    return corrected(Sample(*whole, power), options)


def taken(moments: Moments, x: Array, options: _checks.Options) -> Sample:
    """Given moments as a sample, in no narrower dtype than is worked in for `x`."""
    xp = array_namespace(x)
    work = _checks.recipe(x, options.precision).work
    fields = (xp.astype(f, _checks.promoted(xp, f.dtype, work), copy=False) for f in moments)
    return Sample._make((*fields, None))


@_blocks.quiet
def pooled(sample: Sample, axis: int) -> Sample:
    """The sample that those along an axis make together.

    mean = Σ n·mean / Σ n,   variance = Σ n·(variance + (mean − mean of all)²) / Σ n
    """
    xp = array_namespace(sample.near)
    near, rest, variance, count, power = sample
    if power is not None:
        flat = (near == 0) & (variance == 0)
        joint = xp.min(xp.where(flat, xp.inf, power), axis=axis, keepdims=True)
        joint = xp.where(joint == xp.inf, 1.0, joint)
        share = joint / power
        near, rest, variance = near * share, rest * share, variance * share * share
        power = joint
    count = count if is_array(count) else count * xp.ones_like(near)
    together = xp.sum(count, axis=axis, keepdims=True)
    weight = count / xp.where(together == 0, 1.0, together)

    def mean(a: Array) -> Array:
        return total(xp, weight * a, (axis,), None)

    ends = (extreme(near, axis=axis, keepdims=True) for extreme in (xp.min, xp.max))
    middle = between(xp, mean(near), *ends)
    d = (near - middle) + rest
    step = mean(d)
    d = d - step
    return Sample(middle, step, mean(variance + d * d), together, power)


def plain(sample: Sample) -> Moments:
    """Moments of the data itself."""
    near, rest, variance, count, power = sample
    if not is_array(count):
        count = array_namespace(near).ones_like(near) * count
    mean, residual = two_sum(near, rest)
    if power is None:
        return Moments(mean, residual, variance, count)
    return Moments(mean / power, residual / power, variance / power / power, count)


def corrected(sample: Sample, options: _checks.Options) -> Sample:
    """The variance divided by count − correction instead of the count."""
    if not options.correction:
        return sample
    xp = array_namespace(sample.near)
    count = plain(sample).count
    left = count - options.correction
    return sample._replace(variance=sample.variance * (count / xp.where(left > 0, left, 1.0)))


def _joint_power(cut: Any, axis: tuple[int, ...], recipe: _checks.Recipe) -> Array:
    """The power of two for all parts of the same instances."""
    xp = array_namespace(cut[0][0])

    def kernel(x: Array, where: Array, place: Place) -> Any:
        return None, *extent(xp, x, where, place.axis)

    ranges = [_blocks.each(kernel, *part, axis=axis, dtype=recipe.work)[1:] for part in cut]
    reaches = xp.stack([reach(xp, *ends) for ends in ranges])
    return squarable(xp, xp.max(reaches, axis=0))
