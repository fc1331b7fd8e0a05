"""Functions run by PyTorch's and JAX's compilers, on arrays of any library."""

import functools
import importlib.util
import math
import sys
import threading
import tracemalloc
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import BIAS, SCALE, STYLE, WHERE, X, sample
from revnorm import _memory
from revnorm.testing import ulp_error

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
InstanceNorm = importlib.import_module("revnorm.torch").InstanceNorm

EXPECTED = oracle.instance_norm(X, axis=(2, 3))
ENGINES = pytest.mark.parametrize("engine", ["torch", "jax"])


@pytest.fixture(autouse=True)
def graphs(request, monkeypatch):
    """The graphs that PyTorch's compiler made, run as they are but for tests of its own code."""
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return graph.forward

    torch._dynamo.reset()
    if request.function not in OF_THE_COMPILER:
        original = torch.compile

        @functools.wraps(original)
        def patched(function, options=None, **keywords):
            options = options and {"guard_filter_fn": options["guard_filter_fn"]}
            return original(function, backend=backend, options=options, **keywords)

        monkeypatch.setattr(torch, "compile", patched)
    yield made
    torch._dynamo.reset()


def assert_near(y, expected=EXPECTED, bound=tolerances.WIDER_FORWARD):
    assert oracle.ulp_error(np.asarray(y), expected, "float32") <= bound


@ENGINES
def test_numpy_in_and_out(engine):
    normalize = rn.compile(rn.instance_norm, engine=engine)
    y = normalize(X, axis=(2, 3))
    assert type(y) is np.ndarray
    assert y.dtype == X.dtype
    assert_near(y)


@ENGINES
def test_out_is_written(engine):
    normalize = rn.compile(rn.instance_norm, engine=engine)
    memory = np.full((2, *X.shape), -1.0, dtype=np.float32)
    out = memory[0]
    y = normalize(X, axis=(2, 3), out=out)
    assert y is out
    assert_near(memory[0])
    assert np.all(memory[1] == -1)


@ENGINES
def test_out_with_a_map(engine):
    out = np.empty_like(X)
    y, map = rn.compile(rn.revin, engine=engine)(X, axis=2, out=out)
    assert y is out
    assert isinstance(map, rn.AffineMap)
    np.testing.assert_array_equal(out, rn.revin(X, axis=2)[0])


@ENGINES
def test_out_of_a_function_that_has_none(engine):
    out = np.empty_like(X)
    y = rn.compile(lambda x: rn.instance_norm(x, axis=(2, 3)), engine=engine)(X, out=out)
    assert y is out
    assert_near(y)


def test_nothing_is_given_back_beside_the_result(graphs):
    rn.compile(rn.instance_norm)(torch.tensor(X), axis=(2, 3))
    (given,) = (node.args[0] for node in graphs[0].graph.nodes if node.op == "output")
    assert [tuple(node.meta["example_value"].shape) for node in given] == [X.shape]


@pytest.mark.parametrize("trained", [False, True])
def test_memory_for_large_results(graphs, monkeypatch, trained):
    """It is asked for beforehand, but for results that autograd is to know."""
    monkeypatch.setattr(_memory, "HUGE", X.nbytes)
    x = torch.tensor(X, requires_grad=trained)
    y, map = rn.compile(rn.revin)(x, axis=(2, 3))
    assert_near(y.detach())
    assert isinstance(map, rn.AffineMap)
    assert y.requires_grad == trained
    given = [node for node in graphs[0].graph.nodes if node.op == "placeholder"]
    assert len(given) == (1 if trained else 2)


@ENGINES
def test_in_place(engine):
    x = X.copy()
    assert rn.compile(rn.instance_norm, engine=engine)(x, axis=(2, 3), out=x) is x
    assert_near(x)


def lying(shift):
    """Memory for an array as X, and one as X that begins so many elements later in the same."""
    memory = np.zeros(X.size + shift, np.float32)
    return memory[: X.size].reshape(X.shape), memory[shift:].reshape(X.shape)


