"""What the tolerances of a benchmark let through.

    python docs/audit/let_through.py --instances 7168

KernelBench's level 1, problem 34 is an instance norm of `torch.rand(112, 64, 512, 512)`. It is
graded with an absolute and relative tolerance of 1e-4 in float32, and of 1e-2 in half precision.
Wrong formulas are held against the exact result on instances of such data. Printed are the largest
error as a share of the tolerance, how many instances stay within it, and what
`revnorm.testing.check` makes of the same formula.
"""

import argparse
import datetime
import time

import numpy as np
from audit import versions

from revnorm.testing import check

EPS = 1e-5
SIDE = 512
TOLERANCES = {"float32": 1e-4, "float16": 1e-2}


def normalized(x, mean, variance, eps=EPS):
    return (x - mean) / np.sqrt(variance + np.float32(eps))


def nothing_reduced(x, axis, eps):
    return (x - np.float32(0.5)) * np.float32(12**0.5)


def half_the_image(x, axis, eps):
    part = x[..., : max(1, x.shape[-1] // 2)]
    return normalized(x, part.mean(axis, keepdims=True), part.var(axis, keepdims=True), eps)


def unbiased(x, axis, eps):
    mean, variance = x.mean(axis, keepdims=True), x.var(axis, keepdims=True, ddof=1)
    return normalized(x, mean, variance, eps)


def no_eps(x, axis, eps):
    return normalized(x, x.mean(axis, keepdims=True), x.var(axis, keepdims=True), 0.0)


def one_pass(x, axis, eps):
    mean = x.mean(axis, keepdims=True)
    return normalized(x, mean, (x * x).mean(axis, keepdims=True) - mean * mean, eps)


def zeros(x, axis, eps):
    return np.zeros_like(x)


FORMULAS = {
    "(x − 0.5) · √12, nothing reduced": nothing_reduced,
    "statistics of the left half of the image": half_the_image,
    "the unbiased variance": unbiased,
    "no eps": no_eps,
    "E[x²] − E[x]² in float32": one_pass,
    "zeros": zeros,
}


def exact(x):
    """In float64, where sums of 2¹⁸ numbers of [0, 1) are off by far less than a tolerance."""
    wide = x.astype(np.float64)
    return normalized(wide, wide.mean(), wide.var())


def share(y, expected, dtype):
    """The largest error as a share of the tolerance, both results being of the type."""
    y, expected = (one.astype(dtype).astype(np.float64) for one in (y, expected))
    tolerance = TOLERANCES[dtype]
    return float(np.max(np.abs(y - expected) / (tolerance + tolerance * np.abs(expected))))


def measured(instances, seed):
    """Of each formula and type, the share of each instance."""
    rng = np.random.default_rng(seed)
    found = {(name, dtype): [] for name in FORMULAS for dtype in TOLERANCES}
    for _ in range(instances):
        data = rng.random((SIDE, SIDE), dtype=np.float32)
        for dtype in TOLERANCES:
            x = data.astype(dtype).astype(np.float32)
            expected = exact(x)
            for name, formula in FORMULAS.items():
                found[name, dtype].append(share(formula(x, (0, 1), EPS), expected, dtype))
    return found


def beyond(formula):
    """What the kit finds: its verdicts on formula and conditioning, and what it looks like."""

    def kernel(x, scale=None, bias=None, *, axis, channel_axis=None, eps=EPS):
        y = formula(x, axis, eps)
        for parameter, step in ((scale, np.multiply), (bias, np.add)):
            if parameter is not None:
                shape = [1] * x.ndim
                if channel_axis is not None and parameter.ndim == 1:
                    shape[channel_axis] = -1
                    parameter = parameter.reshape(shape)
                y = step(y, parameter)
        return y.astype(x.dtype)

    report = check(kernel, "instance_norm", tiers=["formula", "conditioning"])
    failed = next((t for t in ("formula", "conditioning") if report.tiers[t] == "failed"), None)
    if failed is None:
        return "passed", "", ""
    return f"{failed} failed", f"{report.worst_in(failed)[1]:.2g}", report.diagnosis or ""


def table(found, instances, seed):
    head = ["formula"]
    for dtype, tolerance in TOLERANCES.items():
        head += [f"{dtype}, {tolerance:g}: worst error / tolerance", "instances within"]
    head += ["revnorm's check", "error / allowed", "what it says"]
    lines = [head, ["---"] * len(head)]
    for name, formula in FORMULAS.items():
        line = [name]
        for dtype in TOLERANCES:
            shares = np.asarray(found[name, dtype])
            line += [f"{shares.max():.2g}", f"{np.count_nonzero(shares <= 1)} of {instances}"]
        lines.append([*line, *beyond(formula)])
    told = f"{datetime.date.today()}, {instances} of 7168 instances, seed {seed}: {versions()}."
    return told + "\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=256, help="of 7168 (256)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.monotonic()
    print(table(measured(arguments.instances, arguments.seed), arguments.instances, arguments.seed))
    print(f"\n{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
