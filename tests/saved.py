"""What PyTorch keeps between a call and its backward, in bytes."""

import gc
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

PLAIN = (torch.Tensor, torch.nn.Parameter)


def saved_bytes(call: Callable[[], Any], parameters: Iterable[torch.Tensor] = ()) -> int:
    """Bytes of the storages that are kept for backward, each counted once.

    Those of the parameters are not counted, which are there anyway. What a call holds on to
    without PyTorch's knowledge is.
    """
    given = _sizes(one for one in gc.get_objects() if type(one) in PLAIN)
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.update(_sizes([tensor]))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = call()
    known = given | _sizes(tree_leaves(result))
    held = _sizes(one for one in gc.get_objects() if type(one) in PLAIN)
    kept |= {pointer: size for pointer, size in held.items() if pointer not in known}
    return sum(kept[pointer] for pointer in kept.keys() - _sizes(parameters).keys())


def _sizes(tensors: Iterable[Any]) -> dict[int, int]:
    memories = (_memory(one) for one in tensors if type(one) in PLAIN)
    return {pointer: size for pointer, size in memories if size}


def _memory(tensor: torch.Tensor) -> tuple[int, int]:
    """Where a tensor's storage is, and its bytes; none of what a transform left behind."""
    try:
        storage = tensor.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    except RuntimeError:
        return 0, 0
