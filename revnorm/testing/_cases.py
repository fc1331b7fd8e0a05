"""The battery: named inputs, each chosen for what it finds out."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from revnorm.testing._arrays import largest, significand, smallest
from revnorm.testing._case import Arguments, Case, build, changed, channels, like, normal
from revnorm.testing._families import FAMILIES
from revnorm.testing._formula import (
    affine_formulas,
    conducts,
    formulas,
    independent,
    own_moments,
)
from revnorm.testing._fuzz import fuzzed
from revnorm.testing._tiers import tier_of


def cases(name: str, /, *, seed: int | None = None, fuzz: int = 20) -> list[Case]:
    """The battery of a kernel: inputs that wrong or inaccurate arithmetic fails on.

    Parameters
    ----------
    name : str
        As in `reference`, but for "moments".
    seed : int, optional
        Adds cases with random shapes, means, spreads, eps and parameters, the same for the same
        seed.
    fuzz : int
        How many of these.

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
    return [*_battery(name), *fuzzed(name, seed, fuzz)]


@cache
def _battery(name: str) -> tuple[Case, ...]:
    found = _BATTERIES[name]()
    return tuple(replace(one, kernel=name, tier=one.tier or tier_of(one)) for one in found)


def _samples() -> list[Case]:
    """Data that every kernel must take, N and C first and the rest reduced."""
    image = (2, 3, 24, 24)
    reduced = (2, 3)
    cancels = "the variance cancels if it is E[x²] − E[x]², or the mean is rounded"
    found = [build("mean 0", "the usual data", normal(*image), axis=reduced)]
    found += [
        build(f"mean {mean}, std 1", cancels, normal(*image, mean=float(mean)), axis=reduced)
        for mean in ("1e2", "1e3", "1e4", "1e6")
    ]
    found += [
        build(
            f"std {std}, eps 0",
            "the spread is far from 1, and nothing may depend on that",
            normal(*image, mean=3 * float(std), std=float(std)),
            axis=reduced,
            eps=0.0,
        )
        for std in ("1e-6", "1e6")
    ]
    found += [
        build(
            "variance below eps",
            "eps belongs inside the root",
            normal(*image, std=1e-3),
            axis=reduced,
            eps=1e-5,
        ),
        build("eps 1", "eps is added, not a guard", normal(*image), axis=reduced, eps=1.0),
        build(
            "near the largest number",
            "sums, differences and squares overflow",
            lambda rng, dtype: rng.uniform(-1, 1, image) * 0.99 * largest(dtype),
            axis=reduced,
        ),
        build("1e30", "squares overflow in float32", normal(*image, std=1e30), axis=reduced),
        build(
            "1e-30, eps 0",
            "squares underflow in float32",
            normal(*image, std=1e-30),
            axis=reduced,
            eps=0.0,
        ),
        build(
            "subnormal, eps 0",
            "numbers below the normal range are flushed, or their inverses overflow",
            lambda rng, dtype: rng.integers(-99, 99, image) * smallest(dtype),
            axis=reduced,
            eps=0.0,
        ),
        build(
            "constant",
            "variance 0: the mean must be exact",
            lambda rng, dtype: np.full(image, 0.1),
            axis=reduced,
        ),
        build(
            "constant, eps 0",
            "variance 0 and no eps: scale 1, nothing is divided by 0",
            lambda rng, dtype: np.full(image, 1 / 3),
            axis=reduced,
            eps=0.0,
        ),
        build("one element", "variance 0", normal(2, 3, 1, 1, mean=5.0), axis=reduced),
        build("two elements", "the smallest spread", normal(2, 3, 2, mean=5.0), axis=2),
        build(
            "two neighbours, eps 0",
            "the spread is one unit in the last place",
            lambda rng, dtype: (
                1 + np.indices(image).sum(axis=0) % 2 * 2.0 ** (1 - significand(dtype)[0])
            ),
            axis=reduced,
            eps=0.0,
        ),
        build(
            "outlier 1e20 among ones",
            "one element carries the whole variance",
            changed(lambda rng, dtype: np.ones(image), (..., 7, 5), 1e20),
            axis=reduced,
        ),
        build(
            "first element far off",
            "a shift by the first element is as bad as a shift by a member can be",
            changed(normal(*image), (..., 0, 0), 1e7),
            axis=reduced,
        ),
        build(
            "far from zero, near each other",
            "a shift that is no member of the sample cancels",
            normal(2, 3, 4096, mean=-2e6, std=0.5),
            axis=2,
            eps=0.0,
        ),
        build("NHWC", "axes in the middle", normal(2, 9, 7, 5, mean=1e3), axis=(1, 2)),
        build("negative axes", "axes count from the end", normal(2, 3, 5, 7), axis=(-1, -2)),
        build("NCDHW", "three reduced axes", normal(2, 3, 5, 4, 7, mean=9.0), axis=(2, 3, 4)),
        build(
            "transposed view",
            "strides that are not those of a fresh array",
            normal(7, 11, 3, 2, mean=9.0),
            view=lambda x: x.T,
            axis=reduced,
        ),
        build(
            "every second element",
            "strides with gaps",
            normal(2, 3, 22, 7, mean=9.0),
            view=lambda x: x[:, :, ::2],
            axis=reduced,
        ),
        build(
            "backwards",
            "negative strides",
            normal(2, 3, 11, 7, mean=9.0),
            view=lambda x: x[..., ::-1],
            axis=reduced,
        ),
        build(
            "65536 elements",
            "long sums in few lanes",
            normal(1, 2, 65536, mean=1e2),
            axis=2,
        ),
        build(
            "65536 elements, not contiguous",
            "sums along such an axis are added naively",
            normal(1, 65536, 1, 2, mean=1e2),
            axis=1,
        ),
        build(
            "NaN in one instance",
            "what is not finite stays inside its own instance",
            changed(normal(*image), (1, 2, 3, 4), np.nan),
            axis=reduced,
        ),
        build(
            "infinity in one instance",
            "what is not finite stays inside its own instance",
            changed(normal(*image), (0, 1, 3, 4), np.inf),
            axis=reduced,
        ),
    ]
    return found + formulas() + conducts() + _shapes()


