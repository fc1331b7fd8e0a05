"""Give a photograph the colours of another picture, by their statistics alone.

Adaptive instance normalization [1]_ gives every channel of the content the mean and deviation of
the style's. It is used on the features of a network; on the channels of the images themselves
it is the colour transfer of Reinhard et al. [2]_. Three pictures come of it:

- the style's statistics in full strength
- half way there, as `strength` says
- with a mask, so that only the middle of the photograph decides how it is mapped, and the map
  is then laid over everything

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

import matplotlib.image
import numpy as np
from matplotlib import cbook

import revnorm as rn

HEIGHT_AND_WIDTH = (0, 1)


def read(name: str) -> np.ndarray:
    """An image that ships with matplotlib, as (height, width, 3) in [0, 1]."""
    with cbook.get_sample_data(name) as file:
        image = matplotlib.image.imread(file, format=Path(name).suffix[1:])
    reach = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    return (image[..., :3] / reach).astype(np.float32)


def middle(image: np.ndarray) -> np.ndarray:
    """A mask of the ellipse that touches the edges, one for all channels."""
    height, width = image.shape[:2]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    return (x * x + y * y < 1)[..., None]


def pictures(content: np.ndarray, style: np.ndarray) -> list[np.ndarray]:
    """The content, and what becomes of it: in full, half way, and by its middle alone."""
    axis = HEIGHT_AND_WIDTH
    return [
        content,
        rn.adain(content, style, axis=axis),
        rn.adain(content, style, axis=axis, strength=0.5),
        rn.adain(content, style, axis=axis, where=middle(content)),
    ]


def main(arguments: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path, nargs="?", help="where to write the PNG")
    parser.add_argument("--content", default="grace_hopper.jpg")
    parser.add_argument("--style", default="Minduka_Present_Blue_Pack.png")
    chosen = parser.parse_args(arguments)
    path = chosen.path or Path(tempfile.mkdtemp()) / "colours.png"
    row = np.concatenate(pictures(read(chosen.content), read(chosen.style)), axis=1)
    matplotlib.image.imsave(path, row.clip(0, 1))
    print(f"content, full strength, half strength, by its middle: {path}")
    return path


if __name__ == "__main__":
    main()
