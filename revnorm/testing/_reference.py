"""The exact value of every kernel, computed apart from the package.

Each formula is written once, over numbers that are one of two kinds: rationals, and pairs of
float64 whose unevaluated sum carries about 106 bits.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from revnorm.testing._arrays import to_numpy

# Up to this many elements every number is a rational.
RATIONAL = 1024

# Bits of a rational's square root.
_ROOT = 192


def reference(name: str, /, *arrays: Any, **keywords: Any) -> Any:
    """The value of a kernel, to more digits than the type it is computed in.

    Parameters
    ----------
    name : str
        "instance_norm", "revin", "adain", "batch_instance_norm", "conditional_instance_norm",
        "spatially_adaptive_norm", "moments", "layer_norm", "group_norm", "batch_norm" or
        "rms_norm".
    *arrays : array_like
        The positional arguments of that kernel, of any library, of finite parameters. NaN and
        infinity may be in the data.
    **keywords
        Its keywords, with the meanings and defaults that the kernel gives them; `out` and
        `precision` have none here.

    Returns
    -------
    ndarray
        Of float64; of longdouble where the data is of float64. For "moments" a tuple of mean,
        variance and count, shaped with the reduced axes at size 1. For "revin" the normalized
        array alone: what its inverse must give is the data.

    Raises
    ------
    ValueError
        If there is no kernel of that name.

    Notes
    -----
    Up to 1024 elements every step is rational but for the square root, which is right to a
    relative 2⁻¹⁹⁰. Above, numbers are pairs of float64 [1]_, of a relative error of at most
    2⁻¹⁰² an operation. Sums are halved ⌈log₂ n⌉ times, so a sum of n terms is off by at most
    ⌈log₂ n⌉·2⁻¹⁰² of the sum of their magnitudes. They are of differences from the rounded mean,
    which lies so near that the whole result, of up to 10⁷ elements, is off by less than 2⁻⁸⁰ of
    its own magnitude, or of scale or bias where these are larger. Rounding to the returned type
    comes on top: 2⁻⁵³, or 2⁻⁶⁴ in an 80-bit longdouble.

    Pairs need room for exact products: parameters and styles of magnitudes within 1e±290. Data
    may be of any.

    References
    ----------
    .. [1] M. Joldes, J.-M. Muller, V. Popescu, "Tight and rigorous error bounds for basic
       building blocks of double-word arithmetic", ACM TOMS 44 (2017).

    Examples
    --------
    >>> import numpy as np
    >>> from revnorm.testing import reference
    >>> reference("instance_norm", np.float32([1.0, 3.0]), axis=0, eps=0.0)
    array([-1.,  1.])
    """
    return evaluate(name, *arrays, **keywords)[0]


def evaluate(name: str, /, *arrays: Any, **keywords: Any) -> tuple[Any, Any]:
    """The reference, and the magnitude of the largest term that each of its elements sums."""
    if name not in _KERNELS:
        raise ValueError(f"`name` must be one of {', '.join(_KERNELS)}, got {name!r}")
    x, *others = map(_in_numpy, arrays)
    keywords = {key: _in_numpy(v) if _is_data(v) else v for key, v in keywords.items()}
    size = max(np.size(array) for array in (x, *others) if not hasattr(array, "residual"))
    kind = _Rational if size <= RATIONAL else _Pair
    wide = x.dtype == np.float64
    keywords.pop("out", None), keywords.pop("precision", None)
    data = (x.astype(np.float64), *others)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        value, reach = _KERNELS[name](kind, *data, **keywords)
    if isinstance(value, tuple):
        return tuple(_as_result(one, wide) for one in value), reach
    return _as_result(value, wide), reach


def _is_data(value: Any) -> bool:
    return hasattr(value, "ndim") or hasattr(value, "residual")


def _in_numpy(value: Any) -> Any:
    """Arrays, lists, numbers and moments as NumPy has them."""
    if value is None:
        return None
    return type(value)(*map(to_numpy, value)) if hasattr(value, "residual") else to_numpy(value)


def _as_result(value: np.ndarray, wide: bool) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return value if wide else value.astype(np.float64)


class _Rational:
    """An array of Fractions."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, dtype=object)

    @classmethod
    def of(cls, array: Any) -> "_Rational":
        return cls(np.frompyfunc(Fraction, 1, 1)(np.asarray(array, dtype=np.float64)))

    @staticmethod
    def unit(reach: np.ndarray) -> np.ndarray:
        return np.zeros(reach.shape, dtype=np.int64)

    def __add__(self, other: "_Rational") -> "_Rational":
        return _Rational(self.values + other.values)

    def __sub__(self, other: "_Rational") -> "_Rational":
        return _Rational(self.values - other.values)

    def __mul__(self, other: "_Rational") -> "_Rational":
        return _Rational(self.values * other.values)

    def __truediv__(self, other: "_Rational") -> "_Rational":
        return _Rational(self.values / other.values)

    def __lt__(self, other: "_Rational") -> np.ndarray:
        return np.asarray(self.values < other.values, dtype=bool)

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> "_Rational":
        return _Rational(change(self.values))

    def sum(self, axis: tuple[int, ...]) -> "_Rational":
        return _Rational(self.values.sum(axis=axis, keepdims=True))

    def root(self) -> "_Rational":
        return _Rational(np.frompyfunc(_root, 1, 1)(self.values))

    def select(self, condition: np.ndarray, other: "_Rational") -> "_Rational":
        return _Rational(np.where(condition, self.values, other.values))

    def scaled(self, exponent: np.ndarray) -> "_Rational":
        factor = np.frompyfunc(lambda e: Fraction(2) ** int(e), 1, 1)(exponent)
        return _Rational(self.values * factor)

    def rounded(self) -> np.ndarray:
        high = np.asarray(np.frompyfunc(float, 1, 1)(self.values), dtype=np.float64)
        rest = self.values - np.frompyfunc(Fraction, 1, 1)(high)
        low = np.asarray(np.frompyfunc(float, 1, 1)(rest), dtype=np.float64)
        return high.astype(np.longdouble) + low


