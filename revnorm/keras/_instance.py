"""Instance normalization as a Keras layer."""

from typing import Any

import keras

import revnorm as rn
from revnorm._trees import Array
from revnorm.keras import _tensors


@keras.saving.register_keras_serializable(package="revnorm")
class InstanceNormalization(keras.layers.Layer):
    """Normalize each instance and channel, then scale and shift it by the channel's weights.

        y = (x − mean) / sqrt(variance + epsilon) · gamma + beta

    Parameters
    ----------
    axis : int or None
        The channel axis, as Keras counts: -1 for channels last, 1 for channels first. Statistics
        are taken over all other axes but the first, that of the batch. None takes them over the
        channels too, with one gamma and one beta.
    epsilon : float
        In units of the variance.
    center, scale : bool
        Whether there is a weight `beta`, and a weight `gamma`.
    beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer
        As in ``keras.layers.GroupNormalization``.
    beta_constraint, gamma_constraint
        As in ``keras.layers.GroupNormalization``.
    **kwargs
        As in ``keras.layers.Layer``: `name`, `dtype`, `trainable`.

    Raises
    ------
    NotImplementedError
        If Keras's backend is none of torch, jax and numpy.
    ValueError
        If the inputs have no axis to take statistics over, or an unknown number of channels.

    Notes
    -----
    Inputs are not rounded to the compute dtype before they are normalized: the result is, once.
    A mask that comes with the inputs, (batch, steps), leaves the masked steps out of the
    statistics.

    References
    ----------
    .. [1] D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance Normalization: The Missing
       Ingredient for Fast Stylization", arXiv:1607.08022.

    Examples
    --------
    >>> import os
    >>> os.environ["KERAS_BACKEND"] = "torch"
    >>> import numpy as np
    >>> import revnorm.keras
    >>> layer = revnorm.keras.InstanceNormalization(epsilon=0.0)
    >>> x = np.asarray([[[1.0], [3.0]], [[10.0], [30.0]]], dtype="float32")
    >>> layer(x).detach().numpy()[..., 0]
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int | None = -1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        *,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        _tensors.check_backend()
        super().__init__(**kwargs)
        self.autocast = False
        self.supports_masking = True
        self.axis = axis
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = keras.initializers.get(beta_initializer)
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.beta_regularizer = keras.regularizers.get(beta_regularizer)
        self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)
        self.beta_constraint = keras.constraints.get(beta_constraint)
        self.gamma_constraint = keras.constraints.get(gamma_constraint)
        self.gamma = self.beta = None

    def build(self, input_shape: Any) -> None:
        """The weights, of the channels' number."""
        channel_axis, channels = _tensors.channel(self.axis, input_shape)
        _tensors.reduced(input_shape, channel_axis)
        axes = {} if channel_axis is None else {channel_axis: channels}
        self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes=axes)
        if self.scale:
            self.gamma = self._weight("gamma", channels)
        if self.center:
            self.beta = self._weight("beta", channels)

    def _weight(self, name: str, channels: int) -> Any:
        return self.add_weight(
            shape=(channels,),
            name=name,
            initializer=getattr(self, f"{name}_initializer"),
            regularizer=getattr(self, f"{name}_regularizer"),
            constraint=getattr(self, f"{name}_constraint"),
            autocast=False,
        )

    def call(self, inputs: Array, mask: Array | None = None) -> Array:
        """Shape as the inputs, dtype the compute dtype."""
        channel_axis, _ = _tensors.channel(self.axis, inputs.shape)
        x = _tensors.widened(inputs, self.compute_dtype)
        y = rn.instance_norm(
            x,
            _tensors.value(self.gamma),
            _tensors.value(self.beta),
            axis=_tensors.reduced(x.shape, channel_axis),
            channel_axis=channel_axis,
            eps=self.epsilon,
            where=_tensors.observed(mask, x, channel_axis),
        )
        return keras.ops.cast(y, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The inputs' own."""
        channel_axis, _ = _tensors.channel(self.axis, input_shape)
        _tensors.reduced(input_shape, channel_axis)
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """All arguments, so that `from_config` makes the same layer."""
        config = {
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": keras.initializers.serialize(self.beta_initializer),
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
            "beta_regularizer": keras.regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": keras.regularizers.serialize(self.gamma_regularizer),
            "beta_constraint": keras.constraints.serialize(self.beta_constraint),
            "gamma_constraint": keras.constraints.serialize(self.gamma_constraint),
        }
        return super().get_config() | config
