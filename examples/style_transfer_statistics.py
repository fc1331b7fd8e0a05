"""
Give a photograph the colours of another picture, by their statistics alone
===========================================================================

Adaptive instance normalization [1]_ gives every channel of the content the mean and deviation of
the style's. It is used on the features of a network; on the channels of the images themselves
it is the colour transfer of Reinhard et al. [2]_. Three pictures come of it:

- the style's statistics in full strength
- half way there, as `strength` says
- with a mask, so that only the middle of the photograph decides how it is mapped, and the map
  is then laid over everything

Pixels that are more transparent than not, a third of the style's, have a colour that nobody sees:
masks keep them out of the statistics.

Both images ship with matplotlib. The photograph and the three go side by side into one PNG, in a
new temporary folder unless a path is given.

.. [1] X. Huang, S. Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance
   Normalization", ICCV 2017.
.. [2] E. Reinhard et al., "Color Transfer between Images", IEEE Computer Graphics and
   Applications 21 (2001).
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook

import revnorm as rn

HEIGHT_AND_WIDTH = (0, 1)
NAMES = ("content", "full strength", "half strength", "by its middle")


class Image(NamedTuple):
    """Red, green and blue as (height, width, 3), and how opaque they are, (height, width, 1)."""

    colours: np.ndarray
    alpha: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        return self.alpha > 0.5


def read(name: str) -> Image:
    """An image that ships with matplotlib, in [0, 1]."""
    with cbook.get_sample_data(name) as file:
        image = matplotlib.image.imread(file, format=Path(name).suffix[1:])
    reach = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    image = (image / reach).astype(np.float32)
    alpha = image[..., 3:] if image.shape[2] == 4 else np.ones_like(image[..., :1])
    return Image(image[..., :3], alpha)


def middle(image: np.ndarray) -> np.ndarray:
    """A mask of the ellipse that touches the edges, one for all channels."""
    height, width = image.shape[:2]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    return (x * x + y * y < 1)[..., None]


def pictures(content: Image, style: Image) -> list[np.ndarray]:
    """The content, and what becomes of it: in full, half way, and by its middle alone."""
    x, seen = content.colours, content.seen
    options = {"axis": HEIGHT_AND_WIDTH, "style_where": style.seen}
    return [
        x,
        rn.adain(x, style.colours, where=seen, **options),
        rn.adain(x, style.colours, where=seen, strength=0.5, **options),
        rn.adain(x, style.colours, where=seen & middle(x), **options),
    ]


def main(arguments: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description="Give a photograph the colours of another picture, by their statistics alone."
    )
    parser.add_argument("path", type=Path, nargs="?", help="where to write the PNG")
    parser.add_argument("--content", default="grace_hopper.jpg")
    parser.add_argument("--style", default="Minduka_Present_Blue_Pack.png")
    chosen = parser.parse_args(arguments)
    path = chosen.path or Path(tempfile.mkdtemp()) / "colours.png"
    content, style = read(chosen.content), read(chosen.style)
    row = [np.concatenate([x, content.alpha], axis=2).clip(0, 1) for x in pictures(content, style)]
    matplotlib.image.imsave(path, np.concatenate(row, axis=1))
    print(f"{', '.join(NAMES)}: {path}")
    figure, axes = plt.subplots(1, len(row), figsize=(9, 3))
    for cell, picture, name in zip(axes, row, NAMES, strict=True):
        cell.imshow(picture)
        cell.set(xticks=[], yticks=[])
        cell.set_title(name, fontsize=10)
    figure.tight_layout()
    plt.show()
    return path


if __name__ == "__main__":
    main()
