"""What a training step is made of: the same step with one thing left out, timed by turns.

    python asv_bench/apart.py --warm --write docs/speed/results/

The textbook formula, handed to PyTorch's compiler, is what the compiler makes of two readings there
and two back: in float32 without anything that makes a result exact, in float64 with nothing but the
wider sums. What stands between it and a compiled step of ours is the rest.
"""

import cProfile
import pstats
import statistics
import sys
from pathlib import Path

import numpy as np

import revnorm as rn
import table
from benchmarks import report, steps, ways
from benchmarks.measure import calls_within, seconds_of
from benchmarks.steps import traced_beside

SHAPES = [(32, 64, 56, 56), (8, 64, 256, 256), (64, 256, 7, 7)]
CALL = (1, 16, 8, 8)
WARM_UP, CALLS = 100, 2000


def textbook(wide: bool):
    """(x - mean) / sqrt(variance + eps) as PyTorch's tutorials have it, rounded once if wide."""
    torch = ways.torch()

    def normalize(x, weight, bias):
        given = x.double() if wide else x
        variance, mean = torch.var_mean(given, (2, 3), correction=0, keepdim=True)
        weight, bias = (one.to(given.dtype)[:, None, None] for one in (weight, bias))
        y = (given - mean) / torch.sqrt(variance + ways.EPS) * weight + bias
        return y.to(x.dtype)

    return normalize


def compiled_textbook(wide: bool):
    return lambda x: steps.Step(traced_beside(textbook(wide)), steps.operands(x))


def channels_last(function):
    """A step of data whose channels lie together, of a function that a way to make it gives."""
    return lambda x: steps.Step(function(x), steps.channels_last(x))


def ours_compiled(**options):
    return lambda x: steps.Step(traced_beside(steps.normalizer(x, **options)), steps.operands(x))


def reading(x):
    data = ways.torch().from_numpy(x)
    return lambda: data.sum()


def copying(x):
    data = ways.torch().from_numpy(x)
    room = ways.torch().empty_like(data)
    return lambda: room.copy_(data)


STEPS = {
    "a reading, its sum": reading,
    "a copy": copying,
    "F.instance_norm": steps.torch_instance_norm,
    "F.group_norm(C)": steps.torch_group_norm,
    "ours, eager": steps.eager,
    "textbook, torch.compile, float32": compiled_textbook(False),
    "textbook, torch.compile, float64": compiled_textbook(True),
    "ours, torch.compile, native": ours_compiled(precision="native"),
    "ours, torch.compile": ours_compiled(),
    "ours, rn.compile": steps.compiled,
    "F.instance_norm, channels last": channels_last(lambda x: steps.theirs()),
    "ours, eager, channels last": channels_last(steps.normalizer),
    "textbook, torch.compile, float32, channels last": channels_last(
        lambda x: traced_beside(textbook(False))
    ),
    "textbook, torch.compile, float64, channels last": channels_last(
        lambda x: traced_beside(textbook(True))
    ),
    "ours, torch.compile, channels last": channels_last(
        lambda x: traced_beside(steps.normalizer(x))
    ),
}
THERE = {
    "F.instance_norm, forward": steps.forward_of(steps.torch_instance_norm),
    "ours, eager, forward": steps.forward_of(steps.eager),
    "textbook, torch.compile, float32, forward": steps.forward_of(compiled_textbook(False)),
    "textbook, torch.compile, float64, forward": steps.forward_of(compiled_textbook(True)),
    "ours, torch.compile, forward": steps.forward_of(ours_compiled()),
}


def main() -> None:
    arguments = table.warmed(table.parser(__doc__).parse_args())
    effort = report.effort(arguments.quick)
    shapes = [table.shape_of(one) for one in arguments.shapes] or SHAPES
    chosen = {
        name: way for name, way in (STEPS | THERE).items() if table.chosen(name, arguments.rows)
    }
    columns = [costs(chosen, ways.data(shape), *effort) for shape in shapes]
    lines = [(name, *(f"{column[name]:.3g}" for column in columns)) for name in chosen]
    how = (
        f"A step is forward and backward. float32; {effort.rounds} rounds, in which all are timed "
        "by turns, and the fastest of each."
    )
    head = ("milliseconds", *map(report.sized, shapes))
    page = report.page(
        f"A training step and a call taken apart, {report.today()}",
        table.facts(arguments, "torch"),
        how,
        report.markdown(head, lines),
        *(part for library in ("numpy", "torch") for part in call(library)),
    )
    table.publish(page, arguments.write, f"{report.today()}-apart.md")


def call(library: str) -> list[str]:
    """Where a call on few elements spends its time, by file, as Python's profiler sees it."""
    x = ways.data(CALL)
    x = ways.torch().from_numpy(x) if library == "torch" else x
    profile = cProfile.Profile()
    for _ in range(WARM_UP):
        rn.instance_norm(x, axis=(2, 3))
    profile.enable()
    for _ in range(CALLS):
        rn.instance_norm(x, axis=(2, 3))
    profile.disable()
    found, total = {}, 0.0
    for (file, _, _), (_, calls, own, _, _) in pstats.Stats(profile).stats.items():
        ours = Path(file).parent == Path(rn.__file__).parent
        where = Path(file).stem if ours else "NumPy, PyTorch, array-api-compat, built-ins"
        sums = found.setdefault(where, [0, 0.0])
        sums[0], sums[1], total = sums[0] + calls, sums[1] + own, total + own
    lines = [
        (where, f"{calls / CALLS:.0f}", f"{own / total:.0%}")
        for where, (calls, own) in sorted(found.items(), key=lambda pair: -pair[1][1])
    ]
    return [
        f"A call of {library} on {report.sized(CALL)}: calls of functions in it, and their share "
        "of its time as the profiler sees it, which makes many short calls look longer.",
        report.markdown(("file", "calls", "share"), lines),
    ]


def costs(chosen, x: np.ndarray, rounds: int, seconds: float) -> dict[str, float]:
    """The fastest of each way's rounds, in milliseconds a call."""
    # PyTorch compiles the same line of code for few shapes only.
    ways.torch().compiler.reset()
    made = {name: way(x) for name, way in chosen.items()}
    counts = {name: calls_within(call, seconds) for name, call in made.items()}
    found = [{name: seconds_of(made[name], counts[name]) for name in made} for _ in range(rounds)]
    for name in made:
        spread = statistics.median(one[name] for one in found) / min(one[name] for one in found)
        print(f"{name}  {report.sized(x.shape)}  median/fastest {spread:.2f}", file=sys.stderr)
    return {name: 1e3 * min(one[name] for one in found) for name in made}


if __name__ == "__main__":
    main()
