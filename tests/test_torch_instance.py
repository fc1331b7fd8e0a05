"""InstanceNorm for PyTorch: PyTorch's own layers and MATLAB's, in one."""

import copy
import pickle

import pytest

import revnorm as rn
from tolerances import AGAINST_TORCH as CLOSE

torch = pytest.importorskip("torch")

from modules import copies, in_two_processes, randomized, sample  # noqa: E402
from revnorm.torch import InstanceNorm  # noqa: E402

nn, F = torch.nn, torch.nn.functional

# PyTorch's layer, the layout of its data, and a shape.
THEIRS = [
    (nn.InstanceNorm1d, "NCL", (4, 3, 9)),
    (nn.InstanceNorm2d, "NCHW", (4, 3, 5, 6)),
    (nn.InstanceNorm3d, "NCDHW", (4, 3, 2, 5, 4)),
]
over_theirs = pytest.mark.parametrize(("theirs", "layout", "shape"), THEIRS)
TRACKED = pytest.mark.parametrize("tracked", [False, True])

# MATLAB's formats: feature, sequence, images of one to three dimensions, and sequences of them.
FORMATS = ["C", "CT", "SC", "SSC", "SSSC", "SCT", "SSCT", "SSSCT", "CU"]
FORMATS += ["CB", "CBT", "SCB", "SSCB", "SSSCB", "SCBT", "SSCBT", "SSSCBT", "CBU"]


pytestmark = pytest.mark.usefixtures("torch_asked")


def pair(theirs, layout, affine=True, tracked=False, **options):
    """PyTorch's layer in float64, and one of the same state."""
    made = dict(affine=affine, track_running_stats=tracked, dtype=torch.float64, **options)
    other = randomized(theirs(3, **made))
    layer = InstanceNorm(3, layout=layout, **made)
    layer.load_state_dict(other.state_dict())
    return layer, other


def close(a, b):
    torch.testing.assert_close(a, b, **CLOSE)


def same(layer, other, x):
    """Two layers agree in value and in all gradients, and stay in the same state."""
    results = []
    for one in (layer, other):
        data = x.detach().requires_grad_()
        y = one(data)
        operands = [data, *one.parameters()]
        results.append((y, *torch.autograd.grad(y, operands, sample(*y.shape, seed=3))))
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs)
    for name in ("running_mean", "running_var"):
        if getattr(other, name) is not None:
            close(getattr(layer, name), getattr(other, name))


@over_theirs
@TRACKED
@pytest.mark.parametrize("affine", [False, True])
def test_torch_nn_instance_norm(theirs, layout, shape, affine, tracked):
    layer, other = pair(theirs, layout, affine, tracked)
    for training in (True, True, False):
        layer.train(training), other.train(training)
        same(layer, other, sample(*shape))


@over_theirs
@pytest.mark.parametrize("momentum", [0.0, 0.25, 1.0])
def test_momentum(theirs, layout, shape, momentum):
    layer, other = pair(theirs, layout, tracked=True, momentum=momentum)
    same(layer, other, sample(*shape))
    same(layer.eval(), other.eval(), sample(*shape))


def test_without_momentum_the_average_of_all_batches():
    layer = InstanceNorm(3, layout="NCHW", track_running_stats=True, momentum=None)
    batches = [sample(2, 3, 4, 5, seed=i) for i in range(3)]
    for x in batches:
        layer(x)
    whole = torch.cat(batches)
    assert int(layer.num_batches_tracked) == 3
    expected = whole.mean((2, 3)).mean(0), whole.var((2, 3)).mean(0)
    # Three times rounded to float32.
    bound = {"rtol": 3 * 2**-23, "atol": 3 * 2**-23, "check_dtype": False}
    torch.testing.assert_close(layer.running_mean, expected[0], **bound)
    torch.testing.assert_close(layer.running_var, expected[1], **bound)


@over_theirs
@TRACKED
def test_state_dicts_go_both_ways(theirs, layout, shape, tracked):
    layer, other = pair(theirs, layout, tracked=tracked)
    assert list(layer.state_dict()) == list(other.state_dict())
    fresh = theirs(3, affine=True, track_running_stats=tracked, dtype=torch.float64)
    fresh.load_state_dict(layer.state_dict())
    same(layer.eval(), fresh.eval(), sample(*shape))


def test_a_state_dict_from_before_versions_had_statistics_that_were_not_used():
    layer, state = InstanceNorm(3, layout="NCL"), InstanceNorm(3, layout="NCL").state_dict()
    old = {**state, "running_mean": torch.zeros(3), "running_var": torch.ones(3)}
    with pytest.raises(RuntimeError, match="running_mean"):
        layer.load_state_dict(old)


