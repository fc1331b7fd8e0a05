"""`python -m revnorm check`: the screen, the JSON, the seed and the exit status."""

import json
import subprocess
import sys

import pytest

import revnorm.__main__ as command
from revnorm.testing._command import main

KERNELS = """
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
    assert "failed" in printed.splitlines()[-1]
    assert len(printed.splitlines()) < 45


def test_json_and_the_seed_that_replays(capsys, target):
    assert main([f"{target}:unbiased", *FEW, "--json"]) == 1
    first = json.loads(capsys.readouterr().out)
    assert main([f"{target}:unbiased", *FEW, "--json", "--seed", str(first["seed"])]) == 1
    assert json.loads(capsys.readouterr().out) == first
    assert first["tiers"]["formula"]["status"] == "failed"
    assert first["tiers"]["range"]["status"] == "not run"
    assert first["diagnosis"] == "It looks like the unbiased variance."
    assert not first["passed"]


def test_the_snippet_runs(capsys, target, monkeypatch):
    main([f"{target}:unbiased", "--as", "instance_norm", "--tier", "conditioning", "--seed", "3"])
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("from theirs import"))
    end = next(i for i, line in enumerate(lines) if line.startswith("print("))
    exec("\n".join(lines[start : end + 1]), {})
    assert float(capsys.readouterr().out) > 100


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
    ("target", "text"),
    [
        ("nothing.here:norm", "ModuleNotFoundError"),
        ("json:norm", "AttributeError"),
        ("json", "must be module:function"),
        ("missing.py:norm", "there is no file missing.py"),
    ],
)
def test_what_cannot_be_had(capsys, target, text):
    assert main([target, "--as", "layer_norm"]) == 2
    assert text in capsys.readouterr().err


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
