"""Spatially adaptive normalization: scale and bias that vary in space."""

from functools import partial

from revnorm import _checks
from revnorm._arguments import public
from revnorm._data import Options
from revnorm._frames import Frame
from revnorm._layout import Axis
from revnorm._normalize import affine, normalize
from revnorm._sample import Sample
from revnorm._trees import Array


@public
def spatially_adaptive_norm(
    x: Array,
    scale_map: Array,
    bias_map: Array,
    /,
    *,
    axis: Axis,
    eps: float = 1e-5,
    eps_mode: str = "add",
    where: Array | None = None,
    out: Array | None = None,
    precision: str = "full",
) -> Array:
    """Normalize each instance, with a scale and bias for every position.

        y = instance_norm(x) · (1 + scale_map) + bias_map

    Parameters
    ----------
    x : array
        Real floating, any shape.
    scale_map, bias_map : array
        Broadcastable against `x`.
    axis : int, tuple of int or Layout
        The axes that are reduced; the published layer uses a batch norm's.
    eps, eps_mode, where, out, precision
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
    .. [1] T. Park, M.-Y. Liu, T.-C. Wang, J.-Y. Zhu, "Semantic Image Synthesis with
       Spatially-Adaptive Normalization", CVPR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> x, slope = np.asarray([-1.0, 1.0]), np.asarray([0.0, 1.0])
    >>> rn.spatially_adaptive_norm(x, slope, np.asarray([5.0, 5.0]), axis=0, eps=0.0)
    array([4., 7.])
    """
    options = _checks.options(eps=eps, eps_mode=eps_mode, precision=precision)
    data, scale_map, bias_map = _checks.data(
        x, axis, where=where, options=options, scale_map=scale_map, bias_map=bias_map
    )
    return normalize(data, partial(_varying, options=options), scale_map, bias_map, out=out)[0]


def _varying(
    sample: Sample, scale_map: Array, bias_map: Array, options: Options
) -> tuple[Frame, Frame]:
    return affine(sample, 1 + scale_map, bias_map, options=options)
