"""Moments of an array in one read of its memory, where that is as exact as reading it twice."""

import math

import numpy as np

from revnorm import _memory
from revnorm._lanes import lanes
from revnorm._moments import Moments
from revnorm._pivoted import BUFFER
from revnorm._table import columns


def read_once(x: np.ndarray, axis: tuple[int, ...]) -> list[Moments] | None:
    """Moments of an array, of parts of it; None where reading twice is better.

    There are some where in memory the axes that are kept lie together.
    """
    order = _memory.order(x)
    laid = x.transpose(order)
    kept = [i for i, one in enumerate(order) if one not in axis and x.shape[one] > 1]
    first, last = (kept[0], kept[-1] + 1) if kept else (x.ndim, x.ndim)
    together = all(order[i] not in axis for i in range(first, last))
    if not together or not (laid.flags.c_contiguous or x.ndim == 2):
        return None
    outer, width, inner = (
        math.prod(laid.shape[cut]) for cut in (slice(first), slice(first, last), slice(last, None))
    )
    with np.errstate(all="ignore"):
        np.setbufsize(BUFFER)
        if inner == 1:
            found = columns(laid.reshape(outer, width))
        else:
            found = lanes(laid.reshape(outer, width, inner))
    if found is None:
        return None
    sizes = tuple(1 if one in axis else x.shape[one] for one in order)
    back = np.argsort(order)
    return [Moments(*(f.reshape(sizes).transpose(back) for f in one)) for one in found]
