"""Kernels and compositions as ONNX models for arrays of any size, exported by PyTorch."""

import warnings

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import FUNCTIONS, X

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from onnx_models import in_float32  # noqa: E402

EXPORTED = (
    "instance_norm",
    "instance_norm-relative",
    "revin-last-where",
    "adain-where",
    "batch_instance_norm",
    "conditional-labels",
    "spatially_adaptive_norm",
    "standardizer-inverse",
    "blend",
)
IN_FLOAT32 = ("instance_norm", "adain-where")
ANY = torch.export.Dim.DYNAMIC


class Called(torch.nn.Module):
    """A function of x and of operands by name."""

    def __init__(self, function, precision):
        super().__init__()
        self.function, self.precision = function, precision

    def forward(self, x, operands):
        return self.function.call(x, **operands, precision=self.precision)


class Forecaster(torch.nn.Module):
    """Expects what was three steps ago once more, by a model that sees normalized series."""

    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, x):
        y, norm_map = rn.revin(x, axis=1, **self.options)
        return y, norm_map.inv(y[:, -3:])


def exported(model, x, sizes, **given):
    with warnings.catch_warnings():
        # What the exporter says of PyTorch's own trees, and of numbers that float32 cannot hold.
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", "overflow encountered in cast", RuntimeWarning)
        options = {"kwargs": given, "dynamic_shapes": sizes, "dynamo": True, "verbose": False}
        return torch.onnx.export(model.eval(), (torch.asarray(x),), **options).model_proto


def run(model, *arrays):
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=providers)
    names = [one.name for one in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))


def exported_function(function, precision):
    """Its model for any batch and any space."""

    def any_size(name, array):
        axes = [0] if name == "x" or name in function.batched else []
        axes += [2, 3] if array.ndim == 4 else []
        return {i: ANY for i in axes if array.shape[i] > 1}

    sizes = {name: any_size(name, array) for name, array in function.operands.items()}
    given = {name: torch.asarray(array) for name, array in function.operands.items()}
    model = Called(function, precision)
    return exported(model, X, {"x": any_size("x", X), "operands": sizes}, operands=given)


def cut(function, name, array):
    """An operand of a call with fewer instances, and of fewer pixels each."""
    array = array[1:] if name == "x" or name in function.batched else array
    return array[:, :, : array.shape[2] - 1, 1:] if array.ndim == 4 else array


def types(model):
    """What numbers are computed in, in a model and the functions that it calls."""
    found = {one.type.tensor_type.elem_type for one in model.graph.value_info}
    found |= {one.data_type for one in model.graph.initializer}
    for node in model.graph.node:
        found |= {a.i for a in node.attribute if node.op_type == "Cast" and a.name == "to"}
        found |= {a.t.data_type for a in node.attribute if a.HasField("t")}
    return {onnx.TensorProto.DataType.Name(one) for one in found}


def hold(function, model, bound):
    given = {"x": X, **function.operands}
    for arrays in (given, {name: cut(function, name, a) for name, a in given.items()}):
        (y,) = run(model, *arrays.values())
        x, *operands = arrays.values()
        expected = function.oracle(x, **dict(zip(function.operands, operands, strict=True)))
        error = oracle.ulp_error(y, expected, "float32", of=function.unit_of(expected))
        assert error <= bound


def named(*ids):
    chosen = [one for one in FUNCTIONS if one.id in ids]
    assert len(chosen) == len(ids)
    return pytest.mark.parametrize("function", chosen, ids=repr)


@named(*EXPORTED)
def test_any_size_within_the_bounds(function):
    hold(function, exported_function(function, "full"), tolerances.WIDER_FORWARD)


@named(*IN_FLOAT32)
def test_sums_alone_in_float64(function):
    """And then in a model without it."""
    model = exported_function(function, "native")
    hold(function, model, tolerances.SAME_FORWARD)
    narrow = in_float32(model)
    assert "DOUBLE" in types(model)
    assert "DOUBLE" not in types(narrow)
    hold(function, narrow, tolerances.SAME_FORWARD)


@pytest.mark.parametrize("precision", ["full", "native"])
@pytest.mark.parametrize("center", ["mean", "last"])
def test_there_and_back_in_one_model(precision, center):
    # PyTorch's exporter keeps numbers in float32, which holds this one.
    eps = 2.0**-17
    options = {"center": center, "precision": precision, "eps": eps}
    x = np.random.default_rng(0).standard_normal((2, 12, 3)).astype(np.float32)
    model = exported(Forecaster(**options), x, {"x": {0: ANY, 1: ANY, 2: ANY}})
    there, back = {
        "full": (tolerances.WIDER_FORWARD, tolerances.WIDER_ROUND_TRIP),
        "native": (tolerances.SAME_FORWARD, tolerances.SAME_ROUND_TRIP),
    }[precision]
    for shape, mean, std in (
        ((2, 12, 3), 0, 1),
        ((5, 96, 7), 100, 1),
        ((5, 96, 7), 0, 1e-3),
        ((1, 3, 1), -7, 1),
        ((2, 2000, 1), 1e4, 1),
    ):
        x = (np.random.default_rng(1).standard_normal(shape) * std + mean).astype(np.float32)
        y, forecast = run(model, x)
        expected = oracle.revin(x, axis=1, center=center, eps=eps)
        assert oracle.ulp_error(y, expected, "float32") <= there
        error = oracle.ulp_error(
            forecast, oracle.exact(x[:, -3:]), "float32", of=oracle.reach(x, 1)
        )
        assert error <= back
