"""ConditionalInstanceNorm, with a weight and a bias for each style."""

from typing import Any

import torch
from torch import nn

from revnorm._checks import number
from revnorm._conditional import conditional_instance_norm
from revnorm._layout import Layout
from revnorm.torch import _checks


class ConditionalInstanceNorm(nn.Module):
    """Normalize each instance, with the weight and bias of its style.

        y = instance_norm(x) · weight[label] + bias[label]

    Parameters
    ----------
    num_channels : int
        How many channels the data have.
    num_styles : int
        How many styles there are to learn.
    layout : str or Layout
        A letter for each axis, with one for the batch and one for the channels, such as "NCHW".
    eps : float
        In units of the variance.
    device, dtype
        Of the parameters, as in PyTorch's own layers.

    Attributes
    ----------
    weight, bias : Parameter
        Of shape (styles, channels).

    Raises
    ------
    TypeError
        If an option is of the wrong type. When called, if a dtype is not a valid one.
    ValueError
        If an option is not a valid one, or the layout names no batch or no channels. When called,
        if the data have other axes than the layout, or another number of channels than the layer,
        or the labels do not fit.

    References
    ----------
    .. [1] V. Dumoulin, J. Shlens, M. Kudlur, "A Learned Representation for Artistic Style",
       ICLR 2017.

    Examples
    --------
    >>> import torch
    >>> from revnorm.torch import ConditionalInstanceNorm
    >>> layer = ConditionalInstanceNorm(3, 10, layout="NCHW")
    >>> images = torch.randn(2, 3, 8, 8)
    >>> y = layer(images, torch.tensor([4, 7]))
    >>> mixed = layer(images, torch.full((2, 10), 0.1))
    """

    def __init__(
        self,
        num_channels: int,
        num_styles: int,
        *,
        layout: str | Layout,
        eps: float = 1e-5,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_channels = _checks.positive("num_channels", num_channels)
        self.num_styles = _checks.positive("num_styles", num_styles)
        self.axis, self.channel_axis, self.batch_axis, ndim = _checks.axes(layout, None, None)
        _checks.is_whole(self.axis, self.channel_axis, self.batch_axis, layout=layout)
        self.layout, self.eps, self._ranks = layout, number("eps", eps), (ndim,)
        size = (self.num_styles, self.num_channels)
        self.weight = nn.Parameter(torch.empty(size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(size, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin anew: weights 1, biases 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Normalize data of the layer's layout.

        Parameters
        ----------
        x : Tensor
            Of the layer's layout.
        labels : Tensor
            Integers of shape (N,), or real weights of shape (N, styles) that mix the styles.

        Returns
        -------
        Tensor
            Shape, dtype and device as `x`.
        """
        _checks.rank(x, self._ranks, self.layout)
        _checks.as_many(x, self.num_channels, self.channel_axis)
        axes = {name: getattr(self, name) for name in ("axis", "batch_axis", "channel_axis")}
        return conditional_instance_norm(x, self.weight, self.bias, labels, eps=self.eps, **axes)

    def extra_repr(self) -> str:
        """What the layer was made with."""
        made = f"{self.num_channels}, {self.num_styles}"
        return f"{made}, layout={self.layout!r}, eps={self.eps!r}"
