"""Tiers: what a case finds out, and how far a sound result may lie from the exact one there.

A sound kernel adds up in float32 or wider. With u its unit roundoff and n the number of elements
of an instance, a sum is off by at most n·u/(1 − n·u) of the sum of magnitudes, in whatever order
its terms are added [1]_; where roundings are as good as random, by at most λ·√n·u but for a
probability of 2·exp(−λ²/2) [2]_. Before, in between and after come a few roundings more. For
y = (x − m)/s · scale + bias this gives

    |δy| ≤ g·u·(mean|x|/s · |scale| + p·max|y|) + 4·v·(max|y| + q)

with v the unit roundoff of the result's type. For the tier "formula" g = n + 8, p = mean(x²)/s²
and q = mean|x|/s · |scale|, so that E[x²] − E[x]² passes there too, and one multiplication and
addition after the statistics; for all others g = min(n, 4·√n) + 8, p = 1 and q = 0.

.. [1] N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM (2002), ch. 4.
.. [2] N. J. Higham, T. Mary, "A new approach to probabilistic rounding error analysis", SIAM J.
   Sci. Comput. 41 (2019).
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from revnorm.testing._arrays import largest, significand
from revnorm.testing._case import Case

TIERS = (
    "formula",
    "conditioning",
    "range",
    "masks",
    "layout",
    "conduct",
    "gradients",
    "exact",
)

# What a round trip that keeps its own mean and spread may be off by, in ULP of max|x|.
ROUND_TRIP = 16.0

_NAMES = {
    "exact": (
        "mean 1e4, std 1",
        "mean 1e6, std 1",
        "far from zero, near each other",
        "two neighbours, eps 0",
        "10^6 rows, axis 0",
    ),
    "conditioning": (
        "mean 1e2, std 1",
        "mean 1e3, std 1",
        "first element far off",
        "65536 elements",
        "scale and bias",
        "scale and bias that broadcast",
        "scale 0",
        "scale 1e-3",
        "vector",
        "layer norm",
        "batch norm",
        "every axis",
        "center last",
        "gate of the channels",
        "gate 0",
        "gate 1",
        "style far from zero",
        "relative, in a small unit",
    ),
    "range": (
        "std 1e-6, eps 0",
        "std 1e6, eps 0",
        "near the largest number",
        "1e30",
        "1e-30, eps 0",
        "subnormal, eps 0",
        "constant",
        "constant, eps 0",
        "one element",
        "two elements",
        "outlier 1e20 among ones",
        "correction 1, one element",
        "style constant",
        "clamp, variance below eps",
    ),
    "layout": (
        "NHWC",
        "negative axes",
        "NCDHW",
        "transposed view",
        "every second element",
        "backwards",
        "65536 elements, not contiguous",
        "empty batch",
        "odd lengths",
        "beginning in the middle",
    ),
    "masks": ("NaN in one instance", "infinity in one instance"),
}
_TIER_OF = {name: tier for tier, names in _NAMES.items() for name in names}


def tier_of(case: Case) -> str:
    """The tier of a case that does not name its own: "formula", if nothing else."""
    if {"where", "style_where"} & set(case.keywords):
        return "masks"
    return _TIER_OF.get(case.name.removesuffix(", weights"), "formula")


def known(tiers: Iterable[str] | None) -> frozenset[str] | None:
    """Names of tiers, if they are ones."""
    if isinstance(tiers, str):
        raise TypeError(f"`tiers` must be a sequence of names, got {tiers!r}")
    named = None if tiers is None else frozenset(tiers)
    for one in sorted(named or ()):
        if one not in TIERS:
            raise ValueError(f"`tiers` must be of {', '.join(TIERS)}, got {one!r}")
    return named


def share(case: Case, dtype: str, actual: np.ndarray) -> float:
    """The worst error, as a multiple of what a sound result of that tier may be off by."""
    expected = case.expected(dtype)
    if actual.shape != expected.shape:
        return np.inf
    if actual.size == 0:
        return 0.0
    wide = np.longdouble
    allowed = tolerance(case, dtype).astype(wide)
    with np.errstate(all="ignore"):
        # Within its error of the largest number a result may overflow.
        over = np.isinf(actual) & (np.abs(expected) + allowed >= largest(dtype))
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        same |= over & (np.sign(actual) == np.sign(expected))
        error = np.abs(actual.astype(wide) - expected) / allowed
        return float(np.max(np.where(same, 0, np.where(np.isnan(error), np.inf, error))))


@lru_cache(maxsize=1024)
def tolerance(case: Case, dtype: str) -> np.ndarray:
    """What each element of a sound result may be off by."""
    x, *others = case.arrays_in(dtype)
    reach = np.fmax(case.reach(dtype), 1)
    grouped = instances(case, np.asarray(x, dtype=np.float64))
    unit = np.ldexp(1.0, -significand(dtype)[0])
    summed = min(unit, 2.0**-24)
    parameters = (np.max(np.abs(one)) for one in others if one.dtype.kind == "f" and one.size)
    scale = max([1.0, *map(float, parameters)])
    allowed = np.zeros(grouped[0].shape)
    for axis in grouped[1]:
        spread = _spread(grouped[0], axis, case)
        most = np.max(reach.reshape(grouped[0].shape), axis=axis, keepdims=True, initial=1.0)
        growth, power = _growth(spread[0], case.tier)
        off = summed * growth * (spread[1] * scale + (spread[2] if power else 1.0) * most)
        # x · (scale / s) + (bias − m · scale / s) is a sound order, too, where m / s is small.
        after = most + (spread[1] * scale if power else 0.0)
        allowed = np.maximum(allowed, off + 4 * unit * after)
    return allowed.reshape(reach.shape)


def growth_of(case: Case, dtype: str) -> float:
    """What a sound gradient may be off by, in ULP of the sum of the magnitudes of its terms.

    Those of the sums over n elements, as in a result, and of thirty roundings beside them, which
    are as many as lie between the data and a gradient of the longest kernel.
    """
    x, axes = instances(case, np.asarray(case.arrays_in(dtype)[0], dtype=np.float64))
    found = [_spread(x, axis, case) for axis in axes]
    return max(float(np.max((n + 30) * np.maximum(power, 1))) for n, _, power in found)


def _growth(count: np.ndarray, tier: str) -> tuple[Any, bool]:
    """How a sum's error grows with its length, and whether E[x²] − E[x]² is as good."""
    if tier == "formula":
        return count + 8, True
    return np.minimum(count, 4 * np.sqrt(count)) + 8, False


