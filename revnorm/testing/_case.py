"""A case: one named input of a kernel, and how one is written down."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from revnorm.testing._arrays import from_numpy, rounded
from revnorm.testing._reference import evaluate

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


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
    tier : str
        The tier that it belongs to, beside "exact".
    conduct : str
        Of a case of the tier "conduct": what is looked at beside the result.
    seed : tuple of int or None
        Of a random case: the seed, and its place among those that this gives.
    literal : bool
        Whether it is told by its numbers, since no battery has it.
    """

    name: str
    kernel: str
    probes: str
    make: Callable[[np.random.Generator, str], Arguments] = field(repr=False)
    view: Callable[[np.ndarray], np.ndarray] | None = field(default=None, repr=False)
    reversible: bool = True
    tier: str = ""
    conduct: str = ""
    seed: tuple[int, int] | None = None
    literal: bool = False

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
    ) -> Arguments:
        """What the kernel is called with: arrays of a type in a library, and keywords."""

        def convert(value: Any) -> Any:
            if not isinstance(value, np.ndarray):
                return value
            kept = dtype if value.dtype.kind == "f" and (library, dtype) != HELD else None
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

    def _made(self, dtype: str) -> Arguments:
        return self.make(np.random.default_rng(zlib.crc32(self.name.encode())), dtype)


# NumPy has no bfloat16: what is rounded to it is held in float32.
HELD = ("numpy", "bfloat16")


@lru_cache(maxsize=1024)
def _evaluated(case: Case, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    value, reach = evaluate(case.kernel, *case.arrays_in(dtype), **case.keywords)
    for array in (value, reach):
        array.flags.writeable = False
    return value, reach


def build(
    name: str,
    probes: str,
    x: Callable[[np.random.Generator, str], Any],
    *others: Callable[[np.random.Generator, np.ndarray], Any],
    view: Callable[[np.ndarray], np.ndarray] | None = None,
    reversible: bool = True,
    tier: str = "",
    **keywords: Any,
) -> Case:
    """A case whose other arguments, and keywords that are functions, are made from `x`."""

    def make(rng: np.random.Generator, dtype: str) -> Arguments:
        data = x(rng, dtype)
        made = tuple(other(rng, data) for other in others)
        named = {key: v(rng, data) if callable(v) else v for key, v in keywords.items()}
        return (data, *made), named

    return Case(name, "", probes, make, view, reversible, tier)


def channels(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """A parameter for each channel, at axis 1."""
    return rng.uniform(0.5, 2.0, x.shape[1])


def normal(*shape: int, mean: float = 0.0, std: float = 1.0) -> Callable[..., np.ndarray]:
    return lambda rng, dtype: rng.standard_normal(shape) * std + mean


def like(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return rng.standard_normal(x.shape)


def changed(base: Callable[..., np.ndarray], index: Any, value: float) -> Callable[..., np.ndarray]:
    def make(rng: np.random.Generator, dtype: str) -> np.ndarray:
        x = base(rng, dtype)
        x[index] = value
        return x

    return make
