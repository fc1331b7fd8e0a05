"""What attacks have found, one test each, held to the stated bounds."""

import numpy as np
import pytest

import attack
import oracle
import revnorm as rn
import tolerances
from attacks import Attack, Layout
from backends import BACKENDS, absence
from functions import sample
from revnorm.testing import reference, ulp_error
from revnorm.testing._arrays import rounded


# What the core does not hold yet, and why; each must fail until it does, but for those that pass.
def backend_of(id):
    found = next(b for b in BACKENDS if b.id == id)
    if absence(found):
        pytest.skip(absence(found))
    return found


def hold(
    kernel, rows, *, on="numpy:cpu", time_first=False, way="eager", dtype="float32",
    precision="full", out="none", trips=1, merges=0, gradients=False, arrays=(), **options,
):  # fmt: skip
    """An attack on the rows, found to be within every bound."""
    rows = np.atleast_2d(rows)
    layout = Layout((rows.shape[0],), (rows.shape[1],), (1, 0) if time_first else (0, 1), 0)
    turned = {
        name: np.atleast_2d(a).transpose(layout.order)
        for name, a in {**dict(arrays), "x": rows}.items()
    }
    laid = {
        name: np.ascontiguousarray(a if a.dtype == bool else rounded(a, dtype))
        for name, a in turned.items()
    }
    one = Attack(
        0, 0, kernel, backend_of(on), way, dtype, precision, "data", laid, options, layout,
        out, trips, merges, gradients,
    )  # fmt: skip
    for found in attack.run(one):
        assert found.ratio <= 1, str(found)


def outlier_first(n, size, rest=None):
    x = np.random.default_rng(0).standard_normal(n) if rest is None else np.full(n, rest)
    x[0] = size
    return x.astype(np.float32)


NAIVE = {
    "strict": {"on": "array-api-strict:device1", "time_first": True},
    "dask": {"on": "dask:cpu", "time_first": True},
    "compiled": {"way": "rn.compile"},
    "compiled-time-first": {"way": "rn.compile", "time_first": True},
}


@pytest.mark.parametrize("way", NAIVE)
@pytest.mark.parametrize("size", [1e7, 1000.0])
def test_an_outlier_first_in_a_long_instance(way, size):
    """Libraries that add a million numbers one after another, nearly all of them the same."""
    rows = np.stack([outlier_first(1_000_000, size), outlier_first(1_000_000, size, 0.1)])
    hold("instance_norm", rows, eps=1e-5, **NAIVE[way])


@pytest.mark.parametrize(
    ("on", "dtype"),
    [("numpy:cpu", "float16"), ("torch:cpu", "float16"), ("torch:cpu", "bfloat16")],
)
def test_an_outlier_first_of_a_narrow_type_beside_others(on, dtype):
    """Worked in float32 and added up in float64, also where the channels lie together."""
    rows = 0.04 * np.random.default_rng(0).standard_normal((32, 7281))
    rows[:, 0], rows[:, -1] = 60_000, 0
    options = {"dtype": dtype, "precision": "native", "eps": 1.0, "center": "last"}
    hold("revin", rows, on=on, time_first=True, **options)


@pytest.mark.parametrize("way", ["eager", "rn.compile"])
def test_gradients_with_an_outlier_first(way):
    x = outlier_first(1_000_000, 1e7)
    g = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    hold("instance_norm", x, on="torch:cpu", way=way, gradients=True, arrays={"g": g}, eps=1e-5)


BLENDING = ("numpy:cpu", "torch:cpu", "array-api-strict:device1")


@pytest.mark.parametrize("on", BLENDING)
@pytest.mark.parametrize("masked", [False, True])
def test_strength_keeps_what_is_near_zero_beside_an_outlier(on, masked):
    content, style = outlier_first(100, 1e20, 1.0), np.linspace(-1, 1, 7, dtype=np.float32)
    arrays = {"style": style} | ({"where": np.ones((1, 100), dtype=bool)} if masked else {})
    hold("adain", content, on=on, arrays=arrays, eps=1e-5, correction=0, strength=0.5)


