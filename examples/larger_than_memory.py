"""
Standardize a table that does not fit in memory
===============================================

A Dask array is a table that is computed chunk by chunk, when it is asked for. ``Standardizer``
reads each chunk once, keeps a few numbers of it, and gives back a Dask array: the table is never
in memory, neither to learn from nor to be standardized.

The table here has 2 GB: the measurements of 569 tumours in 30 columns that ship with scikit-learn,
over and over again. Every chunk is made when it is read, as it would be read from a disk. It could
be any number of times as long: the memory held is measured along the way, and does not grow.
Since the rows repeat, the exact statistics are those of the small table, and so it is known what is
right.
"""

# %%
# The columns have very different units. The table is cut into chunks of 16 MB.

import tracemalloc

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from dask.callbacks import Callback
from sklearn.datasets import load_breast_cancer

import revnorm as rn

CHUNKS = 128
CHUNK = 2**24

small = load_breast_cancer().data.astype(np.float32)
copies = CHUNK // small.nbytes
rows = copies * len(small)
large = da.map_blocks(
    lambda: np.tile(small, (copies, 1)),
    chunks=((rows,) * CHUNKS, small.shape[1]),
    dtype=small.dtype,
)
print(f"{len(large):,} rows, {large.nbytes / 1e9:.1f} GB")
print(f"means from {small.mean(axis=0).min():.1g} to {small.mean(axis=0).max():.0f}")

# %%
# What NumPy holds is counted after each task, in megabytes.


class Held(Callback):
    def __init__(self):
        super().__init__(posttask=self.note)
        self.megabytes = []

    def note(self, *task):
        self.megabytes.append(tracemalloc.get_traced_memory()[0] / 1e6)

    def __enter__(self):
        tracemalloc.start()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()


with Held() as held:
    standardize = rn.Standardizer(axis=0).adapt(large)
print(f"learned from {large.nbytes / 1e6:.0f} MB, with at most {held.peak:.0f} MB in memory")

# %%
# The statistics are those of the small table, which are known.

exact = small.astype(np.float64)
mean, deviation = exact.mean(axis=0), exact.std(axis=0)
learned = standardize.moments


def errors(found_mean, found_deviation):
    """How far a mean and a deviation are off, the larger of both, in deviations."""
    off = abs(found_mean - mean) / deviation, abs(found_deviation / deviation - 1)
    return np.maximum(*off)


ours = errors(learned.mean[0], np.sqrt(learned.variance[0]))
print(f"off by at most {ours.max():.0e} deviations")

# %%
# Dask's own ``mean`` and ``std`` add float32 numbers in float32.

theirs = errors(*da.compute(large.mean(axis=0), large.std(axis=0)))
print(f"Dask's mean and std: by up to {theirs.max():.0e}")

# %%
# The standardized table is a Dask array too, and nothing of it exists yet. What is asked of it is
# computed chunk by chunk: how many values lie beyond five deviations, say.

y = standardize(large)
print(type(y).__name__, y.shape, y.dtype)
with Held() as counted:
    share = (abs(y) > 5).mean(axis=0).compute()
known = (abs((exact - mean) / deviation) > 5).mean(axis=0)
print(
    f"{100 * share.max():.2f} % of a column at most, {100 * known.max():.2f} % of the small table"
)
print(f"with at most {counted.peak:.0f} MB in memory")

# %%
# On the left the memory held while the table was read. On the right the errors of the columns'
# statistics, from the smallest to the largest.

figure, (left, right) = plt.subplots(
    1,
    2,
    figsize=(9, 3.6),
)
figure.set_label(
    "Memory held while a table of 2 GB is read, far below the table's size, and errors of the "
    "columns' statistics by Standardizer and by Dask's mean and std"
)
left.axhline(large.nbytes / 1e6, color="#808080", linestyle=":")
left.text(0, large.nbytes / 1e6, "the whole table", va="bottom")
left.plot(np.linspace(0, 100, len(held.megabytes)), held.megabytes, color="#1a6fc2")
left.set(xlabel="% of the tasks", ylabel="MB in memory", yscale="log", ylim=(1, 2e4))
for label, colour, error in (
    ("Dask's mean and std", "#c2571a", theirs),
    ("Standardizer", "#1a6fc2", ours),
):
    right.plot(np.sort(error), ".-", color=colour, label=label)
right.set(xlabel="columns", ylabel="error, deviations", yscale="log")
right.legend(framealpha=0)
figure.tight_layout()
plt.show()
