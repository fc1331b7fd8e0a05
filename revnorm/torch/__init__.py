"""Layers for PyTorch: the functions of this package as modules that replace those in use."""

from revnorm.torch._batch_instance import BatchInstanceNorm
from revnorm.torch._convert import convert
from revnorm.torch._instance import InstanceNorm

__all__ = ["BatchInstanceNorm", "InstanceNorm", "convert"]
