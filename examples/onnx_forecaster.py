"""
Ship a forecaster with its normalization inside
===============================================

A model that reads normalized data is of no use alone: whoever runs it has to normalize as it was
trained, and to undo that afterwards. Here the normalization, the model and the way back are one
ONNX graph. It takes prices and gives prices, for any number of series, and ONNX Runtime needs
neither PyTorch nor this library to run it.

The prices are monthly, of seven stocks and two indices since 1990, in the table Stocks.csv that
ships with matplotlib. The model sees 36 months and predicts the next 12.
"""

# %%
# Windows of 36 and 12 months, of the series that are complete. Those up to 2005 are learned from.

import tempfile
import warnings
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
import torch
from matplotlib import cbook

import revnorm as rn

SEEN, AHEAD, TRAINED = 36, 12, 16 * 12

with cbook.get_sample_data("Stocks.csv") as file:
    header, *days = (line for line in file.read().splitlines() if not line.startswith("#"))
months = [day for day in days if day.partition(",")[0].endswith("-01")]
prices = np.genfromtxt(months, delimiter=",", usecols=range(1, header.count(",") + 1))
complete = np.isfinite(prices).all(axis=0)
names = np.asarray(header.split(",")[1:])[complete]
prices = prices[:, complete].astype(np.float32)
dates = 1990 + np.arange(len(prices)) / 12


def windows(first, last):
    """The months that the model sees and those that it is to predict: batch, time, series."""
    starts = range(first, last - SEEN - AHEAD + 1)
    both = np.stack([prices[i : i + SEEN + AHEAD] for i in starts])
    return torch.from_numpy(both[:, :SEEN]), torch.from_numpy(both[:, SEEN:])


past, future = windows(0, TRAINED)
late_past, late_future = windows(TRAINED - SEEN, len(prices))

# %%
# A small network along the time, the same for every series, between RevIN and its inverse.


class Forecaster(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = torch.nn.Sequential(
            torch.nn.Linear(SEEN, 32), torch.nn.GELU(), torch.nn.Linear(32, AHEAD)
        )

    def forward(self, past):
        y, norm_map = rn.revin(past, axis=1)
        return norm_map.inv(self.model(y.mT).mT)


torch.manual_seed(0)
forecaster = Forecaster()
optimizer = torch.optim.Adam(forecaster.parameters(), lr=3e-3, weight_decay=1e-3)
level = past.mean(dim=1, keepdim=True)
for _ in range(150):
    optimizer.zero_grad()
    loss = ((forecaster(past) - future) / level).abs().mean()
    loss.backward()
    optimizer.step()
print(f"off by {100 * loss.item():.1f} % of the level, on what it has learned from")

# %%
# PyTorch's exporter traces all of it. How many windows come, and of how many series, is left open.

with warnings.catch_warnings(action="ignore"):
    size = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        forecaster.eval(),
        (past,),
        input_names=["past"],
        output_names=["forecast"],
        dynamo=True,
        dynamic_shapes=({0: size, 2: size},),
        verbose=False,
    )
path = Path(tempfile.mkdtemp()) / "forecaster.onnx"
program.save(path)
graph = onnx.load(path).graph
kinds = Counter(node.op_type for node in graph.node)
print(f"{len(graph.node)} nodes, {path.stat().st_size / 1024:.0f} KB")
print(", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6)), "and others")

# %%
# Whoever runs it passes prices and gets prices.

session = onnxruntime.InferenceSession(path)
(forecast,) = session.run(["forecast"], {"past": late_past.numpy()})
print(f"{forecast.shape[0]} windows of {forecast.shape[2]} series, {forecast.shape[1]} months")

(one,) = session.run(["forecast"], {"past": late_past[-1:, :, :1].numpy()})
print(f"one window of one series: {one.shape}")

# %%
# The forecasts are PyTorch's, to a few units in the last place (ULP) of float32.

with torch.no_grad():
    expected = forecaster(late_past).numpy()
difference = (forecast - expected) / np.spacing(abs(expected))
print(f"differ by at most {abs(difference).max():.0f} ULP")

# %%
# The unit is of no account, since the graph takes it out and puts it back: prices in cents give
# forecasts in cents.

(cents,) = session.run(["forecast"], {"past": 100 * late_past.numpy()})
print(f"cents / 100 differ by at most {abs(cents / 100 / forecast - 1).max():.1e} of the price")

# %%
# On the left what ONNX Runtime forecasts, every twelfth month, over what came. On the right how far
# that is from PyTorch's forecasts.

shown = list(names).index("^GSPC")
figure, (left, right) = plt.subplots(
    1,
    2,
    figsize=(9, 3.6),
    width_ratios=(3, 2),
)
figure.set_label(
    "Forecasts of the S&P 500 by ONNX Runtime over what came, and a histogram of how many "
    "ULP they are from PyTorch's"
)
left.plot(dates, prices[:, shown], color="#808080", label="S&P 500")
for i in range(0, len(forecast), 12):
    ahead = dates[TRAINED + i : TRAINED + i + AHEAD]
    label = "ONNX Runtime" if i == 0 else None
    left.plot(ahead, forecast[i, :, shown], color="#1a6fc2", label=label)
left.axvline(dates[TRAINED], color="#808080", linewidth=0.8, linestyle=":")
left.text(dates[TRAINED], left.get_ylim()[1], "learned until here ", ha="right", va="top")
left.set(xlabel="year", ylabel="index points")
left.legend(loc="upper left", bbox_to_anchor=(0, 0.92), framealpha=0)
reach = abs(difference).max() + 0.5
right.hist(difference.ravel(), np.arange(-reach, reach + 1), color="#1a6fc2", log=True)
right.set(xlabel="ONNX Runtime − PyTorch, ULP", ylabel="forecasts")
figure.tight_layout()
plt.show()
