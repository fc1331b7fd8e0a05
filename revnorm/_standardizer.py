"""The standardizer of a data set: learned from batches, kept, applied anywhere, undone."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import repeat
from typing import Any, Self

import numpy as np

from revnorm import _checks, _data_checks
from revnorm._affine import AffineMap, standardizer
from revnorm._convert import convert
from revnorm._data import has_float64
from revnorm._estimator import Estimator
from revnorm._flat import flattened
from revnorm._host import to_numpy
from revnorm._libraries import device
from revnorm._libraries import is_array as is_library_array
from revnorm._moments import Moments
from revnorm._stream import Stream
from revnorm._trees import Array, is_array

# Of what `state_dict` and `save` write.
VERSION = 1
_FLOATS = (np.float32, np.float64, np.float16)
_LEARNED = ("n_features_in_", "feature_names_in_")


class Standardizer(Estimator):
    """Mean and variance of a data set, learned in one pass, and the map that they make.

        y = (x − mean) / sqrt(variance + eps)

    Parameters
    ----------
    axis : int or tuple of int, optional
        The axes that are reduced.
    keep : int or tuple of int, optional
        Instead of `axis`, the axes that are kept, as ``keras.layers.Normalization`` counts them;
        the empty tuple keeps none, as its None does.
    mean, variance : float or array, optional
        Both or neither: statistics that are known and need not be learned. They broadcast to the
        sizes along the axes that are kept, or without `axis` and `keep` against the data.
    eps : float
        In units of the variance. With 0, features that are constant but for rounding are not
        stretched.

    Raises
    ------
    TypeError
        If an axis is not an int, or data are not arrays of real numbers.
    ValueError
        If both or neither of `axis` and `keep` are given, or one of `mean` and `variance`; if
        batches do not fit together, or there are none.

    Notes
    -----
    Moments are taken in float64, whatever the dtype and library of the batches, and are held in
    NumPy's arrays. Parts are merged pairwise [1]_, so that a million batches lose no more digits
    than one array would.

    A feature is constant where its deviation is at most what the mean itself may be off by: a sum
    of n numbers in float64, added pairwise, errs by up to log₂ n roundings [2]_, so

        variance ≤ ((1 + log₂ n) · 2⁻⁵² · mean)²

    scikit-learn's bound, n·2⁻⁵²·variance + (n·2⁻⁵²·mean)², is that of sums that run on for all of
    n; here they do not.

    The methods of scikit-learn's transformers are there as well. Without `axis` and `keep` these
    reduce the first axis.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm
       for computing sample variances", COMPSTAT 1982.
    .. [2] N. J. Higham, "The accuracy of floating point summation", SIAM J. Sci. Comput. 14 (1993).

    Examples
    --------
    >>> import numpy as np
    >>> import revnorm as rn
    >>> features = np.asarray([[0, 7, 4], [2, 9, 6], [0, 7, 4], [2, 9, 6]], dtype="float32")
    >>> standardize = rn.Standardizer(axis=0).adapt(features)
    >>> standardize(features[:1])
    array([[-1., -1., -1.]], dtype=float32)
    >>> standardize.inv(np.asarray([[1, 2, 3]], dtype="float32"))
    array([[ 2., 10.,  8.]], dtype=float32)
    """

    _stream: Stream | None = None

    def __init__(
        self,
        *,
        axis: int | tuple[int, ...] | None = None,
        keep: int | tuple[int, ...] | None = None,
        mean: Any = None,
        variance: Any = None,
        eps: float = 0.0,
    ) -> None:
        self.axis = axis
        self.keep = keep
        self.mean = mean
        self.variance = variance
        self.eps = eps
        # scikit-learn wants classes that take any nonsense and say so later: -1 for everything,
        # say. What contradicts itself is not that.
        if _checks.is_number(eps) and eps >= 0:
            _data_checks.not_both(axis, keep)
        _data_checks.both_or_neither(mean, variance)

    def adapt(
        self,
        data: Any,
        /,
        *,
        where: Any = None,
        sample_weight: Any = None,
        progress: bool = False,
    ) -> Self:
        """Learn the moments of a data set, instead of what was learned before.

        Parameters
        ----------
        data : array, or iterable of arrays
            An array of any library, one of Dask's too, which is computed once; or batches of one
            data set: a list, a generator, a PyTorch DataLoader. Of a batch that is a tuple or list
            the first counts.
        where : array of bool or iterable of them, optional
            Which elements count. For an array broadcastable against it; for batches one for each,
            or an array that fits them all.
        sample_weight : array or iterable of them, optional
            How much elements count: of the first axes of the data, or broadcastable against them.
            What weighs 0 does not count, even NaN. For batches as with `where`.
        progress : bool
            Whether to draw a progress bar, for which rich must be installed.

        Returns
        -------
        Standardizer
            Itself. After an error, what was learned before is still there.
        """
        self._check_learns("adapt")
        stream = None
        for x, mask, weights in _batches(data, where, sample_weight, progress):
            stream = self._added(stream, x, mask, weights)
        if stream is None:
            raise ValueError("`data` must hold at least one batch with an element, got none")
        self._stream = stream
        return self

    def update(
        self, batch: Array, where: Array | None = None, *, sample_weight: Array | None = None
    ) -> Self:
        """Learn one batch more; a batch without elements changes nothing.

        Parameters
        ----------
        batch : array
            Sizes as those before along the axes that are kept, any along the others.
        where : array of bool, optional
            Broadcastable against the batch.
        sample_weight : array, optional
            As in `adapt`.

        Returns
        -------
        Standardizer
            Itself.
        """
        self._check_learns("update")
        before = self._stream
        self._keep(before, self._added(before, _first(batch), where, sample_weight))
        return self

    def merge(self, other: "Standardizer", /) -> Self:
        """Learn what another has learned, of other data.

        Parameters
        ----------
        other : Standardizer
            Of the same axes; it stays as it is. One without data changes nothing.

        Returns
        -------
        Standardizer
            Itself.
        """
        self._check_learns("merge")
        if not isinstance(other, Standardizer):
            raise TypeError(f"`other` must be a Standardizer, got {type(other).__name__}")
        if other._stream is None and not other._is_given():
            return self
        other._check_learns("merge")
        found = other.moments
        before = stream = self._stream
        if stream is None:
            stream = Stream(found.mean.shape, other._known_stream().axis)
        if stream.shape != found.mean.shape:
            raise ValueError(
                f"`other` must have moments of shape {stream.shape}, got shape {found.mean.shape}"
            )
        stream.put(found)
        self._keep(before, stream)
        return self

    @property
    def moments(self) -> Moments:
        """The moments of all that was learned, NumPy's float64, the reduced axes at size 1.

        Those that were given are as they were given, with a count of 1.
        """
        if self._is_given():
            return self._given(None)
        return self._known_stream().moments()

    @property
    def map(self) -> AffineMap:
        """The map to mean 0 and variance 1, of NumPy's float64; `convert` carries it on."""
        return AffineMap(*(field.copy() for field in self._map(None)))

    def __call__(self, x: Any, /, *, dtype: Any = None, out: Array | None = None) -> Array:
        """The data standardized: as the map called, for arrays of any library and any device.

        Parameters
        ----------
        x : array
            Integers and lists of numbers are taken too, and give the library's widest floats.
        dtype : dtype, optional
            Of the result, which is rounded to it once; that of `x` unless given.
        out : array, optional
            Where the result is written.

        Returns
        -------
        array
            Library, shape and device as `x`.
        """
        x = _floats("x", x)
        return convert(self._map(x), x)(x, dtype=dtype, out=out)

    def inv(self, y: Any, /, *, dtype: Any = None, out: Array | None = None) -> Array:
        """What was standardized brought back; arguments and result as in the call."""
        y = _floats("y", y)
        return convert(self._map(y), y).inv(y, dtype=dtype, out=out)

    def state_dict(self) -> dict[str, np.ndarray]:
        """All that makes up the standardizer as plain NumPy arrays, for any store.

        Returns
        -------
        dict of str to array
            The version of the format, the arguments that were given, and mean, residual, variance
            and count if something was learned, with the axes they were taken over.
        """
        state: dict[str, Any] = {"version": VERSION, "eps": self.eps}
        # A layout is known by the axes that it reduces.
        state |= {"axis": getattr(self.axis, "axis", self.axis), "keep": self.keep}
        if self._is_given():
            state |= {"given_mean": self.mean, "given_variance": self.variance}
        if self._stream is not None:
            state |= self.moments._asdict() | {"reduced": self._stream.axis}
        state |= {name: vars(self).get(name) for name in _LEARNED}
        return {name: _plain(value) for name, value in state.items() if value is not None}

    @classmethod
    def from_state_dict(cls, state: Any, /) -> Self:
        """The standardizer that a `state_dict` is of, which learns on from there.

        Parameters
        ----------
        state : mapping of str to array
            Of the version that this one writes, else a ValueError.

        Returns
        -------
        Standardizer
        """
        _data_checks.state(state, VERSION)
        known = {name: to_numpy(state[name]) for name in state}
        made = cls(
            axis=_axes_of(known.get("axis")),
            keep=_axes_of(known.get("keep")),
            mean=known.get("given_mean"),
            variance=known.get("given_variance"),
            eps=float(known["eps"]),
        )
        if "mean" in known:
            found = Moments(*(np.asarray(known[name], np.float64) for name in Moments._fields))
            made._stream = Stream(found.mean.shape, tuple(map(int, known["reduced"])))
            made._stream.put(found)
        for name in set(_LEARNED) & set(known):
            value = known[name]
            setattr(made, name, int(value) if value.ndim == 0 else value.astype(object))
        return made

    def save(self, file: Any, /) -> None:
        """Write the `state_dict` as an npz file of NumPy's, to a path or an open file."""
        if hasattr(file, "write"):
            np.savez(file, allow_pickle=False, **self.state_dict())
            return
        # By its own name: NumPy would add a suffix.
        with open(file, "wb") as opened:
            self.save(opened)

    @classmethod
    def load(cls, file: Any, /) -> Self:
        """The standardizer that `save` wrote, from a path or an open file.

        Parameters
        ----------
        file : path or binary file

        Returns
        -------
        Standardizer
        """
        with _data_checks.opened(file) as arrays:
            return cls.from_state_dict(dict(arrays))

    def _added(
        self, stream: Stream | None, batch: Any, where: Any, weights: Any, axis: Any = None
    ) -> Any:
        """The stream, made if there is none, with one batch more; `axis` stands in for none."""
        if where is None and weights is None and stream is not None and stream.takes(batch):
            return stream
        x = _floats("batch", batch)
        where, weights = _laid("where", where, x), _laid("sample_weight", weights, x)
        if stream is None:
            axis = self._reduced(x, axis)
            if 0 in x.shape:
                return None
            stream = Stream(x.shape, axis)
        _data_checks.alike(x, stream.shape, stream.axis)
        stream.add(x, where, weights)
        return stream

    def _keep(self, before: Stream | None, stream: Stream | None) -> None:
        """Holds a stream that was begun; of threads that begin at once, one does.

        The others have seen none `before`, either, and add what they have to the one that is held.
        """
        if before is not None or stream is None:
            return
        held = vars(self).setdefault("_stream", stream)
        if held is None:
            self._stream = stream
        elif held is not stream:
            held.put(stream.moments())

    def _reduced(self, x: Array, axis: Any = None, least: int = 1) -> tuple[int, ...]:
        axis = axis if (self.axis, self.keep) == (None, None) else self.axis
        return _data_checks.reduced(axis, self.keep, x.ndim, least)

    def _is_given(self) -> bool:
        _data_checks.both_or_neither(self.mean, self.variance)
        return self.mean is not None

    def _check_learns(self, method: str) -> None:
        _data_checks.not_both(self.axis, self.keep)
        _checks.number("eps", self.eps)
        if self._is_given():
            raise ValueError(
                f"`{method}` must not be called on a standardizer that was given its mean and "
                "variance"
            )

    def _known_stream(self) -> Stream:
        if self._stream is None:
            raise _data_checks.NotAdapted(
                "`adapt` must come first, got a standardizer without data"
            )
        return self._stream

    def _given(self, x: Array | None) -> Moments:
        """The mean and variance given, laid out with the axes of x."""
        mean, variance = (
            _data_checks.given(name, np.asarray(to_numpy(value), np.float64))
            for name, value in (("mean", self.mean), ("variance", self.variance))
        )
        if x is not None and (self.axis, self.keep) != (None, None):
            axis = self._reduced(x, least=0)
            mean, variance = (
                _data_checks.kept(name, value, x, axis)
                for name, value in (("mean", mean), ("variance", variance))
            )
        mean, variance = np.broadcast_arrays(mean, variance)
        return Moments(mean + 0.0, np.zeros_like(mean), variance + 0.0, np.ones_like(mean))

    def _map(self, x: Array | None) -> AffineMap:
        if self._is_given():
            return standardizer(self._given(x), eps=self.eps)
        stream = self._known_stream()
        # Before the moments, which another thread may change.
        key = stream.changes, self.eps
        if stream.map is None or stream.map[0] != key:
            stream.map = key, standardizer(flattened(stream.moments()), eps=self.eps)
        made: AffineMap = stream.map[1]
        return made


