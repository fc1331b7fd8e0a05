"""`python -m revnorm`: every kernel on every array library at hand, against the exact result."""

import argparse
import csv
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib import metadata
from itertools import chain, repeat
from typing import Any, NamedTuple

import numpy as np

import revnorm as rn
from revnorm.testing import Bounds, Case, _command, bounds, cases
from revnorm.testing._arrays import LIBRARIES, from_numpy, module, to_numpy
from revnorm.testing._check import examine, shown
from revnorm.testing._reference import evaluate
from revnorm.testing._ulp import worst

# What a library is installed by, and the package its version is read from.
_EXTRAS = {"array-api-strict": ("strict", "array-api-strict")}

_DTYPE = "float32"

_EPILOG = "`python -m revnorm check --help` tells how to check a kernel of your own."

# They compile, or build a graph, for each shape anew.
_SLOW = ("jax", "dask", "ndonnx")


@dataclass(frozen=True, eq=False)
class Run:
    """A kernel on real data: its arguments as NumPy arrays, and its keywords."""

    kernel: str
    arrays: tuple[Any, ...]
    keywords: dict[str, Any]

    @cached_property
    def exact(self) -> tuple[np.ndarray, np.ndarray]:
        """The result, and the magnitude of the largest term of each element."""
        return evaluate(self.kernel, *self.arrays, **self.keywords)


