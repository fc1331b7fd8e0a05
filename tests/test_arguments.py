"""Arguments that overlap `out`, lie in a file, or are more than their values."""

import numpy as np
import pytest

import revnorm as rn
from functions import AFFINE, FUNCTIONS, X

WRITABLE = pytest.mark.backends("numpy", "torch", "cupy", "mlx", "array-api-strict")
SHARED = pytest.mark.backends("numpy", "torch", "cupy")
WITH_OUT = [f for f in FUNCTIONS if f.out]
OPERANDS = [(f, name) for f in WITH_OUT for name in f.operands]


def over(functions):
    return pytest.mark.parametrize("function", functions, ids=repr)


def laid(backend, memory, array, offset=0):
    """An array written into memory that belongs to another."""
    array = backend.asarray(array, None if array.dtype.kind != "f" else "float32")
    flat = memory[offset:].view(array.dtype)[: int(np.prod(array.shape))]
    view = flat.reshape(array.shape)
    view[...] = array
    return view


@SHARED
@pytest.mark.parametrize(
    ("function", "name"), OPERANDS, ids=[f"{f}-{name}" for f, name in OPERANDS]
)
def test_out_may_overlap_an_operand(backend, function, name):
    """From its first element on, and from elsewhere."""
    x, operands = backend.asarray(X), backend.asarrays(function.operands, "float32")
    expected = backend.to_numpy(function.call(x, **operands))
    for offset in (0, 2, 64):
        memory = backend.asarray(np.zeros(2 * X.size, np.float32))
        given = operands | {name: laid(backend, memory, function.operands[name], offset)}
        out = memory[: X.size].reshape(X.shape)
        assert function.call(x, **given, out=out) is out
        np.testing.assert_array_equal(backend.to_numpy(out), expected)


@SHARED
def test_out_may_overlap_a_parameter_row_by_row(backend):
    """The scale is the first row of `out`, with its very strides."""
    x, row = backend.asarray(X), backend.asarray(X[2:3])
    memory = backend.asarray(np.zeros_like(X))
    for call in (
        lambda row, **out: rn.instance_norm(x, row, axis=(2, 3), **out),
        lambda row, **out: rn.revin(x, None, row, axis=2, **out)[0],
        lambda row, **out: rn.spatially_adaptive_norm(x, row, row, axis=(2, 3), **out),
        lambda row, **out: rn.batch_instance_norm(x, row, row, axis=2, batch_axis=0, **out),
        lambda row, **out: rn.adain(x, row, axis=(2, 3), strength=row, **out),
    ):
        memory[:1] = row
        y = call(memory[:1], out=memory)
        np.testing.assert_array_equal(backend.to_numpy(y), backend.to_numpy(call(row)))


@SHARED
@pytest.mark.parametrize("offset", [1, 90, 359])
@over(WITH_OUT)
def test_out_may_overlap_the_data(backend, function, offset):
    operands = backend.asarrays(function.operands, "float32")
    expected = backend.to_numpy(function.call(backend.asarray(X), **operands))
    for there, here in ((0, offset), (offset, 0)):
        memory = backend.asarray(np.zeros(2 * X.size, np.float32))
        x = laid(backend, memory, X, there)
        out = memory[here : here + X.size].reshape(X.shape)
        function.call(x, **operands, out=out)
        np.testing.assert_array_equal(backend.to_numpy(out), expected)


