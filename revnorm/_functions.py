"""What PyTorch's compiler differentiates by a backward of its own."""

from typing import Any

import torch


class Stored(torch.autograd.Function):
    """A view, of which the compiler keeps the whole in memory.

    The gradient goes straight back: that of ``as_strided`` itself writes into a buffer of zeros,
    which PyTorch 2.13 takes for another such buffer.
    """

    @staticmethod
    def forward(ctx: Any, array: torch.Tensor) -> torch.Tensor:
        """The array as it is."""
        return array.as_strided(array.size(), array.stride())

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        """The cotangent as it is."""
        return g


class Measured(torch.autograd.Function):
    """Pivot, residual and variance of long instances, whose gradient knows of no segments."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, axis: tuple[int, ...], split: Any
    ) -> tuple[torch.Tensor, ...]:
        """Those of the segments together; the pivot is a constant."""
        from revnorm._sample import of_segments

        pivot, residual, variance = of_segments(x, axis, split)
        ctx.save_for_backward(x, pivot, residual)
        return pivot, residual, variance

    @staticmethod
    def backward(
        ctx: Any, _: torch.Tensor, to_residual: torch.Tensor, to_variance: torch.Tensor
    ) -> tuple[torch.Tensor, None, None]:
        """dx = (dresidual + 2 · dvariance · (d − residual)) / n."""
        x, pivot, residual = ctx.saved_tensors
        count = x.numel() // pivot.numel()
        slope = 2 * to_variance / count
        level = to_residual / count - slope * residual
        return ((x - pivot) * slope + level).to(x.dtype), None, None
