"""What holds for every function on every array library."""

import array_api_compat
import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import AFFINE, BIAS, FUNCTIONS, SCALE, WHERE, X, sample

# Where a call is slow, test_lazy.py runs every function, in one piece.
pytestmark = pytest.mark.sampled

MASKED = [f for f in FUNCTIONS if "where" in f.operands]
SEPARATE = [f for f in FUNCTIONS if not f.pooled]
WITH_OUT = [f for f in FUNCTIONS if f.out]


def over(functions):
    return pytest.mark.parametrize("function", functions, ids=repr)


def prepared(backend, function, dtype="float32"):
    return backend.asarray(X, dtype), backend.asarrays(function.operands, dtype)


def called(backend, function, x, operands, **options):
    """The function on NumPy arrays, through the backend, as a NumPy array."""
    x, operands = backend.asarray(x), backend.asarrays(operands, x.dtype.name)
    return backend.to_numpy(function.call(x, **operands, **options))


def check(backend, function, dtype, precision):
    """Namespace, dtype, device and shape are kept, inputs unchanged, and values near enough."""
    x, operands = prepared(backend, function, dtype)
    y = function.call(x, **operands, precision=precision)
    assert type(y) is type(x)
    assert array_api_compat.array_namespace(y) is array_api_compat.array_namespace(x)
    assert y.dtype == x.dtype
    assert backend.device_of(y) == backend.device_of(x)
    assert tuple(y.shape) == tuple(x.shape)

    given = {name: backend.to_numpy(array) for name, array in operands.items()}
    untouched, same = prepared(backend, function, dtype)
    np.testing.assert_array_equal(backend.to_numpy(x), backend.to_numpy(untouched))
    for name, array in given.items():
        np.testing.assert_array_equal(array, backend.to_numpy(same[name]))

    expected = function.oracle(backend.to_numpy(x), **given)
    rounded_once = tolerances.wider(backend, dtype, precision)
    unit = None if rounded_once else function.unit_of(expected)
    error = oracle.ulp_error(backend.to_numpy(y), expected, dtype, of=unit)
    assert error <= tolerances.forward(backend, dtype, precision)


@over(FUNCTIONS)
def test_float32(backend, function):
    check(backend, function, "float32", "full")


@over(FUNCTIONS)
def test_native_precision(backend, function):
    check(backend, function, "float32", "native")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@over(FUNCTIONS)
def test_other_dtypes(backend, function, dtype):
    if dtype not in backend.dtypes:
        pytest.skip(f"no {dtype}")
    check(backend, function, dtype, "full")


@pytest.mark.backends("numpy")
@over(FUNCTIONS)
def test_accepts_read_only_arrays(backend, function):
    x, operands = prepared(backend, function)
    for array in (x, *operands.values()):
        array.flags.writeable = False
    np.testing.assert_array_equal(
        function.call(x, **operands), called(backend, function, X, function.operands)
    )


@over(MASKED)
def test_padding_is_without_effect(backend, function):
    """Whatever lies under False, NaN and infinity too, the observed come out the same."""
    where = function.operands["where"]
    expected = called(backend, function, X, function.operands)
    for filler in (1e30, np.nan):
        padded = np.where(where, X, np.float32(filler))
        with np.errstate(all="ignore"):
            y = called(backend, function, padded, function.operands)
        np.testing.assert_array_equal(y[where], expected[where])


@over(MASKED)
def test_everything_observed_is_as_without_a_mask(backend, function):
    without = {n: a for n, a in function.operands.items() if not n.endswith("where")}
    seen = {n: np.ones_like(a) for n, a in function.operands.items() if n.endswith("where")}
    y = called(backend, function, X, without | seen)
    expected = function.oracle(X, **without)
    unit = function.unit_of(expected)
    bound = tolerances.forward(backend, "float32")
    assert oracle.ulp_error(y, expected, "float32", of=unit) <= bound


@over(MASKED)
def test_mask_of_one_row_broadcasts(backend, function):
    row = {"where": WHERE[:1, :1]}
    full = {"where": np.broadcast_to(WHERE[:1, :1], X.shape)}
    np.testing.assert_array_equal(
        called(backend, function, X, function.operands | row),
        called(backend, function, X, function.operands | full),
    )


