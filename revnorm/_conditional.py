"""Conditional instance normalization: one scale and bias for each label."""

from typing import Any

from revnorm import _checks
from revnorm._arguments import public
from revnorm._data import recipe
from revnorm._fields import pick
from revnorm._instance import instance_norm
from revnorm._layout import Axis
from revnorm._libraries import device
from revnorm._trees import Array


@public
def conditional_instance_norm(
    x: Array,
    scales: Array,
    biases: Array,
    labels: Array,
    /,
    *,
    axis: Axis,
    batch_axis: int | None = None,
    channel_axis: int | None = None,
    eps: float = 1e-5,
    eps_mode: str = "add",
    where: Array | None = None,
    out: Array | None = None,
    precision: str = "full",
) -> Array:
    """Normalize each instance, with the scale and bias of its label.

        y = instance_norm(x) · scales[label] + biases[label]

    Parameters
    ----------
    x : array
        Real floating, any shape, N on `batch_axis` and C on `channel_axis`.
    scales, biases : array
        Of shape (labels, C).
    labels : array
        Integers of shape (N,), or real weights of shape (N, labels) that mix the rows. An
        integer out of range does what the library's `take` does with it.
    axis : int, tuple of int or Layout
        The axes that are reduced.
    batch_axis, channel_axis : int
        Where the instances and the channels lie; required but with a layout.
    eps, eps_mode, where, out, precision
        As in `instance_norm`.

    Returns
    -------
    array
        Shape, dtype and device as `x`.

    Raises
    ------
    TypeError
        If a dtype is not a valid one, or libraries are mixed.
    ValueError
        If an axis, shape or option is not a valid one.

    References
    ----------
    .. [1] V. Dumoulin, J. Shlens, M. Kudlur, "A Learned Representation for Artistic Style",
       ICLR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> x = np.asarray([[[0.0, 2.0]], [[4.0, 6.0]]])
    >>> scales, biases = np.asarray([[1.0], [10.0]]), np.asarray([[0.0], [5.0]])
    >>> axes = dict(axis=2, batch_axis=0, channel_axis=1)
    >>> rn.conditional_instance_norm(x, scales, biases, np.asarray([1, 0]), **axes, eps=0.0)
    array([[[-5., 15.]],
    <BLANKLINE>
           [[-1.,  1.]]])
    """
    xp = _checks.namespace(x=x, scales=scales, biases=biases, labels=labels)
    reduced = _checks.sample(xp, x, axis)
    batch_axis = _checks.other_axis("batch_axis", batch_axis, axis, x.ndim)
    channel_axis = _checks.other_axis("channel_axis", channel_axis, axis, x.ndim)
    batch_axis = _checks.kept_axis("batch_axis", batch_axis, x.ndim, reduced)
    channel_axis = _checks.kept_axis("channel_axis", channel_axis, x.ndim, reduced)
    _checks.tables(xp, scales, biases, labels, x, batch_axis, channel_axis)
    work = recipe(x, precision).work
    scale, bias = (
        _spread(xp, _rows(xp, xp.astype(t, work), labels), batch_axis, channel_axis, x.ndim)
        for t in (scales, biases)
    )
    options = dict(eps=eps, eps_mode=eps_mode, where=where, out=out, precision=precision)
    return instance_norm(x, scale, bias, axis=reduced, **options)


def _rows(xp: Any, table: Array, labels: Array) -> Array:
    if labels.ndim == 1:
        info = xp.__array_namespace_info__()
        index = info.default_dtypes(device=device(labels))["indexing"]
        return pick(xp, table, xp.astype(labels, index, copy=False), 0)
    return xp.sum(xp.astype(labels, table.dtype)[:, :, None] * table[None, :, :], axis=1)


def _spread(xp: Any, rows: Array, batch_axis: int, channel_axis: int, ndim: int) -> Array:
    """Rows of shape (N, C) laid along the two axes of an array of `ndim` dimensions."""
    if batch_axis > channel_axis:
        rows = xp.permute_dims(rows, (1, 0))
    kept = (batch_axis, channel_axis)
    return rows[tuple(slice(None) if axis in kept else None for axis in range(ndim))]
