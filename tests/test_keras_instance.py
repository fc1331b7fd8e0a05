"""Instance normalization as a Keras layer, beside Keras's group normalization."""

import copy

import numpy as np
import pytest

import revnorm as rn
from revnorm.keras import InstanceNormalization
from systems_keras import (
    BACKEND,
    TRAINS,
    WIDE,
    Contributed,
    Grouped,
    assert_alike,
    keras,
    numpy,
    randomize,
    values,
)
from tolerances import WIDER_FORWARD, ulp


def group_norm(**options):
    return keras.layers.GroupNormalization(**{"groups": -1, "epsilon": 1e-5} | options)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("shape", [(4, 9, 3), (4, 5, 6, 3), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("dtype", sorted({"float32", WIDE}))
def test_group_normalization_of_keras(shape, axis, dtype):
    kind = group_norm if dtype == "float32" else Grouped
    ours = InstanceNormalization(axis=axis, dtype=dtype)
    theirs = kind(groups=-1, epsilon=1e-5, axis=axis, dtype=dtype)
    for layer in (ours, theirs):
        layer.build((None, *shape[1:]))
    randomize(theirs)
    ours.set_weights(theirs.get_weights())
    assert_alike(ours, theirs, lambda layer, x: layer(x), values(*shape, dtype=dtype))


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("scale", [False, True])
def test_weights_are_those_of_keras(center, scale):
    ours, theirs = (
        keras.Sequential([keras.Input((5, 3)), layer])
        for layer in (
            InstanceNormalization(center=center, scale=scale),
            group_norm(center=center, scale=scale),
        )
    )
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    randomize(theirs)
    ours.set_weights(theirs.get_weights())
    x = values(2, 5, 3)
    np.testing.assert_allclose(numpy(ours(x)), numpy(theirs(x)), rtol=1e-5, atol=1e-5)


def test_instance_normalization_of_keras_contrib():
    """With axis=None; its epsilon is added to the deviation, so none is used here."""
    ours = InstanceNormalization(axis=None, epsilon=0.0, dtype=WIDE)
    theirs = Contributed(epsilon=0.0, dtype=WIDE)
    for layer in (ours, theirs):
        layer.build((None, 5, 3))
    randomize(theirs)
    ours.set_weights(theirs.get_weights())
    assert_alike(ours, theirs, lambda layer, x: layer(x), values(4, 5, 3, dtype=WIDE))


@pytest.mark.parametrize("level", [0, 1e3, 1e5])
def test_correctly_rounded_far_from_zero(level):
    if WIDE != "float64":
        pytest.skip("no wider type")
    x = values(2, 64, 3, level=level)
    wide = x.astype("longdouble")
    mean, variance = wide.mean(1, keepdims=True), wide.var(1, keepdims=True)
    exact = (wide - mean) / np.sqrt(variance + 1e-5)
    error = abs(numpy(InstanceNormalization()(x)) - exact) / ulp(
        np.maximum(abs(exact), 1), "float32"
    )
    assert error.max() <= WIDER_FORWARD


@pytest.mark.parametrize("axis", [-1, 1])
def test_masked_steps_do_not_count(axis):
    x = values(2, 6, 3)
    mask = np.arange(6)[None] < np.asarray([[4], [6]])
    padded = np.where(mask[..., None], x, 1e6).astype("float32")
    if axis == 1:
        padded, x = padded.swapaxes(1, 2), x.swapaxes(1, 2)
    y = numpy(InstanceNormalization(axis=axis)(padded, mask=mask))
    alone = numpy(InstanceNormalization(axis=axis)(x[:1, :4] if axis == -1 else x[:1, :, :4]))
    found = y[:1, :4] if axis == -1 else y[:1, :, :4]
    np.testing.assert_allclose(found, alone, rtol=1e-6, atol=1e-6)


def test_mask_comes_from_the_model_and_goes_on():
    inputs = keras.Input((6, 3))
    masked = keras.layers.Masking(mask_value=0.0)(inputs)
    y = InstanceNormalization(center=False)(masked)
    assert getattr(y, "_keras_mask", None) is not None
    x = values(2, 6, 3)
    x[0, 4:] = 0
    found = numpy(keras.Model(inputs, y)(x))
    alone = numpy(InstanceNormalization()(x[:1, :4]))
    np.testing.assert_allclose(found[:1, :4], alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_mixed_precision_rounds_once(policy):
    if BACKEND == "numpy" and "bfloat16" in policy:
        pytest.skip("NumPy has no bfloat16")
    layer = InstanceNormalization(dtype=policy)
    x = values(2, 8, 3, level=1e5)  # beyond float16
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    assert layer.gamma.dtype == layer.variable_dtype
    exact = rn.instance_norm(x.astype("float64"), axis=1)
    np.testing.assert_allclose(
        numpy(keras.ops.cast(y, "float32")), exact, rtol=2.0**-8, atol=2.0**-8
    )


def test_integers_are_taken():
    x = np.asarray([[[1], [3]]])
    np.testing.assert_allclose(numpy(InstanceNormalization(epsilon=0.0)(x)), [[[-1], [1]]])


def test_config_says_all():
    layer = InstanceNormalization(
        axis=1,
        epsilon=1e-3,
        scale=False,
        beta_initializer=keras.initializers.Constant(0.5),
        gamma_regularizer=keras.regularizers.L2(0.1),
        beta_constraint=keras.constraints.NonNeg(),
        dtype="mixed_float16",
        name="norm",
    )
    config = layer.get_config()
    again = InstanceNormalization.from_config(copy.deepcopy(config))
    assert again.get_config() == config
    again.build((None, 3, 5))
    np.testing.assert_array_equal(numpy(again.beta), np.full(3, 0.5))
    assert again.gamma is None


def test_regularizers_count():
    layer = InstanceNormalization(gamma_regularizer=keras.regularizers.L2(0.5))
    layer.build((None, 4, 3))
    assert [float(numpy(loss)) for loss in layer.losses] == [1.5]


def small_model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, padding="same"),
            InstanceNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1),
        ]
    )


