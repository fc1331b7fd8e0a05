"""Every wrong call gets its error, word for word: the argument, what is required, what came."""

import inspect
import re

import numpy as np
import pytest

import revnorm as rn

# Batch, channels, time.
X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
MOMENTS = rn.moments(X, axis=2)
MAP = rn.standardizer(X, axis=2)

# A valid call of each function, as its positional arguments by name and its keywords.
CALLS = {
    rn.moments: ({"x": X}, {"axis": 2}),
    rn.standardizer: ({"x": X}, {"axis": 2}),
    rn.instance_norm: ({"x": X}, {"axis": 2}),
    rn.revin: ({"x": X}, {"axis": 2}),
    rn.adain: ({"content": X, "style": X}, {"axis": 2}),
    rn.batch_instance_norm: ({"x": X, "gate": 0.5}, {"axis": 2, "batch_axis": 0}),
    rn.conditional_instance_norm: (
        {"x": X, "scales": np.ones((5, 3)), "biases": np.ones((5, 3)), "labels": np.arange(2)},
        {"axis": 2, "batch_axis": 0, "channel_axis": 1},
    ),
    rn.spatially_adaptive_norm: ({"x": X, "scale_map": X, "bias_map": X}, {"axis": 2}),
}


def call(function, **changed):
    """The valid call of a function with some of its arguments changed."""
    arguments, keywords = CALLS[function]
    arguments = [changed.pop(name, value) for name, value in arguments.items()]
    return function(*arguments, **keywords | changed)


def data_of(function):
    """The name of the argument that is normalized."""
    return next(iter(CALLS[function][0]))


def taking(*names):
    """Parametrizes over the functions that have all of these arguments."""
    functions = [f for f in CALLS if set(names) <= set(inspect.signature(f).parameters)]
    return pytest.mark.parametrize("function", functions, ids=lambda f: f.__name__)


def per_channel(*names):
    """Parametrizes over functions and those of their parameters that may be 1-D."""
    pairs = [
        (function, name)
        for function in CALLS
        for name in ("scale", "bias", "gate")
        if name in inspect.signature(function).parameters
    ]
    ids = [f"{function.__name__}-{name}" for function, name in pairs]
    return pytest.mark.parametrize(("function", "name"), pairs, ids=ids)


def fails(error, text):
    """Expects an error of exactly this type and text."""
    return pytest.raises(
        error, match=f"^{re.escape(text)}$", check=lambda raised: type(raised) is error
    )


@taking()
def test_valid_call(function):
    call(function)


class TestAxis:
    @taking("axis")
    def test_missing(self, function):
        arguments, keywords = CALLS[function]
        keywords = {name: value for name, value in keywords.items() if name != "axis"}
        with pytest.raises(TypeError, match="axis"):
            function(*arguments.values(), **keywords)

    def test_missing_beside_an_array(self):
        with fails(TypeError, "`axis` must be an int or a tuple of ints, got None"):
            rn.standardizer(X)

    @taking("axis")
    @pytest.mark.parametrize("axis", [None, 2.0, "2", True, [1, 2], (1, "2"), (1, None)])
    def test_not_an_int(self, function, axis):
        with fails(TypeError, f"`axis` must be an int or a tuple of ints, got {axis!r}"):
            call(function, axis=axis)

    @taking("axis")
    @pytest.mark.parametrize(("axis", "named"), [(3, 3), (-4, -4), ((2, 5), 5), ((-9, 2), -9)])
    def test_out_of_bounds(self, function, axis, named):
        text = f"`axis` must lie within an array of 3 dimensions, got {named}"
        with fails(rn.AxisError, text) as caught:
            call(function, axis=axis)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, IndexError)

    def test_out_of_bounds_of_one_dimension(self):
        with fails(rn.AxisError, "`axis` must lie within an array of 1 dimension, got 1"):
            rn.moments(X[0, 0], axis=1)

    @taking("axis")
    @pytest.mark.parametrize("axis", [(2, 2), (2, -1), (-1, 2, -1)])
    def test_doubled(self, function, axis):
        with fails(ValueError, f"`axis` must name each axis once, got {axis}"):
            call(function, axis=axis)

    @taking("axis")
    def test_empty(self, function):
        with fails(ValueError, "`axis` must name at least one axis, got ()"):
            call(function, axis=())

    @taking("axis")
    def test_numpy_integer_is_an_int(self, function):
        call(function, axis=(np.int64(2),))