@pytest.mark.parametrize("precision", ["full", "native"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("on", BLENDING)
def test_no_strength_leaves_the_content_bit_for_bit(on, dtype, precision):
    backend = backend_of(on)
    content = outlier_first(100, 1e20).astype(dtype)
    style = backend.asarray(np.linspace(-1, 1, 7), dtype)
    given = backend.asarray(content, dtype)
    y = rn.adain(given, style, axis=0, strength=0.0, precision=precision)
    np.testing.assert_array_equal(backend.to_numpy(y), content)


def test_strength_keeps_the_low_bits_of_an_image():
    rng = np.random.default_rng(0)
    content = rng.integers(0, 256, (3, 4096)).astype(np.float64)
    style = rng.standard_normal((3, 100))
    hold(
        "adain",
        content,
        dtype="float64",
        arrays={"style": style},
        eps=1e-5,
        correction=0,
        strength=1e-3,
    )


@pytest.mark.parametrize("on", BLENDING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments_of_a_batch_far_from_the_instance(on, dtype):
    x = np.stack([outlier_first(1000, 1e20, 1.0), outlier_first(1000, 1e6)])
    given = {
        "gate": np.full((2, 1), 0.5), "batch_mean": np.zeros((1, 1)),
        "batch_variance": np.ones((1, 1)),
    }  # fmt: skip
    hold("batch_instance_norm", x, on=on, dtype=dtype, arrays=given, eps=1e-5, batch_axis=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [10_000, 100_000])
def test_the_last_after_a_change_of_regime(n, dtype):
    x = np.random.default_rng(0).standard_normal(n) + 0.1
    x[: n - 10] += 1e6
    hold("revin", x, dtype=dtype, precision="native", eps=1e-5, center="last")


def two_values(seed, n):
    rng = np.random.default_rng(seed)
    low, gap = rng.uniform(-1, 1), rng.uniform(0, 3)
    return np.where(rng.random(n) < rng.choice([0.5, 0.01, 1 / 3]), low + gap, low)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1024, 4096, 32_768])
@pytest.mark.parametrize("kernel", ["instance_norm", "adain"])
def test_two_values_make_all_roundings_agree(kernel, n, dtype):
    rows = np.stack([two_values(seed, n) for seed in range(60)]).astype(dtype)
    arrays = {"style": rows[::-1]} if kernel == "adain" else {}
    options = {"eps": 1e-5, "correction": 0}
    if kernel == "adain":
        options["strength"] = 1.0
    hold(kernel, rows, dtype=dtype, precision="native", arrays=arrays, **options)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_scale_multiplies_no_more_than_is_stated(dtype, size):
    rows = np.stack([two_values(seed, 4096) for seed in range(60)]).astype(dtype)
    scale = np.full((60, 1), size)
    bias = (
        -(rows[:, :1] - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True) * size
    )
    arrays = {"scale": scale, "bias": bias.astype(dtype).astype(np.float64)}
    hold("instance_norm", rows, dtype=dtype, precision="native", arrays=arrays, eps=1e-5)


def test_a_large_scale_without_a_bias():
    rows = sample((60, 5000), mean=3.0)
    hold("instance_norm", rows, arrays={"scale": np.full((60, 1), 1e12)}, eps=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_thousand_merges(dtype):
    x = sample((1, 20_000), mean=1000.0, std=1.0)
    hold("merged", x, dtype=dtype, precision="native", merges=9_999, eps=1e-5)


def test_fifteen_elements_and_an_outlier():
    for n in range(2, 40):
        hold("instance_norm", outlier_first(n, 1e20, 1.0), dtype="float64", eps=1e-5)


@pytest.mark.parametrize("precision", ["full", "native"])
def test_thirty_round_trips(precision):
    x = sample((64, 1000), mean=100.0, std=1.0)
    hold("revin", x, precision=precision, trips=30, eps=1e-5, center="mean")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_value_far_below_the_others_comes_back(dtype):
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 1, (200, 50))
    x[:, 7] = -1
    hold("revin", x.astype(dtype), dtype=dtype, eps=1e-5, center="mean")


def test_doubles_are_rounded_to_half_precision_once():
    backend = backend_of("torch:cpu")
    x = np.random.default_rng(0).standard_normal((40, 453)).astype(np.float16)
    expected = rn.instance_norm(x, axis=1)
    y = backend.to_numpy(rn.instance_norm(backend.asarray(x, "float16"), axis=1))
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("eps", [1e-46, 1e-320, 1e39])
@pytest.mark.parametrize("on", ["numpy:cpu", "torch:cpu", "jax:cpu", "jax:x64:cpu"])
def test_an_eps_beyond_the_range_leaves_all_finite(on, eps):
    """Constant data, and data with a spread; there and back."""
    backend = backend_of(on)
    with backend.context():
        for precision in ("full", "native"):
            for values in (np.full((1, 8), 3.0), np.arange(8.0)[None]):
                x = backend.asarray(values, "float32")
                y, map = rn.revin(x, axis=1, eps=eps, precision=precision)
                assert np.all(np.isfinite(backend.to_numpy(y)))
                assert np.all(np.isfinite(backend.to_numpy(map.inv(y))))


@pytest.mark.parametrize("center", ["mean", "last"])
@pytest.mark.parametrize(("dtype", "size"), [("float32", 2e36), ("float64", 8e305)])
@pytest.mark.parametrize("on", ["numpy:cpu", "torch:cpu", "array-api-strict:device1"])
def test_a_divisor_beyond_the_range_is_still_undone(on, dtype, size, center):
    """Of data that vary, and of a constant."""
    rows = size * (1 + np.asarray([[1.0], [0.0]]) * np.arange(6.0) / 1000)
    options = {"eps": 2e5, "eps_mode": "relative", "correction": 0, "center": center}
    hold("revin", rows.astype(dtype), on=on, dtype=dtype, precision="native", **options)


@pytest.mark.parametrize("eps", [4e-43, 1e-320, 1e60])
@pytest.mark.parametrize("on", ["numpy:cpu", "torch:cpu", "array-api-strict:no_float64"])
def test_a_relative_eps_beyond_the_range(on, eps):
    """Of data that vary, large and small, of a constant, and of one observed beside others."""
    rows = np.asarray(
        [[1.0, 2.0, 3.0, 5.0], [7.0] * 4, [0.25, 3.0, 8.0, -1.0], [1.0, 2.0, 5.0, 3.0]]
    )
    rows *= [[1e-3], [1e-3], [1e-3], [1e-37]]
    where = np.asarray([[True] * 4, [True] * 4, [True] + [False] * 3, [True] * 4])
    for precision in ("full", "native"):
        options = {"eps": eps, "eps_mode": "relative", "correction": 0, "precision": precision}
        hold("revin", rows, on=on, arrays={"where": where}, center="mean", **options)


@pytest.mark.parametrize("on", ["numpy:cpu", "torch:cpu"])
@pytest.mark.parametrize(
    ("dtype", "size"), [("float32", 3e38), ("float64", 1e308), ("float64", 1e306)]
)
def test_the_largest_scales_leave_all_finite(on, dtype, size):
    backend = backend_of(on)
    for values in (np.full((1, 8), 3.0), np.arange(8.0)[None] * 1e-9 + 3):
        x, scale = backend.asarray(values, dtype), backend.asarray(np.full((1, 1), size), dtype)
        for eps in (1e-5, 0.0):
            y = rn.instance_norm(x, scale, axis=1, eps=eps, precision="native")
            exact = reference(
                "instance_norm", values.astype(dtype), np.full((1, 1), size), axis=1, eps=eps
            )
            fits = abs(exact) < 0.99 * np.finfo(dtype).max
            assert np.all(np.isfinite(backend.to_numpy(y)[fits]))


def jax_gradients(function, *arrays, **options):
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    arrays = [jnp.asarray(a, dtype=jnp.float32) for a in arrays]
    total = lambda *a: jnp.sum(function(*a, **options) ** 2)  # noqa: E731
    return [np.asarray(g) for g in jax.grad(total, argnums=tuple(range(len(arrays))))(*arrays)]


@pytest.mark.parametrize("size", [1.0, 1e-13, 1e-18])
def test_gradients_of_small_data_in_jax(size):
    x = sample((4, 30)) * size
    found = jax_gradients(rn.batch_instance_norm, x, np.full((1, 1), 0.5), axis=1, batch_axis=0)
    assert all(np.all(np.isfinite(one)) for one in found)


@pytest.mark.parametrize("size", [1e13, 1e18])
@pytest.mark.parametrize("library", ["jax", "torch"])
def test_gradients_of_a_way_back_for_the_scale(library, size):
    x = (sample((2, 30)) * size).astype(np.float32)
    if library == "jax":
        function = lambda x, scale: (lambda y, map: map.inv(y) / size)(*rn.revin(x, scale, axis=1))  # noqa: E731
        found = jax_gradients(function, x, np.full((1, 1), 2.0))
    else:
        torch = pytest.importorskip("torch")
        given = [torch.tensor(a, requires_grad=True) for a in (x, np.full((1, 1), 2.0, np.float32))]
        y, map = rn.revin(*given, axis=1, precision="native")
        found = torch.autograd.grad(torch.sum((map.inv(y) / size) ** 2), given)
        found = [one.numpy() for one in found]
    assert all(np.all(np.isfinite(one)) for one in found)


def test_gradient_of_the_bias_of_one_image_in_jax():
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    x, g = (rng.uniform(0, 1, (1, 65_536)).astype(np.float32) for _ in range(2))
    bias = jax.numpy.zeros((1, 1))
    _, pull = jax.vjp(lambda b: rn.instance_norm(jax.numpy.asarray(x), None, b, axis=1), bias)
    found = np.asarray(pull(jax.numpy.asarray(g))[0])
    exact = oracle.revin_gradients(g, x, axis=(1,))[2]
    error = abs(exact.value - found).high
    assert error <= tolerances.SAME_GRADIENT * tolerances.ulp(exact.terms, "float32")


@pytest.mark.parametrize(("dtype", "precision"), [("float64", "full"), ("float32", "native")])
def test_neither_company_nor_the_layout_of_a_mask_changes_a_bit(dtype, precision):
    torch = pytest.importorskip("torch")
    changed = []
    for seed in range(20):
        rng, shape = np.random.default_rng(seed), (7, 600, 2)
        x = torch.tensor(rng.standard_normal(shape) * 3 + 100).to(getattr(torch, dtype))
        where = torch.tensor(rng.random(shape) < 0.6)
        options = {"axis": 1, "precision": precision}
        y = rn.instance_norm(x, where=where, **options)
        for order, back in (((2, 0, 1), (1, 2, 0)), ((1, 0, 2), (1, 0, 2))):
            turned = where.permute(order).contiguous().permute(back)
            changed.append(rn.instance_norm(x, where=turned, **options) != y)
        alone = rn.instance_norm(x[..., :1], where=where[..., :1], **options)
        wild = x * torch.tensor([1.0, 1e30]).to(x.dtype)
        beside = rn.instance_norm(wild, where=where, **options)
        changed += [alone != y[..., :1], beside[..., :1] != y[..., :1]]
    assert not any(torch.any(one) for one in changed)


@pytest.mark.parametrize("size", [1e-30, 1e-300])
def test_tiny_data_raise_nothing_of_numpy(size):
    x = sample((3, 40)).astype(np.float64) * size
    x = x.astype(np.float32) if size > 1e-38 else x
    with np.errstate(all="raise"):
        y, map = rn.revin(x, np.full((3, 1), 1e-20), axis=1, eps=1e-30)
        map.inv(y)
        map.spread(x), map.variance(x)
        (map @ map.inv)(x)
        _ = map.inv.scale, map.scale
        rn.moments(x, axis=1, precision="native")


def test_near_a_tie_a_bit_may_differ():
    """0.51 is what is promised, and not the nearest number: it is held, though not far from it."""
    x = sample((100, 1000))
    y = rn.instance_norm(x, axis=1)
    assert ulp_error(y, reference("instance_norm", x, axis=1)) <= tolerances.WIDER_FORWARD


@pytest.mark.parametrize(
    ("dtype", "size", "eps"), [("float32", 1e-37, 1e6), ("float64", 1e-300, 1e60)]
)
def test_an_eps_far_above_the_smallest_data_is_undone(dtype, size, eps):
    x = np.asarray([[size, 2 * size]], dtype)
    y, norm_map = rn.revin(x, axis=1, eps=eps, precision="native")
    assert np.all(np.isfinite(norm_map.inv(y)))


def test_gradients_of_relative_eps_at_the_smallest_constants():
    torch = pytest.importorskip("torch")
    x = torch.full((1, 1), -3.7e-301, dtype=torch.float64)
    x = torch.cat([x, torch.full((1, 1), 1e-300)], dim=1).requires_grad_()
    where = torch.tensor([[True, False]])
    rn.instance_norm(x, axis=1, eps_mode="relative", where=where).sum().backward()
    assert torch.all(torch.isfinite(x.grad))


def test_relative_eps_of_a_subnormal_constant():
    """An element that is not observed is as far away as it is; the divisor alone is no number."""
    observed, other = 2.0**-1060, 2.0**-1000
    x = np.asarray([[observed, other]])
    options = {"axis": 1, "eps": 2.0**-16, "eps_mode": "relative"}
    y, norm_map = rn.revin(x, **options, where=np.asarray([[True, False]]))
    np.testing.assert_array_equal(y, [[0.0, (2.0**60 - 1) * 2.0**8]])
    np.testing.assert_array_equal(norm_map(x), y)
    np.testing.assert_array_equal(norm_map.inv(y), x)


@pytest.mark.backends("numpy", "torch", "jax", "dask", "array-api-strict", "mlx")
def test_constants_that_are_stretched_beyond_the_range(backend):
    """The slope is no number, and a constant does not meet it."""
    x = backend.asarray(np.full((1, 6), -2.5), "float32")
    scale = backend.asarray(np.full((1, 1), 2.0**100), "float32")
    style = backend.asarray(np.asarray([[0.0, 2.0**101]]), "float32")
    options = {"axis": 1, "eps": 2.0**-120, "precision": "native"}
    y, norm_map = rn.revin(x, scale, scale, **options)
    for one in (y, norm_map(x), rn.adain(x, style, **options)):
        np.testing.assert_array_equal(backend.to_numpy(one), 2.0**100)
    half = rn.adain(x, style, strength=0.5, **options)
    np.testing.assert_array_equal(backend.to_numpy(half), 2.0**99)
    far = backend.asarray(np.full((1, 6), 2.0**120), "float32")
    same = rn.adain(far, x, axis=1, eps=2.0**-40, strength=0.0, precision="native")
    np.testing.assert_array_equal(backend.to_numpy(same), 2.0**120)
    np.testing.assert_array_equal(backend.to_numpy(norm_map.inv(y)), -2.5)
