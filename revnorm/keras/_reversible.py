"""Reversible instance normalization as a Keras layer.

Statistics travel as tensors. Where a model is built of symbolic tensors, each denormalization is
wired to the normalization that its input comes from, so that the graph, and not the layer, holds
what belongs together. On arrays they wait in the call of the outermost layer, or in the thread.
"""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras.src.backend import get_stateless_scope

import revnorm as rn
from revnorm import _checks
from revnorm._trees import Array
from revnorm.keras import _tensors

_INSTEAD = "use `y, undo = layer.normalize(x)` and `undo(y)`, which need no memory"


class Undo:
    """The inverse of one normalization, of tensors that a model may hand on.

    Parameters
    ----------
    layer : ReversibleInstanceNorm
        That normalized.
    statistics : sequence of tensor
        The fields of the map that was applied, with the time axes of size 1.
    """

    def __init__(self, layer: "ReversibleInstanceNorm", statistics: Sequence[Any]) -> None:
        self.layer = layer
        self.statistics = list(statistics)

    def __call__(self, x: Array) -> Array:
        """The tensor denormalized; its time axes may have any size."""
        return self.layer(x, mode="denorm", statistics=self.statistics)

    def take(self, indices: Sequence[int], *, axis: int = -1) -> "Undo":
        """The inverse for some of the channels, for models with fewer outputs than inputs."""
        taken = [keras.ops.take(each, indices, axis=axis) for each in self.statistics]
        return Undo(self.layer, taken)


class _Pending(NamedTuple):
    """The last statistics, and how many calls made some since they were last asked for."""

    statistics: Sequence[Any]
    calls: int
    asked: bool = False


class _Threads(threading.local):
    """What each thread normalized last, outside of any model."""

    pending: _Pending | None = None


