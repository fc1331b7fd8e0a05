"""The RevIN layer: the way back that it hands out or keeps, masks, distributions, detached ways."""

import copy
import pickle
import threading

import pytest

torch = pytest.importorskip("torch")

import revnorm as rn  # noqa: E402
from modules import copies, in_onnx_runtime, randomized, sample  # noqa: E402
from revnorm.torch import RevIN  # noqa: E402

nn = torch.nn
SERIES = (4, 24, 3)
# There and back in float64.
BACK = {"rtol": 1e-13, "atol": 1e-13}


pytestmark = pytest.mark.usefixtures("torch_asked")


def layer(**options):
    return randomized(RevIN(3, **options)).double()


@pytest.mark.parametrize("subtract_last", [True, False])
def test_there_is_what_the_function_gives(subtract_last):
    norm, x = layer(subtract_last=subtract_last), sample(*SERIES)
    y, undo = norm(x)
    center = "last" if subtract_last else "mean"
    parameters = norm.affine_weight, norm.affine_bias
    expected, norm_map = rn.revin(x, *parameters, axis=1, channel_axis=-1, center=center)
    assert torch.equal(y, expected)
    forecast = sample(4, 9, 3, seed=1)
    assert torch.equal(undo(forecast), norm_map.inv(forecast))
    assert torch.equal(undo.spread(forecast.abs()), norm_map.inv.spread(forecast.abs()))
    assert torch.equal(undo.variance(forecast.abs()), norm_map.inv.variance(forecast.abs()))
    assert torch.equal(undo.inv(x), norm_map(x))
    few = undo.take([2, 0], axis=-1)(forecast[..., [2, 0]])
    assert torch.equal(few, undo(forecast)[..., [2, 0]])


def test_several_inputs_in_flight():
    norm = layer()
    series = [10.0**i * sample(*SERIES, seed=i) for i in range(3)]
    normal = [norm(x, "norm") for x in series]
    for i in (1, 2, 0):
        torch.testing.assert_close(norm(normal[i], "denorm"), series[i], **BACK)


def test_nested_calls_come_back_from_the_inside_out():
    norm = layer()
    outer, inner = 5 + sample(*SERIES), -3 + sample(*SERIES, seed=1)
    y, z = norm(outer, "norm"), norm(inner, "norm")
    torch.testing.assert_close(norm(z.clone(), "denorm"), inner, **BACK)
    torch.testing.assert_close(norm(y.clone(), "denorm"), outer, **BACK)


def test_twice_back_by_the_same_statistics():
    norm, x = layer(), sample(*SERIES)
    y = norm(x, "norm")
    for forecast in (y[:, -5:], y[:, -2:]):
        torch.testing.assert_close(norm(forecast, "denorm"), x[:, -forecast.shape[1] :], **BACK)


def test_what_nobody_brings_back_is_not_kept_for_ever():
    norm = layer()
    for seed in range(100):
        norm(sample(*SERIES, seed=seed), "norm")
    assert len(norm._held.waiting) < 10
    last = sample(*SERIES, seed=99)
    torch.testing.assert_close(norm(norm(last, "norm").clone(), "denorm"), last, **BACK)


def test_back_before_there():
    norm, message = layer(), "before it is 'denorm'"
    with pytest.raises(RuntimeError, match=message):
        norm(sample(*SERIES), "denorm")
    norm(sample(*SERIES), "norm")
    for way, other in {**copies(norm), "copy": copy.copy(norm)}.items():
        with pytest.raises(RuntimeError, match=message):
            other(sample(*SERIES), "denorm")
        assert torch.equal(other(sample(*SERIES))[0], norm(sample(*SERIES))[0]), way


def test_statistics_are_in_no_state():
    norm = layer()
    norm(sample(*SERIES), "norm")
    assert list(norm.state_dict()) == ["affine_weight", "affine_bias"]
    assert not list(norm.buffers())


