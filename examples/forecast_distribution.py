"""
Bring a forecast distribution back to the units of the data, with its uncertainty
=================================================================================

Monthly prices of stocks, some of which were not traded for the first years: NaN in the table.
`where` leaves those months out of the statistics. Rows of other days than the first of a month,
which hold no prices or those of the last month again, are no months and are left out as they are
read. The model here is the plainest there is, a random walk with drift, fitted to all stocks
together, which makes sense only where they are normalized: centred on the last observed price,
in units of the stock's own deviation. It predicts a mean m and
a variance s² for each of the next months, and

    mean = norm_map.inv(m)
    deviation = norm_map.inv.spread(s)
    variance = norm_map.inv.variance(s²)

are the forecast in dollars. A variance must not be put through `norm_map.inv` itself: it would be
moved by the mean. A model that forecasts some of the stocks only takes those from the map with
`norm_map.take`.

The table is the Stocks.csv that ships with matplotlib.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook

import revnorm as rn


class Forecast(NamedTuple):
    """In the units of the data, as (months, stocks)."""

    mean: np.ndarray
    deviation: np.ndarray
    variance: np.ndarray


def read() -> tuple[list[str], np.ndarray]:
    """The names of the stocks, and their prices as (months, stocks), NaN where not traded."""
    with cbook.get_sample_data("Stocks.csv") as file:
        header, *rows = (line for line in file.read().splitlines() if not line.startswith("#"))
    names = header.split(",")[1:]
    months = [row for row in rows if row.partition(",")[0].endswith("-01")]
    return names, np.genfromtxt(months, delimiter=",", usecols=range(1, len(names) + 1))


def walk(y: np.ndarray, months: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a random walk with drift, from 0, for each month ahead."""
    steps = np.diff(y, axis=0)
    ahead = np.outer(np.arange(1, months + 1), np.ones(y.shape[1]))
    return np.nanmean(steps) * ahead, np.nanvar(steps) * ahead


def forecast(prices: np.ndarray, months: int, stocks: Sequence[int]) -> Forecast:
    """The coming months of some of the stocks."""
    y, norm_map = rn.revin(prices, axis=0, center="last", where=~np.isnan(prices))
    stocks = np.asarray(stocks)
    mean, variance = walk(y, months)
    mean, variance = mean[:, stocks], variance[:, stocks]
    back = norm_map.take(stocks, axis=1).inv
    return Forecast(back(mean), back.spread(np.sqrt(variance)), back.variance(variance))


def main(arguments: Sequence[str] | None = None) -> Forecast:
    parser = argparse.ArgumentParser(
        description="Bring a forecast distribution back to the units of the data."
    )
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--stocks", nargs="+", default=["IBM", "AAPL", "AMZN"])
    chosen = parser.parse_args(arguments)
    names, prices = read()
    stocks = [names.index(name) for name in chosen.stocks]
    expected = forecast(prices, chosen.months, stocks)
    print(f"in {chosen.months} months (after {len(prices)}):")
    for i, name in enumerate(chosen.stocks):
        mean, deviation = expected.mean[-1, i], expected.deviation[-1, i]
        traded = np.isfinite(prices[:, stocks[i]]).sum()
        print(f"{name:>6}  {mean:8.2f} ± {deviation:7.2f}  from {traded} months")
    draw(chosen.stocks, prices[:, stocks], expected)
    return expected


def draw(names: Sequence[str], prices: np.ndarray, expected: Forecast) -> None:
    """The last years of each stock, and its forecast with a band of one deviation."""
    figure, axes = plt.subplots(1, len(names), figsize=(9, 3), squeeze=False)
    figure.set_label(f"Prices of {', '.join(names)}, and their forecasts with a widening band")
    shown = prices[-5 * len(expected.mean) :]
    for i, (cell, name) in enumerate(zip(axes[0], names, strict=True)):
        ahead = np.arange(1, len(expected.mean) + 1)
        mean, deviation = expected.mean[:, i], expected.deviation[:, i]
        cell.plot(np.arange(1 - len(shown), 1), shown[:, i], color="#808080")
        cell.plot(ahead, mean, color="#1a6fc2")
        cell.fill_between(ahead, mean - deviation, mean + deviation, color="#1a6fc2", alpha=0.25)
        cell.set_title(name, fontsize=10)
        cell.set_xlabel("months from now")
    axes[0, 0].set_ylabel("dollars")
    figure.tight_layout()
    plt.show()


if __name__ == "__main__":
    main()
