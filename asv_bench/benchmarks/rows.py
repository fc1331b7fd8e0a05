"""What is compared with what, on which shapes, and the ratio to reach."""

from typing import NamedTuple

from . import ways
from .ways import Array, Callable

Shape = tuple[int, ...]

SMALL, MIDDLE, LARGE = (64, 256, 7, 7), (32, 64, 56, 56), (8, 64, 256, 256)
TINY = (1, 16, 8, 8)
SERIES = (64, 336, 321), (256, 96, 862), (512, 336, 7)


class Row(NamedTuple):
    """Two ways, and the largest ratio of the first's time to the second's for every shape."""

    name: str
    first: Callable[[Array], ways.Function]
    second: Callable[[Array], ways.Function]
    targets: dict[Shape, float]


def _images(middle: float, large: float, small: float) -> dict[Shape, float]:
    return {MIDDLE: middle, LARGE: large, SMALL: small}


_TWICE_AS_FAST = dict.fromkeys(SERIES, 0.5)

ROWS = [
    Row("NumPy, out / copy", ways.numpy_out, ways.copy, _images(7, 4.5, 13)),
    Row("NumPy, native, out / copy", ways.numpy_native_out, ways.copy, _images(5, 3.5, 11)),
    Row("NumPy / textbook NumPy", ways.numpy, ways.textbook, _images(0.6, 0.5, 0.8)),
    Row("NumPy / F.instance_norm", ways.numpy, ways.torch_instance_norm, _images(0.95, 0.4, 1.2)),
    Row("compile, torch, out / copy", ways.compiled_torch_out, ways.copy, _images(2.6, 1.6, 8)),
    Row("compile, NumPy, out / copy", ways.compiled_numpy_out, ways.copy, _images(2.6, 1.6, 8)),
    Row(
        "compile, torch / F.group_norm(C)",
        ways.compiled_torch,
        ways.torch_group_norm,
        _images(1.3, 1.0, 1.5),
    ),
    Row(
        "torch eager / F.instance_norm",
        ways.torch_eager,
        ways.torch_instance_norm,
        _images(1.2, 0.8, 1.5),
    ),
    Row(
        "RevIN both ways, NumPy, out / copy",
        ways.revin_numpy_out,
        ways.copy,
        dict(zip(SERIES, (14, 14, 40), strict=True)),
    ),
    Row(
        "RevIN both ways, compile, out / copy",
        ways.revin_compiled_out,
        ways.copy,
        dict(zip(SERIES, (7, 7, 12), strict=True)),
    ),
    Row(
        "RevIN both ways, NumPy / published",
        ways.revin_numpy,
        ways.revin_published,
        _TWICE_AS_FAST,
    ),
    Row(
        "RevIN both ways, compile / published",
        ways.revin_compiled,
        ways.revin_published,
        _TWICE_AS_FAST,
    ),
    Row(
        "NumPy, two threads / one, out",
        ways.numpy_two_threads_out,
        ways.numpy_out,
        _images(1.0, 1.0, 1.0),
    ),
    Row("AdaIN / instance norm", ways.numpy_adain, ways.numpy, _images(1.7, 1.7, 1.7)),
    Row(
        "Batch-Instance norm / instance norm",
        ways.numpy_batch_instance,
        ways.numpy,
        _images(1.7, 1.7, 1.7),
    ),
    Row("call overhead, NumPy / textbook NumPy", ways.numpy, ways.textbook, {TINY: 2}),
]

# One instance is 16 KB; the batch takes the sizes from 1 MB to 1 GB.
SIZES = [(batch, 64, 64, 64) for batch in (1, 4, 16, 64, 256, 1024)]
FLATNESS = 1.5

TEMPORARIES = {"NumPy": ways.numpy, "NumPy, out": ways.numpy_out}
TEMPORARY_BYTES = 8e6
