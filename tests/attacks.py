"""Attacks, drawn: data, layouts, parameters and ways to call that have broken arithmetic like this.

Each is drawn from a seed and a number alone, so that it can be had again.
"""

import dataclasses
from typing import Any

import numpy as np

from backends import BACKENDS, absence
from revnorm.testing._arrays import largest, rounded, smallest

Array = Any
# Elements of an array, at most.
SIZES = (1 << 10, 1 << 16, 1 << 20, 1 << 23)
# How often a library is drawn: less where a call compiles.
WEIGHTS = {"numpy": 2.0, "torch": 2.0, "array-api-strict": 0.4, "jax": 0.05, "dask": 0.05}
# The compilers, of which a call takes seconds.
WAYS = {
    "numpy": ("rn.compile",),
    "torch": ("rn.compile", "torch.compile"),
    "jax": ("rn.compile", "jax.jit"),
}
# Just around these something changes: a stripe, a segment, a part, a block, a buffer.
EDGES = (1, 2, 16, 64, 256, 1024, 4096, 8192, 1 << 15, 1 << 16, 1 << 17, 3 << 16, 1 << 18)


def log_uniform(rng, low, high):
    return float(10.0 ** rng.uniform(low, high))


def pick(rng, *choices):
    return choices[int(rng.integers(len(choices)))]


# Data: rows of one instance each, in float64, to be rounded to the dtype.


def normal(rng, rows, n):
    return rng.standard_normal((rows, n)) + log_uniform(rng, -2, 6)


def two_values(rng, rows, n):
    few = rng.random((rows, n)) < pick(rng, 0.5, 0.01, 1 / 3, 1 / n)
    low = pick(rng, 0.0, 1.0, rng.uniform(-1, 1), 1 + 2.0**-11, rng.uniform(0, 1000))
    return np.where(few, low + pick(rng, 1.0, rng.uniform(0, 3), 2.0**-12, 2.0**-23), low)


def outlier_first(rng, rows, n):
    x = pick(rng, np.ones((rows, n)), rng.standard_normal((rows, n)))
    x[:, 0] = log_uniform(rng, 1, 30) * rng.choice([-1, 1])
    return x


def outlier_anywhere(rng, rows, n):
    x = rng.standard_normal((rows, n))
    x[:, rng.integers(n)] = log_uniform(rng, 1, 20)
    return x


def constant(rng, rows, n):
    return np.full((rows, n), rng.uniform(-1, 1) * log_uniform(rng, -3, 6))


def nearly_constant(rng, rows, n):
    x = constant(rng, rows, n)
    x[:, rng.integers(n)] *= 1 + 2.0**-10
    return x


def new_regime(rng, rows, n):
    x = rng.standard_normal((rows, n))
    x[:, int(n * rng.random()) :] += log_uniform(rng, 0, 6)
    return x


def far_below(rng, rows, n):
    x = rng.uniform(0.5, 1, (rows, n)) * pick(rng, 1.0, 1000.0)
    x[:, rng.integers(n)] = -1
    return x


def image(rng, rows, n):
    return rng.integers(0, 256, (rows, n)).astype(np.float64)


def ramp(rng, rows, n):
    return np.linspace(-1, log_uniform(rng, -1, 3), n) + rng.uniform(-1, 1, (rows, 1))


def of_all_magnitudes(rng, rows, n):
    return rng.standard_normal((rows, n)) * 10.0 ** rng.uniform(-12, 6, (rows, n))


DATA = (
    normal, two_values, two_values, outlier_first, outlier_first, outlier_anywhere, constant,
    nearly_constant, new_regime, far_below, image, ramp, of_all_magnitudes,
)  # fmt: skip


# Layouts: the axes that rows become, those that an instance becomes, and the order of all.


@dataclasses.dataclass(frozen=True)
class Layout:
    kept: tuple[int, ...]
    reduced: tuple[int, ...]
    order: tuple[int, ...]
    batch_axis: int

    @property
    def axis(self):
        return tuple(i for i, one in enumerate(self.order) if one >= len(self.kept))

    def __call__(self, rows):
        reduced = self.reduced if rows.shape[1] > 1 else (1,) * len(self.reduced)
        return np.transpose(rows.reshape((*self.kept, *reduced)), self.order)


