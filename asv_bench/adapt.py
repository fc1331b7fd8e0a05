"""What learning the statistics of a data set costs, against one read of it by NumPy's sum.

    python asv_bench/adapt.py --write docs/speed/results/
    python asv_bench/adapt.py --rows 10000000 --dtypes float32 --batches 10000

A cost is the time of `Standardizer(axis=0).adapt(batches)`, or of another way, divided by that of
`x.sum(axis=0)` of all rows at once. Both are taken by turns in one process, and the fastest calls
of each count. Beside that stands the median of the costs in each round.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import revnorm as rn
import table
from benchmarks import measure, report

HEAD = ("data", "rows in a batch", "times the sum", "median", "ns an element", "of the sum")
# Means in deviations: near 0, and far from it.
LEVELS = (0.0, 100.0)


class Line(NamedTuple):
    """A way to learn, beside the read that it is measured by."""

    data: str
    batch: str
    learn: Callable[[], object]
    read: Callable[[], object]
    size: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--features", type=int, default=40)
    parser.add_argument("--batches", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--write", type=Path, help="a file to write as well, or a folder")
    arguments = parser.parse_args()
    found = [cells(line, arguments.rounds) for line in lines(arguments)]
    page = report.page(
        f"Learning a data set, {report.today()}",
        report.provenance(),
        f"{arguments.rows} rows of {arguments.features} features; {arguments.rounds} rounds, in "
        "each of which both ways are called once. Costs are of the fastest; medians, of rounds.",
        report.markdown(HEAD, found),
    )
    table.publish(page, arguments.write, f"{report.today()}-adapt.md")


def lines(arguments: argparse.Namespace) -> Iterator[Line]:
    """Tables in batches of several sizes, and as one array in either memory order."""
    for dtype in arguments.dtypes:
        for level in LEVELS:
            x = data((arguments.rows, arguments.features), dtype, level)
            name = f"{dtype}, mean/std {level:g}"
            for batch in arguments.batches:
                yield Line(name, str(batch), in_batches(x, batch), reading(x), x.size)
            yield Line(name, "all", whole(x), reading(x), x.size)
            x = np.asfortranarray(x)
            yield Line(f"{name}, Fortran order", "all", whole(x), reading(x), x.size)


def data(shape: tuple[int, ...], dtype: str, level: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    noise += np.float32(level)
    return noise.astype(dtype, copy=False)


def in_batches(x: np.ndarray, size: int) -> Callable[[], object]:
    def learn() -> object:
        batches = (x[start : start + size] for start in range(0, len(x), size))
        return rn.Standardizer(axis=0).adapt(batches)

    return learn


def whole(x: np.ndarray) -> Callable[[], object]:
    return lambda: rn.Standardizer(axis=0).adapt(x)


def reading(x: np.ndarray) -> Callable[[], object]:
    return lambda: x.sum(axis=0)


def cells(line: Line, rounds: int) -> tuple[str, ...]:
    """A line of the table."""
    times = list(measure.by_turns(line.learn, line.read, rounds, seconds=0.0))
    found = measure.shortest(times)
    each = (f"{one / line.size * 1e9:.2f}" for one in (found.first, found.second))
    return (line.data, line.batch, f"{found.ratio:.2f}", f"{found.median:.2f}", *each)


if __name__ == "__main__":
    main()
