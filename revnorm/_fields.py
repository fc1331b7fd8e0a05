"""What maps and moments have in common as tuples of arrays that broadcast: parts, joins, dtypes."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from revnorm import _checks, _map_checks
from revnorm._data import wider
from revnorm._libraries import device
from revnorm._trees import Array, is_array

# As many numbers are shown in full.
_SHOWN = 24


def take(value: Any, indices: Any, axis: int) -> Any:
    """Each field at some indices along an axis, where it varies there."""
    xp = _map_checks.fields(value)
    if isinstance(indices, slice):
        return type(value)._make(_sliced(field, indices, axis) for field in value)
    if not is_array(indices) and _checks.is_int(indices):
        indices = [indices]
    if isinstance(indices, list | tuple | range):
        indices = xp.asarray(list(indices), device=device(value[0]))
    name = _map_checks.kind_of(value)
    xp = _checks.namespace(**{name: value[0], "indices": indices})
    _map_checks.indices(xp, indices)
    fields = []
    for field in value:
        at = _checks.one_axis("axis", axis, field.ndim)
        fields.append(field if field.shape[at] == 1 else pick(xp, field, indices, at))
    return type(value)._make(fields)


def pick(xp: Any, array: Array, indices: Array, axis: int) -> Array:
    """What `take` gives, of one index by way of two: https://github.com/dask/dask/issues/6709."""
    if indices.shape[0] != 1:
        return xp.take(array, indices, axis=axis)
    twice = xp.take(array, xp.concat([indices, indices]), axis=axis)
    return twice[(slice(None),) * axis + (slice(1), ...)]


def _sliced(field: Any, indices: slice, axis: int) -> Any:
    at = _checks.one_axis("axis", axis, field.ndim)
    return field if field.shape[at] == 1 else field[(slice(None),) * at + (indices, ...)]


def concat(kind: type, values: Iterable[Any], axis: int) -> Any:
    """Values of one kind, one behind the other along an axis."""
    values = _map_checks.every("values", kind, values)
    at = _checks.one_axis("axis", axis, _map_checks.joined(values))
    for value in values:
        _map_checks.fields(value)
    xp = _checks.namespace(**{f"values[{i}]": value[0] for i, value in enumerate(values)})
    lengths = [max(field.shape[at] for field in value) for value in values]
    fields = []
    for same in zip(*values, strict=True):
        others = _map_checks.same_but_for(at, same)
        shapes = [(*others[:at], length, *others[at + 1 :]) for length in lengths]
        wide = map(xp.broadcast_to, same, shapes)
        fields.append(xp.concat(list(wide), axis=at))
    return kind(*fields)


def astype(value: Any, dtype: Any, pairs: dict[str, str]) -> Any:
    """Every field in a dtype, and what a number loses by it in the residual beside it."""
    xp = _map_checks.fields(value)
    dtype = _checks.floating_dtype(xp, dtype)
    cast = {name: xp.astype(field, dtype) for name, field in value._asdict().items()}
    for name, residual in pairs.items():
        number = getattr(value, name)
        wide = wider(xp, number.dtype, dtype)
        lost = xp.astype(number, wide) - xp.astype(cast[name], wide)
        cast[residual] = xp.astype(lost + xp.astype(getattr(value, residual), wide), dtype)
    return type(value)(**cast)


def described(value: Any) -> str:
    """The fields in full if they are short, else by shape and dtype."""
    name = type(value).__name__
    shapes = [tuple(getattr(field, "shape", ())) for field in value]
    known = all(_checks.is_known(size) for shape in shapes for size in shape)
    if not all(map(is_array, value)) or (known and sum(map(math.prod, shapes)) <= _SHOWN):
        return f"{name}({', '.join(f'{n}={f!r}' for n, f in value._asdict().items())})"
    told: dict[str, list[str]] = {}
    for field, array in value._asdict().items():
        told.setdefault(f"{tuple(array.shape)} {array.dtype}", []).append(field)
    kinds = (f"{', '.join(names)}: {kind}" for kind, names in told.items())
    return f"{name}({'; '.join(kinds)})"


def without_arithmetic(instead: str) -> Callable[[type], type]:
    """A tuple's operators that would lay fields side by side raise, and say what there is."""

    def decorated(kind: type) -> type:
        for name, symbol in (("add", "+"), ("radd", "+"), ("mul", "*"), ("rmul", "*")):
            setattr(kind, f"__{name}__", _refused(kind, symbol, instead))
        # Leaves `array @ map` and the like to the map, which has no such product.
        kind.__array_ufunc__ = None  # type: ignore[attr-defined]
        return kind

    return decorated


def _refused(kind: type, symbol: str, instead: str) -> Callable[..., Any]:
    def refuse(self: Any, other: Any) -> Any:
        raise TypeError(
            f"`{symbol}` must be written with {instead}, "
            f"got {kind.__name__} and {type(other).__name__}"
        )

    return refuse
