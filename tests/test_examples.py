"""Each example runs, and shows what it says."""

import csv
import os
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def smaller(name, **changes):
    """An example with some of its assignments changed, so that it takes a moment only."""
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    for variable, value in changes.items():
        text, found = re.subn(rf"^{variable} = .*$", f"{variable} = {value!r}", text, flags=re.M)
        assert found == 1, variable
    module = ModuleType(name)
    exec(compile(text, name, "exec"), vars(module))
    return module


@pytest.fixture
def matplotlib():
    yield pytest.importorskip("matplotlib")
    from matplotlib import pyplot

    pyplot.close("all")


class TestForecastETT:
    """On a table of the same form, whose level moves between training and test."""

    hours = (400, 150, 150)

    @pytest.fixture
    def ett(self, tmp_path, monkeypatch):
        rng = np.random.default_rng(0)
        time = np.arange(sum(self.hours))
        waves = np.sin(2 * np.pi * (time[:, None] / 24 + rng.random(7)))
        level = np.where(time < sum(self.hours[:2]), 0.0, 5.0)[:, None]
        table = waves + level + 0.1 * rng.standard_normal(waves.shape)
        with open(tmp_path / "ETTh2.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["date", "HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"])
            for hour, row in zip(time, table, strict=True):
                writer.writerow([f"2016-07-01 {hour}", *row])
        monkeypatch.setenv("REVNORM_ETT", str(tmp_path))
        module = load("forecast_ett")
        monkeypatch.setattr(module, "HOURS", self.hours)
        monkeypatch.setattr(module, "LOOKBACK", 48)
        return module

    @pytest.mark.parametrize("library", ["numpy", "torch"])
    def test_revin_follows_the_level(self, ett, library):
        pytest.importorskip(library)
        series = ett.read("ETTh2", library)
        revin, plain = (ett.forecast(series, 24, revin) for revin in (True, False))
        assert revin.mse < 0.5 * plain.mse
        assert revin.mae < 0.5 * plain.mae

    def test_libraries_agree(self, ett):
        pytest.importorskip("torch")
        scores = [ett.forecast(ett.read("ETTh2", name), 24, True) for name in ("numpy", "torch")]
        # Normal equations of 49 unknowns in float64, their condition number below 1e6.
        np.testing.assert_allclose(*scores, rtol=1e-9)

    def test_windows(self, ett):
        series = np.arange(14.0).reshape(2, 7)
        ett.LOOKBACK = 3
        pasts, futures = next(ett.windows(series, 3, 7, 2))
        np.testing.assert_array_equal(pasts[:3], [[0, 1, 2], [1, 2, 3], [2, 3, 4]])
        np.testing.assert_array_equal(futures[:3], [[3, 4], [4, 5], [5, 6]])
        np.testing.assert_array_equal(pasts[3:], pasts[:3] + 7)

    def test_least_squares_in_units_of_the_data(self, ett):
        series = ett.read("ETTh2")
        rows = [np.concatenate(part) for part in zip(*ett.windows(series, 48, 400, 24))]
        past, future = rows
        mean, std = past.mean(1, keepdims=True), np.sqrt(past.var(1, keepdims=True) + 1e-5)
        x = np.concatenate([past - mean, std], axis=1)
        ridge = np.sqrt(ett.RIDGES[1]) * np.eye(49)
        x, y = np.concatenate([x, ridge]), np.concatenate([future - mean, np.zeros((49, 24))])
        expected = np.linalg.lstsq(x, y)[0]
        weights = ett.fit(series, 48, 400, 24, revin=True)[1]
        np.testing.assert_allclose(weights, expected, rtol=1e-8, atol=1e-10)

    def test_main(self, ett, capsys):
        ett.main(["--horizons", "12", "24"])
        printed = capsys.readouterr().out
        assert "ETTh2 on numpy" in printed
        assert printed.count("RevIN") == printed.count("plain") == 2

    def test_published_beside(self, ett):
        score = ett.Score(0.5, 0.25)
        line = ett.line("ETTh2", 96, True, score)
        assert line == ["96", "RevIN", "0.500", "0.250", "RLinear", "0.262", "0.331"]
        assert ett.line("ETTh2", 24, False, score)[4:] == ["", "", ""]

    def test_picture(self, ett, matplotlib, tmp_path):
        scores = {("ETTh2", hours, r): ett.Score(0.5, 0.25) for hours in (96, 720) for r in (0, 1)}
        ett.draw(tmp_path / "picture.svg", scores)
        assert "<svg" in (tmp_path / "picture.svg").read_text(encoding="utf-8")

    @pytest.mark.skipif("REVNORM_ETT" not in os.environ, reason="REVNORM_ETT is not set")
    @pytest.mark.parametrize(
        ("library", "horizon", "revin", "expected"),
        [
            ("numpy", 96, True, (0.273, 0.335)),
            ("numpy", 96, False, (0.302, 0.365)),
            ("torch", 96, True, (0.273, 0.335)),
            ("numpy", 720, True, (0.390, 0.429)),
        ],
    )
    def test_figures(self, library, horizon, revin, expected):
        pytest.importorskip(library)
        module = load("forecast_ett")
        score = module.forecast(module.read("ETTh2", library), horizon, revin)
        # To the three digits that the tables are printed in.
        np.testing.assert_allclose(score, expected, atol=5e-4)

    def test_folder(self, ett, monkeypatch, tmp_path):
        monkeypatch.setenv("REVNORM_ETT", str(tmp_path / "elsewhere"))
        with pytest.raises(SystemExit, match=r"ETTh2\.csv is not in that folder"):
            ett.main([])
        monkeypatch.delenv("REVNORM_ETT")
        with pytest.raises(SystemExit, match=r"^REVNORM_ETT must name the folder that holds"):
            ett.main([])


def test_style_transfer_statistics(matplotlib):
    pytest.importorskip("PIL")
    pytest.importorskip("sklearn")
    module = load("style_transfer_statistics")
    # float64 pictures of magnitudes near 1.
    close = {"rtol": 0, "atol": 1e-4}
    for x, style in ((module.transferred, module.style), (module.steps[-1], module.style)):
        np.testing.assert_allclose(x.mean((0, 1)), style.mean((0, 1)), rtol=1e-9, atol=1e-12)
        # The deviations but for eps, 1e-5 beside variances from 4e-4.
        np.testing.assert_allclose(x.std((0, 1)), style.std((0, 1)), rtol=0.02)
    np.testing.assert_allclose(module.steps[0], module.x, **close)
    np.testing.assert_allclose(module.steps[2], (module.x + module.transferred) / 2, **close)
    np.testing.assert_allclose(module.blended[-1], module.transferred, **close)
    halves = module.blended[0] + module.blended[-1]
    np.testing.assert_allclose(module.blended[2], halves / 2, **close)
    # Much of the drawing is transparent, in a white that nobody sees.
    seen = module.from_rgb(module.drawing).mean((0, 1), where=module.opaque)
    np.testing.assert_allclose(module.blended[0].mean((0, 1)), seen, rtol=1e-9, atol=1e-12)
    assert abs(module.unmasked.mean((0, 1)) - seen).max() > 0.1
    # The way back from the colour space, but for what is darker than it can say.
    back = module.to_rgb(module.from_rgb(module.content))
    np.testing.assert_allclose(back, module.content.clip(module.DARKEST), rtol=1e-12)
    assert module.correlation(module.from_rgb(module.content)) < module.correlation(module.content)


def test_forecast_distribution(matplotlib, capsys):
    module = load("forecast_distribution")
    expected = module.main(["--months", "3", "--stocks", "IBM", "AMZN"])
    assert "AMZN" in capsys.readouterr().out
    assert all(field.shape == (3, 2) for field in expected)
    np.testing.assert_allclose(expected.deviation**2, expected.variance, rtol=1e-12)
    names, prices = module.read()
    # From January 1990 to June 2022, IBM traded throughout.
    assert prices.shape == (12 * 32 + 6, len(names))
    assert np.isfinite(prices[:, names.index("IBM")]).all()
    assert (np.diff(prices[-2:], axis=0) != 0).all()
    # In the units of a stock, its forecast moves and widens with it.
    stretched = module.forecast(prices * 10 - 7, 3, [names.index("AMZN")])
    eps = 1e-4
    np.testing.assert_allclose(stretched.mean[:, 0], expected.mean[:, 1] * 10 - 7, rtol=eps)
    np.testing.assert_allclose(stretched.deviation[:, 0], expected.deviation[:, 1] * 10, rtol=eps)


def test_drifting_level(matplotlib):
    """The picture of the first page: with RevIN, the forecast is closer at every horizon."""
    module = load("drifting_level")
    truth, level = module.late_future, abs(module.late_past[:, -1:])
    plain, revin = (
        np.median(abs(y - truth) / level, axis=(0, 2)) for y in (module.plain, module.forecast)
    )
    assert (revin < plain).all()
    assert revin[-1] < 0.7 * plain[-1]


def test_sensor_gaps(matplotlib):
    module = load("sensor_gaps")
    seen = module.observed
    assert abs(module.whole - module.masked)[seen].mean() < 0.1
    # The zeros stand so far below the level that what was measured is one flat line.
    for sensor in range(4):
        assert module.filled[seen[:, sensor], sensor].std() < 0.25
        assert module.masked[seen[:, sensor], sensor].std() > 0.9


def test_light_and_contrast(matplotlib):
    pytest.importorskip("PIL")
    module = load("light_and_contrast")
    assert np.ptp(module.alike, axis=0).max() < 1e-5 < 0.5 < np.ptp(module.pictures, axis=0).max()
    brightness = [np.ptp(y.mean(axis=(1, 2, 3))) for y in module.kept]
    assert brightness == sorted(brightness, reverse=True)


def test_broken_kernel(matplotlib, capsys):
    module = load("broken_kernel")
    printed = capsys.readouterr().out
    assert printed.count("accepted") == 4
    assert "unbiased: It looks like the unbiased variance." in printed
    assert "no_reduction: It looks like no reduction at all" in printed
    verdicts = {name: report.tiers for name, report in module.reports.items()}
    assert verdicts["two_pass"]["formula"] == verdicts["two_pass"]["conditioning"] == "passed"
    assert verdicts["one_pass"]["formula"] == "passed"
    assert verdicts["one_pass"]["conditioning"] == "failed"


def test_pictures_of_the_first_page_are_there():
    root = EXAMPLES.parent
    found = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (root / "README.md").read_text(encoding="utf-8"))
    assert len(found) >= 3
    for path in found:
        assert (root / path).is_file(), path