class TestData:
    @taking()
    @pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex128"])
    def test_dtype(self, function, dtype):
        name = data_of(function)
        with fails(TypeError, f"`{name}` must be of a real floating dtype, got {dtype}"):
            call(function, **{name: X.astype(dtype)})

    @taking()
    @pytest.mark.parametrize("x", [[[1.0, 2.0]], (1.0, 2.0), 1.0, None, "x"])
    def test_not_an_array(self, function, x):
        name = data_of(function)
        with fails(TypeError, f"`{name}` must be an array, got {type(x).__name__}"):
            call(function, **{name: x})

    @pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
    @pytest.mark.parametrize("library", ["torch", "jax.numpy"])
    def test_float8(self, library, name):
        xp = pytest.importorskip(library)
        x = xp.asarray(X)
        narrow = x.to(getattr(xp, name)) if library == "torch" else x.astype(name)
        text = f"must be of 16 bits an element or more, got {narrow.dtype}"
        with fails(TypeError, f"`x` {text}"):
            rn.instance_norm(narrow, axis=2)
        with fails(TypeError, f"`scale` {text}"):
            rn.instance_norm(x, narrow, axis=2)
        with fails(TypeError, f"`x` {text}"):
            rn.standardizer(x, axis=2).inv(narrow)

    @pytest.mark.parametrize("version", ["2022.12", "2023.12"])
    def test_an_older_standard(self, version):
        xp = pytest.importorskip("array_api_strict")
        text = f"arrays must follow the array API standard of 2024.12 or later, got {version}"
        x = xp.asarray(X)
        map = rn.standardizer(x, axis=2)
        with xp.ArrayAPIStrictFlags(api_version=version):
            for call in (lambda x: rn.instance_norm(x, axis=2), map):
                with fails(TypeError, text):
                    call(x)

    @taking()
    def test_nothing_to_reduce(self, function):
        name = data_of(function)
        text = f"`{name}` must have an element along `axis` (2,), got shape (2, 3, 0)"
        with fails(ValueError, text):
            call(function, **{name: X[:, :, :0]})

    @taking()
    def test_no_dimensions(self, function):
        with fails(rn.AxisError, "`axis` must lie within an array of 0 dimensions, got 2"):
            call(function, **{data_of(function): np.asarray(1.0)})


class TestOptions:
    @taking("eps")
    @pytest.mark.parametrize("eps", [-1e-5, float("nan"), float("inf"), -float("inf")])
    def test_eps_out_of_range(self, function, eps):
        with fails(ValueError, f"`eps` must be finite and not negative, got {eps}"):
            call(function, eps=eps)

    @taking("eps")
    @pytest.mark.parametrize("eps", ["1e-5", None, True, 1j, np.asarray(1e-5)])
    def test_eps_not_a_number(self, function, eps):
        with fails(TypeError, f"`eps` must be a real number, got {type(eps).__name__}"):
            call(function, eps=eps)

    @taking("correction")
    @pytest.mark.parametrize("correction", [-1, float("nan"), float("inf")])
    def test_correction_out_of_range(self, function, correction):
        text = f"`correction` must be finite and not negative, got {correction}"
        with fails(ValueError, text):
            call(function, correction=correction)

    @taking("correction")
    @pytest.mark.parametrize("correction", ["1", None, True])
    def test_correction_not_a_number(self, function, correction):
        text = f"`correction` must be a real number, got {type(correction).__name__}"
        with fails(TypeError, text):
            call(function, correction=correction)

    @taking("eps_mode")
    @pytest.mark.parametrize("mode", ["max", None, 0, ["add"]])
    def test_eps_mode(self, function, mode):
        text = f"`eps_mode` must be one of 'add', 'clamp', 'relative', got {mode!r}"
        with fails(ValueError, text):
            call(function, eps_mode=mode)

    @taking("precision")
    @pytest.mark.parametrize("precision", ["float64", None, np.float64])
    def test_precision(self, function, precision):
        text = f"`precision` must be one of 'full', 'native', got {precision!r}"
        with fails(ValueError, text):
            call(function, precision=precision)

    @pytest.mark.parametrize("center", ["median", None, -1])
    def test_center(self, center):
        with fails(ValueError, f"`center` must be one of 'mean', 'last', got {center!r}"):
            rn.revin(X, axis=2, center=center)


