"""Cases that tell one formula from another, and cases that watch what else a function does."""

from dataclasses import replace
from typing import Any

import numpy as np

from revnorm.testing._case import Case, build, channels, normal


def own_moments(*shape: int, kept: int = 2, std: float = 1.0) -> Any:
    """Normal data; each instance has a mean within 3 std, and a std within a factor of 2."""

    def make(rng: np.random.Generator, dtype: str) -> np.ndarray:
        apart = (*shape[:kept], *(1 for _ in shape[kept:]))
        spread = std * np.exp2(rng.uniform(-1, 1, apart))
        return spread * (rng.standard_normal(shape) + rng.uniform(-3, 3, apart))

    return make


def sloped(rng: np.random.Generator, dtype: str) -> np.ndarray:
    """Images that get brighter from corner to corner."""
    ramp = np.linspace(-2, 2, 12)
    return ramp[:, None] + ramp * 0.5 + own_moments(3, 4, 12, 12, std=0.3)(rng, dtype)


def formulas() -> list[Case]:
    """Few, well-conditioned elements with means and spreads of their own."""
    return [
        build(
            "means and spreads of their own",
            "statistics of each instance, of all of its elements and of no others",
            own_moments(4, 4, 4, 5),
            axis=(2, 3),
        ),
        build(
            "variance about eps",
            "eps is added to the variance, inside the root",
            own_moments(3, 4, 5, 5, std=3e-3),
            axis=(2, 3),
            eps=1e-5,
        ),
        build(
            "eps 0.1",
            "eps is the one that is given",
            own_moments(3, 4, 5, 5, std=0.5),
            axis=(2, 3),
            eps=0.1,
        ),
        *(
            build(
                f"means and spreads about {std:g}, eps 0",
                "the scale of the data does not matter",
                own_moments(3, 4, 5, 6, std=std),
                axis=(2, 3),
                eps=0.0,
            )
            for std in (0.01, 1000.0)
        ),
        build("sloped images", "the whole image is read", sloped, axis=(2, 3)),
        build("(N, C, L)", "one reduced axis", own_moments(4, 5, 11), axis=2),
        build("(N, C, D, H, W)", "three reduced axes", own_moments(2, 3, 2, 3, 4), axis=(2, 3, 4)),
    ]


def affine_formulas() -> list[Case]:
    """The same with a scale and a bias for each channel."""
    options: dict[str, Any] = {"axis": (2, 3), "channel_axis": 1}
    return [
        build(
            "scale and bias, every axis of size 4",
            "along the channels, though every axis would take them",
            own_moments(4, 4, 4, 4),
            channels,
            lambda rng, x: rng.uniform(-1, 1, x.shape[1]),
            **options,
        ),
        build(
            "scale and bias, one variance about eps",
            "both parameters, and eps, in their places",
            own_moments(2, 3, 6, 7, std=3e-3),
            channels,
            lambda rng, x: rng.uniform(-1, 1, x.shape[1]),
            eps=1e-5,
            **options,
        ),
    ]


CONDUCT = {
    "the input as it was": "input",
    "a result of its own": "alias",
    "the same twice": "twice",
    "other data of the same shape": "other",
    "from another thread": "thread",
}


def conducts() -> list[Case]:
    """What a function does beside its result."""
    told = {
        "input": "the data and the parameters are not written to, nor is the memory around them",
        "alias": "the result does not share memory with the data, nor with the next result",
        "twice": "the same bits for the same data",
        "other": "nothing is kept from call to call",
        "thread": "the same bits in another thread",
    }
    return [replace(_ordinary(name, told[what]), conduct=what) for name, what in CONDUCT.items()]


def independent() -> list[Case]:
    """What holds where the batch has no say in what becomes of one of its members."""
    case = _ordinary("each of the batch by itself", "the same bits in a batch of one")
    empty = build("empty batch", "nothing to do", normal(0, 3, 4, 4), axis=(2, 3))
    return [replace(case, conduct="batch"), empty]


def _ordinary(name: str, probes: str) -> Case:
    return build(name, probes, normal(3, 4, 9, 8, mean=1.0), axis=(2, 3), tier="conduct")
