"""`python -m revnorm check`: the screen, the JSON, the seed and the exit status."""

import json
import math
import subprocess
import sys
from functools import partial

import pytest

import revnorm.__main__ as command
from revnorm.testing import _check, cases, shrink
from revnorm.testing._command import main
from revnorm.testing._tiers import TIERS

KERNELS = """
from functools import partial

import numpy as np


def unbiased(x, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(2, x.ndim))
    d = x - x.mean(axes, keepdims=True)
    y = d / np.sqrt(x.var(axes, keepdims=True, ddof=1) + eps)
    shape = (-1,) + (1,) * (x.ndim - 2)
    y = y if weight is None else y * weight.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape)).astype(x.dtype)


def sound(x, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(2, x.ndim))
    d = x - x.mean(axes, keepdims=True)
    y = d / np.sqrt((d * d).mean(axes, keepdims=True) + np.float32(eps))
    shape = (-1,) + (1,) * (x.ndim - 2)
    y = y if weight is None else y * weight.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape)).astype(x.dtype)


bound = partial(unbiased)
"""

FEW = ("--as", "instance_norm", "--tier", "formula", "--tier", "conditioning", "--fuzz", "6")


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "theirs.py"
    path.write_text(KERNELS)
    yield str(path)
    sys.modules.pop("theirs", None)


def test_a_sound_kernel(capsys, target):
    assert main([f"{target}:sound", *FEW]) == 0
    printed = capsys.readouterr().out
    assert "passed" in printed.splitlines()[-1]
    assert "looks like" not in printed


