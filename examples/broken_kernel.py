"""
Find out what is wrong with a kernel
====================================

Kernels that are written, ported or generated are often accepted by one comparison: random data, a
reference, a tolerance. Of an instance norm of uniform data, that accepts a function which computes
no mean and no variance at all, because those of uniform data are known beforehand [1]_.

``revnorm.testing.check`` runs a battery of cases instead, judges them in tiers, each with a bound
of its own, and says in words what a wrong result looks like.

.. [1] Level 1, problem 34 of KernelBench, https://github.com/ScalingIntelligence/KernelBench,
   is an instance norm of uniform data, with a tolerance of 1e-2 in half precision.
"""

# %%
# Four kernels of instance norm over (N, C, H, W), called as ``rn.instance_norm`` is. Which of them
# are right?

import warnings

import matplotlib.pyplot as plt
import numpy as np

from revnorm.testing import check


def normalized(x, mean, variance, scale, bias, channel_axis, eps):
    y = (x - mean) / np.sqrt(variance + eps)
    shape = [1] * x.ndim
    if channel_axis is not None:
        shape[channel_axis] = -1
    scale, bias = (
        one if one is None or np.ndim(one) != 1 else np.reshape(one, shape) for one in (scale, bias)
    )
    y = y if scale is None else y * scale
    return (y if bias is None else y + bias).astype(x.dtype)


def two_pass(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
    mean, variance = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
    return normalized(x, mean, variance, scale, bias, channel_axis, eps)


def one_pass(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
    mean = x.mean(axis=axis, keepdims=True)
    variance = (x * x).mean(axis=axis, keepdims=True) - mean * mean
    return normalized(x, mean, variance, scale, bias, channel_axis, eps)


def unbiased(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
    mean, variance = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True, ddof=1)
    return normalized(x, mean, variance, scale, bias, channel_axis, eps)


def no_reduction(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
    return normalized(x, 0.5, 1 / 12, scale, bias, channel_axis, 0.0)


kernels = {one.__name__: one for one in (two_pass, one_pass, unbiased, no_reduction)}

# %%
# The usual comparison accepts all four.

x = np.random.default_rng(0).random((2, 4, 256, 256), dtype=np.float32)
expected = two_pass(x, axis=(2, 3))
for name, kernel in kernels.items():
    close = np.allclose(kernel(x, axis=(2, 3)), expected, rtol=1e-2, atol=1e-2)
    print(f"{name:>12}: {'accepted' if close else 'refused'}")

# %%
# The battery does not. The tiers named here are those that a float32 kernel without masks can be
# asked for.

TIERS = ("formula", "conditioning", "range", "layout", "conduct", "exact")


def asks_for_no_more(case):
    known = {"axis", "channel_axis", "eps"}
    return set(case.keywords) <= known


reports = {}
with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
    for name, kernel in kernels.items():
        reports[name] = check(
            kernel, "instance_norm", library="numpy", only=asks_for_no_more, tiers=TIERS
        )
for name, report in reports.items():
    print(f"{name:>12}: {report.diagnosis or 'the formula is right'}")

# %%
# A kernel that is right and works in float32 passes the formula and the conditioning, and is not
# correctly rounded. One that computes E[x²] − E[x]² has the right formula, and loses its digits
# away from zero.

colours = {"passed": 1.0, "failed": 0.0, "not run": 0.5}
table = [[colours[report.tiers[tier]] for tier in TIERS] for report in reports.values()]
figure, axes = plt.subplots(figsize=(8, 2.8))
figure.set_label(
    "A table of four kernels by six tiers: two_pass fails only the exact tier, one_pass the "
    "conditioning as well, unbiased and no_reduction the formula"
)
axes.imshow(table, cmap="RdYlBu", vmin=-0.3, vmax=1.3, aspect="auto")
for row, report in enumerate(reports.values()):
    for column, tier in enumerate(TIERS):
        axes.text(column, row, report.tiers[tier], ha="center", va="center")
axes.set_xticks(range(len(TIERS)), TIERS)
axes.set_yticks(range(len(reports)), reports)
figure.tight_layout()
plt.show()
