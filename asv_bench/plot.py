"""Cost against size, one line per way, the copy as the floor.

    python asv_bench/plot.py --write docs/speed/results/

Every way is timed by turns with the copy, and its cost is that ratio times the copy's time.
"""

import argparse
import sys
from pathlib import Path

import matplotlib

from benchmarks import measure, report, rows, ways

WAYS = {
    "textbook NumPy": ways.textbook,
    "F.instance_norm": ways.torch_instance_norm,
    "F.group_norm(C)": ways.torch_group_norm,
    "revnorm, torch": ways.torch_eager,
    "revnorm, NumPy": ways.numpy,
    "revnorm, NumPy, out": ways.numpy_out,
    "revnorm, compile, torch, out": ways.compiled_torch_out,
}
HEAD = ("way", "shape", "copies", "milliseconds", "quartiles of copies")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, nothing over 16 MB")
    parser.add_argument("--write", type=Path, default=Path(), help="a folder, or an SVG's name")
    arguments = parser.parse_args()
    length = report.effort(arguments.quick)
    shapes = rows.SIZES[:3] if arguments.quick else rows.SIZES

    floor, costs, lines = [], {}, []
    for shape in shapes:
        x = ways.data(shape)
        copied = ways.copy(x)
        second = measure.seconds_of(copied, measure.calls_within(copied, length.seconds))
        floor.append(second)
        for name, way in WAYS.items():
            try:
                normalize = way(x)
            except ImportError as error:
                print(f"{name}: not run, {error}", file=sys.stderr)
                continue
            found = measure.paired(normalize, copied, **length._asdict())
            cost = found.median * second
            costs.setdefault(name, []).append(cost)
            copies = f"{found.median:.2f}"
            lines.append(
                (name, report.sized(shape), copies, f"{1e3 * cost:.3g}", report.spread(found))
            )
            print(f"{name}  {report.sized(shape)}  {copies}", file=sys.stderr)

    picture = report.destination(arguments.write, f"{report.today()}-sizes.svg")
    draw(picture, [report.nbytes(shape) / report.MEGABYTE for shape in shapes], floor, costs)
    image = f"![Time of a call against the size of its input, in log scales]({picture.name})"
    title = f"Cost against size, {report.today()}"
    text = report.page(title, report.provenance("torch"), image, report.markdown(HEAD, lines))
    picture.with_suffix(".md").write_text(text, encoding="utf-8")
    print(f"written to {picture} and {picture.with_suffix('.md')}", file=sys.stderr)


def draw(path: Path, sizes: list[float], floor: list[float], costs: dict[str, list]) -> None:
    """Milliseconds against megabytes, both logarithmic; each line named at its end."""
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "revnorm"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    axes.fill_between(sizes, [1e3 * one for one in floor], color="0.9", label="a copy")
    for name, seconds in costs.items():
        ours = name.startswith("revnorm")
        style = {"linewidth": 2, "marker": "o"} if ours else {"linestyle": "--", "marker": "."}
        axes.plot(sizes[: len(seconds)], [1e3 * one for one in seconds], label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="input, MB", ylabel="time of a call, ms")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
