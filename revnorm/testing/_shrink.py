"""The smallest input that a function fails on, which hypothesis finds."""

import random
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from revnorm.testing._case import Case, build
from revnorm.testing._fuzz import MAKERS, parameters_of

_EXAMPLES = 300
_EPS = (1e-5, 1e-3, 0.1)


class _Enough(BaseException):
    """Ends the search; hypothesis takes no notice of what is not an Exception."""


def smallest(
    name: str, fails: Callable[[Case], bool], tier: str, *, seed: int, seconds: float
) -> Case | None:
    """The simplest case of a tier that fails, as far as it is found in a time; else None.

    Raises
    ------
    ImportError
        If hypothesis is not installed.
    """
    import hypothesis
    from hypothesis import HealthCheck, Phase, strategies

    if name not in MAKERS:
        return None
    found: list[Case] = []
    end = time.monotonic() + seconds

    def condition(case: Case) -> bool:
        if time.monotonic() > end:
            raise _Enough
        failed = fails(case)
        if failed:
            found.append(case)
        return failed

    settings = hypothesis.settings(
        max_examples=_EXAMPLES,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    drawn = strategies.composite(_drawn)(name, tier)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return hypothesis.find(drawn, condition, settings=settings, random=random.Random(seed))
    except (_Enough, hypothesis.errors.NoSuchExample):
        # Each that failed is simpler than those before it.
        return found[-1] if found else None


def _drawn(draw: Any, name: str, tier: str) -> Case:
    """A case of few and round numbers; for "conditioning" far from zero."""
    from hypothesis import strategies as st

    # One element alone is a matter of the tier "range".
    sides = (*draw(st.lists(st.integers(1, 4), max_size=2)), draw(st.integers(2, 5)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 3)), *sides)
    groups = draw(st.integers(1, 3)) if name == "group_norm" else 1
    shape, _, own, options = MAKERS[name](shape, groups)
    far = tier == "conditioning"
    x = _numbers(draw, shape, st.integers(-30, 30).map(lambda n: n / 10 if far else float(n)))
    x += draw(st.sampled_from([100, 300, 1000])) if far else 0
    scales = st.sampled_from([1.0, 2.0, 0.5, -1.0])
    affine = draw(st.booleans())
    parameters = [_numbers(draw, own, scales) for _ in range(parameters_of(name) * affine)]
    if not affine:
        options.pop("channel_axis", None)
    eps = draw(st.sampled_from(_EPS))
    return case_of(name, tier, x, *parameters, eps=eps, **options)


def _numbers(draw: Any, shape: tuple[int, ...], elements: Any) -> np.ndarray:
    from hypothesis import strategies as st

    size = int(np.prod(shape))
    values = draw(st.lists(elements, min_size=size, max_size=size))
    return np.asarray(values, dtype=np.float64).reshape(shape)


_NUMBER = count()


def case_of(name: str, tier: str, *arrays: np.ndarray, **keywords: Any) -> Case:
    """A case of arrays that are there already."""
    x, *others = arrays
    made = build(
        f"smallest {next(_NUMBER)}",
        "the smallest input that fails",
        lambda rng, dtype: x,
        *(partial(_given, one=one) for one in others),
        reversible=False,
        tier=tier,
        **keywords,
    )
    return replace(made, kernel=name, literal=True)


def _given(rng: np.random.Generator, x: np.ndarray, *, one: np.ndarray) -> np.ndarray:
    return one
