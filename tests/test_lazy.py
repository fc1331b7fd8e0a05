"""Every function is traced, compiled, batched and deferred as it is."""

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import AFFINE, FUNCTIONS, WHERE, X, sample

TYPICAL = [f for f in FUNCTIONS if f.typical]


def over(functions):
    return pytest.mark.parametrize("function", functions, ids=repr)


def agree(backend, function, y, x=X, operands=None, precision="full"):
    """Near enough to the oracle."""
    expected = function.oracle(x, **(function.operands if operands is None else operands))
    bound = tolerances.forward(backend, "float32", precision)
    unit = function.unit_of(expected)
    assert oracle.ulp_error(y, expected, "float32", of=unit) <= bound


def prepared(backend, function):
    return backend.asarray(X), backend.asarrays(function.operands, "float32")


@pytest.fixture
def torch():
    """PyTorch, with what it compiled forgotten afterwards."""
    torch = pytest.importorskip("torch")
    torch.compiler.reset()
    yield torch
    torch.compiler.reset()


@pytest.mark.backends("torch")
@over(FUNCTIONS)
def test_torch_traces_one_graph(backend, function, torch):
    x, operands = prepared(backend, function)
    compiled = torch.compile(function.call, fullgraph=True, dynamic=False, backend="eager")
    agree(backend, function, backend.to_numpy(compiled(x, **operands)))


# Around what sums, blocks and compilers treat alike, and far beyond.
LENGTHS = [1, 2, 7, 8, 15, 16, 17, 255, 256, 257, 4097, 1_000_000]
DTYPES = ["float16", "bfloat16", "float32", "float64"]


def over_axis_1(x):
    return rn.instance_norm(x, axis=1)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", LENGTHS)
def test_torch_traces_every_dtype_and_length(backend, dtype, length, torch):
    compiled = torch.compile(over_axis_1, fullgraph=True, dynamic=False, backend="aot_eager")
    compiled_is_eager(backend, compiled, dtype, length, torch)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_traces_any_length(backend, dtype, torch):
    """One compiled function for all lengths; that of one element is another.

    Sums in float64 itself are folded once for every power of 16 in the length.
    """
    compiled = torch.compile(over_axis_1, fullgraph=True, dynamic=True, backend="aot_eager")
    for length in LENGTHS if dtype != "float64" else [n for n in LENGTHS if 16 <= n <= 256]:
        compiled_is_eager(backend, compiled, dtype, length, torch)


def compiled_is_eager(backend, compiled, dtype, length, torch):
    """One graph says what the function says, to the last bit or two, with its gradient."""
    x = backend.asarray(sample((2, length)), dtype).requires_grad_()
    weights = backend.asarray(sample((2, length), seed=1), dtype)
    unit = torch.finfo(x.dtype).eps
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), over_axis_1(x), rtol=2 * unit, atol=2 * unit)
    found, expected = (
        torch.autograd.grad(torch.sum(call(x) * weights), x)[0] for call in (compiled, over_axis_1)
    )
    # A few roundings of the largest term, in whichever order the sums are taken: two elements have
    # terms that cancel but for the share of eps.
    slope = 1 / torch.std(x.detach().double(), dim=1, correction=0).add(1e-5)
    largest = torch.max(abs(weights)) * torch.max(slope) if length > 1 else abs(expected).max()
    torch.testing.assert_close(found, expected, rtol=0, atol=4 * unit * float(largest))


@pytest.mark.backends("torch")
@pytest.mark.parametrize("transformed", [False, True])
def test_torch_is_told_what_to_keep(backend, transformed, torch):
    """A compiler left alone computes an instance's numbers anew at every element; see _tracing."""
    graphs = []

    def seen(graph, inputs):
        graphs.extend(part.code for part in graph.modules() if hasattr(part, "code"))
        return graph.forward

    def norm(x):
        return torch.sum(rn.instance_norm(x, axis=1) ** 3)

    call = torch.func.grad(norm) if transformed else norm
    x = backend.asarray(sample((2, 4096))).requires_grad_()
    torch.compile(call, fullgraph=True, backend=seen)(x)
    assert any("as_strided" in graph for graph in graphs) != transformed


