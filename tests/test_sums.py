"""Sums against the correctly rounded ones of the standard library."""

import math

import array_api_compat
import numpy as np
import pytest

from revnorm._memory import down
from revnorm._sums import dot, total, two_sum

DTYPES = ("float32", "float64")

# Up to so many numbers nothing is left to the library's own sum.
COMPENSATED = 256
STRIPES = 16
SEGMENT = 64


def adversarial(length, dtype):
    """Numbers that naive sums lose, by name."""
    rng = np.random.default_rng(length)
    normal = rng.standard_normal(length)
    index = np.arange(length)
    cancelling = np.where(index % 2, -1.0, 1.0) * 1e6 + normal
    samples = {
        "constant": np.full(length, 0.1),
        "alternating": np.where(index % 2, -1.0, 1.0) * 1e6,
        "cancelling": rng.permutation(cancelling),
        "halves apart": np.where(index < length // 2, 1e6, -1e6) + normal,
        "rising": np.sort(abs(normal)) ** 9,
        "falling": np.sort(abs(normal))[::-1] ** 9,
        "one large, first": np.where(index == 0, 1e8, 0.1),
        "one large, last": np.where(index == length - 1, 1e8, 0.1),
    }
    return {name: sample.astype(dtype) for name, sample in samples.items()}


def unit(dtype):
    """The relative error of one rounding."""
    return float(np.finfo(dtype).eps) / 2


def folds(length):
    """How often stripes are added up, each time by sums of 16 numbers in any order."""
    count = 0
    while length > COMPENSATED:
        length, count = length // STRIPES + length % STRIPES, count + 1
    return count


def bound(numbers, dtype, plain):
    """Of the sum: one rounding; of the magnitudes: `plain` additions, and second-order terms.

    The bound of a sum in twice the precision: T. Ogita, S. M. Rump, S. Oishi, "Accurate sum and
    dot product", SIAM J. Sci. Comput. 26 (2005), proposition 4.5, for a chain of `depth`. What
    two grids leave of the bits is less.
    """
    u, depth = unit(dtype), 2 + math.ceil(math.log2(COMPENSATED + STRIPES))
    magnitudes = math.fsum(map(abs, numbers))
    return u * abs(math.fsum(numbers)) + (plain * u + (depth * u) ** 2) * magnitudes


def summed(backend, array, axis, wide=None):
    xp = array_api_compat.array_namespace(array)
    return backend.to_numpy(total(xp, array, axis, wide and getattr(xp, wide)))


def has(backend, dtype):
    if dtype not in backend.dtypes:
        pytest.skip(f"no {dtype}")


@pytest.mark.backends("numpy", "torch", "jax", "array-api-strict")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 2, 15, 16, 255, 256])
def test_total_of_few_is_as_if_in_twice_the_precision(backend, length, dtype):
    has(backend, dtype)
    for name, numbers in adversarial(length, dtype).items():
        got = float(summed(backend, backend.asarray(numbers, dtype), (0,))[0])
        numbers = numbers.tolist()
        assert abs(got - math.fsum(numbers)) <= bound(numbers, dtype, 0), name


@pytest.mark.backends("numpy", "torch", "jax", "array-api-strict")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [257, 4096, 100_003])
def test_total_of_many(backend, length, dtype):
    has(backend, dtype)
    plain = folds(length) * (STRIPES - 1)
    for name, numbers in adversarial(length, dtype).items():
        got = float(summed(backend, backend.asarray(numbers, dtype), (0,))[0])
        numbers = numbers.tolist()
        assert abs(got - math.fsum(numbers)) <= bound(numbers, dtype, plain), name


@pytest.mark.backends("jax")
def test_total_of_products_in_a_compiler(backend):
    """Where a product is joined to one of the sums that it goes into, and not to another."""
    jax = pytest.importorskip("jax")
    x = np.random.default_rng(0).standard_normal((400, 30)).astype(np.float32)

    def squares(x):
        d = x - total(jax.numpy, x, (1,), None) / x.shape[1]
        return d, total(jax.numpy, d * d, (1,), None)

    d, got = (backend.to_numpy(a) for a in jax.jit(squares)(backend.asarray(x)))
    for one, row in zip(got[:, 0].tolist(), d.tolist(), strict=True):
        exact = math.fsum(a * a for a in row)
        # A rounding for each product, and one for the sum.
        assert abs(one - exact) <= 2 * unit("float32") * exact


