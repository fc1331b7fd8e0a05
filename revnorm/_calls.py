"""Calls taken apart: what a compiler may take for constant, and what varies from call to call."""

import math
from typing import Any

import numpy as np

from revnorm._trees import Test, filled, is_array, leaves, mapped


class _Hole:
    """Where an array or a number stood."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


_HOLES = _Hole("array"), _Hole("float")


def apart(tree: Any, varies: Test) -> tuple[Any, list[Any]]:
    """What may be compared of a tree, equal where the same code is right; and what varies."""
    values: list[Any] = []

    def structure(tree: Any) -> Any:
        if isinstance(tree, tuple | list):
            return (type(tree), *map(structure, tree))
        if isinstance(tree, dict):
            return (dict, *((name, structure(branch)) for name, branch in tree.items()))
        tree = _number(tree) if isinstance(tree, np.generic) else tree
        if varies(tree):
            values.append(tree)
            return _HOLES[type(tree) is float]
        return (float, tree.hex()) if type(tree) is float else (type(tree), tree)

    return structure(tree), values


def signature(value: Any) -> Any:
    """What else a compiler may have compiled for."""
    if type(value) is float:
        return value.hex()
    return tuple(value.shape), value.dtype, getattr(value, "requires_grad", False)


def frame(tree: Any, varies: Test) -> Any:
    """The tree with holes for what varies."""
    return mapped(lambda value: _HOLES[type(value) is float], numbers(tree), varies)


def together(frame: Any, values: Any) -> Any:
    """The tree of a frame, with others for what varies."""
    return filled(frame, iter(values), lambda value: type(value) is _Hole)


def numbers(tree: Any) -> Any:
    """The tree with Python's numbers for NumPy's, which PyTorch's tracer would leave out."""
    return mapped(_number, tree, is_scalar)


def first_array(arguments: Any, keywords: Any) -> Any:
    """The first array of a call, or None; mostly the first argument, without a look at more."""
    for one in (*arguments, *keywords.values()):
        for array in leaves((one,), is_plain_array):
            return array
    return None


def is_scalar(value: Any) -> bool:
    return isinstance(value, np.generic)


def is_plain_array(value: Any) -> bool:
    return is_array(value) and not is_scalar(value)


def _is_array_or_float(value: Any) -> bool:
    # The others PyTorch takes for one another, or for none: 0.0 for -0.0, NaN for another number.
    return 0 < abs(value) < math.inf if type(value) is float else is_plain_array(value)


# What varies, by the engine that compiles.
VARIES: dict[str, Test] = {"torch": _is_array_or_float, "jax": is_plain_array}


def _number(value: np.generic) -> Any:
    for kind, number in ((np.bool_, bool), (np.integer, int), (np.floating, float)):
        if isinstance(value, kind):
            return number(value)
    return value
