"""A function run over the battery, and what came of it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from revnorm.testing._arrays import (
    flushes,
    from_numpy,
    has_wider,
    is_subnormal,
    largest,
    module,
    significand,
    to_numpy,
)
from revnorm.testing._autograd import NoGradient, gradients_of
from revnorm.testing._cases import Case, cases
from revnorm.testing._conduct import BEYOND, FOREIGN, INPUT_CHANGED, OTHER_DTYPE, misconduct
from revnorm.testing._declared import refused, undeclared
from revnorm.testing._gradient_faults import named
from revnorm.testing._gradients import evaluate_gradients
from revnorm.testing._report import Outcome, Report, shown
from revnorm.testing._shrink import smallest
from revnorm.testing._tiers import ROUND_TRIP, TIERS, growth_of, known, share
from revnorm.testing._ulp import ulp_error, worst


class Bounds(NamedTuple):
    """How far a result may lie from the exact one.

    Attributes
    ----------
    recipe : str
        "A": computed in float64 and rounded once; "B": computed in the type itself.
    forward : float
        In ULP of max(|y|, 1); under recipe B, of the largest term that is added up to y.
    round_trip : float
        In ULP of the instance's max|x|.
    gradient : float
        In ULP of the largest magnitude of the gradient and its parts; under recipe B, of the sum
        of the magnitudes of all its terms.
    """

    recipe: str
    forward: float
    round_trip: float
    gradient: float


# A gradient gathers from up to three readings of the data: three roundings and two of their sums.
# Under B up to 30 roundings, of half a ULP each, lie between the data and a term of a gradient.
RECIPE_A = Bounds("A", 0.51, 2.0, 2.5)
RECIPE_B = Bounds("B", 4.0, 4.0, 16.0)

SMALLEST = "The smallest input that fails:"


def bounds(library: str = "numpy", dtype: str = "float32", device: Any = None) -> Bounds:
    """What the package itself is held to with a library, type and device.

    Parameters
    ----------
    library : str
        "numpy", "torch", "jax", "dask", "array-api-strict", "ndonnx", "cupy" or "mlx".
    dtype : str
        "float32", "float64", "float16" or "bfloat16".
    device : optional
        As the library names it.

    Returns
    -------
    Bounds
        Recipe A's where the library has float64 there and the type is narrower, else B's.

    Examples
    --------
    >>> from revnorm.testing import bounds
    >>> bounds("numpy", "float32").forward, bounds("numpy", "float64").forward
    (0.51, 4.0)
    """
    return RECIPE_A if has_wider(library, dtype, device) else RECIPE_B


def check(
    function: Callable[..., Any],
    name: str,
    /,
    *,
    library: str = "numpy",
    device: Any = None,
    dtypes: Sequence[str] = ("float32",),
    only: Callable[[Case], bool] | None = None,
    gradients: bool = False,
    bounds: Bounds | None = None,
    tiers: Sequence[str] | None = None,
    seed: int | None = None,
    fuzz: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Run a function over the battery of a kernel and measure every result.

    Parameters
    ----------
    function : callable
        Called as the kernel of that name is: ``function(x, scale, bias, axis=...,
        channel_axis=..., eps=...)`` with what the case has of these and nothing else. For
        "revin" it returns the array and its inverse: a function, or what has one as `inv`.
    name : str
        As in `cases`.
    library : str
        Whose arrays it is given: "numpy", "torch", "jax", "dask", "array-api-strict", "ndonnx",
        "cupy" or "mlx".
    device : optional
        Where these arrays lie, as the library names it.
    dtypes : sequence of str
        Of "float32", "float64", "float16" and "bfloat16".
    only : callable, optional
        Given a `Case`, whether the function claims to do it. The others are listed as not run.
    gradients : bool
        Whether the gradients of PyTorch or JAX are held against `reference_gradients`.
    bounds : Bounds, optional
        What is demanded in the tier "exact"; by default what the package itself is held to, as
        `bounds` tells.
    tiers : sequence of str, optional
        Of "formula", "conditioning", "range", "masks", "layout", "conduct", "gradients" and
        "exact"; the last one judges the cases of all others but once more, by `bounds`. By default
        all, "gradients" where `gradients` is True; with `bounds`, "conduct" and "exact".
    seed : int, optional
        Adds cases with random shapes, means, spreads, eps and parameters to the tiers "formula"
        and "conditioning". The same seed gives the same cases.
    fuzz : int
        How many of these.
    progress : callable, optional
        Called with how many cases are done, and of how many.

    Returns
    -------
    Report
        An exception in the function is a failure of that case, with its text. A case whose
        arguments the signature of the function does not take is not declared, and not run.

    Raises
    ------
    ValueError
        If a name, library or type is not a known one.
    ImportError
        If the library is not installed.

    Examples
    --------
    >>> import revnorm as rn
    >>> from revnorm.testing import check
    >>> report = check(rn.instance_norm, "instance_norm", only=lambda case: "mask" in case.name)
    >>> report.passed
    True
    >>> def plain(x, *, axis, eps=1e-5):
    ...     d = x - x.mean(axis, keepdims=True)
    ...     return d / (d.var(axis, keepdims=True, ddof=1) + eps) ** 0.5
    >>> report = check(plain, "instance_norm", tiers=["formula"])
    >>> report.passed, report.diagnosis
    (False, 'It looks like the unbiased variance.')
    """
    items = _items(name, dtypes, library, gradients, tiers, seed, fuzz)
    outcomes = []
    for case, dtype in items:
        outcomes.append(
            examine(function, case, dtype, library, device, only, gradients, bounds, tiers)
        )
        if progress is not None:
            progress(len(outcomes), len(items))
    return Report(function, name, library, outcomes, device, only)


