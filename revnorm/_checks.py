"""What every function asks of its arguments; every error text of the package comes from here."""

import math
from numbers import Real
from operator import index
from typing import Any

from revnorm._cuts import cut_alike
from revnorm._data import Data, Options, recipe
from revnorm._libraries import array_namespace, is_array, is_writable
from revnorm._registry import make_known
from revnorm._subclasses import refusal
from revnorm._trees import Array

# Numbers beside arrays in `where`, which the kernels need, came with it.
_STANDARD = "2024.12"

# What a function may be called without, and what may be 1-D along `channel_axis`.
_OPTIONAL = ("scale", "bias")
_PER_CHANNEL = ("scale", "bias", "gate")

# What the divisor is made of beside the variance.
EPS_MODES = ("add", "clamp", "relative")


class AxisError(ValueError, IndexError):
    """An axis out of bounds; both a ValueError and an IndexError, as NumPy's."""


def namespace(**named: Array) -> Any:
    """The one array namespace of all named arguments."""
    for name, array in named.items():
        if not is_array(array):
            raise TypeError(f"`{name}` must be an array, got {type(array).__name__}")
        make_known(array)
        if text := refusal(array):
            raise TypeError(f"`{name}` must be {text}")
    try:
        xp = array_namespace(*named.values())
    except TypeError as error:
        kinds = ", ".join(f"`{name}` {_library(array)}" for name, array in named.items())
        raise TypeError(f"arrays must come from one library, got {kinds}") from error
    version = getattr(xp, "__array_api_version__", _STANDARD)
    if version < _STANDARD:
        raise TypeError(
            f"arrays must follow the array API standard of {_STANDARD} or later, got {version}"
        )
    return xp


def one_library(arrays: list[Array]) -> None:
    """Raises unless all arrays are of one library."""
    if any(type(one) is not type(arrays[0]) for one in arrays):
        namespace(**{f"array {i}": one for i, one in enumerate(arrays)})


def hashed(key: Any) -> Any:
    """The key of a call, if its constants have a hash."""
    try:
        hash(key)
    except TypeError as error:
        raise TypeError(
            f"`function` must be given arrays and hashable constants, got {error}"
        ) from None
    return key


def shareable(array: Array, engine: str, error: Exception) -> None:
    raise TypeError(
        f"`function` must be given arrays that {engine} can take, got {_library(array)} of dtype "
        f"{array.dtype}"
    ) from error


def _library(array: Array) -> str:
    name: str = array_namespace(array).__name__
    return name.removeprefix("array_api_compat.").removeprefix("revnorm._")


def floating(xp: Any, **named: Array) -> None:
    for name, array in named.items():
        if array is None:
            continue
        if not xp.isdtype(array.dtype, "real floating"):
            raise TypeError(f"`{name}` must be of a real floating dtype, got {array.dtype}")
        if getattr(array.dtype, "itemsize", 2) < 2:
            raise TypeError(f"`{name}` must be of 16 bits an element or more, got {array.dtype}")


def floating_dtype(xp: Any, dtype: Any) -> Any:
    """The dtype, if it is one of real floating numbers."""
    try:
        known = xp.isdtype(dtype, "real floating")
    except (AttributeError, TypeError, ValueError):
        known = False
    if not known:
        raise TypeError(f"`dtype` must be a real floating dtype, got {dtype!r}")
    return dtype


def options(**chosen: Any) -> Options:
    """The options given, if they are valid ones."""
    given = Options(**chosen)
    choice("eps_mode", given.eps_mode, EPS_MODES)
    choice("precision", given.precision, ("full", "native"))
    eps, correction = number("eps", given.eps), number("correction", given.correction)
    return given._replace(eps=eps, correction=correction)


def data(
    x: Array,
    axis: Any,
    channel_axis: Any = None,
    where: Array = None,
    *,
    options: Options,
    name: str = "x",
    **parameters: Any,
) -> tuple[Any, ...]:
    """The data of a call, and its parameters laid out with the axes of `x`."""
    reduced, where, *laid = operands(x, axis, channel_axis, where, name=name, **parameters)
    return Data(x, where, reduced, options, recipe(x, options.precision)), *laid


def operands(
    x: Array,
    axis: Any,
    channel_axis: Any = None,
    where: Array = None,
    *,
    name: str = "x",
    **parameters: Any,
) -> tuple[Any, ...]:
    """The reduced axes, the mask and the parameters, all laid out with the axes of `x`."""
    given = {} if where is None else {"where": where}
    for parameter_name, value in parameters.items():
        if not is_number(value) and not (value is None and parameter_name in _OPTIONAL):
            given[parameter_name] = value
    xp = namespace(**{name: x}, **given)
    reduced = sample(xp, x, axis, name=name)
    channel_axis = other_axis("channel_axis", channel_axis, axis, x.ndim)
    if channel_axis is not None:
        channel_axis = kept_axis("channel_axis", channel_axis, x.ndim, reduced)
    laid = [parameter(xp, n, p, shape(x), channel_axis) for n, p in parameters.items()]
    return reduced, mask(xp, "where", where, x), *laid


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def number(name: str, value: Any) -> Any:
    if not is_number(value):
        raise TypeError(f"`{name}` must be a real number, got {type(value).__name__}")
    if not 0 <= value < math.inf:
        raise ValueError(f"`{name}` must be finite and not negative, got {value}")
    return value if type(value) in (int, float) else float(value)