def test_onnx_forecaster(matplotlib):
    for name in ("torch", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    module = load("onnx_forecaster")
    # Two float32 dot products of 36 and 32 terms, 2^-24 each, and a factor for what cancels.
    bound = 4 * (36 + 32) * 2.0**-24
    np.testing.assert_allclose(module.forecast, module.expected, rtol=bound)
    np.testing.assert_allclose(module.cents / 100, module.forecast, rtol=bound)
    np.testing.assert_allclose(module.one, module.forecast[-1:, :, :1], rtol=bound)
    # Nothing but ONNX's own operations.
    assert {node.domain for node in module.graph.node} == {""}


def test_larger_than_memory(matplotlib):
    pytest.importorskip("dask.array")
    pytest.importorskip("sklearn")
    module = smaller("larger_than_memory", CHUNKS=24)
    # float64 sums of 3e6 rows, pairwise, of columns up to 5 deviations from zero.
    assert module.ours.max() < 1e-11 < 1e-6 < module.theirs.max()
    assert max(module.held.peak, module.counted.peak) < module.large.nbytes / 1e6 / 4
    np.testing.assert_allclose(module.share, module.known, rtol=1e-12)


def test_replace_instance_norm(matplotlib):
    torch = pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    module = smaller("replace_instance_norm", STEPS=10)
    assert module.apart < 1e-3
    kinds = {type(one) for one in module.ours.modules()}
    assert torch.nn.InstanceNorm2d not in kinds
    assert torch.nn.InstanceNorm2d in {type(one) for one in module.theirs.modules()}


def test_gate_of_light(matplotlib):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    module = smaller("gate_of_light", gates=(0.0, 1.0))
    instance, batch = (tuple(found.values()) for found in module.answers)
    # The digit as in training, the digit in a new light, bright or dark.
    assert min(instance[0], instance[1], batch[0], batch[2]) > 90
    assert max(instance[2], batch[1]) < 60