def _root(value: Fraction) -> Fraction:
    if value == 0:
        return Fraction(0)
    p, q = value.numerator, value.denominator
    shift = max(0, _ROOT - (p.bit_length() - q.bit_length()) // 2)
    return Fraction(math.isqrt((p << 2 * shift) // q), 1 << shift)


class _Pair:
    """An unevaluated sum of two float64 arrays, the second within half an ULP of the first."""

    def __init__(self, high: np.ndarray, low: np.ndarray) -> None:
        self.high, self.low = high, low

    @classmethod
    def of(cls, array: Any) -> "_Pair":
        high = np.asarray(array, dtype=np.float64)
        return cls(high, np.zeros_like(high))

    @staticmethod
    def unit(reach: np.ndarray) -> np.ndarray:
        # Within this range a power of two and its inverse are both normal numbers.
        return np.clip(np.frexp(reach)[1].astype(np.int64), -960, 960)

    def __add__(self, other: "_Pair") -> "_Pair":
        s, e = _two_sum(self.high, other.high)
        t, f = _two_sum(self.low, other.low)
        s, e = _fast_two_sum(s, e + t)
        return _Pair(*_fast_two_sum(s, e + f))

    def __sub__(self, other: "_Pair") -> "_Pair":
        return self + _Pair(-other.high, -other.low)

    def __mul__(self, other: "_Pair") -> "_Pair":
        p, e = _two_product(self.high, other.high)
        cross = self.high * other.low + self.low * other.high
        return _Pair(*_fast_two_sum(p, e + (cross + self.low * other.low)))

    def __truediv__(self, other: "_Pair") -> "_Pair":
        quotient = _Pair.of(self.high / other.high)
        for _ in range(2):
            rest = self - quotient * other
            quotient = quotient + _Pair.of(rest.high / other.high)
        return quotient

    def __lt__(self, other: "_Pair") -> np.ndarray:
        return (self - other).high < 0

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> "_Pair":
        return _Pair(change(self.high), change(self.low))

    def sum(self, axis: tuple[int, ...]) -> "_Pair":
        total = self.each(lambda part: _as_last(part, axis))
        while (length := total.high.shape[-1]) > 1:
            half = length // 2
            left, right, rest = (
                total.each(itemgetter((..., slice(start, stop))))
                for start, stop in ((0, half), (half, 2 * half), (2 * half, length))
            )
            both = left + right
            total = _Pair(
                np.concatenate((both.high, rest.high), axis=-1),
                np.concatenate((both.low, rest.low), axis=-1),
            )
        return total.each(lambda part: np.expand_dims(part[..., 0], axis))

    def root(self) -> "_Pair":
        estimate = _Pair.of(np.sqrt(self.high))
        safe = np.where(estimate.high == 0, 1.0, estimate.high)
        for _ in range(2):
            rest = self - estimate * estimate
            estimate = estimate + _Pair.of(rest.high / (2 * safe))
        return estimate

    def select(self, condition: np.ndarray, other: "_Pair") -> "_Pair":
        return _Pair(
            np.where(condition, self.high, other.high), np.where(condition, self.low, other.low)
        )

    def scaled(self, exponent: np.ndarray) -> "_Pair":
        return _Pair(np.ldexp(self.high, exponent), np.ldexp(self.low, exponent))

    def rounded(self) -> np.ndarray:
        return self.high.astype(np.longdouble) + self.low


def _as_last(part: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    """The reduced axes as one, the last."""
    last = tuple(range(-len(axis), 0))
    moved = np.moveaxis(part, axis, last)
    return moved.reshape(*moved.shape[: part.ndim - len(axis)], -1)


def _two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _fast_two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = a + b
    return s, b - (s - a)


def _two_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def _split(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c = 134217729.0 * a
    high = c - (c - a)
    return high, a - high


class _Frame(NamedTuple):
    """z = (x / 2^unit − near − step) / divisor; the identity where nothing was seen."""

    near: Any
    step: Any
    divisor: Any
    unit: np.ndarray
    seen: np.ndarray
    finite: np.ndarray


def _frame(
    kind: Any,
    x: Any,
    axis: Any,
    where: Any = None,
    correction: float = 0,
    eps: float = 1e-5,
    eps_mode: str = "add",
    centered: bool = True,
) -> _Frame:
    if hasattr(x, "residual"):
        mean, residual, variance, count = (np.asarray(f, dtype=np.float64) for f in x)
        unit = np.zeros(mean.shape, dtype=np.int64)
        seen, finite = count > 0, np.isfinite(mean) & np.isfinite(variance)
        near = kind.of(np.where(finite, mean, 0))
        step = kind.of(np.where(finite, residual, 0))
        square = own = kind.of(np.where(finite, variance, 0))
    else:
        least = 0.0 if eps_mode == "relative" else eps
        near, step, own, unit, seen, finite = _measured(kind, x, axis, where, least, centered)
        square = own * _correction(kind, x, axis, where, correction)
    added = kind.of(np.full(unit.shape, eps))
    if eps_mode == "relative":
        mean = near + step
        added = added * (mean * mean + own)
    else:
        added = added.scaled(-2 * unit)
    clamped = added.select(square < added, square)
    divisor = (clamped if eps_mode == "clamp" else square + added).root()
    zero, one = kind.of(np.zeros(unit.shape)), kind.of(np.ones(unit.shape)).scaled(-unit)
    return _Frame(near, step, divisor.select(zero < divisor, one), unit, seen, finite)


def _measured(
    kind: Any, x: np.ndarray, axis: Any, where: Any, eps: float = 0.0, centered: bool = True
) -> tuple[Any, ...]:
    """A number near the mean, the step from there, variance, unit, what was seen, finite.

    Both are 0, and the variance is the mean square, where nothing is centered.
    """
    axis = _axes(axis, x.ndim)
    observed = np.broadcast_to(True if where is None else np.asarray(where), x.shape)
    finite = ~np.any(observed & ~np.isfinite(x), axis=axis, keepdims=True)
    data = np.where(observed & np.isfinite(x), x, 0.0)
    count = np.sum(observed, axis=axis, keepdims=True)
    safe = np.maximum(count, 1)
    reach = np.maximum(np.max(np.abs(data), axis=axis, keepdims=True), math.sqrt(eps))
    unit = kind.unit(reach)
    data = np.ldexp(data, -unit)
    near = np.sum(data / safe, axis=axis, keepdims=True) * centered
    zero = kind.of(np.zeros(x.shape))
    n = kind.of(safe.astype(np.float64))
    d = (kind.of(data) - kind.of(near)).select(observed, zero)
    step = d.sum(axis) / n
    if not centered:
        step = step - step
    d = (d - step).select(observed, zero)
    return kind.of(near), step, (d * d).sum(axis) / n, unit, count > 0, finite


def _correction(kind: Any, x: np.ndarray, axis: Any, where: Any, correction: float) -> Any:
    """What a variance is multiplied by to be divided by count − correction, or by 1."""
    observed = np.broadcast_to(True if where is None else np.asarray(where), x.shape)
    count = np.maximum(np.sum(observed, axis=_axes(axis, x.ndim), keepdims=True), 1)
    left = count - correction
    return kind.of(count.astype(np.float64)) / kind.of(np.where(left > 0, left, 1.0))


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    named = axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(one % ndim for one in named))


def _forward(kind: Any, frame: _Frame, x: np.ndarray) -> Any:
    data = np.where(np.isfinite(x), x, 0.0)
    d = kind.of(np.ldexp(data, -frame.unit)) - frame.near - frame.step
    z = d / frame.divisor
    return z.select(frame.seen, kind.of(data))


def _inverse(kind: Any, frame: _Frame, z: Any) -> Any:
    x = z * frame.divisor + frame.step + frame.near
    return x.scaled(frame.unit).select(frame.seen, z)


def _affine(kind: Any, z: Any, scale: Any, bias: Any, seen: np.ndarray, parameters: Any) -> Any:
    """z · scale + bias, but for instances of which nothing was seen; and the summands."""
    product = z if scale is None else z * kind.of(_laid(scale, *parameters))
    added = kind.of(0.0 if bias is None else _laid(bias, *parameters))
    return (product + added).select(seen, z), (product, added)


def _laid(parameter: Any, ndim: int, channel_axis: int | None) -> np.ndarray:
    values = np.asarray(parameter, dtype=np.float64)
    if values.ndim == 1 and channel_axis is not None:
        shape = [1] * ndim
        shape[channel_axis] = -1
        return values.reshape(shape)
    return values


def _finished(
    y: Any, x: np.ndarray, *frames: _Frame, terms: Sequence[Any], slope: Any = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Rounded, with NaN where the data or its statistics are not finite; the largest term."""
    value = y.rounded()
    value = np.where(np.isfinite(x), value, x * np.sign(slope))
    for frame in frames:
        value = np.where(frame.finite, value, np.nan)
    reach = np.abs(value)
    for term in terms:
        reach = np.fmax(reach, np.abs(term.rounded()))
    return value, reach


def _instance_norm(
    kind, x, scale=None, bias=None, *, axis, channel_axis=None, moments=None, **options
):
    frame = _frame(kind, x if moments is None else moments, axis, **options)
    z = _forward(kind, frame, x)
    y, terms = _affine(kind, z, scale, bias, frame.seen, (x.ndim, channel_axis))
    slope = 1.0 if scale is None else _laid(scale, x.ndim, channel_axis)
    return _finished(y, x, frame, terms=terms, slope=slope)


def _group_norm(kind, x, scale=None, bias=None, *, groups, channel_axis=1, eps=1e-5):
    at = channel_axis % x.ndim
    split = (*x.shape[:at], groups, x.shape[at] // groups, *x.shape[at + 1 :])
    own = [split[i] if i in (at, at + 1) else 1 for i in range(len(split))]
    laid = (None if p is None else np.reshape(p, own) for p in (scale, bias))
    axis = tuple(i for i in range(len(split)) if i not in (0, at))
    found = _instance_norm(kind, x.reshape(split), *laid, axis=axis, eps=eps)
    return tuple(one.reshape(x.shape) for one in found)


def _rms_norm(kind, x, scale=None, *, axis, eps=1e-5):
    return _instance_norm(kind, x, scale, axis=axis, eps=eps, centered=False)


def _revin(
    kind,
    x,
    scale=None,
    bias=None,
    *,
    axis,
    channel_axis=None,
    center="mean",
    where=None,
    **options,
):
    frame = _frame(kind, x, axis, where, **options)
    if center == "last":
        last = _last(x, _axes(axis, x.ndim), where)
        safe = np.where(np.isfinite(last), last, 0.0)
        last = kind.of(np.ldexp(safe, -frame.unit))
        frame = frame._replace(near=last, step=last - last)
    z = _forward(kind, frame, x)
    y, terms = _affine(kind, z, scale, bias, frame.seen, (x.ndim, channel_axis))
    slope = 1.0 if scale is None else _laid(scale, x.ndim, channel_axis)
    return _finished(y, x, frame, terms=terms, slope=slope)


def _last(x: np.ndarray, axis: tuple[int, ...], where: Any) -> np.ndarray:
    observed = np.broadcast_to(True if where is None else np.asarray(where), x.shape)
    rows, seen = _as_last(x, axis), _as_last(observed, axis)
    at = seen.shape[-1] - 1 - np.argmax(seen[..., ::-1], axis=-1)
    return np.expand_dims(np.take_along_axis(rows, at[..., None], axis=-1)[..., 0], axis)


def _adain(
    kind,
    content,
    style,
    *,
    axis,
    eps=1e-5,
    correction=0,
    strength=1.0,
    where=None,
    style_where=None,
):
    if not hasattr(style, "residual"):
        style = np.asarray(style, dtype=np.float64)
    options = {"eps": eps, "correction": correction}
    frame = _frame(kind, content, axis, where, **options)
    target = _frame(kind, style, axis, style_where, **options)
    z = _forward(kind, frame, content)
    zero = z - z
    styled = _inverse(kind, target, z)
    mean = _inverse(kind, target, zero)
    weight = kind.of(strength)
    # At full strength nothing is kept, and a product of the largest numbers would overflow.
    mixed = np.isfinite(content) & (np.asarray(strength) != 1)
    kept = kind.of(np.where(mixed, content, 0.0))
    rest = kept * (kind.of(1.0) - weight)
    y = styled * weight + rest
    return _finished(y, content, frame, target, terms=(styled - mean, mean, rest))


def _batch_instance_norm(
    kind,
    x,
    gate,
    scale=None,
    bias=None,
    *,
    axis,
    batch_axis,
    channel_axis=None,
    eps=1e-5,
    batch_moments=None,
    where=None,
):
    reduced = _axes(axis, x.ndim)
    pooled = (*reduced, batch_axis % x.ndim)
    batch = _frame(kind, x if batch_moments is None else batch_moments, pooled, where, eps=eps)
    instance = _frame(kind, x, reduced, where, eps=eps)
    weight = kind.of(_laid(gate, x.ndim, channel_axis))
    pooled_part = weight * _forward(kind, batch, x)
    own_part = (kind.of(1.0) - weight) * _forward(kind, instance, x)
    mixed = pooled_part + own_part
    y, terms = _affine(kind, mixed, scale, bias, True, (x.ndim, channel_axis))
    products = (
        _affine(kind, part, scale, None, True, (x.ndim, channel_axis))[0]
        for part in (pooled_part, own_part)
    )
    return _finished(y, x, batch, instance, terms=(*terms, *products))


def _conditional_instance_norm(
    kind, x, scales, biases, labels, *, axis, batch_axis, channel_axis, **options
):
    frame = _frame(kind, x, axis, **options)
    labels = np.asarray(labels)
    shape = [1] * x.ndim
    shape[batch_axis], shape[channel_axis] = x.shape[batch_axis], x.shape[channel_axis]
    ahead = batch_axis % x.ndim < channel_axis % x.ndim
    scale, bias = (_rows(kind, t, labels, shape, ahead) for t in (scales, biases))
    z = _forward(kind, frame, x)
    product = z * scale
    y = (product + bias).select(frame.seen, z)
    return _finished(y, x, frame, terms=(product, bias))


def _rows(kind: Any, table: Any, labels: np.ndarray, shape: list[int], ahead: bool) -> Any:
    """The row of each label, or the mixture of them, laid along the batch and the channels."""
    table = np.asarray(table, dtype=np.float64)
    if labels.ndim == 1:
        rows = kind.of(table[labels])
    else:
        products = kind.of(labels[:, :, None]) * kind.of(table[None, :, :])
        rows = products.sum((1,))
    rows = rows.each(lambda part: part.reshape(labels.shape[0], table.shape[1]))
    return rows.each(lambda part: (part if ahead else part.T).reshape(shape))


def _spatially_adaptive_norm(kind, x, scale_map, bias_map, *, axis, **options):
    frame = _frame(kind, x, axis, **options)
    z = _forward(kind, frame, x)
    product, bias = z * (kind.of(1.0) + kind.of(scale_map)), kind.of(bias_map)
    y = (product + bias).select(frame.seen, z)
    return _finished(y, x, frame, terms=(product, bias))


def _moments(kind, x, *, axis, where=None):
    near, step, variance, unit, seen, finite = _measured(kind, x, axis, where)
    observed = np.broadcast_to(True if where is None else np.asarray(where), x.shape)
    count = np.sum(observed, axis=_axes(axis, x.ndim), keepdims=True).astype(np.longdouble)
    mean = np.where(finite, (near + step).scaled(unit).rounded(), np.nan)
    variance = np.where(finite, variance.scaled(2 * unit).rounded(), np.nan)
    return (np.where(seen, mean, 0), np.where(seen, variance, 0), count), None


_KERNELS: dict[str, Callable[..., Any]] = {
    "instance_norm": _instance_norm,
    "revin": _revin,
    "adain": _adain,
    "batch_instance_norm": _batch_instance_norm,
    "conditional_instance_norm": _conditional_instance_norm,
    "spatially_adaptive_norm": _spatially_adaptive_norm,
    "moments": _moments,
    "layer_norm": _instance_norm,
    "group_norm": _group_norm,
    "batch_norm": _instance_norm,
    "rms_norm": _rms_norm,
}