@ENGINES
@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("shift", [0, 1, X[0].size])
def test_out_that_overlaps(engine, library, shift):
    x, out = lying(shift)
    x[...] = X
    wrapped = torch.from_numpy if library == "torch" else np.asarray
    given = wrapped(out)
    y = rn.compile(rn.instance_norm, engine=engine)(wrapped(x), axis=(2, 3), out=given)
    assert y is given
    assert_near(out)


@ENGINES
def test_scale_in_the_memory_of_out(engine):
    out = np.zeros_like(X)
    scale = out[:1]
    scale[...] = 2
    rn.compile(rn.instance_norm, engine=engine)(X, scale, axis=(2, 3), out=out)
    assert_near(out, 2 * EXPECTED)


@ENGINES
def test_numpy_scalars_are_numbers(engine):
    normalize = rn.compile(rn.instance_norm, engine=engine)
    y = normalize(X, np.float64(3.0), np.float32(7), axis=(np.int64(2), 3), eps=np.float32(0.5))
    expected = oracle.instance_norm(X, 3.0, 7.0, axis=(2, 3), eps=0.5)
    # The largest number is a sum of such as 7.
    assert_near(y, expected)


@ENGINES
def test_input_is_not_changed(engine):
    x = X.copy()
    rn.compile(rn.instance_norm, engine=engine)(x, SCALE, BIAS, axis=(2, 3), channel_axis=1)
    np.testing.assert_array_equal(x, X)


@ENGINES
def test_read_only(engine):
    x, scale = X.copy(), SCALE.copy()
    x.flags.writeable = scale.flags.writeable = False
    y = rn.compile(rn.instance_norm, engine=engine)(x, scale, axis=(2, 3), channel_axis=1)
    assert_near(y, oracle.instance_norm(X, SCALE, axis=(2, 3), channel_axis=1))


VIEWS = {
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "Fortran": np.asfortranarray,
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "big-endian": lambda x: x.astype(">f4"),
}


@ENGINES
@pytest.mark.parametrize("view", VIEWS)
def test_any_numpy_array(engine, view):
    x = VIEWS[view](X)
    y = rn.compile(rn.instance_norm, engine=engine)(x, axis=(2, 3))
    assert y.dtype == np.float32
    assert_near(y, oracle.instance_norm(np.ascontiguousarray(x, np.float32), axis=(2, 3)))


@ENGINES
@pytest.mark.parametrize("view", ["strided", "backwards", "Fortran"])
def test_out_of_any_layout(engine, view):
    out = VIEWS[view](np.zeros_like(X))
    assert rn.compile(rn.instance_norm, engine=engine)(X, axis=(2, 3), out=out) is out
    assert_near(out)


@ENGINES
def test_nothing_is_copied(engine):
    """Large arrays go in and come out through DLPack: what NumPy itself allocates is little."""
    x = np.zeros((4, 1_000_000), dtype=np.float32)
    normalize = rn.compile(lambda x: x[:, :2] * 2, engine=engine)
    normalize(x)
    tracemalloc.start()
    try:
        y = normalize(x)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes // 4
    finally:
        tracemalloc.stop()
    assert type(y) is np.ndarray
    assert y.shape == (4, 2)


def test_memory_is_shared():
    """What comes in is what came out, where the function gives it back."""
    x = X.copy()
    y = rn.compile(lambda x: x, engine="torch")(x)
    assert np.shares_memory(x, y)


@ENGINES
def test_torch_in_and_out(engine):
    x = torch.tensor(X)
    y = rn.compile(rn.instance_norm, engine=engine)(x, axis=(2, 3))
    assert type(y) is torch.Tensor
    assert_near(y)


@ENGINES
def test_jax_in_and_out(engine):
    x = jax.numpy.asarray(X)
    y = rn.compile(rn.instance_norm, engine=engine)(x, axis=(2, 3))
    assert isinstance(y, jax.Array)
    # JAX computes its own arrays in float32.
    assert_near(y, bound=tolerances.SAME_FORWARD)