class Cell(NamedTuple):
    """What a library made of a kernel; errors in ULP, None where there is nothing to measure."""

    library: str
    kernel: str
    status: str
    recipe: str = ""
    error: float | None = None
    worst: float | None = None
    round_trip: float | None = None
    cases: int = 0
    text: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    The status is 0 if all is well, 1 if not, 2 if the demo is not installed, 130 if interrupted.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        return _command.main(given[1:]) if given[:1] == ["check"] else demo(given)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def demo(given: list[str]) -> int:
    """Every kernel on every library, as a table or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m revnorm", description=__doc__, epilog=_EPILOG)
    parser.add_argument(
        "--library", action="append", choices=LIBRARIES, help="only this one; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument(
        "--every-case",
        action="store_true",
        help=f"also where a shape costs seconds, as with {', '.join(_SLOW)}; takes minutes",
    )
    chosen = parser.parse_args(given)
    try:
        runs = real_data()
        print_table, progress = _terminal()
    except ImportError:
        print('The demo needs matplotlib and rich: pip install "revnorm[demo]"', file=sys.stderr)
        return 2
    libraries = [one for one in LIBRARIES if one in (chosen.library or LIBRARIES)]
    missing = [one for one in libraries if not _installed(one)]
    if chosen.library and missing:
        extras = ",".join(_extra(one) for one in missing)
        print(f'{", ".join(missing)} is missing: pip install "revnorm[{extras}]"', file=sys.stderr)
        return 1
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells = list(progress(libraries, missing, runs, chosen.every_case))
    seconds = time.perf_counter() - began
    if chosen.json:
        print(json.dumps(_as_json(cells, libraries, missing), indent=2))
    else:
        print_table(cells, seconds)
    return int(any(cell.status == "failed" for cell in cells))


def real_data() -> list[Run]:
    """The kernels on a series of share prices and on a photograph, both part of matplotlib."""
    from matplotlib import cbook
    from matplotlib.image import imread

    prices = _prices(cbook.get_sample_data("Stocks.csv", asfileobj=False))
    photograph = imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    relief = np.load(cbook.get_sample_data("jacksboro_fault_dem.npz", asfileobj=False))
    pixels = photograph.transpose(2, 0, 1)[:, ::2, ::2]
    content = np.stack((pixels[..., :128], pixels[..., -128:])).astype(np.float32)
    style = np.ascontiguousarray(relief["elevation"][None, None, ::4, ::4], np.float32)
    channels = content.shape[1]
    light = (content.mean(axis=1, keepdims=True) > content.mean()).astype(np.float32)
    scale = np.linspace(0.5, 1.5, channels, dtype=np.float32)
    bias = np.linspace(-1.0, 1.0, channels, dtype=np.float32)
    tables = np.stack((scale, scale[::-1])), np.stack((bias, bias[::-1]))
    axes: dict[str, Any] = {"axis": (2, 3)}
    named = {**axes, "batch_axis": 0, "channel_axis": 1}
    return [
        Run("instance_norm", (content, scale, bias), {**axes, "channel_axis": 1}),
        Run("revin", (prices,), {"axis": 1, "where": np.isfinite(prices)}),
        Run("adain", (content, style), axes),
        Run("batch_instance_norm", (content, scale / 2, scale, bias), named),
        Run("conditional_instance_norm", (content, *tables, np.asarray([1, 0])), named),
        Run("spatially_adaptive_norm", (content, light, -light), axes),
    ]


def _prices(path: str, length: int = 96) -> np.ndarray:
    """Windows of monthly prices, (windows, months, shares), NaN before a share was listed.

    Rows of other days than the first of a month hold no prices, or those of the last month again.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
    first = [row[1:] for row in rows[1:] if row[0].endswith("-01")]
    table = [[float(cell) if cell else np.nan for cell in row] for row in first]
    months = np.asarray(table, dtype=np.float32)
    starts = range(0, len(months) - length + 1, length // 2)
    return np.stack([months[start : start + length] for start in starts])


def measure(run: Run, library: str) -> Cell:
    """One kernel on real data in one library."""
    limits = bounds(library, _DTYPE)
    convert = partial(_convert, library=library)
    arrays = tuple(map(convert, run.arrays))
    keywords = {name: convert(value) for name, value in run.keywords.items()}
    try:
        result = getattr(rn, run.kernel)(*arrays, **keywords)
        y, undo = result if isinstance(result, tuple) else (result, None)
        expected, reach = run.exact
        reach = reach if limits.recipe == "B" else np.abs(expected)
        error = worst(to_numpy(y), expected, np.fmax(reach, 1), _DTYPE)
        round_trip = None if undo is None else _round_trip(run, to_numpy(undo.inv(y)))
    except Exception as failure:
        return Cell(library, run.kernel, "failed", limits.recipe, text=_told(failure))
    return _judged(Cell(library, run.kernel, "", limits.recipe, error, round_trip), limits)


def _convert(value: Any, library: str) -> Any:
    return from_numpy(value, library) if isinstance(value, np.ndarray) else value


def _round_trip(run: Run, undone: np.ndarray) -> float:
    x = run.arrays[0]
    seen = np.isfinite(x)
    axis = run.keywords["axis"]
    reach = np.max(np.abs(x), axis=axis, keepdims=True, where=seen, initial=0)
    x, undone = (np.where(seen, values, 0) for values in (x, undone))
    return worst(undone, x, np.broadcast_to(reach, x.shape), _DTYPE)


def _judged(cell: Cell, limits: Bounds) -> Cell:
    fine = cell.error is not None and cell.error <= limits.forward
    fine = fine and (cell.round_trip is None or cell.round_trip <= limits.round_trip)
    return cell._replace(status="passed" if fine else "failed")


@cache
def battery(kernel: str) -> list[Case]:
    """The cases of a kernel that are of its commonest shape."""
    every = cases(kernel)
    shapes = [case.arrays[0].shape for case in every]
    ((commonest, _),) = Counter(shapes).most_common(1)
    return [case for case, shape in zip(every, shapes, strict=True) if shape == commonest]


def with_cases(cell: Cell, chosen: list[Case]) -> Cell:
    """The same with the worst errors of the cases."""
    kernel = getattr(rn, cell.kernel)
    outcomes = [examine(kernel, case, _DTYPE, cell.library, tiers=("exact",)) for case in chosen]
    errors = [o.forward for o in outcomes if o.forward is not None]
    trips = [cell.round_trip, *(o.round_trip for o in outcomes)]
    known = [trip for trip in trips if trip is not None]
    cell = cell._replace(
        worst=max(errors, default=np.inf),
        round_trip=max(known) if known else None,
        cases=sum(o.status != "not run" for o in outcomes),
    )
    failed = [f"{o.case.name}: {o.text}" for o in outcomes if o.status == "failed"]
    if not failed:
        return cell
    return cell._replace(status="failed", text="; ".join(filter(None, (cell.text, *failed))))


def _cells(
    libraries: list[str], missing: list[str], runs: list[Run], every: bool
) -> Iterator[Cell]:
    for library in libraries:
        for run in runs:
            if library in missing:
                yield Cell(library, run.kernel, "missing")
                continue
            few = library in _SLOW and not every
            chosen = battery(run.kernel) if few else cases(run.kernel)
            yield with_cases(measure(run, library), chosen)


def _terminal() -> tuple[Callable[..., None], Callable[..., Iterator[Cell]]]:
    """What prints the table, and what gives the cells under a progress bar."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    def progress(libraries: list[str], missing: list[str], runs: list[Run], every: bool) -> Any:
        columns = (TextColumn("{task.description:<42}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            known = len(libraries) - len(missing)
            task = bar.add_task("reading the data", total=known * len(runs))
            for cell in _cells(libraries, missing, runs, every):
                if cell.status != "missing":
                    bar.update(task, advance=1, description=f"{cell.library} {cell.kernel}")
                yield cell

    def started(title: str, *names: str) -> Table:
        table = Table(title=title, box=SIMPLE)
        for name in names:
            table.add_column(name, overflow="fold")
        for name in ("real\ndata", "worst\ncase", "round\ntrip", "cases\nrun"):
            table.add_column(name, justify="right", no_wrap=True)
        return table

    def whole(libraries: dict[str, list[Cell]]) -> Table:
        table = started(_TITLE, "library", "kernel")
        for library, row in libraries.items():
            if row[0].status == "missing":
                table.add_row(library, "not installed", style="bright_black", end_section=True)
                continue
            for name, cell in zip(chain(_held(library), repeat("")), row, strict=False):
                table.add_row(name, *_shown(cell), end_section=cell is row[-1])
        return table

    def one_by_one(libraries: dict[str, list[Cell]]) -> Iterator[Table | str]:
        yield _TITLE
        for library, row in libraries.items():
            if row[0].status == "missing":
                yield f"[bright_black]{library}, not installed[/]"
                continue
            table = started(", ".join(_held(library)), "kernel")
            for cell in row:
                table.add_row(*_shown(cell))
            yield table

    def print_table(cells: list[Cell], seconds: float) -> None:
        console = Console()
        names = dict.fromkeys(cell.library for cell in cells)
        libraries = {name: [cell for cell in cells if cell.library == name] for name in names}
        table = whole(libraries)
        needed = console.measure(table, options=console.options.update(max_width=sys.maxsize))
        for part in [table] if needed.maximum <= console.width else one_by_one(libraries):
            console.print(part, highlight=False)
        for cell in cells:
            if cell.text:
                told = f"{cell.library}, {cell.kernel}: {cell.text}"
                console.print(told, style="red", markup=False, highlight=False)
        console.print(_CAPTION.format(seconds=seconds), highlight=False)

    return print_table, progress


_TITLE = f"Errors in units in the last place (ULP) of {_DTYPE}"

_CAPTION = (
    "Real data are monthly share prices for revin, and a photograph for the others. The worst case "
    "is one of the cases of revnorm.testing. An error of 0.5 is a correctly rounded result. Errors "
    "are counted in ULP of max(|y|, 1); those of a round trip, there and back, in ULP of the "
    "largest |x| of the instance. Recipe A computes in float64 and rounds once. Recipe B computes "
    "in float32, for want of float64. Where a new shape costs seconds, the cases are those of one "
    "shape: --every-case runs all. Took {seconds:.0f} s."
)


def _held(library: str) -> list[str]:
    """A library, its recipe, and what it is held to."""
    limits = bounds(library, _DTYPE)
    held = f"held to {limits.forward:g} / {limits.round_trip:g}"
    return [library, f"recipe {limits.recipe}", held]


def _shown(cell: Cell) -> list[str]:
    limits = bounds(cell.library, _DTYPE)

    def marked(error: float | None, limit: float) -> str:
        told = shown(error)
        return told if error is None or error <= limit else f"[red]{told}[/]"

    name = cell.kernel if cell.status == "passed" else f"[red]{cell.kernel}[/]"
    forward = [marked(error, limits.forward) for error in (cell.error, cell.worst)]
    known = f"{cell.cases}/{len(cases(cell.kernel))}"
    return [name, *forward, marked(cell.round_trip, limits.round_trip), known]


def _told(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}"


def _installed(library: str) -> bool:
    try:
        module(library)
    except ImportError:
        return False
    return True


def _extra(library: str) -> str:
    return _EXTRAS.get(library, (library, library))[0]


def _as_json(cells: list[Cell], libraries: list[str], missing: list[str]) -> dict[str, Any]:
    present = [one for one in libraries if one not in missing]
    return {
        "versions": {"revnorm": rn.__version__}
        | {one: metadata.version(_EXTRAS.get(one, (one, one))[1]) for one in present},
        "dtype": _DTYPE,
        "missing": missing,
        "bounds": {one: bounds(one, _DTYPE)._asdict() for one in present},
        "results": [cell._asdict() for cell in cells if cell.status != "missing"],
        "passed": not any(cell.status == "failed" for cell in cells),
    }


if __name__ == "__main__":
    sys.exit(main())
