"""Batch-Instance normalization: between batch norm and instance norm, by a gate."""

from functools import partial
from typing import Any

from revnorm import _checks, _map_checks
from revnorm._arguments import public
from revnorm._data import Data
from revnorm._frames import UNIT, Frame, blended
from revnorm._layout import Axis
from revnorm._libraries import array_namespace
from revnorm._moments import Moments, as_moments, as_sample, statistics, together
from revnorm._normalize import normalize, standard
from revnorm._sample import Sample
from revnorm._tracing import constant
from revnorm._trees import Array


@public
def batch_instance_norm(
    x: Array,
    gate: Array | float,
    /,
    scale: Array | float | None = None,
    bias: Array | float | None = None,
    *,
    axis: Axis,
    batch_axis: int | None = None,
    channel_axis: int | None = None,
    eps: float = 1e-5,
    batch_moments: Moments | None = None,
    where: Array | None = None,
    out: Array | None = None,
    precision: str = "full",
) -> Array:
    """Blend the batch's normalization with each instance's, then scale and shift.

        y = (gate · batch_norm(x) + (1 − gate) · instance_norm(x)) · scale + bias

    Parameters
    ----------
    x : array
        Real floating, any shape.
    gate : array or float
        1 for batch norm, 0 for instance norm; broadcastable against `x`, or 1-D of the
        channels with `channel_axis`. Clipping it to [0, 1] is the training loop's.
    scale, bias : array or float, optional
        As `gate`.
    axis : int, tuple of int or Layout
        The axes that an instance reduces; the batch reduces `batch_axis` as well.
    batch_axis : int
        Where the instances of a batch lie; required but with a layout.
    batch_moments : Moments, optional
        Statistics for the batch's part, such as running ones at inference.
    channel_axis, eps, where, out, precision
        As in `instance_norm`.

    Returns
    -------
    array
        Shape, dtype and device as `x`.

    Raises
    ------
    TypeError
        If a dtype is not real floating, or libraries are mixed.
    ValueError
        If an axis, shape or option is not a valid one.

    References
    ----------
    .. [1] H. Nam, H.-E. Kim, "Batch-Instance Normalization for Adaptively Style-Invariant
       Neural Networks", NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> x = np.asarray([[[0.0, 2.0]], [[4.0, 6.0]]])
    >>> rn.batch_instance_norm(x, 0.0, axis=2, batch_axis=0, eps=0.0).ravel()
    array([-1.,  1., -1.,  1.])
    >>> rn.batch_instance_norm(x, 1.0, axis=2, batch_axis=0, eps=0.0).ravel().round(3)
    array([-1.342, -0.447,  0.447,  1.342])
    """
    options = _checks.options(eps=eps, precision=precision)
    data, gate, scale, bias = _checks.data(
        x, axis, channel_axis, where, options=options, gate=gate, scale=scale, bias=bias
    )
    batch_axis = _checks.other_axis("batch_axis", batch_axis, axis, x.ndim)
    both = (_checks.kept_axis("batch_axis", batch_axis, x.ndim, data.axis), *data.axis)
    _map_checks.statistics("batch_moments", batch_moments, x, both)
    known = None if batch_moments is None else as_sample(batch_moments, data)
    return _within_batch(data, both[:1], known, gate, scale, bias, out=out)[0]


@public
def measured(
    x: Array,
    gate: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    axis: Axis,
    batch_axis: int,
    channel_axis: int,
    eps: float = 1e-5,
) -> tuple[Array, Moments]:
    """Batch-Instance norm, and the batch's moments, which running statistics follow."""
    options = _checks.options(eps=eps)
    data, gate, scale, bias = _checks.data(
        x, axis, channel_axis, options=options, gate=gate, scale=scale, bias=bias
    )
    y, batch = _within_batch(data, (batch_axis,), None, gate, scale, bias)
    return y, as_moments(batch)


def _within_batch(
    data: Data,
    batch_axes: tuple[int, ...],
    batch: Sample | None,
    *parameters: Any,
    out: Array | None = None,
) -> tuple[Array, Sample]:
    """The blend by the batch's statistics, its own unless they are given, and these."""
    sample, held = statistics(data), batch is None and data.where is None
    if batch is None:
        _checks.sample(array_namespace(data.x), data.x, (*batch_axes, *data.axis))
        batch = together(sample, batch_axes)
    if held and batch.power is not None:
        # One number alone needs no power of two; beside the others of its batch it does.
        xp = array_namespace(data.x)
        sample = sample.at(constant(xp.maximum(sample.power, batch.power)))
    frames = partial(_gated, options=data.options, held=held)
    ends = (standard(batch, data.options), *parameters)
    return normalize(data, frames, *ends, known=sample, out=out)[0], batch


def _gated(
    sample: Sample, batch: Frame, gate: Any, scale: Any, bias: Any, *, options: Any, held: bool
) -> tuple[Frame, Frame]:
    """The frames of the blend; an instance that the batch has `held` is not far from it."""
    own = standard(sample, options)
    ends = [(own, UNIT), (batch, UNIT)]
    center = None
    if held:
        # One number has no unit of its own; that of the batch is of the right size.
        unit = array_namespace(own.unit).where(
            sample.variance == 0, batch.at(own.power).unit, own.unit
        )
        center = own._replace(unit=unit)
    source, target = blended(ends, [1 - gate, gate], center)
    return source, target.affine(scale, bias)
