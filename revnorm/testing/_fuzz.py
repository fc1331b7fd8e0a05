"""Cases made from a seed: random shapes, means, spreads, eps and parameters."""

from dataclasses import replace
from typing import Any

import numpy as np

from revnorm.testing._case import Case, build
from revnorm.testing._formula import own_moments

_EPS = (1e-5, 1e-3, 1e-6, 0.1)


def fuzzed(name: str, seed: int | None, count: int) -> list[Case]:
    """Random cases of the tiers "formula" and "conditioning", the same for the same seed."""
    if seed is None or name not in MAKERS:
        return []
    return [replace(_fuzzed(name, seed, i), kernel=name, seed=(seed, i)) for i in range(count)]


def _fuzzed(name: str, seed: int, index: int) -> Case:
    rng = np.random.default_rng((seed, index))
    far = index % 4 == 3
    shape = (*rng.integers(1, 5, 2), *rng.integers(2, 13, rng.integers(1, 4)))
    shape = tuple(map(int, shape))
    std = float(10.0 ** rng.uniform(-2, 2))
    eps = float(rng.choice(_EPS))
    affine = bool(rng.random() < 0.5)
    groups = int(rng.integers(1, 4)) if name == "group_norm" else 1
    shape, kept, parameters, options = MAKERS[name](shape, groups)
    x = own_moments(*shape, kept=kept, std=std)
    if far:
        ratio = float(10.0 ** rng.uniform(1, 3))
        x = _moved(x, ratio * std)
    made = [_parameter(parameters)] * (parameters_of(name) * affine)
    if not affine:
        options.pop("channel_axis", None)
    told = f"{shape}, std {std:.2g}{f', mean/std {ratio:.2g}' if far else ''}"
    return build(
        f"seed {seed}, {index}: {told}",
        "random shapes, means, spreads, eps and parameters",
        x,
        *made,
        reversible=False,
        tier="conditioning" if far else "formula",
        eps=eps,
        **options,
    )


def parameters_of(name: str) -> int:
    """How many parameters a norm has: an RMS norm has no bias."""
    return 1 if name == "rms_norm" else 2


def _moved(x: Any, mean: float) -> Any:
    return lambda rng, dtype: x(rng, dtype) + mean


def _parameter(shape: tuple[int, ...]) -> Any:
    return lambda rng, x: rng.uniform(0.3, 2.0, shape) * rng.choice([-1.0, 1.0], shape)


def _instance(shape: tuple[int, ...], groups: int) -> Any:
    axis = tuple(range(2, len(shape)))
    return shape, 2, shape[1:2], {"axis": axis, "channel_axis": 1}


def _layer(shape: tuple[int, ...], groups: int) -> Any:
    return shape, len(shape) - 1, shape[-1:], {"axis": -1}


def _group(shape: tuple[int, ...], groups: int) -> Any:
    shape = (shape[0], groups * shape[1], *shape[2:])
    return shape, 2, shape[1:2], {"groups": groups}


def _batch(shape: tuple[int, ...], groups: int) -> Any:
    axis = tuple(i for i in range(len(shape)) if i != 1)
    return shape, 2, shape[1:2], {"axis": axis, "channel_axis": 1}


# Of a shape and a number of groups: the shape, how many axes have moments of their own, the shape
# of a parameter, and keywords.
MAKERS: dict[str, Any] = {
    "instance_norm": _instance,
    "revin": _instance,
    "layer_norm": _layer,
    "rms_norm": _layer,
    "group_norm": _group,
    "batch_norm": _batch,
}