def _shapes() -> list[Case]:
    """Shapes and places in memory that vector code gets wrong at its edges."""
    reduced = (2, 3)
    return [
        build("odd lengths", "what is left over of a vector", normal(3, 5, 7, 13), axis=reduced),
        build(
            "beginning in the middle",
            "an array that starts where no vector would, and ends before its buffer does",
            normal(2, 3, 9, 10, mean=2.0),
            view=lambda x: x[:, :, 1:, 3:],
            axis=reduced,
        ),
    ]


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
        build(
            "mask",
            "only what is observed counts, everything is mapped",
            normal(*shape, mean=1e4),
            axis=2,
            where=_random_mask,
        ),
        build(
            "padding",
            "a mask that broadcasts over channels; padding has no effect",
            changed(normal(*shape, mean=1e2), (..., slice(40, None)), 0.0),
            axis=2,
            where=_padding,
        ),
        build("NaN under False", "NaN must not reach a statistic", gaps, axis=2, where=known),
        build(
            "first elements unobserved and far",
            "a shift must be by an observed element",
            changed(normal(*shape, std=1e-3), (..., slice(5)), 6e4),
            axis=2,
            where=late,
            eps=0.0,
        ),
        build(
            "nothing observed in one instance",
            "the identity map",
            normal(*shape, mean=5.0),
            axis=2,
            where=unseen,
        ),
        build(
            "one element observed, eps 0",
            "variance 0 under a mask",
            normal(*shape, mean=5.0),
            axis=2,
            where=single,
            eps=0.0,
        ),
    ]


