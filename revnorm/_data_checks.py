"""What the standardizer of a data set asks of its arguments, and the texts of its errors."""

import math
from itertools import repeat
from typing import Any
from zipfile import BadZipFile

import numpy as np

from revnorm._checks import (
    Array,
    agree,
    aligned,
    axes,
    fits,
    is_int,
    is_number,
    one_axis,
    shape,
    shown,
    unknown,
)
from revnorm._cuts import cut_alike
from revnorm._libraries import array_namespace, is_dask
from revnorm._trees import is_array as is_like_array


class NotAdapted(ValueError, AttributeError):
    """What is asked of data before there are any; an AttributeError too, as `hasattr` wants."""


def not_both(axis: Any, keep: Any) -> None:
    """Raises if both are given, and either is something that an axis can be."""
    if None not in (axis, keep) and _are_axes(axis) and _are_axes(keep):
        raise ValueError(f"`keep` must be None where `axis` is given, got {keep!r} beside {axis!r}")


def _are_axes(value: Any) -> bool:
    named = value if isinstance(value, tuple) else (value,)
    return value is not None and all(map(is_int, named))


def both_or_neither(mean: Any, variance: Any) -> None:
    if (mean is None) != (variance is None):
        given, missing = ("mean", "variance") if variance is None else ("variance", "mean")
        raise ValueError(f"`{missing}` must be given beside `{given}`, got None")


def reduced(axis: Any, keep: Any, ndim: int, least: int = 1) -> tuple[int, ...]:
    """The axes that are reduced, by their own numbers or by those that are kept."""
    not_both(axis, keep)
    if axis is not None:
        return axes(axis, ndim)
    if keep is None:
        raise ValueError("`axis` or `keep` must be given, got neither")
    named = keep if isinstance(keep, tuple) else (keep,)
    if not all(map(is_int, named)):
        raise TypeError(f"`keep` must be an int or a tuple of ints, got {keep!r}")
    counted = [one_axis("keep", one, ndim) for one in named]
    left = tuple(i for i in range(ndim) if i not in counted)
    if len(left) < least:
        raise ValueError(f"`keep` must leave an axis of {ndim} to reduce, got {keep!r}")
    return left


def alike(x: Array, kept: tuple[int, ...], reduced: tuple[int, ...]) -> None:
    """Raises unless a batch has the sizes of those before it where they are kept."""
    against = tuple(None if i in reduced else size for i, size in enumerate(kept))
    pairs = zip(shape(x), against)
    if x.ndim != len(kept) or not all(n is None or agree(size, n) for size, n in pairs):
        raise ValueError(f"`batch` must be of shape {shown(against)}, got shape {shape(x)}")


def numbers(name: str, value: Any) -> np.ndarray:
    """Numbers, lists and frames of them as NumPy's array; a batch is no list, which holds some."""
    listed = name != "batch" and (is_number(value) or isinstance(value, tuple | list))
    if not (listed or is_like_array(value)):
        hint = "; a list holds batches, each an array" if is_number(value) else ""
        raise TypeError(f"`{name}` must be an array, got {type(value).__name__}{hint}")
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` must hold numbers alone, got dtype {array.dtype}")
    return array


def weights(xp: Any, given: Array, x: Array) -> Array:
    """Weights of the first axes of a batch, or of all of them, laid out with its axes."""
    sizes, against = shape(given), shape(x)
    if len(sizes) < len(against):
        same = all(agree(a, b) for a, b in zip(sizes, against))
    else:
        same = fits(sizes, against)
    if not same:
        raise ValueError(
            f"`sample_weight` must have the first axes of shape {against}, got shape {sizes}"
            f"{unknown(sizes, against)}"
        )
    if not is_dask(given) and not xp.all((given >= 0) & (given < xp.inf)):
        raise ValueError("`sample_weight` must be finite and not negative")
    behind = len(against) - len(sizes)
    # Dask reshapes no unknown sizes, but indexes them.
    given = given[(..., *[None] * behind)] if behind else given
    return cut_alike("sample_weight", given, x)


def one_a_sample(given: Array, x: Array) -> None:
    """Raises unless there is one weight for each sample, and not all are 0."""
    if shape(given) != shape(x)[:1]:
        raise ValueError(
            f"`sample_weight` must be of shape {shape(x)[:1]}, got shape {shape(given)}"
        )
    if not is_dask(given) and not (given != 0).any():
        raise ValueError("`sample_weight` must not be zero for all samples, got zeros")


def given(name: str, value: Any) -> Any:
    """A mean or variance that was given."""
    lowest = 0.0 if name == "variance" else -math.inf
    if not ((value >= lowest) & (abs(value) < math.inf)).all():
        kind = "finite and not negative" if name == "variance" else "finite"
        raise ValueError(f"`{name}` must be {kind}, got {value}")
    return value


def kept(name: str, value: Any, x: Array, reduced: tuple[int, ...]) -> Any:
    """Statistics laid out with the axes of x: of its shape with those at 1, or of the others."""
    whole = tuple(1 if i in reduced else size for i, size in enumerate(shape(x)))
    sizes = tuple(size for i, size in enumerate(whole) if i not in reduced)
    if value.ndim == x.ndim and fits(value.shape, whole):
        return value
    if not fits(value.shape, sizes):
        raise ValueError(
            f"`{name}` must broadcast against the sizes {sizes} that are kept, "
            f"got shape {value.shape}"
        )
    laid = iter(aligned(array_namespace(value), value, len(sizes)).shape)
    return value.reshape(tuple(1 if i in reduced else next(laid) for i in range(x.ndim)))


def one_more(name: str, each: Any) -> Any:
    """The next of what stands beside batches."""
    try:
        return next(each)
    except StopIteration:
        raise ValueError(f"`{name}` must hold one for each batch, got fewer") from None


def no_more(name: str, each: Any) -> None:
    if not isinstance(each, repeat) and next(each, None) is not None:
        raise ValueError(f"`{name}` must hold one for each batch, got more")


def opened(file: Any) -> Any:
    """The arrays of an npz file."""
    try:
        arrays = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, BadZipFile) as error:
        raise ValueError("`file` must be an npz file, got another") from error
    if isinstance(arrays, np.ndarray):
        raise ValueError("`file` must be an npz file, got an array")
    return arrays


def state(given: Any, version: int) -> None:
    """Raises unless a dictionary is the state of a standardizer, in the version that is read."""
    if not hasattr(given, "keys"):
        raise TypeError(f"`state` must be a dictionary, got {type(given).__name__}")
    if "version" not in given:
        raise ValueError(
            f"`state` must have a version, got {', '.join(map(str, given)) or 'nothing'}"
        )
    found = given["version"]
    if int(found) != version:
        raise ValueError(f"`state` must be of version {version}, got version {int(found)}")
    missing = {"eps"} - set(given)
    if "mean" in given:
        missing |= {"residual", "variance", "count", "reduced"} - set(given)
    if missing:
        raise ValueError(f"`state` must hold {', '.join(sorted(missing))}, got none")
