"""The known wrong formulas, in float64: faults of the statistics, and of the parameters."""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from itertools import combinations
from typing import Any

import numpy as np

from revnorm.testing._case import Case
from revnorm.testing._tiers import instances, tolerance

_KERNELS = ("instance_norm", "revin", "layer_norm", "group_norm", "batch_norm", "rms_norm")
_KEYWORDS = {"axis", "channel_axis", "groups", "eps", "correction"}

FAULTLESS = ""
ZEROS = "zeros"
AFFINE = "no reduction at all, but one affine function of the data"

ONE_MORE = "1 + scale in place of the scale"

# What is there with and without the parameters.
WHOLE = (ZEROS, AFFINE)

# Of a problem and a result, or of a problem and its normalized data.
Fault = Callable[["Problem", np.ndarray], np.ndarray | None]
Finish = Callable[["Problem", np.ndarray], np.ndarray | None]


class Problem:
    """A case, with its data as the statistics take them: the channels of a group apart."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.case, self.dtype = case, dtype
        x, *self.parameters = (np.asarray(a, dtype=np.float64) for a in case.arrays_in(dtype))
        self.data, self.shape = x, x.shape
        self.x, (self.axis, *_) = instances(case, x)
        self.eps = case.keywords.get("eps", 1e-5)
        self.correction = case.keywords.get("correction", 0)
        self.centered = case.kernel != "rms_norm"
        self._made: dict[str, np.ndarray | None] = {}

    @staticmethod
    def takes(case: Case) -> bool:
        """Whether the formula of a case is one of those that are known here."""
        return case.kernel in _KERNELS and set(case.keywords) <= _KEYWORDS

    @cached_property
    def reach(self) -> float:
        """The largest magnitude of the result, or 1."""
        return max(1.0, float(np.max(np.abs(self.case.expected(self.dtype)))))

    @cached_property
    def allowed(self) -> float:
        """The most that an element of a sound result may be off by."""
        return float(np.max(tolerance(self.case, self.dtype)))

    @cached_property
    def rounded(self) -> float:
        """The largest magnitude that is rounded on the way to the result."""
        scale = max([1.0, *(float(np.max(np.abs(one))) for one in self.parameters if one.size)])
        std = np.sqrt(np.var(self.x, axis=self.axis) + self.eps)
        far = np.max(np.abs(self.x), axis=self.axis) / np.maximum(std, 1e-300)
        return self.reach + scale * float(np.max(far))

    @cached_property
    def exact(self) -> np.ndarray:
        """The normalized data without parameters."""
        return self.normalized().reshape(self.shape)

    @cached_property
    def faults(self) -> dict[str, Fault]:
        """The faults of the statistics that there may be here."""
        return statistics(self)

    def made(self, name: str, y: np.ndarray) -> np.ndarray | None:
        """The normalized data under a fault, which may be fitted to the result."""
        if name not in self._made:
            fault = self.faults.get(name)
            z = None if fault is None else fault(self, y)
            self._made[name] = None if z is None else z.reshape(self.shape)
        return self._made[name]

    @cached_property
    def finishes(self) -> dict[str, Finish]:
        """What may be wrong with scale and bias; the simplest first."""
        return PARAMETERS if self.parameters else {}

    def finished(self, z: np.ndarray, fault: str) -> np.ndarray | None:
        """With scale and bias, and what is wrong with these; None where that cannot be."""
        if not self.finishes:
            # A layer that adds 1 to its scale has one of 1 where none is given.
            return 2 * z if fault == ONE_MORE else z
        finish = self.finishes.get(fault)
        return None if finish is None else finish(self, z)

    def normalized(
        self,
        axis: tuple[int, ...] | None = None,
        *,
        part: np.ndarray | None = None,
        correction: float | None = None,
        root: Callable[[np.ndarray, float], np.ndarray] | None = None,
        center: bool | None = None,
        eps: float | None = None,
    ) -> np.ndarray:
        """The formula with a part of it exchanged."""
        sample = self.x if part is None else part
        options: dict[str, Any] = {"axis": self.axis if axis is None else axis, "keepdims": True}
        count = np.size(sample) / np.size(np.sum(sample, **options))
        mean = np.mean(sample, **options) * (self.centered if center is None else center)
        left = count - (self.correction if correction is None else correction)
        variance = np.sum((sample - mean) ** 2, **options) / max(left, 1e-300)
        eps = self.eps if eps is None else eps
        divisor = np.sqrt(variance + eps) if root is None else root(variance, eps)
        return (self.x - mean) / divisor

    def laid(self, parameter: np.ndarray, channel: int | None = None) -> np.ndarray:
        """A parameter along its axis, or along another one."""
        usual = 1 if "groups" in self.case.keywords else None
        at = self.case.keywords.get("channel_axis", usual) if channel is None else channel
        if parameter.ndim != 1 or at is None:
            return parameter
        shape = [1] * len(self.shape)
        shape[at] = -1
        return parameter.reshape(shape)


def statistics(problem: Problem) -> dict[str, Fault]:
    """Faults of the statistics by what they are called; the simplest first."""
    found: dict[str, Fault] = {
        FAULTLESS: lambda p, y: p.normalized(),
        ZEROS: lambda p, y: np.zeros(p.x.shape),
        "the data as they are": lambda p, y: p.x,
        "the biased variance" if problem.correction else "the unbiased variance": (
            lambda p, y: p.normalized(correction=0 if p.correction else 1)
        ),
        "eps outside the root": lambda p, y: p.normalized(root=lambda v, e: np.sqrt(v) + e),
        "no eps": lambda p, y: p.normalized(eps=0.0),
        "the larger of variance and eps, and not their sum": (
            lambda p, y: p.normalized(root=lambda v, e: np.sqrt(np.maximum(v, e)))
        ),
        "eps squared": lambda p, y: p.normalized(eps=p.eps**2),
        "a variance that no root is taken of": lambda p, y: p.normalized(root=np.add),
        "no division by the spread": (lambda p, y: p.normalized(root=lambda v, e: np.ones_like(v))),
        "the variance about 0, and no mean taken off": (
            lambda p, y: p.normalized(center=False) if p.centered else None
        ),
        "the mean taken off, as a layer norm does": (
            lambda p, y: None if p.centered else p.normalized(center=True)
        ),
        "no mean taken off": _uncentered,
        "the mean absolute deviation": _absolute,
        AFFINE: _one_affine,
    }
    for value in (1e-5, 1e-3, 1e-6, 1e-8, 1e-12):
        name = f"eps {value:g} whatever is asked for"
        found[name] = partial(_with_eps, eps=value)
    for name, part in _parts(problem):
        found[f"the statistics of {name}"] = partial(_of_part, part=part)
    for lanes in (4, 8, 16, 32, 64, 128, 256):
        name = f"sums without a tail that is no multiple of {lanes}"
        found[name] = partial(_without_tail, lanes=lanes)
    for axes in other_axes(problem):
        name = f"statistics over {_named(problem, axes)}"
        found[name] = partial(_over, axes=axes)
    if "groups" in problem.case.keywords:
        found["groups of channels that are not neighbours"] = partial(_regrouped, apart=1)
        found["the size of a group taken for the number of groups"] = partial(_regrouped, apart=0)
    return found


def _uncentered(p: Problem, y: np.ndarray) -> np.ndarray | None:
    variance = np.var(p.x, axis=p.axis, keepdims=True)
    return p.x / np.sqrt(variance + p.eps) if p.centered else None


def _absolute(p: Problem, y: np.ndarray) -> np.ndarray:
    d = p.x - np.mean(p.x, axis=p.axis, keepdims=True) * p.centered
    return d / (np.mean(np.abs(d), axis=p.axis, keepdims=True) + p.eps)


def _one_affine(p: Problem, y: np.ndarray) -> np.ndarray | None:
    """The line through all of the results, before the parameters."""
    none = [np.ones(()), np.zeros(())]
    given = [*map(p.laid, p.parameters), *none[len(p.parameters) :]]
    lines = []
    for scale, bias in (given, none):
        factor = np.broadcast_to(scale, p.shape).reshape(-1)
        columns = np.stack([factor * p.data.reshape(-1), factor], axis=1)
        if columns.shape[0] < 8 or not np.isfinite(y).all():
            return None
        line, rest, *_ = np.linalg.lstsq(columns, (y - bias).reshape(-1), rcond=None)
        lines.append((float(np.sum(rest)), *line))
    _, slope, level = min(lines)
    if not abs(slope) * np.max(np.abs(p.x)) > 1e-9 * np.max(np.abs(y)):
        return None
    return np.asarray(slope * p.x + level)


def _parts(problem: Problem) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """Halves along each reduced axis, and every second element."""
    for which, axis in (("first", problem.axis[0]), ("last", problem.axis[-1])):
        half = problem.x.shape[axis] // 2
        for name, part in (
            ("the first half", slice(half)),
            ("the second half", slice(half, None)),
            ("every second element", slice(None, None, 2)),
            ("all but the last element", slice(-1)),
        ):
            index = [slice(None)] * problem.x.ndim
            index[axis] = part
            yield f"{name} (along the {which} reduced axis) alone", tuple(index)


def _with_eps(p: Problem, y: np.ndarray, *, eps: float) -> np.ndarray:
    return p.normalized(eps=eps)


def _over(p: Problem, y: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    return p.normalized(axes)


def _of_part(p: Problem, y: np.ndarray, *, part: tuple[slice, ...]) -> np.ndarray | None:
    return p.normalized(part=p.x[part]) if p.x[part].size else None


def _without_tail(p: Problem, y: np.ndarray, *, lanes: int) -> np.ndarray | None:
    """The elements of an instance, in memory's order, added up as far as whole vectors go."""
    ends = tuple(range(-len(p.axis), 0))
    moved = np.moveaxis(p.x, p.axis, ends)
    flat = moved.reshape(*moved.shape[: -len(p.axis)], -1)
    count = flat.shape[-1]
    if count % lanes == 0:
        return None
    part = flat[..., : count - count % lanes]
    mean = np.sum(part, axis=-1, keepdims=True) / count * p.centered
    variance = np.sum((part - mean) ** 2, axis=-1, keepdims=True) / count
    z = (flat - mean) / np.sqrt(variance + p.eps)
    return np.moveaxis(z.reshape(moved.shape), ends, p.axis)


