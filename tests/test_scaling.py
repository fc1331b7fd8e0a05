"""Powers of two over the whole range of their type."""

import numpy as np
import pytest

from revnorm._scaling import invertible, squarable

DTYPES = ("float16", "float32", "float64")
WORKED_IN = ("float32", "float64")

# As many squares are summed at most.
LONGEST = 10**7


def magnitudes(dtype):
    """Every power of two of a type, from the least subnormal on, its neighbours, and the ends."""
    info = np.finfo(dtype)
    least = info.minexp - info.nmant
    powers = np.ldexp(np.ones((), dtype), np.arange(least, info.maxexp)).astype(dtype)
    around = [np.nextafter(powers, np.asarray(to, dtype)) for to in (0, np.inf)]
    ends = np.asarray([info.max, info.smallest_subnormal, info.tiny], dtype)
    every = np.unique(np.concatenate([powers, *around, ends]))
    return every[(every > 0) & np.isfinite(every)]


def is_power_of_two(array):
    return np.all(np.frexp(array)[0] == 0.5)


def assert_undone(x, power):
    """Multiplied by a power and divided by it a number is the same, bit for bit."""
    np.testing.assert_array_equal(x * power / power, x)
    np.testing.assert_array_equal(x * power * (1 / power), x)


@pytest.mark.parametrize("dtype", WORKED_IN)
def test_squarable(dtype):
    reach = magnitudes(dtype)
    power = squarable(np, reach)
    assert power.dtype == reach.dtype
    assert is_power_of_two(power)
    assert_undone(reach, power)
    near = reach * power
    squares = near * near
    assert np.all(squares >= np.finfo(dtype).tiny)
    assert np.all(squares <= np.finfo(dtype).max / LONGEST)


@pytest.mark.parametrize("dtype", WORKED_IN)
def test_squares_keep_their_precision_beside_the_largest(dtype):
    """What is smaller than the reach by less than half the digits has a normal square too."""
    reach = magnitudes(dtype)
    reach = reach[reach >= np.finfo(dtype).tiny]
    small = reach * np.ldexp(1.0, -(np.finfo(dtype).nmant // 2)).astype(dtype)
    near = small * squarable(np, reach)
    assert np.all(near * near >= np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", WORKED_IN)
def test_usual_data_stay_as_they_are(dtype):
    reach = np.asarray([0.0, 1e-6, 1.0, 1e6, np.nan], dtype)
    np.testing.assert_array_equal(squarable(np, reach), np.ones(5, dtype))
    np.testing.assert_array_equal(invertible(np, reach, reach + 1), np.ones(5, dtype))


@pytest.mark.parametrize("dtype", WORKED_IN)
def test_invertible(dtype):
    every = magnitudes(dtype)
    one = np.ones_like(every)
    for reach, width in ((every, one), (one, every), (every, every)):
        power = invertible(np, reach, width)
        assert power.dtype == every.dtype
        assert is_power_of_two(power)
        assert np.all(np.isfinite(2 * (reach * power)))
        inverse = 1 / (width * power)
        assert np.all(np.isfinite(inverse))
        assert np.all(inverse >= np.finfo(dtype).smallest_subnormal)


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_are_of_the_dtype_given(dtype):
    ones = np.ones(3, dtype)
    assert squarable(np, ones).dtype == dtype
    assert invertible(np, ones, ones).dtype == dtype