def test_a_replica_has_a_way_back_of_its_own():
    """As DataParallel replicates: the attributes copied, the parameters put in."""
    norm, x = layer(), sample(*SERIES)
    y = norm(x, "norm")
    replica = norm._replicate_for_data_parallel()
    replica.affine_weight, replica.affine_bias = norm.affine_weight, norm.affine_bias
    other = 7 * sample(*SERIES, seed=1)
    torch.testing.assert_close(replica(replica(other, "norm").clone(), "denorm"), other, **BACK)
    torch.testing.assert_close(norm(y.clone(), "denorm"), x, **BACK)


def test_threads_bring_back_their_own():
    norm, wrong = layer(), []
    ready = threading.Barrier(4)

    def work(seed):
        for i in range(20):
            x = 10.0**seed * sample(*SERIES, seed=100 * seed + i)
            y = norm(x, "norm")
            ready.wait()
            if not torch.allclose(norm(y.clone(), "denorm"), x, rtol=1e-12):
                wrong.append((seed, i))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong


def test_masked_elements_are_not_looked_at():
    norm, x = layer(), sample(*SERIES)
    seen = torch.ones(SERIES, dtype=torch.bool)
    seen[:, -6:] = False
    spoiled = x.clone()
    spoiled[:, -6:] = torch.nan
    y, undo = norm(spoiled, where=seen)
    expected, other = norm(x[:, :-6])
    torch.testing.assert_close(y[:, :-6], expected, **BACK)
    torch.testing.assert_close(undo(expected), other(expected), **BACK)
    assert torch.equal(norm(spoiled, seen)[0][:, :-6], y[:, :-6])


def detached(x, weight, bias, *, subtract_last=False, where=None):
    """The recipe, there and back: statistics of detached data."""
    still = x.detach()
    seen = torch.ones_like(still) if where is None else where.to(still.dtype)
    count = seen.sum(1, keepdim=True)
    center = mean = (still * seen).sum(1, keepdim=True) / count
    if subtract_last:
        center = still[:, -1:]
    deviation = (((still - mean) ** 2 * seen).sum(1, keepdim=True) / count + 1e-5).sqrt()

    def undo(y):
        return (y - bias) / weight * deviation + center

    return (x - center) / deviation * weight + bias, undo


@pytest.mark.parametrize("options", [{}, {"subtract_last": True}, {"where": True}])
def test_detached_statistics_have_no_gradient(options):
    options = dict(options)
    where = None
    if options.pop("where", False):
        where = sample(*SERIES, seed=4) > 0
    norm = layer(detach=True, **options)
    x, forecast = sample(*SERIES).requires_grad_(), sample(4, 9, 3, seed=1).requires_grad_()
    operands = (x, forecast, norm.affine_weight, norm.affine_bias)
    y, undo = norm(x, where=where)
    z, other = detached(x, *norm.parameters(), where=where, **options)
    # A square, so that second gradients are those of more than products.
    for found, expected in ((y, z), (undo(forecast**2), other(forecast**2))):
        cotangent = sample(*found.shape, seed=2)
        both = []
        for one in (found, expected):
            first = torch.autograd.grad(
                one, operands, cotangent, create_graph=True, materialize_grads=True
            )
            squares = sum((gradient**2).sum() for gradient in first)
            second = torch.autograd.grad(
                squares, operands, retain_graph=True, materialize_grads=True
            )
            both.append([*first, *second])
        torch.testing.assert_close(*both, rtol=1e-11, atol=1e-11)


