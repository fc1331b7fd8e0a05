"""Each example runs, and shows what it says."""

import csv
import os
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib")


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


def test_style_transfer_statistics(matplotlib, tmp_path, capsys):
    pytest.importorskip("PIL")
    module = load("style_transfer_statistics")
    path = module.main([str(tmp_path / "row.png")])
    assert str(path) in capsys.readouterr().out
    content, style = module.read("grace_hopper.jpg"), module.read("Minduka_Present_Blue_Pack.png")
    written = matplotlib.image.imread(path)
    shape = content.colours.shape
    assert written.shape[:2] == (shape[0], 4 * shape[1])
    _, full, half, by_middle = module.pictures(content, style)
    # float32 pictures of magnitudes near 1, their statistics taken in float64 by NumPy.
    statistics = {"axis": (0, 1), "dtype": np.float64}
    # A third of the style is transparent, in a white that nobody sees.
    assert 0.3 < 1 - style.seen.mean() < 0.5
    wanted = style.colours.mean(**statistics, where=style.seen)
    assert np.all(abs(wanted - style.colours.mean(**statistics)) > 0.01)
    np.testing.assert_allclose(full.mean(**statistics), wanted, rtol=1e-6)
    np.testing.assert_allclose(half, (content.colours + full) / 2, atol=1e-6)
    seen = np.broadcast_to(module.middle(content.colours), shape)
    np.testing.assert_allclose(by_middle.mean(**statistics, where=seen), wanted, rtol=1e-6)


def test_what_is_transparent_stays_so(matplotlib, tmp_path):
    pytest.importorskip("PIL")
    module = load("style_transfer_statistics")
    names = {"--style": "grace_hopper.jpg", "--content": "Minduka_Present_Blue_Pack.png"}
    path = module.main([str(tmp_path / "row.png"), *sum(names.items(), ())])
    content = module.read(names["--content"])
    # Written with 8 bits.
    alpha = matplotlib.image.imread(path)[..., 3:]
    np.testing.assert_allclose(alpha, np.tile(content.alpha, (1, 4, 1)), atol=1 / 255)


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
