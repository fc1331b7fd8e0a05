"""What the layers ask of their arguments, beyond what the functions ask of theirs."""

from typing import Any

from torch import nn

from revnorm import _checks
from revnorm._layout import Layout

INITIAL = ("ones", "zeros", "narrow-normal")


def axes(layout: Any, axis: Any, channel_axis: Any) -> tuple[Any, ...]:
    """The reduced axes, those of the channels and the batch, and how many there are, if known."""
    if (layout is None) == (axis is None):
        got = "neither" if layout is None else "both"
        raise TypeError(f"one of `layout` and `axis` must be given, got {got}")
    if layout is None and not isinstance(axis, Layout):
        reduced = axis if isinstance(axis, tuple) else (axis,)
        if not reduced or not all(map(_checks.is_int, reduced)):
            raise TypeError(f"`axis` must be an int or a tuple of ints, got {axis!r}")
        if channel_axis is not None and not _checks.is_int(channel_axis):
            raise TypeError(f"`channel_axis` must be an int, got {channel_axis!r}")
        return reduced, channel_axis, None, None
    named = layout if layout is not None else axis
    named = named if isinstance(named, Layout) else Layout(named)
    ends = [one for one in (named.channel_axis, named.batch_axis) if one is not None]
    ndim = len(named.axis) + len(ends)
    channel_axis = _checks.other_axis("channel_axis", channel_axis, named, ndim)
    return named.axis, channel_axis, named.batch_axis, ndim


def channels(num_channels: Any) -> Any:
    """A number of channels, or None where the first call is to tell it."""
    if num_channels is None:
        return None
    return positive("num_channels", num_channels, "an int or None")


def positive(name: str, value: Any, kinds: str = "an int") -> int:
    """A count of something."""
    if not _checks.is_int(value):
        raise TypeError(f"`{name}` must be {kinds}, got {value!r}")
    if value < 1:
        raise ValueError(f"`{name}` must be positive, got {value}")
    return int(value)


def has_channels(channel_axis: int | None, layout: Any) -> None:
    """Raises unless it is known where the channels lie, which parameters and statistics need."""
    if channel_axis is None:
        got = f"`layout` {layout!r}" if layout is not None else "no `channel_axis`"
        raise ValueError(
            "`channel_axis`, or a C in `layout`, must say where the channels lie unless `affine` "
            f"and `track_running_stats` are off and `num_channels` is None, got {got}"
        )


def is_whole(axis: tuple[int, ...], *ends: int | None, layout: Any) -> None:
    """Raises unless a layout has a batch, channels and what an instance reduces."""
    if not axis or None in ends:
        raise ValueError(
            f"`layout` must name a batch, N or B, channels, C, and axes to reduce, got {layout!r}"
        )


def initial(name: str, value: Any) -> Any:
    """The name of an initial value, or a function of the size."""
    if not callable(value):
        _checks.choice(name, value, INITIAL)
    return value


def of_size(name: str, value: Any, size: Any) -> Any:
    """What a function of the size gave, if it is of that size."""
    if tuple(value.shape) != tuple(size):
        raise ValueError(
            f"`{name}` must give a tensor of shape {tuple(size)}, got shape {tuple(value.shape)}"
        )
    return value


def share(name: str, value: Any) -> Any:
    """A momentum: a number from 0 to 1, or None for the average of all batches."""
    if value is not None and _checks.number(name, value) > 1:
        raise ValueError(f"`{name}` must lie between 0 and 1, got {value}")
    return value


def rank(x: Any, ranks: tuple[int, ...] | None, layout: Any, name: str = "x") -> None:
    """Raises unless data have as many axes as the layer is for."""
    if ranks is not None and x.ndim not in ranks:
        wanted = " or ".join(map(str, ranks))
        named = "" if layout is None else f", those of layout {layout!r}"
        raise ValueError(f"`{name}` must have {wanted} axes{named}, got shape {tuple(x.shape)}")


def channels_of(x: Any, channel_axis: int) -> Any:
    """How many channels the data have."""
    return x.shape[_checks.one_axis("channel_axis", channel_axis, x.ndim)]


def as_many(x: Any, num_channels: int, channel_axis: int, name: str = "x") -> None:
    """Raises unless the data have as many channels as the layer."""
    channels = channels_of(x, channel_axis)
    if channels != num_channels:
        raise ValueError(
            f"`{name}` must have {num_channels} channels on axis {channel_axis}, as the layer has, "
            f"got {channels}"
        )


def mode(value: Any, where: Any) -> None:
    """Raises unless a mode is one of RevIN's, and a mask goes with it."""
    if value is not None and value not in ("norm", "denorm"):
        raise ValueError(f"`mode` must be 'norm', 'denorm' or None, got {value!r}")
    if value == "denorm" and where is not None:
        raise ValueError(f"`where` must be None with 'denorm', got {type(where).__name__}")


def normalized_before(taken: list[Any]) -> Any:
    """What "norm" kept, if there was one."""
    if not taken:
        raise RuntimeError(
            "`mode` must be 'norm' before it is 'denorm', on the same layer and in the same "
            "thread, got 'denorm' first"
        )
    return taken[-1]


def module(value: Any) -> None:
    if not isinstance(value, nn.Module):
        raise TypeError(f"`module` must be an nn.Module, got {type(value).__name__}")
