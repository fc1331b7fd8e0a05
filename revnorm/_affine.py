"""Invertible affine maps, one an instance: the only place that applies one.

    y = (x − center) / divisor · factor + offset

Center and divisor are a frame on the side of x, offset and factor the same on the side of y.
The inverse swaps the frames, so it divides by the very number that the map multiplied by.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from revnorm import _checks, _fields, _map_checks, _registry
from revnorm._arguments import public
from revnorm._data import Data, recipe, wider
from revnorm._frames import Frame, blended, carried
from revnorm._layout import Axis
from revnorm._libraries import array_namespace
from revnorm._memory import quiet
from revnorm._moments import Moments, as_sample, statistics
from revnorm._normalize import affine, apply
from revnorm._sums import two_sum
from revnorm._trees import Array, is_array


@_registry.add
@_fields.without_arithmetic("`@` or `rn.blend`")
class AffineMap(NamedTuple):
    """An invertible map for each instance.

        y = (x − center) / divisor · factor + offset

    All fields broadcast against the arrays that the map is applied to.

    Attributes
    ----------
    center, center_residual : array
        What is subtracted, and the low bits that rounding took from it.
    divisor : array
        The unit of length on the side of x; never 0, and positive where it comes from data.
    factor : array
        The unit of length on the side of y. Where the divisor alone would be out of range, both are
        multiplied by one power of two.
    offset, offset_residual : array
        What is added, and its low bits.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> x = np.asarray([1.0, 2.0, 3.0, 4.0])
    >>> standardize = rn.standardizer(x, axis=0, eps=0.0)
    >>> standardize(x).round(3)
    array([-1.342, -0.447,  0.447,  1.342])
    >>> standardize.inv(standardize(x))
    array([1., 2., 3., 4.])
    >>> standardize.inv.spread(np.asarray([1.0])).round(3)
    array([1.118])
    """

    center: Array
    center_residual: Array
    divisor: Array
    factor: Array
    offset: Array
    offset_residual: Array

    @classmethod
    def between(cls, source: Frame, target: Frame) -> "AffineMap":
        """The map from one frame to another, its low bits in the residuals."""
        if source.power is not None:
            xp, power = array_namespace(source.unit), source.power
            # A unit keeps its power if it is too small without, or too large.
            bare = source.unit / power
            least = xp.finfo(bare.dtype).smallest_normal / xp.finfo(bare.dtype).eps
            held = (bare >= least) & (bare < xp.inf)
            unit = xp.where(held, bare, source.unit)
            source = Frame(source.origin / power, source.residual / power, unit)
            target = target._replace(unit=target.unit * xp.where(held, 1.0, power))
        target = target.solid(source.unit)
        center, offset = two_sum(*source[:2]), two_sum(*target[:2])
        return cls(*center, source.unit, target.unit, *offset)

    @property
    def source(self) -> Frame:
        """The frame on the side of x."""
        return Frame(self.center, self.center_residual, self.divisor)

    @property
    def target(self) -> Frame:
        """The frame on the side of y."""
        return Frame(self.offset, self.offset_residual, self.factor)

    @public
    def __call__(self, x: Array, /, *, dtype: Any = None, out: Array | None = None) -> Array:
        """The map applied to an array that it neither adds axes to nor enlarges.

        Parameters
        ----------
        x : array
            Real floating, of the map's shape but for the axes where that is 1, which may have
            any size; further axes may stand before them.
        dtype : dtype, optional
            Of the result, which is rounded to it once; that of `x` unless given. A forecast in
            bfloat16 comes back in float32 with ``norm_map.inv(forecast, dtype=torch.float32)``.
        out : array, optional
            Where the result is written: it has the shape of `x` and the dtype of the result, and
            is eager and writable.

        Returns
        -------
        array
            Shape and device as `x`.
        """
        _map_checks.fields(self)
        xp = _checks.namespace(x=x, map=self.center)
        _checks.floating(xp, x=x)
        _map_checks.applicable(self, x)
        dtype = x.dtype if dtype is None else _checks.floating_dtype(xp, dtype)
        return apply(self.source, self.target, x, dtype=dtype, out=out)

    @public
    def __matmul__(self, inner: "AffineMap") -> "AffineMap":
        """The map that applies `inner`, then this one."""
        if not isinstance(inner, AffineMap):
            return NotImplemented
        for map in (self, inner):
            _map_checks.fields(map)
        _checks.namespace(outer=self.center, inner=inner.center)
        return AffineMap.between(inner.source, carried(inner.target, self.source, self.target))

    @property
    def inv(self) -> "AffineMap":
        """The inverse; where the factor is 0, the pseudo-inverse, which gives the center."""
        center, center_residual, divisor, factor, offset, offset_residual = self
        xp = _map_checks.fields(self)
        flat = factor == 0
        unit, scale = xp.where(flat, 1.0, factor), xp.where(flat, 0.0, divisor)
        return AffineMap(offset, offset_residual, unit, scale, center, center_residual)

    @property
    @quiet
    def scale(self) -> Array:
        """How much a difference is stretched: factor / divisor."""
        return self.factor / self.divisor

    def spread(self, std: Array | float, /) -> Array:
        """A standard deviation carried through the map: std · |scale|."""
        return self._times(std, abs(self.scale))

    def variance(self, variance: Array | float, /) -> Array:
        """A variance carried through the map: variance · scale²."""
        return self._times(variance, self.scale, self.scale)

    @public
    def _times(self, x: Any, *factors: Array) -> Array:
        _map_checks.fields(self)
        if _checks.is_number(x):
            x = float(x) + 0 * factors[0]
        xp = _checks.namespace(x=x, map=self.center)
        _checks.floating(xp, x=x)
        _map_checks.applicable(self, x)
        y = xp.astype(x, wider(xp, x.dtype, self.center.dtype), copy=False)
        for factor in factors:
            y = y * factor
        return xp.astype(y, x.dtype, copy=False)

    def take(self, indices: Array | Sequence[int] | slice | int, *, axis: int) -> "AffineMap":
        """The map of some of the channels or instances: each field at `indices` along `axis`.

        Integers, one or several, or a slice; an axis is kept, and fields that do not vary along
        it stay as they are.
        """
        return _fields.take(self, indices, axis)

    @classmethod
    def concat(cls, maps: Iterable["AffineMap"], /, *, axis: int) -> "AffineMap":
        """One map of the instances of several, which follow each other along `axis`."""
        return _fields.concat(cls, maps, axis)

    def astype(self, dtype: Any, /) -> "AffineMap":
        """The map in another dtype; what center and offset lose by it goes to the residuals."""
        residuals = {"center": "center_residual", "offset": "offset_residual"}
        return _fields.astype(self, dtype, residuals)

    def __repr__(self) -> str:
        """The fields in full if they are short, else by shape and dtype."""
        return _fields.described(self)


@public
def standardizer(
    x: Array | Moments,
    /,
    scale: Array | float | None = None,
    bias: Array | float | None = None,
    *,
    axis: Axis | None = None,
    channel_axis: int | None = None,
    eps: float = 1e-5,
    eps_mode: str = "add",
    correction: float = 0,
    where: Array | None = None,
    precision: str = "full",
) -> AffineMap:
    """The map that gives each instance mean 0 and variance 1, then the scale and bias.

        y = (x − mean) / sqrt(variance + eps) · scale + bias

    Parameters
    ----------
    x : array or Moments
        The data, or its moments.
    scale, bias : array or float, optional
        Broadcastable against the data, or 1-D with `channel_axis`.
    axis : int, tuple of int or Layout
        The axes that are reduced; required with an array.
    channel_axis : int, optional
        Where a 1-D scale or bias lies.
    eps : float
        In units of the variance; with "relative", a share of the mean square.
    eps_mode : {"add", "clamp", "relative"}
        sqrt(variance + eps), sqrt(max(variance, eps)), or sqrt(variance + eps · mean square).
    correction : float
        The variance is divided by count − correction, of data and of moments alike: what
        `Moments` hold is the population's. The kernels, which take given moments as they are,
        ask for 0 beside them.
    where : array of bool, optional
        As in `moments`; beside moments, which were taken already, a ValueError.
    precision : {"full", "native"}
        As in `moments`.

    Returns
    -------
    AffineMap
        The identity where nothing was observed. With eps 0 a constant instance is not
        stretched.

    Raises
    ------
    TypeError
        If a dtype is not real floating, `axis` is missing, or libraries are mixed.
    ValueError
        If an axis, shape or option is not a valid one.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> x = np.asarray([[1.0, 3.0], [10.0, 30.0]])
    >>> rn.standardizer(x, axis=1, eps=0.0)(x)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    options = _checks.options(
        eps=eps, eps_mode=eps_mode, correction=correction, precision=precision
    )
    if isinstance(x, Moments):
        _map_checks.fields(x)
        _map_checks.beside_moments(where=where)
        scale, bias = _against_moments(x, axis, channel_axis, scale=scale, bias=bias)
        data = Data(x.mean, None, (), options, recipe(x.mean, precision))
        sample = as_sample(x, data)
    else:
        data, scale, bias = _checks.data(
            x, axis, channel_axis, where, options=options, scale=scale, bias=bias
        )
        sample = statistics(data)
    scale, bias = (as_dtype_of(a, sample.pivot) for a in (scale, bias))
    return AffineMap.between(*affine(sample, scale, bias, options=options))