def is_number(value: Any) -> bool:
    return type(value) in (int, float) or (isinstance(value, Real) and not isinstance(value, bool))


def is_int(value: Any) -> bool:
    if type(value) is int:
        return True
    try:
        index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def one_axis(name: str, axis: Any, ndim: int) -> int:
    """A single axis, counted from the front."""
    if not is_int(axis):
        raise TypeError(f"`{name}` must be an int, got {axis!r}")
    counted = index(axis)
    if not -ndim <= counted < ndim:
        dims = f"{ndim} dimension{'s' * (ndim != 1)}"
        raise AxisError(f"`{name}` must lie within an array of {dims}, got {counted}")
    return counted % ndim


def axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """The reduced axes in increasing order, counted from the front."""
    if is_layout(axis):
        count = sum(part is not None for part in (*axis.axis, axis.channel_axis, axis.batch_axis))
        if ndim != count:
            raise ValueError(
                f"`axis` must be a layout of {ndim} letters, one for each axis of the array, "
                f"got {count}"
            )
        axis = axis.axis
    named = axis if isinstance(axis, tuple) else (axis,)
    if not all(map(is_int, named)):
        raise TypeError(f"`axis` must be an int or a tuple of ints, got {axis!r}")
    if not named:
        raise ValueError("`axis` must name at least one axis, got ()")
    counted = sorted(one_axis("axis", one, ndim) for one in named)
    if len(set(counted)) < len(counted):
        raise ValueError(f"`axis` must name each axis once, got {axis}")
    return tuple(counted)


def is_layout(axis: Any) -> bool:
    return hasattr(axis, "channel_axis")


def other_axis(name: str, given: Any, axis: Any, ndim: int) -> Any:
    """`channel_axis` or `batch_axis`: the one given, which a layout must agree with, or its own."""
    if not is_layout(axis):
        return given
    own = getattr(axis, name)
    if given is not None and one_axis(name, given, ndim) != own:
        raise ValueError(f"`{name}` must be that of the layout, {own}, got {given}")
    return own


def kept_axis(name: str, axis: Any, ndim: int, reduced: tuple[int, ...]) -> int:
    """An axis that may not be among the reduced ones."""
    counted = one_axis(name, axis, ndim)
    if counted in reduced:
        raise ValueError(f"`{name}` must not be among the reduced axes {reduced}, got {axis}")
    return counted


def sample(xp: Any, x: Array, axis: Any, *, name: str = "x") -> tuple[int, ...]:
    """The reduced axes of an array that statistics can be taken of."""
    floating(xp, **{name: x})
    reduced = axes(axis, x.ndim)
    if any(x.shape[one] == 0 for one in reduced):
        raise ValueError(
            f"`{name}` must have an element along `axis` {reduced}, got shape {shape(x)}"
        )
    return reduced


def shape(x: Array) -> tuple[Any, ...]:
    return tuple(x.shape)


def is_known(size: Any) -> bool:
    """Whether a size is one by now: ndonnx has None, and Dask NaN, for what is to come."""
    return size is not None and size == size


def agree(a: Any, b: Any) -> bool:
    """Whether two sizes are the same, or will be; Dask cannot cut by one that it does not know."""
    if is_known(a) and is_known(b):
        return a == b
    return a is None or b is None or is_known(a) == is_known(b)


def fits(inner: Any, outer: Any) -> bool:
    """Whether an array of shape `inner` broadcasts against `outer` without enlarging it."""
    pairs = zip(reversed(inner), reversed(outer), strict=False)
    return len(inner) <= len(outer) and all(i == 1 or agree(i, o) for i, o in pairs)


def unknown(*shapes: tuple[Any, ...]) -> str:
    """How to find sizes that are not known; empty if all are."""
    if all(map(is_known, (size for sizes in shapes for size in sizes if size is not None))):
        return ""
    return "; compute_chunk_sizes() finds those that are nan"


def broadcasts(name: str, array: Array, against: tuple[Any, ...], hint: str = "") -> None:
    if not fits(array.shape, against):
        raise ValueError(
            f"`{name}` must broadcast against shape {against}, got shape {shape(array)}{hint}"
            f"{unknown(shape(array), against)}"
        )


def together(name: str, array: Array, *others: Array) -> None:
    """Raises unless an array and others broadcast, whichever is enlarged."""
    for other in others:
        pairs = zip(reversed(array.shape), reversed(other.shape), strict=False)
        if not all(a == 1 or b == 1 or agree(a, b) for a, b in pairs):
            raise ValueError(
                f"`{name}` must broadcast against shape {shape(other)}, got shape {shape(array)}"
                f"{unknown(shape(array), shape(other))}"
            )


