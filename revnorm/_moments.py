"""Mean and variance of instances: the only place that reduces.

    shift    a member of the sample, or the rounded mean
    d        x − shift
    mean     shift + E[d]
    variance E[d²] − E[d]²

A shift by a member loses at most a factor n, by Samuelson's inequality, which float64 has to
spare for narrower data. Where there is no wider type the shift is the mean itself.
"""

import math
from typing import Any, NamedTuple

import array_api_compat

from revnorm import _checks, _evaluate
from revnorm._checks import Array
from revnorm._scaling import squarable
from revnorm._sums import total


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

    def kernel(x: Array, where: Array, axis: tuple[int, ...]) -> Moments:
        return plain(*measure(x, axis, where, options.correction, options.precision))

    return _evaluate.run(kernel, x, where, axis=reduced)


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
    xp = _checks.namespace(first=first.mean, second=second.mean)
    count = first.count + second.count
    weight = second.count / xp.where(count == 0, xp.ones_like(count), count)
    gap, gap_residual = two_sum(second.mean, -first.mean)
    gap_residual = gap_residual + (second.residual - first.residual)
    step = weight * gap
    mean, residual = two_sum(first.mean, step)
    residual = residual + (first.residual + weight * gap_residual)
    mean, residual = two_sum(mean, residual)
    delta = gap + gap_residual
    between = weight * delta * ((1 - weight) * delta)
    within = first.variance * (1 - weight) + second.variance * weight
    return Moments(mean, residual, within + between, count)


def measure(
    x: Array, axis: tuple[int, ...], where: Array, correction: float, precision: str
) -> tuple[Moments, Array]:
    """Moments of `x` times a power of two, and that power (None where none is needed)."""
    xp = array_api_compat.array_namespace(x)
    work = _checks.work_dtype(xp, x, precision)
    power = None
    wider = work == xp.float64 and x.dtype != work
    x = xp.astype(x, work, copy=False)
    if where is not None:
        x = xp.where(where, x, xp.zeros_like(x))
    if not wider:
        power = squarable(xp, xp.max(xp.abs(x), axis=axis, keepdims=True))
        x = x * power
    count = _count(xp, x, axis, where)
    safe = xp.where(count == 0, xp.ones_like(count), count)

    if wider and where is None:
        shift = _first(x, axis)
    else:
        shift = total(xp, x, axis) / safe
    d = x - shift
    if where is not None:
        d = xp.where(where, d, xp.zeros_like(d))
    step = total(xp, d, axis) / safe
    square = total(xp, d * d, axis) / safe
    variance = square - step * step
    variance = xp.where(variance < 0, xp.zeros_like(variance), variance)
    if correction:
        left = xp.where(safe > correction, safe - correction, xp.ones_like(safe))
        variance = variance * (safe / left)
    return Moments(*two_sum(shift, step), variance, count), power


def plain(scaled: Moments, power: Array) -> Moments:
    """Moments of the data itself, from those of the data times a power of two."""
    if power is None:
        return scaled
    mean, residual, variance, count = scaled
    return Moments(mean / power, residual / power, variance / power / power, count)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum and its exact error (Knuth, TAOCP volume 2, 4.2.2, theorem B)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _first(x: Array, axis: tuple[int, ...]) -> Array:
    return x[tuple(slice(0, 1) if i in axis else slice(None) for i in range(x.ndim))]


def _count(xp: Any, x: Array, axis: tuple[int, ...], where: Array) -> Array:
    sizes = [x.shape[one] for one in axis]
    if where is None and None not in sizes:
        return xp.full_like(_first(x, axis), math.prod(sizes))
    ones = xp.ones_like(x)
    if where is not None:
        ones = xp.where(where, ones, xp.zeros_like(x))
    return xp.sum(ones, axis=axis, keepdims=True)
