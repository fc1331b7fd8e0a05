"""Kernels with signatures of their own: called rightly, and declared for what they take."""

import ctypes
import importlib
import shutil
import subprocess

import numpy as np
import pytest

import revnorm as rn
from broken import two_passes
from revnorm.testing import adapt, cases, check

SOUND = ["formula", "conditioning", "conduct"]


def told(report):
    return "\n".join(f"{o.case.name}: {o.text}" for o in report.failures)


def holds(object, name, library="numpy", tiers=SOUND):
    report = check(adapt(object, as_=name), name, library=library, tiers=tiers, seed=4, fuzz=8)
    assert report.passed, told(report)
    assert report.tiers["formula"] == "passed"
    return report


def ran(report):
    return sum(outcome.status == "passed" for outcome in report.outcomes)


@pytest.mark.parametrize(
    "name", ["instance_norm", "layer_norm", "group_norm", "batch_norm", "rms_norm"]
)
def test_functions_of_torch(name):
    torch = pytest.importorskip("torch")
    tiers = [*SOUND, "gradients"]
    report = holds(getattr(torch.nn.functional, name), name, "torch", tiers)
    assert report.tiers["gradients"] == "passed"
    assert any(len(o.case.arrays) > 1 for o in report.outcomes if o.status == "passed")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("GroupNorm", "group_norm"),
        ("LayerNorm", "layer_norm"),
        ("RMSNorm", "rms_norm"),
        ("InstanceNorm2d", "instance_norm"),
        ("BatchNorm2d", "batch_norm"),
    ],
)
def test_classes_of_modules(module, name):
    torch = pytest.importorskip("torch")
    report = holds(getattr(torch.nn, module), name, "torch", [*SOUND, "gradients"])
    assert report.tiers["gradients"] == "passed"
    assert any(len(o.case.arrays) > 1 for o in report.outcomes if o.status == "passed")


def test_modules_are_built_anew():
    torch = pytest.importorskip("torch")
    assert ran(holds(torch.nn.InstanceNorm2d(7, affine=True), "instance_norm", "torch")) > 15
    assert ran(holds(torch.nn.LayerNorm(5), "layer_norm", "torch")) > 15
    assert ran(holds(torch.nn.BatchNorm2d(3), "batch_norm", "torch")) > 10


def test_models_of_kernelbench():
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self, num_features: int):
            super().__init__()
            self.inorm = torch.nn.InstanceNorm2d(num_features=num_features)

        def forward(self, x):
            return self.inorm(x)

    class ModelNew(torch.nn.Module):
        def __init__(self, num_features: int):
            super().__init__()

        def forward(self, x):
            return (x - 0.5) * 12**0.5

    for one in (Model, Model(4)):
        texts = {o.text for o in holds(one, "instance_norm", "torch").outcomes}
        assert "not declared: it takes no scale" in texts
        assert "not declared: it takes no eps" in texts or one is not Model
    report = check(adapt(ModelNew, as_="instance_norm"), "instance_norm", library="torch")
    assert report.tiers["formula"] == "failed"
    assert report.diagnosis.startswith("It looks like no reduction at all")


def test_a_dim_that_must_be_given_is_the_number_of_channels():
    torch = pytest.importorskip("torch")

    class RMSNorm(torch.nn.Module):
        """As language models have it, with 1 added to the scale."""

        def __init__(self, dim: int, eps: float = 1e-6, plus: float = 1.0):
            super().__init__()
            self.dim, self.eps, self.plus = dim, eps, plus
            self.weight = torch.nn.Parameter(torch.zeros(dim))

        def forward(self, x):
            root = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
            return x * root * (self.plus + self.weight)

    assert ran(holds(RMSNorm(4, plus=0.0), "rms_norm", "torch")) > 15
    report = check(adapt(RMSNorm, as_="rms_norm"), "rms_norm", library="torch", tiers=["formula"])
    assert report.diagnosis == "It looks like 1 + scale in place of the scale."


def test_a_module_that_cannot_be_built_is_for_its_own_channels():
    torch = pytest.importorskip("torch")

    class Wrapped(torch.nn.Module):
        def __init__(self, channels, groups):
            super().__init__()
            self.norm = torch.nn.GroupNorm(groups, channels)

        def forward(self, x):
            return self.norm(x)

    report = holds(Wrapped(4, 2), "group_norm", "torch")
    texts = {o.text for o in report.outcomes if o.status == "not run"}
    assert "not declared: it has 4 channels" in texts
    assert "not declared: its eps is 1e-05" in texts


