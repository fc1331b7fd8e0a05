"""The known wrong formulas of kernels with statistics or parameters of more than one origin."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from revnorm.testing._case import Case
from revnorm.testing._faults import AFFINE, FAULTLESS, Fault, Finish, Problem, other_axes

_KEYWORDS = {
    "adain": {"axis", "eps", "correction", "strength"},
    "batch_instance_norm": {"axis", "batch_axis", "channel_axis", "eps"},
    "conditional_instance_norm": {"axis", "batch_axis", "channel_axis", "eps"},
    "spatially_adaptive_norm": {"axis", "eps"},
}


class Recipe(NamedTuple):
    """How mean and divisor are made of a sample."""

    correction: float = 0
    eps: float = 0.0
    root: Callable[[Any, float], Any] = lambda variance, eps: np.sqrt(variance + eps)

    def __call__(self, x: np.ndarray, axis: tuple[int, ...]) -> tuple[Any, Any]:
        options: dict[str, Any] = {"axis": axis, "keepdims": True}
        mean = np.mean(x, **options)
        d = x - mean
        left = x.size / max(mean.size, 1) - self.correction
        return mean, self.root(np.sum(d * d, **options) / max(left, 1e-300), self.eps)


def _outside(variance: Any, eps: float) -> Any:
    return np.sqrt(variance) + eps


def _changes(recipe: Recipe) -> dict[str, Recipe]:
    """What may be wrong with the statistics of one sample."""
    other = 0 if recipe.correction else 1
    return {
        "the biased variance" if recipe.correction else "the unbiased variance": recipe._replace(
            correction=other
        ),
        "no eps": recipe._replace(eps=0.0),
        "eps outside the root": recipe._replace(root=_outside),
        "eps squared": recipe._replace(eps=recipe.eps**2),
        "a variance that no root is taken of": recipe._replace(root=np.add),
    }


class Styled(Problem):
    """AdaIN: the moments of a style in place of those of the content."""

    def __init__(self, case: Case, dtype: str) -> None:
        super().__init__(case, dtype)
        (self.style,), self.parameters = self.parameters, []
        self.strength = case.keywords.get("strength", 1.0)
        self.recipe = Recipe(self.correction, self.eps)

    @cached_property
    def faults(self) -> dict[str, Fault]:
        """The simplest first."""
        found: dict[str, Fault] = {
            FAULTLESS: lambda p, y: self.mixed(),
            "zeros": lambda p, y: np.zeros(self.shape),
            "the content as it is": lambda p, y: self.x,
            "content and style swapped": self._swapped,
            "the style's mean left out": lambda p, y: self.mixed(level=0.0),
            "the style's spread left out": lambda p, y: self.mixed(slope=1.0),
            "the content's mean not taken off": lambda p, y: self.mixed(center=0.0),
            "no division by the content's spread": lambda p, y: self.mixed(divisor=1.0),
            "strength 1 whatever is asked for": lambda p, y: self.mixed(strength=1.0),
            "the strength reversed": lambda p, y: self.mixed(strength=1 - self.strength),
        }
        for name, changed in _changes(self.recipe).items():
            found[name] = self._with(changed, changed)
            found[f"{name}, of the content alone"] = self._with(changed, self.recipe)
            found[f"{name}, of the style alone"] = self._with(self.recipe, changed)
        for axes in other_axes(self):
            told = f"statistics over axes {', '.join(str(i - self.x.ndim) for i in axes)}"
            found[f"{told}, which are not those asked for"] = self._with(
                self.recipe, self.recipe, axes
            )
        return found

    def mixed(
        self,
        content: Recipe | None = None,
        style: Recipe | None = None,
        *,
        axis: tuple[int, ...] | None = None,
        strength: float | None = None,
        center: float | None = None,
        divisor: float | None = None,
        slope: float | None = None,
        level: float | None = None,
    ) -> np.ndarray:
        """The formula with a part of it exchanged."""
        axis = self.axis if axis is None else axis
        own = (content or self.recipe)(self.x, axis)
        target = (style or self.recipe)(self.style, axis)
        c, d = (b if a is None else a for a, b in zip((center, divisor), own))
        m, s = (b if a is None else a for a, b in zip((level, slope), target))
        weight = self.strength if strength is None else strength
        return np.asarray(weight * ((self.x - c) / d * s + m) + (1 - weight) * self.x)

    def _with(self, content: Recipe, style: Recipe, axis: tuple[int, ...] | None = None) -> Fault:
        return lambda p, y: self.mixed(content, style, axis=axis) if self._fit(axis) else None

    def _fit(self, axis: tuple[int, ...] | None) -> bool:
        """Whether a style has a length of its own along reduced axes only."""
        apart = (i for i in range(self.x.ndim) if i not in (self.axis if axis is None else axis))
        return all(self.style.shape[i] in (1, self.shape[i]) for i in apart)

    def _swapped(self, p: Problem, y: np.ndarray) -> np.ndarray | None:
        if self.style.shape != self.shape:
            return None
        (c, d), (m, s) = (self.recipe(x, self.axis) for x in (self.x, self.style))
        return np.asarray((self.style - m) / s * d + c)


class Gated(Problem):
    """Batch-Instance norm: the normalized data of both, mixed by a gate."""

    def __init__(self, case: Case, dtype: str) -> None:
        super().__init__(case, dtype)
        gate, *self.parameters = self.parameters
        self.gate = self.laid(gate)
        self.pooled = (*self.axis, case.keywords["batch_axis"] % self.x.ndim)
        self.recipe = Recipe(0, self.eps)

    @cached_property
    def faults(self) -> dict[str, Fault]:
        """The simplest first."""
        gate = self.gate
        found: dict[str, Fault] = {
            FAULTLESS: lambda p, y: self.mixed(gate),
            "zeros": lambda p, y: np.zeros(self.shape),
            "the gate reversed": lambda p, y: self.mixed(1 - gate),
            "an instance norm, without the statistics of the batch": (lambda p, y: self.mixed(0.0)),
            "a batch norm, without the statistics of the instances": (lambda p, y: self.mixed(1.0)),
            "both norms added up, without a gate": lambda p, y: 2 * self.mixed(0.5),
            "their mean, without a gate": lambda p, y: self.mixed(0.5),
            "means and variances mixed in place of the normalized data": self._blended,
            "a batch's variance without the spread between its instances": self._within,
        }
        for name, changed in _changes(self.recipe).items():
            found[name] = self._with(changed, changed)
            found[f"{name}, of the batch alone"] = self._with(changed, self.recipe)
            found[f"{name}, of the instances alone"] = self._with(self.recipe, changed)
        return found

    @cached_property
    def finishes(self) -> dict[str, Finish]:
        """Those of an affine step, and a scale of one part alone."""
        found = dict(super().finishes)
        if found:
            found["the scale on the batch's part alone"] = partial(_on_part, part=0)
            found["the scale on the instance's part alone"] = partial(_on_part, part=1)
        return found

    def parts(self, batch: Recipe | None = None, own: Recipe | None = None) -> list[np.ndarray]:
        """The data as a batch norm and as an instance norm have them."""
        found = []
        for recipe, axis in ((batch, self.pooled), (own, self.axis)):
            mean, divisor = (recipe or self.recipe)(self.x, axis)
            found.append((self.x - mean) / divisor)
        return found

    def mixed(self, gate: Any, batch: Recipe | None = None, own: Recipe | None = None) -> Any:
        """The formula with a part of it exchanged."""
        pooled, single = self.parts(batch, own)
        return gate * pooled + (1 - gate) * single

    def _with(self, batch: Recipe, own: Recipe) -> Fault:
        return lambda p, y: self.mixed(self.gate, batch, own)

    def _blended(self, p: Problem, y: np.ndarray) -> np.ndarray:
        moments = [
            (np.mean(self.x, axis=axis, keepdims=True), np.var(self.x, axis=axis, keepdims=True))
            for axis in (self.pooled, self.axis)
        ]
        mean, variance = (
            self.gate * pooled + (1 - self.gate) * own for pooled, own in zip(*moments)
        )
        return (self.x - mean) / np.sqrt(variance + self.eps)

    def _within(self, p: Problem, y: np.ndarray) -> np.ndarray:
        inner = np.var(self.x, axis=self.axis, keepdims=True)
        variance = np.mean(inner, axis=self.pooled, keepdims=True)
        d = self.x - np.mean(self.x, axis=self.pooled, keepdims=True)
        pooled = d / np.sqrt(variance + self.eps)
        return self.gate * pooled + (1 - self.gate) * self.parts()[1]


def _on_part(p: Problem, z: np.ndarray, *, part: int) -> np.ndarray | None:
    """The scale left out of the other part; a fault of its own, whatever z is."""
    if not isinstance(p, Gated):
        return None
    parts, weights = p.parts(), (p.gate, 1 - p.gate)
    scale = p.laid(p.parameters[0])
    bias = p.laid(p.parameters[1]) if len(p.parameters) > 1 else 0.0
    mixed = sum(w * one * (scale if i == part else 1.0) for i, (w, one) in
                enumerate(zip(weights, parts)))  # fmt: skip
    return np.asarray(mixed + bias)


class Looked(Problem):
    """Conditional instance norm: a row of two tables for each of the batch."""

    def __init__(self, case: Case, dtype: str) -> None:
        super().__init__(case, dtype)
        self.labels = np.asarray(case.arrays_in(dtype)[3])

    @cached_property
    def faults(self) -> dict[str, Fault]:
        """Those of an instance norm."""
        return _without_lines(super().faults)

    @cached_property
    def finishes(self) -> dict[str, Finish]:
        """What may be wrong with the rows."""
        scales, biases, _ = self.parameters
        count = self.shape[self.case.keywords["batch_axis"]]
        others = {
            "the first row for all of the batch": np.zeros(count, dtype=int),
            "the place in the batch in place of the label": np.arange(count) % len(scales),
        }
        if self.labels.ndim == 1:
            others["labels that count from 1"] = self.labels - 1
        else:
            others["the row of the largest weight alone"] = np.argmax(self.labels, axis=1)
        rows = {
            name: _affine_steps(self, scales, biases, labels)[FAULTLESS]
            for name, labels in others.items()
        }
        return _affine_steps(self, scales, biases, self.labels) | rows

    def spread(self, table: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Rows of a table along the batch and the channels."""
        rows = table[labels] if labels.ndim == 1 else labels @ table
        batch, channel = (self.case.keywords[key] % self.x.ndim
                          for key in ("batch_axis", "channel_axis"))  # fmt: skip
        shape = [1] * self.x.ndim
        shape[batch], shape[channel] = self.shape[batch], self.shape[channel]
        return (rows if batch < channel else rows.T).reshape(shape)


