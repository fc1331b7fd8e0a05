"""Statistics of a data set, from any source in any parts, kept and applied anywhere."""

import copy
import io
import pickle
import threading

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances
from functions import WHERE, X

RNG = np.random.default_rng(0)
DATA = RNG.normal([1e4, -3.0, 0.0, 1e-3], [1.0, 5.0, 1e-6, 10.0], (600, 4)).astype(np.float32)
MASK = RNG.random(DATA.shape) < 0.7
WEIGHTS = RNG.integers(0, 4, 600).astype(np.float64)
FEATURES = np.asarray([[0, 7, 4], [2, 9, 6], [0, 7, 4], [2, 9, 6]], dtype="float32")


def exact(x, where=None):
    return oracle.moments(x, axis=0, where=where)


def assert_right(found, expected, merges=1):
    """As exact as float64 holds it, and as often rounded as there are merges.

    Sums of chains of sixteen that are added pairwise round 12 + log2(n) times, and so may the
    deviations and squares that they are of. Around a pivot up to a deviation off, the mean square
    is twice the variance.
    """
    for field in ("mean", "variance", "count"):
        values, truth = getattr(found, field), getattr(expected, field)
        error = oracle.exact(values) - truth
        scale = abs(truth) if field != "mean" else abs(truth) + oracle.root(expected.variance)
        roundings = 2 * (12 + 2 * int(np.log2(float(np.max(expected.count)))))
        assert (abs(error) <= merges * roundings * scale / 2**53).all(), field


class TestExamplesOfKeras:
    """Those of keras.layers.Normalization's docstring, with the numbers printed there."""

    def test_all_axes(self):
        data = np.asarray([1.0, 2.0, 3.0, 4.0, 5.0], dtype="float32")
        y = rn.Standardizer(keep=()).adapt(data)(data[:3])
        np.testing.assert_array_equal(y, np.float32([-1.4142135, -0.70710677, 0.0]))

    def test_last_axis_is_kept(self):
        y = rn.Standardizer(keep=-1).adapt(FEATURES)(FEATURES[:1])
        np.testing.assert_array_equal(y, [[-1, -1, -1]])

    @pytest.mark.parametrize("axes", [{"keep": -1}, {"axis": 0}, {}])
    def test_given(self, axes):
        x = np.asarray([[1.0], [2.0], [3.0]], dtype="float32")
        y = rn.Standardizer(mean=3.0, variance=2.0, **axes)(x)
        np.testing.assert_array_equal(y, np.float32([[-1.4142135], [-0.70710677], [0]]))

    def test_inverse(self):
        standardize = rn.Standardizer(keep=-1).adapt(FEATURES)
        x = standardize.inv(np.asarray([[1, 2, 3]], dtype="float32"))
        np.testing.assert_array_equal(x, [[2, 10, 8]])


@pytest.mark.parametrize(
    ("axis", "keep"), [(0, (1, 2, 3)), ((0, 2, 3), 1), ((-1, 0), (1, -2)), ((0, 1, 2, 3), ())]
)
def test_axes_reduced_are_the_others_kept(axis, keep):
    reduced, kept = rn.Standardizer(axis=axis).adapt(X), rn.Standardizer(keep=keep).adapt(X)
    for one, other in zip(reduced.moments, kept.moments, strict=True):
        np.testing.assert_array_equal(one, other)
    assert_right(reduced.moments, oracle.moments(X, axis=axis))
    # Both correctly rounded, but for what lies midway.
    np.testing.assert_allclose(reduced(X), rn.standardizer(X, axis=axis, eps=0.0)(X), rtol=2.0**-23)


def _adapted(backend, x, **beside):
    return rn.Standardizer(axis=(0, 2)).adapt(backend.asarray(x), **beside)


def test_every_library_there_and_back(backend):
    x = backend.asarray(X)
    standardize = rn.Standardizer(axis=(0, 2)).adapt(x)
    y = standardize(x)
    assert type(y) is type(x)
    assert y.dtype == x.dtype
    expected = oracle.standardizer(X, axis=(0, 2), eps=0)(X)
    error = oracle.ulp_error(backend.to_numpy(y), expected, "float32")
    assert error <= tolerances.forward(backend, "float32")
    back, reach = backend.to_numpy(standardize.inv(y)), oracle.reach(X, (0, 2))
    error = oracle.ulp_error(back, oracle.exact(X), "float32", of=reach)
    assert error <= tolerances.round_trip(backend, "float32")