def test_detached_statistics_have_no_tangent():
    norm, x, tangent = layer(detach=True), sample(*SERIES), sample(*SERIES, seed=1)

    def there_and_elsewhere(x):
        y, undo = norm(x)
        return y, undo(tangent)

    _, found = torch.func.jvp(there_and_elsewhere, (x,), (tangent,))
    deviation = (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(found[0], tangent / deviation * norm.affine_weight, **BACK)
    assert not found[1].any()


def test_detached_gradients_for_each_sample():
    norm = layer(detach=True, axis=0)
    x = sample(*SERIES).requires_grad_()
    found = torch.vmap(torch.func.grad(lambda one: (norm(one)[0] ** 3).sum()))(x)
    y, _ = detached(x, *norm.parameters())
    (expected,) = torch.autograd.grad((y**3).sum(), x)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_non_norm():
    norm, x = layer(non_norm=True), sample(*SERIES)
    y, undo = norm(x)
    assert torch.equal(y, x)
    assert torch.equal(undo(y), x)
    assert torch.equal(norm(norm(x, "norm"), "denorm"), x)


def test_a_weight_of_zero_comes_back_to_the_center():
    norm, x = layer(), sample(*SERIES)
    nn.init.zeros_(norm.affine_weight)
    y, undo = norm(x)
    assert torch.equal(y, norm.affine_bias.expand(SERIES))
    torch.testing.assert_close(undo(y), x.mean(1, keepdim=True).expand(SERIES), **BACK)


def test_a_narrow_forecast_comes_back_in_the_dtype_of_the_data():
    norm, x = RevIN(3), 1000 + sample(*SERIES, dtype=torch.float32)
    y, undo = norm(x)
    forecast = y[:, -5:].bfloat16()
    assert undo(forecast).dtype == torch.float32
    # bfloat16 keeps 8 bits of what is at most 4 deviations of 1.5.
    assert (undo(forecast) - x[:, -5:]).abs().max() < 4 * 1.5 * 2**-8
    assert undo.spread(forecast.abs()).dtype == torch.float32
    assert undo(forecast, dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("by_mode", [False, True])
def test_forecaster_under_autocast(dtype, by_mode):
    """Level and deviation of the forecast are those of float32, what lies between is narrow."""
    model, x = randomized(Forecaster(by_mode)), 1000 + sample(*SERIES, dtype=torch.float32)
    narrow = []
    model.line.register_forward_hook(lambda line, given, result: narrow.append(result))
    with torch.autocast("cpu", dtype=dtype):
        forecast = model(x.requires_grad_())
    assert (narrow[0].dtype, forecast.dtype) == (dtype, torch.float32)
    assert torch.equal(forecast, model.norm(x)[1](narrow[0].mT))
    forecast.sum().backward()
    assert {one.grad.dtype for one in (x, *model.parameters())} == {torch.float32}


class Forecaster(nn.Module):
    def __init__(self, by_mode=False, **options):
        super().__init__()
        self.norm, self.line = RevIN(3, **options), nn.Linear(24, 8)
        self.by_mode = by_mode

    def forward(self, x):
        if self.by_mode:
            return self.norm(self.line(self.norm(x, "norm").mT).mT, "denorm")
        y, undo = self.norm(x)
        return undo(self.line(y.mT).mT)


@pytest.mark.parametrize("by_mode", [False, True])
@pytest.mark.parametrize("detach", [False, True])
def test_compiled_forecaster(by_mode, detach):
    model = randomized(Forecaster(by_mode, detach=detach)).double()
    # One is compiled to machine code, which takes most of the time.
    engine = "inductor" if by_mode and detach else "aot_eager"
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend=engine)
    for seed in range(2):
        x = sample(*SERIES, seed=seed)
        grads = []
        for one in (compiled, model):
            one.zero_grad()
            y = one(x)
            y.square().sum().backward()
            grads.append([y, *(p.grad for p in one.parameters())])
        torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-10)
    torch.compiler.reset()


# What the compiler looks at makes PyTorch warn.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_calls_by_mode_share_what_is_kept():
    """One region normalizes, another or none brings back, and again after one that did both."""
    norm = layer()
    compiled = torch.compile(norm, fullgraph=True)
    series = [10.0**i * sample(*SERIES, seed=i) for i in range(3)]
    first, second, third = (compiled(x, "norm") for x in series)
    torch.testing.assert_close(compiled(second, "denorm"), series[1], **BACK)
    torch.testing.assert_close(norm(third.clone(), "denorm"), series[2], **BACK)
    torch.testing.assert_close(compiled(first.clone(), "denorm"), series[0], **BACK)
    both = torch.compile(lambda x: norm(norm(x, "norm"), "denorm"), fullgraph=True)
    torch.testing.assert_close(both(series[1]), series[1], **BACK)
    y, _ = norm(series[1])
    torch.testing.assert_close(norm(y, "denorm"), series[1], **BACK)
    torch.compiler.reset()


