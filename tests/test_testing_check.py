"""Reports, snippets and the pytest way in."""

import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest

import revnorm as rn
from kernels import KERNELS
from revnorm.testing import Bounds, bounds, cases, check, conformance

QUICK = ("mean 0", "NHWC", "mask")


def quick(case):
    return case.name in QUICK


def raises(x, *parameters, **options):
    raise RuntimeError("only NCHW <b>")


def off_by_a_little(x, *parameters, **options):
    return rn.instance_norm(x, *parameters, **options) * np.float32(1.0001)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("name", KERNELS)
def test_the_package_holds_its_own_bounds(name, dtype):
    report = check(getattr(rn, name), name, dtypes=(dtype,))
    assert report.passed, "\n".join(f"{o.case.name}: {o.text}" for o in report.failures)


def test_what_is_not_declared_is_listed_as_not_run():
    report = check(rn.instance_norm, "instance_norm", only=quick)
    assert len(report.outcomes) == len(cases("instance_norm"))
    run = {outcome.case.name for outcome in report.outcomes if outcome.status == "passed"}
    assert run == set(QUICK)
    rest = [outcome for outcome in report.outcomes if outcome.status == "not run"]
    assert {outcome.text for outcome in rest} == {"outside what is declared"}
    assert "3 passed, 0 failed" in report.summary()


def test_nothing_run_is_not_passed():
    report = check(rn.instance_norm, "instance_norm", only=lambda case: False)
    assert not report.passed
    assert report.worst == ("", 0.0)
    assert report.snippet == ""


def test_what_a_type_cannot_hold_is_not_run():
    report = check(rn.instance_norm, "instance_norm", dtypes=("float16",), tiers=["range"])
    texts = {outcome.text for outcome in report.outcomes if outcome.status == "not run"}
    assert texts == {"too large for float16", "too small for float16"}


def test_an_exception_is_a_failure_with_its_text():
    report = check(raises, "instance_norm", only=quick)
    assert not report.passed
    assert len(report.failures) == 3
    assert report.worst == ("mean 0", np.inf)
    assert report.failures[0].text == "RuntimeError: only NCHW <b>"


def test_bounds_of_ones_own():
    wide = Bounds("B", 1e4, 1e4, 1e4)
    assert not check(off_by_a_little, "instance_norm", only=quick).passed
    assert check(off_by_a_little, "instance_norm", only=quick, bounds=wide).passed


def test_bounds_follow_the_library():
    assert bounds("numpy", "float32").recipe == bounds("numpy", "float16").recipe == "A"
    assert bounds("numpy", "float64").recipe == "B"
    pytest.importorskip("jax")
    assert bounds("jax", "float32").recipe == "B"


def test_strict_device_without_float64_is_recipe_b():
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("no_float64")
    assert bounds("array-api-strict", "float32", device).recipe == "B"


def test_worst_failures_come_first():
    report = check(off_by_a_little, "instance_norm", only=quick)
    errors = [outcome.error for outcome in report.failures]
    assert errors == sorted(errors, reverse=True)
    assert report.worst[1] == errors[0]


def test_the_snippet_reproduces_the_worst_case(capsys):
    report = check(off_by_a_little, "instance_norm", only=quick)
    snippet = report.snippet.replace(f"from {__name__} import off_by_a_little\n", "")
    assert snippet != report.snippet
    exec(snippet, {"off_by_a_little": off_by_a_little})
    assert float(capsys.readouterr().out) == pytest.approx(report.worst[1])


def by_size(x, *, axis, eps=1e-5):
    return rn.instance_norm(x, axis=axis, eps=eps) * np.float32(1 + 2e-7 * len(x))


def detached(x, *, axis, eps=1e-5):
    import torch

    variance, mean = torch.var_mean(x, axis, keepdim=True, correction=0)
    return (x - mean.detach()) / torch.sqrt(variance + eps)