def draw_layout(rng, rows, n):
    even = rows % 2 == 0 and rows > 1
    kept = pick(rng, (rows,), (2, rows // 2)) if even else (rows,)
    width = next((w for w in (64, 7, 2) if n % w == 0), 1)
    reduced = pick(rng, (n,), (n // width, width))
    axes = tuple(range(len(kept) + len(reduced)))
    turned = (*axes[len(kept) :], *axes[: len(kept)])
    middle = (0, *axes[len(kept) :], *axes[1 : len(kept)])
    order = pick(rng, axes, axes, turned, middle)
    return Layout(kept, reduced, order, order.index(0))


@dataclasses.dataclass
class Attack:
    """One call of a kernel, and what is exactly right."""

    seed: int
    number: int
    kernel: str
    backend: Any
    way: str
    dtype: str
    precision: str
    made: str
    arrays: dict[str, np.ndarray]
    options: dict[str, Any]
    layout: Layout
    out: str = "none"
    trips: int = 1
    merges: int = 0
    gradients: bool = False
    # A number that fills an instance beside the others, and where that is.
    spoiled: tuple[float, np.ndarray] | None = None
    libraries: tuple[str, ...] | None = None

    @property
    def work(self):
        """The dtype worked in."""
        if self.dtype == "float64":
            return "float64"
        narrow = self.precision == "native" or self.backend.widest != "float64"
        return "float32" if narrow else "float64"

    @property
    def recipe(self):
        return "B" if self.work == self.dtype or self.work == "float32" else "A"

    def __str__(self):
        x = self.arrays["x"]
        options = {k: v for k, v in self.options.items() if not isinstance(v, np.ndarray)}
        given = ", ".join(f"{k}={v!r}" for k, v in options.items())
        others = ", ".join(f"{k} {a.shape}" for k, a in self.arrays.items() if k != "x")
        return (
            f"{self.number}: {self.kernel}({given}) of {self.made}, {self.dtype} {x.shape} over "
            f"{self.layout.axis}, with {others or 'nothing'}; {self.backend.id}, {self.way}, "
            f"precision {self.precision}, out {self.out}, trips {self.trips}, merges {self.merges}"
        )

    def snippet(self):
        return (
            "import sys\n\nsys.path.insert(0, 'tests')\nimport attack\n\n"
            f"one = attack.draw({self.seed}, {self.number}, {self.libraries!r})\n"
            "print(one)\nfor found in attack.run(one):\n    print(found)"
        )


def draw(seed, number, libraries=None):
    """The attack of that number."""
    rng = np.random.default_rng([seed, number])
    able = [b for b in BACKENDS if b.library != "ndonnx" and not absence(b)]
    able = [b for b in able if libraries is None or b.library in libraries]
    weights = np.asarray([WEIGHTS.get(b.library, 1.0) for b in able])
    backend = able[int(rng.choice(len(able), p=weights / weights.sum()))]
    way = "eager"
    if rng.random() < 0.005:
        way = pick(rng, *WAYS.get(backend.library, ("eager",)))
    dtype = pick(rng, *backend.dtypes, "float32", "float32", backend.widest)
    precision = pick(rng, "full", "full", "native")
    kernel = pick(rng, "instance_norm", "instance_norm", "revin", "revin", *KERNELS)
    size = int(rng.choice(SIZES, p=[0.5, 0.45, 0.049, 0.001]))
    n = draw_length(rng, size)
    rows = int(rng.integers(1, 1 + min(64, max(2, size // n))))
    layout = draw_layout(rng, rows, n)
    make = pick(rng, *DATA)
    data = make(rng, rows, n)
    if rng.random() < 0.3:
        # A variance has to be a number of the type, where moments are given or taken.
        apart = rng.random() < 0.3 and kernel != "merged"
        reach = np.log10(largest(dtype)) if apart else 6
        with np.errstate(over="ignore"):  # brought back within the type below
            data = data * log_uniform(rng, -reach, reach)
    if backend.library == "jax":
        # XLA's arithmetic on the CPU takes subnormal numbers for 0, differences among them.
        data = np.where(abs(data) < 1e-30, 0, data)
    data = within(data, dtype)
    one = Attack(
        seed, number, kernel, backend, way, dtype, precision, make.__name__, {}, {}, layout,
        libraries=libraries,
    )  # fmt: skip
    one.arrays["x"] = as_memory(rng, layout(data))
    KERNELS[kernel](rng, one, rows, n)
    if rows > 1 and kernel not in ("merged", "batch_instance_norm") and rng.random() < 0.15:
        beside = np.arange(rows)[:, None] == rng.integers(rows)
        one.spoiled = pick(rng, np.nan, np.inf, largest(dtype)), layout(beside)
    elif kernel in ("instance_norm", "revin") and dtype in ("float32", "float64"):
        one.gradients = backend.library in ("torch", "jax") and rng.random() < 0.3
    if one.gradients:
        one.arrays["g"] = layout(within(draw_cotangent(rng, rows, n), dtype))
    elif backend.library in ("numpy", "torch") and kernel != "merged" and rng.random() < 0.3:
        one.out = pick(rng, "fresh", "x", "x", "shifted", "scale")
    return one


def draw_cotangent(rng, rows, n):
    return pick(rng, np.ones((rows, n)), rng.standard_normal((rows, n)), two_values(rng, rows, n))


def draw_length(rng, longest):
    if rng.random() < 0.4:
        edge = pick(rng, *(e for e in EDGES if e <= longest))
        return max(1, edge + int(rng.integers(-1, 2)))
    return int(log_uniform(rng, 0, np.log10(longest)))


def within(data, dtype):
    return rounded(np.clip(data, -largest(dtype), largest(dtype)), dtype)


def as_memory(rng, x):
    return pick(rng, np.ascontiguousarray, np.ascontiguousarray, np.asfortranarray, np.array)(x)


def draw_parameters(rng, one, rows, names=("scale", "bias")):
    """A scale and a bias of any size, the bias such that it may cancel; one a row or for all."""
    if rng.random() < 0.5:
        return
    size = pick(rng, 1.0, 1.0, log_uniform(rng, -3, 3), log_uniform(rng, -6, 12))
    shape = (rows, 1)
    scale = rng.uniform(-1, 1, shape) * size
    bias = scale * rng.uniform(-2, 2, shape) if rng.random() < 0.6 else rng.uniform(-1, 1, shape)
    for name, values in zip(names, (scale, bias), strict=True):
        one.arrays[name] = one.layout(within(values, one.dtype))


def draw_mask(rng, one, name="where", shape=None):
    if rng.random() < 0.25:
        shape = one.arrays["x"].shape if shape is None else shape
        one.arrays[name] = rng.random(shape) < pick(rng, 0.1, 0.5, 0.99)


def draw_eps(rng, dtype):
    edge = -np.log10(smallest("float32"))
    return pick(
        rng, 1e-5, 1e-5, 1e-5, 0.0, 1.0, log_uniform(rng, -12, 12), log_uniform(rng, -edge, 30)
    )


def draw_instance_norm(rng, one, rows, n):
    draw_parameters(rng, one, rows)
    draw_mask(rng, one)
    one.options |= {
        "eps": draw_eps(rng, one.dtype),
        "eps_mode": pick(rng, "add", "clamp", "relative"),
    }
    one.options["correction"] = pick(rng, 0, 0, 1)


def draw_revin(rng, one, rows, n):
    draw_instance_norm(rng, one, rows, n)
    one.options["center"] = pick(rng, "mean", "last")
    one.trips = pick(rng, 1, 1, 1, 30)


def draw_adain(rng, one, rows, n):
    length = draw_length(rng, 4096)
    layout = dataclasses.replace(one.layout, reduced=(length, *(1 for _ in one.layout.reduced[1:])))
    style = within(pick(rng, *DATA)(rng, rows, length) * log_uniform(rng, -3, 3), one.dtype)
    one.arrays["style"] = layout(style)
    draw_mask(rng, one)
    draw_mask(rng, one, "style_where", one.arrays["style"].shape)
    one.options |= {"eps": draw_eps(rng, one.dtype), "correction": pick(rng, 0, 1)}
    one.options["strength"] = pick(rng, 1.0, 1.0, 0.5, 0.0, float(rng.random()))


def draw_batch_instance_norm(rng, one, rows, n):
    gate = one.layout(np.full((rows, 1), rng.random()))
    one.arrays["gate"] = within(gate, one.dtype)
    draw_parameters(rng, one, rows)
    draw_mask(rng, one)
    one.options |= {"eps": draw_eps(rng, one.dtype), "batch_axis": one.layout.batch_axis}
    if rng.random() < 0.4:
        mean, std = rng.uniform(-1, 1) * log_uniform(rng, -2, 6), log_uniform(rng, -2, 3)
        shape = [1] * one.arrays["x"].ndim
        one.arrays["batch_mean"] = within(np.full(shape, mean), one.dtype)
        one.arrays["batch_variance"] = within(np.full(shape, std * std), one.dtype)


def draw_spatially_adaptive_norm(rng, one, rows, n):
    for name in ("scale_map", "bias_map"):
        values = rng.uniform(-2, 2, (rows, n)) * pick(rng, 1.0, log_uniform(rng, -3, 6))
        one.arrays[name] = one.layout(within(values, one.dtype))
    one.options["eps"] = draw_eps(rng, one.dtype)


def draw_merged(rng, one, rows, n):
    one.options["eps"] = draw_eps(rng, one.dtype)
    one.arrays["x"] = within(np.clip(one.arrays["x"].astype(np.float64), -1e12, 1e12), one.dtype)
    longest = one.arrays["x"].shape[one.layout.axis[0]]
    # A lazy library's graph of many merges takes it minutes to plan.
    one.merges = min(longest, pick(rng, 2, 10, 100, 1000), 10 if one.backend.lazy else 1000) - 1


KERNELS = {
    "instance_norm": draw_instance_norm,
    "revin": draw_revin,
    "adain": draw_adain,
    "batch_instance_norm": draw_batch_instance_norm,
    "spatially_adaptive_norm": draw_spatially_adaptive_norm,
    "merged": draw_merged,
}