def other_axes(problem: Problem) -> list[tuple[int, ...]]:
    """All sets of axes but those that are asked for."""
    every = range(problem.x.ndim)
    found = (axes for n in range(problem.x.ndim, 0, -1) for axes in combinations(every, n))
    own = set(problem.axis)
    return [axes for axes in found if set(axes) != own]


def _named(problem: Problem, axes: tuple[int, ...]) -> str:
    """Axes as the norm that has them, where one has."""
    ndim = problem.x.ndim
    if "groups" in problem.case.keywords:
        known = {
            tuple(range(1, ndim)): "all but the batch, as a layer norm has them",
            tuple(range(3, ndim)): "each channel alone, as an instance norm has them",
            (0, *range(2, ndim)): "the batch, too",
        }
        return known.get(axes) or _listed(ndim, axes)
    channel = problem.case.keywords.get("channel_axis", 1)
    known = {
        tuple(range(ndim)): "everything",
        tuple(i for i in range(ndim) if i != channel): (
            "all but the channels, as a batch norm has them"
        ),
        tuple(range(1, ndim)): "all but the batch, as a layer norm has them",
        tuple(range(2, ndim)): "all but batch and channels, as an instance norm has them",
        (channel,): "the channels alone, at each place",
        (0,): "the batch alone",
    }
    named = known.get(axes)
    if named and not (problem.case.kernel == "layer_norm" and "channels" in named):
        return named
    told = ", ".join(str(axis - ndim) for axis in axes)
    return f"{'axis' if len(axes) == 1 else 'axes'} {told}, which are not those asked for"


