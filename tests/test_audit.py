"""The programs behind the pages on other implementations: what they count is so."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from revnorm.testing import check, reference

FOLDER = Path(__file__).parent.parent / "docs" / "audit"


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)


def loaded(name):
    return importlib.import_module(name)


SMALL = (((3, 4, 50), (2,)), ((2, 5, 6, 7), (2, 3)), ((3, 30, 5), (1,)), ((2, 7, 5, 3), (1, 2)))


@pytest.fixture
def rounding(monkeypatch):
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("longdouble is no wider than float64")
    module = loaded("rounding")
    monkeypatch.setattr(module, "SHAPES", SMALL)
    return module


@pytest.mark.parametrize("number", range(12))
def test_the_nearest_number_is_that_of_the_reference(rounding, number):
    data = rounding.sample(0, number)
    assert (data.scale is None) == (number % 2 == 0)
    found, _ = rounding.nearest(data)
    given = [one for one in (data.x, data.scale, data.bias) if one is not None]
    options = {"axis": data.axis, "channel_axis": data.channel_axis, "eps": rounding.EPS}
    exact = reference("instance_norm", *given, **options)
    np.testing.assert_array_equal(found, exact.astype(np.float32))


def test_rationals_decide_as_float64_does(rounding):
    for number in range(4):
        data = rounding.sample(1, number)
        found, _ = rounding.nearest(data)
        for at in [(0, 0, 0, 0), (1, 2, 1, 2)]:
            at = at[: data.x.ndim]
            low, high = (
                np.nextafter(np.nextafter(found[at], way), way)
                for way in (np.float32(-np.inf), np.float32(np.inf))
            )
            assert rounding.decided(data, at, low, high) == found[at]


def test_a_tie_goes_to_the_even_number(rounding):
    """Two numbers about 0, whose root is 1: the result is the scale, plus the bias."""
    x = np.asarray([[[-1.0, 1.0]]], dtype=np.float32)
    unit = np.float32(2.0**-24)
    for odd in (0, 1):
        scale = np.asarray([1 + odd * 2.0**-23], dtype=np.float32)
        data = rounding.Sample(x, (2,), scale, np.asarray([unit]))
        low = scale[0]
        high = np.nextafter(low, np.float32(2))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rounding, "EPS", 0.0)
            found = rounding.decided(data, (0, 0, 1), low, high)
        assert found == (high if odd else low)


def test_a_count_goes_on_from_what_is_kept(rounding, tmp_path):
    path = tmp_path / "kept.json"
    for rounds in (1, 2):
        kept = rounding.begun(path, ["numpy"])
        rounding.counted(kept, ["numpy"])
        rounding.written(kept, path)
        assert json.loads(path.read_text(encoding="utf-8"))["rounds"] == rounds
    assert kept["results"] == sum(np.prod(shape) for shape, _ in SMALL[:2])
    assert kept["not nearest"]["numpy"] <= 1
    with pytest.raises(SystemExit, match="choose another file"):
        rounding.begun(path, ["numpy", "torch"])


def test_what_tolerances_let_through():
    found = loaded("let_through").measured(1, 0)
    within = {key for key, (share,) in found.items() if share <= 1}
    passing = {name for name, dtype in within if dtype == "float32"}
    assert passing == {"the unbiased variance", "no eps", "E[x²] − E[x]² in float32"}
    assert ("(x − 0.5) · √12, nothing reduced", "float16") in within
    assert ("zeros", "float16") not in within


def test_the_kit_finds_each_of_them():
    let_through = loaded("let_through")
    for name, formula in let_through.FORMULAS.items():
        verdict, _, told = let_through.beyond(formula)
        assert "failed" in verdict, name
        assert told, name


def test_sound_implementations_in_random_cases():
    implementations, fuzzed = loaded("implementations"), loaded("fuzzed")
    for one in implementations.of_numpy():
        report = fuzzed.fuzzed(one, 0, 8)
        assert report.tiers["formula"] == "passed"
        assert (report.tiers["conditioning"] == "passed") == ("E[x²]" not in one.name)
        assert fuzzed.line(one.name, report).startswith(f"| {one.name} | 6 | 0 | ")


def test_a_table_and_a_picture_of_the_tiers(tmp_path):
    pytest.importorskip("matplotlib").use("agg")
    tiers, implementations = loaded("tiers"), loaded("implementations")
    rows = {
        one.name: tiers.row(check(one.function, one.kernel, tiers=["formula", "conditioning"]))
        for one in implementations.of_numpy()[:2]
    }
    lines = tiers.table(rows, ["flax"], "2026-01-01").splitlines()
    assert "| NumPy float32, two passes | ✓ | ✓ | – | – | – | – | – | – |" in lines
    assert any(line.startswith("| NumPy float32, E[x²] − E[x]² | ✓ | ✗ ") for line in lines)
    assert any("It looks like E[x²] − E[x]²" in line for line in lines)
    assert "Not installed: flax." in lines
    tiers.picture(rows, tmp_path / "tiers.svg")
    assert (tmp_path / "tiers.svg").stat().st_size > 1000
