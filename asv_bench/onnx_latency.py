"""What instance norm costs in ONNX Runtime, beside its own node for it.

    python asv_bench/onnx_latency.py

Models for images of any batch and size, exported by PyTorch: `torch.nn.InstanceNorm2d`, which
becomes one InstanceNormalization node, and `instance_norm` in either precision, and without
float64. A time is the fastest among rounds, with how many times that of the node it is; an error
the worst, in ULP of max(|y|, 1), of data whose mean is so many of their deviations.
"""

import argparse
import os
import warnings
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnxruntime
import torch

import revnorm as rn
from benchmarks import measure, report
from revnorm.testing import reference, ulp_error

CHANNELS = 64
SHAPES = [(1, CHANNELS, 14, 14), (1, CHANNELS, 56, 56), (8, CHANNELS, 112, 112)]
RATIOS = (0, 100, 10_000)
HEAD = ("model", "nodes", *(report.sized(shape) for shape in SHAPES))


class Ours(torch.nn.Module):
    def __init__(self, precision: str) -> None:
        super().__init__()
        self.precision = precision

    def forward(self, x: Any) -> Any:
        return rn.instance_norm(x, axis=(2, 3), precision=self.precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a rehearsal")
    effort = report.effort(parser.parse_args().quick)
    native = exported(Ours("native"))
    models = {
        "InstanceNormalization": exported(torch.nn.InstanceNorm2d(CHANNELS)),
        'instance_norm, "full"': exported(Ours("full")),
        'instance_norm, "native"': native,
        "the same without float64": measure.of_tests("onnx_models").in_float32(native),
    }
    sessions = {name: session(model) for name, model in models.items()}
    columns = [fastest(sessions, shape, effort) for shape in SHAPES]
    times, errors = [], []
    for i, (name, model) in enumerate(models.items()):
        found = [f"{one[i] * 1e3:.3g} ms, {one[i] / one[0]:.1f}" for one in columns]
        times.append((name, str(len(model.graph.node)), *found))
        errors.append((name, *(worst(sessions[name], ratio) for ratio in RATIOS)))
    facts = report.provenance("torch", "onnx", "onnxscript", "onnxruntime")
    tables = [
        report.markdown(HEAD, times),
        report.markdown(("error, at mean / std of", *map(str, RATIOS)), errors),
    ]
    print(report.page(f"ONNX Runtime, {report.today()}", facts, *tables))


def exported(model: torch.nn.Module) -> Any:
    sizes = {axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3)}
    x = torch.zeros(2, CHANNELS, 8, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"dynamo": True, "dynamic_shapes": (sizes,), "verbose": False}
        return torch.onnx.export(model.eval(), (x,), **options).model_proto


def session(model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def data(shape: tuple[int, ...], ratio: float) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) + ratio).astype(np.float32)


def fastest(sessions: dict[str, Any], shape: tuple[int, ...], effort: report.Effort) -> list[float]:
    """Seconds a call of each, the fastest among rounds that all take part in."""
    ways = [partial(called, run, data(shape, 0)) for run in sessions.values()]
    counts = [measure.calls_within(way, effort.seconds / 4) for way in ways]
    rounds = [
        [measure.seconds_of(way, count) for way, count in zip(ways, counts, strict=True)]
        for _ in range(4 * effort.rounds)
    ]
    return [min(times) for times in zip(*rounds, strict=True)]


def worst(run: Any, ratio: float) -> str:
    x = data((1, CHANNELS, 56, 56), ratio)
    return f"{ulp_error(called(run, x), reference('instance_norm', x, axis=(2, 3))):.3g}"


def called(run: Any, x: np.ndarray) -> np.ndarray:
    (name,) = (one.name for one in run.get_inputs())
    return run.run(None, {name: x})[0]


if __name__ == "__main__":
    main()
