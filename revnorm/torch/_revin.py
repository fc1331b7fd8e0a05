"""RevIN, which hands out the way back, or keeps it for code that asks by mode."""

import threading
import weakref
from typing import Any

import torch
from torch import nn

from revnorm._affine import AffineMap
from revnorm._checks import EPS_MODES, choice, number, one_axis
from revnorm._frames import UNIT
from revnorm._layout import Axis
from revnorm._revin import reversible
from revnorm.torch import _checks
from revnorm.torch._undo import Undo

# How many normalizations may wait for the way back in a thread.
_WAITING = 4
# Names of other implementations, of shape (channels, 1).
_OTHERS = {"gamma": "affine_weight", "beta": "affine_bias"}


class _Held(threading.local):
    """What a thread has normalized: the ways back that wait, and the one that was taken last.

    Copies begin empty. Lists change in place, as a compiler leaves other assignments undone.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[weakref.ref[torch.Tensor], Undo]] = []
        self.taken: list[Undo] = []
        self.exported_waiting: list[tuple[weakref.ref[torch.Tensor], Undo]] = []
        self.exported_taken: list[Undo] = []

    def lists(self) -> tuple[list[Any], list[Any]]:
        """Both; those of an export apart, whose tensors stand for data and have none."""
        if torch.compiler.is_exporting():
            return self.exported_waiting, self.exported_taken
        return self.waiting, self.taken

    def __reduce__(self) -> Any:
        return _Held, ()


class RevIN(nn.Module):
    """Normalize each series, and give the way back for the forecast.

        y = (x − mean) / sqrt(variance + eps) · affine_weight + affine_bias,   undo(y) = x

    Parameters
    ----------
    num_features : int
        How many channels the data have.
    eps : float
        In units of the variance.
    affine : bool
        Whether to learn a weight and a bias for each channel.
    subtract_last : bool
        Whether the last observed step becomes 0 instead of the mean.
    non_norm : bool
        Whether to leave the data as they are, there and back, to see what a model is without.
    detach : bool
        Whether to keep gradients out of the statistics, as the authors do. Weight and bias have
        theirs either way.
    axis : int, tuple of int or Layout
        The axes of time.
    channel_axis : int
        Where the channels lie; a layout's, if `axis` is one.
    eps_mode : {"add", "clamp", "relative"}
        sqrt(variance + eps), sqrt(max(variance, eps)), or sqrt(variance + eps · mean square).

    Attributes
    ----------
    affine_weight, affine_bias : Parameter or None
        Of shape (channels,).

    Raises
    ------
    TypeError
        If an option is of the wrong type. When called, if the data are not real floating.
    ValueError
        If an option is not a valid one. When called, if the data have another number of channels
        than the layer, or a mask does not fit.
    RuntimeError
        When called with "denorm" before any "norm" in the same thread.

    Notes
    -----
    ``y, undo = layer(x)`` keeps nothing on the layer. ``layer(x, "norm")`` keeps the way back for
    ``layer(y, "denorm")``, for each thread and each copy of the layer apart, and in no state dict,
    pickle or copy. A tensor that "norm" gave goes back the way it came. Any other, such as what a
    model made of it, takes the newest way that none has taken yet, so calls may be nested; where
    all have been taken, it takes the one that was taken last, again. At most four wait; of more,
    the oldest is forgotten. Where several inputs are in flight and come back in another order, only
    ``undo`` knows which is which.

    The state dict is that of the authors' implementation, and one with lucidrains' names, gamma
    and beta of shape (channels, 1), is loaded as well.

    References
    ----------
    .. [1] T. Kim et al., "Reversible Instance Normalization for Accurate Time-Series
       Forecasting against Distribution Shift", ICLR 2022.

    Examples
    --------
    >>> import torch
    >>> from revnorm.torch import RevIN
    >>> layer = RevIN(3)
    >>> series = torch.randn(8, 96, 3)
    >>> y, undo = layer(series)
    >>> forecast, deviation = y[:, -24:], torch.ones(8, 24, 3)
    >>> undo(forecast).shape, undo.spread(deviation).shape
    (torch.Size([8, 24, 3]), torch.Size([8, 24, 3]))
    >>> undo.take([0], axis=-1)(forecast[..., :1]).shape
    torch.Size([8, 24, 1])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        subtract_last: bool = False,
        non_norm: bool = False,
        detach: bool = False,
        axis: Axis = 1,
        channel_axis: int = -1,
        eps_mode: str = "add",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_features = _checks.positive("num_features", num_features)
        choice("eps_mode", eps_mode, EPS_MODES)
        self.eps, self.eps_mode = number("eps", eps), eps_mode
        self.affine, self.subtract_last = affine, subtract_last
        self.non_norm, self.detach = non_norm, detach
        given = getattr(axis, "channel_axis", channel_axis)
        _, self.channel_axis, _, _ = _checks.axes(None, axis, given)
        _checks.has_channels(self.channel_axis, None)
        self.axis = axis
        for name in _OTHERS.values():
            made = torch.empty(self.num_features, device=device, dtype=dtype) if affine else None
            self.register_parameter(name, None if made is None else nn.Parameter(made))
        self._held = _Held()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin anew: weight 1, bias 0."""
        if self.affine:
            nn.init.ones_(self.affine_weight)
            nn.init.zeros_(self.affine_bias)

    def forward(
        self,
        x: torch.Tensor,
        mode: str | torch.Tensor | None = None,
        where: torch.Tensor | None = None,
    ) -> Any:
        """Normalize, and give the way back; by mode, only the one or the other.

        Parameters
        ----------
        x : Tensor
            The series; with "denorm", the forecast of any length.
        mode : {None, "norm", "denorm"}
            Without one, `y` and `undo`; a mask in its place is `where`.
        where : Tensor of bool, optional
            What is observed, broadcastable against `x`: (batch, time, 1) for all channels.

        Returns
        -------
        y : Tensor
            Shape, dtype and device as `x`.
        undo : Undo
            The way back, without a mode. It is called with a forecast and gives the dtype of `x`;
            ``undo.spread`` and ``undo.variance`` carry deviations and variances back,
            ``undo.take`` is the way back for some of the channels, ``undo.inv`` the way there.
        """
        if isinstance(mode, torch.Tensor) and where is None:
            mode, where = None, mode
        _checks.mode(mode, where)
        if mode == "denorm":
            return self._way_back(x)(x)
        y, undo = self._normalized(x, where)
        if mode is None:
            return y, undo
        self._keep(y, undo)
        return y

    def _normalized(self, x: torch.Tensor, where: torch.Tensor | None) -> tuple[Any, Undo]:
        channel_axis = one_axis("channel_axis", self.channel_axis, x.ndim)
        _checks.as_many(x, self.num_features, channel_axis)
        if self.non_norm:
            one = torch.ones((1,) * x.ndim, dtype=torch.float64, device=x.device)
            return x, Undo(AffineMap.between(UNIT.solid(one), UNIT), x.dtype)
        y, norm_map = reversible(
            x,
            self.affine_weight,
            self.affine_bias,
            axis=self.axis,
            channel_axis=channel_axis,
            eps=self.eps,
            eps_mode=self.eps_mode,
            center="last" if self.subtract_last else "mean",
            where=where,
            detached=self.detach,
        )
        return y, Undo(norm_map.inv, x.dtype)

    def _keep(self, y: torch.Tensor, undo: Undo) -> None:
        waiting, _ = self._held.lists()
        waiting.append((weakref.ref(y), undo))
        del waiting[:-_WAITING]

    def _way_back(self, y: torch.Tensor) -> Undo:
        waiting, taken = self._held.lists()
        if waiting:
            own = (i for i, (normalized, _) in enumerate(waiting) if normalized() is y)
            taken[:] = [waiting.pop(next(own, -1))[1]]
        way: Undo = _checks.normalized_before(taken)
        return way

    def extra_repr(self) -> str:
        """What the layer was made with, but for what is as usual."""
        usual: dict[str, Any] = dict(affine=True, subtract_last=False, non_norm=False, detach=False)
        usual |= {"axis": 1, "channel_axis": -1, "eps_mode": "add"}
        options = {name: getattr(self, name) for name in usual}
        shown = [f"{n}={value!r}" for n, value in options.items() if value != usual[n]]
        return ", ".join([str(self.num_features), f"eps={self.eps!r}", *shown])

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy, which has normalized nothing yet."""
        super().__setstate__(state)
        self._held = _Held()

    def _replicate_for_data_parallel(self) -> Any:
        replica = super()._replicate_for_data_parallel()
        replica._held = _Held()
        return replica

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        if self.affine:
            for other, own in _OTHERS.items():
                if prefix + other in state_dict and prefix + own not in state_dict:
                    state_dict[prefix + own] = state_dict.pop(prefix + other).squeeze(-1)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
