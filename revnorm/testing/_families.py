"""Batteries of the norms that most kernels out there are: layer, group, batch and RMS norm."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from revnorm.testing._case import Case, build, changed, channels, normal
from revnorm.testing._formula import CONDUCT, conducts, own_moments


def _signed(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return rng.uniform(-1, 1, x.shape[1])


def _last(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """A parameter for each element of the last axis."""
    return rng.uniform(-1, 1, x.shape[-1:])


def _battery(
    options: dict[str, Any], formula: list[Case], shape: tuple[int, ...], alone: bool
) -> list[Case]:
    """The cases that all of them share, for data of one shape; some for instances `alone`."""

    def far(mean: float) -> Case:
        name = f"mean {mean:.0e}, std 1".replace("e+0", "e")
        return build(
            name,
            "the variance cancels if it is E[x²] − E[x]², or the mean is rounded",
            normal(*shape, mean=mean),
            tier="exact" if mean > 1e3 else "conditioning",
            **options,
        )

    def ranged(name: str, probes: str, make: Callable[..., Any], **more: Any) -> Case:
        return build(name, probes, make, tier="range", **options | more)

    found = [
        build("mean 0", "the usual data", normal(*shape), **options),
        *(replace(one, tier="formula") for one in formula),
        *map(far, (1e2, 1e3, 1e4)),
        ranged("1e30", "squares overflow in float32", normal(*shape, std=1e30)),
        ranged("1e-30, eps 0", "squares underflow in float32", normal(*shape, std=1e-30), eps=0.0),
        ranged("constant", "variance 0", lambda rng, dtype: np.full(shape, 0.1)),
        build(
            "transposed view",
            "strides that are not those of a fresh array",
            normal(*shape[::-1], mean=2.0),
            view=lambda x: x.T,
            tier="layout",
            **options,
        ),
        build(
            "every second element",
            "strides with gaps",
            normal(*shape[:-1], 2 * shape[-1], mean=2.0),
            view=lambda x: x[..., ::2],
            tier="layout",
            **options,
        ),
        build(
            "NaN in one instance",
            "what is not finite stays inside its own instance",
            changed(normal(*shape), (0,) * len(shape), np.nan),
            tier="masks",
            **options,
        ),
    ]
    if alone:
        found.append(
            build("empty batch", "nothing to do", normal(0, *shape[1:]), tier="layout", **options)
        )
    base = build("", "", normal(*shape, mean=1.0), tier="conduct", **options)
    watched = [(c.name, c.probes, c.conduct) for c in conducts() if c.name in CONDUCT]
    if alone:
        watched.append(("each of the batch by itself", "the same bits in a batch of one", "batch"))
    found += [
        replace(base, name=name, probes=probes, conduct=what) for name, probes, what in watched
    ]
    return found


def _layer_norm() -> list[Case]:
    def both(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return rng.uniform(-1, 1, x.shape[-2:])

    rows = own_moments(6, 5, 12)
    formula = [
        build("means and spreads of their own", "statistics of each row", rows, axis=-1),
        build(
            "variance about eps",
            "eps is added to the variance, inside the root",
            own_moments(6, 5, 12, std=3e-3),
            axis=-1,
            eps=1e-5,
        ),
        build("eps 0.1", "eps is the one that is given", rows, axis=-1, eps=0.1),
        build("scale and bias", "one for each element of a row", rows, _last, _last, axis=-1),
        build(
            "scale and bias, every axis of size 5",
            "along the last axis",
            own_moments(5, 5, 5),
            _last,
            _last,
            axis=-1,
        ),
        build(
            "scale and bias, two axes",
            "statistics and parameters over the last two",
            own_moments(7, 4, 6, kept=1),
            both,
            both,
            axis=(-2, -1),
        ),
    ]
    return _battery({"axis": -1}, formula, (6, 5, 256), True)


def _rms_norm() -> list[Case]:
    rows = own_moments(6, 5, 12)
    formula = [
        build("means and spreads of their own", "nothing is centered", rows, axis=-1),
        build(
            "variance about eps",
            "eps is added to the mean square, inside the root",
            own_moments(6, 5, 12, std=1e-3),
            axis=-1,
            eps=1e-5,
        ),
        build("eps 0.1", "eps is the one that is given", rows, axis=-1, eps=0.1),
        build("scale", "one for each element of a row", rows, _last, axis=-1),
        build("scale, square", "along the last axis", own_moments(5, 5, 5), _last, axis=-1),
    ]
    return _battery({"axis": -1}, formula, (6, 5, 256), True)


def _group_norm() -> list[Case]:
    images = own_moments(3, 6, 4, 5)
    formula = [
        build("means and spreads of their own", "statistics of each group", images, groups=3),
        build("one group", "a layer norm", images, groups=1),
        build("groups of one channel", "an instance norm", images, groups=6),
        build(
            "variance about eps",
            "eps is added to the variance, inside the root",
            own_moments(3, 6, 4, 5, std=3e-3),
            groups=2,
            eps=1e-5,
        ),
        build("eps 0.1", "eps is the one that is given", images, groups=2, eps=0.1),
        build(
            "scale and bias",
            "one for each channel, and not for each group",
            own_moments(6, 6, 6, 6),
            channels,
            _signed,
            groups=2,
        ),
        build("(N, C)", "no further axes", own_moments(5, 12), groups=3),
    ]
    return _battery({"groups": 2}, formula, (3, 4, 8, 9), True)


def _batch_norm() -> list[Case]:
    images = own_moments(4, 4, 3, 5)
    axes: dict[str, Any] = {"axis": (0, 2, 3), "channel_axis": 1}
    formula = [
        build("means and spreads of their own", "statistics of each channel", images, **axes),
        build(
            "variance about eps",
            "eps is added to the variance, inside the root",
            own_moments(3, 4, 2, 5, std=3e-3),
            eps=1e-5,
            **axes,
        ),
        build("eps 0.1", "eps is the one that is given", images, eps=0.1, **axes),
        build(
            "scale and bias, every axis of size 4",
            "along the channels, though every axis would take them",
            own_moments(4, 4, 4, 4),
            channels,
            _signed,
            **axes,
        ),
        build("(N, C)", "over the batch", own_moments(13, 5), axis=0, channel_axis=1),
    ]
    return _battery(axes, formula, (3, 4, 8, 9), False)


FAMILIES: dict[str, Callable[[], list[Case]]] = {
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "batch_norm": _batch_norm,
    "rms_norm": _rms_norm,
}
