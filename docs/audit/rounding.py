"""How many results are not the nearest number, and how many differ from library to library.

    python docs/audit/rounding.py --results 1e9 --kept rounding.json

Random float32 data, of a mean of up to 10⁶ deviations, are normalized by `instance_norm` on every
library that is installed and has float64; with a scale and a bias in every second round. What is
counted so far is kept in a file, and the next run goes on from there.

What the nearest number is, is decided in float64 with a bound of its error. The few results that
lie too near to the middle of two numbers are decided by rational arithmetic.
"""

import argparse
import json
import math
import os
import time
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
from audit import versions

import revnorm as rn
from revnorm.testing import from_numpy, to_numpy

EPS = 1e-5
LIBRARIES = ("numpy", "torch", "dask", "array-api-strict", "jax")
# Each of about a million results, with the axes that are reduced.
SHAPES = (
    ((256, 16, 256), (2,)),
    ((16, 64, 32, 32), (2, 3)),
    ((64, 96, 168), (1,)),
    ((8, 32, 64, 64), (2, 3)),
    ((4, 56, 56, 84), (1, 2)),
    ((4, 4, 256, 256), (2, 3)),
)
MIDDLE = math.ldexp(1, -53)


class Sample(NamedTuple):
    """Data, the axes that are reduced, and a scale and a bias for each channel."""

    x: np.ndarray
    axis: tuple[int, ...]
    scale: np.ndarray | None
    bias: np.ndarray | None

    @property
    def channel_axis(self):
        return next(i for i in range(1, self.x.ndim) if i not in self.axis)

    def laid(self, parameter, otherwise):
        shape = [1] * self.x.ndim
        shape[self.channel_axis] = -1
        return np.reshape(otherwise if parameter is None else parameter, shape).astype(np.float64)