class TestParameters:
    @per_channel()
    def test_one_dimensional_without_channel_axis(self, function, name):
        text = (
            f"`{name}` must broadcast against shape (2, 3, 4), got shape (3,); "
            f"a 1-D `{name}` of the channels needs `channel_axis`"
        )
        with fails(ValueError, text):
            call(function, **{name: np.ones(3)})

    @per_channel()
    def test_one_dimensional_of_a_wrong_size(self, function, name):
        text = f"`{name}` must have 3 elements, one for each channel on axis 1, got 5"
        with fails(ValueError, text):
            call(function, **{name: np.ones(5)}, channel_axis=1)

    @per_channel()
    @pytest.mark.parametrize("shape", [(2, 5), (1, 2, 3, 4), (2, 3, 5)])
    def test_of_a_wrong_shape(self, function, name, shape):
        text = f"`{name}` must broadcast against shape (2, 3, 4), got shape {shape}"
        with fails(ValueError, text):
            call(function, **{name: np.ones(shape)}, channel_axis=1)

    @per_channel()
    @pytest.mark.parametrize("dtype", ["int64", "bool", "complex128"])
    def test_dtype(self, function, name, dtype):
        with fails(TypeError, f"`{name}` must be of a real floating dtype, got {dtype}"):
            call(function, **{name: np.ones(3, dtype)}, channel_axis=1)

    @per_channel()
    @pytest.mark.parametrize("value", [[1.0, 1.0, 1.0], "1", True, 1j])
    def test_not_an_array(self, function, name, value):
        with fails(TypeError, f"`{name}` must be an array, got {type(value).__name__}"):
            call(function, **{name: value}, channel_axis=1)

    def test_gate_is_required(self):
        with fails(TypeError, "`gate` must be an array, got NoneType"):
            rn.batch_instance_norm(X, None, axis=2, batch_axis=0)

    @pytest.mark.parametrize("name", ["scale_map", "bias_map"])
    def test_spatial_map(self, name):
        text = f"`{name}` must broadcast against shape (2, 3, 4), got shape (3,)"
        with fails(ValueError, text):
            call(rn.spatially_adaptive_norm, **{name: np.ones(3)})
        with fails(TypeError, f"`{name}` must be of a real floating dtype, got int64"):
            call(rn.spatially_adaptive_norm, **{name: np.ones(4, np.int64)})
        with fails(TypeError, f"`{name}` must be an array, got NoneType"):
            call(rn.spatially_adaptive_norm, **{name: None})

    def test_strength(self):
        with fails(ValueError, "`strength` must broadcast against shape (2, 3, 4), got shape (3,)"):
            rn.adain(X, X, axis=2, strength=np.ones(3))
        with fails(TypeError, "`strength` must be an array, got str"):
            rn.adain(X, X, axis=2, strength="1")
        with fails(TypeError, "`strength` must be an array, got NoneType"):
            rn.adain(X, X, axis=2, strength=None)


class TestOtherAxes:
    @taking("channel_axis")
    @pytest.mark.parametrize("axis", [2, -1])
    def test_channel_axis_reduced(self, function, axis):
        text = f"`channel_axis` must not be among the reduced axes (2,), got {axis}"
        with fails(ValueError, text):
            call(function, channel_axis=axis)

    @taking("channel_axis")
    @pytest.mark.parametrize("axis", [3, -4])
    def test_channel_axis_out_of_bounds(self, function, axis):
        text = f"`channel_axis` must lie within an array of 3 dimensions, got {axis}"
        with fails(rn.AxisError, text):
            call(function, channel_axis=axis)

    @taking("channel_axis")
    @pytest.mark.parametrize("axis", [1.0, "1", True, (1,)])
    def test_channel_axis_not_an_int(self, function, axis):
        with fails(TypeError, f"`channel_axis` must be an int, got {axis!r}"):
            call(function, channel_axis=axis)

    @taking("batch_axis")
    @pytest.mark.parametrize("axis", [2, -1])
    def test_batch_axis_reduced(self, function, axis):
        text = f"`batch_axis` must not be among the reduced axes (2,), got {axis}"
        with fails(ValueError, text):
            call(function, batch_axis=axis)

    @taking("batch_axis")
    def test_batch_axis_out_of_bounds(self, function):
        text = "`batch_axis` must lie within an array of 3 dimensions, got 3"
        with fails(rn.AxisError, text):
            call(function, batch_axis=3)

    @taking("batch_axis")
    @pytest.mark.parametrize("axis", [None, 0.0, False, (0,)])
    def test_batch_axis_not_an_int(self, function, axis):
        with fails(TypeError, f"`batch_axis` must be an int, got {axis!r}"):
            call(function, batch_axis=axis)

    def test_channels_on_the_batch_axis(self):
        text = "`channel_axis` must differ from `batch_axis`, got 0 for both"
        with fails(ValueError, text):
            call(rn.conditional_instance_norm, batch_axis=0, channel_axis=-3)


class TestMasks:
    @taking("where")
    @pytest.mark.parametrize("shape", [(2, 3, 5), (3,), (1, 2, 3, 4)])
    def test_shape(self, function, shape):
        text = f"`where` must broadcast against shape (2, 3, 4), got shape {shape}"
        with fails(ValueError, text):
            call(function, where=np.ones(shape, bool))

    @taking("where")
    @pytest.mark.parametrize("dtype", ["int64", "float32"])
    def test_dtype(self, function, dtype):
        with fails(TypeError, f"`where` must be boolean, got {dtype}"):
            call(function, where=np.ones((2, 3, 4), dtype))

    @taking("where")
    @pytest.mark.parametrize("where", [[True], True])
    def test_not_an_array(self, function, where):
        with fails(TypeError, f"`where` must be an array, got {type(where).__name__}"):
            call(function, where=where)

    def test_style_where(self):
        text = "`style_where` must broadcast against shape (2, 3, 4), got shape (2, 5)"
        with fails(ValueError, text):
            rn.adain(X, X, axis=2, style_where=np.ones((2, 5), bool))
        with fails(TypeError, "`style_where` must be boolean, got int64"):
            rn.adain(X, X, axis=2, style_where=np.ones((2, 3, 4), np.int64))
        with fails(TypeError, "`style_where` must be an array, got list"):
            rn.adain(X, X, axis=2, style_where=[True])