def shrink(report: Report, /, *, seed: int = 0, seconds: float = 10.0) -> Outcome | None:
    """The smallest input that a function fails on.

    Parameters
    ----------
    report : Report
        In which the tier "formula" or "conditioning" failed; the first of these is looked at.
    seed : int
        Of the search. The same seed finds the same, unless the time was too short.
    seconds : float
        How long to search at most.

    Returns
    -------
    Outcome or None
        Of a case of few and round numbers that the function claims to do, which `Report.again`
        writes down to be pasted; None where neither tier failed, or none such fails.

    Raises
    ------
    ImportError
        If hypothesis is not installed.

    Examples
    --------
    >>> from revnorm.testing import check, shrink
    >>> def zeros(x, *, axis, eps=1e-5):
    ...     return 0 * x
    >>> report = check(zeros, "instance_norm", tiers=["formula"])
    >>> shrink(report, seconds=600).case.arrays[0].size
    2
    """
    tier = next((t for t in ("formula", "conditioning") if report.tiers[t] == "failed"), None)
    if tier is None:
        return None
    dtype = next(one.dtype for one in report.failures if tier in one.shares)
    where = (report.library, report.device, report.only)

    def outcome_of(case: Case) -> Outcome:
        return examine(report.function, case, dtype, *where, tiers=[tier])

    case = smallest(
        report.name,
        lambda case: outcome_of(case).status == "failed",
        tier,
        seed=seed,
        seconds=seconds,
    )
    return None if case is None else outcome_of(case)


