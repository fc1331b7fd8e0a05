"""The battery: complete, always the same, and what it says of itself."""

import numpy as np
import pytest

from kernels import KERNELS
from revnorm.testing import Case, cases, to_numpy


@pytest.mark.parametrize("name", KERNELS)
def test_names_are_unique_and_each_says_what_it_probes(name):
    battery = cases(name)
    assert len({case.name for case in battery}) == len(battery) > 30
    assert all(case.probes and case.kernel == name for case in battery)


@pytest.mark.parametrize("name", KERNELS)
def test_always_the_same(name):
    for case in cases(name)[:8]:
        for first, again in zip(case.arrays, case.arrays, strict=True):
            np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", KERNELS)
def test_every_axis_is_valid_and_every_parameter_broadcasts(name):
    for case in cases(name):
        if case.name == "10^6 rows, axis 0":
            continue
        assert case.expected("float32").shape == case.arrays_in("float32")[0].shape, case.name


def named(kernel, name):
    (case,) = [case for case in cases(kernel) if case.name == name]
    return case


def test_conditioning_is_what_its_name_says():
    for ratio in (1e2, 1e4, 1e6):
        exponent = f"1e{round(np.log10(ratio))}"
        (x,) = named("instance_norm", f"mean {exponent}, std 1").arrays
        np.testing.assert_allclose(x.mean(axis=(2, 3)) / x.std(axis=(2, 3)), ratio, rtol=0.1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_extremes_are_those_of_the_type(dtype):
    (huge,) = named("instance_norm", "near the largest number").arrays_in(dtype)
    assert np.finfo(dtype).max / 2 < np.max(np.abs(huge)) < np.inf
    (tiny,) = named("instance_norm", "subnormal, eps 0").arrays_in(dtype)
    assert 0 < np.max(np.abs(tiny)) < np.finfo(dtype).smallest_normal


def test_views_are_not_contiguous():
    for name in ("transposed view", "every second element", "backwards"):
        x = named("instance_norm", name).arrays_in("float32")[0]
        assert not x.flags.c_contiguous, name


def test_strides_reach_torch():
    pytest.importorskip("torch")
    for name in ("transposed view", "every second element"):
        arrays, _ = named("instance_norm", name).arguments("float32", "torch")
        assert not arrays[0].is_contiguous(), name


def test_arguments_are_of_the_library():
    torch = pytest.importorskip("torch")
    arrays, keywords = named("instance_norm", "mask").arguments("float16", "torch")
    assert arrays[0].dtype is torch.float16
    assert keywords["where"].dtype is torch.bool
    assert to_numpy(keywords["where"]).any()


def test_what_a_type_cannot_hold():
    outlier = named("instance_norm", "outlier 1e20 among ones")
    assert outlier.unfit("float16") == "too large for float16"
    assert outlier.unfit("float32") == ""
    assert named("instance_norm", "1e-30, eps 0").unfit("float16") == "too small for float16"


def test_cases_are_cases():
    assert all(isinstance(case, Case) for case in cases("adain"))
    with pytest.raises(ValueError, match=r"^`name` must be one of instance_norm, .*'norm'$"):
        cases("norm")