def test_own_engine_is_chosen(graphs):
    normalize = rn.compile(rn.instance_norm)
    normalize(jax.numpy.asarray(X), axis=(2, 3))
    assert not graphs
    normalize(torch.tensor(X), axis=(2, 3))
    assert len(graphs) == 1


def test_gradients_flow():
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    weights = torch.arange(x.numel()).reshape(x.shape)
    y = rn.compile(rn.instance_norm)(x, axis=(2, 3))
    (compiled,) = torch.autograd.grad(torch.sum(y * weights), x)
    (eager,) = torch.autograd.grad(torch.sum(rn.instance_norm(x, axis=(2, 3)) * weights), x)
    torch.testing.assert_close(compiled, eager, rtol=0, atol=1e-12 * X.size)


@ENGINES
def test_constants(engine):
    """Each set of constants is compiled for itself."""
    normalize = rn.compile(rn.instance_norm, engine=engine)
    for options in (
        {"axis": (2, 3)},
        {"axis": (1, 2, 3)},
        {"axis": -1},
        {"axis": (2, 3), "eps": 8.0, "eps_mode": "clamp"},
        {"axis": (2, 3), "eps": 0.5, "eps_mode": "relative"},
        {"axis": (2, 3), "correction": 1},
    ):
        for _ in range(2):
            assert_near(normalize(X, **options), oracle.instance_norm(X, **options))


@ENGINES
def test_numbers_are_constants(engine):
    normalize = rn.compile(rn.instance_norm, engine=engine)
    for scale in (2.0, 0.5):
        assert_near(normalize(X, scale, axis=(2, 3)), oracle.instance_norm(X, scale, axis=(2, 3)))


@ENGINES
def test_arrays_by_keyword(engine):
    normalize = rn.compile(rn.instance_norm, engine=engine)
    for where in (WHERE, ~WHERE):
        expected = oracle.instance_norm(X, axis=(2, 3), where=where)
        assert_near(normalize(X, axis=(2, 3), where=where), expected)
    for other in (STYLE, -STYLE):
        moments = rn.moments(other, axis=(2, 3))
        y = normalize(X, axis=(2, 3), moments=moments)
        np.testing.assert_array_equal(y, rn.instance_norm(X, axis=(2, 3), moments=moments))


@ENGINES
def test_maps_in_and_out(engine):
    """Named tuples come out as what they are, and go in again."""
    map = rn.compile(rn.standardizer, engine=engine)(X, axis=(2, 3))
    assert isinstance(map, rn.AffineMap)
    assert all(type(field) is np.ndarray and field.dtype == np.float64 for field in map)
    assert_near(map(X))
    moments = rn.compile(rn.moments, engine=engine)(X, axis=(2, 3))
    assert isinstance(moments, rn.Moments)
    back = rn.compile(lambda map, y: map.inv(y), engine=engine)(map, map(X))
    unit = oracle.reach(X, (2, 3))
    assert oracle.ulp_error(back, oracle.exact(X), "float32", of=unit) <= (
        tolerances.WIDER_ROUND_TRIP
    )


@ENGINES
def test_function_of_ones_own(engine):
    def forecast(x, style, *, axis):
        y, map = rn.revin(x, axis=axis)
        return {"back": map.inv(y), "styled": [rn.adain(x, style, axis=axis)]}

    result = rn.compile(forecast, engine=engine)(X, STYLE, axis=(2, 3))
    unit = oracle.reach(X, (2, 3))
    error = oracle.ulp_error(result["back"], oracle.exact(X), "float32", of=unit)
    assert error <= tolerances.WIDER_ROUND_TRIP
    assert_near(result["styled"][0], oracle.adain(X, STYLE, axis=(2, 3)))


HELD = SCALE
HELD_MAP = rn.standardizer(X, axis=(2, 3))


class Held:
    """An object that holds an array where no compiler looks for it."""

    scale = SCALE

    def norm(self, x):
        return rn.instance_norm(x, self.scale, axis=(2, 3), channel_axis=1)