class TestStyle:
    @pytest.mark.parametrize("shape", [(2, 5, 4), (3, 3, 4), (3, 4), (1, 2, 3, 4)])
    def test_shape(self, shape):
        text = f"`style` must broadcast against shape (2, 3, any), got shape {shape}"
        with fails(ValueError, text):
            rn.adain(X, np.ones(shape), axis=2)

    def test_dtype(self):
        with fails(TypeError, "`style` must be of a real floating dtype, got int64"):
            rn.adain(X, np.ones((2, 3, 4), np.int64), axis=2)

    def test_nothing_to_reduce(self):
        text = "`style` must have an element along `axis` (2,), got shape (2, 3, 0)"
        with fails(ValueError, text):
            rn.adain(X, X[:, :, :0], axis=2)

    @pytest.mark.parametrize("style", [None, [1.0], MAP, tuple(MOMENTS)])
    def test_not_an_array(self, style):
        with fails(TypeError, f"`style` must be an array, got {type(style).__name__}"):
            rn.adain(X, style, axis=2)

    def test_moments_of_other_channels(self):
        other = rn.moments(np.ones((2, 5, 4)), axis=2)
        text = "`style` must broadcast against shape (2, 3, 1), got shape (2, 5, 1)"
        with fails(ValueError, text):
            rn.adain(X, other, axis=2)


class TestGivenMoments:
    @pytest.mark.parametrize("given", [X, MAP, tuple(MOMENTS), 1.0])
    def test_not_moments(self, given):
        kind = type(given).__name__
        with fails(TypeError, f"`moments` must be a Moments, got {kind}"):
            rn.instance_norm(X, axis=2, moments=given)
        with fails(TypeError, f"`batch_moments` must be a Moments, got {kind}"):
            rn.batch_instance_norm(X, 0.5, axis=2, batch_axis=0, batch_moments=given)

    def test_of_a_wrong_shape(self):
        text = "must broadcast against shape (2, 3, 1), got shape (2, 1, 4)"
        with fails(ValueError, f"`moments` {text}"):
            rn.instance_norm(X, axis=2, moments=rn.moments(X, axis=1))
        text = "must broadcast against shape (1, 3, 1), got shape (2, 3, 1)"
        with fails(ValueError, f"`batch_moments` {text}"):
            rn.batch_instance_norm(X, 0.5, axis=2, batch_axis=0, batch_moments=MOMENTS)

    def test_of_fewer_dimensions(self):
        text = "`moments` must broadcast against shape (2, 3, 1), got shape (3, 1)"
        with fails(ValueError, text):
            rn.instance_norm(X, axis=2, moments=rn.moments(X[0], axis=1))

    @pytest.mark.parametrize("where", [np.ones(X.shape, bool), np.zeros((2, 3, 4), bool)])
    def test_beside_a_mask(self, where):
        text = "must be None where moments are given, got ndarray"
        with fails(ValueError, f"`where` {text}"):
            rn.instance_norm(X, axis=2, moments=MOMENTS, where=where)
        with fails(ValueError, f"`where` {text}"):
            rn.standardizer(MOMENTS, where=where)
        with fails(ValueError, f"`style_where` {text}"):
            rn.adain(X, MOMENTS, axis=2, style_where=where)

    def test_beside_a_correction(self):
        text = "`correction` must be 0 where moments are given, got 1"
        with fails(ValueError, text):
            rn.instance_norm(X, axis=2, moments=MOMENTS, correction=1)
        with fails(ValueError, text):
            rn.adain(X, MOMENTS, axis=2, correction=1)

    def test_beside_the_mask_of_what_is_still_measured(self):
        """Of the content, and of the instances of a batch."""
        where, few = np.ones(X.shape, bool), X.copy()
        where[..., 1:], few[..., 1:] = False, X[..., :1]
        np.testing.assert_array_equal(
            rn.adain(X, MOMENTS, axis=2, where=where)[..., 0],
            rn.adain(few, MOMENTS, axis=2)[..., 0],
        )
        pooled = rn.moments(X, axis=(0, 2))
        own = {"axis": 2, "batch_axis": 0, "batch_moments": pooled}
        np.testing.assert_array_equal(
            rn.batch_instance_norm(X, 0.5, where=where, **own)[..., 0],
            rn.batch_instance_norm(few, 0.5, **own)[..., 0],
        )

    def test_parameters_against_them(self):
        text = "`scale` must have 3 elements, one for each channel on axis 1, got 5"
        with fails(ValueError, text):
            rn.standardizer(MOMENTS, np.ones(5), channel_axis=1)
        text = "`channel_axis` must lie within an array of 3 dimensions, got 3"
        with fails(rn.AxisError, text):
            rn.standardizer(MOMENTS, np.ones(3), channel_axis=3)


