"""The smallest input that fails: found, the same for a seed, within a time, and small."""

import math
from functools import partial
from itertools import count

import numpy as np
import pytest

from broken import BROKEN, one_pass, two_passes
from revnorm.testing import _shrink, check, reference
from revnorm.testing import shrink as timed

pytest.importorskip("hypothesis")

# However slow the machine is, the same is found.
shrink = partial(timed, seconds=math.inf)


def failed(function, name="instance_norm", tiers=("formula", "conditioning")):
    report = check(function, name, tiers=tiers)
    assert not report.passed
    return report


@pytest.mark.parametrize("fault", ["unbiased variance", "no eps", "no bias", "wrong axis"])
def test_wrong_formulas_fail_on_a_few_numbers(fault):
    outcome = shrink(failed(BROKEN[fault][0]))
    assert outcome.status == "failed"
    assert outcome.case.arrays[0].size <= 24
    assert np.unique(np.abs(outcome.case.arrays[0])).size <= 3


def test_the_conditioning_is_shrunk_where_the_formula_is_right():
    outcome = shrink(failed(one_pass))
    x = outcome.case.arrays[0]
    assert outcome.shares["conditioning"] > 1
    assert np.min(x) >= 90
    assert x.size <= 24


def test_the_same_seed_finds_the_same():
    report = failed(BROKEN["no bias"][0])
    first, again = (shrink(report, seed=3).case for _ in range(2))
    assert first.keywords == again.keywords
    for one, other in zip(first.arrays, again.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_to_shrink():
    assert shrink(check(two_passes, "instance_norm", tiers=["formula"])) is None
    odd = BROKEN["in place"][0]
    assert shrink(failed(odd, tiers=["conduct"])) is None
    # The kernels of styles have no such cases.
    assert shrink(failed(lambda content, style, *, axis, eps=1e-5: content, "adain")) is None


def test_a_slow_function_is_given_up(monkeypatch):
    """On a clock that each look puts on by a second."""
    calls = []

    def zeros(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
        calls.append(x)
        return 0 * x

    report = failed(zeros)
    before = len(calls)
    monkeypatch.setattr(_shrink.time, "monotonic", count().__next__)
    assert shrink(report, seconds=20) is not None
    assert len(calls) - before <= 21


def test_what_is_written_down_is_what_failed():
    report = failed(BROKEN["unbiased variance"][0])
    outcome = shrink(report)
    lines = report.again(outcome).splitlines()
    held = {"np": np, "reference": reference}
    start = next(i for i, line in enumerate(lines) if line.startswith("data = "))
    exec("\n".join(lines[start : start + 3]), held)
    for one, other in zip(held["data"], outcome.case.arrays_in("float32"), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(held["exact"], outcome.case.expected("float32"))
