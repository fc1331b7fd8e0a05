"""Names for the axes of an array, and what they say about which are reduced."""

from typing import Any, NamedTuple


class _Axes(NamedTuple):
    axis: tuple[int, ...]
    channel_axis: int | None
    batch_axis: int | None


class Layout(_Axes):
    """The axes that a string such as "NCHW" names.

    N or B is the batch, C the channels; H, W, D, L, T, S and U are reduced. Every function takes
    a layout as its `axis`, with the `channel_axis` and `batch_axis` that come of it.

    Parameters
    ----------
    letters : str
        One letter an axis, in the order of the axes. At most one batch letter and one C.
        S and U may repeat, as in MATLAB's "SSCB".

    Attributes
    ----------
    axis : tuple of int
        The axes that an instance norm reduces.
    channel_axis, batch_axis : int or None
        Where the channels and the batch lie.

    Raises
    ------
    TypeError
        If `letters` is not a string.
    ValueError
        If a letter is unknown, or occurs more often than it may.

    Examples
    --------
    >>> from revnorm import Layout
    >>> Layout("NCHW")
    Layout(axis=(2, 3), channel_axis=1, batch_axis=0)
    >>> Layout("BTC").axis
    (1,)
    """

    __slots__ = ()

    def __new__(cls, letters: str) -> "Layout":
        if not isinstance(letters, str):
            raise TypeError(f"`letters` must be a string, got {type(letters).__name__}")
        batch = [i for i, letter in enumerate(letters) if letter in "NB"]
        channel = [i for i, letter in enumerate(letters) if letter == "C"]
        reduced = [i for i, letter in enumerate(letters) if letter in "HWDLTSU"]
        once = [letter for letter in letters if letter not in "SU"]
        known = len(batch) + len(channel) + len(reduced) == len(letters)
        if not letters or not known or len(batch) > 1 or len(set(once)) < len(once):
            raise ValueError(
                "`letters` must name each axis by one of N, B, C, H, W, D, L, T, S and U, with "
                f"at most one of N and B, and only S and U repeated, got {letters!r}"
            )
        ends = (channel[0] if channel else None, batch[0] if batch else None)
        return super().__new__(cls, tuple(reduced), *ends)

    def __reduce__(self) -> Any:
        return type(self)._make, (tuple(self),)


Axis = int | tuple[int, ...] | Layout