class TestTables:
    @pytest.mark.parametrize("shape", [(3,), (5, 4), (5, 3, 1), ()])
    def test_scales(self, shape):
        text = f"`scales` must be of shape (any, 3), got shape {shape}"
        with fails(ValueError, text):
            call(rn.conditional_instance_norm, scales=np.ones(shape))

    @pytest.mark.parametrize("shape", [(3,), (5, 4), (4, 3)])
    def test_biases(self, shape):
        text = f"`biases` must be of shape (5, 3), got shape {shape}"
        with fails(ValueError, text):
            call(rn.conditional_instance_norm, biases=np.ones(shape))

    @pytest.mark.parametrize("name", ["scales", "biases"])
    def test_kind(self, name):
        with fails(TypeError, f"`{name}` must be of a real floating dtype, got int64"):
            call(rn.conditional_instance_norm, **{name: np.ones((5, 3), np.int64)})
        for value in (None, [[1.0]], 1.0):
            with fails(TypeError, f"`{name}` must be an array, got {type(value).__name__}"):
                call(rn.conditional_instance_norm, **{name: value})

    @pytest.mark.parametrize("shape", [(3,), (), (2, 5)])
    def test_integer_labels(self, shape):
        text = f"`labels` must be of shape (2,), got shape {shape}"
        with fails(ValueError, text):
            call(rn.conditional_instance_norm, labels=np.ones(shape, np.int64))

    @pytest.mark.parametrize("shape", [(2,), (2, 4), (3, 5)])
    def test_weights(self, shape):
        text = f"`labels` must be of shape (2, 5), got shape {shape}"
        with fails(ValueError, text):
            call(rn.conditional_instance_norm, labels=np.ones(shape))

    @pytest.mark.parametrize("dtype", ["bool", "complex128"])
    def test_labels_of_another_dtype(self, dtype):
        with fails(TypeError, f"`labels` must be integers or real weights, got {dtype}"):
            call(rn.conditional_instance_norm, labels=np.ones(2, dtype))

    @pytest.mark.parametrize("labels", [None, [0, 1], 0])
    def test_labels_not_an_array(self, labels):
        with fails(TypeError, f"`labels` must be an array, got {type(labels).__name__}"):
            call(rn.conditional_instance_norm, labels=labels)


# Kernels that go another way to their result with these.
OTHER_WAYS = [
    (rn.revin, {"center": "last"}),
    (rn.adain, {"strength": 0.5}),
    (rn.instance_norm, {"moments": rn.moments(X, axis=2)}),
    (rn.batch_instance_norm, {"batch_moments": rn.moments(X, axis=(0, 2))}),
]


class TestOut:
    @pytest.mark.parametrize(("function", "options"), OTHER_WAYS)
    def test_on_other_ways(self, function, options):
        with fails(ValueError, "`out` must be of shape (2, 3, 4), got (2, 3, 5)"):
            call(function, out=np.zeros((2, 3, 5), np.float32), **options)
        with fails(TypeError, "`out` must be of dtype float32, got float64"):
            call(function, out=np.zeros((2, 3, 4)), **options)

    @taking("out")
    def test_shape(self, function):
        with fails(ValueError, "`out` must be of shape (2, 3, 4), got (2, 3, 5)"):
            call(function, out=np.zeros((2, 3, 5), np.float32))

    @taking("out")
    def test_dtype(self, function):
        with fails(TypeError, "`out` must be of dtype float32, got float64"):
            call(function, out=np.zeros((2, 3, 4)))

    @taking("out")
    def test_read_only(self, function):
        out = np.zeros_like(X)
        out.flags.writeable = False
        with fails(ValueError, "`out` must be a writable eager array, got ndarray"):
            call(function, out=out)

    @taking("out")
    def test_not_an_array(self, function):
        with fails(TypeError, "`out` must be an array, got list"):
            call(function, out=[0.0])

    @taking("out")
    def test_nothing_is_written_before_an_error(self, function):
        out = np.full_like(X, 7)
        with pytest.raises(TypeError):
            call(function, out=out, **{data_of(function): X.astype(np.int64)})
        np.testing.assert_array_equal(out, 7)

    @pytest.mark.backends("jax", "dask", "ndonnx")
    @pytest.mark.parametrize("function", [rn.instance_norm, rn.revin])
    def test_library_that_cannot_write(self, backend, function):
        x = backend.asarray(X)
        text = f"`out` must be a writable eager array, got {type(x).__name__}"
        with fails(ValueError, text):
            function(x, axis=2, out=backend.asarray(np.zeros_like(X)))