def test_layers_of_keras():
    pytest.importorskip("keras")
    import keras

    library = {"torch": "torch", "jax": "jax", "numpy": "numpy"}.get(keras.backend.backend())
    if library != "torch":
        pytest.skip("Keras runs on another backend here")
    layers = keras.layers
    report = holds(layers.LayerNormalization, "layer_norm", library, [*SOUND, "gradients"])
    assert report.tiers["gradients"] == "passed"
    assert ran(holds(layers.RMSNormalization(), "rms_norm", library)) > 15
    tiers = ["formula"]
    assert ran(holds(layers.GroupNormalization, "group_norm", library, tiers)) > 10
    assert ran(holds(layers.BatchNormalization, "batch_norm", library, tiers)) > 5


FLAX = {
    "LayerNorm": "layer_norm",
    "RMSNorm": "rms_norm",
    "GroupNorm": "group_norm",
    "BatchNorm": "batch_norm",
    "InstanceNorm": "instance_norm",
}


LAST = ("scale", "scale and bias", "scale and bias, every axis of size 4")


@pytest.mark.parametrize(
    ("flavour", "layer"),
    [*(("linen", layer) for layer in FLAX), ("nnx", "RMSNorm"), ("nnx", "GroupNorm")],
)
def test_modules_of_flax(flavour, layer):
    pytest.importorskip("flax")
    kind, name = getattr(importlib.import_module(f"flax.{flavour}"), layer), FLAX[layer]
    tiers = ["formula", "gradients"] if layer == "RMSNorm" else ["formula"]
    report = check(
        adapt(kind, as_=name), name, library="jax", tiers=tiers, only=lambda c: c.name in LAST
    )
    assert report.passed, told(report)
    assert all(report.tiers[tier] == "passed" for tier in tiers)


def test_wrapped_and_built_modules_of_flax():
    linen = pytest.importorskip("flax.linen")
    nnx = pytest.importorskip("flax.nnx")

    class Wrapped(linen.Module):
        epsilon: float = 1e-6

        @linen.compact
        def __call__(self, x):
            return linen.LayerNorm(self.epsilon)(x)

    def few(case):
        return case.name in ("scale and bias", "mean 1e3, std 1")

    built = nnx.LayerNorm(7, use_fast_variance=False, rngs=nnx.Rngs(0))
    told = {}
    for module in (Wrapped, Wrapped(), linen.LayerNorm(use_fast_variance=False), built):
        function = adapt(module, as_="layer_norm")
        report = check(function, "layer_norm", library="jax", tiers=SOUND, only=few)
        assert report.tiers["formula"] == "passed"
        assert sum(o.status != "not run" for o in report.outcomes) == 2
        told.setdefault(report.tiers["conditioning"], []).append(module)
    # E[x²] − E[x]² is what flax computes unless it is told not to.
    assert len(told["failed"]) == len(told["passed"]) == 2