class Mapped(Problem):
    """Spatially adaptive norm: maps of a scale, to which 1 is added, and of a bias."""

    @cached_property
    def faults(self) -> dict[str, Fault]:
        """Those of an instance norm."""
        return _without_lines(super().faults)

    @cached_property
    def finishes(self) -> dict[str, Finish]:
        """What may be wrong with the maps."""
        scale, bias = self.parameters
        return {
            FAULTLESS: lambda p, z: z * (1 + scale) + bias,
            "the scale as it is, without the 1 that is added": lambda p, z: z * scale + bias,
            "the scale left out": lambda p, z: z + bias,
            "the bias left out": lambda p, z: z * (1 + scale),
            "scale and bias left out": lambda p, z: z,
            "scale and bias swapped": lambda p, z: z * (1 + bias) + scale,
            "the bias added before the scale": lambda p, z: (z + bias) * (1 + scale),
            "the exponential of the scale": lambda p, z: z * np.exp(scale) + bias,
        }


def _affine_steps(
    problem: Looked, scales: np.ndarray, biases: np.ndarray, labels: np.ndarray
) -> dict[str, Finish]:
    """A scale and a bias, and what may be wrong with them."""
    scale, bias = (problem.spread(table, labels) for table in (scales, biases))
    return {
        FAULTLESS: lambda p, z: z * scale + bias,
        "the scale left out": lambda p, z: z + bias,
        "the bias left out": lambda p, z: z * scale,
        "scale and bias left out": lambda p, z: z,
        "scale and bias swapped": lambda p, z: z * bias + scale,
        "1 + scale in place of the scale": lambda p, z: z * (1 + scale) + bias,
        "the bias added before the scale": lambda p, z: (z + bias) * scale,
    }


def _without_lines(faults: dict[str, Fault]) -> dict[str, Fault]:
    return {name: fault for name, fault in faults.items() if name != AFFINE}


_KINDS = {
    "adain": Styled,
    "batch_instance_norm": Gated,
    "conditional_instance_norm": Looked,
    "spatially_adaptive_norm": Mapped,
}


def problem_of(case: Case, dtype: str) -> Problem | None:
    """A case with the faults that are known of its kernel; None where there are none."""
    if Problem.takes(case):
        return Problem(case, dtype)
    if set(case.keywords) <= _KEYWORDS.get(case.kernel, set()):
        return _KINDS[case.kernel](case, dtype)
    return None
