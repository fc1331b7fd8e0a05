"""Adaptive instance normalization: content with the statistics of a style."""

from functools import partial
from numbers import Real
from typing import Any

from revnorm import _checks, _map_checks
from revnorm._affine import standardizer
from revnorm._arguments import public
from revnorm._data import Options
from revnorm._frames import UNIT, Frame, blended
from revnorm._layout import Axis
from revnorm._moments import Moments, statistics
from revnorm._normalize import normalize, standard
from revnorm._sample import Sample
from revnorm._trees import Array


@public
def adain(
    content: Array,
    style: Array | Moments,
    /,
    *,
    axis: Axis,
    eps: float = 1e-5,
    correction: float = 0,
    strength: Array | float = 1.0,
    where: Array | None = None,
    style_where: Array | None = None,
    out: Array | None = None,
    precision: str = "full",
) -> Array:
    """Give each instance of the content the mean and variance of the style's.

        y = (content − mean_c) / std_c · std_s + mean_s,   std = sqrt(variance + eps)

    Parameters
    ----------
    content : array
        Real floating, any shape.
    style : array or Moments
        As many axes as `content`; the reduced ones of any size, the others broadcastable. Moments
        are taken as they are: `style_where` or a `correction` beside them is a ValueError.
    axis : int, tuple of int or Layout
        The axes that are reduced, of both.
    eps : float
        In units of the variance, added to both.
    correction : float
        1 for unbiased variances, as in the PyTorch code in use; 0 as in the original.
    strength : float or array
        1 for the style's statistics, 0 for the content as it is, between for a mixture.
    where, style_where : array of bool, optional
        What counts in the statistics of content and style.
    out, precision
        As in `instance_norm`.

    Returns
    -------
    array
        Shape, dtype and device as `content`.

    Raises
    ------
    TypeError
        If a dtype is not real floating, or libraries are mixed.
    ValueError
        If an axis, shape or option is not a valid one.

    Notes
    -----
    The map is ``standardizer(style).inv @ standardizer(content)``, and nothing else.

    References
    ----------
    .. [1] X. Huang, S. Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance
       Normalization", ICCV 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> content, style = np.asarray([0.0, 2.0]), np.asarray([10.0, 14.0, 10.0, 14.0])
    >>> rn.adain(content, style, axis=0, eps=0.0)
    array([10., 14.])
    """
    options = _checks.options(eps=eps, correction=correction, precision=precision)
    data, strength = _checks.data(
        content, axis, where=where, options=options, name="content", strength=strength
    )
    if isinstance(style, Moments):
        _map_checks.statistics("style", style, content, data.axis)
        _map_checks.beside_moments(options.correction, style_where=style_where)
    else:
        _checks.same_instances("style", style, content, data.axis, style_where)
    styled = standardizer(style, axis=data.axis, where=style_where, **options._asdict()).inv
    # A standardizer's inverse has its center at 0.
    offset, offset_residual, _, _ = styled.target
    target = Frame(offset, offset_residual, styled.scale)
    frames = partial(_styled, options=options)
    if isinstance(strength, Real) and strength == 1:
        return normalize(data, frames, target, out=out)[0]
    frames, known = partial(_partly_styled, options=options), statistics(data)
    return normalize(data, frames, target, strength, known=known, out=out)[0]


def _styled(sample: Sample, style: Frame, options: Options) -> tuple[Frame, Frame]:
    return standard(sample, options), style


def _partly_styled(
    sample: Sample, style: Frame, strength: Any, options: Options
) -> tuple[Frame, Frame]:
    ends = [_styled(sample, style, options), (UNIT, UNIT)]
    return blended(ends, [strength, 1 - strength])
