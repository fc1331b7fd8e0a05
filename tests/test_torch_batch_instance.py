"""BatchInstanceNorm for PyTorch, whose gate stays in [0, 1]."""

import copy

import pytest

from tolerances import AGAINST_TORCH as CLOSE

torch = pytest.importorskip("torch")

from modules import in_two_processes, randomized, sample  # noqa: E402
from revnorm.torch import BatchInstanceNorm  # noqa: E402

nn, F = torch.nn, torch.nn.functional

LAYOUTS = [("NCL", (4, 3, 9)), ("NCHW", (4, 3, 5, 6)), ("SSSCB", (2, 5, 4, 3, 4))]


pytestmark = pytest.mark.usefixtures("torch_asked")


def close(a, b, **bound):
    torch.testing.assert_close(a, b, **(bound or CLOSE))


def layer_of(layout, **options):
    return randomized(BatchInstanceNorm(3, layout=layout, **options).double())


def ordered(x, layout):
    """Batch, channels, and the rest in one."""
    kept = [i for letter in "NBC" for i in range(len(layout)) if layout[i] == letter]
    rest = [i for i in range(len(layout)) if i not in kept]
    return x.permute(*kept, *rest).reshape(x.shape[kept[0]], x.shape[kept[1]], -1)


def published(layer, x):
    """(rho * BN + (1 - rho) * IN) * gamma + beta, hyeonseobnam's, on the layer's state."""
    running = layer.running_mean.clone(), layer.running_var.clone()
    batch = F.batch_norm(x, *running, training=layer.training, momentum=layer.momentum)
    mean, variance = x.mean(2, keepdim=True), x.var(2, correction=0, keepdim=True)
    instance = (x - mean) / (variance + 1e-5).sqrt()
    gate, weight, bias = (one[:, None] for one in (layer.gate, layer.weight, layer.bias))
    return (gate * batch + (1 - gate) * instance) * weight + bias, running


@pytest.mark.parametrize(("layout", "shape"), LAYOUTS)
def test_bin_of_hyeonseobnam(layout, shape):
    layer = layer_of(layout)
    for training in (True, False):
        layer.train(training)
        x = sample(*shape).requires_grad_()
        expected, running = published(layer, ordered(x, layout))
        y = layer(x)
        close(ordered(y, layout), expected)
        weights = sample(*expected.shape, seed=3)
        operands = [x, *layer.parameters()]
        found = torch.autograd.grad((ordered(y, layout) * weights).sum(), operands)
        wanted = torch.autograd.grad((expected * weights).sum(), operands)
        for one, other in zip(found, wanted, strict=True):
            close(one, other)
        close(layer.running_mean, running[0])
        close(layer.running_var, running[1])


def test_the_gate_begins_as_batch_norm():
    layer, batch = BatchInstanceNorm(3, layout="NCHW").double(), nn.BatchNorm2d(3).double()
    x = sample(4, 3, 5, 6)
    for training in (True, True, False):
        close(layer.train(training)(x), batch.train(training)(x))
    for name, value in batch.state_dict().items():
        close(layer.state_dict()[name], value)


def test_without_momentum_the_average_of_all_batches():
    layer = BatchInstanceNorm(3, layout="NCHW", momentum=None).double()
    batch = nn.BatchNorm2d(3, momentum=None).double()
    for seed in range(3):
        layer(sample(4, 3, 5, 6, seed=seed)), batch(sample(4, 3, 5, 6, seed=seed))
    close(layer.running_mean, batch.running_mean)
    close(layer.running_var, batch.running_var)


def stepped(lr):
    """A layer whose gate an optimizer has moved far beyond both bounds."""
    layer = layer_of("NCHW")
    optimizer = torch.optim.SGD(layer.parameters(), lr=abs(lr), maximize=lr < 0)
    layer(sample(4, 3, 5, 6)).mul(sample(4, 3, 5, 6, seed=1)).sum().backward()
    before = layer.gate.detach().clone()
    optimizer.step()
    raw = dict(layer.named_parameters())["gate"].detach().clone()
    assert ((raw < 0) | (raw > 1)).any()
    return layer, before, raw