@ENGINES
@pytest.mark.parametrize("way", ["global", "closure", "default", "partial"])
def test_arrays_that_a_function_holds(engine, way):
    held = SCALE

    def by_global(x):
        return rn.instance_norm(x, HELD, axis=(2, 3), channel_axis=1)

    def by_closure(x):
        return rn.instance_norm(x, held, axis=(2, 3), channel_axis=1)

    def by_default(x, scale=SCALE):
        return rn.instance_norm(x, scale, axis=(2, 3), channel_axis=1)

    functions = {"global": by_global, "closure": by_closure, "default": by_default}
    partial = functools.partial(by_default, scale=SCALE)
    y = rn.compile(functions.get(way, partial), engine=engine)(X)
    assert_near(y, oracle.instance_norm(X, SCALE, axis=(2, 3), channel_axis=1))


FACTOR = 2.0


def test_numbers_of_a_function_that_change(monkeypatch):
    """PyTorch looks at a user's globals, closures and layers again at every call."""
    layer = InstanceNorm(X.shape[1], layout="NCHW", track_running_stats=True)
    held = [2.0]

    def stretched(x):
        return layer(x) * FACTOR * held[0]

    compiled, x = rn.compile(stretched), torch.from_numpy(X)
    first = compiled(x)
    held[0] = 3.0
    torch.testing.assert_close(compiled(x), first * 1.5)
    monkeypatch.setitem(globals(), "FACTOR", 4.0)
    torch.testing.assert_close(compiled(x), first * 3)
    layer.eval()
    torch.testing.assert_close(compiled(x), stretched(x))
    assert not torch.allclose(compiled(x), first * 3)


frame = 2.0


def test_numbers_that_are_named_as_what_is_not_looked_at(monkeypatch):
    """A user's own `frame`, and a package whose name begins as this one's."""
    models = types.ModuleType("revnorm_models")
    exec("factor = 2.0\ndef stretched(x): return x * factor", vars(models))
    monkeypatch.setitem(sys.modules, "revnorm_models", models)

    def by_name(x):
        return models.stretched(rn.instance_norm(x, axis=(2, 3))) * frame

    compiled, x = rn.compile(by_name), torch.from_numpy(X)
    first = compiled(x)
    models.factor = 3.0
    torch.testing.assert_close(compiled(x), first * 1.5)
    monkeypatch.setitem(globals(), "frame", 4.0)
    torch.testing.assert_close(compiled(x), first * 3)


@ENGINES
def test_modules_and_types_that_a_function_names(engine):
    """These are no arrays, though they have a name `ndim` as arrays do."""

    def named(x, kind=np.float32):
        modules = np, jax.numpy, kind
        return rn.instance_norm(x, axis=(2, 3)) if modules else x

    assert_near(rn.compile(named, engine=engine)(X))


def test_a_type_for_a_dtype():
    out = np.empty(X.shape)
    assert HELD_MAP(X, dtype=np.float64, out=out) is out
    np.testing.assert_array_equal(rn.compile(HELD_MAP, engine="jax")(X, dtype=np.float64), out)


@ENGINES
def test_maps_that_a_function_holds(engine):
    assert_near(rn.compile(lambda x: HELD_MAP(x), engine=engine)(X))
    assert_near(rn.compile(HELD_MAP, engine=engine)(X))
    out = np.empty_like(X)
    assert rn.compile(HELD_MAP, engine=engine)(X, out=out) is out
    assert_near(out)
    spread = rn.compile(HELD_MAP.inv.spread, engine=engine)(X)
    np.testing.assert_array_equal(spread, HELD_MAP.inv.spread(X))


@ENGINES
def test_arrays_that_are_held_out_of_sight(engine):
    with pytest.raises(TypeError, match=r"^arrays must come from one library, got `x` "):
        rn.compile(Held().norm, engine=engine)(X)


