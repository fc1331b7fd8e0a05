"""Nested tuples and dictionaries of arrays, with numbers, strings and None among them."""

from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any

Array = Any


def is_array(value: Any) -> bool:
    """Whether a value is an array of any library, rather than a number or something else."""
    if not hasattr(value, "ndim") or isinstance(value, Real):
        return False
    # NumPy's dtypes have dimensions too.
    return not hasattr(value, "isnative")


def leaves(tree: Any) -> list[Array]:
    """The arrays, in order."""
    if isinstance(tree, tuple | list):
        return [leaf for branch in tree for leaf in leaves(branch)]
    if isinstance(tree, dict):
        return leaves(tuple(tree.values()))
    return [tree] if is_array(tree) else []


def mapped(function: Callable[[Array], Any], tree: Any) -> Any:
    """The same tree with `function(array)` for each array."""
    if isinstance(tree, tuple) and hasattr(tree, "_make"):
        return tree._make(mapped(function, branch) for branch in tree)
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(function, branch) for branch in tree)
    if isinstance(tree, dict):
        return {name: mapped(function, branch) for name, branch in tree.items()}
    return function(tree) if is_array(tree) else tree


def filled(tree: Any, arrays: Iterator[Array]) -> Any:
    """The same tree with other arrays, in order."""
    return mapped(lambda _: next(arrays), tree)