def test_a_broken_kernel_on_one_screen(capsys, target, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([f"{target}:unbiased", *FEW, "--seed", "7"]) == 1
    printed = capsys.readouterr().out
    assert "It looks like the unbiased variance." in printed
    assert "--seed 7" in printed
    assert "adapt(unbiased, as_=" in printed
    assert printed.splitlines()[-1] == "failed: formula, conditioning"
    assert len(printed.splitlines()) < 45


def test_json_and_the_seed_that_replays(capsys, target, monkeypatch):
    monkeypatch.setattr(_check, "shrink", partial(shrink, seconds=math.inf))
    assert main([f"{target}:unbiased", *FEW, "--json"]) == 1
    first = json.loads(capsys.readouterr().out)
    assert main([f"{target}:unbiased", *FEW, "--json", "--seed", str(first["seed"])]) == 1
    assert json.loads(capsys.readouterr().out) == first
    assert first["tiers"]["formula"]["status"] == "failed"
    assert first["tiers"]["range"]["status"] == "not run"
    assert first["diagnosis"] == "It looks like the unbiased variance."
    assert not first["passed"]


def test_the_snippet_runs(capsys, target, monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    main([f"{target}:unbiased", "--as", "instance_norm", "--tier", "conditioning", "--seed", "3"])
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("from theirs import"))
    end = next(i for i, line in enumerate(lines) if line.startswith("print("))
    exec("\n".join(lines[start : end + 1]), {})
    assert float(capsys.readouterr().out) > 100


def test_what_is_no_function_is_imported_by_the_name_that_it_was_given(capsys, target):
    main([f"{target}:bound", *FEW])
    printed = capsys.readouterr().out
    assert "from theirs import bound" in printed
    assert "adapt(bound, as_=" in printed


def test_exact_does_not_decide_unless_asked_for(capsys, target):
    told = {}
    for tiers in ((), ("--tier", "exact")):
        arguments = [f"{target}:sound", "--as", "instance_norm", "--fuzz", "0", "--json", *tiers]
        main(arguments)
        told[tiers] = json.loads(capsys.readouterr().out)
    whole = told[()]
    assert whole["tiers"]["exact"]["status"] == "failed"
    decided = [v["status"] for tier, v in whole["tiers"].items() if tier != "exact"]
    assert whole["passed"] == ("failed" not in decided)
    assert not told["--tier", "exact"]["passed"]


@pytest.mark.parametrize(
    ("target", "options", "text"),
    [
        ("nothing.here:norm", (), "nothing.here cannot be imported: ModuleNotFoundError: "),
        ("json:dump_s", (), "json has no 'dump_s'; there is dumps, dump"),
        ("json", (), "must be module:function, file.py:function or model.onnx"),
        ("missing.py:norm", (), "there is no such file"),
        ("missing.onnx", (), "there is no such file"),
        ("{file}:tiled", (), "TypeError: parameter 'blocks' of tiled has a name that is not known"),
        ("{file}:syntax", (), "cannot be imported: SyntaxError: "),
        ("{file}:leaves", (), "cannot be imported: SystemExit: 7"),
        ("{file}:grouped", (), "parameter 'num_groups' is that of a group norm, not of a layer_no"),
        ("{file}:plain", ("--as", "group_norm"), "plain has no parameter for the groups: groups, "),
        ("json:loads", ("--library", "array-api-strict", "--device", "moon"), "--device moon of "),
    ],
)
def test_what_cannot_be_had(capsys, tmp_path, target, options, text):
    if "strict" in str(options):
        pytest.importorskip("array_api_strict")
        target = "revnorm:instance_norm"
    sources = {
        "syntax": "def f(:",
        "leaves": "raise SystemExit(7)",
        "grouped": "def grouped(x, num_groups): return x",
        "plain": "def plain(x): return x",
        "tiled": "def tiled(x, blocks): return x",
    }
    file = tmp_path / f"{target.rpartition(':')[2]}_.py"
    file.write_text(sources.get(file.stem[:-1], ""))
    assert main([target.format(file=file), "--as", "layer_norm", *options]) == 2
    printed = capsys.readouterr()
    assert text in printed.err
    assert printed.out == ""
    sys.modules.pop(file.stem, None)


ODD = """
import torch
from numpy import float64, zeros


def raises(x):
    raise RuntimeError("no kernel image")


def leaves(x):
    raise SystemExit(3)


def nothing(x):
    pass


def flat(x):
    return x.reshape(-1)


def lost(x):
    return x / 0


def wide(x):
    return x.astype(float64)


def foreign(x):
    return torch.zeros(x.shape)


def prints(x):
    print("debug")
    return zeros(x.shape, x.dtype)
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "raises",
            "It raises an exception in all 4 cases that fail: RuntimeError: no kernel image.",
        ),
        ("raises", "Its module imports torch: was --library torch meant?"),
        ("leaves", "It raises an exception in all 4 cases that fail: SystemExit: 3."),
        (
            "nothing",
            "It raises an exception in all 4 cases that fail: TypeError: the result is None.",
        ),
        ("flat", "Its result has another shape than the data."),
        ("flat", "shape (7680,), the data's is (6, 5, 256)"),
        ("wide", "dtype float64, the input's is float32"),
        ("foreign", "an array of torch for one of numpy"),
        ("lost", "formula: NaN or infinity in the wrong places"),
        ("prints", "It printed "),
    ],
)
def test_kernels_that_do_odd_things(capsys, tmp_path, name, text):
    pytest.importorskip("torch")
    (tmp_path / "odd_kernels.py").write_text(ODD)
    options = ["--as", "layer_norm", "--tier", "formula", "--tier", "conduct", "--fuzz", "0"]
    assert main([f"{tmp_path / 'odd_kernels.py'}:{name}", *options, "--json", "--ndim", "3"]) == 1
    told = capsys.readouterr().out
    found = json.loads(told)
    assert text.removesuffix("all 4 cases").partition(" all ")[0] in told
    assert set(found["tiers"]) == set(TIERS)
    sys.modules.pop("odd_kernels", None)


def test_the_smallest_input_is_written_down(capsys, target, monkeypatch):
    pytest.importorskip("hypothesis")
    monkeypatch.setattr(_check, "shrink", partial(shrink, seconds=math.inf))
    found = []
    for _ in range(2):
        main([f"{target}:unbiased", *FEW, "--json", "--seed", "5"])
        found.append(json.loads(capsys.readouterr().out)["smallest"])
    assert found[0] == found[1]
    exec(found[0], {})
    assert float(capsys.readouterr().out.split()[-1]) > 1000


def test_without_hypothesis_the_case_of_the_battery_is_written_down(capsys, target, monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    assert main([f"{target}:unbiased", *FEW]) == 1
    printed = capsys.readouterr().out
    assert "With hypothesis installed, the smallest input that fails is shown." in printed
    assert "battery = " in printed


def test_what_the_options_say_is_all_that_is_run(capsys, target):
    main([f"{target}:sound", "--as", "instance_norm", "--json", "--ndim", "3", "--contiguous"])
    found = json.loads(capsys.readouterr().out)
    run = {case.name: case for case in cases("instance_norm", seed=found["seed"])}
    for left_out in found["not_run"]:
        case = run.pop(left_out["case"])
        x = case.arrays_in("float32")[0]
        declared = x.ndim == 3 and x.flags.c_contiguous
        assert declared != (left_out["text"] == "outside what is declared")
    assert {case.arrays[0].ndim for case in run.values()} == {3}


def test_a_kernel_that_is_no_adapters_business(capsys):
    few = ["--as", "adain", "--tier", "formula", "--json"]
    assert main(["revnorm:adain", *few]) == 0
    assert json.loads(capsys.readouterr().out)["passed"]


def test_the_command_in_a_process(target):
    arguments = [sys.executable, "-m", "revnorm", "check", f"{target}:sound", *FEW, "--json"]
    run = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["passed"]


def test_main_hands_over(capsys, target):
    assert command.main(["check", f"{target}:unbiased", *FEW, "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["passed"]
