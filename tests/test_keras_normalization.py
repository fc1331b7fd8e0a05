"""Normalization by the statistics of a data set as a Keras layer, beside Keras's own."""

import numpy as np
import pytest

from revnorm.keras import Normalization
from systems_keras import BACKEND, TRAINS, WIDE, keras, numpy, values

FEATURES = np.asarray(
    [[0.0, 7.0, 4.0], [2.0, 9.0, 6.0], [0.0, 7.0, 4.0], [2.0, 9.0, 6.0]], dtype="float32"
)


def adapted(data, **options):
    layer = Normalization(**options)
    layer.adapt(data)
    return layer


def statistics(layer):
    return [numpy(layer.mean), numpy(layer.variance), int(numpy(layer.count))]


def test_first_example_of_keras():
    layer = adapted(np.asarray([1, 2, 3, 4, 5], dtype="float32"), axis=None)
    found = numpy(layer(np.asarray([1, 2, 3], dtype="float32")))
    assert str(found) == str(np.asarray([-1.4142135, -0.70710677, 0.0], dtype="float32"))


def test_second_example_of_keras():
    found = numpy(adapted(FEATURES, axis=-1)(FEATURES[:1]))
    np.testing.assert_array_equal(found, [[-1, -1, -1]])


def test_third_example_of_keras():
    found = numpy(Normalization(mean=3.0, variance=2.0)(np.asarray([[1], [2], [3]], "float32")))
    expected = np.asarray([[-1.4142135], [-0.70710677], [0]], dtype="float32")
    np.testing.assert_array_equal(found, expected)


def test_fourth_example_of_keras():
    layer = adapted(FEATURES, axis=-1, invert=True)
    found = numpy(layer(np.asarray([[1, 2, 3]], dtype="float32")))
    np.testing.assert_array_equal(found, [[2, 10, 8]])


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), (2, -2), None, (0, 2)])
@pytest.mark.parametrize("invert", [False, True])
def test_layer_of_keras(axis, invert):
    x = values(4, 5, 3)
    theirs = keras.layers.Normalization(axis=axis, invert=invert)
    theirs.adapt(x)
    ours = adapted(x, axis=axis, invert=invert)
    np.testing.assert_allclose(numpy(ours(x)), numpy(theirs(x)), rtol=1e-5, atol=1e-5)
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    again = Normalization(axis=axis, invert=invert)
    again.build(x.shape)
    again.set_weights(theirs.get_weights())
    np.testing.assert_allclose(numpy(again(x)), numpy(theirs(x)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(), (3,), (5, 3)])
def test_given_statistics_broadcast_to_the_kept_axes(shape):
    mean, variance = values(*shape), abs(values(*shape, seed=1)) + 1
    x = values(4, 5, 3)
    layer = Normalization(axis=(1, 2), mean=mean, variance=variance)
    np.testing.assert_allclose(
        numpy(layer(x)), (x - mean) / np.sqrt(variance), rtol=1e-5, atol=1e-5
    )


class Batches(keras.utils.PyDataset):
    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return self.x[4 * i : 4 * i + 4], np.zeros(4)


def loader(x):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.as_tensor(x), torch.zeros(len(x)))
    return torch.utils.data.DataLoader(data, batch_size=4)


SOURCES = {
    "tensor": keras.ops.convert_to_tensor,
    "list": lambda x: [x[:1], x[1:]],
    "generator": lambda x: (x[i : i + 5] for i in range(0, 12, 5)),
    "pairs": lambda x: ((x[i : i + 5], None) for i in range(0, 12, 5)),
    "PyDataset": Batches,
    "DataLoader": loader,
}


@pytest.mark.parametrize("source", SOURCES)
def test_data_of_any_kind(source):
    x = values(12, 5, 3, level=1e4)
    mean, variance, count = statistics(adapted(SOURCES[source](x)))
    wide = x.astype("float64")
    close = {"rtol": 1e-6 if WIDE == "float32" else 1e-13}
    np.testing.assert_allclose(mean, wide.mean((0, 1)), **close)
    np.testing.assert_allclose(variance, wide.var((0, 1)), **close)
    assert count == 60