class TestMixedLibraries:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    @taking()
    def test_operands(self, function, torch):
        arguments, _ = CALLS[function]
        accepted = inspect.signature(function).parameters
        where = torch.ones((2, 3, 4), dtype=torch.bool)
        parameters = {"scale": torch.ones(4), "bias": torch.ones(4), "gate": torch.ones(4)}
        others = {"where": where, "style_where": where, "out": torch.zeros((2, 3, 4))}
        others |= parameters | {"strength": torch.ones(4)}
        others |= {name: torch.ones((2, 3, 4)) for name in list(arguments)[1:]}
        for name in others.keys() & accepted.keys():
            with pytest.raises(
                TypeError, match=rf"^arrays must come from one library, got .*`{name}` torch"
            ):
                call(function, **{name: others[name]})

    def test_text(self, torch):
        text = "arrays must come from one library, got `x` numpy, `where` torch, `scale` numpy"
        with fails(TypeError, text):
            rn.instance_norm(X, np.ones(4), axis=2, where=torch.ones(4, dtype=torch.bool))

    @pytest.mark.backends("torch", "jax", "dask", "array-api-strict", "ndonnx", "mlx")
    def test_each_library_beside_numpy(self, backend):
        x = backend.asarray(X)
        names = {"jax": "jax.numpy", "dask": "dask.array", "array-api-strict": "array_api_strict"}
        library = names.get(backend.library, backend.library)
        text = f"arrays must come from one library, got `x` {library}, `scale` numpy"
        with fails(TypeError, text):
            rn.instance_norm(x, X, axis=2)

    def test_moments(self, torch):
        other = rn.moments(torch.asarray(X), axis=2)
        text = "arrays must come from one library, got `x` numpy, "
        with fails(TypeError, text + "`moments` torch"):
            rn.instance_norm(X, axis=2, moments=other)
        with fails(TypeError, text + "`style` torch"):
            rn.adain(X, other, axis=2)
        with fails(TypeError, text + "`scale` torch"):
            rn.standardizer(MOMENTS, torch.ones(3), channel_axis=1)
        pooled = rn.moments(torch.asarray(X), axis=(0, 2))
        with fails(TypeError, text + "`batch_moments` torch"):
            rn.batch_instance_norm(X, 0.5, axis=2, batch_axis=0, batch_moments=pooled)

    def test_merge(self, torch):
        other = rn.moments(torch.asarray(X), axis=2)
        text = "arrays must come from one library, got `first` numpy, `second` torch"
        with fails(TypeError, text):
            rn.merge(MOMENTS, other)

    def test_maps(self, torch):
        x = torch.asarray(X)
        other = rn.standardizer(x, axis=2)
        text = "arrays must come from one library, got "
        for wrong in (MAP, MAP.spread, MAP.variance):
            with fails(TypeError, text + "`x` torch, `map` numpy"):
                wrong(x)
        with fails(TypeError, text + "`outer` numpy, `inner` torch"):
            MAP @ other
        with fails(TypeError, text + "`map` numpy, `indices` torch"):
            MAP.take(torch.asarray([0]), axis=1)
        with fails(TypeError, text + "`maps[0]` numpy, `maps[1]` torch, `weights[0]` torch"):
            rn.blend([MAP, other], [torch.ones(1), 0.5])
        with fails(TypeError, text + "`maps[0]` numpy, `weights[0]` torch"):
            rn.blend([MAP], [torch.ones(1)])


class TestMerge:
    @pytest.mark.parametrize("other", [X, MAP, None, tuple(MOMENTS)])
    def test_not_moments(self, other):
        kind = type(other).__name__
        with fails(TypeError, f"`first` must be a Moments, got {kind}"):
            rn.merge(other, MOMENTS)
        with fails(TypeError, f"`second` must be a Moments, got {kind}"):
            rn.merge(MOMENTS, other)

    @pytest.mark.backends("numpy", "torch", "jax")
    def test_shapes(self, backend):
        first = rn.moments(backend.asarray(X), axis=2)
        second = rn.moments(backend.asarray(np.ones((2, 5, 4))), axis=2)
        text = "`second` must broadcast against shape (2, 3, 1), got shape (2, 5, 1)"
        with fails(ValueError, text):
            rn.merge(first, second)


