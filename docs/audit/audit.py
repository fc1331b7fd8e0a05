"""What people use today against the exact result, as data moves away from zero.

    python docs/audit/audit.py

writes a table and a picture, named by the date, beside this file. What is not installed is left
out, and said so.
"""

import argparse
import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

import numpy as np

import revnorm as rn
from revnorm.testing import from_numpy, reference, to_numpy, ulp_error

RATIOS = (0.0, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6)
SHAPE = (1, 2, 256, 256)
AXIS = (2, 3)
EPS = 1e-5
PACKAGES = (
    "revnorm",
    "numpy",
    "torch",
    "jax",
    "flax",
    "keras",
    "onnx",
    "onnxruntime",
    "mlx",
    "dask",
    "array-api-strict",
)


def textbook(x):
    mean = x.mean(axis=AXIS, keepdims=True)
    return (x - mean) / np.sqrt(x.var(axis=AXIS, keepdims=True) + np.float32(EPS))


def published_revin():
    """The published formulas on (batch, time, channels): torch.mean, torch.var, sqrt."""
    import torch

    def run(x):
        series = torch.from_numpy(x).flatten(2).transpose(1, 2)
        mean = torch.mean(series, dim=1, keepdim=True)
        std = torch.sqrt(torch.var(series, dim=1, keepdim=True, unbiased=False) + EPS)
        return ((series - mean) / std).transpose(1, 2).reshape(x.shape)

    return run


