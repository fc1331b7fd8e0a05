"""The functions under test, each as one call from an array to an array of its shape."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import oracle
import revnorm as rn

Array = Any


@dataclass(frozen=True, eq=False)
class Function:
    """A call of the package and the same call of the oracle, on sample operands.

    Attributes
    ----------
    call, oracle : callable
        Given x and the operands by name; `call` takes `precision` as well.
    operands : mapping
        NumPy arrays that go along with x.
    axis : tuple of int
        What an instance reduces.
    batched : frozenset of str
        The operands whose first axis is the batch's.
    pooled : bool
        Whether the instances of a batch see each other.
    out : bool
        Whether the call takes `out`.
    back : bool
        Whether it ends in the units of data, as the way back of a round trip does.
    """

    id: str
    call: Callable[..., Array]
    oracle: Callable[..., Array]
    operands: Mapping[str, np.ndarray] = field(default_factory=dict)
    axis: tuple[int, ...] = (2, 3)
    batched: frozenset[str] = frozenset()
    pooled: bool = False
    out: bool = False
    back: bool = False

    @property
    def typical(self) -> bool:
        """Whether it stands for others where time is short."""
        return self.id in ("instance_norm-where", "revin-last-where", "adain-where")

    def unit_of(self, expected):
        """What errors are in ULP of, where the bound is not of max(|expected|, 1)."""
        return oracle.reach(expected, self.axis) if self.back else None

    def __repr__(self):
        return self.id


def sample(shape=(4, 3, 6, 5), *, mean=7.0, std=3.0, seed=0):
    """Data away from zero, in a dtype that every library can narrow."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * std + mean).astype(np.float32)


_RNG = np.random.default_rng(1)
X = sample()
SCALE = np.asarray([0.5, 1.25, -2.0], dtype=np.float32)
BIAS = np.asarray([1.0, -0.75, 0.25], dtype=np.float32)
GATE = np.asarray([0.0, 0.25, 1.0], dtype=np.float32)
WHERE = _RNG.random(X.shape) < 0.7
STYLE = sample((4, 3, 3, 7), mean=-2.0, std=2.0, seed=2)
STYLE_WHERE = _RNG.random(STYLE.shape) < 0.7
SCALES = sample((5, 3), mean=1.0, std=0.5, seed=3)
BIASES = sample((5, 3), mean=0.0, std=1.0, seed=4)
LABELS = np.asarray([4, 0, 4, 2])
WEIGHTS = np.asarray(
    [[1, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0], [0, 0, 0.25, 0.75, 0], [0, 0, 0, 0, 1]], dtype=np.float32
)
# Stretches beyond 2 would multiply the error of what is stretched, and with it the bounds.
SCALE_MAP = sample(mean=0.0, std=0.25, seed=5)
BIAS_MAP = sample((1, 1, 6, 5), mean=0.0, std=1.0, seed=6)
AFFINE = {"scale": SCALE, "bias": BIAS}


def _by_name(function, *names):
    """A function called by names for its positional arrays."""

    def call(x, **given):
        return function(x, *(given.pop(name, None) for name in names), **given)

    return call


def _frozen(x, other, **options):
    return rn.instance_norm(x, moments=rn.moments(other, axis=(2, 3)), **options)


def _frozen_oracle(x, other, **options):
    return oracle.instance_norm(x, moments=oracle.moments(other, axis=(2, 3)), **options)


def _revin(x, *parameters, **options):
    return rn.revin(x, *parameters, **options)[0]


def _standardizer(x, *parameters, **options):
    return rn.standardizer(x, *parameters, **options)(x)


def _standardizer_oracle(x, scale=1, bias=0, **options):
    return oracle.standardizer(x, scale, bias, **options)(x)


def _inverse(x, other, **options):
    return rn.standardizer(other, **options).inv(x)


def _inverse_oracle(x, other, **options):
    center, scale, offset = oracle.standardizer(other, **options)
    return (oracle.exact(x) - offset) / scale + center


def _merged(x, *, axis, precision="full"):
    halves = [rn.moments(half, axis=axis, precision=precision) for half in (x[:1, ...], x[1:, ...])]
    return rn.standardizer(rn.merge(*halves))(x)


def _blend(x, style, gate, precision="full", **options):
    maps = [rn.standardizer(a, precision=precision, **options) for a in (x, style)]
    return rn.blend(maps, [gate[:, None, None], 1 - gate[:, None, None]])(x)


def _blend_oracle(x, style, gate, **options):
    a, b = (oracle.standardizer(of, **options)(x) for of in (x, style))
    gate = oracle.exact(gate)[:, None, None]
    return a * gate + b * (1 - gate)


