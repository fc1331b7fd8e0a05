"""What came of a check: outcomes, and the report that tells of them."""

import html
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from revnorm.testing._case import Case
from revnorm.testing._diagnosis import diagnose
from revnorm.testing._tiers import TIERS


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
    shares : dict of str to float
        For each tier that it was judged in: the error as a multiple of what is allowed.
    result : ndarray or None
        What a function that failed returned.
    """

    case: Case
    dtype: str
    status: str
    forward: float | None = None
    round_trip: float | None = None
    gradient: float | None = None
    text: str = ""
    shares: Mapping[str, float] = {}
    result: np.ndarray | None = None

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
        self,
        function: Callable[..., Any],
        name: str,
        library: str,
        outcomes: Any,
        device: Any = None,
        only: Callable[[Case], bool] | None = None,
    ) -> None:
        self.function, self.name, self.library, self.device = function, name, library, device
        self.only = only
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
    def tiers(self) -> dict[str, str]:
        """Of each tier: "passed", "failed" or "not run"."""
        return {tier: self._status(tier) for tier in TIERS}

    @cached_property
    def diagnosis(self) -> str | None:
        """What is probably wrong, in a sentence; None where nothing is, or nothing known fits."""
        return diagnose(self.failures)

    def worst_in(self, tier: str) -> tuple[str, float]:
        """Name of a tier's worst case, and its error as a multiple of what is allowed."""
        judged = [o for o in self.outcomes if tier in o.shares]
        found = max(judged, key=lambda o: o.shares[tier], default=None)
        return ("", 0.0) if found is None else (found.case.name, found.shares[tier])

    def _status(self, tier: str) -> str:
        shares = [o.shares[tier] for o in self.outcomes if tier in o.shares]
        return "not run" if not shares else "failed" if max(shares) > 1 else "passed"

    def _tier_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for tier, status in self.tiers.items():
            name, error = self.worst_in(tier)
            judged = [o.shares[tier] for o in self.outcomes if tier in o.shares]
            good = f"{sum(one <= 1 for one in judged)}/{len(judged)}" if judged else ""
            rows.append((tier, status, good, shown(error) if judged else "", name if error else ""))
        return rows

    @property
    def snippet(self) -> str:
        """Lines to paste that reproduce the worst case."""
        outcome = self._worst()
        return "" if outcome is None else self.again(outcome)

    def again(self, outcome: Outcome) -> str:
        """Lines to paste that run one case again."""
        return snippet(self.function, outcome, self.library, self.device)

    def outcome_of(self, tiers: Sequence[str]) -> Outcome | None:
        """The worst case of the first of these tiers that failed."""
        for tier in tiers:
            judged = [o for o in self.outcomes if not o.shares.get(tier, 0) <= 1]
            if judged:
                return max(judged, key=lambda o: o.shares[tier])
        return None

    def _worst(self) -> Outcome | None:
        run = [outcome for outcome in self.outcomes if outcome.status != "not run"]
        return max(
            run,
            key=lambda o: (o.status == "failed", o.error, max(o.shares.values(), default=0)),
            default=None,
        )

    def summary(self) -> str:
        """One line: how many cases passed, failed and were not run."""
        count = {s: sum(o.status == s for o in self.outcomes) for s in _STATUSES}
        told = ", ".join(f"{number} {status}" for status, number in count.items())
        return f"{_title(self.function)} as {self.name} on {self.library}: {told}"

    def _diagnosed(self) -> list[str]:
        found = self.diagnosis
        return [] if found is None else [found]

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
        tiers = [" ".join((tier.ljust(14), status)) for tier, status in self.tiers.items()]
        told = "\n".join([self.summary(), *self._diagnosed(), "", *tiers, "", *lines])
        return told if self.passed else f"{told}\n\nThe worst case again:\n\n{self.snippet}"

    def screen(self) -> Any:
        """A table of the tiers, and what is probably wrong, as rich prints them."""
        from rich.box import SIMPLE
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE)
        for i, title in enumerate(_TIER_HEADER):
            table.add_column(title, justify="right" if i in (2, 3) else "left")
        for row in self._tier_rows():
            table.add_row(*row, style=_COLOURS[row[1]])
        told = [Text(one, style="bold red") for one in self._diagnosed()]
        return Group(table, *told)

    def __rich__(self) -> Any:
        """The tables as rich prints them."""
        from rich.console import Group
        from rich.table import Table

        table = Table(title=self.summary())
        for i, title in enumerate(_HEADER):
            table.add_column(title, justify="right" if i in _NUMERIC else "left")
        for row, outcome in zip(self._rows(), self.outcomes, strict=True):
            table.add_row(*row, style=_COLOURS[outcome.status])
        return Group(self.screen(), table)

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
_COLOURS = {"failed": "red", "not run": "bright_black", "passed": ""}
_TIER_HEADER = ("tier", "verdict", "passed", "error / allowed", "worst case")
_HEADER = ("case", "dtype", "forward", "round trip", "gradient", "status", "probes")
_NUMERIC = (2, 3, 4)