def test_every_dtype_and_way_of_recording():
    """One compiled function serves them all, however many there are."""
    compiled, x = rn.compile(rn.instance_norm), torch.from_numpy(X)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for recorded in (False, True):
            for order in (torch.contiguous_format, torch.channels_last):
                given = x.clone().to(dtype, memory_format=order).requires_grad_(recorded)
                for wanted in (True, False):
                    with torch.set_grad_enabled(wanted):
                        y = compiled(given, axis=(2, 3))
                    assert y.dtype == dtype
                    assert y.requires_grad == (recorded and wanted)
                    torch.testing.assert_close(y, rn.instance_norm(given, axis=(2, 3)))


class Named(torch.Tensor):
    """A subclass that no compiler knows."""


def test_under_transforms_with_parameters_and_with_subclasses():
    compiled, x = rn.compile(rn.instance_norm), torch.from_numpy(X)
    y = rn.instance_norm(x, axis=(2, 3))
    each = torch.func.vmap(lambda one: compiled(one, axis=(1, 2)))(x)
    torch.testing.assert_close(each, y)
    weights = torch.from_numpy(np.cos(np.arange(X.size, dtype=np.float32)).reshape(X.shape))
    found = torch.func.grad(lambda x: (compiled(x, axis=(2, 3)) * weights).sum())(x)
    x.requires_grad_()
    (rn.instance_norm(x, axis=(2, 3)) * weights).sum().backward()
    torch.testing.assert_close(found, x.grad)
    learned = compiled(torch.nn.Parameter(x.detach()), axis=(2, 3))
    torch.testing.assert_close(learned, y)
    named = compiled(x.detach().as_subclass(Named), axis=(2, 3))
    torch.testing.assert_close(named.as_subclass(torch.Tensor), y)


@ENGINES
def test_one_compiled_function_in_another(engine):
    inner = rn.compile(rn.instance_norm, engine=engine)

    def both(x):
        return inner(x, axis=(2, 3)), inner(x, SCALE, axis=(2, 3), channel_axis=1)

    first, second = rn.compile(both, engine=engine)(X)
    assert_near(first)
    assert_near(second, oracle.instance_norm(X, SCALE, axis=(2, 3), channel_axis=1))


def test_in_a_compiled_function_of_ones_own():
    normalize = rn.compile(rn.instance_norm)
    x = torch.tensor(X)
    assert_near(torch.compile(lambda x: normalize(x, axis=(2, 3)), fullgraph=True)(x))
    out = torch.empty_like(x)
    torch.compile(lambda x, out: normalize(x, axis=(2, 3), out=out), fullgraph=True)(x, out)
    assert_near(out)


def test_errors_in_a_compiled_function_of_ones_own():
    """Themselves; where no part may run outside of the graph, their words within PyTorch's."""

    def wrong(x):
        return rn.instance_norm(x, axis=5)

    x, words = torch.tensor(X), "must lie within an array of 4 dimensions, got 5"
    with pytest.raises(IndexError, match=words):
        torch.compile(wrong)(x)
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match=words):
        torch.compile(wrong, fullgraph=True)(x)


def test_name_and_signature_are_kept():
    compiled = rn.compile(rn.instance_norm)
    assert compiled.__name__ == "instance_norm"
    assert compiled.__doc__ == rn.instance_norm.__doc__


def test_batch_sizes_beyond_the_second_compile_nothing(graphs):
    normalize = rn.compile(rn.instance_norm, engine="torch")
    for batch in (4, 5):
        normalize(sample((batch, 3, 6, 5)), axis=(2, 3))
    made = len(graphs)
    assert 1 <= made <= 2
    for batch in (6, 9, 17, 2):
        x = sample((batch, 3, 6, 5))
        assert_near(normalize(x, axis=(2, 3)), oracle.instance_norm(x, axis=(2, 3)))
    assert len(graphs) == made


def test_every_length_is_compiled_for_itself(graphs):
    """In one function as in several; only the batch may vary."""
    for normalize in (rn.compile(rn.instance_norm), rn.compile(rn.instance_norm)):
        for length in (30, 40, 50):
            normalize(torch.zeros(4, 3, length), axis=2)
    sizes = [
        size
        for graph in graphs
        for node in graph.graph.nodes
        if node.op == "placeholder"
        for size in node.meta["example_value"].shape
    ]
    assert len(graphs) == 6
    assert all(type(size) is int for size in sizes)


