"""Layouts: what the letters say."""

import numpy as np
import pytest

import revnorm as rn
from functions import BIAS, BIASES, GATE, LABELS, SCALE, SCALES, STYLE, X


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


NCHW = rn.Layout("NCHW")
CALLS = {
    "moments": lambda axis, **other: rn.moments(X, axis=axis).variance,
    "standardizer": lambda axis, **other: rn.standardizer(X, SCALE, BIAS, axis=axis, **other)(X),
    "of moments": lambda axis, **other: rn.standardizer(
        rn.moments(X, axis=(2, 3)), SCALE, axis=axis, **other
    )(X),
    "instance_norm": lambda axis, **other: rn.instance_norm(X, SCALE, BIAS, axis=axis, **other),
    "revin": lambda axis, **other: rn.revin(X, SCALE, BIAS, axis=axis, **other)[0],
    "adain": lambda axis, **other: rn.adain(X, STYLE, axis=axis),
    "spatial": lambda axis, **other: rn.spatially_adaptive_norm(X, X, X, axis=axis),
}
BATCHED = {
    "batch": lambda axis, **other: rn.batch_instance_norm(X, GATE, SCALE, axis=axis, **other),
    "conditional": lambda axis, **other: rn.conditional_instance_norm(
        X, SCALES, BIASES, LABELS, axis=axis, **other
    ),
}


@pytest.mark.parametrize("name", CALLS | BATCHED)
def test_is_an_axis(name):
    """And gives the other two, which may be named beside it if they agree."""
    call = (CALLS | BATCHED)[name]
    axes = {"channel_axis": 1} | ({"batch_axis": 0} if name in BATCHED else {})
    negative = {name: axis - 4 for name, axis in axes.items()}
    expected = call((2, 3), **axes)
    for given in ({}, axes, negative):
        np.testing.assert_array_equal(call(NCHW, **given), expected)


def test_is_an_axis_to_a_compiler():
    torch = pytest.importorskip("torch")
    x, scale = torch.asarray(X), torch.asarray(SCALE)
    expected = rn.instance_norm(x, scale, axis=(2, 3), channel_axis=1)
    compiled = torch.compile(
        lambda x, scale: rn.instance_norm(x, scale, axis=NCHW), fullgraph=True, backend="eager"
    )
    for y in (compiled(x, scale), rn.compile(rn.instance_norm)(x, scale, axis=NCHW)):
        torch.testing.assert_close(y, expected, rtol=0, atol=2**-20)


@pytest.mark.parametrize("name", CALLS | BATCHED)
def test_of_another_number_of_axes(name):
    text = r"^`axis` must be a layout of 4 letters, one for each axis of the array, got 3$"
    with pytest.raises(ValueError, match=text):
        (CALLS | BATCHED)[name](rn.Layout("BTC"))


@pytest.mark.parametrize("other", ["channel_axis", "batch_axis"])
def test_contradicted(other):
    own = getattr(NCHW, other)
    without = rn.Layout("THW" + ("N" if other == "channel_axis" else "C"))
    for layout, axis in ((NCHW, 3), (NCHW, 1 - own), (without, 1)):
        text = f"`{other}` must be that of the layout, {getattr(layout, other)}, got {axis}"
        with pytest.raises(ValueError, match=f"^{text}$"):
            rn.batch_instance_norm(X, 0.5, axis=layout, **{other: axis})


def test_without_a_batch():
    with pytest.raises(TypeError, match=r"^`batch_axis` must be an int, got None$"):
        rn.batch_instance_norm(X, 0.5, axis=rn.Layout("CHWD"))
    with pytest.raises(TypeError, match=r"^`channel_axis` must be an int, got None$"):
        rn.conditional_instance_norm(X, SCALES, BIASES, LABELS, axis=rn.Layout("NHWD"))