def snippet(
    function: Callable[..., Any], outcome: Outcome, library: str, device: Any = None
) -> str:
    """Lines to paste that run one case again."""
    place = "" if device is None else f', device="{device}"'
    adapted, case, dtype = hasattr(function, "adapted"), outcome.case, outcome.dtype
    source, called = _source(function)
    call = f'adapt({called}, as_="{case.kernel}")' if adapted else called
    tools = ["adapt"] if adapted else []
    if beside := _beside(outcome):
        tools.append("check")
        lines = _by_check(call, outcome, library, place, beside)
        return "\n".join([*source, f"from revnorm.testing import {', '.join(tools)}", "", *lines])
    if case.literal:
        tools += ["from_numpy", "reference"]
        lines = _literal(outcome, library, place)
    else:
        tools.append("cases")
        lines = _from_battery(outcome, library, place)
    return "\n".join(
        [
            *(["import numpy as np"] if case.literal else []),
            *source,
            f"from revnorm.testing import {', '.join([*tools, 'ulp_error'])}",
            "",
            *lines,
            f"result = {call}(*arrays, **keywords)",
            "y = result[0] if isinstance(result, tuple) else result",
            *(["print(y, exact)"] if case.literal else []),
            f'print(ulp_error(y, exact, dtype="{dtype}"))',
        ]
    )


def _source(function: Callable[..., Any]) -> tuple[list[str], str]:
    """A line that imports a function, where one can, and what it is called then."""
    own = getattr(function, "adapted", function)
    if isinstance(own, Path):
        return [], repr(str(own))
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    found = getattr(sys.modules.get(module or ""), name, None)
    if found is own and module != "__main__":
        return [f"from {module} import {name}"], name
    return ["# `function` is yours"], "function"


def _beside(outcome: Outcome) -> list[str]:
    """The tiers that fail by something else than a result."""
    failed = [tier for tier, one in outcome.shares.items() if not one <= 1 and tier != "exact"]
    return failed if set(failed) <= {"conduct", "gradients"} else []


def _by_check(call: str, outcome: Outcome, library: str, place: str, tiers: list[str]) -> list[str]:
    case, named = outcome.case, ", ".join(f'"{tier}"' for tier in tiers)
    return [
        "report = check(",
        f"    {call},",
        f'    "{case.kernel}",',
        f'    library="{library}"{place},',
        f'    dtypes=["{outcome.dtype}"],',
        f"    tiers=[{named}]{_seeded(case)},",
        f'    only=lambda case: case.name == "{case.name}",',
        ")",
        "print(report.failures[0].text)",
    ]


def _seeded(case: Case) -> str:
    return "" if case.seed is None else f", seed={case.seed[0]}, fuzz={case.seed[1] + 1}"


def _from_battery(outcome: Outcome, library: str, place: str) -> list[str]:
    case, dtype = outcome.case, outcome.dtype
    return [
        f'battery = {{case.name: case for case in cases("{case.kernel}"{_seeded(case)})}}',
        f'case = battery["{case.name}"]',
        f'arrays, keywords = case.arguments("{dtype}", "{library}"{place})',
        f'exact = case.expected("{dtype}")',
    ]


def _literal(outcome: Outcome, library: str, place: str) -> list[str]:
    """The arrays of a case as they are written down."""
    case, dtype = outcome.case, outcome.dtype
    held = "float32" if dtype == "bfloat16" else dtype
    arrays = (f'np.asarray({_short(one)}, dtype="{held}")' for one in case.arrays_in(dtype))
    return [
        f"data = [{', '.join(arrays)}]",
        f"keywords = {case.keywords}",
        f'exact = reference("{case.kernel}", *data, **keywords)',
        f'arrays = [from_numpy(one, "{library}", dtype="{dtype}"{place}) for one in data]',
    ]


def _short(array: np.ndarray) -> Any:
    """Lists of the shortest numbers that are rounded to those of an array."""
    return np.asarray([float(str(one)) for one in array.flat]).reshape(array.shape).tolist()


def shown(error: float | None) -> str:
    """An error as a table shows it; rounded up, so that 0.5001 is not taken for 0.500."""
    if error is None:
        return ""
    if error == 0 or not np.isfinite(error):
        return f"{error:.0f}"
    return f"{error:.3f}" if error < 1e3 else f"{error:.1e}"


def _title(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