@pytest.mark.backends("numpy", "torch")
@pytest.mark.parametrize("axis", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_total_over_axes(backend, axis):
    shape = (40, 3, 37)
    x = (np.random.default_rng(0).standard_normal(shape) + 1e6).astype(np.float32)
    got = summed(backend, backend.asarray(x), axis)
    kept = tuple(1 if i in axis else size for i, size in enumerate(shape))
    assert got.shape == kept
    length = x.size // got.size
    # Every reduced axis may be folded.
    plain = 2 * len(axis) * (STRIPES - 1)
    others = [i for i in range(x.ndim) if i not in axis]
    rows = np.transpose(x, (*others, *axis)).reshape(got.size, length).tolist()
    for one, numbers in zip(got.ravel().tolist(), rows, strict=True):
        assert abs(one - math.fsum(numbers)) <= bound(numbers, "float32", plain)


@pytest.mark.backends("numpy", "torch")
def test_total_in_a_wider_type(backend):
    for name, numbers in adversarial(100_003, "float32").items():
        got = float(summed(backend, backend.asarray(numbers), (0,), "float64")[0])
        magnitudes = math.fsum(map(abs, numbers.tolist()))
        error = abs(got - math.fsum(numbers.tolist()))
        assert error <= numbers.size * unit("float64") * magnitudes, name


def dotted(a, b, wide=None):
    return dot(array_api_compat.array_namespace(a), a, b, wide)


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 63, 64, 65, 1024, 100_003])
def test_dot(backend, length, dtype):
    """A product rounded, 127 sums of a segment in any order, and the total of the segments."""
    plain = min(length, SEGMENT) + folds(-(-length // SEGMENT)) * (STRIPES - 1)
    for name, numbers in adversarial(length, dtype).items():
        a = backend.asarray(numbers, dtype)
        sums = float(backend.to_numpy(dotted(a, None))[0])
        squares = float(backend.to_numpy(dotted(a, a))[0])
        numbers = numbers.tolist()
        assert abs(sums - math.fsum(numbers)) <= bound(numbers, dtype, plain), name
        # In float64 the squares are themselves rounded, once, as those under test are.
        exact = [number * number for number in numbers]
        assert abs(squares - math.fsum(exact)) <= bound(exact, dtype, plain + 1), name


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("length", [7, 200, 3000])
@pytest.mark.parametrize("wide", [None, "float64"])
def test_dot_of_a_row_depends_on_no_other(backend, length, wide):
    x = backend.asarray(np.random.default_rng(0).standard_normal((9, length)) + 1e3, "float32")
    xp = array_api_compat.array_namespace(x)
    wide = wide and xp.float64
    if wide is not None:
        x = xp.astype(x, wide)
    for b in (None, x):
        whole = backend.to_numpy(dotted(x, b, wide))
        for i in range(9):
            row = x[i : i + 1, :]
            alone = dotted(row, None if b is None else row, wide)
            np.testing.assert_array_equal(backend.to_numpy(alone), whole[i : i + 1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_sum_is_exact(dtype):
    rng = np.random.default_rng(0)
    a, b = ((rng.standard_normal(500) * 10.0 ** rng.integers(-9, 9, 500)) for _ in range(2))
    a, b = a.astype(dtype), b.astype(dtype)
    s, error = two_sum(a, b)
    np.testing.assert_array_equal(s, a + b)
    for numbers in zip(a.tolist(), b.tolist(), (-s).tolist(), (-error).tolist(), strict=True):
        assert math.fsum(numbers) == 0


# Numbers that lie one behind the other in a chain, and chains that are added up.
CHAINED = 1024 + 2 * 16 * 8


@pytest.mark.parametrize("length", [1, 15, 16, 17, 255, 16383, 16384, 16385, 32771, 131071, 131072])
def test_sums_down_the_rows_of_a_block(length):
    """As accurate as chains of their length, and of a column the same whatever lies beside it."""
    for name, column in adversarial(length, "float64").items():
        beside = np.random.default_rng(0).standard_normal((length, 37))
        beside[:, 19] = column
        one, other = down(beside, None), down(beside, beside)
        allowed = CHAINED * unit("float64") * math.fsum(map(abs, column))
        assert abs(one[0, 19] - math.fsum(column)) <= allowed, name
        squares = column * column
        allowed = (CHAINED + 1) * unit("float64") * math.fsum(squares)
        assert abs(other[0, 19] - math.fsum(squares)) <= allowed, name
        few = np.ascontiguousarray(beside[:, 18:20])
        assert down(few, None)[0, 1] == one[0, 19], name
        assert down(few, few)[0, 1] == other[0, 19], name
