"""Frames: where the numbers of an instance lie, and how long their unit is.

    x = origin + residual + unit · t

A map takes x from its frame on one side to the number with the same t in its frame on the other.
The frame on the side of x comes from the data; a kernel is the choice of the one on the side of y.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from revnorm._libraries import array_namespace
from revnorm._scaling import invertible
from revnorm._sums import two_sum
from revnorm._tracing import constant
from revnorm._trees import Array, is_array


class Frame(NamedTuple):
    """An origin with its low bits and a unit of length, all times `power` if that is not None."""

    origin: Array | float
    residual: Array | float
    unit: Array | float
    power: Array | None = None

    def at(self, power: Array | None) -> "Frame":
        """The same frame, its numbers times another power of two: the only change of units."""
        if self.power is None and power is None:
            return self
        share = (1.0 if power is None else power) / (1.0 if self.power is None else self.power)
        return Frame(self.origin * share, self.residual * share, self.unit * share, power)

    def solid(self, like: Array) -> "Frame":
        """The same frame with arrays for numbers."""
        zero = array_namespace(like).zeros_like(like)
        origin, residual, unit = (a if is_array(a) else a + zero for a in self[:3])
        return Frame(origin, residual, unit, self.power)

    def affine(self, scale: Any = None, bias: Any = None) -> "Frame":
        """Where y · scale + bias carries it."""
        origin, residual, unit, power = self
        if scale is not None:
            origin, residual = (a * scale if is_array(a) or a else a for a in (origin, residual))
            unit = unit * scale
        return Frame(origin if bias is None else origin + bias, residual, unit, power)


UNIT = Frame(0.0, 0.0, 1.0)


def carried(frame: Frame, source: Frame, target: Frame) -> Frame:
    """Where the map from a source frame to a target frame carries a third."""
    frame = frame.at(source.power)
    gap, low = two_sum(frame.origin, -source.origin)
    low = low + (frame.residual - source.residual)
    slope = _slope(source.unit, target.unit)
    origin, rest = two_sum(target.origin, gap * slope)
    ends = two_sum(origin, rest + (target.residual + low * slope))
    return Frame(*ends, frame.unit * slope, target.power)


def blended(
    ends: Sequence[tuple[Frame, Frame]], weights: Sequence[Any], center: Frame | None = None
) -> tuple[Frame, Frame]:
    """The frames of the weighted sum of maps, each given by its two, around a center.

    Without one, around that of the steepest map; the first's frames are of arrays then.
    """
    # A weight of 0 had better not meet what it is to leave out carried far beyond the range.
    ends = [(source, target.affine(one)) for (source, target), one in zip(ends, weights)]
    center = steepest(ends) if center is None else center
    return center, added([carried(center, *both) for both in ends])


def steepest(ends: Sequence[tuple[Frame, Frame]]) -> Frame:
    """The source of the steepest map, around which the others' offsets cancel least."""
    center, target = ends[0]
    xp, most = array_namespace(center.unit), abs(target.unit / center.unit)
    for source, target in ends[1:]:
        source = source.at(center.power)
        slope = abs(target.unit / source.unit)
        pairs = zip(source[:3], center[:3], strict=True)
        origin, residual, unit = (xp.where(slope > most, a, b) for a, b in pairs)
        center = Frame(origin, residual, unit, center.power)
        most = xp.where(slope > most, slope, most)
    return center


def added(frames: Sequence[Frame]) -> Frame:
    """The sum of frames that maps from one source have as their targets."""
    origin = residual = unit = 0.0
    for frame in frames:
        origin, error = two_sum(origin, frame.origin)
        residual = residual + (error + frame.residual)
        unit = unit + frame.unit
    return Frame(*two_sum(origin, residual), unit, frames[0].power)


class Line(NamedTuple):
    """The values ((x · power_in − pivot) · slope + level) / power_out."""

    power_in: Array | None
    pivot: Array | float
    slope: Array
    level: Array
    power_out: Array | None = None


def line(source: Frame, target: Frame, pivot: Array | float, widened: bool) -> Line:
    """The map from one frame to another in the order that rounds least around a pivot.

    `widened` numbers have room to spare; others get powers of two that keep them within range.
    """
    missed = (pivot - source.origin) - source.residual
    if widened or not (is_array(target.origin) or is_array(target.unit)):
        slope = target.unit / source.unit
        level = target.origin + (target.residual + missed * slope)
        return Line(source.power, pivot, slope, level)
    xp = array_namespace(source.unit)
    steepness = abs(target.unit / source.unit)
    reach = xp.maximum(abs(target.origin + 0 * source.unit), steepness)
    power = constant(invertible(xp, reach, steepness))
    slope = _slope(source.unit, target.unit * power)
    level = target.origin * power + (target.residual * power + missed * slope)
    return Line(source.power, pivot, slope, level, power)


def _slope(source: Any, target: Any) -> Any:
    """A number in any case: that of a constant may be too large to be one, and meets only zeros."""
    slope = target / source
    if not is_array(slope):
        return slope
    xp = array_namespace(slope)
    large = xp.full_like(slope, 2.0**127)
    if xp.finfo(slope.dtype).bits > 32:
        # Exporters to ONNX have no larger number in float64 than in float32.
        large = large**8
    return xp.where(slope == xp.inf, large, xp.where(slope == -xp.inf, -large, slope))
