"""
Forecast electricity transformers in closed form, with and without RevIN
========================================================================

One linear map from the last 336 hours to the next 96 to 720 is shared by the seven variables of
ETT [1]_ and found by ridge regression, so there is no training loop. With the windows of a
series as the rows of X, a column of ones beside them, and their futures as the rows of Y,

    W = argmin ‖D (X W - Y)‖² + λ ‖W‖² = (XᵀD²X + λI)⁻¹ XᵀD²Y,   forecast = norm_map.inv(x W).

With RevIN [2]_ each row of X is normalized, Y is carried through the same maps, and D holds the
deviations that were divided by: errors count in the units of the data. Without it D and the maps
are identities. A model between RevIN and its inverse does not have to know the level of a
series, and in ETTh2 the level of the test months is not the one of the training.

Splits, units and errors are those of the published tables: 8640 hours to train, 2880 to
validate, 2880 to test; everything in units of the training part's deviation; every window
counts. λ is the one that does best on the validation part. Beside the errors stand those published
for linear models that were trained by gradient descent: DLinear [3]_, which has no RevIN, and
RLinear [4]_, which has.

.. figure:: /_static/forecast_ett.svg
   :alt: Mean squared error against the hours ahead for ETTh1 and ETTh2, with and without RevIN,
         close to the published lines of RLinear and DLinear. Without RevIN the errors of ETTh2
         grow steeply.

   Drawn on 2026-11-30 by ``python examples/forecast_ett.py --picture`` and the path.

The environment variable REVNORM_ETT names the folder of ETTh1.csv and ETTh2.csv, which are at
https://github.com/zhouhaoyi/ETDataset (CC BY-ND 4.0).

.. [1] H. Zhou et al., "Informer: Beyond Efficient Transformer for Long Sequence Time-Series
   Forecasting", AAAI 2021.
.. [2] T. Kim et al., "Reversible Instance Normalization for Accurate Time-Series Forecasting
   against Distribution Shift", ICLR 2022.
.. [3] A. Zeng et al., "Are Transformers Effective for Time Series Forecasting?", AAAI 2023.
.. [4] Z. Li et al., "Revisiting Long-term Time Series Forecasting: An Investigation on Linear
   Mapping", arXiv:2305.10721.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

import revnorm as rn

Array = Any

HOURS = (8640, 2880, 2880)
LOOKBACK = 336
RIDGES = (1.0, 10.0, 100.0)
WINDOWS_AT_ONCE = 512


class Score(NamedTuple):
    mse: float
    mae: float


# Of the papers' tables, for 336 hours seen.
PUBLISHED = {
    ("ETTh1", "DLinear"): {
        96: Score(0.375, 0.399),
        192: Score(0.405, 0.416),
        336: Score(0.439, 0.443),
        720: Score(0.472, 0.490),
    },
    ("ETTh1", "RLinear"): {
        96: Score(0.366, 0.391),
        192: Score(0.404, 0.412),
        336: Score(0.420, 0.423),
        720: Score(0.442, 0.456),
    },
    ("ETTh2", "DLinear"): {
        96: Score(0.289, 0.353),
        192: Score(0.383, 0.418),
        336: Score(0.448, 0.465),
        720: Score(0.605, 0.551),
    },
    ("ETTh2", "RLinear"): {
        96: Score(0.262, 0.331),
        192: Score(0.319, 0.374),
        336: Score(0.325, 0.386),
        720: Score(0.372, 0.421),
    },
}
COLOURS = {"RLinear": "#1a6fc2", "DLinear": "#c2571a"}


def read(name: str, library: str = "numpy") -> Array:
    """A dataset as (variables, hours), in units of the training part's standard deviation."""
    folder = os.environ.get("REVNORM_ETT")
    if folder is None:
        raise SystemExit("REVNORM_ETT must name the folder that holds ETTh1.csv and ETTh2.csv")
    path = Path(folder) / f"{name}.csv"
    if not path.is_file():
        raise SystemExit(f"REVNORM_ETT is {folder!r}, and {path.name} is not in that folder")
    table = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 8))
    series = import_module(library).asarray(table.T.copy())
    return rn.standardizer(series[:, : HOURS[0]], axis=1, eps=0.0)(series)


def windows(series: Array, begin: int, end: int, horizon: int) -> Iterator[tuple[Array, Array]]:
    """Pasts and futures as rows, for all futures within the hours from begin to end."""
    xp = array_api_compat.array_namespace(series)
    span = xp.arange(LOOKBACK + horizon)
    stop = end - LOOKBACK - horizon + 1
    for first in range(begin - LOOKBACK, stop, WINDOWS_AT_ONCE):
        starts = xp.arange(first, min(first + WINDOWS_AT_ONCE, stop))
        at = xp.reshape(starts[:, None] + span[None, :], (-1,))
        rows = xp.reshape(xp.take(series, at, axis=1), (-1, LOOKBACK + horizon))
        yield rows[:, :LOOKBACK], rows[:, LOOKBACK:]


def normalize(past: Array, revin: bool) -> tuple[Array, rn.AffineMap]:
    """Rows as the model reads them, ones for the intercept at their ends, and their maps."""
    xp = array_api_compat.array_namespace(past)
    ones = xp.ones_like(past[:, :1])
    if revin:
        past, norm_map = rn.revin(past, axis=1)
    else:
        norm_map = rn.standardizer(rn.Moments(0 * ones, 0 * ones, ones, ones), eps=0.0)
    return xp.concat([past, ones], axis=1), norm_map


