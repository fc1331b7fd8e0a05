"""Dask arrays of unknown sizes: only computed chunks show whether two arrays are cut alike."""

from importlib import import_module
from typing import Any

from revnorm._libraries import is_dask
from revnorm._trees import Array


def cut_alike(name: str, array: Array, x: Array) -> Array:
    """The array; of chunks of other sizes than those of `x`, a ValueError when computed."""
    unknown = [i for i, size in enumerate(x.shape) if size != size] if is_dask(x) else []
    if not unknown or any(array.shape[i] == array.shape[i] for i in unknown):
        return array

    def checked(part: Any, of_x: Any) -> Any:
        found, wanted = ([a.shape[i] for i in unknown] for a in (part, of_x))
        _same(name, found, wanted, f"a chunk of {found} beside one of {wanted}")
        return part

    found, wanted = ([a.numblocks[i] for i in unknown] for a in (array, x))
    _same(name, found, wanted, f"{found} chunks beside {wanted}")
    # One of each chunk along the other axes, which may be cut as they like.
    x = x[tuple(slice(None) if i in unknown else slice(1) for i in range(x.ndim))]
    axes = tuple(range(x.ndim))
    return import_module("dask.array").blockwise(
        checked, axes, array, axes, x, axes, dtype=array.dtype, meta=array._meta,
        align_arrays=False, adjust_chunks=dict(zip(axes, array.chunks, strict=True)),
    )  # fmt: skip


def _same(name: str, found: list[int], wanted: list[int], told: str) -> None:
    if found != wanted:
        raise ValueError(f"`{name}` must be cut as the data are, got {told}")