def test_saved_and_loaded(tmp_path):
    model = small_model()
    randomize(model)
    model.save(tmp_path / "model.keras")
    x = values(4, 8, 8, 3)
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy(again(x)), numpy(model(x)))
    np.testing.assert_array_equal(numpy(copy.deepcopy(model)(x)), numpy(model(x)))


@pytest.mark.skipif(not TRAINS, reason="Keras's numpy backend does not train")
def test_trains_to_the_loss_of_group_normalization():
    keras.utils.set_random_seed(0)
    model = small_model()
    theirs = keras.models.clone_model(model, clone_function=lambda layer: _replaced(layer))
    theirs.set_weights(model.get_weights())
    x, y = values(32, 8, 8, 3), values(32, 1)
    losses = []
    for each in (model, theirs):
        each.compile("sgd", "mse", jit_compile=BACKEND == "jax")
        losses.append(
            each.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0).history["loss"]
        )
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert losses[0][-1] < losses[0][0]


def _replaced(layer):
    if isinstance(layer, InstanceNormalization):
        return group_norm(name=layer.name)
    return type(layer).from_config(layer.get_config())


def test_symbolic_shapes():
    for shape in ((None, None, 3), (2, None, None, 3)):
        y = InstanceNormalization()(keras.KerasTensor(shape))
        assert y.shape == shape
        assert y.dtype == "float32"
    assert InstanceNormalization().compute_output_shape((None, 4, 3)) == (None, 4, 3)


def test_inside_a_model_of_unknown_sizes():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = InstanceNormalization()

        def call(self, x):
            return self.norm(x)

    assert Model()(keras.Input((None, 3))).shape == (None, None, 3)


@pytest.mark.parametrize(
    ("options", "shape", "text"),
    [
        (
            {"axis": 0},
            (2, 4, 3),
            "`axis` must be an axis of the inputs other than that of the batch",
        ),
        ({"axis": -3}, (2, 4, 3), "`axis` must be an axis of the inputs other than that of the b"),
        ({"axis": 3}, (2, 4, 3), "`axis` must be an axis of the inputs other than that of the b"),
        ({}, (2, 3), "`inputs` must have an axis besides those of the batch and of the channels"),
        ({}, (2, 3, None), "`inputs` must have a known size along the channel axis -1"),
    ],
)
def test_errors_say_what_is_required(options, shape, text):
    with pytest.raises(ValueError, match=text):
        InstanceNormalization(**options)(keras.KerasTensor(shape))


def test_another_number_of_channels_is_refused():
    layer = InstanceNormalization()
    layer(values(2, 4, 3))
    with pytest.raises(ValueError, match=r"expected axis 2 .*to have value 3"):
        layer(values(2, 4, 5))


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(NotImplementedError, match=r"`KERAS_BACKEND` must be one of .*'tensorflow'"):
        InstanceNormalization()