class TestBlend:
    @pytest.mark.parametrize(("maps", "weights"), [(0, 0), (1, 2), (2, 1), (0, 1)])
    def test_count(self, maps, weights):
        text = f"`weights` must be one for each of at least one map, got {weights} for {maps} maps"
        with fails(ValueError, text):
            rn.blend([MAP] * maps, [1.0] * weights)

    def test_nothing_to_iterate(self):
        with fails(TypeError, "`maps` must hold AffineMaps, got int"):
            rn.blend(3, [1.0])

    @pytest.mark.parametrize("other", [X, MOMENTS, None])
    def test_not_maps(self, other):
        text = f"`maps` must hold AffineMaps, got {type(other).__name__}"
        with fails(TypeError, text):
            rn.blend([MAP, other], [0.5, 0.5])

    @pytest.mark.parametrize("weight", ["1", None, 1j, [1.0]])
    def test_weight_not_an_array(self, weight):
        text = f"`weights[1]` must be an array, got {type(weight).__name__}"
        with fails(TypeError, text):
            rn.blend([MAP, MAP], [0.5, weight])

    def test_weight_of_another_dtype(self):
        with fails(TypeError, "`weights[0]` must be of a real floating dtype, got int64"):
            rn.blend([MAP], [np.ones((2, 3, 1), np.int64)])

    @pytest.mark.backends("numpy", "torch", "jax")
    def test_shapes(self, backend):
        first = rn.standardizer(backend.asarray(X), axis=2)
        second = rn.standardizer(backend.asarray(np.ones((2, 5, 4))), axis=2)
        text = "`maps[1]` must broadcast against shape (2, 3, 1), got shape (2, 5, 1)"
        with fails(ValueError, text):
            rn.blend([first, second], [0.5, 0.5])


