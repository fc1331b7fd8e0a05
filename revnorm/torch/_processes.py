"""What processes tell each other while DistributedDataParallel runs the model in all of them.

Nothing else says that every process calls the same layers in the same order, without which a
process would wait for ever: torch.distributed also runs models of which each process has a part.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def gathered(values: Any) -> Any:
    """Tensors of all processes, along a new first axis; of this one where no others run along."""
    group = _group()
    if group is None:
        return values[None]
    return torch.stack(of_all(values, group))


def of_all(values: Any, group: Any) -> list[Any]:
    """The tensors of all processes of a group, in the order of their ranks."""
    everyone = [torch.empty_like(values) for _ in range(dist.get_world_size(group))]
    dist.all_gather(everyone, values.contiguous(), group=group)
    return everyone


def _group() -> Any:
    """The processes of the DistributedDataParallel whose forward is running, if there are any."""
    if not dist.is_available() or not dist.is_initialized():
        return None
    running = DistributedDataParallel._get_active_ddp_module()
    if running is None or dist.get_world_size(running.process_group) == 1:
        return None
    return running.process_group