def test_onnx_models(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "norm.onnx"
    make, float32 = onnx.helper, onnx.TensorProto.FLOAT
    shapes = {"x": [None] * 4, "scale": [None], "bias": [None]}
    inputs = [make.make_tensor_value_info(key, float32, s) for key, s in shapes.items()]
    output = make.make_tensor_value_info("y", float32, [None] * 4)
    node = make.make_node("InstanceNormalization", list(shapes), ["y"], epsilon=1e-5)
    graph = make.make_graph([node], "norm", inputs, [output])
    opset = [make.make_opsetid("", 21)]
    onnx.save(make.make_model(graph, opset_imports=opset, ir_version=10), path)
    report = holds(path, "instance_norm")
    texts = {o.text for o in report.outcomes if o.status == "not run"}
    assert {"not declared: it takes 4 axes", "not declared: it takes no eps"} <= texts
    assert any(len(o.case.arrays) == 3 for o in report.outcomes if o.status == "passed")


SOURCE = """
#include <math.h>
#include <stdint.h>
void norm(float *y, const float *x, const float *scale, const float *bias,
          int64_t n, int64_t c, int64_t l, int64_t groups, float eps) {
  for (int64_t i = 0; i < n * c; i++) {
    double m = 0, v = 0;
    for (int64_t j = 0; j < l; j++) m += x[i * l + j];
    m /= l;
    for (int64_t j = 0; j < l; j++) v += (x[i * l + j] - m) * (x[i * l + j] - m);
    for (int64_t j = 0; j < l; j++)
      y[i * l + j] = (x[i * l + j] - m) / sqrt(v / DIVISOR + eps) * (scale ? scale[i % c] : 1)
                     + (bias ? bias[i % c] : 0);
  }
}
"""


BEYOND = """
void norm(float *y, const float *x, const float *scale, const float *bias,
          int64_t n, int64_t c, int64_t l, int64_t groups, float eps) {
    inside(y, x, scale, bias, n, c, l, groups, eps);
    y[n * c * l] = 0;
}
"""


def by_ctypes(library):
    return ctypes.CDLL(library).norm


def by_cffi(library):
    ffi = pytest.importorskip("cffi").FFI()
    pointers = ", ".join(["float *", *["const float *"] * 3])
    ffi.cdef(f"void norm({pointers}, int64_t, int64_t, int64_t, int64_t, float);")
    return ffi.dlopen(library).norm


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("divisor", ["l", "(l - 1)"])
@pytest.mark.parametrize("load", [by_ctypes, by_cffi])
def test_functions_in_c(tmp_path, load, divisor):
    (tmp_path / "norm.c").write_text(SOURCE)
    build = ["cc", "-O2", "-shared", "-fPIC", f"-DDIVISOR={divisor}", "norm.c", "-o", "norm.so"]
    subprocess.run([*build, "-lm"], cwd=tmp_path, check=True)
    function = load(str(tmp_path / "norm.so"))
    report = check(adapt(function, as_="instance_norm"), "instance_norm", tiers=SOUND)
    assert report.passed == (divisor == "l"), told(report)
    if divisor != "l":
        assert report.diagnosis == "It looks like the unbiased variance."


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("load", [by_ctypes, by_cffi])
def test_a_function_in_c_that_writes_beyond_its_result(tmp_path, load):
    beyond = SOURCE.replace("void norm(", "void inside(") + BEYOND
    (tmp_path / "norm.c").write_text(beyond)
    build = ["cc", "-O2", "-shared", "-fPIC", "-DDIVISOR=l", "norm.c", "-o", "norm.so"]
    subprocess.run([*build, "-lm"], cwd=tmp_path, check=True)
    function = load(str(tmp_path / "norm.so"))
    report = check(adapt(function, as_="instance_norm"), "instance_norm", tiers=SOUND)
    assert (report.tiers["formula"], report.tiers["conduct"]) == ("passed", "failed")
    assert report.diagnosis == "It writes beyond its result."


def test_parameters_by_their_names():
    def theirs(data, gamma, beta, /, epsilon):
        return two_passes(data, gamma, beta, axis=(2, 3), channel_axis=1, eps=epsilon)

    report = check(adapt(theirs, as_="instance_norm"), "instance_norm", only=lambda c: c.name in
                   ("mean 0", "eps 0.1", "scale and bias, every axis of size 4"))  # fmt: skip
    assert ran(report) + len(report.failures) == 3
    assert report.tiers["formula"] == "passed"


def test_what_is_a_kernel_already_is_given_back():
    assert adapt(rn.instance_norm, as_="instance_norm") is rn.instance_norm
    assert adapt(two_passes, as_="batch_norm") is two_passes


def test_unknown_names():
    with pytest.raises(ValueError, match=r"^`as_` must be one of instance_norm, .*'revin'$"):
        adapt(np.sin, as_="revin")
    with pytest.raises(TypeError, match=r"^parameter 'blocks' of .* has a name that is not known"):
        adapt(lambda x, blocks: x, as_="layer_norm")


def test_a_module_as_it_is_keeps_its_own_eps():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.InstanceNorm2d(3, eps=1e-3))
    declares = adapt(module, as_="instance_norm").declares
    said = {case.name: declares(case) for case in cases("instance_norm")}
    assert said["mean 0"] == "not declared: its eps is 0.001"
