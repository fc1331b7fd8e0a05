"""Nested tuples and dictionaries of arrays, with numbers, strings and None among them."""

from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any

Array = Any


def is_array(value: Any) -> bool:
    """Whether a value is an array of any library, rather than a number or something else."""
    if type(value).__name__ in ("ndarray", "Tensor"):
        return True
    if value is None or isinstance(value, (int, float, str)):
        return False
    # Modules of arrays and their types have one too, which is no number.
    if not isinstance(getattr(value, "ndim", None), int) or isinstance(value, Real):
        return False
    # NumPy's dtypes have dimensions too.
    return not hasattr(value, "isnative")


Test = Callable[[Any], bool]


def leaves(tree: Any, is_leaf: Test = is_array) -> list[Any]:
    """The arrays, or what else is a leaf, in order."""
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if not isinstance(tree, (tuple, list)):
        return [tree] if is_leaf(tree) else []
    found = []
    for branch in tree:
        if isinstance(branch, (tuple, list, dict)):
            found += leaves(branch, is_leaf)
        elif is_leaf(branch):
            found.append(branch)
    return found


def mapped(function: Callable[[Any], Any], tree: Any, is_leaf: Test = is_array) -> Any:
    """The same tree with `function(leaf)` for each leaf."""
    if isinstance(tree, tuple) and hasattr(tree, "_make"):
        return tree._make(mapped(function, branch, is_leaf) for branch in tree)
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(function, branch, is_leaf) for branch in tree)
    if isinstance(tree, dict):
        return {name: mapped(function, branch, is_leaf) for name, branch in tree.items()}
    return function(tree) if is_leaf(tree) else tree


def filler(tree: Any, is_leaf: Test = is_array) -> Callable[[Iterator[Any]], Any]:
    """A function that gives the same tree with other leaves, in order."""
    if not leaves(tree, is_leaf):
        return lambda _: tree
    if isinstance(tree, dict):
        fill = filler(tuple(tree.values()), is_leaf)
        return lambda others: dict(zip(tree, fill(others), strict=True))
    if isinstance(tree, tuple | list):
        make = getattr(tree, "_make", type(tree))
        fills = [filler(branch, is_leaf) for branch in tree]
        return lambda others: make([fill(others) for fill in fills])
    return next


def filled(tree: Any, others: Iterator[Any], is_leaf: Test = is_array) -> Any:
    """The same tree with other leaves, in order."""
    return filler(tree, is_leaf)(others)
