"""Layouts: what the letters say."""

import pytest

import revnorm as rn
from functions import X


@pytest.mark.parametrize(
    ("letters", "axis", "channel", "batch"),
    [
        ("NCHW", (2, 3), 1, 0),
        ("NHWC", (1, 2), 3, 0),
        ("NCDHW", (2, 3, 4), 1, 0),
        ("BTC", (1,), 2, 0),
        ("BCT", (2,), 1, 0),
        ("BCL", (2,), 1, 0),
        ("SSCB", (0, 1), 2, 3),
        ("CBT", (2,), 0, 1),
        ("SSSCB", (0, 1, 2), 3, 4),
        ("SCBU", (0, 3), 1, 2),
        ("TU", (0, 1), None, None),
    ],
)
def test_letters(letters, axis, channel, batch):
    layout = rn.Layout(letters)
    assert (layout.axis, layout.channel_axis, layout.batch_axis) == (axis, channel, batch)


@pytest.mark.parametrize("letters", ["NCCHW", "NBCHW", "NCHH", "NCXY", "nchw"])
def test_other_strings_are_shown(letters):
    with pytest.raises(ValueError, match=repr(letters)):
        rn.Layout(letters)


def test_goes_into_a_function():
    layout = rn.Layout("NCHW")
    y = rn.instance_norm(X, axis=layout.axis, channel_axis=layout.channel_axis)
    assert (y == rn.instance_norm(X, axis=(2, 3))).all()