@pytest.mark.parametrize("lr", [1e3, -1e3])
@pytest.mark.parametrize("look", ["attribute", "state_dict", "forward"])
def test_the_gate_stays_within_bounds(lr, look):
    layer, _, raw = stepped(lr)
    if look == "attribute":
        found = layer.gate
    elif look == "state_dict":
        found = nn.Sequential(layer).state_dict()["0.gate"]
    else:
        layer(sample(4, 3, 5, 6))
        found = dict(layer.named_parameters())["gate"]
    close(found.detach(), raw.clamp(0, 1), rtol=0, atol=0)
    assert found.is_leaf


def test_a_compiled_layer_stays_within_bounds():
    layer, _, raw = stepped(1e3)
    torch.compile(layer, fullgraph=True, backend="aot_eager")(sample(4, 3, 5, 6))
    close(dict(layer.named_parameters())["gate"].detach(), raw.clamp(0, 1), rtol=0, atol=0)


def test_evaluation_right_after_a_step_is_within_bounds():
    layer, _, raw = stepped(1e3)
    x = sample(4, 3, 5, 6)
    y = layer.eval()(x)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.gate.copy_(raw.clamp(0, 1))
    close(y, twin(x), rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_a_gate_on_a_bound_is_not_stuck(training):
    """Where the loss asks for it, it leaves the bound; with a clamp it would have no gradient."""
    layer = BatchInstanceNorm(3, layout="NCHW").double().train(training)
    with torch.no_grad():
        dict(layer.named_parameters())["gate"].fill_(1.5)
    x = sample(4, 3, 5, 6) + torch.arange(4)[:, None, None, None]
    target = F.instance_norm(x)
    optimizer = torch.optim.SGD([layer.gate], lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        (layer(x) - target).square().mean().backward()
        optimizer.step()
    assert (layer.gate < 0.9).all()


@pytest.mark.parametrize("training", [True, False])
def test_a_gate_beyond_a_bound_has_the_gradient_of_the_bound(training):
    gradients = []
    for start in (1.5, 1.0):
        layer = BatchInstanceNorm(3, layout="NCHW").double().train(training)
        gate = dict(layer.named_parameters())["gate"]
        nn.init.constant_(gate, start)
        y = layer(sample(4, 3, 5, 6)) * sample(4, 3, 5, 6, seed=1)
        gradients += torch.autograd.grad(y.sum(), gate)
    assert gradients[0].all()
    close(*gradients, rtol=0, atol=0)


def test_the_steps_are_those_of_the_published_loop():
    """Which clips the gate after each step."""
    ours, theirs = layer_of("NCHW"), layer_of("NCHW")
    raw = dict(theirs.named_parameters())["gate"]
    x, weights = sample(4, 3, 5, 6), sample(4, 3, 5, 6, seed=1)
    for layer in (ours, theirs):
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.3, momentum=0.9)
        for _ in range(6):
            optimizer.zero_grad()
            (layer(x) * weights).sum().backward()
            optimizer.step()
            if layer is theirs:
                raw.data.clamp_(0, 1)
    assert ((ours.gate == 0) | (ours.gate == 1)).any()
    for name, value in theirs.state_dict().items():
        close(ours.state_dict()[name], value)


def test_two_calls_before_one_backward():
    layer = layer_of("NCHW")
    with torch.no_grad():
        dict(layer.named_parameters())["gate"].fill_(1.5)
    first, second = layer(sample(4, 3, 5, 6)), layer(sample(4, 3, 5, 6, seed=1))
    (first.sum() + second.sum()).backward()
    assert layer.gate.grad is not None


def test_a_loss_may_use_the_gate():
    layer = layer_of("NCHW")
    before = (layer.gate * (1 - layer.gate)).sum()
    y = layer(sample(4, 3, 5, 6))
    (before + y.sum() + layer.gate.square().sum()).backward()
    assert layer.gate.grad.isfinite().all()


def test_parameters_given_by_functional_call_are_not_changed():
    layer = layer_of("NCHW")
    given = {name: one.detach().clone() for name, one in layer.named_parameters()}
    given["gate"] += 1
    before = given["gate"].clone()
    y = torch.func.functional_call(layer, given, sample(4, 3, 5, 6))
    assert y.isfinite().all()
    assert torch.equal(given["gate"], before)


def test_replicas_of_data_parallel_have_a_gate():
    layer = layer_of("NCHW")
    replica = layer._replicate_for_data_parallel()
    for name, one in layer.named_parameters():
        setattr(replica, name, one.detach() * 1)
    x = sample(4, 3, 5, 6)
    close(replica(x), layer(x))


def test_parameter_groups():
    layer = BatchInstanceNorm(3, layout="NCHW")
    gate, rest = layer.parameter_groups(0.5, weight_decay=0.25)
    assert gate["params"][0] is layer.gate
    assert (gate["lr"], gate["weight_decay"]) == (5.0, 0.0)
    assert [id(one) for one in rest["params"]] == [id(layer.weight), id(layer.bias)]
    assert (rest["lr"], rest["weight_decay"]) == (0.5, 0.25)
    assert len(BatchInstanceNorm(3, layout="NCHW", affine=False).parameter_groups(0.5)) == 1


def test_reset_parameters_begins_anew():
    layer = BatchInstanceNorm(3, layout="NCL")
    began = copy.deepcopy(layer.state_dict())
    randomized(layer)(sample(2, 3, 7))
    layer.reset_parameters()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, began[name]), name