@over(SEPARATE)
def test_batch_mates_are_without_effect(backend, function):
    """Alone, in another order and beside NaN, an instance comes out bit for bit the same."""
    if not backend.batch_invariant:
        pytest.skip("the library's own reductions do not promise it")
    expected = called(backend, function, X, function.operands)
    for rows in ([0], [3], [2, 1], [3, 2, 1, 0]):
        operands = {
            name: array[rows] if name in function.batched else array
            for name, array in function.operands.items()
        }
        y = called(backend, function, X[rows], operands)
        np.testing.assert_array_equal(y, expected[rows])


@over(SEPARATE)
def test_nan_and_infinity_stay_in_their_instance(backend, function):
    expected = called(backend, function, X, function.operands)
    for bad in (np.nan, np.inf):
        x = X.copy()
        x[1] = bad
        with np.errstate(all="ignore"):
            y = called(backend, function, x, function.operands)
        others = [0, 2, 3]
        np.testing.assert_array_equal(y[others], expected[others])
        assert not np.all(np.isfinite(y[1]))


@over(FUNCTIONS)
def test_strides_are_without_effect(backend, function):
    """Views that are transposed or strided give what a contiguous copy gives."""
    xp = array_api_compat.array_namespace(backend.asarray(X))
    operands = prepared(backend, function)[1]
    rows_last = xp.permute_dims(backend.asarray(np.moveaxis(X, 0, -1).copy()), (3, 0, 1, 2))
    doubled = backend.asarray(np.repeat(X, 2, axis=3))[:, :, :, ::2]
    bound = tolerances.forward(backend, "float32")
    exact = function.oracle(X, **function.operands)
    for view in (rows_last, doubled):
        y = backend.to_numpy(function.call(view, **operands))
        assert oracle.ulp_error(y, exact, "float32", of=function.unit_of(exact)) <= bound


@pytest.mark.backends("numpy", "torch", "cupy", "mlx", "array-api-strict")
@over(WITH_OUT)
def test_out_is_written_and_returned(backend, function):
    x, operands = prepared(backend, function)
    out = backend.asarray(np.full_like(X, np.nan))
    y = function.call(x, **operands, out=out)
    assert y is out
    np.testing.assert_array_equal(
        backend.to_numpy(out), backend.to_numpy(function.call(x, **operands))
    )


@pytest.mark.backends("numpy", "torch", "cupy", "mlx", "array-api-strict")
@over(WITH_OUT)
def test_out_may_be_the_input(backend, function):
    x, operands = prepared(backend, function)
    expected = backend.to_numpy(function.call(x, **operands))
    assert function.call(x, **operands, out=x) is x
    np.testing.assert_array_equal(backend.to_numpy(x), expected)


@pytest.mark.backends("numpy", "torch", "cupy")
@over(WITH_OUT)
def test_out_may_be_strided(backend, function):
    x, operands = prepared(backend, function)
    wide = backend.asarray(np.zeros((*X.shape[:-1], 2 * X.shape[-1]), dtype=np.float32))
    function.call(x, **operands, out=wide[..., ::2])
    written = backend.to_numpy(wide)
    np.testing.assert_array_equal(written[..., ::2], backend.to_numpy(function.call(x, **operands)))
    assert not written[..., 1::2].any()


@pytest.mark.parametrize("eps_mode", ["add", "clamp", "relative"])
@pytest.mark.parametrize("center", ["mean", "last"])
def test_inverse_undoes(backend, center, eps_mode):
    for dtype in ("float32",) if backend.slow else backend.dtypes:
        for where in (None, backend.asarray(WHERE)):
            x = backend.asarray(X, dtype)
            y, map = rn.revin(x, axis=2, center=center, eps_mode=eps_mode, where=where)
            exact = oracle.exact(backend.to_numpy(x))
            back = backend.to_numpy(map.inv(y))
            error = oracle.ulp_error(back, exact, dtype, of=oracle.reach(exact, 2))
            assert error <= tolerances.round_trip(backend, dtype)