def test_same_call_compiles_nothing(graphs):
    normalize = rn.compile(rn.revin, engine="torch")
    for _ in range(3):
        normalize(X, SCALE, axis=(2, 3), channel_axis=1)
    assert len(graphs) == 1


def test_new_floats_compile_nothing(graphs):
    """From the second on; and they give what a constant would, bit for bit."""
    normalize = rn.compile(rn.instance_norm, engine="torch")
    made = []
    for value in (0.3, 0.7, 1.1, 1e-3, 5.0):
        before = len(graphs)
        y = normalize(X, value, -value, axis=(2, 3), eps=value)
        made.append(len(graphs) - before)
        constant = torch.compile(
            lambda x, value=value: rn.instance_norm(x, value, -value, axis=(2, 3), eps=value),
            fullgraph=True,
        )
        np.testing.assert_array_equal(y, constant(torch.from_numpy(X)).numpy())
    assert made == [1, 1, 0, 0, 0]


@ENGINES
def test_constants_that_are_equal_and_differ(engine):
    """1, 1.0 and True, 0.0 and -0.0."""
    tell = rn.compile(lambda x, value: x * 0 + isinstance(value, bool), engine=engine)
    assert [tell(X, one).max() for one in (1, True, 1.0, 1)] == [0, 1, 0, 0]
    sign = rn.compile(lambda x, value: x * 0 + math.copysign(1, value), engine=engine)
    assert [sign(X, zero).max() for zero in (0.0, -0.0, 0.0)] == [1, -1, 1]
    count = rn.compile(lambda x, value: x * 0 + (value != value), engine=engine)
    assert [count(X, one).max() for one in (math.nan, 1.0, -math.nan)] == [1, 0, 1]


@ENGINES
def test_first_calls_of_several_threads(engine):
    def call(rows):
        start.wait()
        x = sample((rows, 3, 6, 5))
        y = normalize(x, axis=(2, 3))
        return oracle.ulp_error(y, oracle.instance_norm(x, axis=(2, 3)), "float32")

    for _ in range(3):
        torch._dynamo.reset()
        normalize = rn.compile(rn.instance_norm, engine=engine)
        start = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            assert max(pool.map(call, (3, 3, 4, 5))) <= tolerances.WIDER_FORWARD


def test_jax_compiles_once_a_shape():
    traced = []

    def function(x):
        traced.append(x.shape)
        return rn.instance_norm(x, axis=1)

    normalize = rn.compile(function, engine="jax")
    for rows in (3, 4, 3, 4):
        normalize(sample((rows, 5)))
    assert traced == [(3, 5), (4, 5)]


def test_jax_setting_is_kept():
    before = jax.config.jax_enable_x64
    rn.compile(rn.instance_norm, engine="jax")(X, axis=(2, 3))
    assert jax.config.jax_enable_x64 == before


def test_unknown_engine():
    with pytest.raises(ValueError, match=r"^`engine` must be one of 'torch', 'jax', got 'numba'$"):
        rn.compile(rn.instance_norm, engine="numba")


@pytest.mark.parametrize(("engine", "wanted"), [("torch", "torch"), ("jax", "jax"),
                                                (None, "torch")])  # fmt: skip
def test_missing_engine(engine, wanted, monkeypatch):
    monkeypatch.setattr("revnorm._compile.find_spec", lambda name: None)
    normalize = rn.compile(rn.instance_norm, engine=engine)
    text = f"^`engine` '{wanted}' must be installed, got none: pip install {wanted}$"
    with pytest.raises(ImportError, match=text):
        normalize(X, axis=(2, 3))


def test_first_engine_that_is_installed(monkeypatch, graphs):
    known = importlib.util.find_spec
    monkeypatch.setattr(
        "revnorm._compile.find_spec", lambda name: None if name == "torch" else known(name)
    )
    assert_near(rn.compile(rn.instance_norm)(X, axis=(2, 3)))
    assert not graphs


