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
from revnorm._frames import Line
from revnorm._libraries import array_namespace, is_torch
from revnorm._place import Whole
from revnorm._sample import Sample
from revnorm._tracing import constant
from revnorm._trees import Array, filled, is_array, leaves, mapped


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
    ends, pairs, pulls = [], [], pulls[1:3]
    learned = None
    if sample is not None and not step.detached:
        ends = [a.detach().requires_grad_(needed[0]) for a in (sample.residual, sample.variance)]
        sample = learned = sample._replace(residual=ends[0], variance=ends[1])
        pairs = [(a, pull) for a, pull in zip(ends, pulls) if pull is not None and needed[0]]
    inputs, wanted = [*ends, *varied], [needed[0]] * len(ends) + list(needed[1:])
    drawn = dx = None
    if g is not None:
        assert step.lowered is not None
        with torch.enable_grad():
            drawn = step.lowered(sample, *filled(frame, iter(varied)))
        lines = [(a, i) for i, a in enumerate((drawn.slope, drawn.level)) if a.requires_grad]
        if lines and needed[0] and _is_cut_once(step, x, drawn):
            own = _own(torch, drawn, ends)
            dx, *sums = _at_once(step, x, g, where, drawn, learned, own, pulls)
        elif lines:
            sums = _sums(step, x, g, drawn)
        pairs += [(a, sums[i]) for a, i in lines]
    grads = _vjp(torch, pairs, inputs, wanted)
    if needed[0] and dx is None:
        dx = _elements(step, x, g, where, drawn, learned, grads[: len(ends)])
    return [dx, *grads[len(ends) :]]


def _sums(step: Step, x: Any, g: Any, drawn: Line) -> list[Any]:
    """The first touch: what the elements pull on slope and level."""

    def kernel(place: Whole, x: Array, g: Array, *given: Any) -> Any:
        d, g = _apart(place, x, g, *given)
        return None, *_pulls(step, place, d, g)

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
    return _summed_like(sums, drawn)


def _elements(
    step: Step, x: Any, g: Any, where: Any, drawn: Line | None, sample: Sample | None, ends: Any
) -> Any:
    """The second touch: what comes back to the elements."""

    def kernel(place: Whole, x: Array, g: Any, where: Any, line: Any, slope: Any, back: Any) -> Any:
        d, g = _apart(place, x, g, *line)
        return (_returned(step, place, d, g, where, line, slope, back),)

    back = None
    if sample is not None:
        zero = 0.0 * sample.residual
        pulled = [zero if end is None else end for end in ends]
        back = _coefficients(sample.residual, sample.count, *pulled)
    if drawn is None:
        assert sample is not None
        line, slope = (sample.pivot, sample.power, None), None
    else:
        line, slope = (drawn.pivot, drawn.power_in, drawn.power_out), drawn.slope
    given: Any = mapped(constant, (line, slope, back))
    options = dict(axis=step.axis, dtype=step.dtype, whole=False)
    return _blocks.run(kernel, x, g, where, *given, **options)[0]


def _at_once(
    step: Step, x: Any, g: Any, where: Any, drawn: Line, sample: Sample | None, own: Any, pulls: Any
) -> list[Any]:
    """Both touches while a block is at hand.

    How slope and level depend on an instance's `own` numbers is known before the sums are.
    """

    def kernel(place: Whole, x: Array, g: Array, where: Any, *given: Any) -> Any:
        line, slope, counted, own, pulls = given
        d, g = _apart(place, x, g, *line)
        sums = _pulls(step, place, d, g)
        back = None
        if counted is not None:
            back = _coefficients(*counted, *_pulled_ends(sums, own, pulls))
        return _returned(step, place, d, g, where, line, slope, back), *sums

    line = drawn.pivot, drawn.power_in, drawn.power_out
    counted = None if sample is None else (sample.residual, sample.count)
    given: Any = mapped(constant, (line, drawn.slope, counted, own, pulls))
    dx, *sums = _blocks.run(kernel, x, g, where, *given, axis=step.axis, dtype=step.dtype)
    return [dx, *_summed_like(sums, drawn)]


def _own(torch: Any, drawn: Line, ends: list[Any]) -> list[Any]:
    """The derivatives of each instance's slope and level for its own numbers."""
    lines = [(a, torch.ones_like(a)) for a in (drawn.slope, drawn.level)]
    needed = [True] * len(ends)
    return [_vjp(torch, [line], ends, needed, retain_graph=True) for line in lines]


def _pulled_ends(sums: Any, own: Any, pulls: Any) -> list[Any]:
    """What residual and variance are pulled by: through slope and level, and by themselves."""
    ends = []
    for through, pull in zip(zip(*own), pulls):
        found = [one * pulled for one, pulled in zip(through, sums) if one is not None]
        ends.append(sum(found, 0.0 if pull is None else pull))
    return ends


def _is_cut_once(step: Step, x: Any, drawn: Line) -> bool:
    """Whether x is cut in blocks that hold all that its slopes and levels are pulled by."""
    shapes = drawn.slope.shape, drawn.level.shape
    each = all(shape[i] == 1 for shape in shapes for i in step.axis)
    return each and len(step.axis) > 0 and _blocks.is_many(x) and not _blocks.is_long(x, step.axis)


def _apart(
    place: Whole, x: Array, g: Any, pivot: Any, power_in: Any, power_out: Any
) -> tuple[Array, Any]:
    """How far elements are from the pivot, and what pulls on slope and level."""
    d = place.minus(x if power_in is None else x * power_in, pivot)
    return d, g if g is None or power_out is None else g / power_out


def _pulls(step: Step, place: Whole, d: Array, g: Array) -> tuple[Array, Array]:
    xp = array_namespace(d)
    if step.gaps:
        g, d = xp.where(d == d, g, 0.0), xp.where(d == d, d, 0.0)
    if not place.axis:
        return g * d, g
    accumulate = xp.float64 if step.accumulate else None
    sums = place.sum(g, d, accumulate), place.sum(g, None, accumulate)
    return tuple(xp.astype(one, d.dtype, copy=False) for one in sums)


def _coefficients(
    residual: Array, count: Any, to_residual: Any, to_variance: Any
) -> tuple[Array, Array]:
    """b and a of d · b + a."""
    count = count.clip(min=1) if is_array(count) else count
    b = 2 * to_variance / count
    return b, to_residual / count - b * residual


def _returned(
    step: Step, place: Whole, d: Array, g: Any, where: Any, line: Any, slope: Any, back: Any
) -> Array:
    """g · slope + d · b + a, in units of x."""
    power = line[1]
    # A block of a wider type is a copy, and may be written over.
    copied = step.accumulate and power is None
    dx = None if g is None else place.times(g, slope) if copied else g * slope
    if back is not None:
        b, a = back
        d = place.plus(place.times(d, b), a)
        if where is not None:
            d = array_namespace(d).where(where, d, 0.0)
        dx = d if dx is None else place.plus(d, dx)
    return dx if power is None else dx * power


def _summed_like(sums: Any, drawn: Line) -> list[Any]:
    """Sums of the dtypes and shapes of slope and level."""
    ends = zip(sums, (drawn.slope, drawn.level))
    return [one.to(to.dtype).sum_to_size(to.shape) for one, to in ends]