def _batches(data: Any, where: Any, weights: Any, progress: bool) -> Iterator[tuple[Any, Any, Any]]:
    """The batches of a data set, each with its mask and weights: an array is one."""
    if is_array(data):
        data, where, weights = (data,), (where,), (weights,)
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | dict):
        raise TypeError(
            f"`data` must be an array or an iterable of batches, got {type(data).__name__}"
        )
    masks, weights = _each("where", where), _each("sample_weight", weights)
    for batch in _shown(data) if progress else data:
        mask = _data_checks.one_more("where", masks)
        yield _first(batch), mask, _data_checks.one_more("sample_weight", weights)
    _data_checks.no_more("where", masks)
    _data_checks.no_more("sample_weight", weights)


def _each(name: str, given: Any) -> Any:
    """What stands beside each batch: the same for all, or one after another."""
    if given is None or is_array(given):
        return repeat(given)
    if not isinstance(given, Iterable):
        raise TypeError(f"`{name}` must hold arrays, got {type(given).__name__}")
    return iter(given)


def _first(batch: Any) -> Any:
    return batch[0] if isinstance(batch, tuple | list) and batch else batch


def _shown(data: Any) -> Any:
    """The same batches under a progress bar."""
    try:
        bars, consoles = import_module("rich.progress"), import_module("rich.console")
    except ImportError as error:
        raise ImportError(
            '`progress` needs rich, which is not installed: pip install "revnorm[progress]"'
        ) from error
    total = len(data) if hasattr(data, "__len__") else None
    console = consoles.Console(stderr=True)
    return bars.track(data, "learning", total=total, console=console, transient=True)


