"""Ratios to reach and ratios measured, in one table.

    python asv_bench/table.py
    python asv_bench/table.py --rows copy --rows flat --shapes 32,64,56,56 --quick
    python asv_bench/table.py --write docs/speed/results/

Every ratio is the median over rounds in which both ways are timed by turns, in this process.

New memory comes in pages that cost as much as the arithmetic, and whether a round gets new memory
or old depends on the one before. With `--warm` the C library, where it is glibc, keeps all memory
that was used once, as the allocators do that are made for training.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import measure, report, rows, ways

# https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html
WARM = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}


class Line(NamedTuple):
    """A line of the table; the target and the measured figure as they are shown."""

    what: str
    shape: str
    target: str
    measured: str
    note: str


HEAD = Line("what", "shape", "at most", "measured", "quartiles")
TARGETS = '"At most" is a target that was set before anything was measured.'


def main() -> None:
    arguments = parse()
    shapes = [shape_of(text) for text in arguments.shapes]
    lines = []
    for line in measured(arguments.rows, shapes, report.effort(arguments.quick)):
        lines.append(line)
        print(f"{line.what}  {line.shape}  {line.measured}", file=sys.stderr)
    rounds, seconds = report.effort(arguments.quick)
    how = (
        f"float32; medians of {rounds} rounds, each way for {seconds:g} s or one call in each. "
        f"{TARGETS}"
    )
    found = facts(arguments, "torch", "jax")
    text = report.page(f"Ratios of {report.today()}", found, how, report.markdown(HEAD, lines))
    publish(text, arguments.write, f"{report.today()}.md")


def publish(text: str, place: Path | None, name: str) -> None:
    """Print a page, and write it to a file, or under a name in a folder, if one is given."""
    print(text)
    if place:
        path = report.destination(place, name)
        path.write_text(text, encoding="utf-8")
        print(f"written to {path}", file=sys.stderr)


def parse() -> argparse.Namespace:
    return warmed(parser(__doc__).parse_args())


def warmed(arguments: argparse.Namespace) -> argparse.Namespace:
    """The arguments, in a process that keeps memory if they ask for it."""
    if arguments.warm and not WARM.items() <= os.environ.items():
        # The C library reads its settings when a process begins.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | WARM)
    return arguments


def facts(arguments: argparse.Namespace, *distributions: str) -> list[tuple[str, str]]:
    """What is measured with."""
    memory = "kept" if arguments.warm else "as it comes"
    return [*report.provenance(*distributions), ("memory", memory)]


def parser(text: str) -> argparse.ArgumentParser:
    """Of a command described by a text: which rows and shapes, how long, and where to write."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    add = parser.add_argument
    add("--rows", action="append", default=[], help="only rows whose name has this in it")
    add("--shapes", nargs="+", default=[], help="other shapes than the table's: 32,64,56,56")
    add("--quick", action="store_true", help="fewer and shorter rounds: a rehearsal")
    add("--warm", action="store_true", help="keep memory that was used once")
    add("--write", type=Path, help="a file to write as well, or a folder for a file named by date")
    return parser


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