def conformance(
    function: Callable[..., Any],
    name: str,
    /,
    *,
    library: str = "numpy",
    device: Any = None,
    dtypes: Sequence[str] = ("float32",),
    only: Callable[[Case], bool] | None = None,
    gradients: bool = False,
    bounds: Bounds | None = None,
    tiers: Sequence[str] | None = None,
    seed: int | None = None,
    fuzz: int = 20,
) -> Callable[..., None]:
    """A pytest test of a function, with one item for each case and type.

    Parameters
    ----------
    function, name, library, device, dtypes, only, gradients, bounds, tiers, seed, fuzz
        As in `check`. What is not run is skipped, with the reason. A random case that fails is
        told with the smallest input that does, as `shrink` finds it, if hypothesis is installed.

    Returns
    -------
    callable
        To be given a name that begins with ``test_`` in a test module.

    Examples
    --------
    In a file ``test_mine.py``, which pytest then runs::

        from revnorm.testing import conformance
        from mine import instance_norm

        test_instance_norm = conformance(instance_norm, "instance_norm", library="torch")
    """
    import pytest

    items = [
        pytest.param(case, dtype, id=f"{case.name}-{dtype}")
        for case, dtype in _items(name, dtypes, library, gradients, tiers, seed, fuzz)
    ]

    # One search serves all random cases of a tier.
    searched: dict[tuple[str, str], tuple[Outcome | None, list[str]]] = {}

    @pytest.mark.parametrize(("case", "dtype"), items)
    def test(case: Case, dtype: str) -> None:
        outcome = examine(function, case, dtype, library, device, only, gradients, bounds, tiers)
        if outcome.status == "not run":
            pytest.skip(outcome.text)
        if outcome.status == "failed":
            report = Report(function, name, library, [outcome], device, only)
            told = [f"{outcome.text}\nprobes: {case.probes}", report.snippet]
            if case.seed is not None and report.tiers[case.tier] == "failed":
                if (case.tier, dtype) not in searched:
                    searched[case.tier, dtype] = smallest_of(report, case.seed[0])
                found, notes = searched[case.tier, dtype]
                told += [SMALLEST, report.again(found)] if found else notes
            pytest.fail("\n\n".join(told), pytrace=False)

    return test


def smallest_of(report: Report, seed: int) -> tuple[Outcome | None, list[str]]:
    """The smallest input that fails, and a word where it cannot be looked for."""
    try:
        return shrink(report, seed=seed), []
    except ImportError:
        return None, ["With hypothesis installed, the smallest input that fails is shown."]


def _items(
    name: str,
    dtypes: Sequence[str],
    library: str,
    gradients: bool,
    tiers: Sequence[str] | None = None,
    seed: int | None = None,
    fuzz: int = 20,
) -> list[tuple[Case, str]]:
    """Every case of these tiers in every type, if that can be asked for."""
    module(library)
    named = known(tiers)
    gradients = gradients or "gradients" in (named or ())
    if gradients and library not in ("torch", "jax"):
        raise ValueError(f"`gradients` are those of torch or jax, got library {library!r}")
    if isinstance(dtypes, str):
        raise TypeError(f"`dtypes` must be a sequence of names, got {dtypes!r}")
    for dtype in dtypes:
        significand(dtype)
    found = cases(name, seed=seed, fuzz=fuzz)
    return [(case, dtype) for dtype in dtypes for case in found if _asked(case, named)]


def _asked(case: Case, tiers: frozenset[str] | None) -> bool:
    if tiers is None or "exact" in tiers or case.tier in tiers:
        return True
    return case.tier == "formula" and "gradients" in tiers