@pytest.mark.parametrize("level", [0.0, 3.0, 1e6])
@pytest.mark.parametrize("kind", ["normal", "two values", "sorted", "an outlier first"])
def test_float64_data_are_held_to_the_bound_of_the_kernels(level, kind):
    x = np.random.default_rng(1).normal(size=(3000, 4))
    if kind == "two values":
        x = np.sign(x)
    elif kind == "sorted":
        x = np.sort(x, axis=0)
    elif kind == "an outlier first":
        x[0] = 1e5
    x = x + level
    y = rn.Standardizer(axis=0).adapt(x)(x)
    expected = oracle.standardizer(x, axis=0, eps=0)(x)
    assert oracle.ulp_error(y, expected, "float64") <= 4


def test_a_level_that_few_rows_do_not_show():
    """Whatever rows a pivot is chosen by: here every 312th, of 64."""
    x = 1e6 + np.random.default_rng(1).normal(size=20_000)
    x[::312] = 0.0
    y = rn.Standardizer(axis=0).adapt(x)(x)
    assert oracle.ulp_error(y, oracle.standardizer(x, axis=0, eps=0)(x), "float64") <= 4


def test_sums_of_squares_may_overflow_where_the_variance_does_not():
    x = np.random.default_rng(1).normal(size=(100_000, 2)) * 1e153
    found = rn.Standardizer(axis=0).adapt(x).moments
    np.testing.assert_allclose(found.variance[0], (x / 1e153).var(axis=0) * 1e306, rtol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_of_every_library_are_those_of_numpy(backend, masked, weighted):
    """In float64 also where the library has none; a chunk or a part is one rounding more."""
    beside = {"where": WHERE} if masked else {}
    if weighted:
        beside["sample_weight"] = np.asarray([1.0, 0.0, 2.5, 3.0])
    found = _adapted(backend, X, **beside).moments
    expected = rn.Standardizer(axis=(0, 2)).adapt(X, **beside).moments
    assert {field.dtype for field in found} == {np.dtype(np.float64)}
    for one, other in zip(found._replace(residual=0), expected._replace(residual=0), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)


def torch_loader(x):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.as_tensor(x), torch.zeros(len(x)))
    return torch.utils.data.DataLoader(data, batch_size=64)


def dask_array(x):
    return pytest.importorskip("dask.array").from_array(x, chunks=(97, 3))


def mixed(x):
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    return [torch.as_tensor(x[:100]), x[100:250], jax.numpy.asarray(x[250:])]


SOURCES = {
    "array": lambda x: x,
    "Fortran order": np.asfortranarray,
    "list": lambda x: [x[:7], x[7:300], x[300:]],
    "generator": lambda x: (x[i : i + 11] for i in range(0, len(x), 11)),
    "one by one": lambda x: (x[i : i + 1] for i in range(len(x))),
    "pairs": lambda x: [(x[:100], None), [x[100:], "labels"]],
    "one of them empty": lambda x: [x[:0], x, x[:0]],
    "data frames": lambda x: frames(x),
    "a buffer used again": lambda x: _reused(x),
    "DataLoader": torch_loader,
    "Dask": dask_array,
    "of several libraries": mixed,
}


def frames(x):
    pandas = pytest.importorskip("pandas")
    return [pandas.DataFrame(x[:100]), pandas.DataFrame(x[100:])]


def _reused(x):
    buffer = np.empty_like(x[:10])
    for start in range(0, len(x), 10):
        buffer[...] = x[start : start + 10]
        yield buffer


@pytest.mark.parametrize("source", SOURCES)
def test_data_of_any_source(source):
    found = rn.Standardizer(axis=0).adapt(SOURCES[source](DATA)).moments
    assert_right(found, exact(DATA), merges=10)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64", "longdouble"])
def test_data_of_any_dtype_are_summed_in_float64(dtype):
    x = (np.arange(12_000).reshape(4000, 3) % 251).astype(dtype)
    standardize = rn.Standardizer(axis=0).adapt([x[:7], x[7:]])
    assert_right(standardize.moments, exact(x.astype(np.float64)), merges=4)
    assert standardize(x).dtype == (x.dtype if dtype == "float16" else np.float64)


