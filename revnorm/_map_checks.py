"""What is asked of maps and moments, which are tuples of arrays that broadcast."""

from itertools import combinations
from typing import Any

from revnorm._checks import (
    agree,
    fits,
    floating,
    is_number,
    namespace,
    shape,
    shown,
    together,
    unknown,
)
from revnorm._trees import Array


def kind_of(value: Any) -> str:
    """What a tuple of arrays is called in an error."""
    return "map" if hasattr(value, "divisor") else "moments"


def fields(value: Any) -> Any:
    """The one namespace of all fields of a map or of moments: real floating arrays, or counts."""
    first, kind = value[0], kind_of(value)
    alike = all(type(field) is type(first) for field in value) and hasattr(first, "dtype")
    if alike and all(field.dtype == first.dtype for field in value):
        name = f"{kind}.{value._fields[0]}"
        xp = namespace(**{name: first})
        floating(xp, **{name: first})
        return xp
    named = {f"{kind}.{n}": f for n, f in zip(value._fields, value, strict=True)}
    xp = namespace(**named)
    floating(xp, **{name: field for name, field in named.items() if name != "moments.count"})
    return xp


def every(name: str, kind: type, values: Any) -> list[Any]:
    """At least one value, all of a kind."""
    plural = kind.__name__.removesuffix("s") + "s"
    if not hasattr(values, "__iter__"):
        raise TypeError(f"`{name}` must hold {plural}, got {type(values).__name__}")
    listed = list(values)
    for one in listed:
        if not isinstance(one, kind):
            raise TypeError(f"`{name}` must hold {plural}, got {type(one).__name__}")
    return listed


def joined(values: list[Any]) -> int:
    """The number of axes of all fields of values that are to be laid end to end."""
    if not values:
        raise ValueError("`values` must hold at least one, got none")
    dimensions = {field.ndim for value in values for field in value}
    if len(dimensions) > 1:
        raise ValueError(f"`values` must have as many axes each, got {sorted(dimensions)}")
    return dimensions.pop()


def same_but_for(axis: int, fields: Any) -> tuple[Any, ...]:
    """The shape that fields broadcast to but for one axis, along which they are laid."""
    shape: list[Any] = [1] * fields[0].ndim
    for field in fields:
        for i, size in enumerate(field.shape):
            if i != axis and size != 1 and not agree(shape[i], size) and shape[i] != 1:
                raise ValueError(
                    f"`values` must broadcast against each other but for axis {axis}, "
                    f"got shapes {tuple(fields[0].shape)} and {tuple(field.shape)}"
                )
            shape[i] = size if shape[i] == 1 else shape[i]
    return tuple(shape)


def mixture(maps: Any, weights: Any) -> None:
    """Raises unless maps and their weights are of one library, and fit each other."""
    named = {f"weights[{i}]": w for i, w in enumerate(weights) if not is_number(w)}
    xp = namespace(**{f"maps[{i}]": one.center for i, one in enumerate(maps)}, **named)
    floating(xp, **named)
    for i, one in enumerate(maps):
        together(f"maps[{i}]", one.center, maps[0].center)
    for name, weight in named.items():
        together(name, weight, maps[0].center)


def indices(xp: Any, given: Array) -> None:
    if not xp.isdtype(given.dtype, "integral"):
        hint = "; nonzero gives those of a mask" if xp.isdtype(given.dtype, "bool") else ""
        raise TypeError(f"`indices` must be integers, got {given.dtype}{hint}")
    if given.ndim != 1:
        raise ValueError(f"`indices` must be 1-D, got shape {shape(given)}")


def applicable(map: Any, x: Array) -> None:
    """Raises unless a map applies to `x` without adding axes to it, nor enlarging any."""
    if all(fits(field.shape, x.shape) for field in map):
        return
    wanted, got = _map_shape(map), shape(x)
    raise ValueError(
        f"`x` must be of shape {shown(wanted)}, got shape {got}{_indexed(wanted, got)}"
    )


def _map_shape(map: Any) -> tuple[Any, ...]:
    """The shape that fields broadcast to, with None where it is 1 and any size goes through."""
    ndim = max(field.ndim for field in map)
    padded = [(1,) * (ndim - field.ndim) + shape(field) for field in map]
    return tuple(next((n for n in sizes if n != 1), None) for sizes in zip(*padded, strict=True))


def _indexed(wanted: tuple[Any, ...], got: tuple[Any, ...]) -> str:
    """How to index an array, or the map, so that the two fit; empty if they cannot."""
    missing = max(0, len(wanted) - len(got))
    for added in combinations([i for i, n in enumerate(wanted) if n is None], missing):
        kept = [n for i, n in enumerate(wanted) if i not in added]
        sizes = list(zip(kept, got[len(got) - len(kept) :], strict=True))
        if any(n is not None and m != 1 and not agree(n, m) for n, m in sizes):
            continue
        if added:
            steps = ["None" if i in added else ":" for i in range(max(added) + 1)]
            return f"; index it as x[{', '.join(steps)}]"
        one = next(i for i, (n, m) in enumerate(sizes) if n is not None and m == 1)
        return f"; map.take(indices, axis={one}) is the map of a part"
    return ""


def statistics(name: str, given: Any, x: Array, reduced: tuple[int, ...]) -> None:
    """Raises unless `given` is None, or a tuple of arrays shaped as `x` with `reduced` at 1."""
    if given is None:
        return
    if not hasattr(given, "residual"):
        raise TypeError(f"`{name}` must be a Moments, got {type(given).__name__}")
    fields(given)
    namespace(x=x, **{name: given.mean})
    against = tuple(1 if i in reduced else size for i, size in enumerate(x.shape))
    if given.mean.ndim != x.ndim or not fits(given.mean.shape, against):
        raise ValueError(
            f"`{name}` must broadcast against shape {against}, got shape {shape(given.mean)}"
            f"{unknown(shape(given.mean), against)}"
        )


def beside_moments(correction: float = 0, **masks: Any) -> None:
    """Raises if what belongs to the taking of moments stands beside given ones."""
    for name, mask in masks.items():
        if mask is not None:
            raise ValueError(
                f"`{name}` must be None where moments are given, got {type(mask).__name__}"
            )
    if correction:
        raise ValueError(f"`correction` must be 0 where moments are given, got {correction}")
