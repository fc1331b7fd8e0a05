"""
Give a photograph the colours of another picture, by their statistics alone
===========================================================================

Adaptive instance normalization [1]_ gives every channel of the content the mean and deviation of
the style's. It is used on the features of a network; on the channels of the images themselves
it is the colour transfer of Reinhard et al. [2]_, which does it in a colour space that is made like
the eye: one channel of light and two of colour.

The photographs of a pavilion and of a dahlia ship with scikit-learn, the drawing with matplotlib.

.. [1] X. Huang, S. Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance
   Normalization", ICCV 2017.
.. [2] E. Reinhard et al., "Color Transfer between Images", IEEE Computer Graphics and
   Applications 21 (2001).
"""

# %%
# Red, green and blue in [0, 1], as height, width, channels. Much of the drawing is transparent, and
# its colours there are seen by nobody: a mask keeps them out of the statistics.

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook
from sklearn.datasets import load_sample_image

import revnorm as rn

content, dahlia = (load_sample_image(name) / 255 for name in ("china.jpg", "flower.jpg"))
with cbook.get_sample_data("Minduka_Present_Blue_Pack.png") as file:
    drawing = matplotlib.image.imread(file).astype(float)
drawing, opaque = drawing[..., :3], drawing[..., 3:] > 0.5
print(f"{100 * opaque.mean():.0f} % of the drawing can be seen")


def strip(pictures, label):
    figure, axes = plt.subplots(1, len(pictures), figsize=(9, 8 / len(pictures)))
    figure.set_label(label)
    for cell, (name, picture) in zip(axes, pictures.items()):
        cell.imshow(picture.clip(0, 1))
        cell.set(xticks=[], yticks=[])
        cell.set_title(name, fontsize=10)
    figure.tight_layout()
    plt.show()


# %%
# The space is called lαβ. Its numbers are logarithms of what the three kinds of cones of the eye
# take in, turned so that the channels of an ordinary picture have less to do with each other than
# red, green and blue have.

CONES = np.asarray([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
TURN = np.asarray([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])
DARKEST = 1 / 255


def from_rgb(picture):
    return np.log10(picture.clip(DARKEST) @ CONES.T) @ TURN.T


def to_rgb(picture):
    return 10 ** (picture @ TURN) @ np.linalg.inv(CONES).T


def correlation(picture):
    """The largest correlation of two channels."""
    return abs(np.corrcoef(picture.reshape(-1, 3).T) - np.eye(3)).max()


print(f"the channels' largest correlation: {correlation(content):.2f} as red, green and blue,")
print(f"{correlation(from_rgb(content)):.2f} as lαβ")

# %%
# ``adain`` with the pixels reduced and the channels kept.

x, style = from_rgb(content), from_rgb(dahlia)
transferred = rn.adain(x, style, axis=(0, 1))
for name, picture in {"content": x, "style": style, "transferred": transferred}.items():
    mean, deviation = picture.mean(axis=(0, 1)), picture.std(axis=(0, 1))
    print(f"{name:>11}: means {mean.round(2)}, deviations {deviation.round(2)}")

# %%
# Done on red, green and blue, the same function mistakes light for colour: the brightest of the
# dahlia is orange, and so the sky is. In lαβ the sky is as green as most of the style.

strip(
    {
        "content": content,
        "style": dahlia,
        "transferred as RGB": rn.adain(content, dahlia, axis=(0, 1)),
        "transferred as lαβ": to_rgb(transferred),
    },
    "A pavilion, a dahlia, and the pavilion in the dahlia's colours, as RGB and as lαβ",
)

# %%
# ``strength`` says how far to go.

strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
steps = [rn.adain(x, style, axis=(0, 1), strength=strength) for strength in strengths]
strip(
    {f"strength {strength:g}": to_rgb(step) for strength, step in zip(strengths, steps)},
    "The pavilion five times, from its own colours to those of the dahlia",
)

# %%
# Two styles at once: ``adain`` is a map that normalizes the content, followed by the inverse of one
# that normalizes the style. Maps to both styles are blended by weight. The drawing's has a mask.

normalized = rn.standardizer(x, axis=(0, 1))
to_dahlia = rn.standardizer(style, axis=(0, 1)).inv @ normalized
to_drawing = rn.standardizer(from_rgb(drawing), axis=(0, 1), where=opaque).inv @ normalized
blended = [rn.blend([to_drawing, to_dahlia], [1 - share, share])(x) for share in strengths]
strip(
    {f"{100 * share:.0f} % dahlia": to_rgb(picture) for share, picture in zip(strengths, blended)},
    "The pavilion five times, from the blue and grey of a drawing to the green of the dahlia",
)

# %%
# What the mask is good for: with it the pavilion has the colours that are seen, without it those of
# the hidden white as well.

unmasked = rn.adain(x, from_rgb(drawing), axis=(0, 1))
strip(
    {
        "style": np.where(opaque, drawing, 1),
        "with the mask": to_rgb(to_drawing(x)),
        "without": to_rgb(unmasked),
    },
    "The drawing, and the pavilion in its colours with and without the transparent pixels",
)
# sphinx_gallery_thumbnail_number = 3
