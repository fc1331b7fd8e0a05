"""Reversible instance normalization of time series."""

from functools import partial
from typing import Any

from revnorm import _checks
from revnorm._affine import AffineMap, as_dtype_of, normalize, standardize
from revnorm._checks import Array
from revnorm._libraries import array_namespace, device
from revnorm._sample import Sample


def revin(
    x: Array,
    /,
    scale: Array | float | None = None,
    bias: Array | float | None = None,
    *,
    axis: int | tuple[int, ...],
    channel_axis: int | None = None,
    eps: float = 1e-5,
    eps_mode: str = "add",
    correction: float = 0,
    center: str = "mean",
    where: Array | None = None,
    out: Array | None = None,
    precision: str = "full",
) -> tuple[Array, AffineMap]:
    """Normalize each series and give the map, whose inverse denormalizes a forecast.

        y = (x − center) / sqrt(variance + eps) · scale + bias,   map.inv(y) = x

    Parameters
    ----------
    x : array
        Real floating; batch, time, channels in any order.
    scale, bias : array or float, optional
        Broadcastable against `x`, or 1-D of the channels with `channel_axis`.
    axis : int or tuple of int
        The axes of time.
    channel_axis, eps, eps_mode, correction, where, out, precision
        As in `instance_norm`.
    center : {"mean", "last"}
        What becomes 0 before the bias: the mean, or the last observed element along `axis`.
        The variance is taken around the mean either way.

    Returns
    -------
    y : array
        Shape, dtype and device as `x`.
    map : AffineMap
        The map that was applied. `map.inv` undoes it, on any array that broadcasts.

    Raises
    ------
    TypeError
        If a dtype is not real floating, or libraries are mixed.
    ValueError
        If an axis, shape or option is not a valid one.

    References
    ----------
    .. [1] T. Kim et al., "Reversible Instance Normalization for Accurate Time-Series
       Forecasting against Distribution Shift", ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> series = np.asarray([[[1.0], [3.0], [5.0]]])
    >>> y, map = rn.revin(series, axis=1)
    >>> map.inv(y)
    array([[[1.],
            [3.],
            [5.]]])
    """
    _checks.choice("center", center, ("mean", "last"))
    options = _checks.options(
        eps=eps, eps_mode=eps_mode, correction=correction, precision=precision
    )
    reduced, where, scale, bias = _checks.operands(
        x, axis, channel_axis, where, scale=scale, bias=bias
    )
    last = _last(x, where, reduced) if center == "last" else None
    build = partial(_centred, options=options)
    keywords = dict(axis=reduced, options=options, where=where, out=out, keep=True)
    return normalize(build, x, scale, bias, last, **keywords)


def _centred(
    sample: Sample, scale: Any, bias: Any, last: Array | None, options: _checks.Options
) -> AffineMap:
    map = standardize(sample, scale, bias, options)
    if last is None:
        return map
    last = as_dtype_of(last, map.divisor)
    if sample.power is not None:
        last = last * sample.power
    return map._replace(center=last, center_residual=0.0)


def _last(x: Array, where: Array | None, axis: tuple[int, ...]) -> Array:
    """The last observed element of each instance, in the order of the axes; else 0."""
    xp = array_namespace(x)
    if where is None and all(_checks.is_known(x.shape[one]) for one in axis):
        return x[tuple(slice(-1, None) if i in axis else slice(None) for i in range(x.ndim))]
    seen = xp.ones_like(x, dtype=xp.bool)
    seen = seen if where is None else where & seen
    for one in reversed(axis):
        place = xp.where(seen, _places(xp, x, one), 0)
        last = xp.max(place, axis=one, keepdims=True)
        x = xp.where(seen & (place == last), x, xp.zeros_like(x))
        x, seen = xp.sum(x, axis=one, keepdims=True), last > 0
    return x


def _places(xp: Any, x: Array, axis: int) -> Array:
    """1, 2, 3 and so on along an axis."""
    length = x.shape[axis]
    if not _checks.is_known(length):
        return xp.cumulative_sum(xp.ones_like(x, dtype=xp.int64), axis=axis)
    return _checks.along(xp, xp.arange(1, length + 1, device=device(x)), axis, x.ndim)
