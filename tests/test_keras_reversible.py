"""ReversibleInstanceNorm as a Keras layer, beside KerasFactory's."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import systems_keras
from revnorm.keras import ReversibleInstanceNorm
from systems_keras import (
    BACKEND,
    CLOSE,
    TRAINS,
    WIDE,
    assert_alike,
    keras,
    numpy,
    randomize,
    values,
)

Published = systems_keras.ReversibleInstanceNorm
NAME = "kerasfactory.layers>ReversibleInstanceNorm"
TRAINED = pytest.mark.skipif(not TRAINS, reason="Keras's numpy backend does not train")


def layers(channels=3, **options):
    """Ours and KerasFactory's, with the same weights."""
    pair = ReversibleInstanceNorm(channels, **options), Published(channels, **options)
    for layer in pair:
        layer.build((None, 8, channels))
        randomize(layer)
    return pair


def dense(channels=3):
    """A forecaster of which nothing is lost: the identity, before it is trained."""
    return keras.layers.Dense(channels, kernel_initializer="identity")


def close(actual, expected):
    """To what float32 leaves of a few roundings."""
    np.testing.assert_allclose(numpy(actual), numpy(expected), rtol=1e-5, atol=1e-5)


def both_modes(layer, x):
    return layer(layer(x) ** 3, mode="denorm")


@pytest.mark.parametrize("function", [lambda layer, x: layer(x), both_modes], ids=["norm", "both"])
@pytest.mark.parametrize("subtract_last", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_reversible_instance_norm_of_kerasfactory(affine, subtract_last, function):
    pair = layers(affine=affine, subtract_last=subtract_last, dtype=WIDE)
    if function is both_modes and BACKEND == "jax":
        function = _in_a_model
    assert_alike(*pair, function, values(4, 8, 3, dtype=WIDE))


def _in_a_model(layer, x):
    """As both_modes; under jax.jit statistics are kept within the call of a model alone."""

    class Model(keras.Model):
        def call(self, x):
            return both_modes(layer, x)

    return Model()(x)


def test_several_time_axes():
    ours, theirs = layers(affine=True, dtype=WIDE)
    x = values(2, 4, 5, 3, dtype=WIDE)
    np.testing.assert_allclose(numpy(ours(x)), numpy(theirs(x)), **CLOSE[WIDE])


def test_non_norm_does_nothing():
    layer = ReversibleInstanceNorm(3, affine=True, non_norm=True)
    x = values(2, 8, 3)
    close(layer(x), x)
    close(layer(x, mode="denorm"), x)
    y, undo = layer.normalize(x)
    close(undo(y), x)
    symbolic = keras.Input((8, 3))
    assert layer(layer(symbolic), mode="denorm").shape == (None, 8, 3)


def model_of(layer, shape=(8, 3)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(dense()(layer(inputs)), mode="denorm"))


def test_weights_of_kerasfactory_load(tmp_path):
    ours, theirs = layers(affine=True)
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    randomize(theirs, seed=7)
    model = model_of(theirs)
    model.save_weights(tmp_path / "of.weights.h5")
    again = model_of(ReversibleInstanceNorm(3, affine=True))
    again.load_weights(tmp_path / "of.weights.h5")
    x = values(2, 8, 3)
    close(again(x), model(x))


def test_models_of_kerasfactory_load(tmp_path):
    _, theirs = layers(affine=True)
    model = model_of(theirs)
    model.save(tmp_path / "model.keras")
    custom = {NAME: ReversibleInstanceNorm}
    registered = keras.saving.get_custom_objects()
    kept = registered.pop(NAME)
    try:
        again = keras.saving.load_model(tmp_path / "model.keras", custom_objects=custom)
    finally:
        registered[NAME] = kept
    assert isinstance(again.layers[1], ReversibleInstanceNorm)
    x = values(2, 8, 3)
    close(again(x), model(x))


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_two_inputs_are_both_undone(order, tmp_path):
    """By one layer, in whatever order: the graph says which belongs to which."""
    layer = ReversibleInstanceNorm(3, affine=True)
    inputs = [keras.Input((8, 3)), keras.Input((8, 3))]
    normal = [layer(each) for each in inputs]
    found = {i: layer(dense()(normal[i]), mode="denorm") for i in order}
    model = keras.Model(inputs, [found[0], found[1]])
    data = [values(4, 8, 3), values(4, 8, 3, seed=5, level=100.0)]
    model.save(tmp_path / "model.keras")
    for each in (model, keras.saving.load_model(tmp_path / "model.keras")):
        for one, other in zip(each(data), data, strict=True):
            close(one, other)
        for one, other in zip(each.predict(data, verbose=0), data, strict=True):
            close(one, other)


def test_nested_normalizations_are_undone_from_the_inside():
    layer = ReversibleInstanceNorm(3, eps=1.0)
    x = keras.Input((8, 3))
    twice = layer(layer(x))
    once = layer(twice, mode="denorm")
    model = keras.Model(x, [layer(x), once, layer(once, mode="denorm")])
    data = values(2, 8, 3)
    normal, again, back = model(data)
    close(again, normal)
    close(back, data)


def test_several_forecasts_of_one_series():
    layer = ReversibleInstanceNorm(3)
    x = keras.Input((8, 3))
    y = layer(x)
    model = keras.Model(x, [layer(y[:, -1:], mode="denorm"), layer(y[:, :2] * 2, mode="denorm")])
    data = values(2, 8, 3)
    last, doubled = model(data)
    close(last, data[:, -1:])
    close(doubled, 2 * data[:, :2] - data.mean(1, keepdims=True))


def test_a_forecast_made_from_two_series_is_refused():
    layer = ReversibleInstanceNorm(3)
    mixed = layer(keras.Input((8, 3))) + layer(keras.Input((8, 3)))
    with pytest.raises(RuntimeError, match="got 2 that lead to its input: use `y, undo"):
        layer(mixed, mode="denorm")


def test_but_not_with_what_undoes_it():
    layer = ReversibleInstanceNorm(3)
    first, second = keras.Input((8, 3)), keras.Input((8, 3))
    y, undo = layer.normalize(first)
    model = keras.Model([first, second], undo(y + 0 * layer(second)))
    data = [values(4, 8, 3), values(4, 8, 3, seed=5)]
    close(model(data), data[0])


@pytest.mark.parametrize("symbolic", [False, True])
def test_denormalizing_first_is_refused(symbolic):
    x = keras.Input((8, 3)) if symbolic else values(2, 8, 3)
    with pytest.raises(RuntimeError, match=r'`mode="denorm"` must undo one call .* got none'):
        ReversibleInstanceNorm(3)(x, mode="denorm")


def test_another_layers_normalization_is_not_undone():
    first, second = ReversibleInstanceNorm(3), ReversibleInstanceNorm(3)
    with pytest.raises(RuntimeError, match="got none"):
        second(first(keras.Input((8, 3))), mode="denorm")


def test_arrays_two_in_flight_are_refused_and_the_next_is_right():
    layer = ReversibleInstanceNorm(3)
    x, other = values(2, 8, 3), values(2, 8, 3, seed=5)
    y = layer(x)
    layer(other)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="got 2 that came since the last denormalization"):
            layer(y, mode="denorm")
    for each in (x, other):
        y = layer(each)
        for _ in range(2):
            close(layer(y, mode="denorm"), each)