@pytest.mark.backends("torch")
@over(TYPICAL)
def test_torch_traces_one_graph_for_all_batches(backend, function, torch):
    """Dynamic shapes: another batch does not compile again."""
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(function.call, fullgraph=True, dynamic=True, backend=count)
    for rows in (slice(None), slice(1, None)):
        given = {n: a[rows] if n in function.batched else a for n, a in function.operands.items()}
        y = compiled(backend.asarray(X[rows]), **backend.asarrays(given, "float32"))
        agree(backend, function, backend.to_numpy(y), X[rows], given)
    assert len(graphs) == 1


@pytest.mark.backends("torch")
@over(TYPICAL)
def test_torch_traces_gradients(backend, function, torch):
    x, operands = prepared(backend, function)
    compiled = torch.compile(function.call, fullgraph=True, backend="aot_eager")
    gradients = []
    for call in (compiled, function.call):
        leaf = x.clone().requires_grad_()
        (call(leaf, **operands) ** 2).sum().backward()
        gradients.append(backend.to_numpy(leaf.grad))
    scale = np.abs(gradients[1]).max()
    # The same float32 operations, joined or not: a few roundings of the largest gradient.
    assert np.abs(gradients[0] - gradients[1]).max() <= 4 * np.spacing(scale)


@pytest.mark.backends("torch")
def test_torch_inductor(backend, torch):
    x, scale, bias = (backend.asarray(a) for a in (X, *AFFINE.values()))

    def norm(x, scale, bias):
        return rn.instance_norm(x, scale, bias, axis=(2, 3), channel_axis=1)

    function = next(f for f in FUNCTIONS if f.id == "instance_norm")
    compiled = torch.compile(norm, fullgraph=True)
    agree(backend, function, backend.to_numpy(compiled(x, scale, bias)))


@pytest.mark.backends("torch")
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("length", [2, 7, 300])
def test_torch_inductor_in_float64(backend, length, dynamic, torch):
    """The compiler's own code, of any length or of one."""
    x = sample((2, length))
    compiled = torch.compile(
        lambda x: rn.revin(x, axis=1, eps=0.0), fullgraph=True, dynamic=dynamic
    )
    y, map = compiled(backend.asarray(x, "float64"))
    bound = tolerances.forward(backend, "float64")
    expected = oracle.revin(x, axis=1, eps=0.0)
    assert oracle.ulp_error(backend.to_numpy(y), expected, "float64") <= bound
    assert isinstance(map, rn.AffineMap)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("center", ["mean", "last"])
def test_torch_vmap(backend, center, torch):
    x, where = backend.asarray(X), backend.asarray(WHERE)

    def one(x, where):
        y, map = rn.revin(x, axis=(1, 2), where=where, center=center)
        return y, map.inv(y)

    y, back = torch.func.vmap(one)(x, where)
    expected, map = rn.revin(x, axis=(2, 3), where=where, center=center)
    np.testing.assert_array_equal(backend.to_numpy(y), backend.to_numpy(expected))
    np.testing.assert_array_equal(backend.to_numpy(back), backend.to_numpy(map.inv(expected)))


@pytest.mark.backends("jax")
@over(FUNCTIONS)
def test_jax_jit(backend, function):
    jax = pytest.importorskip("jax")
    if backend.variant and not function.typical:
        pytest.skip("typical functions stand for the others")
    x, operands = prepared(backend, function)
    y = jax.jit(lambda x, operands: function.call(x, **operands))(x, operands)
    assert y.dtype == x.dtype
    agree(backend, function, backend.to_numpy(y))