def torch_functions():
    import torch
    import torch.nn.functional as F

    def autocast(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.nn.InstanceNorm2d(x.shape[1], eps=EPS)(torch.from_numpy(x)).float()

    return {
        "torch F.instance_norm": lambda x: F.instance_norm(torch.from_numpy(x), eps=EPS),
        "torch F.group_norm": lambda x: F.group_norm(torch.from_numpy(x), x.shape[1], eps=EPS),
        "torch F.layer_norm": lambda x: F.layer_norm(torch.from_numpy(x), x.shape[2:], eps=EPS),
        "torch InstanceNorm2d, autocast": autocast,
        "RevIN, published formulas": published_revin(),
    }


def flax_functions():
    import jax
    from flax import linen

    def run(fast):
        layer = linen.InstanceNorm(
            epsilon=EPS, use_bias=False, use_scale=False, use_fast_variance=fast
        )
        return lambda x: np.moveaxis(
            np.asarray(layer.apply({}, jax.numpy.asarray(np.moveaxis(x, 1, -1)))), -1, 1
        )

    return {"flax InstanceNorm": run(True), "flax InstanceNorm, slow variance": run(False)}


def keras_functions():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    def run(x):
        layer = keras.layers.GroupNormalization(
            groups=x.shape[1], axis=1, epsilon=EPS, center=False, scale=False
        )
        return keras.ops.convert_to_numpy(layer(x))

    return {f"Keras GroupNormalization on {keras.backend.backend()}": run}


def onnx_functions():
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    node = helper.make_node("InstanceNormalization", ["x", "s", "b"], ["y"], epsilon=EPS)
    channels = SHAPE[1]
    graph = helper.make_graph(
        [node],
        "audit",
        [value("x", TensorProto.FLOAT, SHAPE)],
        [value("y", TensorProto.FLOAT, SHAPE)],
        [
            helper.make_tensor("s", TensorProto.FLOAT, [channels], np.ones(channels)),
            helper.make_tensor("b", TensorProto.FLOAT, [channels], np.zeros(channels)),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return {"ONNX Runtime InstanceNormalization": lambda x: session.run(None, {"x": x})[0]}


def own_functions():
    def run(library):
        return lambda x: rn.instance_norm(from_numpy(x, library), axis=AXIS, eps=EPS)

    found = {"textbook NumPy": textbook}
    for library in ("numpy", "torch", "jax", "dask", "array-api-strict", "ndonnx"):
        try:
            from_numpy(np.zeros(1), library)
        except ImportError:
            continue
        found[f"revnorm on {library}"] = run(library)
    return found


def implementations():
    """Every implementation that is installed, and the names of what is not."""
    found, missing = {}, []
    for make in (torch_functions, flax_functions, keras_functions, onnx_functions, own_functions):
        try:
            found |= make()
        except ImportError as error:
            missing.append(str(error.name))
    return found, missing


def data(ratio):
    rng = np.random.default_rng(0)
    return (rng.standard_normal(SHAPE) + ratio).astype(np.float32)


def measured(functions):
    errors = {name: [] for name in functions}
    for ratio in RATIOS:
        x = data(ratio)
        expected = reference("instance_norm", x, axis=AXIS, eps=EPS)
        for name, function in functions.items():
            errors[name].append(ulp_error(to_numpy(function(x.copy())), expected))
    return dict(sorted(errors.items(), key=lambda item: item[0].startswith("revnorm")))


def told(error):
    return "not finite" if not np.isfinite(error) else f"{error:.2g}"


def versions():
    """What was measured with."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{', '.join(found)}; Python {platform.python_version()} on {platform.machine()}"


def table(errors, missing, date):
    head = ["mean / std", *(f"{ratio:g}" for ratio in RATIOS)]
    lines = [
        f"# Audit of {date}",
        "",
        f"Worst error in ULP of max(|y|, 1), float32, one sample of shape {SHAPE}, reduced over "
        f"{AXIS}, eps {EPS:g}. A correctly rounded result has at most 0.5.",
        "",
        f"Versions: {versions()}.",
        "",
        *([f"Not installed: {', '.join(missing)}.", ""] if missing else []),
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
    ]
    lines += [f"| {name} | " + " | ".join(map(told, row)) + " |" for name, row in errors.items()]
    lines += ["", f"![Error against mean / std]({date}.svg)", "", "`python docs/audit/audit.py`"]
    return "\n".join(lines) + "\n"


def picture(errors, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for i, (name, row) in enumerate(errors.items()):
        own = name.startswith("revnorm")
        finite = [error if np.isfinite(error) else np.nan for error in row]
        style = {"linewidth": 2.5, "linestyle": "--"} if own else {"marker": "o", "markersize": 3}
        axes.plot(RATIOS, finite, label=name, color=plt.get_cmap("tab20")(i % 20), **style)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("log")
    axes.axhline(0.5, color="black", linewidth=0.8)
    axes.set_xlabel("mean / std")
    axes.set_ylabel("worst error, ULP of max(|y|, 1)")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)


def front(errors, path):
    """The picture of the first page: few lines, told apart by words beside them."""
    import matplotlib.pyplot as plt

    grey = "#808080"
    plt.rcParams |= dict.fromkeys(
        ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), grey
    )
    plt.rcParams |= {"svg.hashsalt": "front", "font.size": 12}
    figure, axes = plt.subplots(figsize=(7.5, 4), layout="constrained")
    for name, (shown, colour) in FRONT.items():
        row = np.asarray(errors[name])
        row[~np.isfinite(row)] = np.nan
        own = name.startswith("revnorm")
        axes.plot(RATIOS, row, color=colour, linewidth=3 if own else 1.5)
        axes.annotate(
            shown, (RATIOS[-1], row[-1]), (6, -4), textcoords="offset points", color=colour
        )
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("log")
    axes.set_xlabel("mean / deviation of the data")
    axes.set_ylabel("worst error in ULP")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, transparent=True, metadata={"Date": None})


FRONT = {
    "flax InstanceNorm": ("flax", "#7a9a3a"),
    "ONNX Runtime InstanceNormalization": ("ONNX Runtime", "#8a63b8"),
    "torch F.instance_norm": ("PyTorch", "#c2571a"),
    "textbook NumPy": ("textbook NumPy", "#b08a2a"),
    "revnorm on numpy": ("revnorm", "#1a6fc2"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().folder
    date = datetime.date.today().isoformat()
    functions, missing = implementations()
    errors = measured(functions)
    (folder / f"{date}.md").write_text(table(errors, missing, date), encoding="utf-8")
    picture(errors, folder / f"{date}.svg")
    front(errors, folder / "front.svg")
    print(table(errors, missing, date))


if __name__ == "__main__":
    main()
