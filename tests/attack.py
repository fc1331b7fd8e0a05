"""Random attacks on the stated bounds, against the exact results.

    python tests/attack.py --minutes 60
    python tests/attack.py --seed 7 --only 123

Two values that make all roundings agree, outliers first, scales of any size, biases that cancel,
memory that overlaps, lengths around the constants of the code: what is drawn is in `attacks`, what
is right in `expected`, and how far off it may be in `tolerances`. Exits with 1 if anything was
found.
"""

import argparse
import dataclasses
import sys
import time
from collections import Counter
from functools import cache
from importlib import import_module
from itertools import pairwise

import numpy as np

import oracle
import revnorm as rn
import tolerances
from attacks import Attack, draw
from expected import expected, frame_of, longdouble
from revnorm.testing._arrays import largest
from revnorm.testing._autograd import gradients_of
from seed import SEED


def called(one, given, out):
    """The result, and the map of revin."""
    x, axis, options = given.pop("x"), one.layout.axis, dict(one.options)
    options |= {"axis": axis, "precision": one.precision}
    options |= {name: given.pop(name) for name in ("where", "style_where") if name in given}
    if out is not None:
        options["out"] = out
    if one.kernel == "merged":
        return merged(one, x, options), None
    if "batch_mean" in given:
        mean, variance = given.pop("batch_mean"), given.pop("batch_variance")
        options["batch_moments"] = rn.Moments(mean, 0 * mean, variance, 0 * mean + 1)
    function = compiled(one.kernel, one.way)
    arrays = [
        given[name]
        for name in ("style", "gate", "scale", "bias", "scale_map", "bias_map")
        if name in given
    ]
    result = function(x, *arrays, **options)
    return result if isinstance(result, tuple) else (result, None)


@cache
def compiled(kernel, way):
    function = getattr(rn, kernel)
    if way == "rn.compile":
        return rn.compile(function)
    if way == "torch.compile":
        return import_module("torch").compile(function, fullgraph=True, dynamic=False)
    return jitted(function) if way == "jax.jit" else function


def jitted(function):
    """Arrays are arguments to the compiler, all else is constant to it."""
    jax = import_module("jax")

    def call(*arrays, **keywords):
        fixed = {k: v for k, v in keywords.items() if not hasattr(v, "dtype")}
        varying = {k: v for k, v in keywords.items() if k not in fixed}
        return jax.jit(lambda a, k: function(*a, **k, **fixed))(arrays, varying)

    return call


def merged(one, x, options):
    first, precision = one.layout.axis[0], options["precision"]
    edges = np.linspace(0, x.shape[first], one.merges + 2).astype(int)
    whole = None
    for start, stop in pairwise(edges):
        part = x[(slice(None),) * first + (slice(int(start), int(stop)), ...)]
        moments = rn.moments(part, axis=one.layout.axis, precision=precision)
        whole = moments if whole is None else rn.merge(whole, moments)
    return rn.standardizer(whole, eps=options["eps"])(x)


def placed(one, given):
    """The array that the result is to be written to; operands may lie in it."""
    x = given["x"]
    empty = import_module("torch").empty_like if one.backend.library == "torch" else np.empty_like
    if one.out == "fresh":
        return empty(x)
    if one.out == "x":
        return x
    if one.out == "shifted" and x.ndim:
        room = one.backend.asarray(np.zeros((x.shape[0] + 1, *x.shape[1:])), one.dtype)
        room[1:] = x
        given["x"] = room[1:]
        return room[:-1]
    if one.out == "scale" and "scale" in given:
        out = empty(x)
        at = tuple(slice(0, n) for n in given["scale"].shape)
        out[at] = given["scale"]
        given["scale"] = out[at]
        return out
    return None


@dataclasses.dataclass
class Found:
    """Something that does not hold."""

    attack: Attack
    what: str
    ratio: float

    def __str__(self):
        return f"{self.ratio:.3g} of {self.what}: {self.attack}"


def run(one):
    """What an attack finds, each as a share of its bound; a healthy one stays below 1."""
    with one.backend.context(), np.errstate(all="ignore"):
        given = {
            name: one.backend.asarray(a, one.dtype if a.dtype.kind == "f" else None)
            for name, a in one.arrays.items()
        }
        if one.spoiled is not None:
            value, beside = one.spoiled
            x = np.where(beside, value, one.arrays["x"])
            given["x"] = one.backend.asarray(x, one.dtype)
        elif one.backend.library == "numpy":
            given["x"] = np.array(one.arrays["x"], dtype=one.dtype, order="K")
        if one.gradients:
            return pulled(one, given)
        data = given["x"]
        out = placed(one, given)
        if one.out in ("none", "fresh"):
            before = one.backend.to_numpy(data).copy()
        try:
            y, map = called(one, given, out)
        except Exception as error:
            return [Found(one, f"{type(error).__name__}: {str(error)[:200]}", np.inf)]
        result = one.backend.to_numpy(y)
        found = forward(one, result)
        if one.out in ("none", "fresh"):
            same = np.array_equal(before, one.backend.to_numpy(data), equal_nan=True)
            found.append(("the input", 0.0 if same else np.inf))
        if map is not None:
            found.append(("the way back", back(one, y, map)))
        return [Found(one, what, float(ratio)) for what, ratio in found]


