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
counts. λ is the one that does best on the validation part.

The environment variable REVNORM_ETT names the folder of ETTh1.csv and ETTh2.csv, which are at
https://github.com/zhouhaoyi/ETDataset (CC BY-ND 4.0).

.. [1] H. Zhou et al., "Informer: Beyond Efficient Transformer for Long Sequence Time-Series
   Forecasting", AAAI 2021.
.. [2] T. Kim et al., "Reversible Instance Normalization for Accurate Time-Series Forecasting
   against Distribution Shift", ICLR 2022.
"""

import argparse
import os
import time
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Forecast electricity transformers in closed form, with and without RevIN."
    )
    parser.add_argument("--library", choices=("numpy", "torch"), default="numpy")
    parser.add_argument("--dataset", choices=("ETTh1", "ETTh2"), default="ETTh2")
    parser.add_argument("--horizons", type=int, nargs="+", default=[96, 720])
    chosen = parser.parse_args(arguments)
    series = read(chosen.dataset, chosen.library)
    lines = []
    for horizon in chosen.horizons:
        for revin in (True, False):
            started = time.perf_counter()
            score = forecast(series, horizon, revin)
            seconds = f"{time.perf_counter() - started:.1f}"
            model = "RevIN" if revin else "plain"
            lines.append([str(horizon), model, f"{score.mse:.3f}", f"{score.mae:.3f}", seconds])
    title = f"{chosen.dataset} on {chosen.library}, errors of the test part"
    show(title, ["hours", "ridge", "MSE", "MAE", "seconds"], lines)


if __name__ == "__main__":
    main()