def test_threads_undo_their_own():
    layer = ReversibleInstanceNorm(3)
    layer(values(2, 8, 3))
    data = [values(2, 8, 3, seed=seed) for seed in range(16)]

    def there_and_back(x):
        return numpy(layer(layer(x), mode="denorm"))

    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(there_and_back, data), data, strict=True):
            close(one, other)


class Forecaster(keras.Model):
    """As one subclasses; `between` is what else happens in a call."""

    def __init__(self, between=None, norm=None):
        super().__init__()
        self.norm = ReversibleInstanceNorm(3, affine=True) if norm is None else norm
        self.dense = dense()
        self.between = between

    def call(self, x):
        y = self.norm(x)
        if self.between is not None:
            self.between(self.norm, x)
        return self.norm(self.dense(y), mode="denorm")


def test_a_call_of_a_model_stands_alone():
    model = Forecaster()
    x = values(2, 8, 3)
    close(model(x), x)
    model.norm(x)
    close(model(x), x)
    assert model(keras.Input((8, 3))).shape == (None, 8, 3)
    close(model.predict(x, verbose=0), x)


def test_a_trial_that_breaks_off_leaves_nothing():
    """Keras tries a model on PyTorch's meta device, and on others where that fails."""

    def refuse(norm, x):
        if getattr(x, "is_meta", False):
            raise NotImplementedError

    assert Forecaster(refuse)(keras.Input((8, 3))).shape == (None, 8, 3)