def test_back_before_there_compiled():
    with pytest.raises(RuntimeError, match="before it is 'denorm'"):
        torch.compile(layer())(sample(*SERIES), "denorm")
    torch.compiler.reset()


def test_a_way_back_out_of_compiled_and_mapped_functions():
    norm, x = layer(), sample(*SERIES)
    y, undo = torch.compile(norm, fullgraph=True)(x)
    torch.testing.assert_close(undo(y), x, **BACK)
    torch.compiler.reset()
    single = layer(axis=0)
    y, undo = torch.vmap(single)(x)
    torch.testing.assert_close(torch.vmap(lambda undo, y: undo(y))(undo, y), x, **BACK)


def test_a_way_back_is_saved(tmp_path):
    y, undo = layer()(sample(*SERIES, dtype=torch.float32))
    torch.save(undo, tmp_path / "undo.pt")
    loaded = torch.load(tmp_path / "undo.pt", weights_only=True)
    for other in (loaded, pickle.loads(pickle.dumps(undo))):
        assert torch.equal(other(y), undo(y))
        assert other(y.double()).dtype == torch.float32


def test_a_parametrized_layer_is_copied():
    """PyTorch copies all of its attributes then, whatever it would pickle."""

    class Exponential(nn.Module):
        def forward(self, weight):
            return weight.exp()

    norm, x = layer(), sample(*SERIES)
    nn.utils.parametrize.register_parametrization(norm, "affine_weight", Exponential())
    norm(x, "norm")
    other = copy.deepcopy(norm)
    assert torch.equal(other(x)[0], norm(x)[0])
    with pytest.raises(RuntimeError, match="norm"):
        other(x, "denorm")


# What strict export says of anything that is kept.
@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects")
@pytest.mark.parametrize("strict", [False, True])
def test_export_by_mode_leaves_nothing_behind(strict):
    """What is kept while exporting stands for data, and is none that a later call may take."""
    model, x = randomized(Forecaster(by_mode=True)).double(), sample(*SERIES)
    y = model.norm(x, "norm")
    program = torch.export.export(model, (x,), strict=strict)
    torch.testing.assert_close(model.norm(y.clone(), "denorm"), x, **BACK)
    torch.testing.assert_close(program.module()(x), model(x), **BACK)
    model = Forecaster(by_mode=True).double()
    torch.export.export(model, (x,), strict=strict)
    with pytest.raises(RuntimeError, match="before it is 'denorm'"):
        model.norm(x, "denorm")
    torch.compiler.reset()


@pytest.mark.parametrize("by_mode", [False, True])
def test_onnx_forecaster_has_norm_and_denorm_in_one_model(by_mode, tmp_path):
    model = randomized(Forecaster(by_mode)).eval()
    x = 100 + sample(*SERIES, dtype=torch.float32)
    run = in_onnx_runtime(
        model, x, tmp_path / "model.onnx", dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    for one in (x, x[:2]):
        # A line of 24 products in float32, of numbers of about 1, and a level of 100.
        torch.testing.assert_close(run(one), model(one).detach(), rtol=2**-23, atol=48 * 2**-24)


@pytest.mark.parametrize(
    ("options", "x", "message"),
    [
        (dict(), (4, 24, 5), r"`x` must have 3 channels on axis 2, as the layer has, got 5"),
        (dict(axis=2), (4, 24, 3), "channel_axis"),
    ],
)
def test_errors(options, x, message):
    with pytest.raises(ValueError, match=message):
        RevIN(3, **options)(sample(*x))


@pytest.mark.parametrize(("name", "value"), [("num_features", 0), ("eps", -1.0)])
def test_wrong_options(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        RevIN(**{"num_features": 3} | {name: value})


def test_unknown_mode():
    with pytest.raises(ValueError, match="`mode`"):
        layer()(sample(*SERIES), "normalize")
