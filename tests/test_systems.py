"""Each system's own module beside the layer that replaces it: weights, results, gradients."""

import pytest

torch = pytest.importorskip("torch")

import revnorm as rn  # noqa: E402
from modules import randomized, sample  # noqa: E402
from revnorm.torch import (  # noqa: E402
    ConditionalInstanceNorm,
    RevIN,
    SpatiallyAdaptiveNorm,
)
from systems import (  # noqa: E402
    AuthorsRevIN,
    Conditional,
    DartsRINorm,
    IterativeRevIN,
    SpadeInstance,
    TorchAdaIN,
)

nn = torch.nn

# Formulas in float64 against each other: a few hundred roundings of numbers below 100.
CLOSE = {"rtol": 1e-11, "atol": 1e-11}
SERIES = (4, 24, 3)
IMAGES = (4, 3, 7, 5)


pytestmark = pytest.mark.usefixtures("torch_asked")


def gradients(y, *operands):
    weights = sample(*y.shape, seed=5, dtype=y.dtype)
    return torch.autograd.grad(y, operands, weights, retain_graph=True)


def assert_alike(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.reshape(other.shape), other, **CLOSE)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("subtract_last", [True, False])
def test_authors_revin(affine, subtract_last):
    theirs = randomized(AuthorsRevIN(3, affine=affine, subtract_last=subtract_last)).double()
    ours = RevIN(3, affine=affine, subtract_last=subtract_last, detach=True).double()
    ours.load_state_dict(theirs.state_dict())
    # At eps 0 their way back divides by the weight, as ours always does.
    ours.eps = theirs.eps = 0.0
    x, forecast = sample(*SERIES).requires_grad_(), sample(4, 9, 3, seed=1).requires_grad_()
    y, expected = ours(x, "norm"), theirs(x, "norm")
    assert_alike([y], [expected])
    assert_alike(gradients(y, x, *ours.parameters()), gradients(expected, x, *theirs.parameters()))
    back, expected = ours(forecast, "denorm"), theirs(forecast, "denorm")
    assert_alike([back], [expected])
    operands = [[forecast, *one.parameters()] for one in (ours, theirs)]
    assert_alike(gradients(back, *operands[0]), gradients(expected, *operands[1]))


def test_authors_revin_does_not_come_back_from_a_small_weight():
    theirs, ours = AuthorsRevIN(3).double(), RevIN(3).double()
    for layer in (theirs, ours):
        nn.init.constant_(layer.affine_weight, 1e-9)
    x = sample(*SERIES)
    assert not torch.allclose(theirs(theirs(x, "norm"), "denorm"), x, rtol=0.05)
    y, undo = ours(x)
    torch.testing.assert_close(undo(y), x)


@pytest.mark.parametrize("affine", [True, False])
def test_darts_rinorm(affine):
    """Also of a forecast with the parameters of a distribution on a last axis."""
    theirs = randomized(DartsRINorm(3, affine=affine)).double()
    ours = RevIN(3, affine=affine, detach=True).double()
    ours.load_state_dict(theirs.state_dict())
    ours.eps = theirs.eps = 0.0
    x, forecast = sample(*SERIES).requires_grad_(), sample(4, 9, 3, 2, seed=1).requires_grad_()
    (y, undo), expected = ours(x), theirs(x)
    assert_alike([y], [expected])
    assert_alike(gradients(y, x, *ours.parameters()), gradients(expected, x, *theirs.parameters()))
    back = torch.stack([undo(one) for one in forecast.unbind(-1)], -1)
    expected = theirs.inverse(forecast)
    assert_alike([back], [expected])
    operands = [[forecast, *one.parameters()] for one in (ours, theirs)]
    assert_alike(gradients(back, *operands[0]), gradients(expected, *operands[1]))


def test_darts_rinorm_gives_other_results_in_other_units():
    """darts#2739: what has a deviation of 1e-4 comes out at 3 % of its amplitude."""
    x = sample(*SERIES)
    theirs, ours = DartsRINorm(3).double(), RevIN(3).double()
    ours.eps = 0.0
    assert theirs(1e-4 * x).std() < 0.05 * theirs(x).std()
    torch.testing.assert_close(ours(1e-4 * x)[0], ours(x)[0])


def test_lucidrains_revin():
    theirs = randomized(IterativeRevIN(3)).double()
    ours = RevIN(3, axis=-1, channel_axis=1, eps_mode="clamp").double()
    ours.load_state_dict(theirs.state_dict())
    x, forecast = sample(4, 3, 24).requires_grad_(), sample(4, 3, 9, seed=1).requires_grad_()
    (y, undo), (expected, reverse) = ours(x), theirs(x)
    assert_alike([y], [expected])
    assert_alike(gradients(y, x, *ours.parameters()), gradients(expected, x, *theirs.parameters()))
    back, expected = undo(forecast), reverse(forecast)
    assert_alike([back], [expected])
    operands = [[forecast, x, *one.parameters()] for one in (ours, theirs)]
    y, expected = undo(forecast), reverse(forecast)
    assert_alike(gradients(y, *operands[0]), gradients(expected, *operands[1]))


