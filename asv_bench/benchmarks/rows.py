"""What is compared with what, on which shapes, and the ratio to reach."""

from typing import NamedTuple

from . import networks, steps, ways
from .ways import Array, Callable

Shape = tuple[int, ...]

SMALL, MIDDLE, LARGE = (64, 256, 7, 7), (32, 64, 56, 56), (8, 64, 256, 256)
TINY = (1, 16, 8, 8)
SERIES = (64, 336, 321), (256, 96, 862), (512, 336, 7)
TRAINED_SERIES = SERIES[0], SERIES[2]
VOLUME = (2, 32, 64, 64, 64)
PHOTOGRAPHS = (8, 3, 64, 64), (8, 3, 160, 160)


class Row(NamedTuple):
    """Two ways, and the largest ratio of the first's time to the second's for every shape."""

    name: str
    first: Callable[[Array], ways.Function]
    second: Callable[[Array], ways.Function]
    targets: dict[Shape, float]


class Kept(NamedTuple):
    """A way, where it is measured, and the most it may keep for backward, in input sizes."""

    way: Callable[[Array], steps.Step]
    shape: Shape
    at_most: float | None = None


def _images(middle: float, large: float, small: float) -> dict[Shape, float]:
    return {MIDDLE: middle, LARGE: large, SMALL: small}


_TWICE_AS_FAST = dict.fromkeys(SERIES, 0.5)
_LAST = dict.fromkeys((MIDDLE, LARGE), 1.3)

ORDERS = [
    Row(
        "torch eager, channels last / contiguous",
        steps.forward_of(steps.eager_channels_last),
        steps.forward_of(steps.eager),
        _LAST,
    ),
    Row(
        "compile, channels last / contiguous",
        steps.forward_of(steps.compiled_channels_last),
        steps.forward_of(steps.compiled),
        _LAST,
    ),
]

CALLS = [
    Row("call overhead, NumPy / textbook NumPy", ways.numpy, ways.textbook, {TINY: 2.5}),
    Row(
        "call overhead, torch eager / F.instance_norm",
        ways.torch_eager,
        ways.torch_instance_norm,
        {TINY: 8},
    ),
    Row(
        "call overhead, compile / F.group_norm(C)",
        ways.compiled_torch,
        ways.torch_group_norm,
        {TINY: 6},
    ),
]

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
    *ORDERS,
    *CALLS,
]

STEPS = [
    Row(
        "step, torch eager / F.instance_norm",
        steps.eager,
        steps.torch_instance_norm,
        _images(1.3, 1.0, 3.5),
    ),
    Row(
        "step, compile / F.group_norm(C)",
        steps.compiled,
        steps.torch_group_norm,
        _images(0.9, 0.4, 2.5),
    ),
    Row(
        "step, torch.compile / the same of F.instance_norm",
        steps.users_own,
        steps.users_own_torch,
        _images(1.0, 0.8, 1.0),
    ),
    Row(
        "step, RevIN both ways, torch eager / published",
        steps.revin,
        steps.revin_published,
        dict.fromkeys(TRAINED_SERIES, 1.0),
    ),
    Row(
        "step, RevIN both ways, compile / published",
        steps.revin_compiled,
        steps.revin_published,
        dict.fromkeys(TRAINED_SERIES, 0.4),
    ),
    Row("step, nnU-Net, torch eager / F.instance_norm", steps.unet, steps.unet_torch, {VOLUME: 1}),
    Row(
        "step, nnU-Net, channels last, torch eager / F.instance_norm",
        steps.unet_channels_last,
        steps.unet_torch_channels_last,
        {VOLUME: 1},
    ),
    Row(
        "step, torch eager, channels last / contiguous",
        steps.eager_channels_last,
        steps.eager,
        _LAST,
    ),
    Row(
        "step, compile, channels last / contiguous",
        steps.compiled_channels_last,
        steps.compiled,
        _LAST,
    ),
]

# RevIN both ways is two calls with one big input each.
KEPT = {
    "torch eager": Kept(steps.eager, MIDDLE, 1.1),
    "torch eager, native": Kept(steps.eager_native, MIDDLE, 1.1),
    "compile": Kept(steps.compiled, MIDDLE, 1.1),
    "torch.compile": Kept(steps.users_own, MIDDLE, 1.1),
    "F.instance_norm": Kept(steps.torch_instance_norm, MIDDLE),
    "RevIN both ways, torch eager": Kept(steps.revin, SERIES[0], 2.1),
    "RevIN both ways, compile": Kept(steps.revin_compiled, SERIES[0], 1.1),
    "RevIN both ways, published": Kept(steps.revin_published, SERIES[0]),
}

# One instance is 16 KB; the batch takes the sizes from 1 MB to 1 GB.
SIZES = [(batch, 64, 64, 64) for batch in (1, 4, 16, 64, 256, 1024)]
FLATNESS = 1.5

TEMPORARIES = {"NumPy": ways.numpy, "NumPy, out": ways.numpy_out}
TEMPORARY_BYTES = 8e6

NETWORKS = [
    Row(
        "network, converted / torch.nn",
        networks.converted,
        networks.theirs,
        dict.fromkeys(PHOTOGRAPHS, 1.05),
    ),
    Row(
        "network, running statistics, converted / torch.nn",
        networks.tracked(networks.converted),
        networks.tracked(networks.theirs),
        dict.fromkeys(PHOTOGRAPHS, 1.05),
    ),
    Row(
        "network, torch.compile, converted / torch.nn",
        networks.converted_compiled,
        networks.theirs_compiled,
        dict.fromkeys(PHOTOGRAPHS, 1.0),
    ),
    Row(
        "network, torch.compile, running statistics, converted / torch.nn",
        networks.tracked(networks.converted_compiled),
        networks.tracked(networks.theirs_compiled),
        dict.fromkeys(PHOTOGRAPHS, 1.0),
    ),
]

FORECASTERS = [
    Row(
        "forecaster, RevIN / its authors'",
        networks.replaced,
        networks.authors,
        dict.fromkeys(TRAINED_SERIES, 1.05),
    ),
    Row(
        "forecaster, torch.compile, RevIN / its authors'",
        networks.replaced_compiled,
        networks.authors_compiled,
        dict.fromkeys(TRAINED_SERIES, 1.0),
    ),
]
