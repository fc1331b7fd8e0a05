"""Normalization by the statistics of a data set as a Keras layer."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

import revnorm as rn
from revnorm._flat import flattened
from revnorm._trees import Array
from revnorm.keras import _tensors


@keras.saving.register_keras_serializable(package="revnorm")
class Normalization(keras.layers.Layer):
    """Normalize by the mean and variance of a data set, given or learned.

        y = (x − mean) / sqrt(variance)

    With `invert` it goes the other way:

        y = x · sqrt(variance) + mean

    Parameters
    ----------
    axis : int, tuple of int or None
        The axes that are kept: each of their indices has a mean and variance of its own.
    mean, variance : float or array, optional
        Both or neither; broadcastable to the shape of the kept axes.
    invert : bool
        Whether the layer denormalizes.
    **kwargs
        As in ``keras.layers.Layer``: `name`, `dtype`, `trainable`.

    Raises
    ------
    NotImplementedError
        If Keras's backend is none of torch, jax and numpy.
    ValueError
        If only one of mean and variance is given, or an axis is not one of the inputs.

    Notes
    -----
    Where the variance is 0, nothing is stretched; ``keras.layers.Normalization`` multiplies by 1e7
    there. Data are adapted to in float64, whatever their dtype and that of the layer. A feature
    that is constant but for rounding, by the bound of ``revnorm.Standardizer``, is given a variance
    of 0 as it is learned. Statistics that are given, or loaded as weights, are taken as they are.

    Examples
    --------
    >>> import os
    >>> os.environ["KERAS_BACKEND"] = "torch"
    >>> import numpy as np
    >>> import revnorm.keras
    >>> layer = revnorm.keras.Normalization(axis=None)
    >>> layer.adapt(np.asarray([1.0, 2.0, 3.0, 4.0, 5.0], dtype="float32"))
    >>> layer(np.asarray([1.0, 2.0, 3.0], dtype="float32")).numpy()
    array([-1.4142135 , -0.70710677,  0.        ], dtype=float32)
    """

    def __init__(
        self,
        axis: int | tuple[int, ...] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **kwargs: Any,
    ) -> None:
        _tensors.check_backend()
        if (mean is None) != (variance is None):
            given, missing = ("mean", "variance") if variance is None else ("variance", "mean")
            raise ValueError(f"`{missing}` must be given beside `{given}`, got None")
        super().__init__(**kwargs)
        self.autocast = False
        self.supports_masking = True
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.invert = invert
        self.input_mean, self.input_variance = mean, variance
        self.mean: Any = None
        self.variance: Any = None
        self.count: Any = None
        self._kept: tuple[int, ...] = ()
        self._given: dict[str, Any] = {}

    def build(self, input_shape: Any) -> None:
        """The state, of the kept axes' shape: `mean`, `variance` and `count`, as Keras's."""
        ndim = len(input_shape)
        if not all(-ndim <= axis < ndim for axis in self.axis):
            raise ValueError(
                f"`axis` must name axes of the inputs, got {self.axis} "
                f"for shape {tuple(input_shape)}"
            )
        self._kept = tuple(sorted(axis % ndim for axis in self.axis))
        shape = tuple(input_shape[axis] for axis in self._kept)
        if None in shape:
            raise ValueError(
                f"`inputs` must have known sizes along the kept axes {self._kept}, "
                f"got shape {tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(
            ndim=ndim, axes=dict(zip(self._kept, shape, strict=True))
        )
        if self.input_mean is not None:
            self._given = {
                name: _broadcast(name, given, shape)
                for name, given in (("mean", self.input_mean), ("variance", self.input_variance))
            }
            return
        options = {"shape": shape, "dtype": _tensors.widest(), "trainable": False}
        self.mean = self.add_weight(name="mean", initializer="zeros", autocast=False, **options)
        self.variance = self.add_weight(
            name="variance", initializer="ones", autocast=False, **options
        )
        self.count = self.add_weight(
            name="count", shape=(), dtype="int", initializer="zeros", trainable=False
        )

    def adapt(self, data: Any) -> None:
        """Learn the mean and variance of a data set, instead of what was learned before.

        Parameters
        ----------
        data : array, tensor, or iterable of batches
            A list, a generator, a ``keras.utils.PyDataset``, a PyTorch DataLoader, or any other
            iterable of arrays; of a batch that is a tuple or list, the first counts.

        Raises
        ------
        RuntimeError
            If mean and variance were given.
        TypeError
            If a batch is not an array of numbers.
        ValueError
            If there is no batch, or batches do not fit together.
        """
        if self.input_mean is not None:
            raise RuntimeError("`adapt` must not be called on a layer that was given its `mean`")
        batches = map(self._checked, _batches(data))
        found = flattened(rn.Standardizer(keep=self.axis).adapt(batches).moments)
        shape = self.mean.shape
        self.mean.assign(np.reshape(found.mean + found.residual, shape))
        self.variance.assign(np.reshape(found.variance, shape))
        self.count.assign(int(np.max(found.count)))

    def _checked(self, batch: Any) -> Array:
        """A batch on the host, of the sizes of those before it; the first builds the layer."""
        x = _array(batch)
        if self.input_spec is None:
            self.build(x.shape)
        spec = self.input_spec
        if x.ndim != spec.ndim or any(x.shape[axis] != size for axis, size in spec.axes.items()):
            raise ValueError(
                f"`data` must have {spec.ndim} axes, of sizes {spec.axes} where they are kept, "
                f"got shape {x.shape}"
            )
        return x

    def call(self, inputs: Array) -> Array:
        """Shape as the inputs, dtype the compute dtype."""
        x = _tensors.widened(inputs, self.compute_dtype)
        norm_map = rn.standardizer(self._moments(x), eps=0.0)
        return keras.ops.cast((norm_map.inv if self.invert else norm_map)(x), self.compute_dtype)

    def _moments(self, x: Array) -> rn.Moments:
        shape = tuple(size if axis in self._kept else 1 for axis, size in enumerate(x.shape))
        if self.input_mean is None:
            mean, variance = self.mean, self.variance
        else:
            mean, variance = (
                keras.ops.convert_to_tensor(given, dtype=_tensors.widest())
                for given in self._given.values()
            )
        mean, variance = (keras.ops.reshape(each, shape) for each in (mean, variance))
        return rn.Moments(mean, keras.ops.zeros_like(mean), variance, keras.ops.ones_like(variance))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The inputs' own."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """All arguments, so that `from_config` makes the same layer."""
        config = {
            "axis": self.axis or None,
            "mean": _listed(self.input_mean),
            "variance": _listed(self.input_variance),
            "invert": self.invert,
        }
        return super().get_config() | config


def _batches(data: Any) -> Iterator[Any]:
    """The batches of a data set: an array is one."""
    if hasattr(data, "shape"):
        return iter((data,))
    if not isinstance(data, Iterable):
        raise TypeError(
            f"`data` must be an array or an iterable of batches, got {type(data).__name__}"
        )
    return (batch[0] if isinstance(batch, tuple | list) else batch for batch in data)


def _array(batch: Any) -> Any:
    """A batch as real floating NumPy, on the host."""
    if not hasattr(batch, "shape"):
        raise TypeError(f"`data` must hold arrays, got {type(batch).__name__}")
    is_tensor = keras.ops.is_tensor(batch)
    array = keras.ops.convert_to_numpy(batch) if is_tensor else np.asarray(batch)
    if array.dtype in (np.float16, np.float32, np.float64):
        return array
    if array.dtype.kind in "OSUMm":
        raise TypeError(f"`data` must hold arrays of numbers, got dtype {array.dtype.str}")
    return array.astype(np.float64)


def _broadcast(name: str, given: Any, shape: tuple[int, ...]) -> Any:
    given = np.asarray(given, dtype=np.float64)
    try:
        return np.broadcast_to(given, shape)
    except ValueError:
        raise ValueError(
            f"`{name}` must broadcast to the kept axes, of shape {shape}, got shape {given.shape}"
        ) from None


def _listed(given: Any) -> Any:
    return None if given is None else np.asarray(given).tolist()
