"""Moments of data that lie with several processes."""

from functools import reduce
from typing import Any

import torch
import torch.distributed as dist

from revnorm import _map_checks
from revnorm._moments import Moments, merge
from revnorm.torch._processes import of_all


@torch.no_grad()
def all_merge(moments: Moments, group: Any = None) -> Moments:
    """The moments of the data of all processes, given to each of them.

    Every process of the group calls it, as it calls `torch.distributed.all_reduce`. Nothing but
    moments travels: four numbers an instance.

    Parameters
    ----------
    moments : Moments
        Of this process's part of the data, as `revnorm.moments` or `revnorm.merge` gave them, on
        the device that the group's backend sends from. Of the same shape and dtype in all.
    group : torch.distributed.ProcessGroup, optional
        By default all processes.

    Returns
    -------
    Moments
        Bit for bit what `revnorm.merge` gives of the parts one by one, in the order of their
        ranks. Where torch.distributed is not initialized, `moments` as they are. No gradient flows
        through it.

    Raises
    ------
    TypeError
        If `moments` is not a Moments of tensors.
    ValueError
        In all processes, if their moments differ in shape or dtype.

    Notes
    -----
    A process whose part is empty takes part with moments of count 0, such as those of any data
    under a `where` that is False.

    Examples
    --------
    >>> import torch
    >>> import revnorm as rn
    >>> from revnorm.torch import all_merge
    >>> part = rn.moments(torch.tensor([[1.0, 2.0], [3.0, 6.0]]), axis=0)
    >>> rn.standardizer(all_merge(part), eps=0.0)(torch.tensor([[3.0, 6.0]]))
    tensor([[1., 1.]])
    """
    if not isinstance(moments, Moments) or not all(torch.is_tensor(field) for field in moments):
        raise TypeError(f"`moments` must be a Moments of tensors, got {type(moments).__name__}")
    _map_checks.fields(moments)
    if not dist.is_available() or not dist.is_initialized():
        return moments
    own = torch.stack(torch.broadcast_tensors(*moments))
    _alike(own, group)
    return reduce(merge, (Moments(*fields) for fields in of_all(own, group)))


def _alike(own: Any, group: Any) -> None:
    """Raises in all processes unless their tensors are of one shape and dtype."""
    kinds: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(kinds, (tuple(own.shape[1:]), str(own.dtype)), group=group)
    if len(set(kinds)) > 1:
        listed = ", ".join(f"{shape} of {dtype}" for shape, dtype in kinds)
        raise ValueError(f"`moments` must be of one shape and dtype in all processes, got {listed}")
