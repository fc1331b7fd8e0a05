"""The conformance suite and the table of ratios on a GPU, in one call.

    python asv_bench/gpu.py --write docs/speed/results/
    python asv_bench/gpu.py --rehearse --quick --shapes 2,8,32,32 4,48,7

Runs the tests on CuPy, PyTorch and JAX on CUDA, then times this library on each, eager and
compiled, against a device copy and PyTorch's own functions. Times are of many calls in a row
with one synchronization at the end, by turns in one process. `--rehearse` does the same on the
CPU, with NumPy in CuPy's place, to show that the script works: its figures say nothing of a GPU.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import table
from benchmarks import functions, libraries, measure, report, rows, ways

ROOT = Path(__file__).parents[1]
HEAD = ("way", "shape", "copies", "GB/s", "to PyTorch's", "which")


class Device(NamedTuple):
    """What is run where: the suite's libraries and the names of the ways that are timed."""

    name: str
    suite: tuple[str, ...]
    libraries: tuple[str, ...]
    torch: str


CUDA = Device(
    "cuda",
    ("cupy", "torch", "jax"),
    (
        "cupy",
        "cupy-compile",
        "torch-cuda",
        "torch-cuda-compile",
        "jax-cuda-eager",
        "jax-cuda-jit",
    ),
    "torch-cuda",
)
REHEARSAL = Device(
    "cpu",
    ("numpy", "torch", "jax"),
    ("numpy", "numpy-compile", "torch", "torch-compile", "jax-eager", "jax-jit"),
    "torch",
)


def main() -> int:
    arguments = parse()
    device = REHEARSAL if arguments.rehearse else CUDA
    if not arguments.rehearse and (absent := missing(device)):
        print(f"{absent}. With --rehearse this runs on the CPU.", file=sys.stderr)
        return 2
    failed, parts = 0, []
    if not arguments.no_suite:
        for library in device.suite:
            status, tail = suite(library, device, arguments.select)
            failed |= status
            parts.append(f"## Tests on {library}, {device.name}\n\n```text\n{tail}\n```")
    shapes = [tuple(map(int, text.split(","))) for text in arguments.shapes]
    shapes = shapes or [rows.SMALL, rows.MIDDLE, rows.LARGE, *rows.SERIES]
    calls = 2 if arguments.quick else 20
    lines = []
    for line in measured(device, shapes, report.effort(arguments.quick), calls):
        lines.append(line)
        print("  ".join(line), file=sys.stderr)
    parts.append(f"## Ratios\n\nfloat32; {calls} calls in a row.\n\n{report.markdown(HEAD, lines)}")
    kind = "Rehearsal on the CPU, not a GPU" if arguments.rehearse else "On a GPU"
    facts = [("device", device_name(device)), *report.provenance("torch", "jax", "cupy-cuda12x")]
    text = report.page(f"{kind}, {report.today()}", facts, *parts)
    suffix = "rehearsal" if arguments.rehearse else "gpu"
    table.publish(text, arguments.write, f"{report.today()}-{suffix}.md")
    return failed


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rehearse", action="store_true", help="on the CPU, with NumPy in CuPy's place")
    add("--quick", action="store_true", help="fewer and shorter rounds")
    add("--no-suite", action="store_true", help="only the table")
    add("--select", help="only the tests that pytest's -k picks by this")
    add("--shapes", nargs="+", default=[], help="other shapes: 32,64,56,56 64,336,321")
    add("--write", type=Path, help="a file to write as well, or a folder for a file named by date")
    return parser.parse_args()


def missing(device: Device) -> str:
    """Why none of the libraries can be run on the device; empty if one can."""
    reasons = []
    for name in device.libraries:
        try:
            libraries.backend_of(name)
        except ImportError as error:
            reasons.append(str(error))
    every = len(reasons) == len(device.libraries)
    return "; ".join(dict.fromkeys(reasons)) if every else ""


def suite(library: str, device: Device, select: str | None) -> tuple[int, str]:
    """The tests on one library: whether they failed, and the end of what they printed."""
    command = [sys.executable, "-m", "pytest", "-q", f"--backend={library}"]
    command += [f"--device={device.name}", *(["-k", select] if select else [])]
    print(" ".join(command), file=sys.stderr)
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return int(done.returncode != 0), "\n".join(lines[-25:])


def measured(
    device: Device, shapes: list[rows.Shape], length: report.Effort, calls: int
) -> Iterator[tuple[str, ...]]:
    """A line for every way and shape, each against the copy of its own library and PyTorch's."""
    for shape in shapes:
        x = ways.data(shape)
        for function, keywords in ours(x):
            for name in device.libraries:
                if keywords and name.startswith("jax"):
                    continue
                yield from _line(device, name, function(x), keywords, x, length, calls)


def ours(x: Any) -> list[tuple[Callable[..., functions.Call], dict[str, bool]]]:
    """The functions that are timed on such data, with and without an array to write into."""
    if x.ndim == 4:
        return [(functions.instance_norm, {}), (functions.instance_norm, {"into": True})]
    return [(functions.there_and_back, {})]


def theirs(x: Any) -> dict[str, functions.Call]:
    """PyTorch's own functions, or the formula published for it, for the same data."""
    if x.ndim == 3:
        return {"published": functions.Call(ways.published_revin, (x, *ways.affine(x)), {})}
    function = import_module("torch.nn.functional")
    eps = {"eps": ways.EPS}
    return {
        "F.instance_norm": functions.Call(function.instance_norm, (x,), eps),
        "F.group_norm(C)": functions.Call(
            function.group_norm, (x,), eps | {"num_groups": x.shape[1]}
        ),
    }


def _line(
    device: Device,
    name: str,
    call: functions.Call,
    keywords: dict[str, bool],
    x: Any,
    length: report.Effort,
    calls: int,
) -> Iterator[tuple[str, ...]]:
    way = f"{name}, {call.function.__name__.strip('_')}{', out' if keywords else ''}"
    try:
        run = libraries.bound(name, *call, **keywords, calls=calls)
        copied = libraries.copy(name, x, calls=calls)
        baselines = {
            other: libraries.bound(device.torch, *one, calls=calls)
            for other, one in theirs(x).items()
        }
    except ImportError as error:
        yield (way, report.sized(x.shape), "not run", "", "", str(error))
        return
    found = measure.paired(run, copied, **length._asdict())
    seconds = measure.seconds_of(run, 1) / calls
    passes = 4 if x.ndim == 3 else 2
    speed = f"{passes * x.nbytes / seconds / 1e9:.0f}"
    for other, baseline in baselines.items():
        ratio = measure.paired(run, baseline, **length._asdict())
        shown = (f"{found.median:.2f}", speed, f"{ratio.median:.2f}", other)
        yield (way, report.sized(x.shape), *shown)


def device_name(device: Device) -> str:
    if device is REHEARSAL:
        return "the CPU, in place of a GPU"
    for name in device.libraries:
        try:
            backend = libraries.backend_of(name)
        except ImportError:
            continue
        if backend.library == "torch":
            return import_module("torch").cuda.get_device_name()
        if backend.library == "jax":
            return import_module("jax").devices("cuda")[0].device_kind
    return import_module("cupy").cuda.runtime.getDeviceProperties(0)["name"].decode()


if __name__ == "__main__":
    sys.exit(main())