@WRITABLE
@pytest.mark.parametrize("center", ["mean", "last"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("written", ["x", "scale", "bias"])
def test_a_map_is_as_without_out(backend, center, dtype, written):
    if dtype not in backend.dtypes:
        pytest.skip(f"no {dtype}")
    full = {name: np.broadcast_to(p[:, None, None], X.shape) for name, p in AFFINE.items()}
    arrays = backend.asarrays({"x": X, **full}, dtype)
    options = {"axis": 2, "center": center}
    y, expected = rn.revin(*arrays.values(), **options)
    y = backend.to_numpy(y)
    kept = [np.array(backend.to_numpy(field)) for field in expected]
    given, map = rn.revin(*arrays.values(), **options, out=arrays[written])
    np.testing.assert_array_equal(backend.to_numpy(given), y)
    for field, one in zip(map, kept, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(field), one)


@WRITABLE
def test_a_map_does_not_follow_the_data(backend):
    """It keeps no view of the data, which may be overwritten after."""
    x = backend.asarray(X, backend.widest)
    y, map = rn.revin(x, axis=2, center="last")
    expected = np.array(backend.to_numpy(map.inv(y)))
    x[...] = 0.0
    np.testing.assert_array_equal(backend.to_numpy(map.inv(y)), expected)


@SHARED
def test_a_map_written_over_by_its_result(backend):
    x = backend.asarray(X, "float64")
    map = rn.standardizer(x, axis=(2, 3))
    expected = backend.to_numpy(map(x))
    memory = backend.asarray(np.zeros(X.size), "float64")
    map = map._replace(center=memory[:12].reshape((4, 3, 1, 1)))
    map.center[...] = rn.standardizer(x, axis=(2, 3)).center
    out = memory.reshape(X.shape)
    np.testing.assert_array_equal(backend.to_numpy(map(x, out=out)), expected)


@pytest.fixture
def in_file(tmp_path):
    def write(array, mode="r+"):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode=mode)

    return write


@over(FUNCTIONS)
def test_arrays_in_a_file(in_file, function):
    expected = function.call(X, **function.operands)
    operands = {name: in_file(array, "r") for name, array in function.operands.items()}
    y = function.call(in_file(X, "r"), **operands)
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, expected)


@over(WITH_OUT)
def test_out_in_a_file(in_file, function):
    expected = function.call(X, **function.operands)
    for x, out in ((X, in_file(0 * X)), (in_file(X), in_file(0 * X))):
        assert function.call(x, **function.operands, out=out) is out
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(np.load(out.filename), expected)


def test_moments_and_maps_in_a_file(in_file):
    moments = rn.moments(X, axis=2)
    kept = rn.Moments(*map(in_file, moments))
    expected = rn.standardizer(moments)
    loaded = rn.AffineMap(*map(in_file, expected))
    for one in (rn.standardizer(kept), loaded):
        np.testing.assert_array_equal(one(X), expected(X))
        np.testing.assert_array_equal(one.inv.spread(X), expected.inv.spread(X))
        np.testing.assert_array_equal(rn.blend([one], [0.5])(X), rn.blend([expected], [0.5])(X))
    np.testing.assert_array_equal(
        rn.instance_norm(X, axis=2, moments=kept), rn.instance_norm(X, axis=2, moments=moments)
    )
    np.testing.assert_array_equal(rn.merge(kept, moments), rn.merge(moments, moments))


class Labelled(np.ndarray):
    """A subclass with nothing to add."""


@over(FUNCTIONS)
def test_subclasses_of_numpy(function):
    """In any place, and never in parts, as a subclass may mean more by its operations."""
    expected = function.call(X, **function.operands)
    named = {"x": X, **function.operands}
    for name in named:
        given = named | {name: named[name].view(Labelled)}
        y = function.call(given.pop("x"), **given)
        np.testing.assert_allclose(y, expected, rtol=0, atol=2**-22 * np.max(abs(expected)))


def test_out_of_a_subclass():
    out = np.zeros_like(X).view(Labelled)
    assert rn.instance_norm(X, axis=2, out=out) is out
    np.testing.assert_array_equal(out, rn.instance_norm(X, axis=2))


@pytest.mark.parametrize("number", [np.float64(2), np.float32(2), np.asarray(2.0, np.float32)])
def test_numpy_numbers_are_numbers(number):
    np.testing.assert_array_equal(
        rn.instance_norm(X, number, number, axis=2), rn.instance_norm(X, 2.0, 2.0, axis=2)
    )
    batch = {"axis": 2, "batch_axis": 0}
    np.testing.assert_array_equal(
        rn.batch_instance_norm(X, number, **batch), rn.batch_instance_norm(X, 2.0, **batch)
    )
    np.testing.assert_array_equal(
        rn.adain(X, X, axis=2, strength=number), rn.adain(X, X, axis=2, strength=2.0)
    )


def test_numpy_numbers_as_spread():
    map = rn.standardizer(X, axis=2)
    for number in (np.float64(2), np.float32(2)):
        np.testing.assert_array_equal(map.spread(number), map.spread(2.0))
        np.testing.assert_array_equal(map.variance(number), map.variance(2.0))


