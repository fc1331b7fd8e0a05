"""Every nn.InstanceNorm of a model replaced."""

import logging
from typing import Any

from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils import parametrize

from revnorm.torch import _checks
from revnorm.torch._instance import InstanceNorm

_log = logging.getLogger("revnorm")

# A subclass that does more than PyTorch's own in one of these would lose it.
_OURS = ("forward", "_apply_instance_norm", "_handle_no_batch_input")


def convert(module: nn.Module) -> nn.Module:
    """Replace every ``nn.InstanceNorm1d``, ``2d`` and ``3d`` of a model, in place.

    Parameters
    ----------
    module : Module
        A model, or an ``nn.InstanceNorm`` itself. Lazy variants are converted, and subclasses that
        compute what PyTorch's own layer computes. Subclasses with a forward of their own, and
        layers with a parametrization, stay.

    Returns
    -------
    Module
        The same model, with an `InstanceNorm` in each place; or the `InstanceNorm` that replaces
        `module` itself.

    Raises
    ------
    TypeError
        If `module` is no ``nn.Module``.

    Notes
    -----
    The parameters and buffers are the same tensors, so an optimizer that was made before goes on
    with them. Training mode, hooks and further attributes are kept too, and a layer that occurs
    twice is one layer afterwards. Data without a batch are accepted, as PyTorch's layers accept
    them.

    The logger "revnorm" says at level INFO what was replaced, and what was left.

    Examples
    --------
    >>> import torch
    >>> from revnorm.torch import convert
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.InstanceNorm2d(8))
    >>> convert(model)
    Sequential(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
      (1): InstanceNorm(axis=(-2, -1), channel_axis=-3, eps=1e-05, affine=False, \
track_running_stats=False, momentum=0.1)
    )
    """
    _checks.module(module)
    made: dict[_InstanceNorm, InstanceNorm] = {}
    for path, norm in list(module.named_modules(remove_duplicate=False)):
        if not _is_theirs(norm):
            continue
        new = _replaced(path or "module", norm, made)
        if norm is module:
            return new
        above, _, name = path.rpartition(".")
        module.get_submodule(above)._modules[name] = new
    return module


def _is_theirs(module: nn.Module) -> bool:
    return isinstance(module, _InstanceNorm) and not isinstance(module, InstanceNorm)


def _replaced(place: str, old: Any, made: dict[Any, Any]) -> Any:
    if not _is_plain(old):
        _log.info("%s: %s left as it is, which computes something else", place, old)
        return old
    if old not in made:
        made[old] = _converted(old)
    _log.info("%s: %s replaced by %s", place, old, made[old])
    return made[old]


def _is_plain(old: Any) -> bool:
    same = all(getattr(type(old), name) is getattr(_InstanceNorm, name) for name in _OURS)
    return same and "forward" not in vars(old) and not parametrize.is_parametrized(old)


def _converted(old: Any) -> InstanceNorm:
    """A layer that takes over all that another has: tensors, mode, hooks and attributes."""
    waits = hasattr(old, "_initialize_hook")
    if waits:
        # They belong to the old layer.
        old._initialize_hook.remove()
        old._load_hook.remove()
        del old._initialize_hook, old._load_hook
    ndim = old._get_no_batch_dim()
    new = InstanceNorm(axis=tuple(range(1 - ndim, 0)), channel_axis=-ndim, affine=False)
    new.__dict__.update(vars(old))
    new._ranks = (ndim, ndim + 1)
    if not new.affine and not new.track_running_stats:
        # PyTorch does not use the number either, and only warns of another.
        new.num_features = 0
    elif waits:
        new._wait()
    return new
