"""
Normalize sensors that were silent for a while
==============================================

Sensors drop out. If their gaps are filled with zeros before a series is normalized, the zeros are
counted: the mean moves towards 0 and the deviation grows with the level of the data. ``where``
leaves out of the statistics what was not measured.

The series is an electroencephalogram of four electrodes, 800 samples, that ships with matplotlib.
Gaps of up to two hundred samples are cut into it here, so that what was lost is known.
"""

# %%
# The file holds float64 numbers, four a sample. The electrodes have no level of their own, and are
# put at different ones here, as sensors of temperature or pressure would be.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook

import revnorm as rn

with cbook.get_sample_data("eeg.dat") as file:
    series = np.frombuffer(file.read(), float).reshape(800, 4)
series = series + np.asarray([100.0, 400.0, 1000.0, 4000.0])

rng = np.random.default_rng(0)
observed = np.ones(series.shape, bool)
for sensor, start in enumerate(rng.integers(100, 500, 4)):
    observed[start : start + 50 * (sensor + 1), sensor] = False

# %%
# Three ways: nothing lost, gaps filled with zeros, gaps left out. What stands in the gaps is
# without effect where ``where`` is False, also if it is NaN, and comes out as it is mapped.

measured = np.where(observed, series, np.nan)
whole, _ = rn.revin(series, axis=0)
filled, filled_map = rn.revin(np.where(observed, series, 0.0), axis=0)
masked, masked_map = rn.revin(measured, axis=0, where=observed)

# %%
# A model that sees the masked series sees nearly what it would have seen without gaps. The one that
# sees zeros sees a flat line, and the farther from 0 the data are, the flatter it is.

for name, y in (("filled with zeros", filled), ("left out", masked)):
    errors = [abs(y - whole)[observed[:, i], i].mean() for i in range(4)]
    print(f"gaps {name}: off by", *(f"{error:.2f}" for error in errors), "deviations")

# %%
# The map finds the way back, as it is inverted and nothing has to be remembered. A gap stays one.

back = masked_map.inv(masked)
print("comes back:", np.allclose(back[observed], series[observed], rtol=1e-12))
print("still missing:", np.array_equal(np.isnan(back), ~observed))

# %%
# One sensor, in all three ways:

sensor = 2
figure, axes = plt.subplots(3, 1, figsize=(8, 5), sharex=True)
figure.set_label(
    "A sensor's series normalized in three ways: whole, flattened by a gap of zeros, and with the "
    "gap left out as if nothing were lost"
)
titles = ("nothing lost", "gaps filled with zeros", "gaps left out with where=")
for row, title, y in zip(axes, titles, (whole, filled, masked)):
    row.plot(y[:, sensor], color="#1a6fc2", linewidth=0.9)
    row.set_title(title, fontsize=10, loc="left")
    row.set_ylabel("normalized")
axes[-1].set_xlabel("sample")
figure.tight_layout()
plt.show()