def test_a_state_dict_from_before_batches_were_counted():
    layer = InstanceNorm(3, layout="NCL", track_running_stats=True)
    old = {k: v for k, v in layer.state_dict().items() if k != "num_batches_tracked"}
    layer.load_state_dict(old)
    assert int(layer.num_batches_tracked) == 0


def test_evaluation_uses_the_data_where_nothing_is_tracked():
    x = sample(2, 3, 4, 5)
    layer = InstanceNorm(3, layout="NCHW").eval()
    close(layer(x), F.instance_norm(x))


def test_a_buffer_is_float32_and_a_parameter_too():
    layer = InstanceNorm(3, layout="NCHW", track_running_stats=True)
    floating = [one for one in layer.state_dict().values() if one.dtype.is_floating_point]
    assert [one.dtype for one in floating] == [torch.float32] * 4
    assert layer(sample(2, 3, 4, 5).half()).dtype == torch.float16


@pytest.mark.parametrize("letters", FORMATS)
def test_matlab_instance_normalization_layer(letters):
    """Its formula, with scale and offset as MATLAB keeps them, loaded before the first call."""
    sizes = {"B": 4, "C": 3}
    x = sample(*[sizes.get(letter, 2 + i) for i, letter in enumerate(letters)]).requires_grad_()
    layer = InstanceNorm(layout=letters, dtype=torch.float64)
    scale, offset = (sample(1, 1, 3, seed=seed) for seed in (1, 2))
    layer.load_state_dict({"weight": scale.ravel(), "bias": offset.ravel()})
    y = layer(x)
    kept = [letters.index(letter) for letter in "BC" if letter in letters]
    order = [*kept, *(i for i in range(len(letters)) if i not in kept)]
    laid = x.permute(order).reshape(4 if "B" in letters else 1, 3, -1)
    mean, variance = laid.mean(2, keepdim=True), laid.var(2, correction=0, keepdim=True)
    expected = (laid - mean) / (variance + 1e-5).sqrt()
    expected = expected * layer.weight[:, None] + layer.bias[:, None]
    found = y.permute(order).reshape(expected.shape)
    close(found, expected)
    operands, cotangent = [x, *layer.parameters()], sample(*expected.shape, seed=3)
    for one in zip(
        torch.autograd.grad(found, operands, cotangent),
        torch.autograd.grad(expected, operands, cotangent),
        strict=True,
    ):
        close(*one)


@TRACKED
@pytest.mark.parametrize("letters", ["SSCB", "CBT", "NHWC", "HWC", "CB", "C"])
def test_layouts_are_permutations_of_each_other(letters, tracked):
    """Of the layout with the batch first, the channels second, and all of space in one."""
    sizes = {"B": 4, "N": 4, "C": 3}
    x = sample(*[sizes.get(letter, 2 + i) for i, letter in enumerate(letters)])
    kept = [letters.find("B") if "B" in letters else letters.find("N"), letters.index("C")]
    kept = [axis for axis in kept if axis >= 0]
    order = [*kept, *(i for i in range(len(letters)) if i not in kept)]
    flat = x.permute(order).reshape(4 if len(kept) == 2 else 1, 3, -1)
    options = dict(track_running_stats=tracked, dtype=torch.float64)
    layer = randomized(InstanceNorm(3, layout=letters, **options))
    plain = InstanceNorm(3, layout="NCL", **options)
    plain.load_state_dict(layer.state_dict())
    for training in (True, False):
        layer.train(training), plain.train(training)
        close(layer(x).permute(order).reshape(flat.shape), plain(flat))
    for name, value in layer.state_dict().items():
        close(value, plain.state_dict()[name])


@pytest.mark.parametrize("axis", [(1, 2), (-3, -2), rn.Layout("NHWC")])
def test_axes_instead_of_a_layout(axis):
    channel_axis = None if isinstance(axis, rn.Layout) else -1
    layer = InstanceNorm(3, axis=axis, channel_axis=channel_axis, dtype=torch.float64)
    x = sample(2, 4, 5, 3)
    close(layer(x), F.instance_norm(x.movedim(-1, 1)).movedim(1, -1))


def test_negative_axes_take_data_with_and_without_a_batch():
    layer = InstanceNorm(3, axis=-1, channel_axis=-2, track_running_stats=True, momentum=1.0)
    x = sample(3, 9)
    y, running = layer(x), layer.running_mean.clone()
    close(layer(x[None])[0], y)
    torch.testing.assert_close(layer.running_mean, running, rtol=0, atol=0)


