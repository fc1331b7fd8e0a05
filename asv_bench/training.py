"""Training steps: ratios to reach and ratios measured, and what is kept for backward.

    python asv_bench/training.py
    python asv_bench/training.py --rows eager --rows kept --shapes 32,64,56,56 --quick
    python asv_bench/training.py --warm --write docs/speed/results/

A step is forward and backward, of float32 data, a weight and a bias that all have gradients. Its
ratio is of the fastest times among rounds in which both ways are timed by turns, in this process.
What `--warm` changes is told in `table.py`.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import table
from benchmarks import measure, report, rows, ways
from benchmarks.training import saved


class Line(NamedTuple):
    """A line of the table; targets and measured figures as they are shown."""

    what: str
    shape: str
    target: str
    measured: str
    median: str
    times: str


HEAD = Line("what", "shape", "at most", "fastest", "median", "milliseconds")


def main() -> None:
    arguments = table.warmed(table.parser(__doc__).parse_args())
    shapes = [table.shape_of(text) for text in arguments.shapes]
    length = report.effort(arguments.quick)
    lines = []
    for line in measured(arguments.rows, shapes, length):
        lines.append(line)
        print(f"{line.what}  {line.shape}  {line.measured}", file=sys.stderr)
    rounds, seconds = length
    how = (
        f"float32; {rounds} rounds by turns, each way for {seconds:g} s or one call in each: the "
        "ratio of the fastest times, the median of the rounds' ratios, and the fastest times. What "
        "is kept for backward is in units of the input's bytes, without parameters. "
        f"{table.TARGETS}"
    )
    facts = table.facts(arguments, "torch")
    text = report.page(
        f"Training steps, {report.today()}", facts, how, report.markdown(HEAD, lines)
    )
    name = f"{report.today()}-training{'-warm' if arguments.warm else ''}.md"
    table.publish(text, arguments.write, name)


def measured(names: list[str], shapes: list[rows.Shape], length: report.Effort) -> Iterator[Line]:
    """The lines asked for, each as soon as it is measured."""
    for row in [*rows.STEPS, *rows.ORDERS, *rows.CALLS, *rows.NETWORKS, *rows.FORECASTERS]:
        if table.chosen(row.name, names):
            for shape in [s for s in row.targets if not shapes or s in shapes]:
                yield ratio(row, shape, length)
    for name, (way, shape, at_most) in rows.KEPT.items():
        what, size = f"kept for backward, {name}", report.sized(shape)
        if table.chosen(what, names) and (not shapes or shape in shapes):
            target = f"{at_most:g}" if at_most else ""
            yield Line(what, size, target, f"{saved(way(ways.data(shape))):.2f}", "", "")


def ratio(row: rows.Row, shape: rows.Shape, length: report.Effort) -> Line:
    what, target = (row.name, report.sized(shape)), f"{row.targets[shape]:g}"
    x = ways.data(shape)
    try:
        found = measure.fastest(row.first(x), row.second(x), **length._asdict())
    except ImportError as error:
        return Line(*what, target, "not run", "", str(error))
    times = " / ".join(f"{1e3 * time:.3g}" for time in (found.first, found.second))
    return Line(*what, target, f"{found.ratio:.2f}", f"{found.median:.2f}", times)


if __name__ == "__main__":
    main()
