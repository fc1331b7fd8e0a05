"""Tiers: each broken kernel fails the one made for it, and no sound kernel fails."""

from dataclasses import replace

import numpy as np
import pytest

import revnorm as rn
from broken import BROKEN, in_float64, one_pass, two_passes, welford
from kernels import KERNELS
from revnorm.testing import Bounds, cases, check
from revnorm.testing._case import build, normal
from revnorm.testing._tiers import TIERS, _spread, tolerance

NAMES = (*KERNELS, "layer_norm", "group_norm", "batch_norm", "rms_norm")
SOUND = ("formula", "conditioning")


def told(report):
    return "\n".join(f"{o.case.name}: {o.text}" for o in report.failures)


@pytest.mark.parametrize("name", NAMES)
def test_every_case_has_a_tier(name):
    found = {case.tier for case in cases(name)}
    assert found <= set(TIERS)
    assert {"formula", "conditioning", "range", "masks", "layout", "conduct"} <= found


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_kernels_are_caught_and_diagnosed(fault):
    function, tier, sentence = BROKEN[fault]
    tiers = ["formula", "conditioning", "conduct"]
    report = check(function, "instance_norm", tiers=tiers)
    assert report.tiers[tier] == "failed"
    assert not report.passed
    assert sentence in report.diagnosis
    again = check(function, "instance_norm", tiers=[tier])
    assert again.tiers[tier] == "failed"


@pytest.mark.parametrize("kernel", [two_passes, welford, in_float64])
def test_no_false_alarm(kernel):
    report = check(kernel, "instance_norm", tiers=SOUND, seed=1, fuzz=60)
    assert report.passed, told(report)
    assert report.diagnosis is None


def test_no_false_alarm_in_a_type_that_numpy_lacks():
    tiers = [*SOUND, "conduct"]
    report = check(two_passes, "instance_norm", dtypes=["bfloat16"], tiers=tiers, seed=1)
    assert report.passed, told(report)


def test_one_pass_has_the_right_formula():
    """What is wrong with E[x²] − E[x]² is its conditioning, and that is another tier."""
    assert check(one_pass, "instance_norm", tiers=["formula"], seed=2, fuzz=60).passed


def test_sound_kernels_of_torch():
    torch = pytest.importorskip("torch")
    f = torch.nn.functional

    def layer_norm(x, scale=None, bias=None, *, axis, eps=1e-5):
        return f.layer_norm(x, x.shape[-np.size(axis) :], scale, bias, eps)

    def rms_norm(x, scale=None, *, axis, eps=1e-5):
        return f.rms_norm(x, x.shape[-np.size(axis) :], scale, eps)

    def group_norm(x, scale=None, bias=None, *, groups, eps=1e-5):
        return f.group_norm(x, groups, scale, bias, eps)

    def batch_norm(x, scale=None, bias=None, *, axis, channel_axis=1, eps=1e-5):
        return f.batch_norm(x, None, None, scale, bias, training=True, eps=eps)

    tiers = [*SOUND, "masks", "layout", "gradients"]
    for function in (layer_norm, rms_norm, group_norm, batch_norm):
        name = function.__name__
        report = check(function, name, library="torch", tiers=tiers, seed=3, fuzz=20)
        assert report.passed, told(report)
        assert report.tiers["gradients"] == "passed"


@pytest.mark.parametrize("name", NAMES)
def test_the_exact_result_is_within_every_tolerance(name):
    """Each tolerance is above the rounding of the result, or nothing could pass."""
    for case in cases(name):
        if case.name == "10^6 rows, axis 0" or case.expected("float32").size == 0:
            continue
        exact = case.expected("float32")
        error = np.abs(exact.astype(np.float32) - exact)
        fine = ~np.isfinite(exact) | (error <= tolerance(case, "float32"))
        assert fine.all(), case.name


def test_tolerances_of_the_formula_are_far_below_what_is_wrong():
    """The unbiased variance is off by 1/2n of |z|, the smallest of the faults."""
    for case in cases("instance_norm"):
        x = case.arrays[0]
        if case.tier == "formula" and x.size < 1500 and len(case.arrays) == 1:
            n = np.prod([x.shape[i] for i in np.atleast_1d(case.keywords["axis"])])
            assert np.max(tolerance(case, "float32")) < 0.1 / (2 * n), case.name


@pytest.mark.parametrize("mode", ["add", "clamp", "relative"])
def test_tolerances_follow_what_the_root_is_taken_of(mode):
    """Data a thousand times its deviation: mean|x| / root is what the result's error grows with."""
    x = np.asarray([0.5 - 2.0**-11, 0.5 + 2.0**-11])
    root = {"add": 2.0**-22 + 2.0**-16, "clamp": 2.0**-16,
            "relative": 2.0**-22 + 2.0**-16 * (0.25 + 2.0**-22)}[mode] ** 0.5  # fmt: skip
    made = (lambda rng, dtype: x), {"axis": 0, "eps": 2.0**-16, "eps_mode": mode}
    case = replace(build("two", "", made[0], tier="range", **made[1]), kernel="instance_norm")
    count, conditioning, _ = _spread(x, (0,), case)
    assert count == 2
    assert conditioning == pytest.approx(0.5 / root, rel=1e-12)


