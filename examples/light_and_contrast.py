"""
Make pictures in different light alike
======================================

The light and the contrast of a photograph multiply its brightness and add to it. Instance norm [1]_
takes both out: pictures of the same scene become the same picture. Often some of it is worth
keeping, a night scene is not a day scene. Batch-Instance norm [2]_ has a gate for that: at 1 a
picture is normalized together with the others of its batch, which keeps the differences between
them, at 0 by itself.

The photograph ships with matplotlib.

.. [1] D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance Normalization: The Missing Ingredient for
   Fast Stylization", arXiv:1607.08022.
.. [2] H. Nam, H.-E. Kim, "Batch-Instance Normalization for Adaptively Style-Invariant Neural
   Networks", NeurIPS 2018.
"""

# %%
# One scene in four kinds of light: as it was taken, dark, in mist, and in the red light of evening.
# They are one batch in the order batch, height, width, channels.

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook

import revnorm as rn

with cbook.get_sample_data("grace_hopper.jpg") as file:
    photograph = matplotlib.image.imread(file, format="jpg")[40:440:2, 60:460:2]
photograph = (photograph / 255).astype(np.float32)
LIGHT = {
    "as taken": (1.0, 0.0),
    "dark": (0.25, 0.0),
    "mist": (0.3, 0.6),
    "evening": (np.asarray([0.9, 0.45, 0.3], np.float32), 0.05),
}
pictures = np.stack([photograph * contrast + light for contrast, light in LIGHT.values()])
AXIS = rn.Layout("NHWC")

# %%
# Normalized values have no bounds. To be looked at, they are put in the middle of grey.


def shown(y):
    return (0.5 + 0.2 * y).clip(0, 1)


def strip(rows, names, label):
    figure, axes = plt.subplots(len(rows), 4, figsize=(8, 2.1 * len(rows)), squeeze=False)
    figure.set_label(label)
    for line, row, name in zip(axes, rows, names):
        for cell, picture in zip(line, row):
            cell.imshow(picture)
            cell.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    for cell, name in zip(axes[0], LIGHT):
        cell.set_title(name, fontsize=10)
    figure.tight_layout()
    plt.show()


# %%
# Instance norm makes the four alike.

alike = rn.instance_norm(pictures, axis=AXIS, eps=0.0)
strip(
    [pictures, shown(alike)],
    ["pictures", "instance norm"],
    "A photograph in four kinds of light, and below them after instance norm, which look alike",
)
print(f"pictures differ by up to {np.ptp(pictures, axis=0).max():.2f},")
print(f"normalized ones by up to {np.ptp(alike, axis=0).max():.1e}")

# %%
# Batch-Instance norm keeps as much of the light as the gate says.

gates = (1.0, 0.75, 0.5, 0.0)
kept = [rn.batch_instance_norm(pictures, gate, axis=AXIS, eps=0.0) for gate in gates]
strip(
    [shown(y) for y in kept],
    [f"gate {gate:g}" for gate in gates],
    "The four after Batch-Instance norm: the light differs at gate 1 and no longer at gate 0",
)

# %%
# A number for it: how much the brightness of the four pictures differs, in units of the deviation
# within a picture.

for gate, y in zip(gates, kept):
    brightness = y.mean(axis=(1, 2, 3))
    print(f"gate {gate:4.2f}: brightness from {brightness.min():5.2f} to {brightness.max():5.2f}")
