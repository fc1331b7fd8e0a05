"""Sums whose error does not grow with the length."""

from typing import Any

from revnorm._checks import Array

# Elements that are added in whatever order the library likes.
SEGMENT = 16


def total(xp: Any, x: Array, axis: tuple[int, ...]) -> Array:
    """The sum over `axis`, keeping it at size 1."""
    return xp.sum(x, axis=axis, keepdims=True)