def _listed(ndim: int, axes: tuple[int, ...]) -> str:
    """Axes of data whose groups are apart."""
    first = ("the batch", "the groups", "the channels of a group")
    return " and ".join(first[at] if at < 3 else f"axis {at - ndim}" for at in axes)


def _regrouped(p: Problem, y: np.ndarray, *, apart: int) -> np.ndarray:
    """Channels split into places of a group and groups, one of which is reduced, the other not."""
    at = p.case.keywords.get("channel_axis", 1) % len(p.shape)
    groups = p.case.keywords["groups"]
    split = p.data.reshape(*p.shape[:at], p.shape[at] // groups, groups, *p.shape[at + 1 :])
    axis = tuple(i for i in range(split.ndim) if i not in (0, at + apart))
    mean, variance = (f(split, axis=axis, keepdims=True) for f in (np.mean, np.var))
    return (split - mean) / np.sqrt(variance + p.eps)


def _ordered(scale: bool, bias: bool, *, plus: float = 0.0) -> Any:
    """The affine step with either parameter left out."""

    def finish(p: Problem, z: np.ndarray) -> np.ndarray | None:
        given = list(map(p.laid, p.parameters))
        factor = given[0] + plus if scale else 1.0
        added = given[1] if bias and len(given) > 1 else 0.0
        return z * factor + added

    return finish


def _swapped(p: Problem, z: np.ndarray) -> np.ndarray | None:
    if len(p.parameters) < 2:
        return None
    scale, bias = map(p.laid, p.parameters)
    return z * bias + scale


def _bias_first(p: Problem, z: np.ndarray) -> np.ndarray | None:
    if len(p.parameters) < 2:
        return None
    scale, bias = map(p.laid, p.parameters)
    return (z + bias) * scale


def _elsewhere(place: int, which: tuple[bool, bool]) -> Any:
    """Parameters along another axis than theirs, that has their size."""

    def finish(p: Problem, z: np.ndarray) -> np.ndarray | None:
        own = p.case.keywords.get("channel_axis", 1 if "groups" in p.case.keywords else -1)
        ndim, at = len(p.shape), place % len(p.shape)
        size = p.parameters[0].shape[0] if p.parameters[0].ndim == 1 else 0
        if at == own % ndim or p.shape[at] != size:
            return None
        laid = [p.laid(one, at if moved else own) for one, moved in zip(p.parameters, which)]
        return z * laid[0] + (laid[1] if len(laid) > 1 else 0.0)

    return finish


def _of_first(which: tuple[bool, bool]) -> Any:
    """The first number of a parameter in place of all of it."""

    def finish(p: Problem, z: np.ndarray) -> np.ndarray | None:
        given = [
            np.full_like(one, one.flat[0]) if first else one
            for one, first in zip(p.parameters, which)
        ]
        laid = list(map(p.laid, given))
        return z * laid[0] + (laid[1] if len(laid) > 1 else 0.0)

    return finish


_BOTH = {"scale and bias": (True, True), "the scale": (True, False), "the bias": (False, True)}

PARAMETERS: dict[str, Finish] = {
    FAULTLESS: _ordered(True, True),
    "the scale left out": _ordered(False, True),
    "the bias left out": _ordered(True, False),
    "scale and bias left out": _ordered(False, False),
    "scale and bias swapped": _swapped,
    ONE_MORE: _ordered(True, True, plus=1.0),
    "the bias added before the scale": _bias_first,
    **{f"{what} of the first channel alone": _of_first(which) for what, which in _BOTH.items()},
    **{
        f"{what} along {where}": _elsewhere(place, which)
        for where, place in (("the first axis", 0), ("the last axis", -1), ("axis 2", 2))
        for what, which in _BOTH.items()
    },
}