def fit(series: Array, begin: int, end: int, horizon: int, revin: bool) -> list[Array]:
    """The ridge regressions of futures on pasts, one for each of RIDGES."""
    xp = array_api_compat.array_namespace(series)
    gram = moment = 0.0
    for past, future in windows(series, begin, end, horizon):
        x, norm_map = normalize(past, revin)
        deviation = norm_map.inv.spread(xp.ones_like(x[:, :1]))
        x, y = x * deviation, norm_map(future) * deviation
        gram, moment = gram + x.T @ x, moment + x.T @ y
    identity = xp.eye(LOOKBACK + 1, dtype=series.dtype)
    return [xp.linalg.solve(gram + ridge * identity, moment) for ridge in RIDGES]


def evaluate(
    weights: Sequence[Array], series: Array, begin: int, end: int, horizon: int, revin: bool
) -> list[Score]:
    """The errors of each matrix of weights over all windows."""
    sums, count = np.zeros((len(weights), 2)), 0
    for past, future in windows(series, begin, end, horizon):
        x, norm_map = normalize(past, revin)
        for i, matrix in enumerate(weights):
            error = norm_map.inv(x @ matrix) - future
            sums[i] += float((error * error).sum()), float(abs(error).sum())
        count += future.shape[0] * horizon
    return [Score(*(total / count)) for total in sums]


def forecast(series: Array, horizon: int, revin: bool) -> Score:
    """The errors on the test part, with the ridge that the validation part prefers."""
    trained, validated, tested = (sum(HOURS[:part]) for part in (1, 2, 3))
    weights = fit(series, LOOKBACK, trained, horizon, revin)
    scores = evaluate(weights, series, trained, validated, horizon, revin)
    best = weights[scores.index(min(scores))]
    return evaluate([best], series, validated, tested, horizon, revin)[0]


def show(title: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A table, in the colours of rich where that is installed."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print(title, *("  ".join(line) for line in (header, *lines)), sep="\n")
        return
    table = Table(*header, title=title)
    for line in lines:
        table.add_row(*line)
    Console().print(table)


def line(dataset: str, hours: int, revin: bool, score: Score) -> list[str]:
    """A line of the table: the errors found, and those published for a model of the kind."""
    kin = "RLinear" if revin else "DLinear"
    published = PUBLISHED[dataset, kin].get(hours)
    model = "RevIN" if revin else "plain"
    beside = [kin, *(f"{one:.3f}" for one in published)] if published else ["", "", ""]
    return [str(hours), model, f"{score.mse:.3f}", f"{score.mae:.3f}", *beside]


def draw(path: Path, scores: dict[tuple[str, int, bool], Score]) -> None:
    """Errors against the hours ahead, with the published ones dashed."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    datasets = sorted({dataset for dataset, _, _ in scores})
    figure, axes = plt.subplots(1, len(datasets), figsize=(9, 3.4), squeeze=False)
    for cell, dataset in zip(axes[0], datasets, strict=True):
        for revin, kin in ((False, "DLinear"), (True, "RLinear")):
            found = {
                h: score.mse
                for (name, h, r), score in scores.items()
                if (name, r) == (dataset, revin)
            }
            published = PUBLISHED[dataset, kin]
            label = "ridge, RevIN" if revin else "ridge, plain"
            cell.plot(found.keys(), found.values(), "o-", color=COLOURS[kin], label=label)
            errors = [score.mse for score in published.values()]
            cell.plot(
                published.keys(), errors, ".--", color=COLOURS[kin], label=f"{kin}, published"
            )
        cell.set_title(dataset, fontsize=10)
        cell.set(xlabel="hours ahead", ylim=(0, None), xticks=list(published))
    axes[0, 0].set_ylabel("mean squared error")
    axes[0, 0].legend(framealpha=0, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


# sphinx_gallery_thumbnail_path = '_static/forecast_ett.svg'
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Forecast electricity transformers in closed form, with and without RevIN."
    )
    parser.add_argument("--library", choices=("numpy", "torch"), default="numpy")
    names = ("ETTh1", "ETTh2")
    parser.add_argument("--datasets", nargs="+", choices=names, default=["ETTh2"])
    parser.add_argument("--horizons", type=int, nargs="+", default=[96, 720])
    parser.add_argument(
        "--picture", type=Path, help="draw both datasets, at all horizons published"
    )
    chosen = parser.parse_args(arguments)
    if chosen.picture:
        chosen.datasets, chosen.horizons = names, list(PUBLISHED["ETTh1", "RLinear"])
    scores = {}
    for dataset in chosen.datasets:
        series = read(dataset, chosen.library)
        lines = []
        for hours in chosen.horizons:
            for revin in (True, False):
                score = scores[dataset, hours, revin] = forecast(series, hours, revin)
                lines.append(line(dataset, hours, revin, score))
        title = f"{dataset} on {chosen.library}, errors of the test part"
        header = ["hours", "ridge", "MSE", "MAE", "published", "MSE", "MAE"]
        show(title, header, lines)
    if chosen.picture:
        draw(chosen.picture, scores)


if __name__ == "__main__":
    main()
