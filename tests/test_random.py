"""A thousand random cases for each array library, other ones at every run.

`REVNORM_SEED=n pytest tests/test_random.py` draws the cases of an earlier run again.
"""

import numpy as np
import pytest

import revnorm as rn
import tolerances
from revnorm.testing import ulp_error
from seed import SEED

# No two instances of a call have the same mean and spread. Each shape costs a slow one time.
CALLS, CALLS_WHERE_SLOW = 50, 5
INSTANCES = 1000

pytestmark = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="no type wider than float64 to compare with"
)


@pytest.fixture(autouse=True)
def seed():
    """Seen with every failure."""
    print(f"REVNORM_SEED={SEED}")


def log_uniform(rng, low, high, shape):
    return np.exp(rng.uniform(np.log(low), np.log(high), shape))


def draw(rng, dtype, instances):
    """Data of so many instances and the options of a call, in NumPy."""
    reduced = rng.integers(1, 9, rng.integers(1, 3))
    kept = [(instances,), (4, instances // 4), (instances // 10, 10)][rng.integers(3)]
    order = rng.permutation(len(kept) + len(reduced))
    std = log_uniform(rng, 1e-6, 1e6, (*kept, *(1 for _ in reduced)))
    ratio = log_uniform(rng, 1e-2, 1e6, std.shape) * rng.choice([-1, 0, 1], std.shape)
    x = (rng.standard_normal((*kept, *reduced)) + ratio) * std
    x = np.transpose(x, order).astype(dtype)
    axis = tuple(int(i) for i in np.flatnonzero(order >= len(kept)))
    x = x if rng.random() < 0.5 else np.asfortranarray(x)
    options = {
        "eps": float(rng.choice([0.0, 1e-5, 1.0, log_uniform(rng, 1e-12, 1e12, ())])),
        "eps_mode": str(rng.choice(["add", "clamp", "relative"])),
        "axis": tuple(a - x.ndim if rng.random() < 0.3 else a for a in axis),
        "center": str(rng.choice(["mean", "last"])),
    }
    if rng.random() < 0.4:
        options["where"] = rng.random(x.shape) < 0.7
    parameters = [None, None]
    if rng.random() < 0.5:
        shape = [1 if i in axis else n for i, n in enumerate(x.shape)]
        # A type of its own width rounds before a larger scale or bias cancels what was rounded.
        parameters = [rng.uniform(0.25, 1, shape), rng.uniform(-1, 1, shape)]
        parameters = [one.astype(dtype) for one in parameters]
    return x, parameters, axis, options


def exact(x, scale, bias, axis, options):
    """Two passes in longdouble, around the mean; the center, the scale and the values."""
    eps, where = options["eps"], options.get("where")
    data = x.astype(np.longdouble)
    # The differences from an element are exact, or as small as what they differ in is large.
    origin = data[tuple(slice(0, 1) if i in axis else slice(None) for i in range(x.ndim))]
    x = data - origin
    seen = np.broadcast_to(True if where is None else where, x.shape)
    count = np.sum(seen, axis=axis, keepdims=True)
    n = np.maximum(count, 1)
    mean = np.sum(np.where(seen, x, 0), axis=axis, keepdims=True) / n
    d = np.where(seen, x - mean, 0)
    mean = mean + np.sum(d, axis=axis, keepdims=True) / n
    d = np.where(seen, x - mean, 0)
    variance = np.sum(d * d, axis=axis, keepdims=True) / n
    # A constant's mean is one of its elements.
    variance = np.where(spread(x, seen, axis) == 0, 0, variance)
    inner = {
        "add": variance + eps,
        "clamp": np.maximum(variance, eps),
        "relative": variance + eps * ((origin + mean) ** 2 + variance),
    }
    std = np.sqrt(inner[options["eps_mode"]])
    std = np.where((std == 0) | (count == 0), 1, std)
    center = last(x, seen, axis) if options["center"] == "last" else mean
    center = np.where(count == 0, 0, center)
    y = (x - center) / std
    factor, offset = 1 if scale is None else scale, 0 if bias is None else bias
    return np.where(count == 0, data, y * factor + offset), np.where(count == 0, 1, factor / std)


def spread(x, seen, axis):
    high = np.max(np.where(seen, x, -np.inf), axis=axis, keepdims=True)
    return high - np.min(np.where(seen, x, np.inf), axis=axis, keepdims=True)


def last(x, seen, axis):
    """The last observed element in the order of the axes."""
    kept = [i for i in range(x.ndim) if i not in axis]
    rows = np.transpose(x, (*kept, *axis)).reshape(*(x.shape[i] for i in kept), -1)
    mask = np.transpose(seen, (*kept, *axis)).reshape(rows.shape)
    at = rows.shape[-1] - 1 - np.argmax(mask[..., ::-1], axis=-1, keepdims=True)
    found = np.take_along_axis(rows, at, axis=-1)[..., 0]
    return np.expand_dims(found, axis)


def errors(backend, dtype, precision, rng, instances):
    """The forward error, and that of the way back over what it may be, of a call."""
    x, (scale, bias), axis, options = draw(rng, dtype, instances)
    expected, stretch = exact(x, scale, bias, axis, options)
    given = {
        name: backend.asarray(one) if isinstance(one, np.ndarray) else one
        for name, one in options.items()
    }
    parameters = [None if one is None else backend.asarray(one, dtype) for one in (scale, bias)]
    y, map = rn.revin(backend.asarray(x, dtype), *parameters, precision=precision, **given)
    back = backend.to_numpy(map.inv(y))
    y = backend.to_numpy(y)
    seen = np.broadcast_to(options.get("where", True), x.shape)
    forward = ulp_error(y[seen], expected[seen], dtype=dtype) if np.any(seen) else 0
    # In ULP of the instance's largest magnitude, and of what an ULP of y becomes on the way.
    reach = np.max(abs(x), axis=axis, keepdims=True)
    largest = np.maximum(np.max(abs(y), axis=axis, keepdims=True), np.finfo(dtype).tiny)
    unit = np.maximum(np.spacing(reach), np.spacing(largest).astype(np.longdouble) / stretch)
    away = abs(back.astype(np.longdouble) - x) / np.where(reach == 0, 1, unit)
    return forward, np.max(away, where=seen, initial=0)


def hold(backend, dtype, precision):
    calls = CALLS_WHERE_SLOW if backend.slow else CALLS
    rng = np.random.default_rng(SEED)
    there, back = [], []
    for _ in range(calls):
        forward, away = errors(backend, dtype, precision, rng, INSTANCES // calls)
        there.append(forward)
        back.append(away)
    worst = int(np.argmax(there)), int(np.argmax(back))
    assert there[worst[0]] <= tolerances.forward(backend, dtype, precision), f"call {worst[0]}"
    bound = tolerances.round_trip(backend, dtype, precision)
    assert back[worst[1]] <= bound, f"call {worst[1]}"


def test_thousand_cases(backend):
    hold(backend, "float32", "full")


@pytest.mark.backends("numpy", "torch")
def test_thousand_cases_in_native_precision(backend):
    hold(backend, "float32", "native")


@pytest.mark.backends("numpy", "torch")
def test_thousand_cases_in_float64(backend):
    hold(backend, "float64", "full")