@pytest.mark.parametrize("tracked", [False, True])
def test_one_element(tracked):
    layer = randomized(InstanceNorm(3, layout="NCHW", track_running_stats=tracked))
    torch.testing.assert_close(layer(sample(2, 3, 1, 1).float())[0, :, 0, 0], layer.bias)
    assert not tracked or layer.running_var.isfinite().all()


@pytest.mark.parametrize("momentum", [0.1, None])
def test_an_empty_batch_leaves_no_trace(momentum):
    layer = InstanceNorm(3, layout="NCHW", track_running_stats=True, momentum=momentum)
    randomized(layer)(sample(2, 3, 4, 5))
    before = copy.deepcopy(layer.state_dict())
    assert layer(sample(0, 3, 4, 5)).shape == (0, 3, 4, 5)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("eps", [1e-30, 1e-5, 1e3, 1e30])
def test_eps_of_any_size(eps):
    x = sample(2, 3, 40)
    layer = InstanceNorm(3, layout="NCL", eps=eps)
    close(layer(x), rn.instance_norm(x, axis=2, eps=eps))


# The first call tells the channels.


@pytest.mark.parametrize("letters", ["NCL", "NLC"])
@TRACKED
def test_channels_are_told_by_the_first_call(letters, tracked):
    layer = InstanceNorm(layout=letters, track_running_stats=tracked)
    assert layer.num_channels is None
    assert isinstance(layer.weight, nn.UninitializedParameter)
    x = sample(2, 5, 7)
    y = layer(x)
    channels = x.shape[letters.index("C")]
    assert layer.num_channels == layer.weight.shape[0] == channels
    assert not layer._forward_pre_hooks
    other = InstanceNorm(channels, layout=letters, track_running_stats=tracked)
    close(y, other(x))
    assert layer.state_dict().keys() == other.state_dict().keys()


@TRACKED
def test_channels_are_told_by_a_state_dict(tracked):
    known = randomized(InstanceNorm(5, layout="NCL", track_running_stats=tracked)).eval()
    layer = InstanceNorm(layout="NCL", track_running_stats=tracked).eval()
    layer.load_state_dict(known.state_dict())
    x = sample(2, 5, 7)
    close(layer(x), known(x))
    assert layer.num_channels == 5
    with pytest.raises(ValueError, match="5 channels on axis 1, as the layer has, got 4"):
        layer(sample(2, 4, 7))


def test_what_waits_can_be_saved_and_loaded():
    waiting = InstanceNorm(layout="NCL", track_running_stats=True)
    layer = InstanceNorm(layout="NCL", track_running_stats=True)
    layer.load_state_dict(waiting.state_dict())
    assert layer.num_channels is None


def test_what_waits_can_be_copied():
    layer = InstanceNorm(layout="NCL", track_running_stats=True, scale_init="narrow-normal")
    for one in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        one(sample(2, 5, 7))
        assert one.num_channels == 5
        assert one.weight.std() < 0.1
    assert layer.num_channels is None


def test_what_waits_fits_in_a_compiled_model():
    layer = InstanceNorm(layout="NCL", track_running_stats=True)
    x = sample(2, 5, 7).float()
    y = torch.compile(layer, fullgraph=True, backend="eager")(x)
    assert layer.num_channels == 5
    torch.testing.assert_close(y, rn.instance_norm(x, axis=2))


def test_a_layer_without_state_takes_any_number_of_channels():
    layer = InstanceNorm(layout="NCL", affine=False)
    for channels in (3, 4):
        x = sample(2, channels, 7)
        close(layer(x), F.instance_norm(x))


# MATLAB's options.


@pytest.mark.parametrize(("initial", "mean", "std"), [("ones", 1, 0), ("zeros", 0, 0)])
def test_initial_values(initial, mean, std):
    layer = InstanceNorm(50, layout="SSCB", scale_init=initial, bias_init=initial)
    for one in (layer.weight, layer.bias):
        assert (one == mean).all()


@pytest.mark.parametrize("lazy", [False, True])
def test_narrow_normal_initial_values(lazy):
    torch.manual_seed(0)
    options = dict(scale_init="narrow-normal", bias_init="narrow-normal")
    layer = InstanceNorm(None if lazy else 4000, layout="CBT", **options)
    layer(torch.randn(4000, 1, 2))
    for one in (layer.weight, layer.bias):
        # Five standard errors of a deviation and a mean of 4000 draws.
        assert abs(one.std() / 0.01 - 1) < 5 / 8000**0.5
        assert abs(one.mean() / 0.01) < 5 / 4000**0.5
    assert not torch.equal(layer.weight, layer.bias)