@pytest.mark.parametrize("precision", ["full", "native"])
@pytest.mark.parametrize("center", ["mean", "last"])
def test_inverse_undoes_scale_and_bias(backend, center, precision):
    """But for what the bias took: the rounding of y comes back divided by the scale."""
    for dtype in ("float32",) if backend.slow else backend.dtypes:
        x, operands = backend.asarray(X, dtype), backend.asarrays(AFFINE, dtype)
        options = {"axis": (2, 3), "channel_axis": 1}
        y, map = rn.revin(x, *operands.values(), **options, center=center, precision=precision)
        exact = oracle.exact(backend.to_numpy(x))
        scale, bias = (backend.to_numpy(p) for p in operands.values())
        forward = oracle.standardizer(exact, scale, bias, **options)
        y_unit = oracle.ulp(oracle.reach(backend.to_numpy(y), (2, 3)), dtype)
        x_unit = oracle.ulp(oracle.reach(exact, (2, 3)), dtype)
        errors = abs(oracle.exact(backend.to_numpy(map.inv(y))) - exact)
        allowed = y_unit / abs(forward.scale) + x_unit
        bound = tolerances.forward(backend, dtype, precision)
        assert np.all(errors <= allowed * oracle.exact(bound))


def test_inverse_of_the_inverse_is_the_map(backend):
    map = rn.standardizer(backend.asarray(X), axis=(2, 3))
    for field, twice in zip(map, map.inv.inv, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(twice), backend.to_numpy(field))


def test_scale_zero_comes_back_as_the_center(backend):
    x = backend.asarray(X)
    zero = backend.asarray(np.zeros(3, np.float32))
    bias = backend.asarray(BIAS)
    for center in ("mean", "last"):
        y, map = rn.revin(x, zero, bias, axis=(2, 3), channel_axis=1, center=center)
        np.testing.assert_array_equal(
            backend.to_numpy(y), np.broadcast_to(BIAS[:, None, None], X.shape)
        )
        back = backend.to_numpy(map.inv(y))
        expected = oracle.moments(X, axis=(2, 3)).mean
        if center == "last":
            expected = oracle.exact(X[:, :, -1:, -1:])
        expected = np.broadcast_to(expected, X.shape)
        bound = tolerances.forward(backend, "float32")
        assert oracle.ulp_error(back, expected, "float32") <= bound


@over([f for f in MASKED if not f.pooled and "adain" not in f.id])
def test_nothing_observed_is_the_identity(backend, function):
    where = function.operands["where"].copy()
    where[1, 2] = False
    y = called(backend, function, X, function.operands | {"where": where})
    np.testing.assert_array_equal(y[1, 2], X[1, 2])


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("precision", ["full", "native"])
@pytest.mark.parametrize("axis", [2, (0, 2, 3)])
def test_constant_instance_becomes_the_bias(backend, axis, precision, eps):
    values = np.asarray([-3.0e4, 1e30, 1e-30], dtype=np.float32)[:, None, None]
    x = backend.asarray(np.broadcast_to(values, X.shape))
    scale, bias = backend.asarray(SCALE), backend.asarray(BIAS)
    options = {"axis": axis, "channel_axis": 1, "precision": precision, "eps": eps}
    expected = np.broadcast_to(BIAS[:, None, None], X.shape)
    for eps_mode in ("add", "clamp", "relative"):
        y, map = rn.revin(x, scale, bias, **options, eps_mode=eps_mode)
        np.testing.assert_array_equal(backend.to_numpy(y), expected)
        np.testing.assert_array_equal(backend.to_numpy(map.inv(y)), backend.to_numpy(x))


@pytest.mark.parametrize("eps_mode", ["add", "clamp"])
@pytest.mark.parametrize("precision", ["full", "native"])
def test_constant_instance_far_beyond_the_root_of_eps(backend, precision, eps_mode):
    x = backend.asarray(np.full((2, 3, 1), 1.612073e15, dtype=np.float32))
    options = {"eps": 5.8e-30, "eps_mode": eps_mode, "precision": precision}
    y, norm_map = rn.revin(x, axis=1, **options)
    assert not backend.to_numpy(y).any()
    np.testing.assert_array_equal(backend.to_numpy(norm_map.inv(y)), backend.to_numpy(x))
    np.testing.assert_allclose(backend.to_numpy(norm_map.scale), 5.8e-30**-0.5, rtol=1e-6)


@pytest.mark.parametrize("precision", ["full", "native"])
@pytest.mark.parametrize("length", [2, 300])
def test_constant_instance_of_the_largest_number(backend, precision, length):
    """Its sum is beyond the largest."""
    largest = float(np.finfo(np.float32).max)
    x = backend.asarray(np.full((2, length), largest, dtype=np.float32))
    y, norm_map = rn.revin(x, axis=1, precision=precision)
    assert not backend.to_numpy(y).any()
    np.testing.assert_array_equal(backend.to_numpy(norm_map.inv(y)), backend.to_numpy(x))