@pytest.mark.backends("jax", "array-api-strict", "mlx")
def test_integers_become_the_widest_floats_of_their_device(backend):
    x = backend.asarray(np.asarray([[1, 2], [3, 6]], np.int32))
    y = rn.Standardizer(axis=0).adapt(x)(x)
    assert str(y.dtype).endswith(backend.widest)
    np.testing.assert_array_equal(backend.to_numpy(y), [[-1, -1], [1, 1]])


def test_gaps():
    x = np.where(MASK, DATA, np.nan)
    expected = exact(DATA, MASK)
    found = rn.Standardizer(axis=0).adapt(x, where=MASK)
    assert_right(found.moments, expected)
    batches = [x[:50], x[50:]], [MASK[:50], MASK[50:]]
    assert_right(rn.Standardizer(axis=0).adapt(batches[0], where=batches[1]).moments, expected, 2)
    updated = rn.Standardizer(axis=0).update(x[:50], MASK[:50]).update(x[50:], where=MASK[50:])
    assert_right(updated.moments, expected, 2)
    columns = np.asarray([True, False, True, True])
    seen = rn.Standardizer(axis=0).adapt([x[:50] * 0 + 1, x[50:] * 0 + 1], where=columns & MASK[:1])
    assert seen.moments.count.shape == (1, 4)


def test_a_feature_never_observed_is_left_alone():
    x = np.asarray([[np.nan, 1.0], [np.nan, 3.0]])
    standardize = rn.Standardizer(axis=0).adapt(x, where=~np.isnan(x))
    np.testing.assert_array_equal(standardize(np.asarray([[7.0, 3.0]])), [[7.0, 1.0]])


def test_weights_count_samples_so_often():
    repeated = np.repeat(DATA, WEIGHTS.astype(int), axis=0)
    x = np.where(WEIGHTS[:, None] == 0, np.nan, DATA)
    found = rn.Standardizer(axis=0).adapt(x, sample_weight=WEIGHTS)
    # Of the deviations, in an order that weights set: some 2^11 roundings at the most.
    assert_right(found.moments, exact(repeated), merges=10)
    parts = [x[:77], x[77:]]
    found = rn.Standardizer(axis=0).adapt(parts, sample_weight=[WEIGHTS[:77], WEIGHTS[77:]])
    assert_right(found.moments, exact(repeated), merges=10)
    masked = rn.Standardizer(axis=0).adapt(x, where=MASK, sample_weight=WEIGHTS)
    assert_right(masked.moments, exact(repeated, np.repeat(MASK, WEIGHTS.astype(int), axis=0)), 10)


def test_weights_lie_along_the_first_axes():
    x = RNG.normal(size=(5, 7, 3))
    weights = RNG.integers(1, 4, (5, 7)).astype(float)
    found = rn.Standardizer(keep=-1).adapt(x, sample_weight=weights).moments
    repeated = np.repeat(x.reshape(35, 3), weights.astype(int).ravel(), axis=0)
    np.testing.assert_allclose(found.variance[0], rn.moments(repeated, axis=0).variance, rtol=1e-14)
    whole = rn.Standardizer(keep=-1).adapt(x, sample_weight=weights[:, :1, None]).moments
    assert (whole.count == 7 * weights[:, 0].sum()).all()


@pytest.mark.parametrize("magnitude", [1e-300, 1e150, 2e307])
def test_weighted_sums_do_not_overflow(magnitude):
    x = np.asarray([1.0, 2.0, 6.0]) * magnitude
    standardize = rn.Standardizer(axis=0).adapt(x, sample_weight=np.asarray([1.0, 2.0, 1.0]))
    np.testing.assert_allclose(standardize.moments.mean / magnitude, 2.75, rtol=1e-15)


def test_long_weighted_data_are_taken_in_parts():
    x = RNG.normal(1e3, 1, (200_000, 3))
    found = rn.Standardizer(axis=0).adapt(x, sample_weight=np.full(200_000, 0.5)).moments
    expected = rn.moments(x, axis=0)
    np.testing.assert_allclose(found.variance, expected.variance, rtol=1e-13)
    np.testing.assert_allclose(found.count, 100_000)