@pytest.mark.parametrize("lazy", [False, True])
def test_initial_values_by_a_function_of_the_size(lazy):
    sizes = []

    def initial(size):
        sizes.append(size)
        return torch.arange(*size)

    layer = InstanceNorm(None if lazy else 5, layout="SSCB", bias_init=initial)
    layer(torch.randn(3, 4, 5, 2))
    assert layer.bias.tolist() == [0, 1, 2, 3, 4]
    assert layer.weight.tolist() == [1] * 5
    assert all(isinstance(size, torch.Size) and size == (5,) for size in sizes)


def test_reset_parameters_begins_anew():
    layer = InstanceNorm(3, layout="NCL", track_running_stats=True, scale_init="zeros")
    began = copy.deepcopy(layer.state_dict())
    randomized(layer)(sample(2, 3, 7))
    layer.reset_parameters()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, began[name]), name


def test_factors_change_the_update_by_exactly_themselves():
    factors = dict(scale_lr_factor=4, bias_lr_factor=0.5, scale_l2_factor=2, bias_l2_factor=0)
    lr, decay = 0.125, 0.25
    plain = randomized(InstanceNorm(3, layout="NCL"))
    layer = InstanceNorm(3, layout="NCL", **factors)
    layer.load_state_dict(plain.state_dict())
    began = copy.deepcopy(plain.state_dict())
    x, weights = sample(2, 3, 7).float(), sample(2, 3, 7, seed=1).float()
    for one in (plain, layer):
        (one(x) * weights).sum().backward()
    # The decay alone, and the gradient alone, of each.
    for weight_decay in (0.0, decay):
        steps = []
        for one in (plain, layer):
            one.load_state_dict(began)
            torch.optim.SGD(one.parameter_groups(lr, weight_decay), lr=1e9).step()
            steps.append({name: began[name] - value for name, value in one.state_dict().items()})
        for name, rate, l2 in (("weight", 4, 2), ("bias", 0.5, 0)):
            gradient = getattr(plain, name).grad
            expected = rate * lr * (gradient + l2 * weight_decay * began[name])
            # The parameter is rounded when it is moved.
            bound = {"rtol": 2**-20, "atol": 2**-22}
            torch.testing.assert_close(steps[1][name], expected, **bound)
            usual = lr * (gradient + weight_decay * began[name])
            torch.testing.assert_close(steps[0][name], usual, **bound)


def test_a_factor_of_0_leaves_a_parameter_alone():
    layer = InstanceNorm(3, layout="NCL", scale_lr_factor=0)
    groups = layer.parameter_groups(0.5, weight_decay=0.25)
    assert [group["lr"] for group in groups] == [0, 0.5]
    optimizer = torch.optim.AdamW(groups)
    layer(sample(2, 3, 7)).square().sum().backward()
    optimizer.step()
    assert torch.equal(layer.weight, torch.ones(3))
    assert not torch.equal(layer.bias, torch.zeros(3))


def test_no_parameters_have_no_groups():
    assert InstanceNorm(3, layout="NCL", affine=False).parameter_groups(0.1) == []


# Errors.


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": True}])
def test_another_number_of_channels(options):
    layer = InstanceNorm(3, layout="NHWC", **options)
    with pytest.raises(ValueError, match=r"`x` must have 3 channels on axis 3, .*, got 4$"):
        layer(sample(2, 5, 5, 4))


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({}, TypeError, "one of `layout` and `axis` must be given, got neither"),
        ({"layout": "NCL", "axis": 2}, TypeError, "must be given, got both"),
        ({"layout": "NXL"}, ValueError, "`letters` must name"),
        ({"layout": "NHW"}, ValueError, "a C in `layout`.*got `layout` 'NHW'"),
        ({"axis": 2}, ValueError, "must say where the channels lie.*got no `channel_axis`"),
        ({"axis": 2.0}, TypeError, "`axis` must be an int"),
        ({"axis": ()}, TypeError, "`axis` must be an int"),
        ({"axis": 2, "channel_axis": "C"}, TypeError, "`channel_axis` must be an int"),
        ({"layout": "NCL", "channel_axis": 2}, ValueError, "must be that of the layout, 1, got 2"),
        ({"layout": "NCL", "num_channels": 0}, ValueError, "`num_channels` must be positive"),
        ({"layout": "NCL", "num_channels": 2.5}, TypeError, "`num_channels` must be an int"),
        ({"layout": "NCL", "eps": -1.0}, ValueError, "`eps` must be finite and not negative"),
        ({"layout": "NCL", "momentum": 2.0}, ValueError, "`momentum` must lie between 0 and 1"),
        ({"layout": "NCL", "scale_init": "one"}, ValueError, "`scale_init` must be one of 'ones'"),
        ({"layout": "NCL", "bias_lr_factor": -1}, ValueError, "`bias_lr_factor` must be finite"),
        ({"layout": "NCL", "bias_l2_factor": "2"}, TypeError, "`bias_l2_factor` must be a real"),
        (
            {"layout": "NCL", "num_channels": 3, "bias_init": lambda size: torch.ones(2)},
            ValueError,
            r"`bias_init` must give a tensor of shape \(3,\), got shape \(2,\)",
        ),
    ],
)
def test_errors(given, error, text):
    with pytest.raises(error, match=text):
        InstanceNorm(**given)


