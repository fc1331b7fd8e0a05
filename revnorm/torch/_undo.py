"""The way back that a layer hands out: a map, and the dtype that its results have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree

from revnorm import _registry
from revnorm._affine import AffineMap


@dataclass(frozen=True, eq=False, repr=False)
class Undo:
    """An affine map whose results have a dtype of their own, whatever they were computed from.

    Attributes
    ----------
    map : AffineMap
        The map, which gives the dtype of its argument.
    dtype : torch.dtype
        Of the results, that of the data that were normalized.
    """

    map: AffineMap
    dtype: torch.dtype

    def __call__(
        self, y: torch.Tensor, *, dtype: torch.dtype | None = None, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The data again, of a forecast of any length; as ``AffineMap`` is called."""
        return self.map(y, dtype=self.dtype if dtype is None else dtype, out=out)

    def spread(self, std: torch.Tensor | float) -> torch.Tensor:
        """A standard deviation in the units of the data."""
        return self.map.spread(self._wide(std)).to(self.dtype)

    def variance(self, variance: torch.Tensor | float) -> torch.Tensor:
        """A variance in the units of the data, squared."""
        return self.map.variance(self._wide(variance)).to(self.dtype)

    def take(self, indices: torch.Tensor | Sequence[int] | slice | int, *, axis: int) -> "Undo":
        """The way back for some of the channels or instances, as ``AffineMap.take`` has them."""
        return Undo(self.map.take(indices, axis=axis), self.dtype)

    @property
    def inv(self) -> "Undo":
        """The way there again."""
        return Undo(self.map.inv, self.dtype)

    def __repr__(self) -> str:
        """The map and the dtype."""
        return f"Undo({self.map!r}, {self.dtype})"

    def _wide(self, given: Any) -> Any:
        return given.to(self.map.center.dtype) if isinstance(given, torch.Tensor) else given


def _named(dtype: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, dtype.removeprefix("torch."))
    return found


# What a compiled or an exported function gives back may hold one.
_registry.make_known()
_pytree.register_pytree_node(
    Undo,
    lambda undo: ([undo.map], undo.dtype),
    lambda children, dtype: Undo(next(iter(children)), dtype),
    serialized_type_name="revnorm.torch.Undo",
    to_dumpable_context=str,
    from_dumpable_context=_named,
)
torch.serialization.add_safe_globals([Undo])