@pytest.mark.backends("jax")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@over(TYPICAL)
def test_jax_that_promotes_nothing_by_itself(backend, function, dtype):
    """Every change of dtype is asked for by name, so the strictest setting is without effect."""
    if dtype not in backend.dtypes:
        pytest.skip(f"no {dtype}")
    jax = pytest.importorskip("jax")
    x, operands = backend.asarray(X, dtype), backend.asarrays(function.operands, dtype)

    def called(x, operands):
        map = rn.standardizer(x, axis=2)
        y = function.call(x, **operands)
        return y, map.inv(y), map.spread(x)

    expected = jax.make_jaxpr(called)(x, operands)
    with jax.numpy_dtype_promotion("strict"):
        found = jax.make_jaxpr(called)(x, operands)
    assert str(found) == str(expected)
    assert {one.dtype for one in found.out_avals} == {x.dtype}


@pytest.mark.backends("jax")
@pytest.mark.parametrize("center", ["mean", "last"])
def test_jax_vmap(backend, center):
    jax = pytest.importorskip("jax")
    x, where = backend.asarray(X), backend.asarray(WHERE)

    def one(x, where):
        return rn.revin(x, axis=(1, 2), where=where, center=center)[0]

    y = jax.jit(jax.vmap(one))(x, where)
    expected = oracle.revin(X, axis=(2, 3), where=WHERE, center=center)
    bound = tolerances.forward(backend, "float32")
    assert oracle.ulp_error(backend.to_numpy(y), expected, "float32") <= bound


@pytest.mark.backends("jax")
@pytest.mark.parametrize("center", ["mean", "last"])
@pytest.mark.parametrize("masked", [False, True])
def test_jax_exports_symbolic_shapes(backend, center, masked):
    """For any batch and any length, shorter and longer than what is measured in one."""
    jax = pytest.importorskip("jax")
    export = pytest.importorskip("jax.export")

    def there_and_back(x, where):
        y, map = rn.revin(x, axis=1, where=where if masked else None, center=center)
        return y, map.inv(y)

    sizes = export.symbolic_shape("batch, time, 3")
    kinds = [jax.ShapeDtypeStruct(sizes, dtype) for dtype in ("float32", "bool")]
    exported = export.export(jax.jit(there_and_back))(*kinds)
    for batch, time in ((2, 7), (1, 4097)):
        x = sample((batch, time, 3))
        where = sample((batch, time, 3), seed=1) > 0
        found = exported.call(backend.asarray(x), backend.asarray(where))
        for one, same in zip(found, there_and_back(x, where), strict=True):
            # A few roundings of the largest, in whichever order sums are taken in float32.
            room = 8 * np.finfo(np.float32).eps * np.max(abs(backend.to_numpy(same)))
            np.testing.assert_allclose(backend.to_numpy(one), same, rtol=0, atol=room)


@pytest.mark.backends("jax")
def test_jax_map_passes_through_jit(backend):
    """A map and moments are pytrees: they go into a compiled function and come out of it."""
    jax = pytest.importorskip("jax")
    x = backend.asarray(X)
    y, map = jax.jit(lambda x: rn.revin(x, axis=2))(x)
    assert isinstance(map, rn.AffineMap)
    back = backend.to_numpy(jax.jit(lambda map, y: map.inv(y))(map, y))
    exact = oracle.exact(X)
    error = oracle.ulp_error(back, exact, "float32", of=oracle.reach(exact, 2))
    assert error <= tolerances.round_trip(backend, "float32")
    assert isinstance(jax.jit(lambda x: rn.moments(x, axis=2))(x), rn.Moments)


@pytest.mark.backends("jax", "torch", "numpy")
def test_maps_and_moments_are_pytrees_of_arrays(backend):
    jax = pytest.importorskip("jax")
    pytree = pytest.importorskip("torch.utils._pytree")
    x = backend.asarray(X)
    for tree in (rn.moments(x, axis=2), rn.standardizer(x, axis=2)):
        leaves, structure = jax.tree_util.tree_flatten(tree)
        assert len(leaves) == len(tree)
        assert type(jax.tree_util.tree_unflatten(structure, leaves)) is type(tree)
        leaves, structure = pytree.tree_flatten(tree)
        assert all(leaf is field for leaf, field in zip(leaves, tree, strict=True))
        assert type(pytree.tree_unflatten(leaves, structure)) is type(tree)