def test_a_single_element_in_a_batch():
    layer = BatchInstanceNorm(3, layout="NCHW")
    assert (layer(sample(1, 3, 1, 1)) == 0).all()
    assert layer.running_var.isfinite().all()


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"layout": "CHW"}, ValueError, "`layout` must name a batch.*got 'CHW'"),
        ({"layout": "NHW"}, ValueError, "`layout` must name a batch.*got 'NHW'"),
        ({"layout": "NC"}, ValueError, "`layout` must name .* axes to reduce, got 'NC'"),
        ({"layout": "NCHW", "num_channels": None}, TypeError, "`num_channels` must be an int"),
        ({"layout": "NCHW", "momentum": -1}, ValueError, "`momentum` must be finite"),
    ],
)
def test_errors(given, error, text):
    with pytest.raises(error, match=text):
        BatchInstanceNorm(**{"num_channels": 3, **given})


def test_other_data():
    layer = BatchInstanceNorm(3, layout="NCHW")
    with pytest.raises(ValueError, match="3 channels on axis 1, as the layer has, got 4"):
        layer(sample(2, 4, 5, 6))
    with pytest.raises(ValueError, match="4 axes, those of layout 'NCHW'"):
        layer(sample(2, 3, 5))


def test_repr():
    assert repr(BatchInstanceNorm(3, layout="NCHW")) == (
        "BatchInstanceNorm(3, layout='NCHW', eps=1e-05, momentum=0.1, affine=True)"
    )


def data(rank):
    return sample(2 + rank, 3, 4, 5, seed=rank) + rank


def _trained(rank):
    layer = BatchInstanceNorm(3, layout="NCHW", momentum=1.0).double()
    model = nn.parallel.DistributedDataParallel(layer, broadcast_buffers=False)
    model(data(rank)).square().sum().backward()
    return layer.state_dict()


def test_processes_have_the_statistics_of_all_data(tmp_path):
    whole = torch.cat([data(0), data(1)])
    for state in in_two_processes(_trained, tmp_path):
        close(state["running_mean"], whole.mean((0, 2, 3)))
        close(state["running_var"], whole.var((0, 2, 3)))


def test_an_empty_batch():
    layer = layer_of("NCHW")
    with pytest.raises(ValueError, match=r"`x` must have an element along `axis` \(0, 2, 3\)"):
        layer(sample(0, 3, 4, 5))
    assert layer.eval()(sample(0, 3, 4, 5)).shape == (0, 3, 4, 5)
