"""Instance normalization, and with other axes layer, group and batch normalization."""

from functools import partial

from revnorm import _checks, _map_checks
from revnorm._arguments import public
from revnorm._layout import Axis
from revnorm._moments import Moments, as_moments, as_sample
from revnorm._normalize import affine, normalize
from revnorm._trees import Array


@public
def instance_norm(
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
    where: Array | None = None,
    moments: Moments | None = None,
    out: Array | None = None,
    precision: str = "full",
) -> Array:
    """Normalize each instance to mean 0 and variance 1, then scale and shift it.

        y = (x − mean) / sqrt(variance + eps) · scale + bias

    Parameters
    ----------
    x : array
        Real floating, any shape.
    scale, bias : array or float, optional
        Broadcastable against `x`, or 1-D of the channels with `channel_axis`.
    axis : int, tuple of int or Layout
        The axes that are reduced: (2, 3) for an instance norm of NCHW, see Notes.
    channel_axis : int, optional
        Where a 1-D scale or bias lies; a layout's, if `axis` is one.
    eps : float
        In units of the variance; with "relative", a share of the mean square.
    eps_mode : {"add", "clamp", "relative"}
        sqrt(variance + eps), sqrt(max(variance, eps)), or sqrt(variance + eps · mean square).
    correction : float
        The variance is divided by count - correction.
    where : array of bool, optional
        Broadcastable against `x`: what counts in the statistics. Everything is normalized.
    moments : Moments, optional
        Statistics to use instead of those of `x`, as they are: `where` or a `correction` beside
        them is a ValueError.
    out : array, optional
        Where the result is written; shape and dtype as `x`, eager and writable.
    precision : {"full", "native"}
        The dtype worked in, as in `moments`.

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

    Notes
    -----
    Other names for other axes, on an array of N, C, H, W:

    ========================  ===============================================
    batch norm (training)     ``axis=(0, 2, 3)``
    layer norm                ``axis=(1, 2, 3)``
    group norm                ``axis=(2, 3, 4)`` of N, groups, C/groups, H, W
    ========================  ===============================================

    References
    ----------
    .. [1] D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance Normalization: The Missing
       Ingredient for Fast Stylization", arXiv:1607.08022.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> x = np.asarray([[1.0, 3.0], [10.0, 30.0]])
    >>> rn.instance_norm(x, axis=1, eps=0.0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    options = _checks.options(
        eps=eps, eps_mode=eps_mode, correction=correction, precision=precision
    )
    data, scale, bias = _checks.data(
        x, axis, channel_axis, where, options=options, scale=scale, bias=bias
    )
    _map_checks.statistics("moments", moments, x, data.axis)
    known = None
    if moments is not None:
        _map_checks.beside_moments(options.correction, where=where)
        known = as_sample(moments, data)
    return normalize(data, partial(affine, options=options), scale, bias, known=known, out=out)[0]


@public
def measured(
    x: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    axis: Axis,
    channel_axis: int | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Moments]:
    """Instance norm, and the moments that it took: what running statistics need, in one pass."""
    options = _checks.options(eps=eps)
    data, scale, bias = _checks.data(x, axis, channel_axis, options=options, scale=scale, bias=bias)
    y, sample = normalize(data, partial(affine, options=options), scale, bias, keep=True)
    return y, as_moments(sample)