@pytest.mark.backends("dask")
@over(FUNCTIONS)
def test_dask_computes_nothing(backend, function):
    dask = pytest.importorskip("dask")

    def refuse(*args, **kwargs):
        raise AssertionError("the graph was computed while it was built")

    x, operands = prepared(backend, function)
    with dask.config.set(scheduler=refuse):
        y = function.call(x, **operands)
    assert y.shape == X.shape
    if function.typical or not backend.variant:
        agree(backend, function, y.compute())


@pytest.mark.backends("dask")
def test_dask_map_computes_nothing(backend):
    dask = pytest.importorskip("dask")

    def refuse(*args, **kwargs):
        raise AssertionError("the graph was computed while it was built")

    x = backend.asarray(X)
    with dask.config.set(scheduler=refuse):
        y, map = rn.revin(x, axis=(2, 3))
        back = map.inv(y)
        std = map.inv.spread(y)
        merged = rn.merge(rn.moments(x[:2], axis=3), rn.moments(x[2:], axis=3))
    assert std.shape == X.shape
    assert merged.mean.shape == (2, 3, 6, 1)
    exact = oracle.exact(X)
    error = oracle.ulp_error(back.compute(), exact, "float32", of=oracle.reach(exact, (2, 3)))
    assert error <= tolerances.round_trip(backend, "float32")


@pytest.mark.backends("ndonnx")
@pytest.mark.parametrize("center", ["mean", "last"])
def test_onnx_model_of_symbolic_shapes_goes_there_and_back(backend, center):
    """One model normalizes and denormalizes, for any batch and any length."""
    nd = pytest.importorskip("ndonnx")
    ort = pytest.importorskip("onnxruntime")
    shape = ("N", 3, "H", None)
    x = nd.argument(shape=shape, dtype=nd.float32)
    where = nd.argument(shape=shape, dtype=nd.bool)
    scale, bias = (nd.asarray(p) for p in AFFINE.values())
    options = {"axis": (2, 3), "channel_axis": 1, "center": center}
    y, map = rn.revin(x, scale, bias, where=where, **options)
    model = nd.build({"x": x, "where": where}, {"y": y, "back": map.inv(y)})
    session = ort.InferenceSession(model.SerializeToString())
    for n in (slice(None), slice(0, 1)):
        values, seen = X[n, :, :, : 5 - (n.stop or 0)], WHERE[n, :, :, : 5 - (n.stop or 0)]
        forward, back = session.run(["y", "back"], {"x": values, "where": seen})
        expected = oracle.revin(values, **AFFINE, where=seen, **options)
        assert oracle.ulp_error(forward, expected, "float32") <= tolerances.WIDER_FORWARD
        numpy, its_map = rn.revin(values, *AFFINE.values(), where=seen, **options)
        # Both round the same number once, half an ULP each and 0.01.
        assert oracle.ulp_error(forward, oracle.exact(numpy), "float32") <= 1
        exact = oracle.exact(its_map.inv(numpy))
        unit = oracle.reach(exact, (2, 3))
        # Where y differs by an ULP, so does the way back, divided by the scale of 1/2.
        assert oracle.ulp_error(back, exact, "float32", of=unit) <= 2 * tolerances.WIDER_ROUND_TRIP


@pytest.mark.backends("ndonnx")
@over(FUNCTIONS)
def test_onnx_model_of_every_function(backend, function):
    nd = pytest.importorskip("ndonnx")
    ort = pytest.importorskip("onnxruntime")
    given = {"x": X, **function.operands}
    arguments = {
        name: nd.argument(shape=array.shape, dtype=nd.asarray(array).dtype)
        for name, array in given.items()
    }
    model = nd.build(arguments, {"y": function.call(**arguments)})
    session = ort.InferenceSession(model.SerializeToString())
    agree(backend, function, session.run(["y"], given)[0])


