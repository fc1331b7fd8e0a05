"""What is probably wrong with kernels of more than one origin: a sentence for each fault."""

import pytest

from broken_styles import BROKEN, SOUND
from revnorm.testing import check


@pytest.mark.parametrize("name", SOUND)
def test_sound_kernels_have_no_diagnosis(name):
    report = check(SOUND[name], name, tiers=["formula", "conditioning"])
    assert report.passed, "\n".join(f"{o.case.name}: {o.text}" for o in report.failures)
    assert report.diagnosis is None


@pytest.mark.parametrize(
    ("name", "fault"), [(name, fault) for name, faults in BROKEN.items() for fault in faults]
)
def test_broken_kernels_are_diagnosed(name, fault):
    report = check(BROKEN[name][fault], name, tiers=["formula"])
    assert report.tiers["formula"] == "failed"
    assert report.diagnosis.startswith(f"It looks like {fault}")
