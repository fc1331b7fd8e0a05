"""The smallest input that fails: found, the same for a seed, within a time, and small."""

import time

import numpy as np
import pytest

from broken import BROKEN, one_pass, two_passes
from revnorm.testing import check, reference, shrink

pytest.importorskip("hypothesis")


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


def test_a_slow_function_is_given_up():
    calls = []

    def slow(x, scale=None, bias=None, *, axis, channel_axis=None, eps=1e-5):
        calls.append(x)
        time.sleep(0.01)
        return 0 * x

    report = failed(slow)
    before = len(calls)
    assert shrink(report, seconds=0.5) is not None
    assert len(calls) - before < 100


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