@pytest.mark.backends("dask")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_tasks_a_chunk(backend, dtype):
    """One measures a chunk, and one draws it; a frame of another sample takes more."""
    da = pytest.importorskip("dask.array")

    def tasks(norm, shape, chunks):
        x = da.zeros(shape, chunks=chunks, dtype=dtype)
        return len(dict(norm(x, axis=1).__dask_graph__()))

    whole = (
        rn.instance_norm,
        lambda x, axis: rn.revin(x, axis=axis)[0],
        lambda x, axis: rn.batch_instance_norm(x, 0.5, axis=axis, batch_axis=0),
    )
    others = (
        lambda x, axis: rn.revin(x, axis=axis, center="last", where=x > 0)[0],
        lambda x, axis: rn.adain(x, x, axis=axis, strength=0.5),
    )
    for norm in whole:
        assert tasks(norm, (100, 64, 10), (1, 64, 10)) <= 16 * 100
    for norm in (*whole, *others):
        few, many = (tasks(norm, (8, length, 10), (8, 16, 10)) for length in (1600, 3200))
        assert many - few <= 8 * 100


@pytest.mark.backends("dask")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [1, (0, 1)])
def test_statistics_are_taken_in_a_tree(backend, axis, dtype):
    """No task waits for more than sixteen others, however many chunks there are."""
    da = pytest.importorskip("dask.array")
    x = da.zeros((12, 3200, 10), chunks=(3, 16, 10), dtype=dtype)
    y, norm_map = rn.revin(x, axis=axis)
    last, last_map = rn.revin(x, axis=axis, center="last", where=x == 0)
    many = rn.Moments(*(field.rechunk({0: 1}) for field in rn.moments(x, axis=(1, 2))))
    for result in (y, last, norm_map.divisor, last_map.center, rn.adain(x, x, axis=axis), *many):
        waited_for = result.__dask_graph__().get_all_dependencies().values()
        assert max(map(len, waited_for)) <= 16


@pytest.mark.backends("dask")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 2, (0, 2), (1, 2)], ids=str)
def test_chunks_of_unknown_sizes(backend, axis, dtype):
    """Along one axis, and so many elements along another that known ones would be cut up."""
    da = pytest.importorskip("dask.array")
    x = sample((6, 2, 6000), mean=3.0).astype(dtype)
    for length in (6000, 1000):
        lazy = da.from_array(x, chunks=(2, 2, length))
        lazy = lazy[da.from_array(np.arange(6) > 0, chunks=2)]
        for given, seen in ((None, None), (lazy > 2, x[1:] > 2)):
            y, norm_map = rn.revin(lazy, axis=axis, where=given)
            expected = rn.revin(x[1:], axis=axis, where=seen)[0]
            # Both round once; in float64 sums of up to 12000 round in an order of Dask's own.
            allowed = np.finfo(dtype).eps * (1 if dtype == "float32" else 64)
            np.testing.assert_allclose(np.asarray(y), expected, rtol=allowed, atol=allowed)
            back = np.asarray(norm_map.inv(y))
            np.testing.assert_allclose(back, x[1:], rtol=0, atol=32 * np.finfo(dtype).eps)


@pytest.mark.backends("ndonnx")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onnx_model_of_long_instances_in_any_number(backend, dtype):
    nd = pytest.importorskip("ndonnx")
    ort = pytest.importorskip("onnxruntime")
    x = nd.argument(shape=("N", 6000), dtype=getattr(nd, dtype))
    model = nd.build({"x": x}, {"y": rn.instance_norm(x, axis=1)})
    session = ort.InferenceSession(model.SerializeToString())
    values = sample((3, 6000), mean=3.0).astype(dtype)
    (y,) = session.run(["y"], {"x": values})
    # Both round once; in float64 sums of 6000 round in an order of ONNX Runtime's own.
    allowed = np.finfo(dtype).eps * (1 if dtype == "float32" else 64)
    np.testing.assert_allclose(y, rn.instance_norm(values, axis=1), rtol=allowed, atol=allowed)


