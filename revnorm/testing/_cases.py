"""The battery: named inputs, each chosen for what it finds out."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np

from revnorm.testing._arrays import from_numpy, largest, rounded, significand, smallest
from revnorm.testing._reference import evaluate

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Case:
    """One input of a kernel, built when it is asked for and always the same.

    Attributes
    ----------
    name : str
        Unique within the kernel's battery.
    kernel : str
        The kernel that it is an input of.
    probes : str
        What it finds out.
    reversible : bool
        Whether the inverse must give the data back.
    """

    name: str
    kernel: str
    probes: str
    make: Callable[[np.random.Generator, str], _Arguments] = field(repr=False)
    view: Callable[[np.ndarray], np.ndarray] | None = field(default=None, repr=False)
    reversible: bool = True

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The positional arguments, NumPy arrays of float64."""
        return self.arrays_in("float64")

    @property
    def keywords(self) -> dict[str, Any]:
        """The keyword arguments."""
        return self._made("float64")[1]

    def arrays_in(self, dtype: str) -> tuple[np.ndarray, ...]:
        """The positional arguments rounded to a type; float32 holds those of bfloat16."""
        x, *others = (
            rounded(one, dtype) if np.asarray(one).dtype == np.float64 else one
            for one in self._made(dtype)[0]
        )
        return (x if self.view is None else self.view(x), *others)

    def arguments(
        self, dtype: str = "float32", library: str = "numpy", device: Any = None
    ) -> _Arguments:
        """What the kernel is called with: arrays of a type in a library, and keywords."""

        def convert(value: Any) -> Any:
            if not isinstance(value, np.ndarray):
                return value
            kept = dtype if value.dtype.kind == "f" and (library, dtype) != _HELD else None
            return from_numpy(value, library, dtype=kept, device=device)

        arrays = tuple(map(convert, self.arrays_in(dtype)))
        return arrays, {name: convert(value) for name, value in self._made(dtype)[1].items()}

    def expected(self, dtype: str = "float32") -> np.ndarray:
        """What `reference` gives for the arrays of that type."""
        return _evaluated(self, dtype)[0]

    def reach(self, dtype: str = "float32") -> np.ndarray:
        """The magnitude of the largest term that each element of that is a sum of."""
        return _evaluated(self, dtype)[1]

    def unfit(self, dtype: str) -> str:
        """Why the case cannot be had in a type; empty where it can."""
        made, held = self._made(dtype)[0], self.arrays_in(dtype)
        for before, after in zip(made, held, strict=True):
            if np.isinf(after).any() and not np.isinf(before).any():
                return f"too large for {dtype}"
            if np.any(before) and not np.any(after):
                return f"too small for {dtype}"
        return ""

    def _made(self, dtype: str) -> _Arguments:
        return self.make(np.random.default_rng(zlib.crc32(self.name.encode())), dtype)


_HELD = ("numpy", "bfloat16")