class TestManyBatches:
    @pytest.mark.parametrize("level", [0.0, 1e6])
    def test_lose_no_accuracy(self, level):
        """Two values make roundings agree: merged one after another, this loses 34 of them."""
        x = level + np.where(np.arange(3000) % 3 == 0, 0.1, 0.7)
        standardize = rn.Standardizer(axis=0)
        for one in x:
            standardize.update(np.asarray([one]), where=np.asarray([True]))
        found, expected = standardize.moments, exact(x)
        # Pairwise, a number is rounded once on each level.
        lost = abs(oracle.exact(found.variance) - expected.variance) / expected.variance
        assert lost <= np.log2(3000) / 2**53
        lost = abs(oracle.exact(found.mean) + oracle.exact(found.residual) - expected.mean)
        assert lost <= np.log2(3000) / 2**53

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_of_narrow_rows_may_be_of_any_size(self, dtype):
        """More rows than are added up in one, too."""
        x = RNG.normal(30, 3, (30_000, 40)).astype(dtype)
        for rows, sizes in ((26_000, (1, 333, 5000, 26_000)), (30_000, (7, 640, 12_000))):
            first, *others = (
                rn.Standardizer(axis=0).adapt(
                    x[i : min(i + size, rows)] for i in range(0, rows, size)
                )
                for size in sizes
            )
            assert (first.moments.count == rows).all()
            for other in others:
                for one, same in zip(first.moments, other.moments, strict=True):
                    np.testing.assert_array_equal(one, same)

    def test_begin_another_part_where_one_is_full(self):
        x = RNG.normal(30, 3, (70_000, 40)).astype(np.float32)
        found = rn.Standardizer(axis=0).adapt(x[i : i + 7000] for i in range(0, 70_000, 7000))
        wide = x[:, :2].astype(np.longdouble)
        np.testing.assert_allclose(found.moments.mean[0, :2], wide.mean(axis=0), rtol=2.0**-50)
        np.testing.assert_allclose(found.moments.variance[0, :2], wide.var(axis=0), rtol=2.0**-46)
        assert (found.moments.count == 70_000).all()

    def test_of_images_may_be_of_several_sizes(self):
        images = [RNG.normal(size=(2, size, 9 - size, 3)).astype(np.float32) for size in (2, 3, 5)]
        found = rn.Standardizer(keep=-1).adapt(images).moments
        assert_right(
            found._replace(**{n: f.reshape(1, 3) for n, f in found._asdict().items()}),
            exact(np.concatenate([one.reshape(-1, 3) for one in images])),
        )

    def test_take_memory_that_does_not_grow(self):
        standardize = rn.Standardizer(axis=0)
        sizes = []
        for _ in range(4):
            for _ in range(64):
                standardize.update(np.ones((4096, 20), np.float32))
            sizes.append(len(pickle.dumps(standardize)))
        assert sizes[3] < sizes[0] + 20_000

    def test_reading_in_between_changes_nothing(self):
        read, unread = rn.Standardizer(axis=0), rn.Standardizer(axis=0)
        for start in range(0, 600, 7):
            unread.update(DATA[start : start + 7])
            read.update(DATA[start : start + 7])
            assert read.moments.count[0, 0] == min(start + 7, 600)
            assert read.map.center.shape == (1, 4)
        for one, other in zip(read.moments, unread.moments, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_from_several_threads(self):
        standardize = rn.Standardizer(axis=0)

        def learn(start):
            for one in range(start, 600, 6):
                standardize.update(DATA[one : one + 1])

        threads = [threading.Thread(target=learn, args=(start,)) for start in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert_right(standardize.moments, exact(DATA), merges=10)

    @pytest.mark.parametrize("begin", ["update", "partial_fit", "merge"])
    def test_threads_that_begin_at_once_lose_nothing(self, begin, monkeypatch):
        """None of them has seen what another began with when it comes to keep its own."""
        if begin == "partial_fit":
            pytest.importorskip("sklearn")
        standardize, turns = rn.Standardizer(axis=0), threading.Barrier(4)
        parts = np.split(DATA, 4)
        others = {id(part): rn.Standardizer(axis=0).adapt(part) for part in parts}
        keep = rn.Standardizer._keep

        def late(self, before, stream):
            turns.wait()
            keep(self, before, stream)

        monkeypatch.setattr(rn.Standardizer, "_keep", late)

        def learn(part):
            getattr(standardize, begin)(others[id(part)] if begin == "merge" else part)

        threads = [threading.Thread(target=learn, args=(part,)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (standardize.moments.count == 600).all()
        assert_right(standardize.moments, exact(DATA), merges=4)


def test_merged_from_parts():
    parts = [rn.Standardizer(axis=0).adapt(part) for part in np.split(DATA, 6)]
    whole = rn.Standardizer(axis=0)
    for part in parts:
        whole.merge(part).merge(rn.Standardizer(axis=0))
    assert_right(whole.moments, exact(DATA), merges=6)
    assert (parts[0].moments.count == 100).all()
    assert (whole.merge(whole).moments.count == 1200).all()
    assert (whole.update(DATA).moments.count == 1800).all()


def test_a_second_adapt_starts_over_and_a_failed_one_changes_nothing():
    def broken():
        yield DATA
        raise OSError

    standardize = rn.Standardizer(axis=0).adapt(DATA + 1).adapt(DATA)
    expected = standardize(DATA)
    with pytest.raises(OSError):  # noqa: PT011
        standardize.adapt(broken())
    np.testing.assert_array_equal(standardize(DATA), expected)


class TestConstantFeatures:
    """scikit-learn#19788."""

    @pytest.mark.parametrize("level", [0.1, 1e10, 1e-10, -3e150])
    def test_are_not_stretched_by_what_rounding_left(self, level):
        x = np.full(10_001, level)
        x[::3] = np.nextafter(level, np.inf)
        standardize = rn.Standardizer(axis=0).adapt(x)
        assert standardize.moments.variance[0] >= 0
        assert standardize.map.scale[0] == 1

    @pytest.mark.parametrize("level", [0.0, 1.0, 1e8])
    def test_are_told_from_those_that_vary_a_little(self, level):
        x = np.full(10_000, level)
        x[::2] += 2.0**-13 if level else 1e-150
        deviation = (x.max() - x.min()) / 2
        scale = rn.Standardizer(axis=0).adapt(x).map.scale[0]
        np.testing.assert_allclose(scale, 1 / deviation, rtol=1e-10)

    def test_weighted(self):
        x, weights = np.full((1000, 1), 0.1), RNG.random(1000)
        assert rn.Standardizer(axis=0).adapt(x, sample_weight=weights).map.scale[0] == 1


def test_given_statistics_are_laid_along_the_kept_axes():
    x = RNG.normal(size=(2, 3, 4))
    mean, variance = np.asarray([1.0, 2.0, 3.0]), np.asarray([[4.0], [9.0], [16.0]])
    expected = (x - mean[:, None]) / np.sqrt(variance)
    for given in (mean, mean.reshape(1, 3, 1)):
        for axes in ({"keep": 1}, {"axis": (0, 2)}):
            standardize = rn.Standardizer(mean=given, variance=variance[:, 0], **axes)
            np.testing.assert_allclose(standardize(x), expected, rtol=1e-15)
            np.testing.assert_allclose(standardize.inv(expected), x, rtol=1e-14)
    assert rn.Standardizer(keep=(), mean=1.0, variance=0.0)(np.asarray(3.0)) == 2
    assert rn.Standardizer(keep=(), mean=1.0, variance=4.0)(3) == 1


def test_eps_is_in_units_of_the_variance():
    y = rn.Standardizer(axis=0, eps=3.0).adapt(np.asarray([0.0, 2.0]))(np.asarray([3.0]))
    assert y == 1


def test_arguments_set_later_count():
    standardize = rn.Standardizer(axis=0).adapt(np.asarray([0.0, 2.0]))
    assert standardize(np.asarray(3.0)[None]) == 2
    assert standardize.set_params(eps=3.0)(np.asarray(3.0)[None]) == 1


def test_results_go_where_they_are_asked_for():
    torch = pytest.importorskip("torch")
    standardize = rn.Standardizer(axis=0).adapt(DATA)
    out = np.empty_like(DATA)
    assert standardize(DATA, out=out) is out
    assert standardize.inv(out, out=out) is out
    np.testing.assert_array_equal(out, standardize.inv(standardize(DATA)))
    narrow = torch.as_tensor(DATA).bfloat16()
    assert standardize.inv(narrow, dtype=torch.float32).dtype == torch.float32


def test_within_a_trace():
    jax = pytest.importorskip("jax")
    standardize = rn.Standardizer(axis=0).adapt(DATA)
    y = jax.jit(standardize)(jax.numpy.asarray(DATA))
    # The bound of recipe B.
    assert oracle.ulp_error(np.asarray(y), oracle.exact(standardize(DATA)), "float32") <= 4


def test_dask_computes_once():
    dask = pytest.importorskip("dask")
    da = pytest.importorskip("dask.array")
    seen = []

    def read(block):
        seen.append(block.shape)
        return block

    x = da.from_array(DATA, chunks=(100, 4)).map_blocks(read, meta=DATA[:0])
    with dask.config.set(scheduler="synchronous"):
        standardize = rn.Standardizer(axis=0).adapt(x)
        assert seen == [(100, 4)] * 6
        y = standardize(x)
        assert len(seen) == 6
        np.testing.assert_array_equal(y.compute(), standardize(DATA))


CALLS = {
    "learned": lambda: rn.Standardizer(axis=(0,)).adapt(DATA),
    "kept": lambda: rn.Standardizer(keep=-1, eps=1e-3).update(DATA[:9]).update(DATA[9:]),
    "given": lambda: rn.Standardizer(keep=1, mean=[1.0, 2, 3, 4], variance=2.0),
}


@pytest.mark.parametrize("made", CALLS)
class TestTravel:
    @pytest.fixture
    def standardize(self, made):
        return CALLS[made]()

    @pytest.fixture(params=["path", "file", "dict", "pickle", "copy"])
    def again(self, request, standardize, tmp_path):
        if request.param == "path":
            standardize.save(tmp_path / "by any name")
            return rn.Standardizer.load(tmp_path / "by any name")
        if request.param == "file":
            file = io.BytesIO()
            standardize.save(file)
            file.seek(0)
            return rn.Standardizer.load(file)
        if request.param == "dict":
            return rn.Standardizer.from_state_dict(standardize.state_dict())
        if request.param == "pickle":
            return pickle.loads(pickle.dumps(standardize))
        return copy.deepcopy(standardize)

    def test_everything_is_kept(self, standardize, again):
        np.testing.assert_array_equal(again(DATA), standardize(DATA))
        assert (again.axis, again.keep, again.eps) == (
            standardize.axis,
            standardize.keep,
            standardize.eps,
        )
        for one, other in zip(again.moments, standardize.moments, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_learning_goes_on_in_the_copy_alone(self, made, standardize, again):
        if made == "given":
            return
        again.update(DATA)
        assert (again.moments.count == 1200).all()
        assert (standardize.moments.count == 600).all()


def test_state_is_plain_arrays_with_a_version():
    state = rn.Standardizer(axis=0).adapt(DATA).state_dict()
    assert state["version"] == 1
    assert all(type(a) is np.ndarray and a.dtype.kind in "iufU" for a in state.values())
    tensors = {name: pytest.importorskip("torch").as_tensor(a) for name, a in state.items()}
    np.testing.assert_array_equal(
        rn.Standardizer.from_state_dict(tensors).moments.mean, state["mean"]
    )


def test_progress_is_drawn(capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("FORCE_COLOR", "1")
    found = rn.Standardizer(axis=0).adapt((DATA for _ in range(3)), progress=True)
    assert (found.moments.count == 1800).all()
    assert "learning" in capsys.readouterr().err


def test_progress_says_what_it_needs(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match=r'needs rich.*pip install "revnorm\[progress\]"'):
        rn.Standardizer(axis=0).adapt(DATA, progress=True)


def test_nothing_that_is_handed_out_changes_what_was_learned():
    standardize = rn.Standardizer(axis=0).adapt(DATA)
    expected = standardize(DATA)
    standardize.moments.mean[...] = 0
    standardize.map.center[...] = 0
    np.testing.assert_array_equal(standardize(DATA), expected)
    assert_right(standardize.moments, exact(DATA))


def learned():
    return rn.Standardizer(axis=0).adapt(DATA)


STATE = learned().state_dict()


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: rn.Standardizer(axis=0, keep=1), ValueError, "`keep` must be None where `axis`"),
        (lambda: rn.Standardizer(mean=1.0), ValueError, "`variance` must be given beside `mean`"),
        (lambda: rn.Standardizer(variance=1.0), ValueError, "`mean` must be given beside"),
        (lambda: rn.Standardizer().adapt(DATA), ValueError, "`axis` or `keep` must be given"),
        (lambda: rn.Standardizer(axis=2).adapt(DATA), rn.AxisError, "`axis` must lie within"),
        (lambda: rn.Standardizer(keep=2).adapt(DATA), rn.AxisError, "`keep` must lie within"),
        (lambda: rn.Standardizer(keep=(0, 1)).adapt(DATA), ValueError, "`keep` must leave an axis"),
        (lambda: rn.Standardizer(keep="C").adapt(DATA), TypeError, "`keep` must be an int or a"),
        (lambda: rn.Standardizer(axis=0, eps=-1).adapt(DATA), ValueError, "`eps` must be finite"),
        (lambda: rn.Standardizer(axis=0)(DATA), ValueError, "`adapt` must come first"),
        (lambda: rn.Standardizer(axis=0).moments, ValueError, "`adapt` must come first"),
        (lambda: learned().adapt(iter(())), ValueError, "`data` must hold at least one batch"),
        (lambda: learned().adapt(DATA[:0]), ValueError, "`data` must hold at least one batch"),
        (lambda: learned().adapt(3), TypeError, "`data` must be an array or an iterable.*got int"),
        (lambda: learned().adapt([[1.0, 2.0]]), TypeError, "`batch` must be an array, got float"),
        (lambda: learned().adapt(DATA * 1j), TypeError, "`batch` must be of a real floating"),
        (
            lambda: learned().update(DATA[:, :3]),
            ValueError,
            r"`batch` must be of shape \(any, 4\), got shape \(600, 3\)",
        ),
        (lambda: learned().update(DATA[0]), ValueError, r"`batch` must be of shape \(any, 4\)"),
        (lambda: learned().update(DATA, MASK[:3]), ValueError, "`where` must broadcast"),
        (lambda: learned().update(DATA, DATA), TypeError, "`where` must be boolean"),
        (
            lambda: learned().adapt([DATA, DATA], where=[MASK]),
            ValueError,
            "`where` must hold one for each batch, got fewer",
        ),
        (
            lambda: learned().adapt([DATA], sample_weight=[WEIGHTS, WEIGHTS]),
            ValueError,
            "`sample_weight` must hold one for each batch, got more",
        ),
        (
            lambda: learned().adapt(DATA, sample_weight=WEIGHTS[:4]),
            ValueError,
            r"`sample_weight` must have the first axes of shape \(600, 4\), got shape \(4,\)",
        ),
        (
            lambda: learned().adapt(DATA, sample_weight=WEIGHTS - 1),
            ValueError,
            "`sample_weight` must be finite and not negative",
        ),
        (lambda: learned()(DATA[0]), ValueError, r"`x` must be of shape \(any, 4\)"),
        (lambda: learned()("DATA"), TypeError, "`x` must be an array, got str"),
        (lambda: learned()([[1.0], [2.0, 3.0]]), TypeError, "`x` must hold numbers alone"),
        (lambda: learned().merge(learned().moments), TypeError, "`other` must be a Standardizer"),
        (
            lambda: learned().merge(rn.Standardizer(axis=1).adapt(DATA)),
            ValueError,
            r"`other` must have moments of shape \(1, 4\), got shape \(600, 1\)",
        ),
        (lambda: CALLS["given"]().adapt(DATA), ValueError, "`adapt` must not be called"),
        (lambda: CALLS["given"]().update(DATA), ValueError, "`update` must not be called"),
        (lambda: CALLS["given"]().merge(learned()), ValueError, "`merge` must not be called"),
        (lambda: CALLS["given"]()(DATA[:, :3]), ValueError, r"`mean` must broadcast.*\(3,\)"),
        (
            lambda: rn.Standardizer(keep=1, mean=0.0, variance=-1.0)(DATA),
            ValueError,
            "`variance` must be finite and not negative, got -1",
        ),
        (
            lambda: rn.Standardizer.from_state_dict(STATE | {"version": np.asarray(2)}),
            ValueError,
            "`state` must be of version 1, got version 2",
        ),
        (
            lambda: rn.Standardizer.load(io.BytesIO(b"text")),
            ValueError,
            "`file` must be an npz file, got another",
        ),
        (lambda: rn.Standardizer.from_state_dict({}), ValueError, "`state` must have a version"),
        (lambda: rn.Standardizer.from_state_dict(3), TypeError, "`state` must be a dictionary"),
        (
            lambda: rn.Standardizer.from_state_dict(
                {name: a for name, a in STATE.items() if name != "count"}
            ),
            ValueError,
            "`state` must hold count",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, kind, text):
    with pytest.raises(kind, match=text) as error:
        call()
    assert "\n" not in str(error.value)
