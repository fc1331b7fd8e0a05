"""The way back of every kernel, in PyTorch: two touches of the elements, as the way there.

With g the cotangent of y = d · slope + level, an instance

    pulls      Σ g·d on its slope and Σ g on its level
    from where its library's own autograd goes on to residual, variance and operands
    and gives  dx = g · slope + d · b + a
    with       b = 2 · dvariance / n,   a = dresidual / n − b · residual

Nothing is kept but x, the sample and the operands. A backward that is to be differentiated again
runs through the plain functions instead, and so does whatever PyTorch traces or transforms.
"""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from revnorm import _blocks, _memory
from revnorm._checks import Array
from revnorm._frames import Line
from revnorm._libraries import array_namespace, is_torch
from revnorm._place import Whole
from revnorm._sample import Sample
from revnorm._tracing import constant
from revnorm._trees import filled, is_array, leaves, mapped


class Step(NamedTuple):
    """What is done with the elements of x, and how an instance's line comes about.

    `forward(x, where, *operands, out=None, keep=True)` gives y or None, then the fields of a
    Sample if one is taken.
    `lowered(sample, *operands)` gives the line that y was drawn with.
    A `detached` sample has no gradient.
    """

    forward: Callable[..., tuple[Any, ...]]
    lowered: Callable[..., Line] | None
    axis: tuple[int, ...]
    dtype: Any
    accumulate: bool
    gaps: bool = False
    detached: bool = False


def through(
    step: Step,
    x: Array,
    where: Array | None,
    *operands: Any,
    out: Array | None = None,
    keep: bool = True,
) -> tuple[Any, ...]:
    """What the step gives, with this backward where PyTorch records it.

    Without `keep` the sample may be left out.
    """
    recorded = is_torch(x) and _memory.is_recorded(x, *operands)
    if not recorded or not _memory.is_eager(x, *operands):
        return step.forward(x, where, *operands, out=out, keep=keep)
    y, *others = _function().apply(step, operands, x, where, *leaves(operands))
    if out is None or y is None:
        return y, *others
    out[...] = y
    return out, *others


@cache
def _function() -> Any:
    torch = sys.modules["torch"]

    class Recorded(torch.autograd.Function):  # type: ignore[name-defined]
        @staticmethod
        def forward(ctx: Any, step: Step, frame: Any, x: Any, where: Any, *flat: Any) -> Any:
            y, *sample = step.forward(x, where, *filled(frame, iter(flat)))
            arrays = [a for a in sample if is_array(a)]
            learned = () if step.detached else sample[1:3]
            ctx.step, ctx.frame = step, frame
            ctx.sample = [None if is_array(a) else a for a in sample]
            ctx.held = [is_array(a) for a in sample]
            ctx.save_for_backward(x, where, *arrays, *flat)
            ctx.set_materialize_grads(False)
            ctx.mark_non_differentiable(
                *(a for a in arrays if not any(a is one for one in learned))
            )
            return (y, *sample)

        @staticmethod
        def backward(ctx: Any, g: Any, *pulls: Any) -> Any:
            if all(pull is None for pull in (g, *pulls)):
                return (None,) * len(ctx.needs_input_grad)
            x, where, *rest = ctx.saved_tensors
            taken = iter(rest)
            sample = [next(taken) if held else a for held, a in zip(ctx.held, ctx.sample)]
            flat = list(taken)
            needed = [ctx.needs_input_grad[2], *ctx.needs_input_grad[4:]]
            call = _Call(ctx.step, ctx.frame, x, where, flat, needed, g, pulls)
            if torch.is_grad_enabled() or not all(map(_memory.is_single, leaves((g, pulls)))):
                with torch.enable_grad():
                    grads = _again(torch, call)
            else:
                grads = _pulled_back(torch, call, Sample(*sample) if sample else None)
            return None, None, grads[0], None, *grads[1:]

    return Recorded


class _Call(NamedTuple):
    """A step that was taken, and the cotangents of what it gave."""

    step: Step
    frame: Any
    x: Any
    where: Any
    flat: list[Any]
    needed: list[bool]
    g: Any
    pulls: Any


def _again(torch: Any, call: _Call) -> list[Any]:
    """The gradients as functions that can be differentiated."""
    step, frame, x, where, flat, needed, g, pulls = call
    # Views, since an operand that came from x would lead to it a second time.
    x, *flat = (a.view_as(a) for a in (x, *flat))
    outputs = step.forward(x, where, *filled(frame, iter(flat)))
    pairs = [
        (a, pull) for a, pull in zip(outputs, (g, *pulls)) if pull is not None and a.requires_grad
    ]
    return _vjp(torch, pairs, [x, *flat], needed, create_graph=True)


def _vjp(torch: Any, pairs: Any, inputs: Any, needed: Any, **options: Any) -> list[Any]:
    grads: list[Any] = [None] * len(inputs)
    at = [i for i, one in enumerate(needed) if one]
    if pairs and at:
        outputs, pulls = zip(*pairs)
        wanted = [inputs[i] for i in at]
        found = torch.autograd.grad(outputs, wanted, pulls, allow_unused=True, **options)
        for i, grad in zip(at, found, strict=True):
            grads[i] = grad
    return grads


