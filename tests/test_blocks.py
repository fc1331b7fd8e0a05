"""Cutting arrays into blocks changes no bit, no other array and no setting."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import FUNCTIONS, SCALE_MAP, STYLE, X, sample
from revnorm import _blocks, _memory
from revnorm._data import Options, recipe
from revnorm._place import Lanes
from revnorm._sample import measure
from revnorm.testing import reference, ulp_error

SEPARATE = [f for f in FUNCTIONS if not f.pooled]
WITH_OUT = [f for f in FUNCTIONS if f.out]
CUT = pytest.mark.backends("numpy", "torch")
# No size here divides another, and most are less than an instance.
SIZES = [1, 7, 64, 100]


def over(functions):
    return pytest.mark.parametrize("function", functions, ids=repr)


@pytest.fixture(autouse=True)
def _only_what_is_cut(request):
    if "backend" in request.fixturenames:
        backend = request.getfixturevalue("backend")
        if not backend.batch_invariant:
            pytest.skip(f"{backend.id} is not cut")


def called(backend, function, x=X, rows=slice(None), dtype="float32", **options):
    """The function on some rows of the batch, as a NumPy array."""
    operands = {
        name: array[rows] if name in function.batched else array
        for name, array in function.operands.items()
    }
    y = function.call(
        backend.asarray(x[rows], dtype), **backend.asarrays(operands, dtype), **options
    )
    return backend.to_numpy(y)


@CUT
@over(FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_block_size_is_without_effect(backend, function, dtype, monkeypatch):
    for precision in ("full", "native"):
        expected = called(backend, function, dtype=dtype, precision=precision)
        for size in SIZES:
            monkeypatch.setattr(_blocks, "BLOCK", size)
            y = called(backend, function, dtype=dtype, precision=precision)
            np.testing.assert_array_equal(y, expected)
        monkeypatch.undo()


@CUT
@over(SEPARATE)
def test_place_in_the_batch_is_without_effect(backend, function, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK", 64)
    for precision in ("full", "native"):
        expected = called(backend, function, precision=precision)
        for rows in ([0], [3], [2, 1], [1, 1, 1], [3, 0, 2, 1, 0]):
            y = called(backend, function, rows=rows, precision=precision)
            np.testing.assert_array_equal(y, expected[rows])


@CUT
@pytest.mark.parametrize("length", [1, 255, 256, 1025, 9000, _blocks.LONG, _blocks.LONG + 1])
@pytest.mark.parametrize("precision", ["full", "native"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_alone_and_in_a_batch(backend, length, precision, dtype):
    """Of lengths around the buffer, the segments, the blocks and the parts of the real sizes."""
    x = backend.asarray(sample((5, length), mean=0.3, std=1.7), dtype)
    options = {"axis": 1, "precision": precision}
    whole = rn.moments(x, **options), rn.instance_norm(x, **options)
    for i in (0, 3):
        alone = rn.moments(x[i : i + 1], **options), rn.instance_norm(x[i : i + 1], **options)
        for one, every in zip((*alone[0], alone[1]), (*whole[0], whole[1]), strict=True):
            np.testing.assert_array_equal(backend.to_numpy(one), backend.to_numpy(every)[i : i + 1])


@CUT
@pytest.mark.parametrize("channels", [_blocks.CHANNELS, 37])
@pytest.mark.parametrize("length", [1, 50, 1024])
@pytest.mark.parametrize("masked", [False, True])
def test_series_of_many_channels(backend, channels, length, masked, monkeypatch):
    """As accurate as any, and alone as in a batch, however it is cut up."""
    x = sample((5, length, channels), mean=100.0)
    scale = np.linspace(-1, 2, channels, dtype=np.float32)
    options = {"axis": 1, "channel_axis": 2}
    given = dict(options)
    if masked:
        where = np.random.default_rng(0).random(x.shape) < 0.7
        options["where"], given["where"] = where, backend.asarray(where)
    y, map = rn.revin(backend.asarray(x), backend.asarray(scale), **given)
    y = backend.to_numpy(y)
    assert ulp_error(y, reference("revin", x, scale, **options)) <= tolerances.WIDER_FORWARD
    for rows in (slice(0, 1), slice(3, 5)):
        monkeypatch.setattr(_blocks, "BLOCK", 2 * length * channels)
        if masked:
            given["where"] = backend.asarray(where[rows])
        again = rn.revin(backend.asarray(x[rows]), backend.asarray(scale), **given)
        np.testing.assert_array_equal(backend.to_numpy(again[0]), y[rows])
        for one, every in zip(again[1], map, strict=True):
            cut = rows if every.shape[0] > 1 else slice(None)
            np.testing.assert_array_equal(backend.to_numpy(one), backend.to_numpy(every)[cut])


@CUT
@pytest.mark.parametrize("precision", ["full", "native"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_usual_and_unusual_instances_in_one_block(backend, dtype, precision):
    """What is left out for an instance that does not need it is not done to it beside others."""
    means = np.asarray([0.0, 3.0, 1e6, -1e3, 1e38, 0.0, 0.0])[:, None]
    x = sample((7, 4000), mean=0.0, std=1.0).astype(dtype)
    x[5:] *= np.asarray([[1e30], [1e-30]], dtype)
    x = (x + means).astype(dtype)
    x[3] = 3.0
    options = {"axis": 1, "eps": 0.0}
    y = backend.to_numpy(
        rn.instance_norm(backend.asarray(x, dtype), **options, precision=precision)
    )
    error = ulp_error(y, reference("instance_norm", x, **options), dtype=dtype)
    assert error <= tolerances.forward(backend, dtype, precision)
    whole = rn.moments(backend.asarray(x, dtype), axis=1, precision=precision)
    for i in range(len(x)):
        one = backend.asarray(x[i : i + 1], dtype)
        alone = rn.instance_norm(one, **options, precision=precision)
        np.testing.assert_array_equal(backend.to_numpy(alone), y[i : i + 1])
        moments = rn.moments(one, axis=1, precision=precision)
        for field, every in zip(moments, whole, strict=True):
            np.testing.assert_array_equal(
                backend.to_numpy(field), backend.to_numpy(every)[i : i + 1]
            )


def test_usual_instances_get_no_power():
    """Even if they have elements, but no deviation, whose square may need one."""
    x = np.asarray([[1.0], [2.0**39], [1e-30]], np.float32) * sample((3, 4000), mean=0.0, std=1.0)
    for rows, powers in (([0, 1], [1, 1]), ([0, 1, 2], [1, 1, 2.0**80])):
        block, place = x[rows], Lanes((1,))
        measured, _ = measure(place, block, None, recipe(block, "native"), Options())
        np.testing.assert_array_equal(measured.power[:, 0], powers)


@pytest.mark.backends("torch")
def test_large_results_of_torch(backend):
    """In memory that NumPy asked for, which is PyTorch's own for all it does."""
    x = backend.asarray(np.zeros((2, _memory.HUGE // 4), np.float32), "bfloat16")
    y = rn.instance_norm(x, axis=1)
    assert y.dtype == x.dtype
    assert y.shape == x.shape
    assert y.is_contiguous()
    assert not y.add_(1).sub_(1).any()


def layouts(backend, array):
    """The same values at other places in memory, by name."""
    views = {}
    for name, order in (("reversed axes", (3, 2, 1, 0)), ("channels last", (0, 2, 3, 1))):
        laid = backend.asarray(np.ascontiguousarray(np.transpose(array, order)), array.dtype.name)
        back = tuple(int(i) for i in np.argsort(order))
        views[name] = laid.transpose(back) if backend.library == "numpy" else laid.permute(back)
    for axis in range(array.ndim):
        twice = backend.asarray(np.repeat(array, 2, axis=axis), array.dtype.name)
        views[f"every other along {axis}"] = twice[(slice(None),) * axis + (slice(None, None, 2),)]
    if backend.library == "numpy":
        views["backwards"] = np.ascontiguousarray(array[::-1, :, ::-1, ::-1])[::-1, :, ::-1, ::-1]
        views["Fortran"] = np.asfortranarray(array)
    return views


@CUT
@over(FUNCTIONS)
def test_layout_is_without_effect(backend, function, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK", 64)
    operands = backend.asarrays(function.operands, "float32")
    expected = called(backend, function)
    for name, x in layouts(backend, X).items():
        y = backend.to_numpy(function.call(x, **operands))
        np.testing.assert_array_equal(y, expected, err_msg=name)


@CUT
@pytest.mark.parametrize("shape", [(3, 4, 70, 90), (2, 3, 100, 150)])
def test_layout_is_without_effect_on_long_instances(backend, shape, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK", 13_000)
    monkeypatch.setattr(_blocks, "LONG", 10_000)
    x = sample(shape)
    where = np.random.default_rng(0).random(shape) < 0.7
    for mask in (None, backend.asarray(where)):
        expected = backend.to_numpy(rn.instance_norm(backend.asarray(x), axis=(2, 3), where=mask))
        for name, view in layouts(backend, x).items():
            y = rn.instance_norm(view, axis=(2, 3), where=mask)
            np.testing.assert_array_equal(backend.to_numpy(y), expected, err_msg=name)


@CUT
@over(FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_measured_in_parts(backend, function, dtype, monkeypatch):
    """Parts of any size keep the bounds, down to parts of a few elements."""
    monkeypatch.setattr(_blocks, "LONG", 3)
    expected = function.oracle(X, **function.operands)
    for part in (4, 7, 31):
        monkeypatch.setattr(_blocks, "PART", part)
        for precision in ("full", "native"):
            y = called(backend, function, dtype=dtype, precision=precision)
            rounded_once = tolerances.wider(backend, dtype, precision)
            unit = None if rounded_once else function.unit_of(expected)
            error = oracle.ulp_error(y, expected, dtype, of=unit)
            assert error <= tolerances.forward(backend, dtype, precision)


def extremes(shape, dtype):
    """Data whose squares leave the range of their type, and data far from zero, by name."""
    info = np.finfo(dtype)
    normal = np.random.default_rng(0).standard_normal(shape)
    outlier = np.ones(shape)
    outlier.flat[shape[-1] // 2] = 1e20
    return {
        "huge": normal / abs(normal).max() * float(info.max),
        "large": normal * float(info.max) ** 0.8,
        "small": normal * float(info.tiny) ** 0.8,
        "far": normal + 1e6,
        "outlier": outlier,
        "constant": np.full(shape, 0.1),
        "large, then small": np.where(np.arange(shape[-1]) < 9, 1e18, 1e-18) * normal,
    }


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("precision", ["full", "native"])
@pytest.mark.parametrize("masked", [False, True])
def test_extremes_in_parts(backend, dtype, precision, masked, monkeypatch):
    monkeypatch.setattr(_blocks, "LONG", 16)
    monkeypatch.setattr(_blocks, "PART", 9)
    where = np.random.default_rng(1).random((3, 50)) < 0.6 if masked else None
    for name, x in extremes((3, 50), dtype).items():
        x = x.astype(dtype)
        y, map = rn.revin(x, axis=1, eps=0.0, where=where, precision=precision)
        expected = oracle.instance_norm(x, axis=1, eps=0.0, where=where)
        seen = np.broadcast_to(True if where is None else where, x.shape)
        error = oracle.ulp_error(y[seen], expected[seen], dtype)
        assert error <= tolerances.forward(backend, dtype, precision), name
        unit = np.broadcast_to(oracle.reach(x, 1), x.shape)
        tiny = oracle.exact(float(np.finfo(dtype).tiny))
        unit = np.maximum(unit, tiny)
        error = oracle.ulp_error(map.inv(y)[seen], oracle.exact(x)[seen], dtype, of=unit[seen])
        assert error <= tolerances.round_trip(backend, dtype, precision), name


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("precision", ["full", "native"])
def test_subnormal_numbers_in_parts(backend, dtype, precision, monkeypatch):
    normal = np.random.default_rng(0).standard_normal((3, 50))
    x = (np.round(normal * 50) * float(np.finfo(dtype).smallest_subnormal)).astype(dtype)
    expected = oracle.instance_norm(x, axis=1, eps=0.0)
    for long in (100, 16):
        monkeypatch.setattr(_blocks, "LONG", long)
        monkeypatch.setattr(_blocks, "PART", 9)
        y = rn.instance_norm(x, axis=1, eps=0.0, precision=precision)
        bound = tolerances.forward(backend, dtype, precision)
        assert oracle.ulp_error(y, expected, dtype) <= bound, long


@CUT
@pytest.mark.parametrize(("dtype", "precision"), [("float32", "full"), ("float32", "native"),
                                                  ("float64", "full")])  # fmt: skip
@pytest.mark.parametrize("mean", [0.0, 1e6])
def test_longer_than_long(backend, dtype, precision, mean, monkeypatch):
    """An instance of many parts, along both layouts, with a mask and without."""
    monkeypatch.setattr(_blocks, "LONG", 20_000)
    monkeypatch.setattr(_blocks, "PART", 3_000)
    x = sample((20_001, 2), mean=mean, std=1.0).astype(dtype)
    where = np.random.default_rng(0).random(x.shape) < 0.5
    for mask in (None, where):
        expected = reference("instance_norm", x, axis=0, where=mask)
        for array, axis in ((x, 0), (np.ascontiguousarray(x.T), 1)):
            masked = None if mask is None else backend.asarray(mask if axis == 0 else mask.T)
            options = {"axis": axis, "where": masked, "precision": precision}
            y, map = rn.revin(backend.asarray(array, dtype), **options)
            back = backend.to_numpy(map.inv(y))
            y = backend.to_numpy(y) if axis == 0 else backend.to_numpy(y).T
            error = np.max(ulp_error(y, expected, dtype=dtype))
            assert error <= tolerances.forward(backend, dtype, precision)
            unit = np.spacing(np.max(abs(array), axis=axis, keepdims=True))
            bound = tolerances.round_trip(backend, dtype, precision)
            assert np.max(abs(back - array) / unit) <= bound


@CUT
@over(WITH_OUT)
def test_in_place(backend, function, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK", 64)
    expected = called(backend, function)
    x, operands = backend.asarray(X), backend.asarrays(function.operands, "float32")
    y = function.call(x, **operands, out=x)
    assert y is x if not isinstance(y, tuple) else y[0] is x
    np.testing.assert_array_equal(backend.to_numpy(x), expected)


@CUT
@over([f for f in WITH_OUT if {"style", "scale_map"} & set(f.operands)])
def test_operand_is_overwritten(backend, function, monkeypatch):
    """An operand of the size of the result may be what the result is written to."""
    monkeypatch.setattr(_blocks, "BLOCK", 64)
    for name, full in (("style", STYLE), ("scale_map", SCALE_MAP)):
        if name not in function.operands:
            continue
        full = np.resize(full, X.shape)
        given = dict(function.operands) | {name: full}
        given.pop("style_where", None)
        expected = backend.to_numpy(
            function.call(backend.asarray(X), **backend.asarrays(given, "float32"))
        )
        operands = backend.asarrays(given, "float32")
        out = operands[name]
        y = function.call(backend.asarray(X), **operands, out=out)
        np.testing.assert_array_equal(backend.to_numpy(y), expected)


def overlapping(backend):
    """Pairs of an array and an `out` that share memory, by name."""
    rows, inner = 8, 60
    data = sample((rows + 2, inner), seed=3)

    def fresh(order=None):
        return backend.asarray(data if order is None else np.ascontiguousarray(data.T))

    memory = fresh()
    yield "a row before", memory[1:-1], memory[:-2]
    memory = fresh()
    yield "a row behind", memory[1:-1], memory[2:]
    memory = fresh()
    yield "an element before", memory[:, 1:], memory[:, :-1]
    memory = fresh()
    yield "an element behind", memory[:, :-1], memory[:, 1:]
    memory = backend.asarray(sample((inner, inner), seed=4))
    yield "transposed", memory, memory.T
    if backend.library == "numpy":
        memory = fresh()
        yield "backwards", memory, memory[::-1, ::-1]
        memory = fresh()
        yield "no overlap", memory[:, ::2], memory[:, 1::2]


@CUT
@pytest.mark.parametrize("block", [1, 64, 1 << 15])
@pytest.mark.parametrize("long", [20, 1 << 17])
def test_overlapping_out(backend, block, long, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK", block)
    monkeypatch.setattr(_blocks, "LONG", long)
    for name, x, out in overlapping(backend):
        expected = rn.instance_norm(backend.asarray(backend.to_numpy(x).copy()), axis=1)
        y = rn.instance_norm(x, axis=1, out=out)
        assert y is out
        np.testing.assert_array_equal(backend.to_numpy(y), backend.to_numpy(expected), err_msg=name)


@CUT
@over(WITH_OUT)
def test_out_of_any_layout(backend, function, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK", 64)
    expected = called(backend, function)
    for name, out in layouts(backend, np.zeros_like(X)).items():
        operands = backend.asarrays(function.operands, "float32")
        y = function.call(backend.asarray(X), **operands, out=out)
        np.testing.assert_array_equal(backend.to_numpy(y), expected, err_msg=name)


@CUT
def test_what_lies_between_is_not_written(backend):
    memory = backend.asarray(np.full((4, 3, 6, 10), -1.0, dtype=np.float32))
    rn.instance_norm(backend.asarray(X), axis=(2, 3), out=memory[..., ::2])
    assert np.all(backend.to_numpy(memory)[..., 1::2] == -1)


@CUT
@over(SEPARATE)
def test_no_instances(backend, function):
    y = called(backend, function, rows=slice(0, 0))
    assert y.shape == (0, *X.shape[1:])
    assert y.dtype == X.dtype


@CUT
def test_moments_of_no_instances(backend):
    x = backend.asarray(np.zeros((0, 3, 5), dtype=np.float32))
    assert all(field.shape == (0, 3, 1) for field in rn.moments(x, axis=2))
    out = backend.asarray(np.zeros((0, 3, 5), dtype=np.float32))
    y, map = rn.revin(x, axis=2, out=out)
    assert y is out
    assert map.inv(y).shape == (0, 3, 5)


LARGE = {
    "images": ((32, 64, 90, 91), (2, 3)),
    "channels last": ((32, 90, 91, 64), (1, 2)),
    "series": ((512, 336, 98), 1),
    "short rows": ((1 << 20, 16), 1),
    "along the first": ((1 << 18, 64), 0),
    "one instance": ((1 << 24,), 0),
    "all axes": ((64, 512, 512), (0, 1, 2)),
}
MEGABYTE = 1_000_000


@pytest.mark.parametrize("layout", LARGE)
@pytest.mark.parametrize("precision", ["full", "native"])
def test_temporaries(layout, precision):
    """Beyond what is returned less than 8 MB are taken, for 64 MB of data."""
    shape, axis = LARGE[layout]
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    assert x.nbytes > 64 * MEGABYTE
    for out in (None, np.empty_like(x)):
        y, taken = traced(partial(rn.instance_norm, x, axis=axis, precision=precision, out=out))
        assert taken - (y.nbytes if out is None else 0) < 8 * MEGABYTE


@pytest.mark.parametrize("layout", ["images", "channels last", "series", "one instance"])
def test_temporaries_of_other_functions(layout):
    shape, axis = LARGE[layout]
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    (y, map), taken = traced(partial(rn.revin, x, axis=axis))
    kept = sum(field.nbytes for field in map)
    assert taken - y.nbytes - kept < 8 * MEGABYTE
    back, taken = traced(partial(map.inv, y))
    assert taken - back.nbytes < 8 * MEGABYTE
    _, taken = traced(partial(rn.moments, x, axis=axis))
    assert taken < 8 * MEGABYTE
    _, taken = traced(partial(rn.adain, x, x, axis=axis, out=y))
    assert taken < 8 * MEGABYTE


@pytest.mark.parametrize(
    "options",
    [{}, {"out": True}, {"where": True}, {"precision": "native"}, {"batch_moments": True}],
    ids=str,
)
def test_temporaries_of_short_instances(options):
    """Numbers of each, but three at a time: of ten elements these are 0.6 of the data."""
    x = np.random.default_rng(0).standard_normal((1_000_000, 10), dtype=np.float32)
    made = {"out": np.empty_like, "where": lambda x: x > -1}
    made |= {"batch_moments": lambda x: rn.moments(x, axis=(0, 1)), "precision": lambda _: "native"}
    options = {name: made[name](x) for name in options}
    gated = partial(rn.batch_instance_norm, x, 0.5, axis=1, batch_axis=0, **options)
    y, taken = traced(gated)
    assert taken - (0 if "out" in options else y.nbytes) < 1.2 * x.nbytes
    if "where" not in options:
        styled = partial(rn.adain, x, rn.moments(x[:1], axis=1), axis=1, strength=0.5)
        y, taken = traced(styled)
        assert taken - y.nbytes < 1.2 * x.nbytes


def traced(call):
    """The result, and the most bytes that were held at a time, but for what is loaded once."""
    rn.instance_norm(X, axis=(2, 3))
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@CUT
@over(FUNCTIONS)
def test_threads_and_runs_are_without_effect(backend, function, monkeypatch):
    """Sixteen threads at once, on the same arrays, and run after run."""
    monkeypatch.setattr(_blocks, "BLOCK", 64)
    expected = called(backend, function)
    x, operands = backend.asarray(X), backend.asarrays(function.operands, "float32")
    with ThreadPoolExecutor(16) as pool:
        results = [pool.submit(function.call, x, **operands) for _ in range(32)]
        for result in results:
            np.testing.assert_array_equal(backend.to_numpy(result.result()), expected)


@over(FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("setting", ["warn", "raise"])
def test_numpy_says_nothing_of_nan_and_infinity(function, dtype, bad, setting):
    x = X.astype(dtype)
    x[1] = bad
    x[2, 0, 0, 0] = bad
    operands = {
        name: array.astype(dtype) if array.dtype.kind == "f" else array
        for name, array in function.operands.items()
    }
    with np.errstate(all=setting):
        y = function.call(x, **operands)
    assert not np.all(np.isfinite(y[1]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("length", [30, 200_000])
def test_numpy_says_nothing_of_the_map(bad, length):
    x = sample((3, length))
    x[1, 7] = bad
    with np.errstate(all="raise"):
        y, map = rn.revin(x, axis=1)
        back = map.inv(y)
        moments = rn.moments(x, axis=1)
        rn.merge(moments, moments)
        (map @ map.inv)(x)
    assert np.all(np.isfinite(back[[0, 2]]))
    assert not np.all(np.isfinite(back[1]))


def test_settings_of_numpy_are_kept():
    before = np.getbufsize(), np.geterr()
    for shape in ((4, 100), (4, 1000), (2, 200_000)):
        rn.revin(sample(shape), axis=1)
    x = sample((4, 1000))
    with pytest.raises(TypeError):
        rn.instance_norm(x, "scale", axis=1)
    assert (np.getbufsize(), np.geterr()) == before
    with np.errstate(all="raise"):
        rn.instance_norm(x, axis=1)
        assert set(np.geterr().values()) == {"raise"}


def test_settings_are_kept_where_a_kernel_fails():
    before = np.getbufsize(), np.geterr()

    def kernel(*_):
        assert np.getbufsize() != before[0]
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        _blocks.run(kernel, np.zeros((2, 1000)), axis=(1,), dtype=np.float64)
    assert (np.getbufsize(), np.geterr()) == before


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def uncut(monkeypatch):
    """Fails where an array is cut."""

    def fail(*arguments, **keywords):
        raise AssertionError("an array was cut")

    monkeypatch.setattr(_blocks, "_in_blocks", fail)
    monkeypatch.setattr(_blocks, "LONG", 16)


def norm(x, scale=None):
    return rn.instance_norm(x, scale, axis=(2, 3), channel_axis=1)


def weighted(torch, x, scale=None):
    """A number that depends on every element in its own way."""
    y = norm(x, scale)
    return torch.sum(y * torch.arange(y.numel()).reshape(y.shape))


def closed_form(x):
    """The gradient of `weighted` in float64, from the formula."""
    g = np.arange(x.size, dtype=np.float64).reshape(x.shape)
    std = np.sqrt(np.var(x, axis=(2, 3), keepdims=True) + 1e-5)
    y = (x - np.mean(x, axis=(2, 3), keepdims=True)) / std
    mean, along = (np.mean(a, axis=(2, 3), keepdims=True) for a in (g, g * y))
    return (g - mean - y * along) / std


def assert_is_gradient(actual):
    # Sums of 30 terms of either sign: 1e-12 is 4,500 roundings of the largest.
    expected = closed_form(X.astype(np.float64))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 * abs(expected).max())


def test_gradients_of_what_is_cut(torch, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK", 64)
    for long in (1 << 17, 16):
        monkeypatch.setattr(_blocks, "LONG", long)
        x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
        weighted(torch, x).backward()
        assert_is_gradient(x.grad.numpy())


def test_what_a_parameter_records_is_kept(torch):
    x = torch.tensor(X, dtype=torch.float64)
    scale = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    weighted(torch, x, scale).backward()
    g = np.arange(X.size).reshape(X.shape)
    expected = np.sum(norm(X.astype(np.float64)) * g, axis=(0, 2, 3))
    # Sums of 120 terms, of up to four times the largest weight.
    np.testing.assert_allclose(scale.grad.numpy(), expected, rtol=0, atol=1e-12 * X.size**2)


def test_what_records_nothing_is_cut(torch, monkeypatch):
    cut = []
    each, expected = _blocks._in_blocks, norm(X)
    monkeypatch.setattr(_blocks, "_in_blocks", lambda *a: (cut.append(a), each(*a))[1])
    x = torch.tensor(X, requires_grad=True)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            y = norm(x)
        np.testing.assert_array_equal(y.numpy(), expected)
    norm(x.detach())
    assert len(cut) == 3


@pytest.mark.usefixtures("uncut")
def test_what_is_transformed_is_not_cut(torch):
    x = torch.tensor(X, dtype=torch.float64)
    assert_is_gradient(torch.func.grad(partial(weighted, torch))(x).numpy())
    y = torch.func.vmap(lambda one: norm(one[None])[0])(x)
    error = oracle.ulp_error(y.numpy(), oracle.instance_norm(X, axis=(2, 3)), "float64")
    assert error <= tolerances.SAME_FORWARD
    tangent = torch.ones_like(x)
    _, derivative = torch.func.jvp(partial(weighted, torch), (x,), (tangent,))
    assert abs(derivative.item()) <= 1e-12 * abs(closed_form(X.astype(np.float64))).sum()


@pytest.mark.usefixtures("uncut")
def test_forward_mode_is_not_cut(torch):
    forward = torch.autograd.forward_ad
    x = torch.tensor(X, dtype=torch.float64)
    direction = np.random.default_rng(0).standard_normal(X.shape)
    with forward.dual_level(), torch.no_grad():
        dual = forward.make_dual(x, torch.tensor(direction))
        derivative = forward.unpack_dual(weighted(torch, dual)).tangent
    gradient = closed_form(X.astype(np.float64))
    error = abs(derivative.item() - np.sum(gradient * direction))
    assert error <= 1e-12 * np.sum(abs(gradient * direction))


@pytest.mark.usefixtures("uncut")
def test_tensors_without_data_are_not_cut(torch):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        y = norm(torch.empty(X.shape))
        assert tuple(y.shape) == X.shape
    meta = norm(torch.empty(X.shape, device="meta"))
    assert tuple(meta.shape) == X.shape


@pytest.mark.usefixtures("uncut")
def test_compiled_and_exported_code_is_not_cut(torch):
    x = torch.tensor(X)
    y = torch.compile(norm, backend="eager", fullgraph=True)(x)
    assert oracle.ulp_error(y.numpy(), oracle.instance_norm(X, axis=(2, 3)), "float32") <= (
        tolerances.WIDER_FORWARD
    )
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(lambda x: norm(x))(x)
    other = sample(seed=9)
    y = graph(torch.tensor(other)).numpy()
    assert oracle.ulp_error(y, oracle.instance_norm(other, axis=(2, 3)), "float32") <= (
        tolerances.WIDER_FORWARD
    )


@pytest.mark.usefixtures("uncut")
def test_subclasses_are_not_cut(torch):
    class Tagged(torch.Tensor):
        pass

    y = norm(torch.tensor(X).as_subclass(Tagged))
    assert type(y) is Tagged