def sample(seed, number):
    """Means of up to 10⁶ deviations, a third of them 0; deviations from 10⁻³ to 10³."""
    rng = np.random.default_rng((seed, number))
    shape, axis = SHAPES[number % len(SHAPES)]
    own = [1 if i in axis else n for i, n in enumerate(shape)]
    std = 10 ** rng.uniform(-3, 3, own)
    ratio = rng.choice([-1, 0, 1], own) * 10 ** rng.uniform(-1, 6, own)
    draw = (rng.standard_normal, rng.random, rng.standard_exponential)[number // 2 % 3]
    x = ((draw(shape) + ratio) * std).astype(np.float32)
    channels = shape[Sample(x, axis, None, None).channel_axis]
    if number % 2 == 0:
        return Sample(x, axis, None, None)
    scale = rng.uniform(0.5, 2, channels) * rng.choice([-1, 1], channels)
    return Sample(x, axis, *(p.astype(np.float32) for p in (scale, rng.standard_normal(channels))))


def nearest(data):
    """The number nearest to each result, and how many took rational arithmetic."""
    options = {"axis": data.axis, "keepdims": True}
    x = data.x.astype(np.float64)
    count = math.prod(x.shape[i] for i in data.axis)
    pivot = np.mean(x, **options).astype(np.float32)
    d = x - pivot
    rest = np.sum(d, **options, dtype=np.longdouble) / count
    variance = np.sum(d * d, **options, dtype=np.longdouble) / count - rest * rest
    scale, bias = data.laid(data.scale, 1.0), data.laid(data.bias, 0.0)
    slope = (scale / np.sqrt(variance + np.longdouble(EPS))).astype(np.float64)
    rest = rest.astype(np.float64)
    y = (d - rest) * slope + bias
    # One unit for each of d, the rest, their difference, the product and the sum; and for the
    # slope its own and those of the squares. Sums in longdouble are off by far less.
    off = 8 * MIDDLE * (np.abs(slope) * (np.abs(d) + np.abs(rest)) + np.abs(bias) + np.abs(y))
    low, high = (y - off).astype(np.float32), (y + off).astype(np.float32)
    found = y.astype(np.float32)
    undecided = np.argwhere(low != high)
    for at in map(tuple, undecided):
        found[at] = decided(data, at, low[at], high[at])
    return found, len(undecided)


def decided(data, at, low, high):
    """The nearest number to one result, which lies between two, by rational arithmetic."""
    whole = tuple(slice(None) if i in data.axis else n for i, n in enumerate(at))
    # Multiples of the smallest number there is.
    numbers = [int(math.ldexp(float(one), 149)) for one in data.x[whole].reshape(-1)]
    count, total = len(numbers), sum(numbers)
    unit = Fraction(1, 2**149)
    mean = Fraction(total, count) * unit
    variance = Fraction(count * sum(n * n for n in numbers) - total**2, count**2) * unit**2
    channel = at[data.channel_axis]
    scale, bias = (
        otherwise if one is None else Fraction(float(one[channel]))
        for one, otherwise in ((data.scale, Fraction(1)), (data.bias, Fraction(0)))
    )
    d = (Fraction(float(data.x[at])) - mean) * scale
    while low != high:
        following = np.nextafter(low, np.float32(np.inf))
        middle = (Fraction(float(low)) + Fraction(float(following))) / 2 - bias
        # d / root against the middle, by their signed squares.
        left, right = signed_square(d), signed_square(middle) * (variance + Fraction(EPS))
        if left < right or (left == right and low.view(np.uint32) % 2 == 0):
            return low
        low = following
    return low


def signed_square(value):
    return value * abs(value)


def normalized(library, data):
    given = (one for one in data[:1] + data[2:] if one is not None)
    arrays = [from_numpy(one, library) for one in given]
    options = {} if data.scale is None else {"channel_axis": data.channel_axis}
    return to_numpy(rn.instance_norm(*arrays, axis=data.axis, eps=EPS, **options))


def installed():
    """The libraries that are there, with float64."""
    found = []
    for library in LIBRARIES:
        try:
            module = import_module(library.replace("-", "_"))
        except ImportError:
            continue
        if library == "jax":
            module.config.update("jax_enable_x64", True)
        found.append(library)
    return found


def begun(path, libraries):
    """What an earlier run has kept, if it was of the same libraries."""
    if not path.exists():
        zeros = dict.fromkeys(libraries, 0)
        return {
            "seed": 0,
            "rounds": 0,
            "results": 0,
            "undecided": 0,
            "not nearest": zeros,
            "other than numpy": dict(zeros),
        }
    kept = json.loads(path.read_text(encoding="utf-8"))
    if list(kept["not nearest"]) != libraries:
        raise SystemExit(f"{path} counts {', '.join(kept['not nearest'])}; choose another file")
    return kept


def counted(kept, libraries):
    """One round more."""
    data = sample(kept["seed"], kept["rounds"])
    exact, undecided = nearest(data)
    results = {library: normalized(library, data) for library in libraries}
    for library, y in results.items():
        kept["not nearest"][library] += int(np.count_nonzero(y != exact))
        bits = (one.view(np.uint32) for one in (y, results["numpy"]))
        kept["other than numpy"][library] += int(np.count_nonzero(np.not_equal(*bits)))
    kept["rounds"] += 1
    kept["results"] += exact.size
    kept["undecided"] += undecided


def written(kept, path):
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(kept, indent=2), encoding="utf-8")
    os.replace(part, path)


def told(kept):
    lines = [f"{kept['results']:.3g} results, {kept['undecided']} decided by rationals"]
    for library, wrong in kept["not nearest"].items():
        other = kept["other than numpy"][library]
        lines.append(f"  {library:16} {wrong:8} not the nearest {other:8} other than numpy's")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=float, default=1e7, help="how many in all (1e7)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no longer than that")
    parser.add_argument("--kept", type=Path, default=Path("rounding.json"))
    parser.add_argument("--every", type=int, default=50, help="rounds between two lines (50)")
    arguments = parser.parse_args()
    if np.finfo(np.longdouble).nmant < 63:
        raise SystemExit("NumPy's longdouble is no wider than float64 here")
    libraries = installed()
    print(versions())
    end = time.monotonic() + 60 * arguments.minutes
    kept = begun(arguments.kept, libraries)
    while kept["results"] < arguments.results and time.monotonic() < end:
        counted(kept, libraries)
        written(kept, arguments.kept)
        if kept["rounds"] % arguments.every == 0:
            print(told(kept), flush=True)
    print(told(kept))


if __name__ == "__main__":
    main()
