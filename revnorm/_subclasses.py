"""Arrays that are more than their values: which are taken, and what the others should be."""

from typing import Any

import numpy as np

from revnorm._libraries import is_torch


def refusal(array: Any) -> str:
    """What an array would have to be, and what it is; empty where it is taken."""
    if type(array) is np.ndarray:
        return ""
    kind = type(array).__name__
    masked = isinstance(getattr(array, "_meta", array), np.ma.MaskedArray)
    torch = is_torch(array)
    if masked or (torch and hasattr(array, "get_mask")):
        return f"an array without a mask of its own, which goes into `where`, got {kind}"
    if torch and array.is_nested:
        return "an array of one shape, got a nested tensor"
    if torch and str(array.layout) != "torch.strided":
        return f"a dense array, got one of layout {array.layout}"
    return ""
