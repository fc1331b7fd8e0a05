"""Layers for PyTorch: the functions of this package as modules that replace those in use.

`all_merge` takes the moments of several processes together.
"""

from revnorm.torch._adain import AdaIN
from revnorm.torch._all_merge import all_merge
from revnorm.torch._batch_instance import BatchInstanceNorm
from revnorm.torch._conditional import ConditionalInstanceNorm
from revnorm.torch._convert import convert
from revnorm.torch._instance import InstanceNorm
from revnorm.torch._revin import RevIN
from revnorm.torch._spatial import SpatiallyAdaptiveNorm

__all__ = [
    "AdaIN",
    "BatchInstanceNorm",
    "ConditionalInstanceNorm",
    "InstanceNorm",
    "RevIN",
    "SpatiallyAdaptiveNorm",
    "all_merge",
    "convert",
]