def test_a_model_of_unknown_sizes():
    assert Forecaster()(keras.Input((None, 3))).shape == (None, None, 3)


def test_two_in_flight_in_a_model_are_refused():
    model = Forecaster(lambda norm, x: norm(x + 1))
    with pytest.raises(RuntimeError, match="got 2 that came since"):
        model(values(2, 8, 3))


def test_two_in_flight_with_what_undoes_them():
    model = Forecaster(lambda norm, x: norm.normalize(x + 1))
    close(model(values(2, 8, 3)), values(2, 8, 3))


@TRAINED
@pytest.mark.parametrize("functional", [False, True])
def test_trains_to_the_loss_of_kerasfactory(functional):
    x = values(32, 8, 3)
    losses = []
    for layer in layers(affine=True):
        model = model_of(layer) if functional else Forecaster(norm=layer)
        model.compile("sgd", "mse", jit_compile=BACKEND == "jax")
        fitted = model.fit(x, x[:, ::-1].copy(), epochs=3, batch_size=8, shuffle=False, verbose=0)
        losses.append(fitted.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert losses[0][-1] < losses[0][0]


@pytest.mark.skipif(BACKEND != "jax", reason="of JAX's tracers")
def test_no_tracer_outlives_its_trace():
    import jax

    layer, model = ReversibleInstanceNorm(3), Forecaster()
    x = values(2, 8, 3)
    model(x)
    with jax.checking_leaks():
        weights = [weight.value for weight in model.trainable_variables]
        y, _ = jax.jit(model.stateless_call)(weights, [], x)
        jax.jit(lambda x: layer(x))(x)
        jax.jit(lambda x: layer.normalize(x)[0])(x)
    close(y, x)
    with pytest.raises(RuntimeError, match="got none"):
        jax.jit(lambda x: layer(layer(x), mode="denorm"))(x)

    @jax.jit
    def there_and_back(x):
        y, undo = layer.normalize(x)
        return undo(y)

    close(there_and_back(x), x)
    close(layer(layer(x), mode="denorm"), x)


def test_statistics_travel_between_models():
    """From one model that normalizes to another that denormalizes, as outputs and inputs."""
    layer = ReversibleInstanceNorm(3, affine=True)
    x = keras.Input((8, 3))
    y, undo = layer.normalize(x)
    encode = keras.Model(x, [y, *undo.statistics])
    inputs = [keras.Input((4, 3)), *(keras.Input(s.shape[1:], dtype=WIDE) for s in undo.statistics)]
    decode = keras.Model(inputs, layer(inputs[0], mode="denorm", statistics=inputs[1:]))
    randomize(layer)
    data = values(6, 8, 3)
    y, *statistics = encode.predict(data, batch_size=2, verbose=0)
    close(decode.predict([y[:, :4], *statistics], batch_size=3, verbose=0), data[:, :4])


@pytest.mark.parametrize("symbolic", [False, True])
def test_fewer_outputs_than_inputs(symbolic):
    layer = ReversibleInstanceNorm(3, affine=True)
    data = values(2, 8, 3)
    x = keras.Input((8, 3)) if symbolic else data
    y, undo = layer.normalize(x)
    found = undo.take([2])(y[:, -1:, 2:])
    if symbolic:
        found = keras.Model(x, found)(data)
    close(found, data[:, -1:, 2:])


def test_a_weight_of_zero_gives_the_mean():
    layer = ReversibleInstanceNorm(3, affine=True)
    x = values(2, 8, 3)
    y, _ = layer.normalize(x)
    layer.set_weights([np.zeros(3), np.ones(3)])
    y, undo = layer.normalize(x)
    close(y, np.ones_like(x))
    close(undo(y), np.broadcast_to(x.mean(1, keepdims=True), x.shape))


def test_masked_steps_do_not_count():
    x = values(2, 8, 3)
    mask = np.arange(8)[None] < np.asarray([[5], [8]])
    layer = ReversibleInstanceNorm(3)
    y, undo = layer.normalize(np.where(mask[..., None], x, 1e6).astype("float32"), mask=mask)
    alone = layer(x[:1, :5])
    close(numpy(y)[:1, :5], alone)
    close(numpy(undo(y))[:, :5], x[:, :5])
    last = ReversibleInstanceNorm(3, subtract_last=True)(x, mask=mask)
    np.testing.assert_array_equal(numpy(last)[0, 4], 0)


def test_masks_pass_through_a_model():
    inputs = keras.Input((8, 3))
    layer = ReversibleInstanceNorm(3)
    y = layer(keras.layers.Masking()(inputs))
    x = values(2, 8, 3)
    x[0, 5:] = 0
    found = keras.Model(inputs, [y, layer(y, mode="denorm")])(x)
    close(numpy(found[0])[:1, :5], layer(x[:1, :5]))
    close(found[1], x)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    """Statistics are of the inputs as given; a layer of float32 gives forecasts in float32."""
    if BACKEND == "numpy" and "bfloat16" in policy:
        pytest.skip("NumPy has no bfloat16")
    x = values(2, 8, 3, level=1e5)
    y = ReversibleInstanceNorm(3, affine=True, dtype=policy)(x)
    narrow = keras.backend.standardize_dtype(y.dtype)
    assert narrow == policy.removeprefix("mixed_")
    np.testing.assert_allclose(
        numpy(keras.ops.cast(y, "float32")),
        numpy(ReversibleInstanceNorm(3)(x)),
        rtol=2.0**-8,
        atol=2.0**-8,
    )
    layer = ReversibleInstanceNorm(3, dtype="float32")
    inputs = keras.Input((8, 3))
    hidden = keras.layers.Dense(3, kernel_initializer="identity", dtype=policy)(layer(inputs))
    model = keras.Model(inputs, layer(hidden, mode="denorm"))
    assert model.output.dtype == "float32"
    assert abs(numpy(model(x)) - x).max() < 0.1  # of 1e5, with deviations of 3


def test_config_says_all():
    layer = ReversibleInstanceNorm(3, 1e-3, True, True, name="reversible", dtype="mixed_bfloat16")
    again = ReversibleInstanceNorm.from_config(copy.deepcopy(layer.get_config()))
    assert again.get_config() == layer.get_config()


def test_copies_and_clones():
    layer = ReversibleInstanceNorm(3, affine=True)
    x = values(2, 8, 3)
    model = model_of(layer)
    randomize(layer)
    expected = numpy(layer(x))
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with pytest.raises(RuntimeError, match="got none"):
            copied(x, mode="denorm")
        close(copied(x), expected)
    close(keras.models.clone_model(model)(x), x)


def test_symbolic_shapes():
    layer = ReversibleInstanceNorm(3)
    y, undo = layer.normalize(keras.KerasTensor((None, None, 5, 3)))
    assert y.shape == (None, None, 5, 3)
    assert {s.shape for s in undo.statistics} == {(None, 1, 1, 3)}
    assert undo(y).shape == y.shape
    assert layer.compute_output_shape((None, 8, 3)) == (None, 8, 3)


def test_mode_by_position():
    layer = ReversibleInstanceNorm(3)
    x = values(2, 8, 3)
    close(layer(layer(x, "norm"), "denorm"), x)


@pytest.mark.parametrize("symbolic", [False, True])
def test_errors_say_what_is_required(symbolic):
    def given(*shape):
        return keras.KerasTensor(shape) if symbolic else np.ones(shape, dtype="float32")

    with pytest.raises(ValueError, match=r"num_features=3 channels, got shape \(2, 8, 4\)"):
        ReversibleInstanceNorm(3)(given(2, 8, 4))
    with pytest.raises(ValueError, match="`inputs` must have an axis besides"):
        ReversibleInstanceNorm(3)(given(2, 3))
    with pytest.raises(ValueError, match="`mode` must be"):
        ReversibleInstanceNorm(3)(given(2, 8, 3), mode="back")
    for wrong in (0, 3.0, None):
        with pytest.raises(ValueError, match="`num_features` must be a positive int"):
            ReversibleInstanceNorm(wrong)


@pytest.mark.skipif(BACKEND != "torch", reason="Keras exports to ONNX through PyTorch")
@pytest.mark.filterwarnings("ignore")  # of PyTorch's exporter, which calls itself deprecated
def test_exported_to_onnx(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model = model_of(ReversibleInstanceNorm(3, affine=True))
    x = values(4, 8, 3)
    model(x)
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    for batch in (x, x[:3]):
        (found,) = session.run(None, {session.get_inputs()[0].name: batch})
        close(found, batch)
