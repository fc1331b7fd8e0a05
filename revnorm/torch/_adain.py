"""AdaIN as a layer, which has nothing to learn."""

import torch
from torch import nn

from revnorm._adain import adain
from revnorm._checks import number
from revnorm._layout import Layout
from revnorm._moments import Moments
from revnorm.torch import _checks


class AdaIN(nn.Module):
    """Give each instance of the content the mean and variance of the style's.

        y = (content − mean_c) / std_c · std_s + mean_s,   std = sqrt(variance + eps)

    Parameters
    ----------
    layout : str or Layout
        A letter for each axis, such as "NCHW".
    eps : float
        In units of the variance, added to both.

    Raises
    ------
    TypeError
        If an option is of the wrong type. When called, if the data are not real floating.
    ValueError
        If the layout has no axes to reduce. When called, if the data have other axes than the
        layout, or content and style do not fit.

    References
    ----------
    .. [1] X. Huang, S. Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance
       Normalization", ICCV 2017.

    Examples
    --------
    >>> import torch
    >>> from revnorm.torch import AdaIN
    >>> layer = AdaIN(layout="NCHW")
    >>> content, style = torch.randn(1, 3, 8, 8), 2 + torch.randn(1, 3, 5, 5)
    >>> y = layer(content, style, strength=0.5)
    """

    def __init__(self, *, layout: str | Layout, eps: float = 1e-5) -> None:
        super().__init__()
        self.axis, _, _, ndim = _checks.axes(layout, None, None)
        _checks.is_whole(self.axis, layout=layout)
        self.layout, self.eps, self._ranks = layout, number("eps", eps), (ndim,)

    def forward(
        self,
        content: torch.Tensor,
        style: torch.Tensor | Moments,
        strength: torch.Tensor | float = 1.0,
    ) -> torch.Tensor:
        """The content with the statistics of the style.

        Parameters
        ----------
        content : Tensor
            Of the layer's layout.
        style : Tensor or Moments
            Of the same layout; the reduced axes of any size, the others broadcastable.
        strength : float or Tensor
            1 for the style's statistics, 0 for the content as it is, between for a mixture.

        Returns
        -------
        Tensor
            Shape, dtype and device as `content`.
        """
        _checks.rank(content, self._ranks, self.layout, name="content")
        return adain(content, style, axis=self.axis, eps=self.eps, strength=strength)

    def extra_repr(self) -> str:
        """What the layer was made with."""
        return f"layout={self.layout!r}, eps={self.eps!r}"
