"""ULP errors against spacings known by hand, and arrays of every library."""

import math

import numpy as np
import pytest
from array_api_compat import array_namespace

from revnorm.testing import from_numpy, to_numpy, ulp_error
from revnorm.testing._arrays import LIBRARIES, largest, module, rounded, smallest

UNIT = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@pytest.mark.parametrize("dtype", UNIT)
def test_units(dtype):
    unit = UNIT[dtype]
    assert ulp_error(np.asarray([1 + unit]), np.asarray([1.0]), dtype=dtype) == 1
    assert ulp_error(np.asarray([2 + 4 * unit]), np.asarray([2.0]), dtype=dtype) == 2
    assert ulp_error(np.asarray([unit]), np.asarray([0.0]), dtype=dtype) == 1
    assert ulp_error(np.asarray([0.0, -8.0]), np.asarray([0.0, -8 - 8 * unit]), dtype=dtype) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_correctly_rounded_is_half_a_unit(dtype):
    exact = np.random.default_rng(0).standard_normal(10_000).astype(np.longdouble) * 100 / 3
    assert 0.45 < ulp_error(exact.astype(dtype), exact, dtype=dtype) <= 0.5


@pytest.mark.parametrize(
    ("actual", "expected", "error"),
    [
        (np.nan, np.nan, 0),
        (np.inf, np.inf, 0),
        (np.inf, -np.inf, math.inf),
        (np.nan, 1.0, math.inf),
        (1.0, np.nan, math.inf),
        (np.inf, 1.0, math.inf),
        (0.0, -0.0, 0),
    ],
)
def test_what_is_not_finite(actual, expected, error):
    assert ulp_error(np.float32([actual]), np.asarray([expected])) == error


def test_overflow_is_right_where_the_exact_value_rounds_to_infinity():
    infinite = np.float16([np.inf])
    assert ulp_error(infinite, np.asarray([65520.0]), dtype="float16") == 0
    assert ulp_error(infinite, np.asarray([65519.0]), dtype="float16") == math.inf


def test_shapes():
    assert ulp_error(np.zeros((2, 3)), np.zeros((3, 2))) == math.inf
    assert ulp_error(np.zeros((0, 3)), np.zeros((0, 3))) == 0


def test_unknown_dtype():
    with pytest.raises(ValueError, match=r"^`dtype` must be one of float16, .*'int8'$"):
        ulp_error(np.zeros(1), np.zeros(1), dtype="int8")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_ends_of_the_range(dtype):
    info = np.finfo(dtype)
    assert (largest(dtype), smallest(dtype)) == (info.max, info.smallest_subnormal)


@pytest.mark.parametrize("library", LIBRARIES)
def test_there_and_back(library):
    pytest.importorskip(module_name(library))
    x = np.arange(24.0).reshape(4, 6).T[::-1]
    x.flags.writeable = False
    array = from_numpy(x, library, dtype="float32")
    assert array_namespace(array) is array_namespace(module(library).zeros(1))
    back = to_numpy(array)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, x)


def module_name(library):
    return {"array-api-strict": "array_api_strict"}.get(library, library)


@pytest.mark.parametrize("library", ["torch", "jax", "mlx"])
def test_bfloat16_there_and_back(library):
    pytest.importorskip(library)
    rng = np.random.default_rng(0)
    x = rounded(rng.standard_normal(1000) * 10.0 ** rng.integers(-30, 30, 1000), "bfloat16")
    array = from_numpy(x, library, dtype="bfloat16")
    assert str(array.dtype).endswith("bfloat16")
    np.testing.assert_array_equal(to_numpy(array), x)


def test_rounding_to_bfloat16_is_that_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x = np.ldexp(rng.standard_normal(100_000), rng.integers(-150, 125, 100_000))
    x = np.append(x, [0.0, -0.0, np.inf, -np.inf, np.nan, largest("bfloat16")]).astype(np.float32)
    expected = torch.from_numpy(x).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(rounded(x.astype(np.float64), "bfloat16"), expected)


def test_rounding_to_bfloat16_happens_once():
    """By way of float32 the first is a tie and goes to 1, the second to 0."""
    least = smallest("bfloat16")
    x = np.asarray([1 + 2.0**-8 + 2.0**-40, least / 2 * (1 + 2.0**-30), least * 1.5])
    np.testing.assert_array_equal(rounded(x, "bfloat16"), [1 + 2.0**-7, least, 2 * least])


def test_no_bfloat16_in_numpy():
    with pytest.raises(ValueError, match=r"^`dtype` must be one that numpy has, got 'bfloat16'$"):
        from_numpy(np.zeros(1), "numpy", dtype="bfloat16")


def test_device_of_the_strict_library():
    strict = pytest.importorskip("array_api_strict")
    array = from_numpy(np.ones(3), "array-api-strict", device="device1")
    assert array.device == strict.Device("device1")
    assert to_numpy(array).tolist() == [1, 1, 1]


def test_unknown_library():
    with pytest.raises(ValueError, match=r"^`library` must be one of numpy, .*'pandas'$"):
        from_numpy(np.zeros(1), "pandas")