@lru_cache(maxsize=1024)
def _evaluated(case: Case, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    value, reach = evaluate(case.kernel, *case.arrays_in(dtype), **case.keywords)
    for array in (value, reach):
        array.flags.writeable = False
    return value, reach


def cases(name: str, /) -> list[Case]:
    """The battery of a kernel: inputs that wrong or inaccurate arithmetic fails on.

    Parameters
    ----------
    name : str
        As in `reference`, but for "moments".

    Returns
    -------
    list of Case

    Raises
    ------
    ValueError
        If there is no kernel of that name.

    Examples
    --------
    >>> from revnorm.testing import cases
    >>> case = cases("instance_norm")[0]
    >>> case.name, case.keywords
    ('mean 0', {'axis': (2, 3)})
    """
    if name not in _BATTERIES:
        raise ValueError(f"`name` must be one of {', '.join(_BATTERIES)}, got {name!r}")
    return list(_battery(name))


@cache
def _battery(name: str) -> tuple[Case, ...]:
    return tuple(replace(case, kernel=name) for case in _BATTERIES[name]())


def _case(
    name: str,
    probes: str,
    x: Callable[[np.random.Generator, str], Any],
    *others: Callable[[np.random.Generator, np.ndarray], Any],
    view: Callable[[np.ndarray], np.ndarray] | None = None,
    reversible: bool = True,
    **keywords: Any,
) -> Case:
    """A case whose other arguments, and keywords that are functions, are made from `x`."""

    def make(rng: np.random.Generator, dtype: str) -> _Arguments:
        data = x(rng, dtype)
        made = tuple(other(rng, data) for other in others)
        named = {key: v(rng, data) if callable(v) else v for key, v in keywords.items()}
        return (data, *made), named

    return Case(name, "", probes, make, view, reversible)


def _normal(*shape: int, mean: float = 0.0, std: float = 1.0) -> Callable[..., np.ndarray]:
    return lambda rng, dtype: rng.standard_normal(shape) * std + mean


def _like(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return rng.standard_normal(x.shape)


def _with(base: Callable[..., np.ndarray], index: Any, value: float) -> Callable[..., np.ndarray]:
    def build(rng: np.random.Generator, dtype: str) -> np.ndarray:
        x = base(rng, dtype)
        x[index] = value
        return x

    return build


def _samples() -> list[Case]:
    """Data that every kernel must take, N and C first and the rest reduced."""
    image = (2, 3, 24, 24)
    reduced = (2, 3)
    cancels = "the variance cancels if it is E[x²] − E[x]², or the mean is rounded"
    found = [_case("mean 0", "the usual data", _normal(*image), axis=reduced)]
    found += [
        _case(f"mean {mean}, std 1", cancels, _normal(*image, mean=float(mean)), axis=reduced)
        for mean in ("1e2", "1e4", "1e6")
    ]
    found += [
        _case(
            f"std {std}, eps 0",
            "the spread is far from 1, and nothing may depend on that",
            _normal(*image, mean=3 * float(std), std=float(std)),
            axis=reduced,
            eps=0.0,
        )
        for std in ("1e-6", "1e6")
    ]
    found += [
        _case(
            "variance below eps",
            "eps belongs inside the root",
            _normal(*image, std=1e-3),
            axis=reduced,
            eps=1e-5,
        ),
        _case("eps 1", "eps is added, not a guard", _normal(*image), axis=reduced, eps=1.0),
        _case(
            "near the largest number",
            "sums, differences and squares overflow",
            lambda rng, dtype: rng.uniform(-1, 1, image) * 0.99 * largest(dtype),
            axis=reduced,
        ),
        _case("1e30", "squares overflow in float32", _normal(*image, std=1e30), axis=reduced),
        _case(
            "1e-30, eps 0",
            "squares underflow in float32",
            _normal(*image, std=1e-30),
            axis=reduced,
            eps=0.0,
        ),
        _case(
            "subnormal, eps 0",
            "numbers below the normal range are flushed, or their inverses overflow",
            lambda rng, dtype: rng.integers(-99, 99, image) * smallest(dtype),
            axis=reduced,
            eps=0.0,
        ),
        _case(
            "constant",
            "variance 0: the mean must be exact",
            lambda rng, dtype: np.full(image, 0.1),
            axis=reduced,
        ),
        _case(
            "constant, eps 0",
            "variance 0 and no eps: scale 1, nothing is divided by 0",
            lambda rng, dtype: np.full(image, 1 / 3),
            axis=reduced,
            eps=0.0,
        ),
        _case("one element", "variance 0", _normal(2, 3, 1, 1, mean=5.0), axis=reduced),
        _case("two elements", "the smallest spread", _normal(2, 3, 2, mean=5.0), axis=2),
        _case(
            "two neighbours, eps 0",
            "the spread is one unit in the last place",
            lambda rng, dtype: (
                1 + np.indices(image).sum(axis=0) % 2 * 2.0 ** (1 - significand(dtype)[0])
            ),
            axis=reduced,
            eps=0.0,
        ),
        _case(
            "outlier 1e20 among ones",
            "one element carries the whole variance",
            _with(lambda rng, dtype: np.ones(image), (..., 7, 5), 1e20),
            axis=reduced,
        ),
        _case(
            "first element far off",
            "a shift by the first element is as bad as a shift by a member can be",
            _with(_normal(*image), (..., 0, 0), 1e7),
            axis=reduced,
        ),
        _case(
            "far from zero, near each other",
            "a shift that is no member of the sample cancels",
            _normal(2, 3, 4096, mean=-2e6, std=0.5),
            axis=2,
            eps=0.0,
        ),
        _case("NHWC", "axes in the middle", _normal(2, 9, 7, 5, mean=1e3), axis=(1, 2)),
        _case("negative axes", "axes count from the end", _normal(2, 3, 5, 7), axis=(-1, -2)),
        _case("NCDHW", "three reduced axes", _normal(2, 3, 5, 4, 7, mean=9.0), axis=(2, 3, 4)),
        _case(
            "transposed view",
            "strides that are not those of a fresh array",
            _normal(7, 11, 3, 2, mean=9.0),
            view=lambda x: x.T,
            axis=reduced,
        ),
        _case(
            "every second element",
            "strides with gaps",
            _normal(2, 3, 22, 7, mean=9.0),
            view=lambda x: x[:, :, ::2],
            axis=reduced,
        ),
        _case(
            "backwards",
            "negative strides",
            _normal(2, 3, 11, 7, mean=9.0),
            view=lambda x: x[..., ::-1],
            axis=reduced,
        ),
        _case(
            "65536 elements",
            "long sums in few lanes",
            _normal(1, 2, 65536, mean=1e2),
            axis=2,
        ),
        _case(
            "65536 elements, not contiguous",
            "sums along such an axis are added naively",
            _normal(1, 65536, 1, 2, mean=1e2),
            axis=1,
        ),
        _case(
            "NaN in one instance",
            "what is not finite stays inside its own instance",
            _with(_normal(*image), (1, 2, 3, 4), np.nan),
            axis=reduced,
        ),
        _case(
            "infinity in one instance",
            "what is not finite stays inside its own instance",
            _with(_normal(*image), (0, 1, 3, 4), np.inf),
            axis=reduced,
        ),
    ]
    return found


def _random_mask(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return rng.random(x.shape) < 0.7


def _padding(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """All but the last third of the last axis, the same for every channel."""
    return np.broadcast_to(
        np.arange(x.shape[-1]) < x.shape[-1] * 2 // 3, (x.shape[0], 1, x.shape[-1])
    )


def _masked() -> list[Case]:
    """Data under a mask, as (batch, channels, time)."""
    shape = (2, 3, 60)

    def unseen(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return np.arange(2).reshape(2, 1, 1) > 0

    def single(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return np.arange(60) == 17

    def known(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return np.isfinite(x)

    def late(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return np.arange(60) > 4

    def gaps(rng: np.random.Generator, dtype: str) -> np.ndarray:
        x = rng.standard_normal(shape) + 1e2
        x[rng.random(shape) < 0.2] = np.nan
        return x

    return [
        _case(
            "mask",
            "only what is observed counts, everything is mapped",
            _normal(*shape, mean=1e4),
            axis=2,
            where=_random_mask,
        ),
        _case(
            "padding",
            "a mask that broadcasts over channels; padding has no effect",
            _with(_normal(*shape, mean=1e2), (..., slice(40, None)), 0.0),
            axis=2,
            where=_padding,
        ),
        _case("NaN under False", "NaN must not reach a statistic", gaps, axis=2, where=known),
        _case(
            "first elements unobserved and far",
            "a shift must be by an observed element",
            _with(_normal(*shape, std=1e-3), (..., slice(5)), 6e4),
            axis=2,
            where=late,
            eps=0.0,
        ),
        _case(
            "nothing observed in one instance",
            "the identity map",
            _normal(*shape, mean=5.0),
            axis=2,
            where=unseen,
        ),
        _case(
            "one element observed, eps 0",
            "variance 0 under a mask",
            _normal(*shape, mean=5.0),
            axis=2,
            where=single,
            eps=0.0,
        ),
    ]


def _channels(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return rng.uniform(0.5, 2.0, x.shape[1])


def _affine() -> list[Case]:
    """Scales and biases of instance_norm and revin."""
    shape = (2, 3, 8, 8)
    options: dict[str, Any] = {"axis": (2, 3), "channel_axis": 1}
    far = _normal(*shape, mean=1e3)

    def some_zero(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return np.asarray([0.0, 1.0, -2.0])

    return [
        _case("scale and bias", "1-D along the channels", far, _channels, _channels, **options),
        _case(
            "scale and bias that broadcast",
            "no channel_axis",
            far,
            lambda rng, x: rng.uniform(0.5, 2.0, (3, 1, 1)),
            lambda rng, x: rng.uniform(0.5, 2.0, (2, 1, 1, 1)),
            axis=(2, 3),
        ),
        _case(
            "scale 0",
            "gives the bias; the inverse must not divide by it",
            far,
            some_zero,
            _channels,
            reversible=False,
            **options,
        ),
        _case(
            "scale 1e-3",
            "the inverse divides by the scale and by nothing else",
            far,
            lambda rng, x: np.full(3, 1e-3),
            lambda rng, x: np.zeros(3),
            **options,
        ),
        _case("correction 1", "the unbiased variance", _normal(2, 3, 5), axis=2, correction=1),
        _case(
            "correction 1, one element",
            "nothing is left to divide by",
            _normal(2, 3, 1),
            axis=2,
            correction=1,
        ),
        _case(
            "clamp, variance below eps",
            "the inverse must undo the clamp",
            _normal(*shape, mean=0.5, std=1e-4),
            axis=(2, 3),
            eps_mode="clamp",
        ),
        _case(
            "clamp, variance above eps",
            "nothing is added",
            _normal(*shape, std=1e-1),
            axis=(2, 3),
            eps_mode="clamp",
            eps=1e-3,
        ),
        _case(
            "relative, in a small unit",
            "eps has no unit, and is a share of the mean square",
            _normal(*shape, mean=0.5, std=1e-4),
            axis=(2, 3),
            eps_mode="relative",
        ),
    ]


def _layouts() -> list[Case]:
    """Axes of other normalizations."""
    shape = (4, 6, 5, 7)
    return [
        _case("vector", "one axis, and it is reduced", _normal(513, mean=1e2), axis=0),
        _case("layer norm", "all but the batch", _normal(*shape, mean=1e2), axis=(1, 2, 3)),
        _case("batch norm", "all but the channels", _normal(*shape, mean=1e2), axis=(0, 2, 3)),
        _case("every axis", "a single instance", _normal(*shape, mean=1e2), axis=(0, 1, 2, 3)),
    ]


def _instance_norm() -> list[Case]:
    long = [
        _case(
            "10^6 rows, axis 0",
            "naive sums lose thousands of units",
            _normal(1_000_000, 2, mean=1e2),
            axis=0,
        ),
    ]
    return _samples() + _layouts() + _affine() + _masked() + long


def _revin() -> list[Case]:
    last = [
        _case(
            "center last",
            "the last element becomes 0",
            _normal(2, 40, 3, mean=1e3),
            axis=1,
            center="last",
        ),
        _case(
            "center last, mask",
            "the last observed element becomes 0",
            _normal(2, 40, 3, mean=1e3),
            axis=1,
            center="last",
            where=_random_mask,
        ),
    ]
    return _samples() + _layouts() + _affine() + _masked() + last


def _adain() -> list[Case]:
    def style(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return rng.standard_normal(x.shape) * 2 + 5

    def own(name: str, probes: str, other: Any = style, **keywords: Any) -> Case:
        return _case(name, probes, _normal(2, 3, 60, mean=1e2), other, axis=2, **keywords)

    return [
        *_extended(_samples() + _masked(), lambda rng, x, keywords: (style(rng, x),)),
        own("strength 0.5", "half way to the style", strength=0.5),
        own("strength 0", "the content as it is", strength=0.0),
        own("correction 1", "unbiased variances of both", correction=1),
        own("style mask", "only what is observed of the style counts", style_where=_random_mask),
        own(
            "style of another size",
            "its own number of elements",
            lambda rng, x: rng.standard_normal((2, 3, 17)) + 1e2,
        ),
        own(
            "style far from zero",
            "the variance of the style cancels",
            lambda rng, x: rng.standard_normal(x.shape) + 1e4,
        ),
        own("style constant", "the style's variance is 0", lambda rng, x: np.full(x.shape, 0.1)),
        own(
            "style that broadcasts",
            "one style for the whole batch",
            lambda rng, x: rng.standard_normal((1, 3, 9)) + 5,
        ),
    ]


def _batch_instance_norm() -> list[Case]:
    def gate(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return rng.random(x.shape[1])

    def apart(rng: np.random.Generator, dtype: str) -> np.ndarray:
        return rng.standard_normal((4, 3, 50)) + 1e3 * np.arange(4).reshape(4, 1, 1)

    options: dict[str, Any] = {"axis": 2, "batch_axis": 0, "channel_axis": 1}
    return [
        *_extended(
            _samples() + _masked(),
            lambda rng, x, keywords: (np.asarray(0.3),),
            lambda x, keywords: {"batch_axis": 0},
        ),
        _case("gate of the channels", "a gate for each channel", apart, gate, **options),
        _case("gate 0", "instance norm", apart, lambda rng, x: np.zeros(3), **options),
        _case("gate 1", "batch norm", apart, lambda rng, x: np.ones(3), **options),
        _case("scale and bias", "they come last", apart, gate, _channels, _channels, **options),
    ]


def _conditional_instance_norm() -> list[Case]:
    def tables(rng: np.random.Generator, x: np.ndarray, keywords: Any) -> tuple[Any, ...]:
        channel = keywords["channel_axis"]
        table = rng.uniform(0.5, 2.0, (2, 5, x.shape[channel]))
        return table[0], table[1], np.arange(x.shape[0]) * 3 % 5

    def mixed(rng: np.random.Generator, x: np.ndarray, keywords: Any) -> tuple[Any, ...]:
        weights = rng.random((x.shape[0], 5))
        return (*tables(rng, x, keywords)[:2], weights / weights.sum(axis=1, keepdims=True))

    def axes(x: np.ndarray, keywords: Any) -> dict[str, Any]:
        reduced = {axis % x.ndim for axis in np.atleast_1d(keywords["axis"]).tolist()}
        return {"batch_axis": 0, "channel_axis": max(set(range(x.ndim)) - reduced)}

    some = [case for case in _samples() if case.name in ("mean 0", "mean 1e4, std 1", "NHWC")]
    weighted = [replace(case, name=f"{case.name}, weights") for case in some]
    return _extended(_samples() + _masked(), tables, axes) + _extended(weighted, mixed, axes)


def _spatially_adaptive_norm() -> list[Case]:
    image = _normal(2, 3, 8, 8, mean=1e2)
    return [
        *_extended(
            _samples() + _masked(), lambda rng, x, keywords: (_like(rng, x) / 2, _like(rng, x))
        ),
        _case(
            "scale map -1",
            "gives the bias map",
            image,
            lambda rng, x: -np.ones(x.shape),
            _like,
            axis=(2, 3),
        ),
        _case(
            "maps for all channels",
            "maps that broadcast",
            image,
            lambda rng, x: rng.standard_normal((2, 1, 8, 8)),
            lambda rng, x: rng.standard_normal((2, 1, 8, 8)),
            axis=(2, 3),
        ),
        _case("over the batch", "the axes of a batch norm", image, _like, _like, axis=(0, 2, 3)),
    ]


def _extended(
    battery: list[Case],
    others: Callable[..., tuple[Any, ...]],
    options: Callable[..., dict[str, Any]] = lambda x, keywords: {},
) -> list[Case]:
    """The same data with further arguments, made from what the kernel sees of it."""

    def extend(case: Case) -> Case:
        def make(rng: np.random.Generator, dtype: str) -> _Arguments:
            (x,), keywords = case.make(rng, dtype)
            seen = x if case.view is None else case.view(x)
            keywords = keywords | options(seen, keywords)
            return (x, *others(rng, seen, keywords)), keywords

        return replace(case, make=make)

    return [extend(case) for case in battery]


_BATTERIES = {
    "instance_norm": _instance_norm,
    "revin": _revin,
    "adain": _adain,
    "batch_instance_norm": _batch_instance_norm,
    "conditional_instance_norm": _conditional_instance_norm,
    "spatially_adaptive_norm": _spatially_adaptive_norm,
}
