"""What is probably wrong with the gradient of the data: a statistic that is taken for a constant.

With z = (x − m)/s and g what comes from above, times the scale, the gradient of an instance of n
elements is (g − mean(g) − z·Σ(g·z)/(n − correction))/s. The second term comes through the mean,
the third through the variance.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from revnorm.testing._case import Case
from revnorm.testing._faults import Problem

# Whether the gradient of the data is that of a fault.
Fits = Callable[[np.ndarray], bool]

CONSTANTS = {
    "as if the statistics were constants": (False, False),
    "as if the mean were a constant": (False, True),
    "as if the variance were a constant": (True, False),
}


_ALONE = {
    f"only that of the {one} is wrong": at for at, one in enumerate(("data", "scale", "bias"))
}

# What may be said of a gradient, and the sentence that says it.
SENTENCES = {
    **{name: f"Its gradients are {name}" for name in CONSTANTS},
    **{name: f"Of its gradients {name}" for name in _ALONE},
}


def named(case: Case, dtype: str, cotangent: np.ndarray, errors: list[float], fits: Fits) -> str:
    """What gradients look like, from their errors as multiples of what is allowed."""
    constants = with_constants(case, dtype, cotangent)
    found = [name for name, one in constants.items() if fits(one)]
    found += [name for name, at in _ALONE.items() if constants and _alone(errors, at)]
    return next(iter(found), "")


def _alone(errors: list[float], at: int) -> bool:
    return len(errors) > 1 and [i for i, one in enumerate(errors) if not one <= 1] == [at]


def with_constants(case: Case, dtype: str, cotangent: np.ndarray) -> dict[str, np.ndarray]:
    """The gradients of the data with terms left out, by what this is called."""
    if not Problem.takes(case):
        return {}
    p = Problem(case, dtype)
    scale = p.laid(p.parameters[0]) if p.parameters else 1.0
    g = (np.asarray(cotangent, dtype=np.float64) * scale).reshape(p.x.shape)
    options: dict[str, Any] = {"axis": p.axis, "keepdims": True}
    count = np.size(p.x) / np.size(np.sum(p.x, **options))
    moments = np.mean(p.x, **options) * p.centered
    s = np.sqrt(np.sum((p.x - moments) ** 2, **options) / (count - p.correction) + p.eps)
    z = (p.x - moments) / s
    through_mean = np.mean(g, **options) * p.centered
    through_variance = z * np.sum(g * z, **options) / (count - p.correction)
    return {
        name: ((g - through_mean * mean - through_variance * variance) / s).reshape(p.shape)
        for name, (mean, variance) in CONSTANTS.items()
    }