def _affine() -> list[Case]:
    """Scales and biases of instance_norm and revin."""
    shape = (2, 3, 8, 8)
    options: dict[str, Any] = {"axis": (2, 3), "channel_axis": 1}
    far = normal(*shape, mean=1e3)

    def some_zero(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return np.asarray([0.0, 1.0, -2.0])

    return [
        build("scale and bias", "1-D along the channels", far, channels, channels, **options),
        build(
            "scale and bias that broadcast",
            "no channel_axis",
            far,
            lambda rng, x: rng.uniform(0.5, 2.0, (3, 1, 1)),
            lambda rng, x: rng.uniform(0.5, 2.0, (2, 1, 1, 1)),
            axis=(2, 3),
        ),
        build(
            "scale 0",
            "gives the bias; the inverse must not divide by it",
            far,
            some_zero,
            channels,
            reversible=False,
            **options,
        ),
        build(
            "scale 1e-3",
            "the inverse divides by the scale and by nothing else",
            far,
            lambda rng, x: np.full(3, 1e-3),
            lambda rng, x: np.zeros(3),
            **options,
        ),
        build("correction 1", "the unbiased variance", normal(2, 3, 5), axis=2, correction=1),
        build(
            "correction 1, one element",
            "nothing is left to divide by",
            normal(2, 3, 1),
            axis=2,
            correction=1,
        ),
        build(
            "clamp, variance below eps",
            "the inverse must undo the clamp",
            normal(*shape, mean=0.5, std=1e-4),
            axis=(2, 3),
            eps_mode="clamp",
        ),
        build(
            "clamp, variance above eps",
            "nothing is added",
            normal(*shape, std=1e-1),
            axis=(2, 3),
            eps_mode="clamp",
            eps=1e-3,
        ),
        build(
            "relative, in a small unit",
            "eps has no unit, and is a share of the mean square",
            normal(*shape, mean=0.5, std=1e-4),
            axis=(2, 3),
            eps_mode="relative",
        ),
    ]


def _layouts() -> list[Case]:
    """Axes of other normalizations."""
    shape = (4, 6, 5, 7)
    return [
        build("vector", "one axis, and it is reduced", normal(513, mean=1e2), axis=0),
        build("layer norm", "all but the batch", normal(*shape, mean=1e2), axis=(1, 2, 3)),
        build("batch norm", "all but the channels", normal(*shape, mean=1e2), axis=(0, 2, 3)),
        build("every axis", "a single instance", normal(*shape, mean=1e2), axis=(0, 1, 2, 3)),
    ]


def _instance_norm() -> list[Case]:
    long = [
        build(
            "10^6 rows, axis 0",
            "naive sums lose thousands of units",
            normal(1_000_000, 2, mean=1e2),
            axis=0,
        ),
    ]
    return [
        *_samples(),
        *_layouts(),
        *_affine(),
        *_masked(),
        *long,
        *affine_formulas(),
        *independent(),
    ]


def _revin() -> list[Case]:
    last = [
        build(
            "center last",
            "the last element becomes 0",
            normal(2, 40, 3, mean=1e3),
            axis=1,
            center="last",
        ),
        build(
            "center last, mask",
            "the last observed element becomes 0",
            normal(2, 40, 3, mean=1e3),
            axis=1,
            center="last",
            where=_random_mask,
        ),
    ]
    return [
        *_samples(),
        *_layouts(),
        *_affine(),
        *_masked(),
        *last,
        *affine_formulas(),
        *independent(),
    ]


def _adain() -> list[Case]:
    def style(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return rng.standard_normal(x.shape) * 2 + 5

    def like_own(std: float) -> Callable[..., np.ndarray]:
        return lambda rng, x: np.asarray(own_moments(*x.shape, std=std)(rng, ""))

    def own(name: str, probes: str, other: Any = style, **keywords: Any) -> Case:
        return build(name, probes, normal(2, 3, 60, mean=1e2), other, axis=2, **keywords)

    return [
        *_extended(_samples() + _masked(), lambda rng, x, keywords: (style(rng, x),)),
        *(
            build(
                f"strength 0.3, style's variance {told}",
                "the part of the style that is asked for, with an eps of its own",
                own_moments(3, 4, 5, 5),
                like_own(std),
                axis=(2, 3),
                strength=0.3,
            )
            for told, std in (("about 1", 1.0), ("about eps", 3e-3))
        ),
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
        build("gate of the channels", "a gate for each channel", apart, gate, **options),
        build("gate 0", "instance norm", apart, lambda rng, x: np.zeros(3), **options),
        build("gate 1", "batch norm", apart, lambda rng, x: np.ones(3), **options),
        build("scale and bias", "they come last", apart, gate, channels, channels, **options),
        build(
            "gate, scale and bias, every axis of size 4",
            "along the channels, though every axis would take them",
            own_moments(4, 4, 4, 4),
            gate,
            channels,
            lambda rng, x: rng.uniform(-1, 1, x.shape[1]),
            axis=(2, 3),
            batch_axis=0,
            channel_axis=1,
        ),
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
    image = normal(2, 3, 8, 8, mean=1e2)
    return [
        *_extended(
            _samples() + _masked(), lambda rng, x, keywords: (like(rng, x) / 2, like(rng, x))
        ),
        build(
            "scale map -1",
            "gives the bias map",
            image,
            lambda rng, x: -np.ones(x.shape),
            like,
            axis=(2, 3),
        ),
        build(
            "maps for all channels",
            "maps that broadcast",
            image,
            lambda rng, x: rng.standard_normal((2, 1, 8, 8)),
            lambda rng, x: rng.standard_normal((2, 1, 8, 8)),
            axis=(2, 3),
        ),
        build("over the batch", "the axes of a batch norm", image, like, like, axis=(0, 2, 3)),
    ]


def _extended(
    battery: list[Case],
    others: Callable[..., tuple[Any, ...]],
    options: Callable[..., dict[str, Any]] = lambda x, keywords: {},
) -> list[Case]:
    """The same data with further arguments, made from what the kernel sees of it."""

    def extend(case: Case) -> Case:
        def make(rng: np.random.Generator, dtype: str) -> Arguments:
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
    **FAMILIES,
}

KERNELS = tuple(_BATTERIES)
