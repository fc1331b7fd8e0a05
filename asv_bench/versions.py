"""This version of the package against another, way by way, in one process.

    git worktree add /tmp/landed main
    python asv_bench/versions.py --against /tmp/landed
    python asv_bench/versions.py --against /tmp/landed --rows NumPy --training --quick

A ratio is this version's time divided by the other's, the fastest among rounds in which both are
timed by turns, with the median of the rounds' ratios beside it. Both are copied and loaded under
names of their own, and the benchmarks of this version run on both.
"""

import importlib
import math
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import table
from benchmarks import measure, report, ways

ROOT = Path(__file__).parents[1]
# Where the package is meant, and not its distribution.
NAME = re.compile(r"\brevnorm(?=\.| import| as)")


class Line(NamedTuple):
    """A line of the table; a ratio below 1 is a gain."""

    what: str
    shape: str
    fastest: str
    median: str
    times: str


HEAD = Line("what", "shape", "fastest", "median", "milliseconds")


def main() -> None:
    parser = table.parser(__doc__)
    parser.add_argument("--against", type=Path, required=True, help="the root of another version")
    parser.add_argument("--training", action="store_true", help="training steps as well")
    arguments = table.warmed(parser.parse_args())
    shapes = [table.shape_of(text) for text in arguments.shapes]
    length = report.effort(arguments.quick)
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        this, other = (
            loaded(root, name, Path(folder))
            for root, name in ((ROOT, "this"), (arguments.against, "other"))
        )
        lines = []
        for what, first, second, shape in compared(this, other, arguments.training):
            if table.chosen(what, arguments.rows) and (not shapes or shape in shapes):
                lines.append(timed(what, first, second, shape, length))
                print("  ".join(lines[-1][:3]), file=sys.stderr)
    facts = table.facts(arguments, "torch", "jax")
    title = f"This version against {arguments.against.resolve().name}, {report.today()}"
    text = report.page(title, facts, summary(lines), report.markdown(HEAD, lines))
    table.publish(text, arguments.write, f"{report.today()}-versions.md")


def loaded(root: Path, name: str, folder: Path) -> ModuleType:
    """The rows of these benchmarks over the package of a root, both copied under a name."""
    for source, package in (
        (root / "revnorm", f"revnorm_{name}"),
        (ROOT / "asv_bench" / "benchmarks", f"benchmarks_{name}"),
    ):
        files = list(source.rglob("*.py"))
        if not files:
            raise SystemExit(f"there is no package in {source}")
        for file in files:
            target = folder / package / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = NAME.sub(f"revnorm_{name}", file.read_text(encoding="utf-8"))
            target.write_text(text, encoding="utf-8")
    return importlib.import_module(f"benchmarks_{name}.rows")


def compared(this: ModuleType, other: ModuleType, training: bool) -> Iterator[tuple]:
    """Name, both ways and shape of everything of this package that the tables time, once."""
    seen = set()
    pairs = zip(this.ROWS, other.ROWS, strict=True)
    if training:
        pairs = [*pairs, *zip(this.STEPS, other.STEPS, strict=True)]
    for mine, theirs in pairs:
        for shape in mine.targets:
            if (key := (mine.first, shape)) not in seen:
                seen.add(key)
                yield mine.name.partition(" / ")[0], mine.first, theirs.first, shape


def timed(what: str, first, second, shape: tuple[int, ...], length: report.Effort) -> Line:
    """Each way is made twice, once before the other: where its memory lies is luck, too."""
    x = ways.data(shape)
    rounds, times = math.ceil(length.rounds / 2), []
    try:
        one, other = first(x), second(x)
        times += measure.by_turns(one, other, rounds, length.seconds)
        other, one = second(x), first(x)
        times += measure.by_turns(one, other, rounds, length.seconds)
        found = measure.shortest(times)
    except (ImportError, TypeError, AttributeError) as error:
        return Line(what, report.sized(shape), "not run", "", str(error))
    times = " / ".join(f"{1e3 * time:.3g}" for time in (found.first, found.second))
    return Line(what, report.sized(shape), f"{found.ratio:.2f}", f"{found.median:.2f}", times)


def summary(lines: list[Line]) -> str:
    how = "float32; this version's time divided by the other's, below 1 where this one is faster."
    ratios = [float(line.fastest) for line in lines if line.median]
    if not ratios:
        return how
    ends = f"from {min(ratios):.2f} to {max(ratios):.2f}"
    return f"{how} {len(ratios)} ratios {ends}, median {statistics.median(ratios):.2f}."


if __name__ == "__main__":
    main()
