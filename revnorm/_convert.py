"""Values that travel: maps and moments carried to another library and device."""

import sys
from typing import Any

import array_api_compat

from revnorm import _checks, _map_checks
from revnorm._affine import AffineMap
from revnorm._data import has_float64
from revnorm._host import to_numpy
from revnorm._libraries import array_namespace, device, is_dask, is_torch
from revnorm._moments import Moments
from revnorm._trees import Array


def convert(value: Any, /, like: Array) -> Any:
    """The same moments or map in the library and on the device of an array.

    Parameters
    ----------
    value : Moments or AffineMap
        Of arrays of any library. Those of Dask are computed, all fields together.
    like : array
        Of the library and on the device wanted; its shape and dtype do not matter.

    Returns
    -------
    Moments or AffineMap
        Fields of the same dtype. Where the library or device of `like` has no float64, they are
        float32, and what mean, center and offset lose by that goes to the residual beside them.

    Raises
    ------
    TypeError
        If `value` is neither, or `like` is no array.

    Notes
    -----
    Arrays go from library to library through DLPack, without a copy where both can look at the
    same memory, and through the host's memory where one does not take part in it. Gradients end
    between libraries, and go on between devices of one.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import revnorm as rn
    >>> norm_map = rn.standardizer(np.asarray([1.0, 2.0, 3.0]), axis=0, eps=0.0)
    >>> rn.convert(norm_map, torch.ones(1))(torch.asarray([1.0, 2.0, 3.0]))
    tensor([-1.2247,  0.0000,  1.2247])
    """
    if not isinstance(value, Moments | AffineMap):
        raise TypeError(f"`value` must be a Moments or AffineMap, got {type(value).__name__}")
    source, xp = _map_checks.fields(value), _checks.namespace(like=like)
    place = device(like)
    if not has_float64(xp, place) and value[0].dtype == source.float64:
        value = value.astype(source.float32)
    if source is xp:
        return value._make(_on(place, field) for field in value)
    if is_dask(value[0]):
        value = value._make(sys.modules["dask"].compute(*value))
    return value._make(_on(place, _taken(xp, field)) for field in value)


def moved(array: Array, like: Array) -> Array:
    """An array in the library and on the device of another."""
    xp = array_namespace(like)
    return _on(device(like), array if array_namespace(array) is xp else _taken(xp, array))


def _taken(xp: Any, array: Array) -> Array:
    """An array of another library, by DLPack or by way of the host."""
    array = array.detach() if is_torch(array) else array
    try:
        return xp.from_dlpack(array)
    except (AttributeError, BufferError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return xp.asarray(to_numpy(array))


def _on(place: Any, array: Array) -> Array:
    """An array on a device; one that a tracer stands for has none yet."""
    if place is None or device(array) == place:
        return array
    return array_api_compat.to_device(array, place)