@public
def blend(maps: Iterable[AffineMap], weights: Iterable[Array | float], /) -> AffineMap:
    """The weighted sum of maps.

        y = Σ wᵢ · mapᵢ(x)

    Parameters
    ----------
    maps : iterable of AffineMap
        At least one, of fields that broadcast against each other.
    weights : iterable of array or float
        One for each map, broadcastable against its fields.

    Returns
    -------
    AffineMap

    Raises
    ------
    TypeError
        If `maps` are not AffineMaps, or libraries are mixed.
    ValueError
        If there are no maps, or not as many weights.

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> x = np.asarray([0.0, 4.0])
    >>> centred = rn.standardizer(x, axis=0, eps=0.0)
    >>> rn.blend([centred, centred.inv], [0.5, 0.5])(x)
    array([0.5, 5.5])
    """
    maps = _map_checks.every("maps", AffineMap, maps)
    weights = list(weights)
    if not maps or len(maps) != len(weights):
        raise ValueError(
            "`weights` must be one for each of at least one map, "
            f"got {len(weights)} for {len(maps)} maps"
        )
    _map_checks.mixture(maps, weights)
    weights = [as_dtype_of(weight, maps[0].center) for weight in weights]
    return AffineMap.between(*blended([(one.source, one.target) for one in maps], weights))


def as_dtype_of(value: Any, array: Array) -> Any:
    """An array of the dtype of another; a number as it is."""
    if not is_array(value):
        return value
    xp = array_namespace(array)
    return xp.astype(value, array.dtype, copy=False)


def _against_moments(
    moments: Moments, axis: Any, channel_axis: Any, **parameters: Any
) -> tuple[Any, ...]:
    """Parameters laid out with the axes of the data that the moments came from."""
    given = {name: p for name, p in parameters.items() if is_array(p)}
    xp = _checks.namespace(x=moments.mean, **given)
    ndim = moments.mean.ndim
    reduced = () if axis is None else _checks.axes(axis, ndim)
    channel_axis = _checks.other_axis("channel_axis", channel_axis, axis, ndim)
    if channel_axis is not None:
        channel_axis = _checks.kept_axis("channel_axis", channel_axis, ndim, reduced)
    unknown = tuple(None if size == 1 else size for size in moments.mean.shape)
    return tuple(_checks.parameter(xp, n, p, unknown, channel_axis) for n, p in parameters.items())
