"""What PyTorch's compiler is to compute once and store, rather than anew wherever it is used."""

import sys

from revnorm._checks import Array
from revnorm._libraries import is_torch


def stored(a: Array) -> Array:
    """The same array, which compiled code computes in a loop of its own.

    Left alone, PyTorch's compiler repeats at every element what leads up to a number of the
    instance, and joins the steps of short sums into one expression that grows with each.
    """
    if not is_torch(a):
        return a
    compiler = sys.modules["torch"].compiler
    if not compiler.is_compiling() or compiler.is_exporting() or a.requires_grad:
        return a
    return a.as_strided(a.size(), a.stride())
