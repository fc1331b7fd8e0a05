"""Normalization on any array library: invertible, and accurate to the last bits."""

from importlib.metadata import version

from revnorm import _registry
from revnorm._adain import adain
from revnorm._affine import AffineMap, blend, standardizer
from revnorm._batch_instance import batch_instance_norm
from revnorm._checks import AxisError
from revnorm._compile import compile as compile
from revnorm._conditional import conditional_instance_norm
from revnorm._convert import convert
from revnorm._instance import instance_norm
from revnorm._layout import Layout
from revnorm._moments import Moments, merge, moments
from revnorm._revin import revin
from revnorm._spatial import spatially_adaptive_norm
from revnorm._standardizer import Standardizer

_registry.make_known()

__version__ = version("revnorm")

# Not `compile`, which Python has too: a star import would take that away.
__all__ = [
    "AffineMap",
    "AxisError",
    "Layout",
    "Moments",
    "Standardizer",
    "adain",
    "batch_instance_norm",
    "blend",
    "conditional_instance_norm",
    "convert",
    "instance_norm",
    "merge",
    "moments",
    "revin",
    "spatially_adaptive_norm",
    "standardizer",
]