def _floats(name: str, array: Any) -> Array:
    """An array of real floating numbers, made of integers where need be."""
    if type(array) is np.ndarray and array.dtype in _FLOATS:
        return array
    if not is_library_array(array):
        array = _data_checks.numbers(name, array)
    xp = _checks.namespace(**{name: array})
    if xp.isdtype(array.dtype, ("bool", "integral")):
        wide = has_float64(xp, device(array))
        return xp.astype(array, xp.float64 if wide else xp.float32)
    _checks.floating(xp, **{name: array})
    if isinstance(array, np.ndarray) and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array


def _laid(name: str, given: Any, x: Array) -> Any:
    """A mask or weights in the library of a batch, laid out with its axes."""
    if given is None:
        return None
    if not is_array(given):
        given = np.asarray(given)
    xp = _checks.namespace(**{name: given})
    if name == "where":
        return _checks.mask(xp, name, given, x)
    given = _floats(name, given)
    return _data_checks.weights(xp, given, x)


def _plain(value: Any) -> np.ndarray:
    """A value as an array that needs no pickle."""
    array = np.asarray(to_numpy(value)) if is_array(value) else np.asarray(value)
    return array.astype(str) if array.dtype == object else array


def _axes_of(array: np.ndarray | None) -> Any:
    if array is None:
        return None
    return int(array) if array.ndim == 0 else tuple(map(int, array))