def _pulled_back(torch: Any, call: _Call, sample: Sample | None) -> list[Any]:
    """The gradients in two touches of the elements."""
    step, frame, x, where, flat, needed, g, pulls = call
    varied = [a.detach().requires_grad_(need) for a, need in zip(flat, needed[1:])]
    wide = torch.float64 if step.accumulate else None
    drawn, pairs, ends = None, [], []
    if sample is not None and not step.detached:
        ends = [a.detach().requires_grad_(needed[0]) for a in (sample.residual, sample.variance)]
        sample = sample._replace(residual=ends[0], variance=ends[1])
        pairs = [(a, pull) for a, pull in zip(ends, pulls[1:3]) if pull is not None and needed[0]]
    if g is not None:
        assert step.lowered is not None
        with torch.enable_grad():
            drawn = step.lowered(sample, *filled(frame, iter(varied)))
        lines = [(a, i) for i, a in enumerate((drawn.slope, drawn.level)) if a.requires_grad]
        if lines:
            sums = _sums(step, x, g, drawn, wide)
            pairs += [(a, sums[i]) for a, i in lines]
    inputs = [*ends, *varied]
    wanted = [needed[0]] * len(ends) + list(needed[1:])
    grads = _vjp(torch, pairs, inputs, wanted)
    dx = None
    if needed[0]:
        dx = _elements(step, x, g, where, drawn, sample, grads[: len(ends)])
    return [dx, *grads[len(ends) :]]


def _sums(step: Step, x: Any, g: Any, drawn: Line, wide: Any) -> list[Any]:
    """The first touch: what the elements pull on slope and level."""
    gaps = step.gaps

    def kernel(place: Whole, x: Array, g: Array, pivot: Any, power_in: Any, power_out: Any) -> Any:
        xp = array_namespace(x)
        accumulate = None if wide is None else xp.float64
        d = place.minus(x if power_in is None else x * power_in, pivot)
        if power_out is not None:
            g = g / power_out
        if gaps:
            g, d = xp.where(d == d, g, 0.0), xp.where(d == d, d, 0.0)
        if not place.axis:
            return None, g * d, g
        return None, place.sum(g, d, accumulate), place.sum(g, None, accumulate)

    given: Any = mapped(constant, (drawn.pivot, drawn.power_in, drawn.power_out))
    shapes = [drawn.slope.shape, drawn.level.shape]
    axis = tuple(i for i in step.axis if all(shape[i] == 1 for shape in shapes))
    if not axis:
        work = [a.to(step.dtype) for a in (x, g)]
        _, *sums = kernel(Whole(()), work[0], work[1], *given)
    elif _blocks.is_long(x, axis):
        cut = [
            _blocks.run(kernel, *part, *given, axis=axis, dtype=step.dtype)[1:]
            for part in _blocks.parts(x, g, axis)
        ]
        sums = [sum(one) for one in zip(*cut)]
    else:
        _, *sums = _blocks.run(kernel, x, g, *given, axis=axis, dtype=step.dtype)
    return [
        one.to(to.dtype).sum_to_size(to.shape) for one, to in zip(sums, (drawn.slope, drawn.level))
    ]


def _elements(
    step: Step, x: Any, g: Any, where: Any, drawn: Line | None, sample: Sample | None, ends: Any
) -> Any:
    """The second touch: what comes back to the elements."""
    a = b = None
    if sample is not None and not step.detached:
        count: Any = sample.count
        count = count.clamp(min=1) if is_array(count) else count
        residual, variance = (0.0 * sample.residual if end is None else end for end in ends)
        b = 2 * variance / count
        a = residual / count - b * sample.residual

    def kernel(place: Whole, x: Array, g: Any, where: Any, *given: Any) -> Any:
        pivot, slope, power, a, b = given
        # A block of a wider type is a copy, and has bits to spare for the pivot.
        widened = step.accumulate and power is None
        dx = None if g is None else place.times(g, slope) if widened else g * slope
        if b is None:
            return (dx if power is None else dx * power,)
        if widened:
            d = place.plus(place.times(x, b), a - pivot * b)
        else:
            d = place.minus(x if power is None else x * power, pivot)
            d = place.plus(place.times(d, b), a)
        if where is not None:
            d = array_namespace(d).where(where, d, 0.0)
        if dx is not None:
            d = place.plus(d, dx)
        return (d if power is None else d * power,)

    if drawn is None:
        assert sample is not None
        slope, pivot, power = None, sample.pivot, sample.power
    else:
        slope, pivot, power = drawn.slope, drawn.pivot, drawn.power_in
        if drawn.power_out is not None:
            slope = slope / drawn.power_out
    given: Any = mapped(constant, (pivot, slope, power, a, b))
    options = dict(axis=step.axis, dtype=step.dtype, whole=False)
    return _blocks.run(kernel, x, g, where, *given, **options)[0]
