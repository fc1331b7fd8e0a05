"""convert: every nn.InstanceNorm of a model replaced, and nothing lost."""

import copy
import logging

import pytest

from tolerances import AGAINST_TORCH as CLOSE

torch = pytest.importorskip("torch")

from modules import randomized, sample  # noqa: E402
from revnorm.torch import InstanceNorm, convert  # noqa: E402

nn = torch.nn

THEIRS = [
    (nn.InstanceNorm1d, nn.LazyInstanceNorm1d, (4, 3, 9)),
    (nn.InstanceNorm2d, nn.LazyInstanceNorm2d, (4, 3, 5, 6)),
    (nn.InstanceNorm3d, nn.LazyInstanceNorm3d, (4, 3, 2, 5, 4)),
]
over_theirs = pytest.mark.parametrize(("theirs", "lazy", "shape"), THEIRS)
STATE = [(affine, tracked) for affine in (False, True) for tracked in (False, True)]
with_state = pytest.mark.parametrize(("affine", "tracked"), STATE)


pytestmark = pytest.mark.usefixtures("torch_asked")


def close(a, b, **bound):
    torch.testing.assert_close(a, b, **(bound or CLOSE))


class Residual(nn.Module):
    """A block of a style transfer network."""

    def __init__(self, channels, norm):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            norm(channels, affine=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            norm(channels, affine=True),
        )

    def forward(self, x):
        return x + self.layers(x)


def network(**options):
    """A small one that transfers style, with norms of several kinds."""
    torch.manual_seed(0)
    norm = nn.InstanceNorm2d
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2),
        norm(8, affine=True, track_running_stats=True),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        norm(16),
        nn.ReLU(inplace=True),
        Residual(16, norm),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(16, 8, 3, padding=1, bias=False),
        norm(8, affine=True, momentum=0.3),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 3, 5, padding=2),
    ).to(**options)


def norms(model):
    return [one for one in model.modules() if isinstance(one, InstanceNorm)]


@over_theirs
@with_state
def test_outputs_gradients_and_statistics_stay(theirs, lazy, shape, affine, tracked):
    options = dict(affine=affine, track_running_stats=tracked, dtype=torch.float64)
    old = randomized(theirs(3, **options))
    new = convert(copy.deepcopy(old))
    assert type(new) is InstanceNorm
    for training in (True, False):
        for x in (sample(*shape), sample(*shape[1:])):
            old.train(training), new.train(training)
            data = [x.clone().requires_grad_() for _ in range(2)]
            results = [layer(one) for layer, one in zip((old, new), data, strict=True)]
            close(*results)
            for y in results:
                y.backward(sample(*y.shape, seed=3))
            close(data[0].grad, data[1].grad)
    for a, b in zip(old.parameters(), new.parameters(), strict=True):
        close(a.grad, b.grad)
    kept = {k: v for k, v in old.state_dict().items() if k != "num_batches_tracked"}
    for name, value in kept.items():
        close(new.state_dict()[name], value)
    assert new.state_dict().keys() == old.state_dict().keys()


@pytest.mark.parametrize("steps", [20])
def test_a_network_trains_to_the_same_loss(steps):
    theirs = network(dtype=torch.float64)
    ours = convert(network(dtype=torch.float64))
    assert len(norms(ours)) == 5
    x = sample(4, 3, 16, 16)
    style = sample(4, 3, 16, 16, seed=1)
    losses = []
    for model in (theirs, ours):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = (model(x) - style).square().mean()
            loss.backward()
            optimizer.step()
        losses.append([loss.detach(), (model.eval()(x) - style).square().mean().detach()])
    assert losses[0][0] < 1.7  # it did learn: the first loss is above 3
    # Rounding errors of 1e-16 that twenty steps carry on.
    close(losses[0], losses[1], rtol=1e-10, atol=0)


def test_the_parameters_are_the_same_objects():
    model = network()
    before, state = list(model.parameters()), model.state_dict(keep_vars=True)
    optimizer = torch.optim.SGD(before, lr=0.1)
    convert(model)
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    after = model.state_dict(keep_vars=True)
    assert list(after) == list(state)
    assert all(after[name] is value for name, value in state.items())
    weight = model[1].weight.clone()
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(model[1].weight, weight)