@pytest.mark.parametrize("dtype", ["int32", "bool", "float16", "uint8"])
def test_data_of_any_dtype_are_summed_in_float64(dtype):
    x = (values(4000, 2, level=40.0) % 100).astype(dtype)
    layer = adapted([x[:7], x[7:]], dtype="mixed_float16")
    exact = x.astype("float64")
    np.testing.assert_allclose(numpy(layer.mean), exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(numpy(layer.variance), exact.var(0), rtol=1e-6)
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    assert abs(numpy(y).astype("float64").mean(0)).max() < 1e-3


def test_a_second_adapt_starts_over():
    layer = adapted(values(8, 3))
    x = values(4, 3, seed=5, level=50.0)
    layer.adapt(x)
    np.testing.assert_allclose(numpy(layer.mean), x.mean(0), rtol=1e-5)
    assert statistics(layer)[2] == 4


def test_a_constant_feature_is_not_stretched():
    layer = adapted(np.full((8, 1), 0.1, dtype="float32"))
    found = numpy(layer(np.asarray([[1.1]], dtype="float32")))
    np.testing.assert_allclose(found, [[1.0]], rtol=1e-6)


def test_a_feature_that_varies_by_rounding_alone_is_not_stretched():
    """scikit-learn#19788, by the bound of the standardizer; what varies a little more is."""
    x = np.full((10_001, 2), 0.1)
    x[::3, 0] = np.nextafter(0.1, 1)
    x[::3, 1] += 2.0**-40
    layer = adapted(x)
    variance = numpy(layer.variance)
    assert variance[0] == 0
    assert variance[1] > 0
    np.testing.assert_allclose(numpy(layer(np.ones((1, 2)) * 1.1))[0, 0], 1.0, rtol=1e-6)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("invert", [False, True])
def test_saved_and_loaded_models_invert(tmp_path, given, invert):
    """keras-team/keras#17556."""
    options = {"mean": [1.0, 2.0, 3.0], "variance": [4.0, 5.0, 6.0]} if given else {}
    layer = Normalization(invert=invert, **options)
    if not given:
        layer.adapt(values(8, 3))
    model = keras.Sequential([keras.Input((3,)), layer])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = values(4, 3, seed=5)
    np.testing.assert_array_equal(numpy(again(x)), numpy(model(x)))
    assert again.layers[0].get_config() == layer.get_config()
    assert again.layers[0].invert == invert


def test_there_and_back():
    x = values(64, 3, level=1e5)
    there, back = adapted(x), adapted(x, invert=True)
    np.testing.assert_allclose(numpy(back(there(x))), x, rtol=2.0**-23)


@pytest.mark.skipif(not TRAINS, reason="Keras's numpy backend does not train")
def test_in_fit():
    x = values(32, 3, level=100.0)
    model = keras.Sequential([keras.Input((3,)), adapted(x), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=BACKEND == "jax")
    before = statistics(model.layers[0])[0]
    losses = model.fit(x, x[:, :1] - 100, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    np.testing.assert_array_equal(numpy(model.layers[0].mean), before)


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (iter(()), ValueError, "`data` must hold at least one batch"),
        (3, TypeError, "`data` must be an array or an iterable of batches, got int"),
        ([[1.0, 2.0]], TypeError, "`data` must hold arrays, got float"),
        ([np.ones((2, 3)), np.ones((2, 4))], ValueError, r"sizes \{1: 3\}.*got shape \(2, 4\)"),
        ([np.ones((2, 3)), np.ones(3)], ValueError, r"must have 2 axes.*got shape \(3,\)"),
        (np.asarray([["a"]]), TypeError, "`data` must hold arrays of numbers, got dtype <U1"),
    ],
)
def test_data_that_do_not_fit_are_refused(data, kind, text):
    with pytest.raises(kind, match=text):
        Normalization().adapt(data)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="`variance` must be given beside `mean`"):
        Normalization(mean=1.0)
    with pytest.raises(ValueError, match="`mean` must be given beside `variance`"):
        Normalization(variance=1.0)
    with pytest.raises(ValueError, match=r"`axis` must name axes of the inputs, got \(2,\)"):
        Normalization(axis=2)(np.ones((2, 3)))
    with pytest.raises(ValueError, match="known sizes along the kept axes"):
        Normalization()(keras.KerasTensor((2, None)))
    with pytest.raises(ValueError, match=r"`mean` must broadcast to the kept axes.*\(3,\).*\(2,\)"):
        Normalization(mean=[1.0, 2.0], variance=[1.0, 1.0])(np.ones((2, 3)))
    with pytest.raises(RuntimeError, match="given its `mean`"):
        Normalization(mean=1.0, variance=1.0).adapt(np.ones((2, 3)))
