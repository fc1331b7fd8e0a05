"""BatchInstanceNorm, whose gate stays between batch norm and instance norm."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from revnorm._batch_instance import batch_instance_norm, measured
from revnorm._checks import number
from revnorm._layout import Layout
from revnorm.torch import _checks, _running


class BatchInstanceNorm(_NormBase):
    """Blend the batch's normalization with each instance's, by a gate that is learned.

        y = (gate · batch_norm(x) + (1 − gate) · instance_norm(x)) · weight + bias

    Parameters
    ----------
    num_channels : int
        How many channels the data have.
    layout : str or Layout
        A letter for each axis, with one for the batch and one for the channels, such as "NCHW".
    eps : float
        In units of the variance.
    momentum : float, optional
        The share of a new batch in the running statistics, which take the batch's place in
        evaluation; with None they are the average of all batches.
    affine : bool
        Whether to learn a weight and a bias for each channel.
    device, dtype
        Of parameters and running statistics, as in PyTorch's own layers.

    Attributes
    ----------
    gate : Parameter
        Of shape (channels,), 1 for batch norm and 0 for instance norm. It begins as 1.
    weight, bias : Parameter or None
        Of shape (channels,).
    running_mean, running_var, num_batches_tracked : Tensor
        As in ``nn.BatchNorm2d``; the variance is unbiased.

    Raises
    ------
    TypeError
        If an option is of the wrong type. When called, if the data are not real floating.
    ValueError
        If an option is not a valid one, or the layout names no batch or no channels. When called,
        if the data have other axes than the layout, or another number of channels than the layer.

    Notes
    -----
    The gate is projected to [0, 1]: an optimizer may step beyond, and whoever looks next, the next
    call in training, ``layer.gate`` or ``state_dict``, finds it back on the bound, where the next
    step begins. That is what the authors' training loop does after each step [1]_. The gradient
    is that of the projected gate and never cut off, so a gate leaves the bound as soon as the loss
    asks for it. Only a list of parameters that was made before the step shows the gate as the
    optimizer left it. `parameter_groups` has the authors' learning rate for it.

    Within ``DistributedDataParallel`` each process normalizes by its own batch, as
    ``nn.BatchNorm2d`` does, and the running statistics are those of the batches of all processes,
    their moments merged.

    References
    ----------
    .. [1] H. Nam, H.-E. Kim, "Batch-Instance Normalization for Adaptively Style-Invariant
       Neural Networks", NeurIPS 2018.

    Examples
    --------
    >>> import torch
    >>> from revnorm.torch import BatchInstanceNorm
    >>> layer = BatchInstanceNorm(3, layout="NCHW")
    >>> optimizer = torch.optim.SGD(layer.parameter_groups(lr=100.0))
    >>> layer(torch.randn(8, 3, 16, 16)).pow(3).sum().backward()
    >>> optimizer.step()
    >>> bool((layer.gate >= 0).all() and (layer.gate <= 1).all())
    True
    """

    def __init__(
        self,
        num_channels: int,
        *,
        layout: str | Layout,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        made = {"device": device, "dtype": dtype}
        channels = _checks.positive("num_channels", num_channels)
        share = _checks.share("momentum", momentum)
        super().__init__(channels, number("eps", eps), share, affine, **made)
        self.axis, self.channel_axis, self.batch_axis, ndim = _checks.axes(layout, None, None)
        _checks.is_whole(self.axis, self.channel_axis, self.batch_axis, layout=layout)
        self.layout, self._ranks = layout, (ndim,)
        self.register_parameter("gate", nn.Parameter(torch.ones(channels, **made)))

    @property
    def num_channels(self) -> int:
        """How many channels the layer is for."""
        return int(self.num_features)

    @property
    def gate(self) -> Any:
        """1 for batch norm, 0 for instance norm; an optimizer's step beyond is taken back."""
        gate = self._parameters.get("gate")
        if gate is None:
            raise AttributeError("gate")
        if isinstance(gate, nn.Parameter):
            # Not a change in autograd's eyes: a loss may have read the gate before.
            gate.data.clamp_(0, 1)
        return gate

    @gate.setter
    def gate(self, value: Any) -> None:
        # DataParallel gives its replicas tensors that are no parameters.
        self._parameters["gate"] = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize data of the layer's layout; the result has their shape, dtype and device."""
        _checks.rank(x, self._ranks, self.layout)
        _checks.as_many(x, self.num_features, self.channel_axis)
        gate = _within(self.gate if self.training else self._parameters["gate"])
        parameters = gate, self.weight, self.bias
        axes = {name: getattr(self, name) for name in ("axis", "batch_axis", "channel_axis")}
        if self.training:
            y, moments = measured(x, *parameters, eps=self.eps, **axes)
            _running.follow(self, *_running.pooled(moments))
            return y
        moments = _running.known(self, x.ndim, self.channel_axis)
        return batch_instance_norm(x, *parameters, eps=self.eps, batch_moments=moments, **axes)

    def parameter_groups(
        self, lr: float, weight_decay: float = 0.0, *, gate_lr_factor: float = 10.0
    ) -> list[dict[str, Any]]:
        """Gate, weight and bias for a ``torch.optim`` optimizer.

        Parameters
        ----------
        lr, weight_decay : float
            What the rest of the model learns with.
        gate_lr_factor : float
            How many times `lr` the gate learns with, 10 as its authors chose. It has no weight
            decay, which would draw it to instance norm.

        Returns
        -------
        list of dict
            With "params", "lr" and "weight_decay"; the gate's group is the first.
        """
        gate = {"params": [self.gate], "lr": lr * gate_lr_factor, "weight_decay": 0.0}
        affine = [one for one in (self.weight, self.bias) if one is not None]
        rest = {"params": affine, "lr": lr, "weight_decay": weight_decay}
        return [gate, rest] if affine else [gate]

    def reset_parameters(self) -> None:
        """Begin anew: gate and weight 1, bias 0, and no batch seen."""
        super().reset_parameters()
        if "gate" in self._parameters:
            nn.init.ones_(self._parameters["gate"])

    def extra_repr(self) -> str:
        """What the layer was made with."""
        names = ("layout", "eps", "momentum", "affine")
        return ", ".join([str(self.num_channels), *(f"{n}={getattr(self, n)!r}" for n in names)])

    def _save_to_state_dict(self, *arguments: Any) -> None:
        _ = self.gate
        super()._save_to_state_dict(*arguments)


def _within(gate: Any) -> Any:
    """The gate in [0, 1], with the gradient of one that lies there, which a clamp would cut off."""
    return gate.detach().clamp(0, 1) + (gate - gate.detach())