@pytest.mark.parametrize(
    ("function", "library", "tier", "text"),
    [
        (by_size, "numpy", "conduct", "other bits in a batch of one"),
        (detached, "torch", "gradients", "as if the mean were a constant"),
    ],
)
def test_the_snippet_reproduces_what_is_no_result(capsys, function, library, tier, text):
    pytest.importorskip(library)
    tiers = ["formula", tier]
    report = check(function, "instance_norm", library=library, tiers=tiers, seed=3, fuzz=3)
    assert report.tiers == {**report.tiers, "formula": "passed", tier: "failed"}
    (outcome, *_) = [one for one in report.failures if one.case.seed or tier == "conduct"]
    lines = report.again(outcome).replace(f"from {__name__} import {function.__name__}\n", "")
    exec(lines, {function.__name__: function})
    assert text in capsys.readouterr().out


def test_a_snippet_imports_nothing_but_the_function_itself():
    report = check(partial(off_by_a_little), "instance_norm", only=quick)
    assert "# `function` is yours" in report.snippet
    assert "result = function(*arrays, **keywords)" in report.snippet


def test_plain_text():
    told = str(check(off_by_a_little, "instance_norm", only=quick))
    assert told.startswith("off_by_a_little as instance_norm on numpy: 0 passed, 3 failed")
    assert "ULP, allowed 0.51" in told
    assert "The worst case again:\n\nfrom " in told
    assert "The worst case" not in str(check(rn.instance_norm, "instance_norm", only=quick))


def test_rich_table():
    console = pytest.importorskip("rich.console")
    terminal = console.Console(width=200)
    with terminal.capture() as captured:
        terminal.print(check(off_by_a_little, "instance_norm", only=quick))
    printed = captured.get()
    assert "off_by_a_little as instance_norm on numpy" in printed
    assert all(case.name in printed for case in cases("instance_norm"))


def test_html_is_escaped():
    page = check(raises, "instance_norm", only=quick)._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("<tr") == 1 + len(cases("instance_norm"))


def test_conformance_in_another_project(tmp_path):
    (tmp_path / "test_theirs.py").write_text(
        textwrap.dedent(
            """
            import revnorm as rn
            from revnorm.testing import conformance

            def wrong(x, *parameters, **options):
                return rn.instance_norm(x, *parameters, **options) + x

            def wanted(case):
                return case.name in ("mean 0", "NHWC")

            test_right = conformance(rn.instance_norm, "instance_norm", only=wanted)
            test_wrong = conformance(wrong, "instance_norm", only=wanted)
            test_some = conformance(rn.instance_norm, "instance_norm", tiers=["range"])
            """
        )
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "--color=no", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    skipped = 2 * (len(cases("instance_norm")) - 2)
    some = sum(case.tier == "range" for case in cases("instance_norm"))
    assert f"2 failed, {2 + some} passed, {skipped} skipped" in run.stdout, run.stdout + run.stderr
    assert "outside what is declared" in run.stdout
    assert 'case = battery["NHWC"]' in run.stdout
    assert "test_wrong[NHWC-float32]" in run.stdout


def test_a_library_without_subnormal_numbers_is_not_asked_for_them():
    pytest.importorskip("jax")

    def tiny(case):
        return case.name == "subnormal, eps 0"

    for library, status in (("numpy", "passed"), ("jax", "not run")):
        report = check(rn.instance_norm, "instance_norm", library=library, only=tiny)
        ((found, text),) = ((o.status, o.text) for o in report.outcomes if tiny(o.case))
        assert found == status
    assert text == "jax takes subnormal numbers for 0"


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"dtypes": "float32"}, TypeError, "`dtypes` must be a sequence of names, got 'float32'"),
        ({"dtypes": ["int8"]}, ValueError, "`dtype` must be one of float16, .*, got 'int8'"),
        ({"library": "theano"}, ValueError, "`library` must be one of numpy, .*, got 'theano'"),
        ({"gradients": True}, ValueError, "`gradients` are those of torch or jax, got library"),
    ],
)
@pytest.mark.parametrize("way", [check, conformance])
def test_what_cannot_be_asked_for(way, keywords, error, text):
    with pytest.raises(error, match=f"^{text}"):
        way(rn.instance_norm, "instance_norm", **keywords)
