"""SpatiallyAdaptiveNorm, with the convolutions that read the segmentation."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate

from revnorm._checks import number
from revnorm._spatial import spatially_adaptive_norm
from revnorm.torch import _checks

# Of (batch, channels, height, width).
_RANKS, _LAYOUT, _AXIS = (4,), "NCHW", (2, 3)


class SpatiallyAdaptiveNorm(nn.Module):
    """Normalize each channel of each image, then scale and shift it by a segmentation.

        y = instance_norm(x) · (1 + mlp_gamma(a)) + mlp_beta(a),   a = mlp_shared(segmentation)

    Parameters
    ----------
    num_channels : int
        How many channels the images have.
    label_channels : int
        How many channels the segmentation has: labels one-hot, or what else tells regions apart.
    hidden : int
        How many channels there are between the two convolutions.
    eps : float
        In units of the variance.
    device, dtype
        Of the parameters, as in PyTorch's own layers.

    Attributes
    ----------
    mlp_shared : Sequential
        A convolution of 3×3, and a ReLU.
    mlp_gamma, mlp_beta : Conv2d
        Convolutions of 3×3 from what `mlp_shared` gives.

    Raises
    ------
    TypeError
        If an option is of the wrong type. When called, if the data are not real floating.
    ValueError
        If an option is not a valid one. When called, if images or segmentation have other than
        four axes, another number of channels than the layer, or another batch than each other.

    Notes
    -----
    This is the authors' "spadeinstance3x3", whose state dict it loads and gives. Their
    "spadesyncbatch3x3" normalizes by the batch in training and by running statistics in evaluation,
    which this layer does not have: a state dict with ``param_free_norm.running_mean`` is refused
    rather than read as something else.

    References
    ----------
    .. [1] T. Park, M.-Y. Liu, T.-C. Wang, J.-Y. Zhu, "Semantic Image Synthesis with
       Spatially-Adaptive Normalization", CVPR 2019.

    Examples
    --------
    >>> import torch
    >>> from revnorm.torch import SpatiallyAdaptiveNorm
    >>> layer = SpatiallyAdaptiveNorm(16, 5)
    >>> labels = torch.randint(5, (2, 64, 64))
    >>> segmentation = torch.nn.functional.one_hot(labels, 5).movedim(-1, 1).float()
    >>> layer(torch.randn(2, 16, 8, 8), segmentation).shape
    torch.Size([2, 16, 8, 8])
    """

    def __init__(
        self,
        num_channels: int,
        label_channels: int,
        *,
        hidden: int = 128,
        eps: float = 1e-5,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_channels = _checks.positive("num_channels", num_channels)
        self.label_channels = _checks.positive("label_channels", label_channels)
        self.hidden = _checks.positive("hidden", hidden)
        self.eps = number("eps", eps)
        made: Any = {"device": device, "dtype": dtype, "padding": 1}
        shared = nn.Conv2d(self.label_channels, self.hidden, 3, **made)
        self.mlp_shared = nn.Sequential(shared, nn.ReLU())
        self.mlp_gamma = nn.Conv2d(self.hidden, self.num_channels, 3, **made)
        self.mlp_beta = nn.Conv2d(self.hidden, self.num_channels, 3, **made)

    def reset_parameters(self) -> None:
        """Begin anew, each convolution as PyTorch begins it."""
        for convolution in (self.mlp_shared[0], self.mlp_gamma, self.mlp_beta):
            convolution.reset_parameters()

    def forward(self, x: torch.Tensor, segmentation_map: torch.Tensor) -> torch.Tensor:
        """Normalize images.

        Parameters
        ----------
        x : Tensor
            Of shape (batch, channels, height, width).
        segmentation_map : Tensor
            Of shape (batch, labels, any, any); it is resized to `x` by its nearest pixels.

        Returns
        -------
        Tensor
            Shape, dtype and device as `x`.
        """
        for name, given, channels in (
            ("x", x, self.num_channels),
            ("segmentation_map", segmentation_map, self.label_channels),
        ):
            _checks.rank(given, _RANKS, _LAYOUT, name=name)
            _checks.as_many(given, channels, 1, name=name)
        resized = interpolate(segmentation_map, size=x.shape[2:], mode="nearest")
        activation = self.mlp_shared(resized)
        scale_map, bias_map = self.mlp_gamma(activation), self.mlp_beta(activation)
        return spatially_adaptive_norm(x, scale_map, bias_map, axis=_AXIS, eps=self.eps)

    def extra_repr(self) -> str:
        """What the layer was made with."""
        made = f"{self.num_channels}, {self.label_channels}"
        return f"{made}, hidden={self.hidden}, eps={self.eps!r}"