def examine(
    function: Callable[..., Any],
    case: Case,
    dtype: str,
    library: str,
    device: Any = None,
    only: Callable[[Case], bool] | None = None,
    gradients: bool = False,
    demanded: Bounds | None = None,
    tiers: Iterable[str] | None = None,
) -> Outcome:
    """One case in one type."""
    if only is not None and not only(case):
        return Outcome(case, dtype, "not run", text="outside what is declared")
    if unfit := case.unfit(dtype) or _flushed(case, dtype, library, device):
        return Outcome(case, dtype, "not run", text=unfit)
    limits = bounds(library, dtype, device) if demanded is None else demanded
    if tiers is None and demanded is not None:
        asked = {"exact", "conduct"} | ({"gradients"} if gradients else set())
    else:
        asked = _demanded(case, tiers, gradients)
    arrays, keywords = case.arguments(dtype, library, device)
    if unfit := undeclared(function, case, arrays, keywords):
        return Outcome(case, dtype, "not run", text=unfit)
    before = np.array(to_numpy(arrays[0]))
    forward = round_trip = gradient = None
    told = ""
    broken: list[str] = []
    shares: dict[str, float] = {}
    try:
        with np.errstate(all="ignore"):
            result = function(*arrays, **keywords)
            y, undo = result if isinstance(result, tuple) else (result, None)
            found = _array(y)
            forward = _forward_error(case, found, dtype, limits)
            if undo is not None and case.reversible:
                inverse: Any = getattr(undo, "inv", undo)
                undone = to_numpy(inverse(y))
                round_trip = _round_trip_error(case, undone, dtype)
            broken = _broken(before, arrays[0], y)
            if "gradients" in asked and _differentiable(case, dtype):
                of = (function, case, dtype, library, device, limits)
                gradient, off, told = _gradients(gradients, *of)
                if off is not None and case.tier == "formula":
                    shares["gradients"] = off
            if "conduct" in asked and case.conduct:
                broken += misconduct(function, case, dtype, library, device)
            if getattr(function, "strays", False):
                broken.append(BEYOND)
    except (Exception, SystemExit) as error:
        if isinstance(error, Exception) and refused(error, keywords):
            return Outcome(case, dtype, "not run", text=f"not declared: {error}")
        text = f"{type(error).__name__}: {error}"
        none = dict.fromkeys(asked & {case.tier, "exact"}, np.inf)
        return Outcome(case, dtype, "failed", forward, round_trip, gradient, text, none)
    errors = {"forward": forward, "round_trip": round_trip, "gradient": gradient}
    texts: list[str] = []
    if "exact" in asked:
        held = {k: e / getattr(limits, k) for k, e in errors.items() if e is not None}
        shares["exact"] = np.inf if broken else max(held.values())
        texts += [
            f"{what.replace('_', ' ')} {shown(errors[what])} ULP, allowed {getattr(limits, what):g}"
            for what, one in held.items()
            if not one <= 1
        ]
    if case.tier in asked and case.tier not in ("exact", "conduct"):
        off = share(case, dtype, found)
        shares[case.tier] = max(off, (round_trip or 0.0) / ROUND_TRIP)
    if "conduct" in asked and (broken or case.conduct):
        shares["conduct"] = np.inf if broken else 0.0
    shape = np.shape(case.arrays_in(dtype)[0])
    judged = [f"shape {found.shape}, the data's is {shape}"] if found.shape != shape else []
    judged += [
        f"{tier}: {told if told and tier == 'gradients' else _beyond(shares[tier])}"
        for tier in TIERS
        if not shares.get(tier, 0) <= 1 and tier not in ("exact", "conduct") and not judged
    ]
    texts = [*broken, *texts, *judged] if tiers is None else [*broken, *judged, *texts]
    failed = bool(texts)
    return Outcome(
        case,
        dtype,
        "failed" if failed else "passed",
        **errors,
        text="; ".join(texts),
        shares=shares,
        result=found if failed else None,
    )


def _beyond(share: float) -> str:
    if share < np.inf:
        return f"{shown(share)} times what is allowed"
    return "NaN or infinity in the wrong places"


def _demanded(case: Case, tiers: Iterable[str] | None, gradients: bool) -> set[str]:
    """The tiers that a case is judged in."""
    named = known(tiers)
    if named is None:
        named = frozenset({case.tier, "exact", "conduct"})
        return set(named | {"gradients"} if gradients else named)
    return {one for one in named if one in (case.tier, "exact", "conduct", "gradients")}


def _flushed(case: Case, dtype: str, library: str, device: Any) -> str:
    """Why the library cannot hold the data of a case; empty where it can."""
    subnormal = np.any(is_subnormal(case.arrays_in(dtype)[0], dtype))
    if subnormal and flushes(library, dtype, device):
        return f"{library} takes subnormal numbers for 0"
    return ""


def _array(y: Any) -> np.ndarray:
    if y is None:
        raise TypeError("the result is None")
    return np.array(to_numpy(y))


def _broken(before: np.ndarray, x: Any, y: Any) -> list[str]:
    found = []
    if not np.array_equal(before, to_numpy(x), equal_nan=True):
        found.append(INPUT_CHANGED)
    given, made = (type(one).__module__.partition(".")[0] for one in (x, y))
    if not isinstance(y, type(x)) and given.removesuffix("lib") != made.removesuffix("lib"):
        found.append(f"{FOREIGN} {made} for one of {given}")
    elif getattr(y, "dtype", None) != x.dtype:
        found.append(f"dtype {getattr(y, 'dtype', None)}{OTHER_DTYPE}{x.dtype}")
    return found


