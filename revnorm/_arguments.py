"""What is done with the arguments of every public function before anyone looks at them.

Arrays in a file become NumPy's own, and what `out` would overwrite while it is still to be read
is copied.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from revnorm._libraries import array_namespace, is_writable
from revnorm._memory import is_cut, quiet
from revnorm._subclasses import refusal
from revnorm._trees import is_array, mapped


def public(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with arguments that its kernels can take, silent about NaN and the like."""
    function = quiet(function)

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        out = keywords.get("out")
        if not is_array(out) and not _in_file((*arguments, *keywords.values())):
            return function(*arguments, **keywords)
        arguments, keywords = mapped(_view, (arguments, keywords))
        target = keywords.pop("out", None)
        if target is None:
            return function(*arguments, **keywords)
        result = function(*_apart(arguments, target), **_apart(keywords, target), out=target)
        return (out, *result[1:]) if type(result) is tuple else out

    return call


def _in_file(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_in_file(one) for one in value)
    return type(value) is np.memmap


def _view(array: Any) -> Any:
    return array.view(np.ndarray) if type(array) is np.memmap else array


def _apart(given: Any, out: Any) -> Any:
    """Arguments that stay as they are while `out` is written; the data may lie just there."""

    def moved(array: Any) -> Any:
        return _copied(array) if _shares(array, out) else array

    if isinstance(given, dict):
        return mapped(moved, given)
    # The data are the first array; a map that is applied stands before them.
    at = next((i for i, value in enumerate(given) if is_array(value)), len(given))
    data = (
        _copied(one) if _shares(one, out) and not _lies_at(one, out) else one
        for one in given[at : at + 1]
    )
    return (*mapped(moved, given[:at]), *data, *mapped(moved, given[at + 1 :]))


def _shares(array: Any, out: Any) -> bool:
    """Whether arrays may lie in the same memory; if their library does not say, they may."""
    if refusal(array) or refusal(out):
        return False
    if isinstance(array, np.ndarray) and isinstance(out, np.ndarray):
        return np.may_share_memory(array, out)
    if is_cut(array, out):
        return _memory(array)[0] == _memory(out)[0]
    return is_writable(out)


def _lies_at(x: Any, out: Any) -> bool:
    """Whether the data lie element for element where the result goes, or are read before that."""
    if not is_cut(x, out):
        return True
    return x.shape == out.shape and _memory(x)[1:] == _memory(out)[1:]


def _memory(array: Any) -> tuple[Any, ...]:
    """Where an array's storage begins, where its elements do, and the steps between them."""
    if isinstance(array, np.ndarray):
        return None, array.ctypes.data, array.strides
    return array.untyped_storage().data_ptr(), array.data_ptr(), array.stride()


def _copied(array: Any) -> Any:
    xp = array_namespace(array)
    return xp.astype(array, array.dtype, copy=True)