@pytest.mark.parametrize("num_channels", [None, 3])
def test_another_number_of_axes(num_channels):
    layer = InstanceNorm(num_channels, layout="NCHW")
    with pytest.raises(ValueError, match=r"4 axes, those of layout 'NCHW', got shape \(3, 4, 5\)"):
        layer(sample(3, 4, 5))


@pytest.mark.parametrize("num_channels", [None, 3])
def test_a_channel_axis_out_of_bounds(num_channels):
    layer = InstanceNorm(num_channels, axis=-1, channel_axis=-3)
    with pytest.raises(rn.AxisError, match="`channel_axis` must lie within an array of 2 dim"):
        layer(sample(3, 4))


def test_integers_are_refused():
    with pytest.raises(TypeError, match="real floating"):
        InstanceNorm(3, layout="NCL")(torch.ones(2, 3, 4, dtype=torch.int64))


def test_repr():
    layer = InstanceNorm(3, layout="NCHW", scale_init="zeros", bias_l2_factor=0)
    assert repr(layer) == (
        "InstanceNorm(3, layout='NCHW', eps=1e-05, affine=True, track_running_stats=False, "
        "momentum=0.1, scale_init='zeros', bias_l2_factor=0)"
    )
    assert repr(InstanceNorm(axis=-1, channel_axis=1)).startswith(
        "InstanceNorm(axis=(-1,), channel_axis=1, eps="
    )


# Several processes.


def batches(rank):
    """Of different sizes in the two processes, and of different means."""
    return [sample(2 + rank, 3, 4, 5 + rank, seed=2 * step + rank) + rank for step in range(3)]


def _trained(rank, buffers, momentum):
    layer = InstanceNorm(3, layout="NCHW", track_running_stats=True, momentum=momentum).double()
    model = nn.parallel.DistributedDataParallel(layer, broadcast_buffers=buffers)
    for x in batches(rank):
        model(x).square().sum().backward()
    return layer.state_dict()


@pytest.mark.parametrize(("buffers", "momentum"), [(True, 0.1), (False, None)])
def test_processes_have_the_statistics_of_all_data(tmp_path, buffers, momentum):
    first, second = in_two_processes(_trained, tmp_path, buffers, momentum)
    mean, variance = torch.zeros(3).double(), torch.ones(3).double()
    for step, both in enumerate(zip(batches(0), batches(1), strict=True)):
        share = 1 / (step + 1) if momentum is None else momentum
        means = torch.cat([x.mean((2, 3)) for x in both]).mean(0)
        variances = torch.cat([x.var((2, 3)) for x in both]).mean(0)
        mean, variance = mean.lerp(means, share), variance.lerp(variances, share)
    for state in (first, second):
        close(state["running_mean"], mean)
        close(state["running_var"], variance)
        assert int(state["num_batches_tracked"]) == 3


def _alone(rank):
    """Without DistributedDataParallel, only one of the processes calls the layer."""
    layer = InstanceNorm(3, layout="NCHW", track_running_stats=True)
    if rank == 0:
        layer(sample(2, 3, 4, 5))
    return layer.state_dict()


def test_processes_that_run_other_models_are_not_waited_for(tmp_path):
    first, second = in_two_processes(_alone, tmp_path)
    assert first["running_mean"].any()
    assert not second["running_mean"].any()


def test_copies_are_like_the_layer():
    layer = randomized(InstanceNorm(3, layout="NCHW", track_running_stats=True))
    for way, other in copies(layer).items():
        assert repr(other) == repr(layer), way
        assert other.parameter_groups(0.1)[0]["params"][0] is other.weight, way