@pytest.mark.backends("dask")
def test_merges_make_short_graphs(backend):
    """Of a few tasks each, that hold no graph themselves."""
    da = pytest.importorskip("dask.array")
    pickle = pytest.importorskip("cloudpickle")
    x = sample((4, 200), mean=3.0).astype(np.float64)
    parts = [rn.moments(da.from_array(x[:, i : i + 10]), axis=1) for i in range(0, 200, 10)]
    whole = parts[0]
    for part in parts[1:]:
        whole = rn.merge(whole, part)
    graph = dict(whole.variance.__dask_graph__())
    assert len(graph) <= 20 * 16
    assert max(len(pickle.dumps(task)) for task in graph.values()) < 20_000
    expected = rn.moments(x, axis=1)
    # As many merges, of a few roundings each.
    np.testing.assert_allclose(whole.mean.compute(), expected.mean, rtol=20 * 2.0**-52)
    np.testing.assert_allclose(whole.variance.compute(), expected.variance, rtol=20 * 2.0**-52)


EMPTY = [
    ((2, 2), (3,), (0, 2, 4), (5,)),
    ((4,), (3,), (0, 6), (0, 5)),
    ((2, 0, 2), (0, 1, 2), (2, 0, 4), (5, 0)),
    ((0, 4), (3, 0), (6,), (5,)),
]


@pytest.mark.backends("dask")
@pytest.mark.parametrize("chunks", EMPTY, ids=str)
@over(FUNCTIONS)
def test_chunks_without_elements(backend, function, chunks):
    """Along what is reduced or not, of the data; operands lie in one chunk each."""
    da = pytest.importorskip("dask.array")
    y = function.call(
        da.from_array(X, chunks=chunks), **backend.asarrays(function.operands, "float32")
    )
    assert y.chunks == da.from_array(X, chunks=chunks).chunks
    agree(backend, function, np.asarray(y))


@pytest.mark.backends("dask")
@pytest.mark.parametrize("chunks", EMPTY, ids=str)
def test_moments_of_chunks_without_elements(backend, chunks):
    x = pytest.importorskip("dask.array").from_array(X, chunks=chunks)
    for axis in (2, (2, 3), (0, 1, 2, 3)):
        for one, other in zip(rn.moments(x, axis=axis), rn.moments(X, axis=axis), strict=True):
            # A mean of up to 16 deviations is squared, and what its 256 rounds is the variance's.
            np.testing.assert_allclose(one, other, rtol=256 * 2.0**-52, atol=16 * 2.0**-52)


SOME = np.asarray([True, False, True, True])


def filtered(array, chunks):
    """Some of the instances, as Dask has them that does not know how many there are."""
    da = pytest.importorskip("dask.array")
    rows = (1, 2, 1)
    return da.from_array(array, chunks=(rows, *chunks))[da.from_array(SOME, chunks=(rows,))]


@pytest.mark.backends("dask")
@over([f for f in FUNCTIONS if (f.batched or f.pooled) and f.id != "merge"])
def test_an_unknown_number_of_instances(backend, function):
    """Of the data, and of all operands that have one for each of them; a merge counts them."""
    if backend.variant:
        pytest.skip("cut here already")
    chunks = ((2, 1), (1, 4, 1), (5,)) if function.typical else ((3,), (6,), (5,))
    given = {n: a[SOME] if n in function.batched else a for n, a in function.operands.items()}
    operands = backend.asarrays(function.operands, "float32")
    for name in function.batched & operands.keys():
        array = np.asarray(operands[name])
        operands[name] = filtered(array, tuple((size,) for size in array.shape[1:]))
    y = function.call(filtered(X, chunks), **operands)
    assert np.isnan(y.shape[0])
    agree(backend, function, np.asarray(y), X[SOME], given)