def test_relative_eps_has_the_same_tolerance_in_any_unit():
    found = []
    for unit in (2.0**-20, 1.0, 2.0**20):
        made = normal(2, 3, 5, mean=unit, std=unit / 100)
        case = build("unit", "", made, axis=2, tier="range", eps_mode="relative")
        found.append(tolerance(replace(case, kernel="instance_norm"), "float32"))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    np.testing.assert_allclose(found[2], found[1], rtol=1e-6)


def test_a_tier_alone_runs_its_own_cases():
    report = check(rn.instance_norm, "instance_norm", tiers=["range"])
    assert {outcome.case.tier for outcome in report.outcomes} == {"range"}
    assert report.tiers["range"] == "passed"
    assert {status for tier, status in report.tiers.items() if tier != "range"} == {"not run"}


def test_by_default_all_but_the_gradients():
    def one(case):
        return case.name in ("mean 0", "mean 1e2, std 1", "NHWC", "mask", "1e30", "the same twice")

    report = check(rn.instance_norm, "instance_norm", only=one)
    assert report.passed
    assert report.tiers == dict.fromkeys(TIERS, "passed") | {"gradients": "not run"}


def test_exact_is_what_a_sound_kernel_need_not_be():
    report = check(two_passes, "instance_norm", tiers=["formula", "exact"])
    assert (report.tiers["formula"], report.tiers["exact"]) == ("passed", "failed")


def test_bounds_of_ones_own_are_what_is_asked_for():
    wide = Bounds("B", 1e9, 1e9, 1e9)
    report = check(one_pass, "instance_norm", bounds=wide, only=lambda c: c.name == "NHWC")
    assert report.passed
    assert report.tiers["layout"] == "not run"


def test_what_the_signature_lacks_is_not_declared():
    report = check(two_passes, "instance_norm", tiers=["masks"])
    texts = {o.text for o in report.outcomes if o.status == "not run"}
    assert texts == {"not declared: got an unexpected keyword argument 'where'"}
    assert report.passed


def test_the_same_seed_gives_the_same_cases():
    def fuzzed(seed):
        report = check(two_passes, "instance_norm", tiers=["formula"], seed=seed, fuzz=5)
        return [o.case for o in report.outcomes if o.case.name.startswith("seed")]

    first, again, other = fuzzed(7), fuzzed(7), fuzzed(8)
    for one, two in zip(first, again, strict=True):
        assert one.name == two.name
        for a, b in zip(one.arrays, two.arrays, strict=True):
            np.testing.assert_array_equal(a, b)
    assert {one.name for one in first}.isdisjoint(one.name for one in other)


def test_unknown_tiers():
    with pytest.raises(ValueError, match=r"^`tiers` must be of formula, .*, got 'speed'$"):
        check(two_passes, "instance_norm", tiers=["speed"])
    with pytest.raises(TypeError, match=r"^`tiers` must be a sequence of names, got 'formula'$"):
        check(two_passes, "instance_norm", tiers="formula")


def test_screen():
    console = pytest.importorskip("rich.console")
    terminal = console.Console(width=100)
    report = check(BROKEN["no eps"][0], "instance_norm", tiers=["formula", "conditioning"])
    with terminal.capture() as captured:
        terminal.print(report.screen())
    printed = captured.get()
    assert all(tier in printed for tier in TIERS)
    assert "It looks like no eps." in printed
    assert "not run" in printed


def diagnosis(function):
    return check(function, "instance_norm", tiers=["formula", "conduct"]).diagnosis


def test_what_is_no_formula_is_told_too():
    def raises(x, *, axis, eps=1e-5):
        raise RuntimeError("no kernel image")

    def flat(x, *, axis, eps=1e-5):
        return two_passes(x, axis=axis, eps=eps).reshape(-1)

    def lost(x, *, axis, eps=1e-5):
        return two_passes(x, axis=axis, eps=eps) * np.float32("nan")

    rng = np.random.default_rng(0)

    def race(x, *, axis, eps=1e-5):
        y = two_passes(x, axis=axis, eps=eps)
        return y * (1 + rng.random(y.shape, dtype=np.float32) * np.float32(1e-6))

    assert "It raises an exception in all 1" in diagnosis(raises)
    assert "RuntimeError: no kernel image" in diagnosis(raises)
    assert diagnosis(flat) == "Its result has another shape than the data."
    assert "It gives NaN or infinity in all 1" in diagnosis(lost)
    assert diagnosis(race) == "Its results differ from call to call: it looks like a race."


