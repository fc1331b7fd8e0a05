"""Layers that take more than the data: a style, labels, a segmentation."""

import pytest

torch = pytest.importorskip("torch")

import revnorm as rn  # noqa: E402
from modules import randomized, sample  # noqa: E402
from revnorm.torch import AdaIN, ConditionalInstanceNorm, SpatiallyAdaptiveNorm  # noqa: E402

IMAGES = (4, 3, 7, 5)


pytestmark = pytest.mark.usefixtures("torch_asked")


@pytest.mark.parametrize(("layout", "axis"), [("NCHW", (2, 3)), ("NHWC", (1, 2)), ("NCL", 2)])
def test_adain_takes_a_style_or_its_moments(layout, axis):
    layer = AdaIN(layout=layout, eps=1e-3)
    shape = {"NCHW": IMAGES, "NHWC": (4, 7, 5, 3), "NCL": (4, 3, 9)}[layout]
    content, style = sample(*shape), sample(*shape, seed=1)
    for strength in (1.0, 0.3, torch.tensor(0.3)):
        expected = rn.adain(content, style, axis=axis, eps=1e-3, strength=strength)
        assert torch.equal(layer(content, style, strength), expected)
        found = layer(content, rn.moments(style, axis=axis), strength=strength)
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    assert torch.equal(layer(content, style, strength=0.0), content)
    assert not list(layer.parameters())


def test_conditional_labels_and_mixtures_of_them():
    layer, x = randomized(ConditionalInstanceNorm(3, 5, layout="NCHW")).double(), sample(*IMAGES)
    labels = torch.tensor([4, 0, 4, 1])
    y = layer(x, labels)
    weights = torch.nn.functional.one_hot(labels, 5).double()
    torch.testing.assert_close(layer(x, weights), y, rtol=1e-13, atol=1e-13)
    halves = (weights + weights.roll(1, 1)) / 2
    expected = (y + layer(x, (labels + 1) % 5)) / 2
    torch.testing.assert_close(layer(x, halves), expected, rtol=1e-13, atol=1e-13)


def test_segmentation_of_another_size():
    layer = randomized(SpatiallyAdaptiveNorm(3, 2, hidden=4)).double()
    x, small = sample(*IMAGES), sample(4, 2, 2, 2, seed=1)
    large = torch.nn.functional.interpolate(small, size=x.shape[2:], mode="nearest")
    assert torch.equal(layer(x, small), layer(x, large))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_segmentation_under_autocast(dtype):
    """The convolutions are narrow, the statistics are those of the data as they are."""
    layer = randomized(SpatiallyAdaptiveNorm(3, 2, hidden=4))
    x, segmentation = (sample(*shape, dtype=torch.float32) for shape in (IMAGES, (4, 2, 7, 5)))
    x = (1000 + x).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x, segmentation)
        activation = layer.mlp_shared(segmentation)
        maps = [one(activation) for one in (layer.mlp_gamma, layer.mlp_beta)]
    assert y.dtype == torch.float32
    assert torch.equal(y, rn.spatially_adaptive_norm(x, *maps, axis=(2, 3)))
    y.sum().backward()
    assert {one.grad.dtype for one in layer.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda: AdaIN(layout="NC"), (), "layout"),
        (lambda: AdaIN(layout="NCHW"), ((4, 3, 7), IMAGES), "`content` must have 4 axes"),
        (lambda: AdaIN(layout="NCHW"), (IMAGES, (4, 2, 7, 5)), "`style`"),
        (lambda: ConditionalInstanceNorm(3, 5, layout="CHW"), (), "batch"),
        (lambda: ConditionalInstanceNorm(2, 5, layout="NCHW"), (IMAGES, (4, 5)), "2 channels"),
        (lambda: ConditionalInstanceNorm(3, 5, layout="NCHW"), (IMAGES, (4, 6)), "`labels`"),
        (lambda: SpatiallyAdaptiveNorm(3, 2), (IMAGES, (4, 5, 7, 5)), "`segmentation_map`"),
        (lambda: SpatiallyAdaptiveNorm(3, 0), (), "`label_channels`"),
    ],
)
def test_errors(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make()(*(sample(*shape, dtype=torch.float32) for shape in arguments))


def test_a_state_with_running_statistics_is_not_read_as_spade_instance():
    state = SpatiallyAdaptiveNorm(3, 2).state_dict()
    with pytest.raises(RuntimeError, match="running_mean"):
        SpatiallyAdaptiveNorm(3, 2).load_state_dict(
            state | {"param_free_norm.running_mean": torch.zeros(3)}
        )
