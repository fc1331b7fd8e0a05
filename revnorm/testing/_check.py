"""A function run over the battery, and what came of it."""

import html
from collections.abc import Callable, Sequence
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
from revnorm.testing._autograd import gradients_of
from revnorm.testing._cases import Case, cases
from revnorm.testing._gradients import evaluate_gradients
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


class Outcome(NamedTuple):
    """What came of one case in one type.

    Attributes
    ----------
    case : Case
    dtype : str
    status : {"passed", "failed", "not run"}
    forward, round_trip, gradient : float or None
        Errors in ULP; None where there is nothing to measure.
    text : str
        Why it failed or was not run.
    """

    case: Case
    dtype: str
    status: str
    forward: float | None = None
    round_trip: float | None = None
    gradient: float | None = None
    text: str = ""

    @property
    def error(self) -> float:
        """The largest of the errors; infinite where the function could not be measured."""
        found = [e for e in (self.forward, self.round_trip, self.gradient) if e is not None]
        return max(found, default=np.inf if self.status == "failed" else 0.0)


class Report:
    """What `check` found; prints as a table in a terminal and in a notebook.

    Attributes
    ----------
    outcomes : list of Outcome
        One for each case and type, in the order of the battery.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, library: str, outcomes: Any
    ) -> None:
        self.function, self.name, self.library = function, name, library
        self.outcomes: list[Outcome] = list(outcomes)

    @property
    def passed(self) -> bool:
        """Whether something was run, and nothing failed."""
        return not self.failures and any(o.status == "passed" for o in self.outcomes)

    @property
    def failures(self) -> list[Outcome]:
        """What failed, the worst first."""
        failed = [outcome for outcome in self.outcomes if outcome.status == "failed"]
        return sorted(failed, key=lambda outcome: -outcome.error)

    @property
    def worst(self) -> tuple[str, float]:
        """Name and error, in ULP, of the case with the largest error."""
        outcome = self._worst()
        return (outcome.case.name, outcome.error) if outcome else ("", 0.0)

    @property
    def snippet(self) -> str:
        """Lines to paste that reproduce the worst case."""
        outcome = self._worst()
        return "" if outcome is None else snippet(self.function, outcome, self.library)

    def _worst(self) -> Outcome | None:
        run = [outcome for outcome in self.outcomes if outcome.status != "not run"]
        return max(run, key=lambda o: (o.status == "failed", o.error), default=None)

    def summary(self) -> str:
        """One line: how many cases passed, failed and were not run."""
        count = {s: sum(o.status == s for o in self.outcomes) for s in _STATUSES}
        told = ", ".join(f"{number} {status}" for status, number in count.items())
        return f"{_title(self.function)} as {self.name} on {self.library}: {told}"

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                o.case.name,
                o.dtype,
                *(shown(error) for error in (o.forward, o.round_trip, o.gradient)),
                o.status,
                o.text or o.case.probes,
            )
            for o in self.outcomes
        ]

    def __repr__(self) -> str:
        """The table as plain text."""
        rows = [_HEADER, *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER) - 1)]
        lines = [
            "  ".join([*(c.ljust(w) for c, w in zip(row, widths)), row[-1]]).rstrip()
            for row in rows
        ]
        told = "\n".join([self.summary(), "", *lines])
        return told if self.passed else f"{told}\n\nThe worst case again:\n\n{self.snippet}"

    def __rich__(self) -> Any:
        """The table as rich prints it."""
        from rich.table import Table

        table = Table(title=self.summary())
        for i, title in enumerate(_HEADER):
            table.add_column(title, justify="right" if i in _NUMERIC else "left")
        colours = {"failed": "red", "not run": "bright_black", "passed": None}
        for row, outcome in zip(self._rows(), self.outcomes, strict=True):
            table.add_row(*row, style=colours[outcome.status])
        return table

    def _repr_html_(self) -> str:
        colours = {"failed": "#c00", "not run": "#999", "passed": "inherit"}
        head = "".join(f"<th>{title}</th>" for title in _HEADER)
        body = "".join(
            f'<tr style="color: {colours[outcome.status]}">'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
            + "</tr>"
            for row, outcome in zip(self._rows(), self.outcomes, strict=True)
        )
        caption = f"<caption>{html.escape(self.summary())}</caption>"
        again = "" if self.passed else f"<pre>{html.escape(self.snippet)}</pre>"
        return f"<table>{caption}<tr>{head}</tr>{body}</table>{again}"


_STATUSES = ("passed", "failed", "not run")
_HEADER = ("case", "dtype", "forward", "round trip", "gradient", "status", "probes")
_NUMERIC = (2, 3, 4)


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
        What is demanded; by default what the package itself is held to, as `bounds` tells.

    Returns
    -------
    Report
        An exception in the function is a failure of that case, with its text.

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
    """
    outcomes = [
        examine(function, case, dtype, library, device, only, gradients, bounds)
        for case, dtype in _items(name, dtypes, library, gradients)
    ]
    return Report(function, name, library, outcomes)


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
) -> Callable[..., None]:
    """A pytest test of a function, with one item for each case and type.

    Parameters
    ----------
    function, name, library, device, dtypes, only, gradients, bounds
        As in `check`. What is not run is skipped, with the reason.

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
        for case, dtype in _items(name, dtypes, library, gradients)
    ]

    @pytest.mark.parametrize(("case", "dtype"), items)
    def test(case: Case, dtype: str) -> None:
        outcome = examine(function, case, dtype, library, device, only, gradients, bounds)
        if outcome.status == "not run":
            pytest.skip(outcome.text)
        if outcome.status == "failed":
            again = snippet(function, outcome, library)
            pytest.fail(f"{outcome.text}\nprobes: {case.probes}\n\n{again}", pytrace=False)

    return test


def _items(
    name: str, dtypes: Sequence[str], library: str, gradients: bool
) -> list[tuple[Case, str]]:
    """Every case in every type, if that can be asked for."""
    module(library)
    if gradients and library not in ("torch", "jax"):
        raise ValueError(f"`gradients` are those of torch or jax, got library {library!r}")
    if isinstance(dtypes, str):
        raise TypeError(f"`dtypes` must be a sequence of names, got {dtypes!r}")
    for dtype in dtypes:
        significand(dtype)
    return [(case, dtype) for dtype in dtypes for case in cases(name)]


def examine(
    function: Callable[..., Any],
    case: Case,
    dtype: str,
    library: str,
    device: Any = None,
    only: Callable[[Case], bool] | None = None,
    gradients: bool = False,
    demanded: Bounds | None = None,
) -> Outcome:
    """One case in one type."""
    if only is not None and not only(case):
        return Outcome(case, dtype, "not run", text="outside what is declared")
    if unfit := case.unfit(dtype) or _flushed(case, dtype, library, device):
        return Outcome(case, dtype, "not run", text=unfit)
    limits = bounds(library, dtype, device) if demanded is None else demanded
    arrays, keywords = case.arguments(dtype, library, device)
    before = np.array(to_numpy(arrays[0]))
    forward = round_trip = gradient = None
    try:
        with np.errstate(all="ignore"):
            result = function(*arrays, **keywords)
            y, undo = result if isinstance(result, tuple) else (result, None)
            forward = _forward_error(case, y, dtype, limits)
            if undo is not None and case.reversible:
                inverse: Any = getattr(undo, "inv", undo)
                undone = to_numpy(inverse(y))
                round_trip = _round_trip_error(case, undone, dtype)
            if gradients and _differentiable(case, dtype):
                gradient = _gradient_error(
                    function, case, arrays, keywords, dtype, library, device, limits
                )
        broken = _broken(before, arrays[0], y)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return Outcome(case, dtype, "failed", forward, round_trip, gradient, text)
    errors = {"forward": forward, "round_trip": round_trip, "gradient": gradient}
    broken += [
        f"{what.replace('_', ' ')} {shown(error)} ULP, allowed {getattr(limits, what):g}"
        for what, error in errors.items()
        if error is not None and not error <= getattr(limits, what)
    ]
    status = "failed" if broken else "passed"
    return Outcome(case, dtype, status, **errors, text="; ".join(broken))


def _flushed(case: Case, dtype: str, library: str, device: Any) -> str:
    """Why the library cannot hold the data of a case; empty where it can."""
    subnormal = np.any(is_subnormal(case.arrays_in(dtype)[0], dtype))
    if subnormal and flushes(library, dtype, device):
        return f"{library} takes subnormal numbers for 0"
    return ""


def _broken(before: np.ndarray, x: Any, y: Any) -> list[str]:
    found = []
    if not np.array_equal(before, to_numpy(x), equal_nan=True):
        found.append("the input was changed")
    if getattr(y, "dtype", None) != x.dtype:
        found.append(f"dtype {getattr(y, 'dtype', None)}, the input's is {x.dtype}")
    return found


def _forward_error(case: Case, y: Any, dtype: str, limits: Bounds) -> float:
    expected = case.expected(dtype)
    if limits.recipe == "A":
        return ulp_error(y, expected, dtype=dtype)
    return worst(to_numpy(y), expected, np.fmax(case.reach(dtype), 1), dtype)


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
    return bool(np.isfinite(case.arrays_in(dtype)[0]).all())


def _gradient_error(
    function: Callable[..., Any],
    case: Case,
    arrays: Any,
    keywords: dict[str, Any],
    dtype: str,
    library: str,
    device: Any,
    limits: Bounds,
) -> float | None:
    """In ULP of what is added up; None where that is beyond the type, or no type is wider."""
    made, exact_type = case.arrays_in(dtype), np.float64 if dtype != "float64" else np.longdouble
    if np.finfo(exact_type).nmant <= significand(dtype)[0]:
        return None
    cotangent = np.random.default_rng(0).standard_normal(case.expected(dtype).shape)
    cotangent = to_numpy(from_numpy(cotangent, library, dtype=dtype))
    found = gradients_of(function, library, cotangent, arrays, keywords)
    wide = (a.astype(exact_type) if a.dtype.kind == "f" else a for a in (cotangent, *made))
    exact = evaluate_gradients(case.kernel, *wide, **case.keywords)
    held = [(to_numpy(one), true) for one, true in zip(found, exact, strict=True) if true]
    reaches = [true.parts if limits.recipe == "A" else true.terms for _, true in held]
    # A unit of the gradient is then a subnormal number.
    fine = any(np.any(is_subnormal(np.ldexp(r, -significand(dtype)[0]), dtype)) for r in reaches)
    if fine and flushes(library, dtype, device):
        return None
    if any(np.max(reach) > largest(dtype) for reach in reaches):
        return None
    return max(
        worst(one, true.value, reach, dtype)
        for (one, true), reach in zip(held, reaches, strict=True)
    )


def snippet(function: Callable[..., Any], outcome: Outcome, library: str) -> str:
    """Lines to paste that run one case again."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    importable = module not in (None, "__main__") and name.isidentifier()
    source = f"from {module} import {name}" if importable else "# `function` is yours"
    called = name if importable else "function"
    return "\n".join(
        [
            source,
            "from revnorm.testing import cases, ulp_error",
            "",
            f'battery = {{case.name: case for case in cases("{outcome.case.kernel}")}}',
            f'case = battery["{outcome.case.name}"]',
            f'arrays, keywords = case.arguments("{outcome.dtype}", "{library}")',
            f"result = {called}(*arrays, **keywords)",
            "y = result[0] if isinstance(result, tuple) else result",
            f'print(ulp_error(y, case.expected("{outcome.dtype}"), dtype="{outcome.dtype}"))',
        ]
    )


def shown(error: float | None) -> str:
    """An error as a table shows it; rounded up, so that 0.5001 is not taken for 0.500."""
    if error is None:
        return ""
    if error == 0 or not np.isfinite(error):
        return f"{error:.0f}"
    return f"{error:.3f}" if error < 1e3 else f"{error:.1e}"


def _title(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
