"""The exact gradients against differences of the reference, and against PyTorch and JAX."""

import numpy as np
import pytest

import revnorm as rn
from kernels import KERNELS
from revnorm.testing import check, reference, reference_gradients
from revnorm.testing._check import examine
from revnorm.testing._shrink import case_of

# A central difference with this step is off by about step² and 2⁻⁵³ / step.
STEP = 2.0**-17
TOLERANCE = 50 * STEP**2


def problems(length):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 2, length)) + 5
    where = rng.random(x.shape) < 0.6
    unseen = np.arange(3).reshape(3, 1, 1) > 0
    scale, bias, gate = rng.standard_normal((3, 2))
    tables = rng.standard_normal((2, 4, 2))
    weights = rng.random((3, 4))
    style = rng.standard_normal((1, 2, 5)) * 3 + 1
    channels = {"axis": 2, "channel_axis": 1}
    batch = {"batch_axis": 0, **channels}
    turned = {"axis": 2, "batch_axis": 1, "channel_axis": 0}
    return {
        "plain": ("instance_norm", (x,), {"axis": 2}),
        "affine": ("instance_norm", (x, scale, bias), channels),
        "broadcast": ("instance_norm", (x, x[:, :1, :1], x[0]), {"axis": (0, 2)}),
        "correction": ("instance_norm", (x,), {"axis": 2, "correction": 1}),
        "mask": ("instance_norm", (x, scale), {"where": where, **channels}),
        "unseen": ("instance_norm", (x, scale, bias), {"where": unseen, **channels}),
        "clamp below": ("revin", (x,), {"axis": 2, "eps": 1e3, "eps_mode": "clamp"}),
        "clamp above": ("revin", (x,), {"axis": 2, "eps": 1e-3, "eps_mode": "clamp"}),
        "relative": ("revin", (x,), {"axis": 2, "eps": 0.5, "eps_mode": "relative"}),
        "relative, mask": (
            "revin",
            (x,),
            {"axis": 2, "where": where, "correction": 1, "eps": 0.5, "eps_mode": "relative"},
        ),
        "last": ("revin", (x, scale, bias), {"center": "last", **channels}),
        "last, two axes": ("revin", (x,), {"center": "last", "axis": (0, 2)}),
        "last, mask": ("revin", (x,), {"center": "last", "where": where, "axis": 2}),
        "last, two axes, mask": (
            "revin",
            (x,),
            {"center": "last", "where": where, "axis": (0, 2)},
        ),
        "adain": ("adain", (x, style), {"axis": 2, "strength": 0.7, "correction": 1}),
        "adain, masks": (
            "adain",
            (x, style),
            {"axis": 2, "where": where, "style_where": np.arange(5) > 1},
        ),
        "gate": ("batch_instance_norm", (x, gate, scale, bias), batch),
        "gate, mask": ("batch_instance_norm", (x, gate), {"where": where, **batch}),
        "labels": ("conditional_instance_norm", (x, *tables, np.asarray([3, 0, 3])), batch),
        "weights": ("conditional_instance_norm", (x, *tables, weights), batch),
        "weights, turned": (
            "conditional_instance_norm",
            (x.transpose(1, 0, 2), *tables, weights),
            turned,
        ),
        "labels, mask": (
            "conditional_instance_norm",
            (x, *tables, np.asarray([3, 0, 3])),
            {"where": unseen, **batch},
        ),
        "weights, clamp": (
            "conditional_instance_norm",
            (x, *tables, weights),
            {"where": where, "eps": 1e3, "eps_mode": "clamp", **batch},
        ),
        "maps, mask": (
            "spatially_adaptive_norm",
            (x, x[:, :1] / 9, x[:1] / 9),
            {"axis": 2, "where": unseen},
        ),
        "maps": ("spatially_adaptive_norm", (x, x[:, :1] / 9, x[:1] / 9), {"axis": 2}),
    }


PROBLEMS = problems(7)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_against_differences(problem):
    name, arrays, keywords = PROBLEMS[problem]
    rng = np.random.default_rng(1)
    cotangent = rng.standard_normal(arrays[0].shape)
    gradients = reference_gradients(name, cotangent, *arrays, **keywords)
    assert len(gradients) == len(arrays)
    for i, (array, gradient) in enumerate(zip(arrays, gradients, strict=True)):
        if array.dtype.kind != "f":
            assert gradient is None
            continue
        assert gradient.shape == array.shape
        for _ in range(3):
            direction = rng.standard_normal(array.shape)
            ends = [
                reference(
                    name, *arrays[:i], array + sign * STEP * direction, *arrays[i + 1 :], **keywords
                )
                for sign in (1, -1)
            ]
            found = float(np.sum(cotangent * (ends[0] - ends[1])) / (2 * STEP))
            assert float(np.sum(gradient * direction)) == pytest.approx(
                found, rel=TOLERANCE, abs=TOLERANCE
            )


def test_constant_data_and_eps_zero():
    x, g = np.full((2, 3), 7.0), np.asarray([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
    (gradient,) = reference_gradients("instance_norm", g, x, axis=1, eps=0.0)
    np.testing.assert_allclose(gradient, g - g.mean(axis=1, keepdims=True), atol=1e-15)


def test_far_from_zero():
    x = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)
    g = np.random.default_rng(1).standard_normal((2, 50))
    (near,) = reference_gradients("instance_norm", g, np.round(x * 64) / 64, axis=1)
    (far,) = reference_gradients("instance_norm", g, np.round(x * 64) / 64 + 2.0**17, axis=1)
    np.testing.assert_allclose(far, near, rtol=0, atol=1e-13)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_on_other_libraries(library):
    xp = pytest.importorskip(library)
    for name, arrays, keywords in (PROBLEMS["gate, mask"], PROBLEMS["weights"], PROBLEMS["last"]):
        expected = reference_gradients(name, np.ones(arrays[0].shape), *arrays, **keywords)
        given = [xp.asarray(array) for array in arrays]
        options = {
            k: xp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()
        }
        cotangent = xp.ones(arrays[0].shape, dtype=xp.float64)
        found = reference_gradients(name, cotangent, *given, **options)
        for one, other in zip(found, expected, strict=True):
            assert type(one) is type(cotangent)
            np.testing.assert_allclose(np.asarray(one), other, rtol=1e-12, atol=1e-12)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"^`name` must be one of instance_norm, .*'norm'$"):
        reference_gradients("norm", np.ones(3), np.ones(3), axis=0)


