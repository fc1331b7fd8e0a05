"""Running statistics: how a layer's buffers follow the moments of batches, and stand in for them.

    running = (1 − momentum) · running + momentum · batch

The running variance is unbiased, as PyTorch's is: divided by count − 1.
"""

from typing import Any

import torch

from revnorm._moments import Moments, merge
from revnorm.torch._processes import gathered


@torch.no_grad()
def follow(layer: Any, mean: Any, variance: Any, count: Any) -> None:
    """Moves a layer's running statistics towards those of a batch, unless that is empty."""
    seen = count > 0
    layer.num_batches_tracked.add_(seen.any())
    share = layer.momentum
    if share is None:
        share = 1 / layer.num_batches_tracked.to(mean.dtype)
    for running, batch in ((layer.running_mean, mean), (layer.running_var, variance)):
        running.copy_(torch.where(seen, (1 - share) * running + share * batch, running))


@torch.no_grad()
def averaged(moments: Moments, channel_axis: int) -> tuple[Any, Any, Any]:
    """Mean and unbiased variance a channel, averaged over the instances of all processes."""
    mean, _, variance, count = moments
    both = torch.stack([mean, _unbiased(variance, count)])
    of_channels = both.movedim(1 + channel_axis % mean.ndim, 1).flatten(2)
    sums, instances = of_channels.sum(2), of_channels.shape[2]
    known = torch.cat([sums.flatten(), torch.full_like(sums[0, :1], instances)])
    *sums, instances = gathered(known).sum(0).split([sums.shape[1], sums.shape[1], 1])
    return sums[0] / instances, sums[1] / instances, instances


@torch.no_grad()
def pooled(moments: Moments) -> tuple[Any, Any, Any]:
    """Mean and unbiased variance a channel, of all data of all processes taken together."""
    first, *others = gathered(torch.stack([field.flatten() for field in moments]))
    whole = Moments(*first)
    for other in others:
        whole = merge(whole, Moments(*other))
    return whole.mean, _unbiased(whole.variance, whole.count), whole.count


def known(layer: Any, ndim: int, channel_axis: int) -> Moments:
    """A layer's running statistics, laid out for data of so many axes."""
    shape = [1] * ndim
    shape[channel_axis] = -1
    # Copies, as a batch in training may move the buffers before this call's backward.
    mean, variance = (one.clone().reshape(shape) for one in (layer.running_mean, layer.running_var))
    return Moments(mean, torch.zeros_like(mean), variance, torch.ones_like(mean))


def _unbiased(variance: Any, count: Any) -> Any:
    return variance * (count / (count - 1).clamp(min=1))
