"""The command: its table, its JSON, what is missing and its exit status."""

import json
import subprocess
import sys

import numpy as np
import pytest

import revnorm as rn
import revnorm.__main__ as command
from kernels import KERNELS
from revnorm.testing import cases

pytest.importorskip("matplotlib")
pytest.importorskip("rich")


def run(capsys, *arguments):
    status = command.main(list(arguments))
    return status, capsys.readouterr().out


def test_json_is_json_and_nothing_else(capsys):
    status, printed = run(capsys, "--json", "--library", "numpy")
    told = json.loads(printed)
    assert status == 0
    assert told["passed"]
    assert told["versions"]["revnorm"] == rn.__version__
    assert told["versions"]["numpy"] == np.__version__
    assert told["bounds"]["numpy"]["forward"] == 0.51
    assert tuple(cell["kernel"] for cell in told["results"]) == KERNELS
    assert all(0 < cell["error"] <= 0.51 for cell in told["results"])


def cells(*libraries):
    """What a run of the kernels would make, without the run."""
    return [
        command.Cell(library, kernel, "passed", "A", 0.499, 0.5, 1.0, len(cases(kernel)))
        for library in libraries
        for kernel in KERNELS
    ]


@pytest.mark.parametrize("columns", [40, 50, 80, 120])
def test_table_fits_the_terminal(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table, _ = command._terminal()
    print_table([*cells("numpy", "array-api-strict"), command.Cell("mlx", "revin", "missing")], 1.0)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= columns
    number = len(cases("conditional_instance_norm"))
    for word in ("numpy", "revin", "recipe A", "held to 0.51 / 2", "not installed"):
        assert word in printed
    assert printed.count(f"{number}/{number}") >= 2
    assert printed.count("0.499") == printed.count("1.000") == 2 * len(KERNELS)


def test_progress_counts_what_is_installed(monkeypatch):
    from rich import progress as rich_progress

    totals, advanced = [], []

    class Counted(rich_progress.Progress):
        def add_task(self, *arguments, total, **keywords):
            totals.append(total)
            return super().add_task(*arguments, total=total, **keywords)

        def update(self, task, *, advance, **keywords):
            advanced.append(advance)

    monkeypatch.setattr(rich_progress, "Progress", Counted)
    made = [*cells("numpy"), *(command.Cell("mlx", kernel, "missing") for kernel in KERNELS)]
    monkeypatch.setattr(command, "_cells", lambda *_: iter(made))
    _, progress = command._terminal()
    assert list(progress(["numpy", "mlx"], ["mlx"], [None] * len(KERNELS), False)) == made
    assert totals == [sum(advanced)] == [len(KERNELS)]


@pytest.mark.parametrize("arguments", [[], ["check", "numpy:mean"]])
def test_interrupted_without_a_traceback(capsys, monkeypatch, arguments):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "real_data", interrupted)
    monkeypatch.setattr(command._command, "main", interrupted)
    assert command.main(arguments) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_several_libraries_and_numpy_first(capsys):
    pytest.importorskip("array_api_strict")
    _, printed = run(capsys, "--json", "--library", "array-api-strict", "--library", "numpy")
    libraries = [cell["library"] for cell in json.loads(printed)["results"]]
    assert libraries == ["numpy"] * 6 + ["array-api-strict"] * 6


def test_every_case_is_run_where_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(command, "_SLOW", ("numpy",))
    for arguments, every in (((), False), (("--every-case",), True)):
        _, printed = run(capsys, "--json", "--library", "numpy", *arguments)
        for cell in json.loads(printed)["results"]:
            assert (cell["cases"] == len(cases(cell["kernel"]))) == every
            assert cell["cases"] > 10


def test_a_case_out_of_bounds_is_told_and_status_1(capsys, monkeypatch):
    exact = rn.instance_norm

    def poor_at_constants(x, *parameters, **options):
        y = exact(x, *parameters, **options)
        return y if np.any(x != x.flat[0]) else y + np.float32(1)

    monkeypatch.setattr(rn, "instance_norm", poor_at_constants)
    status, printed = run(capsys, "--library", "numpy")
    assert status == 1
    assert "numpy, instance_norm: constant: forward" in printed


def test_a_library_that_is_missing_is_a_grey_row(capsys, monkeypatch):
    monkeypatch.setattr(command, "_installed", lambda library: library == "numpy")
    status, printed = run(capsys)
    assert status == 0
    assert printed.count("not installed") == len(command.LIBRARIES) - 1


def test_a_library_asked_for_and_missing(capsys, monkeypatch):
    monkeypatch.setattr(command, "_installed", lambda library: library == "numpy")
    assert command.main(["--library", "array-api-strict"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ('array-api-strict is missing: pip install "revnorm[strict]"\n')


def test_an_inaccurate_kernel_is_status_1(capsys, monkeypatch):
    exact = rn.instance_norm

    def off(x, *parameters, **options):
        return exact(x, *parameters, **options) * np.float32(1.00001)

    monkeypatch.setattr(rn, "instance_norm", off)
    status, printed = run(capsys, "--json", "--library", "numpy")
    failed = [c["kernel"] for c in json.loads(printed)["results"] if c["status"] == "failed"]
    assert status == 1
    assert failed == ["instance_norm"]


def test_a_kernel_that_raises_is_told_and_status_1(capsys, monkeypatch):
    def broken(*arrays, **options):
        raise RuntimeError("no such axis")

    monkeypatch.setattr(rn, "adain", broken)
    status, printed = run(capsys, "--library", "numpy")
    assert status == 1
    assert "numpy, adain: RuntimeError: no such axis" in printed


def test_without_the_demo_one_sentence_and_status_2(tmp_path):
    for name in ("rich", "matplotlib"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
        run = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys, runpy; sys.path.insert(0, sys.argv.pop()); "
                "runpy.run_module('revnorm', run_name='__main__')",
                str(tmp_path),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        (tmp_path / f"{name}.py").unlink()
        assert run.returncode == 2
        assert run.stderr == 'The demo needs matplotlib and rich: pip install "revnorm[demo]"\n'
        assert run.stdout == ""


def test_the_data_is_real():
    runs = {run.kernel: run for run in command.real_data()}
    (prices,) = runs["revin"].arrays
    assert np.isnan(prices).any()
    assert np.isfinite(prices[..., 0]).all()
    assert np.isfinite(prices).any(axis=1).any()
    assert runs["instance_norm"].arrays[0].shape[:2] == (2, 3)
    assert all(run.arrays[0].dtype == np.float32 for run in runs.values())