@keras.saving.register_keras_serializable(package="revnorm")
class ReversibleInstanceNorm(keras.layers.Layer):
    """Normalize each series over time, and denormalize what a model makes of it.

        y = (x − mean) / sqrt(variance + eps) · affine_weight + affine_bias

    Parameters
    ----------
    num_features : int
        The number of channels, the last axis.
    eps : float
        In units of the variance.
    affine : bool
        Whether there are weights `affine_weight` and `affine_bias`.
    subtract_last : bool
        Whether the last time step becomes 0 before the bias, and not the mean.
    non_norm : bool
        Whether the layer does nothing, in either mode.
    **kwargs
        As in ``keras.layers.Layer``: `name`, `dtype`, `trainable`.

    Raises
    ------
    NotImplementedError
        If Keras's backend is none of torch, jax and numpy.
    RuntimeError
        If ``mode="denorm"`` finds no normalization to undo, or several.
    ValueError
        If an argument is not a valid one, or the inputs have another number of channels.

    Notes
    -----
    ``y, undo = layer.normalize(x)`` and ``undo(forecast)`` say what belongs together, everywhere.
    ``layer(x, mode="norm")`` and ``layer(forecast, mode="denorm")`` leave it to be found:

    - on symbolic tensors, the denormalization undoes the normalization that its input was made
      from; where it was made from several, that is a RuntimeError. Saved models keep this;
    - on arrays, it undoes the last normalization in the same call of the outermost model or,
      outside of models, in the same thread; it may do so repeatedly. If two normalizations came
      since the last denormalization, that is a RuntimeError. So it is under ``jax.jit`` outside of
      models, where nothing may be kept.

    The inverse divides by what the map multiplied by; where a weight is 0, it gives the mean. A
    mask that comes with the inputs, (batch, steps), leaves the masked steps out of the statistics.

    References
    ----------
    .. [1] T. Kim et al., "Reversible Instance Normalization for Accurate Time-Series
       Forecasting against Distribution Shift", ICLR 2022.

    Examples
    --------
    >>> import os
    >>> os.environ["KERAS_BACKEND"] = "torch"
    >>> import numpy as np
    >>> import revnorm.keras
    >>> layer = revnorm.keras.ReversibleInstanceNorm(1)
    >>> series = np.asarray([[[1.0], [3.0], [5.0]]], dtype="float32")
    >>> y, undo = layer.normalize(series)
    >>> undo(y[:, -1:]).numpy()
    array([[[5.]]], dtype=float32)
    >>> layer(layer(series), mode="denorm").numpy()[0, :, 0].round(6)
    array([1., 3., 5.], dtype=float32)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        affine: bool = False,
        subtract_last: bool = False,
        non_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        _tensors.check_backend()
        if not isinstance(num_features, int) or num_features <= 0:
            raise ValueError(f"`num_features` must be a positive int, got {num_features!r}")
        super().__init__(**kwargs)
        self.autocast = False
        self.supports_masking = True
        self.num_features = num_features
        self.eps = eps
        self.affine = affine
        self.subtract_last = subtract_last
        self.non_norm = non_norm
        self.affine_weight = self.affine_bias = None
        self._threads = _Threads()

    def build(self, input_shape: Any) -> None:
        """The weights, if `affine`."""
        if self.affine:
            shape = (self.num_features,)
            self.affine_weight = self.add_weight(
                name="affine_weight", shape=shape, initializer="ones", autocast=False
            )
            self.affine_bias = self.add_weight(
                name="affine_bias", shape=shape, initializer="zeros", autocast=False
            )

    def normalize(self, inputs: Array, mask: Array | None = None) -> tuple[Any, Undo]:
        """Normalize, and give what undoes it.

        Parameters
        ----------
        inputs : tensor
            Batch, time axes, channels; symbolic or not.
        mask : tensor, optional
            As in `call`.

        Returns
        -------
        y : tensor
            Shape as the inputs.
        undo : Undo
            ``undo(y)`` gives the inputs back, in the compute dtype.
        """
        results = self(inputs, mode="norm", return_statistics=True, mask=mask)
        y, *statistics = results if isinstance(results, list | tuple) else [results]
        return y, Undo(self, statistics)

    def __call__(self, inputs: Array, mode: str = "norm", **kwargs: Any) -> Any:
        """`call`, which in a model of symbolic tensors is wired to where its statistics are."""
        _checks.choice("mode", mode, ("norm", "denorm"))
        if self.non_norm or not isinstance(inputs, keras.KerasTensor):
            return super().__call__(inputs, mode=mode, **kwargs)
        if mode == "norm":
            asked = kwargs.pop("return_statistics", False)
            results = super().__call__(inputs, mode=mode, return_statistics=True, **kwargs)
            return results if asked else results[0]
        if kwargs.get("statistics") is None:
            kwargs["statistics"] = self._origin(inputs)
        return super().__call__(inputs, mode=mode, **kwargs)

    def call(
        self,
        inputs: Array,
        mode: str = "norm",
        statistics: Sequence[Array] | None = None,
        return_statistics: bool = False,
        mask: Array | None = None,
    ) -> Any:
        """Normalize or denormalize.

        Parameters
        ----------
        inputs : tensor
            Batch, time axes, channels.
        mode : {"norm", "denorm"}
            Which of the two.
        statistics : sequence of tensor, optional
            What a normalization returned, to denormalize with.
        return_statistics : bool
            Whether a normalization returns its statistics besides y.
        mask : tensor, optional
            (batch, steps): which steps count in the statistics.

        Returns
        -------
        tensor, or list of tensor
            Shape as the inputs, dtype the compute dtype; the statistics in the dtype worked in.
        """
        x = _tensors.widened(inputs, self.compute_dtype)
        if self.non_norm:
            y = x
        elif mode == "norm":
            y, norm_map = self._normalized(x, mask)
            if return_statistics:
                # All of one shape, with the batch's axis: a model may return them, or take them in.
                shape = norm_map.center.shape
                fields = [keras.ops.broadcast_to(field, shape) for field in norm_map]
                return [keras.ops.cast(y, self.compute_dtype), *fields]
            self._remember(norm_map)
        else:
            if statistics is None:
                statistics = self._recalled(x)
            y = rn.AffineMap(*statistics).inv(x)
        return keras.ops.cast(y, self.compute_dtype)

    def _normalized(self, x: Array, mask: Array | None) -> tuple[Array, rn.AffineMap]:
        self._check_shape(x.shape)
        channel_axis = x.ndim - 1
        return rn.revin(
            x,
            _tensors.value(self.affine_weight),
            _tensors.value(self.affine_bias),
            axis=tuple(range(1, channel_axis)),
            channel_axis=channel_axis,
            eps=self.eps,
            center="last" if self.subtract_last else "mean",
            where=_tensors.observed(mask, x, channel_axis),
        )

    def _check_shape(self, shape: Any) -> None:
        _tensors.reduced(shape, len(shape) - 1)
        if shape[-1] != self.num_features:
            raise ValueError(
                f"`inputs` must have num_features={self.num_features} channels, "
                f"got shape {tuple(shape)}"
            )

    def _origin(self, tensor: Any) -> list[Any]:
        """The statistics of the one normalization that a symbolic tensor was made from."""
        found, seen, waiting = [], set(), [tensor]
        while waiting:
            node = _node(waiting.pop())
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            if node.operation is not self:
                waiting += node.input_tensors
            elif node.arguments.kwargs.get("mode", "norm") == "norm":
                found.append(node)
            else:  # undone already: what it normalized is what may be undone next
                undone = _node(node.arguments.kwargs["statistics"][0])
                waiting += [] if undone is None else undone.input_tensors
        if len(found) != 1:
            raise RuntimeError(_unclear(len(found), "lead to its input"))
        return list(found[0].outputs[1:])

    def _place(self, x: Array) -> tuple[Any, str]:
        """Where statistics wait: in what ends with the call or trial of a model, or in a thread."""
        context, scope = self._get_call_context(), get_stateless_scope()
        place = scope if context.entry_layer is self else context
        if place is None:
            return self._threads, "pending"
        # Keras tries a model on PyTorch's meta device first, which may break off.
        return place, f"revnorm_{id(self)}_{getattr(x, 'is_meta', False)}"

    def _remember(self, statistics: Sequence[Array]) -> None:
        place, name = self._place(statistics[0])
        if place is self._threads and _tensors.is_traced(statistics[0]):
            return
        last = getattr(place, name, None)
        calls = 1 if last is None or last.asked else last.calls + 1
        setattr(place, name, _Pending(statistics, calls))

    def _recalled(self, x: Array) -> Sequence[Array]:
        place, name = self._place(x)
        last = getattr(place, name, None)
        if last is None or (place is self._threads and _tensors.is_traced(x)):
            raise RuntimeError(_unclear(0, "came before"))
        setattr(place, name, last._replace(asked=True))
        if last.calls > 1:
            raise RuntimeError(_unclear(last.calls, "came since the last denormalization"))
        return last.statistics

    def compute_output_spec(
        self,
        inputs: Any,
        mode: str = "norm",
        statistics: Any = None,
        return_statistics: bool = False,
        mask: Any = None,
    ) -> Any:
        """Symbolic tensors shaped as the results of `call`."""
        y = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        if mode == "denorm" or self.non_norm:
            return y
        self._check_shape(inputs.shape)
        if not return_statistics:
            return y
        shape = (inputs.shape[0], *(1 for _ in inputs.shape[1:-1]), inputs.shape[-1])
        return [
            y,
            *(keras.KerasTensor(shape, dtype=_tensors.widest()) for _ in rn.AffineMap._fields),
        ]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The inputs' own."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """All arguments, so that `from_config` makes the same layer."""
        config = {
            "num_features": self.num_features,
            "eps": self.eps,
            "affine": self.affine,
            "subtract_last": self.subtract_last,
            "non_norm": self.non_norm,
        }
        return super().get_config() | config


def _node(tensor: Any) -> Any:
    """The call that a symbolic tensor came from; None for an input of a model."""
    history = getattr(tensor, "_keras_history", None)
    if history is None or history.operation is None:
        return None
    return history.operation._inbound_nodes[history.node_index]


def _unclear(count: int, how: str) -> str:
    return (
        f'`mode="denorm"` must undo one call with `mode="norm"` of the same layer, '
        f"got {count or 'none'} that {how}: {_INSTEAD}"
    )