@pytest.mark.parametrize("name", KERNELS)
def test_torch_holds_the_bounds(name):
    pytest.importorskip("torch")
    dtypes = ["float32", "float64"]
    report = check(getattr(rn, name), name, library="torch", dtypes=dtypes, gradients=True)
    assert report.passed, "\n".join(f"{o.case.name}: {o.text}" for o in report.failures)
    assert {o.dtype for o in report.outcomes if o.gradient is not None} == set(dtypes)


# JAX compiles each operation for each shape, which takes longer than all else: one is enough.
LENGTH = 60


def in_one_shape(arrays, keywords):
    return arrays[0].shape == (3, 2, LENGTH) and keywords["axis"] == 2


def far_and_constant(x):
    """Data that are hard in different ways, one instance each."""
    x = x.copy()
    x[0, 1] += 1e6
    x[1, 0] = 7
    x[1, 1, 0] = 1e4
    return x


def at_the_end(name, parameter):
    """A gate of 1, a style that is constant, or a scale of 0."""
    return np.full_like(parameter, {"batch_instance_norm": 1, "adain": 7}.get(name, 0))


@pytest.mark.parametrize("name", KERNELS)
def test_jax_holds_the_bounds(name):
    pytest.importorskip("jax")
    found = [
        (problem, arrays, keywords)
        for problem, (kernel, arrays, keywords) in problems(LENGTH).items()
        if kernel == name and in_one_shape(arrays, keywords)
    ]
    assert len(found) >= 2
    for problem, (x, *others), keywords in found:
        given = [(far_and_constant(x), *others)]
        given += [(x, at_the_end(name, others[0]), *others[1:])] if others else []
        for arrays in given:
            case = case_of(name, "formula", *arrays, **keywords)
            outcome = examine(getattr(rn, name), case, "float32", "jax", gradients=True)
            assert outcome.status == "passed", f"{problem}: {outcome.text}"
            assert outcome.gradient is not None


@pytest.mark.parametrize("name", KERNELS)
def test_jax_holds_the_bounds_in_the_battery(name):
    """Of longer data, over several axes."""
    pytest.importorskip("jax")

    def some(case):
        return case.name in ("mean 1e6, std 1", "first element far off", "constant", "scale 0",
                             "mask", "gate 1", "style constant", "center last")  # fmt: skip

    report = check(getattr(rn, name), name, library="jax", only=some, gradients=True)
    assert report.passed, "\n".join(f"{o.case.name}: {o.text}" for o in report.failures)
    assert sum(outcome.gradient is not None for outcome in report.outcomes) >= 3


def test_detached_statistics_are_caught():
    pytest.importorskip("torch")

    def detached(x, *parameters, axis, **options):
        moments = rn.moments(x.detach(), axis=axis)
        return rn.instance_norm(x, *parameters, axis=axis, moments=moments, **options)

    def plain(case):
        return case.name == "mean 0"

    assert check(detached, "instance_norm", library="torch", only=plain).passed
    report = check(detached, "instance_norm", library="torch", only=plain, gradients=True)
    assert report.failures[0].text.startswith("gradient ")


def with_detached(mean=False, variance=False, scale=False):
    """An instance norm that some gradients do not flow through."""

    def maybe(one, detached):
        return one.detach() if detached and one is not None else one

    def norm(x, factor=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
        import torch

        m = maybe(x.mean(axis, keepdim=True), mean)
        # The derivative of the variance by the mean is 0.
        square = maybe(x.var(axis, keepdim=True, correction=0), variance)
        laid = (
            None if one is None or one.ndim != 1 else one.reshape(-1, *[1] * (x.ndim - 2))
            for one in (maybe(factor, scale), bias)
        )
        given = [own if own is not None else one for own, one in zip(laid, (factor, bias))]
        y = (x - m) / torch.sqrt(square + eps)
        y = y if factor is None else y * given[0]
        return y if bias is None else y + given[1]

    return norm


@pytest.mark.parametrize(
    ("detached", "sentence"),
    [
        ({"mean": True, "variance": True}, "Its gradients are as if the statistics were constants"),
        ({"mean": True}, "Its gradients are as if the mean were a constant"),
        ({"variance": True}, "Its gradients are as if the variance were a constant"),
        ({"scale": True}, "Of its gradients only that of the scale is wrong"),
    ],
)
def test_what_gradients_look_like(detached, sentence):
    pytest.importorskip("torch")
    report = check(
        with_detached(**detached),
        "instance_norm",
        library="torch",
        tiers=["formula", "gradients"],
        only=lambda case: case.keywords.get("channel_axis", 1) == 1,
    )
    assert report.tiers["formula"] == "passed"
    assert report.tiers["gradients"] == "failed"
    assert report.diagnosis.startswith(f"{sentence}, in all ")


def test_sound_gradients_look_like_nothing():
    pytest.importorskip("torch")
    tiers = ["formula", "gradients"]
    report = check(with_detached(), "instance_norm", library="torch", tiers=tiers)
    assert report.passed
    assert report.diagnosis is None