def test_it_is_in_place():
    model = network()
    assert convert(model) is model
    assert convert(model) is model
    assert len(norms(model)) == 5
    assert not [m for m in model.modules() if isinstance(m, nn.InstanceNorm2d)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_mode_dtype_and_frozen_parameters_stay(dtype):
    model = nn.ModuleDict({"norm": nn.InstanceNorm2d(3, affine=True, track_running_stats=True)})
    model.to(dtype).eval()["norm"].weight.requires_grad_(False)
    norm = convert(model)["norm"]
    assert not norm.training
    assert norm.weight.dtype == norm.running_var.dtype == dtype
    assert not norm.weight.requires_grad
    assert norm.bias.requires_grad


def test_options_stay():
    old = nn.InstanceNorm1d(3, eps=0.5, momentum=0.25, affine=True, bias=False)
    new = convert(old)
    assert (new.eps, new.momentum, new.affine, new.bias) == (0.5, 0.25, True, None)
    assert repr(new) == (
        "InstanceNorm(3, axis=(-1,), channel_axis=-2, eps=0.5, affine=True, "
        "track_running_stats=False, momentum=0.25, bias=False)"
    )
    x = sample(2, 3, 7)
    close(new.double()(x), old.double()(x))


def test_meta_devices_stay():
    with torch.device("meta"):
        model = convert(network())
    assert {one.device.type for one in model.parameters()} == {"meta"}
    model.to_empty(device="cpu")
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert model(torch.randn(2, 3, 8, 8)).isfinite().all()


@over_theirs
@with_state
def test_lazy_variants(theirs, lazy, shape, affine, tracked):
    options = dict(affine=affine, track_running_stats=tracked)
    model = convert(nn.Sequential(lazy(**options)))
    assert type(model[0]) is InstanceNorm
    x = sample(*shape).float()
    y = model(x)
    expected = theirs(3, **options)
    close(y, expected(x), rtol=1e-5, atol=1e-5)
    assert model[0].state_dict().keys() == expected.state_dict().keys()
    assert [p.shape for p in model.parameters()] == [p.shape for p in expected.parameters()]


def test_a_lazy_variant_that_knows_its_channels():
    model = nn.Sequential(nn.LazyInstanceNorm1d(affine=True))
    x = sample(2, 3, 7).float()
    model(x)
    randomized(model)
    expected = model(x)
    new = convert(model)
    assert new[0].num_channels == 3
    close(new(x), expected, rtol=1e-5, atol=1e-5)


def test_a_lazy_variant_is_told_by_a_state_dict():
    known = randomized(nn.InstanceNorm2d(3, affine=True))
    model = convert(nn.Sequential(nn.LazyInstanceNorm2d(track_running_stats=False)))
    model.load_state_dict({f"0.{name}": value for name, value in known.state_dict().items()})
    x = sample(2, 3, 4, 5).float()
    close(model(x), known(x), rtol=1e-5, atol=1e-5)


def test_a_layer_that_occurs_twice_stays_one():
    norm = nn.InstanceNorm2d(3, affine=True)
    model = convert(nn.ModuleList([norm, nn.Sequential(norm), nn.InstanceNorm2d(3)]))
    assert model[0] is model[1][0]
    assert model[0] is not model[2]


def test_hooks_and_attributes_stay():
    old, seen = nn.InstanceNorm2d(3), []
    old.register_forward_hook(lambda module, args, y: seen.append(module))
    old.register_full_backward_hook(lambda module, grads, y: seen.append("back"))
    old.purpose = "style"
    new = convert(old)
    new(sample(2, 3, 4, 5).requires_grad_()).sum().backward()
    assert seen == [new, "back"]
    assert new.purpose == "style"


class Named(nn.InstanceNorm2d):
    """A subclass that computes what its parent does."""

    def __init__(self, channels):
        super().__init__(channels, affine=True)


class Doubled(nn.InstanceNorm2d):
    """A subclass that does not."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_subclasses():
    model = convert(nn.Sequential(Named(3), Doubled(3)))
    assert [type(one) for one in model] == [InstanceNorm, Doubled]


def test_parametrized_layers_are_left():
    norm = nn.InstanceNorm2d(3, affine=True)
    nn.utils.parametrizations.weight_norm(norm, dim=None)
    model = nn.Sequential(norm)
    assert convert(model)[0] is norm


def test_other_norms_are_left():
    layers = nn.BatchNorm2d(3), nn.GroupNorm(3, 3), nn.LayerNorm(3), InstanceNorm(3, layout="NCL")
    model = nn.Sequential(*layers)
    assert list(convert(model)) == list(layers)


def test_it_says_what_it_did(caplog):
    model = nn.Sequential(nn.Sequential(nn.InstanceNorm2d(3)), Doubled(4))
    with caplog.at_level(logging.INFO, logger="revnorm"):
        convert(model)
    replaced, left = caplog.messages
    assert replaced.startswith("0.0: InstanceNorm2d(3, eps=1e-05")
    assert "replaced by InstanceNorm(axis=(-2, -1), channel_axis=-3" in replaced
    assert left.startswith("1: Doubled(4, ")
    assert "left" in left


def test_data_of_another_rank_are_refused():
    norm = convert(nn.InstanceNorm2d(3))
    with pytest.raises(ValueError, match=r"3 or 4 axes, got shape \(3, 4\)"):
        norm(sample(3, 4))
    with pytest.raises(ValueError, match="3 or 4 axes"):
        norm(sample(2, 3, 4, 5, 6))


def test_another_number_of_channels():
    """Without a state PyTorch computes it, with a warning; with one it is an error in both."""
    x = sample(2, 4, 5, 6)
    with pytest.warns(UserWarning, match="num_features"):
        expected = nn.InstanceNorm2d(3)(x)
    close(convert(nn.InstanceNorm2d(3))(x), expected)
    with pytest.raises(ValueError, match="3 channels on axis -3, as the layer has, got 4"):
        convert(nn.InstanceNorm2d(3, affine=True))(x)


def test_only_modules_are_converted():
    with pytest.raises(TypeError, match=r"`module` must be an nn\.Module, got list"):
        convert([nn.InstanceNorm2d(3)])