def forward(one, y):
    exact, terms = expected(one)
    value = exact.high
    if y.shape != value.shape or (one.dtype != "bfloat16" and y.dtype.name != one.dtype):
        return [("shape and dtype", np.inf)]
    bound = tolerances.allowed(one.dtype, one.work, one.recipe, value, terms, one.merges)
    fits = abs(value) + bound < largest(one.dtype)
    fits &= np.isfinite(bound)
    if one.spoiled is not None:
        fits &= ~one.spoiled[1]
    error = abs(exact - np.where(np.isfinite(y), y, 0)).high
    ratio = np.where(np.isfinite(y), error / bound, np.inf)
    return [("the result", np.max(np.where(fits, ratio, 0), initial=0))]


def pulled(one, given):
    """The gradients of the data and of a scale and bias of every instance."""
    cotangent, where = given.pop("g"), given.pop("where", None)
    x, axis = one.arrays["x"], one.layout.axis
    shape = [1 if i in axis else n for i, n in enumerate(x.shape)]
    fields = [given.get(name) for name in ("scale", "bias")]
    fields = [
        one.backend.asarray(np.full(shape, 1.0 - i), one.dtype) if f is None else f
        for i, f in enumerate(fields)
    ]
    keywords = {**one.options, "axis": axis, "precision": one.precision}
    if where is not None:
        keywords["where"] = where
    function = compiled(one.kernel, one.way)
    try:
        actual = gradients_of(
            function, one.backend.library, cotangent, (given["x"], *fields), keywords
        )
    except Exception as error:
        return [Found(one, f"{type(error).__name__}: {str(error)[:200]}", np.inf)]
    exact = oracle.revin_gradients(
        one.arrays["g"], x, one.backend.to_numpy(fields[0]).astype(np.longdouble),
        axis=axis, where=one.arrays.get("where"), **one.options,
    )  # fmt: skip
    found = []
    for name, got, right in zip(("x", "scale", "bias"), actual, exact, strict=True):
        value, parts, terms, passed = right
        got = one.backend.to_numpy(got)
        if one.recipe == "A":
            bound = tolerances.WIDER_GRADIENT * tolerances.ulp(parts, one.dtype)
        else:
            bound = tolerances.SAME_GRADIENT * tolerances.ulp(terms, one.dtype)
        error = abs(value - np.where(np.isfinite(got), got, 0)).high
        ratio = np.where(np.isfinite(got), error / bound, np.inf)
        fits = (parts * 4 < largest(one.dtype)) & (passed * 4 < largest(one.work))
        worst = np.max(np.where(fits, ratio, 0), initial=0)
        found.append(Found(one, f"the gradient of {name}", float(worst)))
    return found


def back(one, y, map):
    """The worst of the way there and back, thirty times or once."""
    x = one.arrays["x"].astype(np.longdouble)
    once = y
    for _ in range(one.trips):
        again = map.inv(once)
        once = map(again)
    axis = one.layout.axis
    reach = np.max(abs(x), axis=axis, keepdims=True)
    values = one.backend.to_numpy(y).astype(np.longdouble)
    top = np.max(abs(values), axis=axis, keepdims=True)
    scale = abs(longdouble(one.arrays.get("scale", 1.0)))
    slope = (
        scale * frame_of(one, one.arrays["x"], axis, one.arrays.get("where"), **one.options).scale
    )
    unit = np.maximum(
        tolerances.ulp(reach, one.dtype),
        tolerances.ulp(top, one.dtype) / np.where(slope == 0, 1, slope),
    )
    bound = tolerances.WIDER_ROUND_TRIP if one.recipe == "A" else tolerances.SAME_ROUND_TRIP
    if one.recipe == "B":
        unit = unit * one.trips
    result = one.backend.to_numpy(again).astype(np.longdouble)
    safe = (slope > 0) & (top + unit < largest(one.dtype)) & np.isfinite(unit)
    ratio = np.where(np.isfinite(result), abs(result - x) / (unit * bound), np.inf)
    if one.spoiled is not None:
        safe &= ~one.spoiled[1]
    ratio = np.where(safe & (reach < largest(one.dtype) / 4), ratio, 0)
    return np.max(ratio, initial=0)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", type=int, help="the number of one attack")
    parser.add_argument("--library", action="append", help="of these only; may be repeated")
    parser.add_argument("--keep-going", action="store_true", help="after something was found")
    chosen = parser.parse_args(arguments)
    libraries = None if chosen.library is None else tuple(chosen.library)
    print(f"seed {chosen.seed}", flush=True)
    found, ran, number = [], Counter(), 0
    end = time.monotonic() + 60 * chosen.minutes
    while time.monotonic() < end:
        one = draw(chosen.seed, number if chosen.only is None else chosen.only, libraries)
        results = run(one)
        ran[one.backend.id] += 1
        bad = [result for result in results if not result.ratio <= 1]
        found += bad
        for result in bad:
            print(result, "\n\n" + one.snippet() + "\n", flush=True)
        number += 1
        if chosen.only is not None or (bad and not chosen.keep_going):
            break
    print(", ".join(f"{count} on {name}" for name, count in ran.items()), f"; {len(found)} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
