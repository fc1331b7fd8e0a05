"""Sums whose error does not grow with the length, on any library."""

import math
from typing import Any

from revnorm._checks import is_known
from revnorm._tracing import constant, stored
from revnorm._trees import Array

# As many numbers are left to the library's own sum, whatever order it takes them in.
_STRIPES = 16
# And to its dot product, which runs along contiguous numbers in several lanes at once: if the sums
# of these are added carefully, in a wider type, or if all is in a type wider than the data.
_SEGMENT = 64
_SUMMED_WIDER = 1024
_ALL_WIDER = 4096


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum and its exact error (Knuth, TAOCP volume 2, 4.2.2, theorem B)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def total(xp: Any, x: Array, axis: tuple[int, ...], wide: Any) -> Array:
    """The sum over `axis`, kept at size 1: plainly in the dtype `wide`, or else carefully."""
    if wide is not None:
        return stored(xp.sum(x, axis=axis, keepdims=True, dtype=wide))
    sizes = [x.shape[one] for one in axis]
    # An array of which any size is unknown cannot be reshaped.
    if not all(isinstance(size, int) for size in sizes) or not all(map(is_known, x.shape)):
        return xp.sum(x, axis=axis, keepdims=True)
    for one in axis:
        while x.shape[one] >= _STRIPES and math.prod([x.shape[i] for i in axis]) > _STRIPES**2:
            x = _fold(xp, x, one)
    return stored(_extracted(xp, x, axis))


def dot(xp: Any, a: Array, b: Array | None, wide: Any) -> Array:
    """The sum of products over a contiguous last axis, in an order that only its length sets.

    Without `b`, the sum of `a` itself.
    """
    length, segment = a.shape[-1], _SEGMENT
    if wide is not None:
        segment = _ALL_WIDER if a.dtype == wide else _SUMMED_WIDER
    if b is None:
        ones = xp.ones((min(length, segment),), dtype=a.dtype)
    if length <= segment:
        return xp.vecdot(a, ones if b is None else b)[..., None]
    cut = length - length % segment
    body, *bodies = (
        xp.reshape(one[..., :cut], (*one.shape[:-1], -1, segment))
        for one in (a, b)
        if one is not None
    )
    sums = xp.vecdot(body, bodies[0] if bodies else ones)
    if cut < length:
        rest = ones[: length - cut] if b is None else b[..., cut:]
        sums = xp.concat([sums, xp.vecdot(a[..., cut:], rest)[..., None]], axis=-1)
    return total(xp, sums, (sums.ndim - 1,), wide)


def divisor(number: int, most: int) -> int | None:
    """A divisor up to `most`, and at least an eighth of it; None where there is none."""
    most = min(number, most)
    length, count = most, -(-number // most)
    while 8 * length >= most and count * most <= 8 * number:
        if number % count == 0:
            return number // count
        if number % length == 0:
            return length
        length, count = length - 1, count + 1
    return None


def _fold(xp: Any, x: Array, axis: int) -> Array:
    """Stripes along an axis added up, and what is left over behind them."""
    length = x.shape[axis] // _STRIPES
    head = _cut(x, axis, 0, length * _STRIPES)
    split = (*x.shape[:axis], _STRIPES, length, *x.shape[axis + 1 :])
    summed = xp.sum(xp.reshape(head, split), axis=axis)
    return xp.concat([summed, _cut(x, axis, length * _STRIPES, None)], axis=axis)


def _extracted(xp: Any, x: Array, axis: tuple[int, ...]) -> Array:
    """The sum of few numbers: of their leading bits, which any order adds exactly, then the rest.

    Added to a number as large as `grid`, others lose what lies below its last bit (Rump, Ogita,
    Oishi, "Accurate floating-point summation part I", SIAM J. Sci. Comput. 31, algorithm 3.2).
    """
    few = 4 * math.prod([x.shape[one] for one in axis])
    top = constant(xp.max(abs(x), axis=axis, keepdims=True))
    # Compilers join products to the sums that they go into, here and there; these are apart.
    x, grid, sums = xp.where(x > top, top, x), few * top, []
    for _ in range(2):
        # An infinity has no bits to keep apart, nor has room for more.
        grid = xp.where(few * grid < xp.inf, grid, 0.0)
        leading = (x + grid) - grid
        sums.append(xp.sum(leading, axis=axis, keepdims=True))
        x, grid = x - leading, few * xp.finfo(x.dtype).eps * grid
    s, error = two_sum(*sums)
    return s + (error + xp.sum(x, axis=axis, keepdims=True))


def _cut(x: Array, axis: int, start: int, stop: int | None) -> Array:
    return x[(slice(None),) * axis + (slice(start, stop), ...)]