def _functions():
    nchw = {"axis": (2, 3), "channel_axis": 1}
    batch = {**nchw, "batch_axis": 0}

    def both(id, call, exact, operands, **traits):
        """The same operands and options to the package and to the oracle."""
        given = {k: v for k, v in traits.items() if k in ("pooled", "out", "back", "batched")}
        options = {k: v for k, v in traits.items() if k not in given}
        axis = options.get("axis", (2, 3))
        axes = axis if isinstance(axis, tuple) else (axis,)
        reduced = tuple(sorted(one % X.ndim for one in axes))
        calls = partial(call, **options), partial(exact, **options)
        return Function(id, *calls, operands, axis=reduced, **given)

    masked = {"where": WHERE}
    kernel = {"out": True}
    where = {"batched": frozenset({"where"}), **kernel}
    affine = ("scale", "bias")
    tables = ("scales", "biases", "labels")
    inorm = (_by_name(rn.instance_norm, *affine), oracle.instance_norm)
    revin = (_by_name(_revin, *affine), oracle.revin)
    adain = (_by_name(rn.adain, "style"), oracle.adain)
    bin_ = (_by_name(rn.batch_instance_norm, "gate", *affine), oracle.batch_instance_norm)
    cin = (_by_name(rn.conditional_instance_norm, *tables), oracle.conditional_instance_norm)
    spade = (
        _by_name(rn.spatially_adaptive_norm, "scale_map", "bias_map"),
        oracle.spatially_adaptive_norm,
    )
    standardizer = (_by_name(_standardizer, *affine), _standardizer_oracle)
    styled = {"batched": frozenset({"style", "where", "style_where"}), "back": True, **kernel}
    labelled = {"batched": frozenset({"labels"}), **kernel}
    return (
        both("instance_norm", *inorm, AFFINE, **nchw, **kernel),
        both("instance_norm-plain", *inorm, {}, axis=(-1, -2), **kernel),
        both("instance_norm-where", *inorm, AFFINE | masked, **nchw, **where),
        both("instance_norm-clamp", *inorm, {}, axis=(2, 3), eps=8.0, eps_mode="clamp",
             **kernel),
        both("instance_norm-relative", *inorm, masked, axis=(2, 3), eps=0.5, eps_mode="relative",
             correction=1, **where),
        both("instance_norm-unbiased", *inorm, masked, axis=(2, 3), correction=1, **where),
        both("instance_norm-frozen", _frozen, _frozen_oracle, {"other": SCALE_MAP}, axis=(2, 3),
             batched=frozenset({"other"}), **kernel),
        both("layer_norm", *inorm, {}, axis=(1, 2, 3), **kernel),
        both("batch_norm", *inorm, AFFINE, axis=(0, 2, 3), channel_axis=1, pooled=True, **kernel),
        both("revin", *revin, AFFINE, axis=2, channel_axis=1, **kernel),
        both("revin-where", *revin, AFFINE | masked, axis=2, channel_axis=1, **where),
        both("revin-last", *revin, AFFINE, **nchw, center="last", **kernel),
        both("revin-last-where", *revin, AFFINE | masked, **nchw, center="last", **where),
        both("adain", *adain, {"style": STYLE}, axis=(2, 3), **styled),
        both("adain-strength", *adain, {"style": STYLE}, axis=(2, 3), correction=1, strength=0.25,
             **styled),
        both("adain-where", *adain, {"style": STYLE, "style_where": STYLE_WHERE} | masked,
             axis=(2, 3), **styled),
        both("batch_instance_norm", *bin_, {"gate": GATE} | AFFINE, **batch, pooled=True, **kernel),
        both("batch_instance_norm-where", *bin_, {"gate": GATE} | AFFINE | masked, **batch,
             pooled=True, **where),
        both("conditional-labels", *cin, {"scales": SCALES, "biases": BIASES, "labels": LABELS},
             **batch, **labelled),
        both("conditional-weights", *cin, {"scales": SCALES, "biases": BIASES, "labels": WEIGHTS},
             **batch, **labelled),
        both("conditional-where", *cin,
             {"scales": SCALES, "biases": BIASES, "labels": LABELS} | masked, **batch,
             eps_mode="clamp", eps=8.0, batched=frozenset({"labels", "where"}), **kernel),
        both("spatially_adaptive_norm-where", *spade,
             {"scale_map": SCALE_MAP, "bias_map": BIAS_MAP} | masked, axis=(2, 3), eps_mode="clamp",
             batched=frozenset({"scale_map", "where"}), **kernel),
        both("spatially_adaptive_norm", *spade,
             {"scale_map": SCALE_MAP, "bias_map": BIAS_MAP}, axis=(2, 3),
             batched=frozenset({"scale_map"}), **kernel),
        both("standardizer", *standardizer, AFFINE, **nchw),
        both("standardizer-inverse", _inverse, _inverse_oracle, {"other": STYLE}, axis=(2, 3),
             batched=frozenset({"other"}), back=True),
        both("merge", _merged, oracle.instance_norm, {}, axis=(0, 2, 3), pooled=True),
        both("blend", _blend, _blend_oracle, {"style": STYLE, "gate": GATE}, axis=(2, 3),
             batched=frozenset({"style"})),
    )  # fmt: skip


FUNCTIONS = _functions()