def test_size_one_has_variance_zero(backend):
    x = backend.asarray(X[:, :, :1, :1])
    moments = rn.moments(x, axis=(2, 3))
    np.testing.assert_array_equal(backend.to_numpy(moments.mean), X[:, :, :1, :1])
    assert not backend.to_numpy(moments.variance).any()
    assert not backend.to_numpy(rn.instance_norm(x, axis=(2, 3))).any()


def test_parameters_may_be_numbers_rows_or_broadcast(backend):
    """A number, a 1-D parameter along the channels and one laid out already agree."""
    x = backend.asarray(X)

    def norm(scale, bias, **options):
        return rn.instance_norm(x, scale, bias, axis=(2, 3), **options)

    rows = norm(backend.asarray(SCALE), backend.asarray(BIAS), channel_axis=1)
    for shape in ((3, 1, 1), (1, 3, 1, 1)):
        laid = (backend.asarray(parameter.reshape(shape)) for parameter in (SCALE, BIAS))
        tolerances.assert_same(backend, norm(*laid), rows)
    full = (backend.asarray(np.broadcast_to(p[:, None, None], X.shape)) for p in (SCALE, BIAS))
    tolerances.assert_same(backend, norm(*full), rows)
    twos = backend.asarray(np.full(3, 2.0, np.float32))
    tolerances.assert_same(backend, norm(2.0, 2.0), norm(twos, twos, channel_axis=-3))


def test_axes_may_be_negative_single_and_in_any_order(backend):
    x = backend.asarray(X)

    def norm(axis):
        return backend.to_numpy(rn.instance_norm(x, axis=axis))

    for same in ((3, 2), (-1, -2), (2, -1)):
        np.testing.assert_array_equal(norm(same), norm((2, 3)))
    for same in ((3,), -1, (-1,), np.int64(3)):
        np.testing.assert_array_equal(norm(same), norm(3))


MAGNITUDES = np.asarray([1e-36, 1e-20, 1e20, 1e37])[:, None, None, None]


@pytest.mark.parametrize("precision", ["full", "native"])
def test_squares_neither_overflow_nor_vanish(backend, precision):
    # Every value is a normal number: JAX flushes subnormal ones.
    values = ((X + 16) / 32 * MAGNITUDES).astype(np.float32)
    y, map = rn.revin(backend.asarray(values), axis=(2, 3), eps=0.0, precision=precision)
    expected = oracle.revin(values, axis=(2, 3), eps=0.0)
    bound = tolerances.forward(backend, "float32", precision)
    assert oracle.ulp_error(backend.to_numpy(y), expected, "float32") <= bound
    exact = oracle.exact(values)
    unit = oracle.ulp(oracle.reach(exact, (2, 3)), "float32")
    errors = abs(oracle.exact(backend.to_numpy(map.inv(y))) - exact) / unit
    assert np.max(errors) <= tolerances.round_trip(backend, "float32", precision)


@pytest.mark.backends("numpy")
@pytest.mark.parametrize(
    ("magnitude", "precision"), [(1e-38, "full"), (1e-42, "full"), (1e-38, "native")]
)
def test_subnormal_data(backend, magnitude, precision):
    """A standard deviation that is itself subnormal has too few bits for "native"."""
    values = (X * magnitude).astype(np.float32)
    y = rn.instance_norm(backend.asarray(values), axis=(2, 3), eps=0.0, precision=precision)
    expected = oracle.instance_norm(values, axis=(2, 3), eps=0.0)
    bound = tolerances.forward(backend, "float32", precision)
    assert oracle.ulp_error(y, expected, "float32") <= bound


@pytest.mark.parametrize("precision", ["full", "native"])
def test_data_far_from_zero(backend, precision):
    means = np.asarray([1e2, -1e4, 1e6])[:, None, None]
    values = (sample(mean=0.0, std=1.0) + means).astype(np.float32)
    y, map = rn.revin(backend.asarray(values), axis=(2, 3), precision=precision)
    bound = tolerances.forward(backend, "float32", precision)
    expected = oracle.revin(values, axis=(2, 3))
    assert oracle.ulp_error(backend.to_numpy(y), expected, "float32") <= bound
    exact = oracle.exact(values)
    error = oracle.ulp_error(
        backend.to_numpy(map.inv(y)), exact, "float32", of=oracle.reach(exact, (2, 3))
    )
    assert error <= tolerances.round_trip(backend, "float32", precision)
