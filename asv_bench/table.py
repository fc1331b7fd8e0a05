"""Ratios to reach and ratios measured, in one table.

    python asv_bench/table.py
    python asv_bench/table.py --rows copy --rows flat --shapes 32,64,56,56 --quick
    python asv_bench/table.py --write docs/speed/results/

Every ratio is the median over rounds in which both ways are timed by turns, in this process.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import measure, report, rows, ways


class Line(NamedTuple):
    """A line of the table; the target and the measured figure as they are shown."""

    what: str
    shape: str
    target: str
    measured: str
    note: str


HEAD = Line("what", "shape", "at most", "measured", "quartiles")


def main() -> None:
    arguments = parse()
    shapes = [shape_of(text) for text in arguments.shapes]
    lines = []
    for line in measured(arguments.rows, shapes, report.effort(arguments.quick)):
        lines.append(line)
        print(f"{line.what}  {line.shape}  {line.measured}", file=sys.stderr)
    rounds, seconds = report.effort(arguments.quick)
    how = f"float32; medians of {rounds} rounds, each way for {seconds:g} s or one call in each"
    facts = report.provenance("torch", "jax")
    text = report.page(f"Ratios of {report.today()}", facts, how, report.markdown(HEAD, lines))
    print(text)
    if arguments.write:
        path = report.destination(arguments.write, f"{report.today()}.md")
        path.write_text(text, encoding="utf-8")
        print(f"written to {path}", file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rows", action="append", default=[], help="only rows whose name has this in it")
    add("--shapes", nargs="+", default=[], help="other shapes than the table's: 32,64,56,56")
    add("--quick", action="store_true", help="fewer and shorter rounds: a rehearsal")
    add("--write", type=Path, help="a file to write as well, or a folder for a file named by date")
    return parser.parse_args()


def shape_of(text: str) -> rows.Shape:
    return tuple(int(size) for size in text.split(","))


def measured(names: list[str], shapes: list[rows.Shape], length: report.Effort) -> Iterator[Line]:
    """The lines asked for, each as soon as it is measured."""
    for row in rows.ROWS:
        if not chosen(row.name, names):
            continue
        ndim = len(next(iter(row.targets)))
        for shape in [s for s in shapes if len(s) == ndim] if shapes else row.targets:
            yield ratio(row, shape, length)
    if chosen("time per byte, flat", names):
        yield from flatness([s for s in shapes if len(s) == 4] or rows.SIZES, length)
    for name, way in rows.TEMPORARIES.items():
        what = f"temporaries, {name}"
        if chosen(what, names):
            for shape in [s for s in shapes if len(s) == 4] or (rows.MIDDLE, rows.LARGE):
                used = measure.temporaries(way(ways.data(shape)))
                target = f"{rows.TEMPORARY_BYTES / report.MEGABYTE:g} MB"
                yield Line(
                    what, report.sized(shape), target, f"{used / report.MEGABYTE:.2f} MB", ""
                )


def chosen(name: str, names: list[str]) -> bool:
    return not names or any(one.lower() in name.lower() for one in names)


def ratio(row: rows.Row, shape: rows.Shape, length: report.Effort) -> Line:
    x = ways.data(shape)
    target = f"{row.targets[shape]:g}" if shape in row.targets else ""
    try:
        first, second = row.first(x), row.second(x)
    except ImportError as error:
        return Line(row.name, report.sized(shape), target, "not run", str(error))
    found = measure.paired(first, second, **length._asdict())
    return Line(row.name, report.sized(shape), target, f"{found.median:.2f}", report.spread(found))


def flatness(shapes: list[rows.Shape], length: report.Effort) -> Iterator[Line]:
    """Time per byte of each size, in units of the first one's; the last line is the spread."""
    base = ways.data(shapes[0])
    normalize = ways.numpy_out(base)
    medians = [1.0]
    for shape in shapes[1:]:
        x = ways.data(shape)
        found = measure.paired(ways.numpy_out(x), normalize, **length._asdict())
        found = measure.Ratio(*(one * base.nbytes / x.nbytes for one in found))
        medians.append(found.median)
        what = f"time per byte / that of {base.nbytes / report.MEGABYTE:.0f} MB"
        yield Line(what, report.sized(shape), "", f"{found.median:.2f}", report.spread(found))
    worst = max(medians) / min(medians)
    ends = f"{report.sized(shapes[0])} to {report.sized(shapes[-1])}"
    yield Line("time per byte, flat", ends, f"{rows.FLATNESS:g}", f"{worst:.2f}", "")


if __name__ == "__main__":
    main()
