"""Where the elements are touched: twice, by sums over an instance and by drawing a line.

A place knows no formula, and the formulas know no library. In a block values may be looked at, and
what was copied into it may be written over.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from revnorm._frames import Line
from revnorm._libraries import array_namespace
from revnorm._memory import down, folded
from revnorm._sums import dot, total
from revnorm._tracing import stored
from revnorm._trees import Array


@dataclass(frozen=True)
class Whole:
    """Arrays as they come: traced, recorded, lazy or on a device. `axis` is reduced."""

    axis: tuple[int, ...]
    looks: ClassVar[bool] = False

    def sum(self, a: Array, b: Array | None = None, accumulate: Any = None) -> Array:
        """The sum of a, or of a · b, in the dtype `accumulate` or else carefully."""
        xp = array_namespace(a)
        return total(xp, a if b is None else a * b, self.axis, accumulate)

    def minus(self, x: Array, pivot: Array) -> Array:
        return x - pivot

    def times(self, d: Array, slope: Array) -> Array:
        return d * slope

    def plus(self, d: Array, level: Array) -> Array:
        return d + level

    def draw(self, d: Array, line: Line, gaps: bool = False) -> Array:
        """d · slope + level; with `gaps`, NaN in d is without effect on the others' gradients."""
        xp = array_namespace(d)
        # Where d is left out of the product, 0 · NaN cannot reach the gradient of the slope.
        seen = xp.where(d == d, d, 0.0) if gaps else d
        y = seen * stored(line.slope, d) + stored(line.level, d)
        if line.power_out is not None:
            y = y / stored(line.power_out, d)
        return xp.where(d == d, y, d) if gaps else y


@dataclass(frozen=True)
class Block(Whole):
    """A copy in NumPy of a part of the instances, in the dtype worked in."""

    looks: ClassVar[bool] = True

    def minus(self, x: Array, pivot: Array) -> Array:
        if pivot.any():
            rows, pivot = folded(x, pivot)
            rows -= pivot
        return x

    def times(self, d: Array, slope: Array) -> Array:
        rows, slope = folded(d, slope)
        rows *= slope
        return d

    def plus(self, d: Array, level: Array) -> Array:
        rows, level = folded(d, level)
        rows += level
        return d

    def draw(self, d: Array, line: Line, gaps: bool = False) -> Array:
        d = self.plus(self.times(d, line.slope), line.level)
        if line.power_out is not None and (line.power_out != 1).any():
            d /= line.power_out
        return d


@dataclass(frozen=True)
class Lanes(Block):
    """A block whose last axis is reduced and contiguous, for which dot products are quick."""

    def sum(self, a: Array, b: Array | None = None, accumulate: Any = None) -> Array:
        return dot(array_namespace(a), a, b, accumulate)


@dataclass(frozen=True)
class Rows(Block):
    """A block whose first axis is reduced, the others being long together."""

    def sum(self, a: Array, b: Array | None = None, accumulate: Any = None) -> Array:
        return down(a, b, accumulate)