def test_the_ends_of_the_range_are_told_where_all_else_is_right():
    tiers = ["formula", "range"]
    for kernel, sentence in (
        (
            two_passes,
            "At the ends of the range it looks like squares that overflow and squares that vanish"
            " and constant data that are divided by 0.",
        ),
        (
            in_float64,
            "At the ends of the range it looks like constant data that are divided by 0.",
        ),
    ):
        report = check(kernel, "instance_norm", tiers=tiers)
        assert report.tiers["formula"] == "passed"
        assert report.diagnosis == sentence
    wrong = check(BROKEN["unbiased variance"][0], "instance_norm", tiers=tiers)
    assert wrong.tiers["range"] == "failed"
    assert wrong.diagnosis == "It looks like the unbiased variance."


def test_an_exception_at_the_ends_of_the_range():
    def careful(x, *, axis, eps=1e-5):
        if eps == 0:
            raise ValueError("eps must be positive")
        return in_float64(x, axis=axis, eps=eps)

    report = check(careful, "instance_norm", tiers=["range"])
    assert "it looks like an exception for '" in report.diagnosis


def test_the_ends_of_the_range_do_not_hide_what_depends_on_the_batch():
    def by_size(x, *, axis, eps=1e-5):
        return two_passes(x, axis=axis, eps=eps) * np.float32(1 + 1e-7 * len(x))

    report = check(by_size, "instance_norm", tiers=["formula", "range", "conduct"])
    told, _, rest = report.diagnosis.partition(". ")
    assert told == "Its results depend on the size of the batch"
    assert rest.startswith("At the ends of the range")


def rounded_to(dtype, where):
    """An instance norm of PyTorch's, with roundings to a narrower type before or after it."""
    import torch

    def narrow(one):
        return None if one is None else one.to(getattr(torch, dtype)).to(torch.float32)

    def kernel(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
        if where == "data":
            x = narrow(x)
        y = rn.instance_norm(x, scale, bias, axis=axis, channel_axis=channel_axis, eps=eps)
        return narrow(y) if where == "result" else y

    return kernel


@pytest.mark.parametrize("where", ["data", "result"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_roundings_to_a_narrower_type(dtype, where):
    pytest.importorskip("torch")
    kernel = rounded_to(dtype, where)
    report = check(kernel, "instance_norm", library="torch", tiers=["formula"], seed=1)
    assert report.diagnosis.startswith(f"Its errors are as large as roundings to {dtype}")


def test_a_wrong_formula_that_is_not_known_is_not_taken_for_roundings():
    def seven_of_eight(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
        part = x[..., : max(1, 7 * x.shape[-1] // 8)]
        d = x - part.mean(axis, keepdims=True)
        return d / np.sqrt(part.var(axis, keepdims=True) + np.float32(eps))

    report = check(seven_of_eight, "instance_norm", tiers=["formula"], seed=1)
    assert report.tiers["formula"] == "failed"
    assert "roundings" not in (report.diagnosis or "")


def test_what_autograd_cannot_follow_has_no_gradients_to_judge():
    torch = pytest.importorskip("torch")

    @torch.no_grad()
    def forward_only(x, scale=None, bias=None, *, groups, eps=1e-5):
        return torch.nn.functional.group_norm(x, groups, scale, bias, eps)

    tiers = ["formula", "gradients"]
    report = check(forward_only, "group_norm", library="torch", tiers=tiers)
    assert (report.tiers["formula"], report.tiers["gradients"]) == ("passed", "not run")


def test_a_kernel_in_place_is_judged_by_its_result_too():
    """Autograd takes no changes of its leaves, which says nothing of the formula."""
    torch = pytest.importorskip("torch")

    def in_place(x, *, axis, eps=1e-5):
        variance, mean = torch.var_mean(x, axis, keepdim=True, correction=0)
        return x.sub_(mean).div_(torch.sqrt(variance + eps))

    tiers = ["formula", "conduct", "gradients"]
    report = check(in_place, "instance_norm", library="torch", tiers=tiers)
    assert report.tiers["formula"] == "passed"
    assert report.tiers["conduct"] == report.tiers["gradients"] == "failed"
    assert "gradients: RuntimeError: a leaf Variable" in report.failures[0].text
    assert report.diagnosis == "It overwrites its input."


def test_a_fault_of_other_norms():
    torch = pytest.importorskip("torch")

    def sizes(x, scale=None, bias=None, *, groups, eps=1e-5):
        return torch.nn.functional.group_norm(x, x.shape[1] // groups, scale, bias, eps)

    def pooled(x, *, groups, eps=1e-5):
        split = x.reshape(len(x), groups, -1)
        variance, mean = torch.var_mean(split, (0, 2), keepdim=True, correction=0)
        return ((split - mean) / torch.sqrt(variance + eps)).reshape(x.shape)

    def centered(x, scale=None, *, axis, eps=1e-5):
        return torch.nn.functional.layer_norm(x, x.shape[-np.size(axis) :], scale, None, eps)

    for name, function, sentence in (
        ("group_norm", sizes, "the size of a group taken for the number of groups"),
        ("group_norm", pooled, "statistics over the batch, too"),
        ("rms_norm", centered, "the mean taken off, as a layer norm does"),
    ):
        report = check(function, name, library="torch", tiers=["formula"])
        assert sentence in report.diagnosis