def aligned(xp: Any, array: Array, ndim: int) -> Array:
    """Leading axes of size 1 up to `ndim`, so that axes count the same for every operand."""
    for _ in range(ndim - array.ndim):
        array = xp.expand_dims(array, axis=0)
    return array


def mask(xp: Any, name: str, where: Array, x: Array) -> Array:
    if where is None:
        return None
    if not xp.isdtype(where.dtype, "bool"):
        raise TypeError(f"`{name}` must be boolean, got {where.dtype}")
    broadcasts(name, where, shape(x))
    return cut_alike(name, aligned(xp, where, x.ndim), x)


def same_instances(
    name: str, other: Array, x: Array, reduced: tuple[int, ...], where: Array = None
) -> None:
    """Raises unless `other` has the axes of `x`, and sizes that fit but for the reduced ones."""
    xp = namespace(content=x, **{name: other})
    against = tuple(None if i in reduced else size for i, size in enumerate(x.shape))
    if other.ndim != x.ndim or not fits(other.shape, against):
        raise ValueError(
            f"`{name}` must broadcast against shape {shown(against)}, got shape {shape(other)}"
            f"{unknown(shape(other), against)}"
        )
    sample(xp, other, reduced, name=name)
    if where is not None:
        namespace(**{name: other, f"{name}_where": where})
        mask(xp, f"{name}_where", where, other)


def shown(wanted: tuple[Any, ...]) -> str:
    """A shape as errors give it, None for any size."""
    return str(wanted).replace("None", "any")


def tables(
    xp: Any, scales: Array, biases: Array, labels: Array, x: Array, batch: int, channel: int
) -> None:
    """Raises unless there is a row of scales and biases for each label, and a label each."""
    if batch == channel:
        raise ValueError(f"`channel_axis` must differ from `batch_axis`, got {channel} for both")
    floating(xp, scales=scales, biases=biases)
    weighted = xp.isdtype(labels.dtype, "real floating")
    if not weighted and not xp.isdtype(labels.dtype, "integral"):
        raise TypeError(f"`labels` must be integers or real weights, got {labels.dtype}")
    rows, batch_size, channels = (
        scales.shape[0] if scales.ndim else None,
        x.shape[batch],
        x.shape[channel],
    )
    wanted: dict[str, tuple[Any, ...]] = {
        "scales": (None, channels),
        "biases": (rows, channels),
        "labels": (batch_size, rows) if weighted else (batch_size,),
    }
    for name, array in (("scales", scales), ("biases", biases), ("labels", labels)):
        pairs = zip(array.shape, wanted[name], strict=False)
        if array.ndim != len(wanted[name]) or not all(agree(a, b) for a, b in pairs):
            raise ValueError(
                f"`{name}` must be of shape {shown(wanted[name])}, got shape {shape(array)}"
                f"{unknown(shape(array), wanted[name])}"
            )


def parameter(
    xp: Any, name: str, value: Any, against: tuple[Any, ...], channel_axis: int | None
) -> Any:
    """A scale, bias or gate laid out against a shape: 1-D along `channel_axis`, else as it is."""
    if value is None or type(value) in (int, float):
        return value
    if is_number(value):
        return float(value)
    floating(xp, **{name: value})
    if channel_axis is None or value.ndim != 1:
        hint = ""
        if channel_axis is None and name in _PER_CHANNEL:
            hint = f"; a 1-D `{name}` of the channels needs `channel_axis`"
        broadcasts(name, value, against, hint)
        return aligned(xp, value, len(against))
    channels = against[channel_axis]
    if not agree(value.shape[0], channels):
        raise ValueError(
            f"`{name}` must have {channels} elements, one for each channel on axis "
            f"{channel_axis}, got {value.shape[0]}"
        )
    return along(xp, value, channel_axis, len(against))


def along(xp: Any, vector: Array, axis: int, ndim: int) -> Array:
    """A 1-D array laid along one axis of an array of `ndim` dimensions."""
    return xp.reshape(vector, tuple(-1 if i == axis else 1 for i in range(ndim)))


def writable(out: Array, x: Array, dtype: Any = None) -> None:
    """Raises unless `out` is None, or an array that a result for `x` can be written into."""
    if out is None:
        return
    namespace(x=x, out=out)
    if not is_writable(out):
        raise ValueError(f"`out` must be a writable eager array, got {type(out).__name__}")
    dtype = x.dtype if dtype is None else dtype
    if out.dtype != dtype:
        raise TypeError(f"`out` must be of dtype {dtype}, got {out.dtype}")
    if shape(out) != shape(x):
        shapes = f"{shape(x)}, got {shape(out)}"
        raise ValueError(f"`out` must be of shape {shapes}")
