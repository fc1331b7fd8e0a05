"""What each pass over a block costs in NumPy, in nanoseconds an element.

    python asv_bench/passes.py --write docs/speed/results/

The passes are those that `instance_norm` makes over float32 data near 0 at full precision, timed
one by one in blocks of the package's size; beside their sum stand the whole call and a plain copy.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import revnorm as rn
import table
from benchmarks import measure, report, ways
from revnorm import _blocks
from revnorm._sums import dot

SHAPES = [(32, 64, 56, 56), (8, 64, 256, 256), (64, 256, 7, 7)]
PASSES = ("to float64", "sum", "sum of squares", "· slope", "+ level", "to float32")
HEAD = ("pass", *map(report.sized, SHAPES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="a file to write as well, or a folder")
    arguments = parser.parse_args()
    columns = [costs(ways.data(shape, "float32")) for shape in SHAPES]
    names = (*PASSES, "their sum", "the whole call", "a copy")
    lines = list(zip(names, *([f"{cost:.2f}" for cost in column] for column in columns)))
    page = report.page(
        f"Passes of {report.today()}",
        report.provenance(),
        "Nanoseconds an element, float32, `out` given.",
        report.markdown(HEAD, lines),
    )
    table.publish(page, arguments.write, f"{report.today()}-passes.md")


def costs(x: np.ndarray) -> list[float]:
    """Of each pass, of all, of the call and of a copy."""
    rows, out = x.reshape(-1, x.shape[-2] * x.shape[-1]), np.empty_like(x)
    calls = (
        lambda: rn.instance_norm(x, axis=(2, 3), out=out),
        lambda: np.copyto(out, x),
    )
    whole, copy = (
        measure.seconds_of(call, measure.calls_within(call, 0.5)) / x.size * 1e9 for call in calls
    )
    passes = np.median([timed(rows, out.reshape(rows.shape)) for _ in range(9)], axis=0)
    each = list(passes / x.size * 1e9)
    return [*each, sum(each), whole, copy]


def timed(x: np.ndarray, out: np.ndarray) -> list[float]:
    """Seconds of each pass over all blocks."""
    total = np.zeros(len(PASSES))
    length = x.shape[1]
    step = max(1, _blocks.BLOCK // length)
    with np.errstate(all="ignore"):
        if length >= _blocks._BUFFER:
            np.setbufsize(_blocks._BUFFER)
        for start in range(0, len(x), step):
            block = slice(start, start + step)
            marks = [time.perf_counter()]
            marks += [time.perf_counter() for _ in passes(x[block], out[block])]
            total += np.diff(marks)
    return list(total)


def passes(x, out):
    """One block's passes, each of which ends at a yield."""
    y = np.ascontiguousarray(x, np.float64)
    yield
    mean = dot(np, y, None, y.dtype) / x.shape[1]
    yield
    square = dot(np, y, y, y.dtype) / x.shape[1]
    yield
    slope = 1 / np.sqrt(square - mean * mean + 1e-5)
    y *= slope
    yield
    y -= mean * slope
    yield
    out[...] = y
    yield


if __name__ == "__main__":
    main()