def test_lucidrains_revin_flattens_a_quiet_series():
    quiet = 5 + 1e-4 * sample(4, 3, 24)
    theirs = IterativeRevIN(3).double()
    ours = RevIN(3, axis=-1, channel_axis=1, eps_mode="clamp").double()
    (y, undo), (expected, reverse) = ours(quiet), theirs(quiet)
    assert (reverse(expected).std(-1) < quiet.std(-1) / 15).all()
    torch.testing.assert_close(undo(y), quiet)


@pytest.mark.parametrize("prefix", ["", "model.norm."])
@pytest.mark.parametrize("of", [AuthorsRevIN, IterativeRevIN])
def test_checkpoints_of_models_that_have_a_revin(of, prefix):
    theirs, ours = randomized(of(3)), RevIN(3)
    for name in reversed(prefix.split(".")[:-1]):
        theirs, ours = nn.ModuleDict({name: theirs}), nn.ModuleDict({name: ours})
    ours.load_state_dict(theirs.state_dict())
    assert_alike(ours.parameters(), [one.flatten() for one in theirs.parameters()])


def test_spade():
    theirs = randomized(SpadeInstance(3, 2, hidden=8)).double()
    ours = SpatiallyAdaptiveNorm(3, 2, hidden=8).double()
    ours.load_state_dict(theirs.state_dict())
    x, segmentation = sample(*IMAGES).requires_grad_(), sample(4, 2, 14, 9, seed=1).round()
    y, expected = ours(x, segmentation), theirs(x, segmentation)
    assert_alike([y], [expected])
    assert_alike(gradients(y, x, *ours.parameters()), gradients(expected, x, *theirs.parameters()))


def test_conditional_instance_norm():
    theirs = randomized(Conditional(3, 5)).double()
    ours = ConditionalInstanceNorm(3, 5, layout="NCHW").double()
    ours.load_state_dict(theirs.state_dict())
    x, labels = sample(*IMAGES).requires_grad_(), torch.tensor([4, 0, 4, 1])
    y, expected = ours(x, labels), theirs(x, labels)
    assert_alike([y], [expected])
    assert_alike(gradients(y, x, *ours.parameters()), gradients(expected, x, *theirs.parameters()))


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_naoto_adain(strength):
    content = sample(*IMAGES).requires_grad_()
    style = sample(4, 3, 9, 4, seed=1).requires_grad_()
    y = rn.adain(content, style, axis=(2, 3), correction=1, strength=strength)
    expected = TorchAdaIN()(content, style, strength)
    assert_alike([y], [expected])
    assert_alike(gradients(y, content, style), gradients(expected, content, style))


def test_naoto_adain_has_no_answer_for_one_element():
    content, style = sample(4, 3, 1, 1), sample(*IMAGES, seed=1)
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert TorchAdaIN()(content, style).isnan().all()
    y = rn.adain(content, style, axis=(2, 3), correction=1)
    torch.testing.assert_close(y, style.mean((2, 3), keepdim=True))


def test_a_forecaster_trains_to_the_same_loss():
    """A line over time between RevIN and its way back, on series whose level drifts."""

    def trained(norm, weight):
        line = nn.Linear(24, 8).double()
        with torch.no_grad():
            line.weight.copy_(weight)
            line.bias.zero_()
        optimizer = torch.optim.SGD([*line.parameters(), *norm.parameters()], lr=0.02)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            y = norm(past, "norm")
            forecast = norm(line(y.mT).mT, "denorm")
            loss = nn.functional.mse_loss(forecast, future)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return torch.tensor(losses)

    series = sample(16, 32, 3).cumsum(1) + 10 * sample(16, 1, 3, seed=1)
    past, future, weight = series[:, :24], series[:, 24:], 0.1 * sample(8, 24, seed=2)
    theirs = trained(AuthorsRevIN(3).double(), weight)
    ours = trained(RevIN(3, detach=True).double(), weight)
    assert theirs[-1] < theirs[0] / 2
    # Their way back divides by weight + 1e-10.
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=0)


def test_flax_instance_norm():
    """flax 0.12.8 with the parameters that its modules keep: E[x²] − E[x]², eps 1e-6."""
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def theirs(x, params):
        mean = x.mean((1, 2), keepdims=True)
        variance = jnp.maximum((x * x).mean((1, 2), keepdims=True) - mean * mean, 0.0)
        return (x - mean) * (jax.lax.rsqrt(variance + 1e-6) * params["scale"]) + params["bias"]

    def ours(x, params):
        return rn.instance_norm(x, params["scale"], params["bias"], axis=(1, 2), eps=1e-6)

    with jax.enable_x64(True):
        x, weights = (jnp.asarray(sample(4, 7, 5, 3, seed=seed)) for seed in (0, 1))
        params = {"scale": jnp.asarray([0.5, -1.5, 2.0]), "bias": jnp.asarray([1.0, 0.0, -3.0])}
        y, back = jax.vjp(ours, x, params)
        expected, theirs_back = jax.vjp(theirs, x, params)
        found = jax.tree.leaves((y, back(weights)))
        for one, other in zip(found, jax.tree.leaves((expected, theirs_back(weights)))):
            assert one.dtype == jnp.float64
            assert jnp.allclose(one, other, **CLOSE)