class TestMap:
    def test_not_an_array(self):
        for wrong in (MAP, MAP.spread, MAP.variance):
            for value in ([1.0], None, "1"):
                with fails(TypeError, f"`x` must be an array, got {type(value).__name__}"):
                    wrong(value)

    def test_dtype(self):
        for wrong in (MAP, MAP.spread, MAP.variance):
            with fails(TypeError, "`x` must be of a real floating dtype, got int64"):
                wrong(X.astype(np.int64))

    @pytest.mark.backends("numpy", "torch", "jax")
    def test_shape(self, backend):
        map = rn.standardizer(backend.asarray(X), axis=2)
        other = backend.asarray(np.ones((2, 5, 4)))
        text = "`x` must be of shape (2, 3, any), got shape (2, 5, 4)"
        for wrong in (map, map.inv, map.spread, map.variance):
            with fails(ValueError, text):
                wrong(other)

    @pytest.mark.backends("numpy", "torch", "jax", "dask", "array-api-strict", "ndonnx", "mlx")
    @pytest.mark.parametrize(
        ("axis", "shape", "text"),
        [
            (1, (2, 4), "(2, any, 4), got shape (2, 4); index it as x[:, None]"),
            (1, (4,), "(2, any, 4), got shape (4,)"),
            (2, (2, 3), "(2, 3, any), got shape (2, 3); index it as x[:, :, None]"),
            ((1, 2), (2,), "(2, any, any), got shape (2,); index it as x[:, None, None]"),
            ((0, 1), (4,), "(any, any, 4), got shape (4,); index it as x[None, None]"),
            ((0, 1, 2), (), "(any, any, any), got shape (); index it as x[None, None, None]"),
            (
                2,
                (2, 1, 4),
                "(2, 3, any), got shape (2, 1, 4); map.take(indices, axis=1) is the map of a part",
            ),
            (
                2,
                (7, 1, 3, 9),
                "(2, 3, any), got shape (7, 1, 3, 9); "
                "map.take(indices, axis=0) is the map of a part",
            ),
        ],
    )
    def test_shape_that_the_map_would_enlarge(self, backend, axis, shape, text):
        map = rn.standardizer(backend.asarray(X), axis=axis)
        other = backend.asarray(np.ones(shape, np.float32))
        for wrong in (map, map.inv, map.spread, map.variance):
            with fails(ValueError, f"`x` must be of shape {text}"):
                wrong(other)

    @pytest.mark.parametrize("dtype", ["float32", "int", np.int64, np.complex64, int, 3])
    def test_dtype_of_the_result(self, dtype):
        with fails(TypeError, f"`dtype` must be a real floating dtype, got {dtype!r}"):
            MAP(X, dtype=dtype)

    def test_out_of_another_dtype(self):
        with fails(TypeError, "`out` must be of dtype float64, got float32"):
            MAP(X, dtype=np.dtype(np.float64), out=np.zeros_like(X))

    @pytest.mark.parametrize("other", [1.0, None, "map", MOMENTS, X])
    def test_composed_with_something_else(self, other):
        with pytest.raises(TypeError):
            MAP @ other
        with pytest.raises(TypeError):
            other @ MAP

    def test_take_axis(self):
        indices = np.asarray([0, 1])
        text = "`axis` must lie within an array of 3 dimensions, got 3"
        with fails(rn.AxisError, text):
            MAP.take(indices, axis=3)
        for axis in (None, 1.0, "1", True):
            with fails(TypeError, f"`axis` must be an int, got {axis!r}"):
                MAP.take(indices, axis=axis)
        with pytest.raises(TypeError, match="axis"):
            MAP.take(indices)

    def test_take_indices(self):
        for wrong in ("0", None, {0}, 1.0):
            with fails(TypeError, f"`indices` must be an array, got {type(wrong).__name__}"):
                MAP.take(wrong, axis=1)
        with fails(TypeError, "`indices` must be integers, got float64"):
            MAP.take([0.0, 1.0], axis=1)
        with fails(TypeError, "`indices` must be integers, got float64"):
            MAP.take(np.ones(3), axis=1)
        for mask in (np.ones(3, bool), [True, False, True]):
            text = "`indices` must be integers, got bool; nonzero gives those of a mask"
            with fails(TypeError, text):
                MAP.take(mask, axis=1)
        with fails(ValueError, "`indices` must be 1-D, got shape (1, 2)"):
            MAP.take(np.asarray([[0, 1]]), axis=1)

    @pytest.mark.parametrize("symbol", ["+", "*"])
    def test_arithmetic(self, symbol):
        """Tuples would be laid end to end, or repeated."""
        for one, instead in ((MAP, "`@` or `rn.blend`"), (MOMENTS, "`rn.merge`")):
            for other in (one, 2, 2.0, X):
                text = f"`{symbol}` must be written with {instead}, got {type(one).__name__} and "
                with fails(TypeError, text + type(other).__name__):
                    one + other if symbol == "+" else one * other
                with fails(TypeError, text + type(other).__name__):
                    other + one if symbol == "+" else other * one

    @pytest.mark.parametrize("numbers", [(0, 0, 1, 1, 0, 0), (0.0, 0.0, 1.0, 1.0, 0.0, 0.0)])
    def test_made_of_numbers(self, numbers):
        map, kind = rn.AffineMap(*numbers), type(numbers[0]).__name__
        for call in (
            map,
            map.spread,
            map.variance,
            lambda x: map.inv,
            lambda x: map.take([0], axis=0),
            lambda x: map.astype(np.float32),
            lambda x: map @ MAP,
            lambda x: MAP @ map,
        ):
            with fails(TypeError, f"`map.center` must be an array, got {kind}"):
                call(X)
        with fails(TypeError, f"`maps[0]` must be an array, got {kind}"):
            rn.blend([map], [1.0])
        text = f"`map.offset` must be an array, got {kind}"
        with fails(TypeError, text):
            MAP._replace(offset=numbers[0])(X)

    def test_made_of_integers(self):
        map = MAP._replace(factor=np.ones((2, 3, 1), np.int64))
        with fails(TypeError, "`map.factor` must be of a real floating dtype, got int64"):
            map(X)

    def test_made_of_two_libraries(self):
        torch = pytest.importorskip("torch")
        map = MAP._replace(factor=torch.ones((2, 3, 1)))
        with pytest.raises(TypeError, match=r"^arrays must come from one library, got `map.center"):
            map(X)

    def test_moments_made_of_numbers(self):
        moments = rn.Moments(0.0, 0.0, 1.0, 4)
        text = "`moments.mean` must be an array, got float"
        for call in (
            lambda: rn.standardizer(moments),
            lambda: rn.instance_norm(X, axis=2, moments=moments),
            lambda: rn.adain(X, moments, axis=2),
            lambda: rn.merge(moments, MOMENTS),
            lambda: moments.take([0], axis=0),
        ):
            with fails(TypeError, text):
                call()

    def test_concat(self):
        with fails(ValueError, "`values` must hold at least one, got none"):
            rn.AffineMap.concat([], axis=0)
        with fails(TypeError, "`values` must hold AffineMaps, got Moments"):
            rn.AffineMap.concat([MAP, MOMENTS], axis=0)
        with fails(TypeError, "`values` must hold Moments, got AffineMap"):
            rn.Moments.concat([MAP], axis=0)
        with fails(TypeError, "`values` must hold Moments, got int"):
            rn.Moments.concat(3, axis=0)
        with fails(rn.AxisError, "`axis` must lie within an array of 3 dimensions, got 3"):
            rn.AffineMap.concat([MAP, MAP], axis=3)
        with fails(ValueError, "`values` must have as many axes each, got [2, 3]"):
            rn.AffineMap.concat([MAP, rn.standardizer(X[0], axis=1)], axis=0)
        other = rn.standardizer(X[:, :2], axis=2)
        text = (
            "`values` must broadcast against each other but for axis 0, "
            "got shapes (2, 3, 1) and (2, 2, 1)"
        )
        with fails(ValueError, text):
            rn.AffineMap.concat([MAP, other], axis=0)


class TestLayout:
    @pytest.mark.parametrize(
        "letters", ["NCHX", "nchw", "NCC", "NBC", "NNC", "NCHH", "TT", "N C", "", "NC2"]
    )
    def test_letters(self, letters):
        text = (
            "`letters` must name each axis by one of N, B, C, H, W, D, L, T, S and U, with at "
            f"most one of N and B, and only S and U repeated, got {letters!r}"
        )
        with fails(ValueError, text):
            rn.Layout(letters)

    @pytest.mark.parametrize("letters", [None, 3, ["N", "C"], b"NC"])
    def test_not_a_string(self, letters):
        text = f"`letters` must be a string, got {type(letters).__name__}"
        with fails(TypeError, text):
            rn.Layout(letters)
