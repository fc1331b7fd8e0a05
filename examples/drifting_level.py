"""
Forecast prices whose level drifts
==================================

A model that has learned from prices around 30 dollars is asked about prices around 3000. RevIN [1]_
takes the level and the deviation out of the months that the model sees, and puts them back into
what it predicts, so the model never has to know them.

The prices are monthly, of seven stocks and two indices since 1990, in the table Stocks.csv that
ships with matplotlib. The model is one linear map from 36 months to the next 12, found by least
squares from all windows up to 2005, and judged on all later ones.

.. [1] T. Kim et al., "Reversible Instance Normalization for Accurate Time-Series Forecasting
   against Distribution Shift", ICLR 2022.
"""

# %%
# The table has columns that begin later, and rows for days that are not the first of a month. Only
# series that are complete are used here; ``forecast_distribution.py`` uses gaps as well.

from importlib import import_module

import matplotlib.pyplot as plt
import numpy as np
from array_api_compat import array_namespace
from matplotlib import cbook

import revnorm as rn

SEEN, AHEAD, TRAINED = 36, 12, 16 * 12

with cbook.get_sample_data("Stocks.csv") as file:
    header, *days = (line for line in file.read().splitlines() if not line.startswith("#"))
months = [day for day in days if day.partition(",")[0].endswith("-01")]
prices = np.genfromtxt(months, delimiter=",", usecols=range(1, header.count(",") + 1))
complete = np.isfinite(prices).all(axis=0)
names = np.asarray(header.split(",")[1:])[complete]
prices = prices[:, complete]
dates = 1990 + np.arange(len(prices)) / 12

# %%
# A window is (months, series). The windows of a time are one batch: batch, time, channels.


def windows(first, last):
    """The months that the model sees and those that it is to predict."""
    starts = range(first, last - SEEN - AHEAD + 1)
    both = np.stack([prices[i : i + SEEN + AHEAD] for i in starts])
    return both[:, :SEEN], both[:, SEEN:]


past, future = windows(0, TRAINED)
late_past, late_future = windows(TRAINED - SEEN, len(prices))

# %%
# The model is the same with and without RevIN: a matrix, and a row for the intercept. Least squares
# finds both in closed form. The code is written to the array API standard, so it takes arrays of
# NumPy, PyTorch and JAX alike.


def rows_of(windows, xp):
    """Every series of every window as a row."""
    return xp.reshape(xp.permute_dims(windows, (0, 2, 1)), (-1, windows.shape[1]))


def fitted(x, y):
    xp = array_namespace(x)
    x, y = rows_of(x, xp), rows_of(y, xp)
    x = xp.concat([x, xp.ones_like(x[:, :1])], axis=1)
    ridge = 1e-3 * x.shape[0] * xp.eye(x.shape[1], dtype=x.dtype)
    return xp.linalg.solve(x.T @ x + ridge, x.T @ y)


def predicted(weights, x):
    xp = array_namespace(x)
    flat = rows_of(x, xp)
    y = xp.concat([flat, xp.ones_like(flat[:, :1])], axis=1) @ weights
    return xp.permute_dims(xp.reshape(y, (x.shape[0], x.shape[2], AHEAD)), (0, 2, 1))


# %%
# Without RevIN every series is standardized once, by what it was up to 2005. That is what
# ``StandardScaler`` does.

scaler = rn.standardizer(prices[:TRAINED], axis=0)
weights = fitted(scaler(past), scaler(future))
plain = scaler.inv(predicted(weights, scaler(late_past)))

# %%
# With RevIN every window has a map of its own. What the model predicts goes back through it.


def with_revin(past, future, late_past):
    y, norm_map = rn.revin(past, axis=1)
    weights = fitted(y, norm_map(future))
    late_y, late_map = rn.revin(late_past, axis=1)
    return late_map.inv(predicted(weights, late_y))


forecast = with_revin(past, future, late_past)

# %%
# The same on PyTorch and JAX, if they are installed, in float64:

for library in ("torch", "jax.numpy"):
    try:
        xp = import_module(library)
    except ImportError:
        continue
    other = with_revin(*(xp.asarray(one) for one in (past, future, late_past)))
    if str(other.dtype).endswith("float64"):
        print(f"{library}: differs by at most {abs(np.asarray(other) / forecast - 1).max():.1e}")

# %%
# On the left the forecasts of every twelfth month, over what came. On the right the error, as a
# share of the last price that the model saw: the median of all windows and series.

shown = list(names).index("^GSPC")
level = np.abs(late_past[:, -1:])
colours = {"every series standardized once": "#c2571a", "RevIN": "#1a6fc2"}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(3, 2))
figure.set_label(
    "Forecasts of the S&P 500 over what came, and their errors by months ahead, with RevIN and "
    "with every series standardized once"
)
left.plot(dates, prices[:, shown], color="#808080", label="S&P 500")
for (label, colour), y in zip(colours.items(), (plain, forecast)):
    for i in range(0, len(y), 12):
        begins = TRAINED + i
        ahead = dates[begins : begins + AHEAD]
        left.plot(ahead, y[i, :, shown], color=colour, label=label if i == 0 else None)
    errors = np.median(abs(y - late_future) / level, axis=(0, 2))
    right.plot(range(1, AHEAD + 1), 100 * errors, color=colour, label=label)
    print(f"{label}: {100 * errors.mean():.1f} % off")
left.axvline(dates[TRAINED], color="#808080", linewidth=0.8, linestyle=":")
left.text(dates[TRAINED], left.get_ylim()[1], "learned until here ", ha="right", va="top")
left.set(xlabel="year", ylabel="index points")
left.legend(loc="upper left", bbox_to_anchor=(0, 0.92), framealpha=0)
right.set(xlabel="months ahead", ylabel="error, % of the last price", ylim=(0, None))
figure.tight_layout()
plt.show()
