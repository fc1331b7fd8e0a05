"""InstanceNorm, for any rank and layout."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy

from revnorm._checks import number
from revnorm._instance import instance_norm, measured
from revnorm._layout import Axis, Layout
from revnorm.torch import _checks, _running

Initial = str | Callable[[torch.Size], torch.Tensor]

_FACTORS = ("scale_lr_factor", "bias_lr_factor", "scale_l2_factor", "bias_l2_factor")


class InstanceNorm(LazyModuleMixin, _InstanceNorm):
    """Normalize each channel of each instance, then scale and shift it.

        y = (x − mean) / sqrt(variance + eps) · weight + bias

    Stands in for ``nn.InstanceNorm1d``, ``2d`` and ``3d``, whose state dicts it loads and gives,
    and for MATLAB's ``instanceNormalizationLayer``, whose options it has.

    Parameters
    ----------
    num_channels : int, optional
        How many channels the data have. By default the first call tells, or a state dict that is
        loaded before it.
    layout : str or Layout, optional
        A letter for each axis, such as "NCHW", "BTC" or MATLAB's "SSCB"; without N or B for data
        that have no batch. Either this or `axis` is required.
    axis : int or tuple of int, optional
        The axes that are reduced.
    channel_axis : int, optional
        Where the channels lie; a layout's, if there is one.
    eps : float
        In units of the variance.
    affine : bool
        Whether to learn a weight and a bias for each channel.
    track_running_stats : bool
        Whether to keep running statistics in training, and normalize by them in evaluation.
    momentum : float, optional
        The share of a new batch in the running statistics; with None they are the average of all
        batches.
    scale_init, bias_init : {"ones", "zeros", "narrow-normal"} or callable
        What weight and bias begin as. "narrow-normal" draws from a normal distribution of
        standard deviation 0.01; a function is given the size, a ``torch.Size``, and gives a tensor
        of it.
    scale_lr_factor, bias_lr_factor, scale_l2_factor, bias_l2_factor : float
        What `parameter_groups` multiplies the learning rate and the weight decay with.
    device, dtype
        Of parameters and running statistics, as in PyTorch's own layers.

    Attributes
    ----------
    weight, bias : Parameter or None
        Of shape (channels,).
    running_mean, running_var : Tensor or None
        Of shape (channels,): the mean and the unbiased variance of an instance, averaged over
        instances.
    num_batches_tracked : Tensor or None
        How many batches there were in training.

    Raises
    ------
    TypeError
        If neither `layout` nor `axis` is given, or both, or an option is of the wrong type. When
        called, if the data are not real floating.
    ValueError
        If an option is not a valid one. When called, if the data have other axes than the layout,
        or another number of channels than the layer.

    Notes
    -----
    In evaluation, with running statistics, the data's own count for nothing. Within
    ``DistributedDataParallel`` they are averaged over the instances of all processes, so that they
    are the same in each. Where a layout reduces nothing, such as MATLAB's "CB", an instance is a
    single number, and the result is the bias.

    An instance of one element is its own mean: it gives the bias, and 0 to the running variance.

    References
    ----------
    .. [1] D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance Normalization: The Missing
       Ingredient for Fast Stylization", arXiv:1607.08022.

    Examples
    --------
    >>> import torch
    >>> from revnorm.torch import InstanceNorm
    >>> layer = InstanceNorm(layout="NHWC")
    >>> y = layer(torch.randn(8, 32, 32, 3))
    >>> layer.num_channels
    3
    """

    axis: tuple[int, ...]
    channel_axis: Any
    num_features: int
    _ranks: tuple[int, ...] | None

    def __init__(
        self,
        num_channels: int | None = None,
        *,
        layout: str | Layout | None = None,
        axis: Axis | None = None,
        channel_axis: int | None = None,
        eps: float = 1e-5,
        affine: bool = True,
        track_running_stats: bool = False,
        momentum: float | None = 0.1,
        scale_init: Initial = "ones",
        bias_init: Initial = "zeros",
        scale_lr_factor: float = 1.0,
        bias_lr_factor: float = 1.0,
        scale_l2_factor: float = 1.0,
        bias_l2_factor: float = 1.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.axis, self.channel_axis, _, ndim = _checks.axes(layout, axis, channel_axis)
        self.layout = layout
        self._ranks = None if ndim is None else (ndim,)
        # The base class resets the parameters, and so needs to know what they begin as.
        self.scale_init = _checks.initial("scale_init", scale_init)
        self.bias_init = _checks.initial("bias_init", bias_init)
        channels, stateful = _checks.channels(num_channels), affine or track_running_stats
        if stateful or channels is not None:
            _checks.has_channels(self.channel_axis, layout)
        made = channels is not None
        _InstanceNorm.__init__(
            self,
            channels or 0,
            number("eps", eps),
            _checks.share("momentum", momentum),
            affine and made,
            track_running_stats and made,
            device=device,
            dtype=dtype,
        )
        self.affine, self.track_running_stats = affine, track_running_stats
        factors = (scale_lr_factor, bias_lr_factor, scale_l2_factor, bias_l2_factor)
        for name, factor in zip(_FACTORS, factors, strict=True):
            setattr(self, name, number(name, factor))
        if stateful and not made:
            self._leave_open(device, dtype)

    @property
    def num_channels(self) -> int | None:
        """How many channels the layer is for; None before it has seen any, or if it takes all."""
        return self.num_features or None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize data of the layer's layout; the result has their shape, dtype and device."""
        if self._ranks is not None:
            _checks.rank(x, self._ranks, self.layout)
        axis, channel_axis = self.axis, self.channel_axis
        if self.num_features:
            _checks.as_many(x, self.num_features, channel_axis)
        if not axis:
            return self._normalized(x[..., None], (-1,))[..., 0]
        return self._normalized(x, axis)

    def _normalized(self, x: Any, axis: tuple[int, ...]) -> Any:
        given = dict(axis=axis, channel_axis=self.channel_axis, eps=self.eps)
        if not self.track_running_stats:
            return instance_norm(x, self.weight, self.bias, **given)
        if self.training:
            y, moments = measured(x, self.weight, self.bias, **given)
            _running.follow(self, *_running.averaged(moments, self.channel_axis))
            return y
        moments = _running.known(self, x.ndim, self.channel_axis)
        return instance_norm(x, self.weight, self.bias, moments=moments, **given)

    def parameter_groups(self, lr: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Weight and bias for a ``torch.optim`` optimizer, each with its factors.

        Parameters
        ----------
        lr, weight_decay : float
            What the rest of the model learns with.

        Returns
        -------
        list of dict
            One for each parameter that there is, with "params", "lr" and "weight_decay".

        Examples
        --------
        >>> from revnorm.torch import InstanceNorm
        >>> layer = InstanceNorm(3, layout="NCHW", bias_lr_factor=2, scale_l2_factor=0)
        >>> [(group["lr"], group["weight_decay"]) for group in layer.parameter_groups(0.5, 0.25)]
        [(0.5, 0.0), (1.0, 0.25)]
        """
        factors = (
            (self.weight, self.scale_lr_factor, self.scale_l2_factor),
            (self.bias, self.bias_lr_factor, self.bias_l2_factor),
        )
        return [
            {"params": [parameter], "lr": lr * rate, "weight_decay": weight_decay * decay}
            for parameter, rate, decay in factors
            if parameter is not None
        ]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Begin anew: initial weight and bias, and no batch seen."""
        self._begin(lambda tensor: not is_lazy(tensor))

    def initialize_parameters(self, x: torch.Tensor) -> None:
        """Make what waits for the number of channels; PyTorch calls this before the first call."""
        _checks.rank(x, self._ranks, self.layout)
        channels = _checks.channels_of(x, self.channel_axis)
        waiting = [one for one in self._stateful().values() if is_lazy(one)]
        for one in waiting:
            one.materialize((channels,))
        self._begin(lambda tensor: any(tensor is one for one in waiting))
        self.num_features = next(iter(self._stateful().values())).shape[0]

    def extra_repr(self) -> str:
        """What the layer was made with, but for MATLAB's options where they are the usual ones."""
        where: dict[str, Any] = {"layout": self.layout}
        if self.layout is None:
            where = {"axis": self.axis, "channel_axis": self.channel_axis}
        names = ("eps", "affine", "track_running_stats", "momentum")
        shown = {**where, **{name: getattr(self, name) for name in names}}
        if self.affine and self.bias is None:
            shown["bias"] = False
        usual = {"scale_init": "ones", "bias_init": "zeros", **dict.fromkeys(_FACTORS, 1.0)}
        options = {name: getattr(self, name) for name in usual}
        shown |= {name: value for name, value in options.items() if value != usual[name]}
        first = [] if self.num_channels is None else [str(self.num_channels)]
        return ", ".join([*first, *(f"{name}={value!r}" for name, value in shown.items())])

    def _stateful(self) -> dict[str, torch.Tensor]:
        """What there is for each channel."""
        names = ("weight", "bias", "running_mean", "running_var")
        return {name: one for name in names if (one := getattr(self, name)) is not None}

    @torch.no_grad()
    def _begin(self, chosen: Callable[[torch.Tensor], bool]) -> None:
        first = {
            "weight": ("scale_init", self.scale_init),
            "bias": ("bias_init", self.bias_init),
            "running_mean": ("", "zeros"),
            "running_var": ("", "ones"),
        }
        for name, tensor in self._stateful().items():
            if chosen(tensor):
                _fill(tensor, *first[name])
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()

    def _leave_open(self, device: Any, dtype: Any) -> None:
        """Leave what each channel has one of to the first call, or to a state dict."""
        if self.affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            self.bias = UninitializedParameter(device=device, dtype=dtype)
        if self.track_running_stats:
            self.running_mean = _OpenBuffer(device=device, dtype=dtype)
            self.running_var = _OpenBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = torch.zeros((), dtype=torch.long, device=device)
        self._wait()

    def _wait(self) -> None:
        """What LazyModuleMixin's `__init__` does, which is for layers that always wait."""
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = self.register_forward_pre_hook(
            self._infer_parameters, with_kwargs=True
        )

    def _replicate_for_data_parallel(self) -> Any:
        if self.has_uninitialized_params():
            return super()._replicate_for_data_parallel()
        return nn.Module._replicate_for_data_parallel(self)


class _OpenBuffer(UninitializedBuffer):
    """One that can be copied, as PyTorch's uninitialized parameters can."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_OpenBuffer":
        if id(self) not in memo:
            memo[id(self)] = type(self)(device=self.data.device, dtype=self.data.dtype)
        return memo[id(self)]


def _fill(tensor: torch.Tensor, name: str, initial: Initial) -> None:
    if callable(initial):
        value = torch.as_tensor(initial(tensor.shape))
        tensor.copy_(_checks.of_size(name, value, tensor.shape))
    elif initial == "narrow-normal":
        nn.init.normal_(tensor, std=0.01)
    else:
        tensor.fill_(float(initial == "ones"))
