"""The smallest input that fails: found, the same for a seed, within a time, and small."""

import math
import sys
from functools import partial
from itertools import count

import numpy as np
import pytest

from broken import BROKEN, one_pass, two_passes
from revnorm.testing import _check, _shrink, cases, check, conformance, reference
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


def four_axes(case):
    return case.arrays[0].ndim == 4


def test_what_is_not_claimed_is_not_tried():
    """On three axes it raises an exception, which has nothing to do with what is wrong."""

    def of_images(x, *, axis, eps=1e-5):
        _, _, _, _ = x.shape
        return BROKEN["unbiased variance"][0](x, axis=axis, eps=eps)

    report = check(of_images, "instance_norm", tiers=["formula"], only=four_axes)
    outcome = shrink(report)
    assert outcome.case.arrays[0].ndim == 4
    assert outcome.result is not None


@pytest.fixture
def searches(monkeypatch):
    """How often the smallest input is looked for, whatever the time."""
    made = []

    def counted(report, *, seed):
        made.append(seed)
        return shrink(report, seed=seed)

    monkeypatch.setattr(_check, "shrink", counted)
    return made


def message(test, case):
    with pytest.raises(pytest.fail.Exception) as caught:
        test(case, "float32")
    return str(caught.value)


def test_a_random_case_of_pytest_comes_with_the_smallest_input(searches, capsys):
    wrong = BROKEN["unbiased variance"][0]
    test = conformance(wrong, "instance_norm", tiers=["formula"], seed=4)
    random = cases("instance_norm", seed=4, fuzz=2)[-2:]
    for case in random:
        told, _, lines = message(test, case).partition("\n\nThe smallest input that fails:\n\n")
        assert "seed=4, fuzz=" in told
        exec(lines, {"function": wrong})
        assert float(capsys.readouterr().out.split()[-1]) > 1000
    assert searches == [4]


def test_a_named_case_of_pytest_is_as_small_as_it_is(searches):
    test = conformance(BROKEN["unbiased variance"][0], "instance_norm", tiers=["formula"], seed=4)
    assert "smallest" not in message(test, cases("instance_norm")[0])
    assert searches == []


def test_only_a_tier_that_failed_is_searched(searches):
    """A random case is judged in the tier "exact", too, which a sound kernel may fail."""
    test = conformance(two_passes, "instance_norm", seed=4)
    assert "smallest" not in message(test, cases("instance_norm", seed=4, fuzz=1)[-1])
    assert searches == []


def test_pytest_without_hypothesis(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    test = conformance(BROKEN["unbiased variance"][0], "instance_norm", tiers=["formula"], seed=4)
    told = message(test, cases("instance_norm", seed=4, fuzz=1)[-1])
    assert told.endswith("With hypothesis installed, the smallest input that fails is shown.")


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
