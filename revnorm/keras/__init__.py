"""Layers for Keras 3, on its torch, jax and numpy backends.

The arithmetic is that of `revnorm`; the layers hold weights, configurations and masks. Keras runs
on one backend a process, which ``KERAS_BACKEND`` chooses before the first import.
"""

from revnorm.keras._instance import InstanceNormalization
from revnorm.keras._normalization import Normalization
from revnorm.keras._reversible import ReversibleInstanceNorm, Undo

__all__ = ["InstanceNormalization", "Normalization", "ReversibleInstanceNorm", "Undo"]