def test_no_arrays():
    with pytest.raises(TypeError, match=r"^`function` must be given an array, got none$"):
        rn.compile(rn.instance_norm)(axis=1)


@ENGINES
def test_errors_of_the_function(engine):
    normalize = rn.compile(rn.instance_norm, engine=engine)
    with pytest.raises(ValueError, match=r"^`out` must be of shape"):
        normalize(X, axis=(2, 3), out=X[1:].copy())
    with pytest.raises(rn.AxisError, match=r"^`axis` must lie within an array of 4 dimensions"):
        normalize(X, axis=4)
    with pytest.raises(ValueError, match=r"^`eps` must be finite and not negative, got -1"):
        normalize(X, axis=(2, 3), eps=-1.0)
    with pytest.raises(TypeError, match=r"^`x` must be of a real floating dtype, got int(64|32)"):
        normalize(X.astype(np.int64), axis=(2, 3))


@ENGINES
def test_errors_of_ones_own(engine):
    def refuse(x):
        if x.shape[0] == 3:
            raise KeyError("three")
        return x + x

    function = rn.compile(refuse, engine=engine)
    np.testing.assert_array_equal(function(X), 2 * X)
    with pytest.raises(KeyError, match=r"^'three'"):
        function(X[:3])
    np.testing.assert_array_equal(function(X[:2]), 2 * X[:2])


@ENGINES
def test_arrays_that_cannot_be_shared(engine):
    normalize = rn.compile(rn.instance_norm, engine=engine)
    dask = pytest.importorskip("dask.array")
    text = f"^`function` must be given arrays that {engine} can take, got "
    with pytest.raises(TypeError, match=text + "dask.array of dtype float32$"):
        normalize(dask.from_array(X), axis=(2, 3))
    with pytest.raises(TypeError, match=text + "numpy of dtype longdouble|float128$"):
        normalize(X.astype(np.longdouble), axis=(2, 3))


@ENGINES
def test_mixed_libraries(engine):
    text = "^arrays must come from one library, got `array 0` numpy, `array 1` torch$"
    with pytest.raises(TypeError, match=text):
        rn.compile(rn.instance_norm, engine=engine)(X, torch.tensor(SCALE), axis=(2, 3))


@ENGINES
def test_constants_without_a_hash(engine):
    text = "^`function` must be given arrays and hashable constants, got unhashable type: 'set'$"
    with pytest.raises(TypeError, match=text):
        rn.compile(lambda x, names: x, engine=engine)(X, {"a"})


def test_out_that_cannot_be_written():
    x = jax.numpy.asarray(X)
    with pytest.raises(ValueError, match="`out` must be a writable eager array"):
        rn.compile(rn.instance_norm)(x, axis=(2, 3), out=x)


def test_compiled_code_is_as_accurate():
    x = sample((2, 2, 300), mean=1e4, std=0.1)
    x_hat, map = rn.compile(rn.revin, engine="torch")(x, axis=2)
    expected = oracle.revin(x, axis=2).astype(np.longdouble)
    assert np.max(ulp_error(x_hat, expected, dtype="float32")) <= tolerances.WIDER_FORWARD
    unit = np.spacing(np.max(abs(x), axis=2, keepdims=True))
    assert np.max(abs(map.inv(x_hat) - x) / unit) <= tolerances.WIDER_ROUND_TRIP


# These need the code that the compiler writes, in which loops are joined.
OF_THE_COMPILER = (
    test_compiled_code_is_as_accurate,
    test_out_that_overlaps,
    test_scale_in_the_memory_of_out,
)


def test_many_functions_and_constants():
    """More than the compiler would keep for one function."""
    for function in (rn.instance_norm, rn.standardizer):
        compiled = rn.compile(function, engine="torch")
        for eps in range(10):
            compiled(X[:, :, 0, 0], axis=1, eps=float(eps))