def test_a_map_of_one_number():
    map = rn.AffineMap(*(field[0] for field in rn.standardizer(X[0, 0, 0], axis=0)))
    for x in (np.float32(3), np.asarray(3.0, np.float32)):
        np.testing.assert_array_equal(map(x), map(np.asarray([x]))[0])


class TestTorch:
    torch = pytest.importorskip("torch")

    @over(FUNCTIONS)
    def test_parameters_and_other_subclasses(self, function):
        torch = self.torch

        class Own(torch.Tensor):
            """As a library would, for its own methods."""

        named = {n: torch.asarray(a) for n, a in ({"x": X} | dict(function.operands)).items()}
        expected = function.call(named["x"], **{n: a for n, a in named.items() if n != "x"})
        for name in named:
            if not named[name].is_floating_point():
                continue
            for kind in (torch.nn.Parameter, lambda a: a.as_subclass(Own)):
                given = named | {name: kind(named[name])}
                y = function.call(given.pop("x"), **given)
                torch.testing.assert_close(
                    y.detach().as_subclass(torch.Tensor), expected, rtol=0, atol=2**-20
                )

    def test_refused(self):
        torch = self.torch
        x = torch.asarray(X)
        nested = torch.nested.nested_tensor([x[0], x[1]], layout=torch.jagged)
        for other, text in (
            (x.to_sparse(), "a dense array, got one of layout torch.sparse_coo"),
            (nested, "an array of one shape, got a nested tensor"),
        ):
            for call, name in (
                (lambda a: rn.instance_norm(a, axis=2), "x"),
                (lambda a: rn.instance_norm(x, a, axis=2), "scale"),
                (lambda a: rn.instance_norm(x, axis=2, out=a), "out"),
                (rn.standardizer(x, axis=2), "x"),
            ):
                with pytest.raises(TypeError, match=f"^`{name}` must be {text}$"):
                    call(other)

    def test_masked_tensor(self):
        torch = self.torch
        x = torch.asarray(X)
        with pytest.warns(UserWarning, match="prototype"):
            masked = torch.masked.masked_tensor(x, x > 7)
        text = "an array without a mask of its own, which goes into `where`, got MaskedTensor"
        with pytest.raises(TypeError, match=f"^`x` must be {text}$"):
            rn.instance_norm(masked, axis=2)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_masked_arrays_are_refused(dtype):
    masked = np.ma.masked_array(X.astype(dtype), X > 7)
    text = "an array without a mask of its own, which goes into `where`, got MaskedArray"
    for call, name in (
        (lambda a: rn.instance_norm(a, axis=2), "x"),
        (lambda a: rn.moments(a, axis=2), "x"),
        (lambda a: rn.revin(X, None, a, axis=2), "bias"),
        (lambda a: rn.adain(X, a, axis=2), "style"),
        (lambda a: rn.instance_norm(X, axis=2, out=a), "out"),
        (rn.standardizer(X, axis=2), "x"),
    ):
        with pytest.raises(TypeError, match=f"^`{name}` must be {text}$"):
            call(masked)


def test_matrices_are_refused():
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(X[0, 0])
    with pytest.raises(TypeError, match=r"^`x` must be an array, got matrix$"):
        rn.instance_norm(matrix, axis=1)
    with pytest.raises(TypeError, match=r"^`out` must be an array, got matrix$"):
        rn.instance_norm(X[0, 0], axis=1, out=matrix)


@pytest.mark.parametrize("magnitude", [0.0, 1e-310, 1e-160, 1e-40, 1e-7, 1e30, 1e160, 1e300])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@over(FUNCTIONS)
def test_silent_where_the_user_raises(function, dtype, magnitude):
    """Whatever the numbers, what NumPy does with them inside is not the user's."""
    with np.errstate(all="ignore"):
        values = {"x": X, **function.operands}
        values = {
            name: (a * magnitude).astype(dtype) if a.dtype.kind == "f" else a
            for name, a in values.items()
        }
    x = values.pop("x")
    with np.errstate(all="raise"):
        y = function.call(x, **values)
        assert y.shape == X.shape
        map = rn.standardizer(x, axis=2, eps=0.0)
        for one in (map, map.inv, map.inv @ map, rn.blend([map, map.inv], [0.5, magnitude])):
            assert one(x).shape == one.spread(x).shape == one.variance(x).shape == X.shape
            assert one.scale.shape == one.variance(magnitude).shape
