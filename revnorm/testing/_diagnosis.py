"""What is probably wrong: the known wrong formula that a function's results fit.

A formula fits where it lies within four times of what a sound result may be off by. Each is a
fault of the statistics, or of the parameters, or of both; the simplest that explains the most is
told.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np

from revnorm.testing._arrays import largest, significand, smallest
from revnorm.testing._case import Case
from revnorm.testing._conduct import (
    BATCH,
    BEYOND,
    FOREIGN,
    INPUT_CHANGED,
    OTHER_DTYPE,
    OVERWRITES,
    STALE,
    THREAD,
    TWICE,
    WRITES,
)
from revnorm.testing._faults import FAULTLESS, ONE_MORE, WHOLE, Problem
from revnorm.testing._faults_styled import problem_of
from revnorm.testing._gradient_faults import SENTENCES
from revnorm.testing._tiers import tolerance

_LEFT_OUT = (FAULTLESS, "scale and bias left out", "the bias left out")

_CAUSES = {
    BEYOND: "It writes beyond its result.",
    STALE: "It gives the result of an earlier call.",
    WRITES: "It overwrites its input.",
    INPUT_CHANGED: "It overwrites its input.",
    OVERWRITES: "It writes every result to the same memory.",
}
_CONDUCT = _CAUSES | {
    TWICE: "Its results differ from call to call: it looks like a race.",
    THREAD: "Its results differ from thread to thread.",
    BATCH: "Its results depend on the size of the batch.",
    FOREIGN: "It gives an array of another library than it is given.",
    OTHER_DTYPE: "Its result has another dtype than the data.",
}


def diagnose(failures: Sequence[Any]) -> str | None:
    """A sentence or two on outcomes that failed; None where nothing known fits."""
    told = [sentence for key, sentence in _CONDUCT.items() if _said(key, failures)][:1]
    if told == [_CONDUCT[STALE]]:
        return _CONDUCT[STALE]
    wrong = [one for one in failures if one.shares.get("formula", 0) > 1]
    found = _raised(wrong) or _of_formula(wrong) if wrong else _of_conditioning(failures)
    # A wrong formula is the cause of what depends on the call, more often than the other way round.
    if found is not None and told and told[0] not in _CAUSES.values():
        told = []
    if found is None and not wrong:
        told += filter(None, (_of_gradients(failures), _of_range(failures)))
    return " ".join([*told, *([] if found is None else [found])]) or None


def _said(text: str, failures: Iterable[Any]) -> bool:
    return any(text in outcome.text for outcome in failures)


def _raised(wrong: Sequence[Any]) -> str | None:
    raised = [one for one in wrong if one.result is None]
    if 2 * len(raised) <= len(wrong):
        return None
    text = raised[0].text.rstrip(".")
    return f"It raises an exception in {_of(len(raised), len(wrong))} that fail: {text}."


def _of(some: int, every: int) -> str:
    return f"all {every} cases" if some == every else f"{some} of {every} cases"


def _of_formula(wrong: Sequence[Any]) -> str | None:
    found = [
        (problem_of(one.case, one.dtype), np.asarray(one.result, dtype=np.float64))
        for one in wrong
        if one.result is not None
    ]
    problems = [(p, y) for p, y in found if p is not None and y.shape == p.shape]
    if not problems:
        shaped = [one for one in wrong if one.result is not None]
        other = [o for o in shaped if o.result.shape != o.case.expected(o.dtype).shape]
        return "Its result has another shape than the data." if shaped and other else None
    lost = sum(not np.isfinite(y).all() for _, y in problems)
    if 2 * lost > len(problems):
        return f"It gives NaN or infinity in {_of(lost, len(problems))} that fail."
    best, count = "", 0
    faults = dict.fromkeys(name for p, _ in problems for name in p.faults)
    finishes = dict.fromkeys(name for p, _ in problems for name in p.finishes)
    for laid, name in product(finishes or (FAULTLESS,), faults):
        fits = sum(_fits(p, y, name, laid) for p, y in problems)
        if fits > count:
            best, count = " and ".join(filter(None, (name, laid))), fits
        if count == len(problems):
            break
    if 2 * count <= len(problems):
        return _of_roundings(problems)
    told = "" if count == len(problems) else f", in {_of(count, len(problems))} that are wrong"
    return f"It looks like {best}{told}."


def _of_roundings(problems: Sequence[tuple[Problem, np.ndarray]]) -> str | None:
    """Whether the errors are as large as the roundings of a narrower type, whatever the data.

    The largest of many is between 1/8 of the unit roundoff, where only one rounding matters, and
    the whole of it, where several do. A wrong formula's errors vary more.
    """
    with np.errstate(all="ignore"):
        errors = [np.max(np.abs(y - p.case.expected(p.dtype))) / p.rounded for p, y in problems]
    for name, dtype in (("float16 or TF32", "float16"), ("bfloat16", "bfloat16")):
        unit = np.ldexp(1.2, -significand(dtype)[0])
        count = sum(unit / 8 < error <= unit for error in errors)
        if 4 * count >= 3 * len(problems):
            told = _of(count, len(problems))
            return f"Its errors are as large as roundings to {name}, in {told} that are wrong."
    return None


def _fits(problem: Problem, y: np.ndarray, name: str, laid: str) -> bool:
    """Whether a result is what these two faults give."""
    if name == FAULTLESS and (laid == FAULTLESS or not (problem.parameters or laid == ONE_MORE)):
        return False
    if name not in WHOLE:
        return _is(problem, y, name, laid)
    return laid == FAULTLESS and any(_is(problem, y, name, one) for one in _LEFT_OUT)


def _is(problem: Problem, y: np.ndarray, name: str, laid: str) -> bool:
    with np.errstate(all="ignore"):
        z = problem.made(name, y)
        expected = None if z is None else problem.finished(z, laid)
        if expected is None:
            return False
        larger = max(1.0, float(np.max(np.abs(expected))) / problem.reach)
        return bool(np.max(np.abs(y - expected)) <= 4 * problem.allowed * larger)


def _of_conditioning(failures: Sequence[Any]) -> str | None:
    """Whether it is the spread of the instances that is off, or their mean."""
    wrong = [
        one
        for one in failures
        if one.shares.get("conditioning", 0) > 1 and one.result is not None and _plain(one.case)
    ]
    found = [_off(one.case, one.dtype, np.asarray(one.result, dtype=np.float64)) for one in wrong]
    told = [one for one in found if one is not None]
    if not told:
        return None
    spread, mean, lost, ratio = max(told, key=lambda one: (one[2], one[0], one[1]))
    where = f"where mean/std is {ratio:.0f}"
    if lost:
        return f"It looks like E[x²] − E[x]²: the variance is negative {where}."
    if spread > mean:
        return f"It looks like E[x²] − E[x]²: the spread is off by {spread:.1%} {where}."
    return f"It looks like a mean that is rounded: off by {mean:.1%} of the std {where}."


def _of_gradients(failures: Sequence[Any]) -> str | None:
    """What most of the gradients that are wrong look like."""
    wrong = [one for one in failures if one.shares.get("gradients", 0) > 1]
    for name, sentence in SENTENCES.items():
        count = sum(name in one.text for one in wrong)
        if 2 * count > len(wrong):
            return f"{sentence}, in {_of(count, len(wrong))} that fail."
    return None


def _of_range(failures: Sequence[Any]) -> str | None:
    """What very large, very small and constant data may have met with."""
    wrong = [one for one in failures if one.shares.get("range", 0) > 1]
    found = dict.fromkeys(filter(None, map(_end, wrong)))
    return f"At the ends of the range it looks like {' and '.join(found)}." if found else None


def _end(one: Any) -> str:
    if one.result is None:
        return f"an exception for {one.case.name!r}"
    problem = Problem(one.case, one.dtype)
    if np.max(np.abs(problem.x)) ** 2 > largest(one.dtype):
        return "squares that overflow"
    spread = np.ptp(problem.x, axis=problem.axis)
    if problem.eps == 0 and not np.any(spread):
        return "constant data that are divided by 0"
    return "squares that vanish" if np.max(spread) ** 2 < smallest(one.dtype) else ""


def _plain(case: Case) -> bool:
    return len(case.arrays) == 1 and Problem.takes(case)


def _off(case: Case, dtype: str, y: np.ndarray) -> tuple[float, float, bool, float] | None:
    """How far spread and mean are off, whether a spread is NaN, and mean/std of the worst."""
    problem = Problem(case, dtype)
    if y.shape != problem.shape:
        return None
    z, y = problem.exact.reshape(problem.x.shape), y.reshape(problem.x.shape)
    options: dict[str, Any] = {"axis": problem.axis, "keepdims": True}
    ratio = np.abs(problem.x.mean(**options)) / np.maximum(problem.x.std(**options), 1e-300)
    if not np.isfinite(y).all():
        return 0.0, 0.0, True, float(np.max(ratio))
    mean = np.mean(y, **options)
    square = np.mean(z * z, **options)
    spread = np.mean((y - mean) * z, **options) / np.where(square > 0, square, 1)
    bent = np.max(np.abs(y - mean - spread * z))
    if bent > np.max(tolerance(case, dtype)):
        return None
    off = np.abs(spread - 1)
    at = np.argmax(np.maximum(off, np.abs(mean)))
    return float(np.max(off)), float(np.max(np.abs(mean))), False, float(ratio.reshape(-1)[at])