def _forward_error(case: Case, found: np.ndarray, dtype: str, limits: Bounds) -> float:
    expected = case.expected(dtype)
    if limits.recipe == "A":
        return ulp_error(found, expected, dtype=dtype)
    return worst(found, expected, np.fmax(case.reach(dtype), 1), dtype)


def _round_trip_error(case: Case, undone: np.ndarray, dtype: str) -> float:
    """In ULP of the instance's largest magnitude, wherever the type can hold the result."""
    x = np.asarray(case.arrays_in(dtype)[0], dtype=np.float64)
    axis = case.keywords["axis"]
    finite = np.abs(case.expected(dtype)) <= largest(dtype)
    reach = np.max(np.where(finite, np.abs(x), 0), axis=axis, keepdims=True)
    if undone.shape != x.shape:
        return np.inf
    x, undone = (np.where(finite, values, 0) for values in (x, undone))
    return worst(undone, x, np.broadcast_to(reach, x.shape), dtype)


def _differentiable(case: Case, dtype: str) -> bool:
    x = case.arrays_in(dtype)[0]
    return bool(x.size and np.isfinite(x).all())


def _gradients(wanted: bool, *of: Any) -> tuple[float | None, float | None, str]:
    """What `_gradient_error` gives of these; nothing where no gradients were asked for."""
    try:
        return _gradient_error(*of)
    except NoGradient as error:
        return (np.inf, np.inf, str(error)) if wanted else (None, None, "")
    except (Exception, SystemExit) as error:
        return np.inf, np.inf, f"{type(error).__name__}: {error}"


def _gradient_error(
    function: Callable[..., Any],
    case: Case,
    dtype: str,
    library: str,
    device: Any,
    limits: Bounds,
) -> tuple[float | None, float | None, str]:
    """In ULP of what is added up, and as a share of what a sound gradient may be off by.

    None where that is beyond the type, or no type is wider. Last comes what is wrong, in words.
    """
    made, exact_type = case.arrays_in(dtype), np.float64 if dtype != "float64" else np.longdouble
    if np.finfo(exact_type).nmant <= significand(dtype)[0]:
        return None, None, ""
    cotangent = np.random.default_rng(0).standard_normal(case.expected(dtype).shape)
    cotangent = to_numpy(from_numpy(cotangent, library, dtype=dtype))
    arrays, keywords = case.arguments(dtype, library, device)
    found = gradients_of(function, library, cotangent, arrays, keywords)
    wide = (a.astype(exact_type) if a.dtype.kind == "f" else a for a in (cotangent, *made))
    exact = evaluate_gradients(case.kernel, *wide, **case.keywords)
    held = [(to_numpy(one), true) for one, true in zip(found, exact, strict=True) if true]
    reaches = [true.parts if limits.recipe == "A" else true.terms for _, true in held]
    # A unit of the gradient is then a subnormal number.
    fine = any(np.any(is_subnormal(np.ldexp(r, -significand(dtype)[0]), dtype)) for r in reaches)
    if fine and flushes(library, dtype, device):
        return None, None, ""
    if any(np.max(reach) > largest(dtype) for reach in reaches):
        return None, None, ""
    error = max(
        worst(one, true.value, reach, dtype)
        for (one, true), reach in zip(held, reaches, strict=True)
    )
    growth = growth_of(case, dtype)
    by_terms = [worst(one, true.value, true.terms, dtype) / growth for one, true in held]
    off = max(by_terms)
    if off <= 1:
        return error, off, ""

    def fits(other: np.ndarray) -> bool:
        return worst(held[0][0], other, held[0][1].terms, dtype) <= 4 * growth

    told = [_beyond(off), named(case, dtype, cotangent, by_terms, fits)]
    return error, off, ", ".join(filter(None, told))