def instances(case: Case, x: np.ndarray) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Data with the channels of a group apart, and the axes of each statistic that is taken."""
    if "groups" in case.keywords:
        at, groups = case.keywords.get("channel_axis", 1) % x.ndim, case.keywords["groups"]
        x = x.reshape(*x.shape[:at], groups, x.shape[at] // groups, *x.shape[at + 1 :])
        return x, [tuple(i for i in range(x.ndim) if i not in (0, at))]
    axis = tuple(one % x.ndim for one in np.atleast_1d(case.keywords["axis"]).tolist())
    if "batch_axis" in case.keywords and case.kernel == "batch_instance_norm":
        return x, [axis, (*axis, case.keywords["batch_axis"] % x.ndim)]
    return x, [axis]


def _spread(x: np.ndarray, axis: Any, case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each instance: the number of elements, mean|x| / s, and mean(x²) / s²."""
    seen = np.isfinite(x) & np.broadcast_to(case.keywords.get("where", True), x.shape)
    options: dict[str, Any] = {"axis": axis, "keepdims": True}
    count = np.maximum(np.sum(seen, **options), 1)
    with np.errstate(all="ignore"):
        largest_of = np.max(np.where(seen, np.abs(x), 0), **options, initial=0.0)
        unit = np.where(largest_of > 0, largest_of, 1)
        data = np.where(seen, x / unit, 0)
        mean = np.sum(data, **options) / count
        d = np.where(seen, data - mean, 0)
        second, variance = (np.sum(one * one, **options) / count for one in (data, d))
        if case.kernel == "rms_norm":
            return count, np.zeros_like(mean), np.ones_like(mean)
        root = np.sqrt(_square(case, variance, second, unit))
        root = np.where(root > 0, root, 1 / unit)
        return count, np.sum(np.abs(data), **options) / count / root, second / root**2


def _square(case: Case, variance: Any, second: Any, unit: Any) -> np.ndarray:
    """What the root is taken of, for data divided by `unit`."""
    mode, eps = case.keywords.get("eps_mode", "add"), case.keywords.get("eps", 1e-5)
    least = eps * second if mode == "relative" else eps / unit / unit
    return np.asarray(np.maximum(variance, least) if mode == "clamp" else variance + least)
