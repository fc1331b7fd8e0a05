"""Reversible instance normalization of time series."""

from functools import partial
from typing import Any

from revnorm import _blocks, _checks, _chunks
from revnorm._affine import AffineMap
from revnorm._arguments import public
from revnorm._data import Data
from revnorm._layout import Axis
from revnorm._libraries import array_namespace, device
from revnorm._moments import statistics
from revnorm._normalize import affine, apply, normalize
from revnorm._place import Whole
from revnorm._tracing import constant
from revnorm._trees import Array


def revin(
    x: Array,
    /,
    scale: Array | float | None = None,
    bias: Array | float | None = None,
    *,
    axis: Axis,
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

        y = (x − center) / sqrt(variance + eps) · scale + bias,   norm_map.inv(y) = x

    Parameters
    ----------
    x : array
        Real floating; batch, time, channels in any order.
    scale, bias : array or float, optional
        Broadcastable against `x`, or 1-D of the channels with `channel_axis`.
    axis : int, tuple of int or Layout
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
    norm_map : AffineMap
        The map that was applied. `norm_map.inv` undoes it, on any array that broadcasts.

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
    >>> y, norm_map = rn.revin(series, axis=1)
    >>> norm_map.inv(y)
    array([[[1.],
            [3.],
            [5.]]])
    """
    chosen = dict(eps=eps, eps_mode=eps_mode, correction=correction, precision=precision)
    axes = dict(axis=axis, channel_axis=channel_axis)
    return reversible(x, scale, bias, **axes, **chosen, center=center, where=where, out=out)


@public
def reversible(
    x: Array,
    scale: Array | float | None = None,
    bias: Array | float | None = None,
    *,
    axis: Axis,
    channel_axis: int | None = None,
    center: str = "mean",
    where: Array | None = None,
    out: Array | None = None,
    detached: bool = False,
    **chosen: Any,
) -> tuple[Array, AffineMap]:
    """RevIN; `detached`, of statistics through which no gradient flows."""
    _checks.choice("center", center, ("mean", "last"))
    options = _checks.options(**chosen)
    data, scale, bias = _checks.data(
        x, axis, channel_axis, where, options=options, scale=scale, bias=bias
    )
    frames = partial(affine, options=options)
    parameters = data.worked((scale, bias))
    if center == "mean":
        y, sample = normalize(data, frames, *parameters, out=out, keep=True, detached=detached)
        return y, AffineMap.between(*frames(sample, *parameters))
    measured = data._replace(x=constant(x)) if detached else data
    source, target = frames(statistics(measured), *parameters)
    last = _last(measured)
    source = source._replace(
        origin=last if source.power is None else last * source.power, residual=0.0
    )
    y = apply(source, target, x, out=out, gaps=where is not None)
    return y, AffineMap.between(source, target)


def _last(data: Data) -> Array:
    """The last observed element of each instance, in the order of the axes; else 0."""
    x, where, axis, *_ = data
    xp = array_namespace(x)
    if where is None and all(_checks.is_known(x.shape[one]) for one in axis):
        last = x[tuple(slice(-1, None) if i in axis else slice(None) for i in range(x.ndim))]
        return xp.astype(last, data.recipe.work, copy=True)

    if _chunks.are_plain(x, where):
        for one in reversed(axis):
            along = partial(_last_of, axis=(one,))
            x, where = _chunks.gathered(along, partial(_last_pair, along), x, where, (one,))
        return xp.astype(x, data.recipe.work, copy=False)

    def kernel(place: Whole, x: Array, where: Array | None) -> Any:
        return None, *_last_of(x, where, place.axis)

    parts = _blocks.parts(x, where, axis) if _blocks.is_long(x, axis) else [(x, where)]
    found: Any = 0.0
    for part in parts:
        _, last, seen = _blocks.run(kernel, *part, axis=axis, dtype=data.recipe.work)
        found = xp.where(seen, last, found)
    return found


def _last_pair(along: Any, fields: Any) -> Any:
    return along(*fields)


def _last_of(x: Array, where: Array | None, axis: tuple[int, ...]) -> tuple[Array, Array]:
    """The last observed elements, and whether there are any."""
    xp = array_namespace(x)
    seen = xp.ones_like(x, dtype=xp.bool)
    seen = seen if where is None else where & seen
    for one in reversed(axis):
        place = xp.where(seen, _places(xp, x, one), 0)
        last = xp.max(place, axis=one, keepdims=True)
        x = xp.where(seen & (place == last), x, xp.zeros_like(x))
        x, seen = xp.sum(x, axis=one, keepdims=True), last > 0
    return x, seen


def _places(xp: Any, x: Array, axis: int) -> Array:
    """1, 2, 3 and so on along an axis."""
    length = x.shape[axis]
    if not _checks.is_known(length):
        return xp.cumulative_sum(xp.ones_like(x, dtype=xp.int64), axis=axis)
    return _checks.along(xp, xp.arange(1, length + 1, device=device(x)), axis, x.ndim)