@pytest.mark.backends("dask")
def test_masks_and_weights_of_unknown_sizes_are_cut_as_the_data_are(backend):
    da = pytest.importorskip("dask.array")

    def some(array, rows):
        chunks = (rows, *array.shape[1:])
        return da.from_array(array, chunks=chunks)[da.from_array(np.ones(12, bool), chunks=(rows,))]

    x, rows = np.arange(24.0).reshape(12, 2), (4, 1, 4, 3)
    data, seen, weights = some(x, rows), x % 5 > 1, np.arange(12.0)
    calls = {
        "where": lambda cut: rn.moments(data, axis=0, where=some(seen, cut)).mean.compute(),
        "`sample_weight`": lambda cut: (
            rn.Standardizer(axis=0).adapt(data, sample_weight=some(weights, cut)).moments.mean
        ),
    }
    np.testing.assert_allclose(calls["where"](rows)[0], np.average(x, axis=0, weights=seen))
    mean = np.average(x, axis=0, weights=weights)
    np.testing.assert_allclose(calls["`sample_weight`"](rows)[0], mean)
    # Chunks of one row fit any others, as NumPy sees it.
    for cut, told in (((1, 4, 4, 3), "a chunk of .* beside one of"), ((6, 6), "chunks beside")):
        for name, call in calls.items():
            with pytest.raises(
                ValueError, match=f"{name}.* must be cut as the data are, got .*{told}"
            ):
                call(cut)


@pytest.mark.backends("dask")
def test_a_known_number_beside_an_unknown_one_is_refused(backend):
    """Dask cannot cut the one as the other is cut, nor say so."""
    unknown, known = filtered(X, ((3,), (6,), (5,))), backend.asarray(X[SOME])
    table, labels = backend.asarray(np.ones((2, 3))), backend.asarray(np.asarray([0, 1, 1]))
    axes = {"axis": (2, 3), "batch_axis": 0, "channel_axis": 1}
    for call in (
        lambda: rn.adain(unknown, known, axis=(2, 3)),
        lambda: rn.adain(known, unknown, axis=(2, 3)),
        lambda: rn.adain(unknown, rn.moments(known, axis=(2, 3)), axis=(2, 3)),
        lambda: rn.conditional_instance_norm(unknown, table, table, labels, **axes),
        lambda: rn.spatially_adaptive_norm(unknown, known, known, axis=(2, 3)),
        lambda: rn.instance_norm(unknown, axis=(2, 3), where=known > 0),
        lambda: rn.merge(rn.moments(unknown, axis=2), rn.moments(known, axis=2)),
        lambda: rn.Standardizer(keep=1).adapt(unknown, sample_weight=np.ones(3)),
    ):
        with pytest.raises(ValueError, match=r"shape.*nan.*; compute_chunk_sizes") as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.backends("dask")
@pytest.mark.parametrize("chunks", [(2, 40, 5), (2, 7, 3), (6, 40, 2)])
def test_operands_in_other_chunks(backend, chunks):
    """A mask and a scale that are cut otherwise than the data, and along what is reduced."""
    da = pytest.importorskip("dask.array")
    x, scale = sample((6, 40, 5)), np.linspace(0.5, 2, 5, dtype=np.float32)
    where = np.random.default_rng(0).random(x.shape) < 0.7
    lazy, cut = da.from_array(x, chunks=chunks), da.from_array(where, chunks=(3, 20, 5))
    given = {"axis": 1, "channel_axis": 2}
    y, norm_map = rn.revin(lazy, da.from_array(scale, chunks=2), **given, where=cut)
    exact = oracle.revin(x, scale, **given, where=where)
    assert oracle.ulp_error(np.asarray(y), exact, "float32") <= tolerances.WIDER_FORWARD
    back = oracle.ulp_error(
        np.asarray(norm_map.inv(y)), oracle.exact(x), "float32", of=oracle.reach(x, 1)
    )
    assert back <= tolerances.WIDER_ROUND_TRIP * float(np.max(1 / scale))


@pytest.mark.backends("dask")
@pytest.mark.parametrize("scale", [1e25, 1e37, 1e-30, 1e-40, 1e5])
def test_chunks_of_one_number_over_the_range(backend, scale):
    """Each alone has no deviation; together they have one, whose square may leave the range."""
    x = (scale * np.random.default_rng(0).normal(size=(3, 7))).astype("float32")
    cut = backend.asarray(x).rechunk((3, 1))
    y = backend.to_numpy(rn.instance_norm(cut, axis=1, eps=0.0, precision="native"))
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(axis=1, keepdims=True)) / wide.std(axis=1, keepdims=True)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
