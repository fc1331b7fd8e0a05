"""Results are rounded to the dtype of the data once."""

import numpy as np
import pytest

from revnorm._rounding import rounded


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def doubles():
    """Just beside the middle of two numbers of float16, and anywhere, and at the ends."""
    rng = np.random.default_rng(0)
    halves = rng.standard_normal(1000).astype(np.float16)
    middle = halves.astype(np.float64) / 2 + np.nextafter(halves, np.float16(np.inf)) / 2.0
    beside = [middle * (1 + k * 2.0**-40) for k in (-1, 0, 1)]
    ends = [
        0.0,
        -0.0,
        65519.999,
        65520.0,
        1e30,
        1e300,
        -1e300,
        np.inf,
        -np.inf,
        np.nan,
        1e-300,
        3e-8,
    ]
    return np.concatenate([*beside, rng.standard_normal(10_000) * 1e-5, ends])


def test_doubles_become_half_precision_as_in_numpy(torch):
    y = doubles()
    with np.errstate(over="ignore"):
        expected = y.astype(np.float16)
    actual = rounded(torch.tensor(y), torch.float16).numpy()
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected))


def test_doubles_become_bfloat16_once(torch):
    bits = np.arange(0x3F80, 0x4000, dtype=np.uint32)
    low, high = ((bits + i << 16).view(np.float32).astype(np.float64) for i in (0, 1))
    middle = (low + high) / 2
    for y, nearest in ((middle - 2.0**-40, low), (middle + 2.0**-40, high)):
        actual = rounded(torch.tensor(y), torch.bfloat16).double().numpy()
        np.testing.assert_array_equal(actual, nearest)


def test_gradients_pass_as_through_a_conversion(torch):
    y = torch.tensor(doubles()[:3000], requires_grad=True)
    (gradient,) = torch.autograd.grad(rounded(y, torch.float16).sum(), y)
    np.testing.assert_array_equal(gradient.numpy(), 1.0)
