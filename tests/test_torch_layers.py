"""What every layer for PyTorch goes through: compilers, exports, precision, memory and copies."""

from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")

from modules import copies, in_onnx_runtime, randomized, sample  # noqa: E402
from revnorm.torch import (  # noqa: E402
    AdaIN,
    BatchInstanceNorm,
    ConditionalInstanceNorm,
    InstanceNorm,
    RevIN,
    SpatiallyAdaptiveNorm,
    convert,
)
from saved import saved_bytes  # noqa: E402

nn = torch.nn
SHAPE = (4, 3, 6, 5)


class ThereAndBack(RevIN):
    """A forecaster that expects twice what was."""

    def forward(self, x):
        y, undo = super().forward(x)
        return undo(2 * y)


class ByMode(RevIN):
    """The same for code that asks by mode."""

    def forward(self, x):
        return super().forward(2 * super().forward(x, "norm"), "denorm")


class Conditional(ConditionalInstanceNorm):
    def forward(self, x):
        return super().forward(x, torch.arange(x.shape[0], device=x.device) % self.num_styles)


class Styled(AdaIN):
    """By halves in the style of the data upside down."""

    def forward(self, x):
        return super().forward(x, 1 + 2 * x.flip(0), strength=0.5)

    def reset_parameters(self):
        """It has none."""


class Segmented(SpatiallyAdaptiveNorm):
    """In the dtype of its convolutions, whose own roundings a wider one hides."""

    def forward(self, x):
        wide = x.to(self.mlp_gamma.weight.dtype)
        return super().forward(wide, wide.detach()[:, :2].round()).to(x.dtype)


# Each with data of SHAPE, in NCHW.
LAYERS = {
    "InstanceNorm": lambda: InstanceNorm(3, layout="NCHW"),
    "InstanceNorm, tracked": lambda: InstanceNorm(3, layout="NCHW", track_running_stats=True),
    "InstanceNorm, average": lambda: InstanceNorm(
        3, layout="NCHW", track_running_stats=True, momentum=None
    ),
    "converted": lambda: convert(nn.InstanceNorm2d(3, affine=True, track_running_stats=True)),
    "BatchInstanceNorm": lambda: BatchInstanceNorm(3, layout="NCHW"),
}
OTHERS = {
    "RevIN": lambda: ThereAndBack(3, axis=(2, 3), channel_axis=1),
    "RevIN, detached": lambda: ThereAndBack(3, axis=(2, 3), channel_axis=1, detach=True),
    "RevIN, last": lambda: ThereAndBack(3, axis=(2, 3), channel_axis=1, subtract_last=True),
    "RevIN, by mode": lambda: ByMode(3, axis=(2, 3), channel_axis=1),
    "AdaIN": lambda: Styled(layout="NCHW"),
    "ConditionalInstanceNorm": lambda: Conditional(3, 2, layout="NCHW"),
    "SpatiallyAdaptiveNorm": lambda: Segmented(3, 2, hidden=4, dtype=torch.float64),
}
ALL = LAYERS | OTHERS
over_layers = pytest.mark.parametrize("name", LAYERS)
over_all = pytest.mark.parametrize("name", ALL)
MODES = pytest.mark.parametrize("training", [True, False])

# A wider type's sums in another order differ by far less than its roundoff; rounded once to
# float32, results differ where they fall on either side of a tie, and gradients are sums of those.
ONCE = {"rtol": 2**-23, "atol": 2**-23}
GRADIENT = {"rtol": 2**-20, "atol": 2**-20}


pytestmark = pytest.mark.usefixtures("torch_asked")


@pytest.fixture(autouse=True)
def _fresh_compiler():
    yield
    torch.compiler.reset()


# Exported with instances of some length, for shorter and for longer ones.
SIZES = {axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3)}
OTHER_SHAPES = [sample(*one, dtype=torch.float32) for one in [(3, 3, 7, 9), (1, 3, 50, 2000)]]


def made(name, training=True):
    return randomized(ALL[name]()).train(training)


def data(seed=0, dtype=torch.float32):
    return sample(*SHAPE, seed=seed, dtype=dtype)


def step(call, layer, x):
    """The result, the gradients of data and parameters, and the state afterwards."""
    x = x.detach().requires_grad_()
    y = call(x)
    operands = [x, *layer.parameters()]
    gradients = torch.autograd.grad(y, operands, data(seed=3).to(y.dtype))
    return y, gradients, [one.clone() for one in layer.buffers()]


def alike(found, expected):
    for one, other, bound in zip(found, expected, (ONCE, GRADIENT, ONCE), strict=True):
        torch.testing.assert_close(one, other, **bound)


@over_all
@MODES
def test_compile(name, training):
    layer, twin = made(name, training), made(name, training)
    # What trains is compiled to machine code, which takes most of the time.
    engine = "inductor" if training else "aot_eager"
    compiled = torch.compile(twin, fullgraph=True, backend=engine)
    for seed in range(2):
        alike(step(compiled, twin, data(seed)), step(layer, layer, data(seed)))


@over_all
@pytest.mark.parametrize("dynamic", [False, True])
def test_export(name, dynamic):
    layer = made(name, training=False)
    x = sample(2, 3, 48, 40, dtype=torch.float32) if dynamic else data()
    program = torch.export.export(layer, (x,), dynamic_shapes=(SIZES,) if dynamic else None)
    for one in [x, *(OTHER_SHAPES if dynamic else [])]:
        torch.testing.assert_close(program.module()(one), layer(one), **ONCE)


@pytest.mark.parametrize("name", [name for name in ALL if name != "SpatiallyAdaptiveNorm"])
def test_onnx(name, tmp_path):
    layer = made(name, training=False)
    x = sample(2, 3, 48, 40, dtype=torch.float32)
    run = in_onnx_runtime(layer, x, tmp_path / "layer.onnx", dynamic_shapes=(SIZES,))
    for one in [x, *OTHER_SHAPES]:
        torch.testing.assert_close(run(one), layer(one).detach(), **ONCE)


@pytest.mark.parametrize("name", [*LAYERS, "AdaIN", "ConditionalInstanceNorm"])
@MODES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_leaves_parameters_in_float32(name, training, dtype):
    layer, twin = made(name, training), made(name, training)
    conv = randomized(nn.Conv2d(3, 3, 1))
    x = data().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        narrow = conv(x)
        y = layer(narrow)
    assert narrow.dtype == y.dtype == dtype
    # Rounded once, and rounded to float32 first: on either side of a tie.
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(y, twin(narrow.float()).to(dtype), rtol=eps, atol=eps)
    y.float().square().sum().backward()
    assert {one.grad.dtype for one in layer.parameters()} <= {torch.float32}
    assert x.grad.isfinite().all()


@over_all
@MODES
def test_half_precision_throughout(name, training):
    layer = made(name, training).bfloat16()
    y, gradients, buffers = step(layer, layer, data(dtype=torch.bfloat16))
    assert {one.dtype for one in (y, *gradients)} == {torch.bfloat16}
    assert {one.dtype for one in buffers} <= {torch.bfloat16, torch.int64}


@over_all
@MODES
def test_channels_last_stays(name, training):
    layer, twin = made(name, training), made(name, training)
    x = data().to(memory_format=torch.channels_last)
    y = layer(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, twin(data()), **ONCE)


@over_all
@MODES
def test_other_strides(name, training):
    layer, twin = made(name, training), made(name, training)
    wide = sample(4, 3, 12, 5, dtype=torch.float32)
    alike(step(layer, layer, wide[:, :, ::2]), step(twin, twin, wide[:, :, ::2].contiguous()))
    expanded = data()[:1].expand(SHAPE)
    torch.testing.assert_close(layer(expanded), twin(expanded.contiguous()), **ONCE)


@over_all
def test_copies(name):
    layer = made(name)
    layer(data())
    for way, other in copies(layer).items():
        assert type(other) is type(layer), way
        torch.testing.assert_close(other.state_dict(), layer.state_dict(), rtol=0, atol=0)
        assert not {id(one) for one in other.parameters()} & {id(o) for o in layer.parameters()}
        other.eval(), layer.eval()
        torch.testing.assert_close(other(data(1)), layer(data(1)), rtol=0, atol=0)


@over_all
def test_meta_device(name):
    with torch.device("meta"):
        layer = ALL[name]()
    x = torch.empty(SHAPE, device="meta")
    assert layer(x).shape == layer.eval()(x).shape == SHAPE
    layer.to_empty(device="cpu")
    for one in (layer, begun := ALL[name]()):
        torch.manual_seed(0)
        one.reset_parameters()
    torch.testing.assert_close(layer.state_dict(), begun.state_dict(), rtol=0, atol=0)
    layer.load_state_dict(made(name).state_dict())
    torch.testing.assert_close(layer(data()), made(name, False)(data()), rtol=0, atol=0)


@over_all
def test_double(name):
    layer = made(name).double()
    y, gradients, _ = step(layer, layer, data(dtype=torch.float64))
    assert {one.dtype for one in (y, *gradients)} == {torch.float64}


@over_layers
@MODES
def test_zero_weights(name, training):
    layer = made(name, training)
    nn.init.zeros_(layer.weight)
    y, gradients, _ = step(layer, layer, data())
    assert torch.equal(y, layer.bias[:, None, None].expand(SHAPE))
    assert all(one.isfinite().all() for one in gradients)


@over_all
@MODES
def test_without_gradients(name, training):
    layer, twin = made(name, training), made(name, training)
    expected = twin(data())
    with torch.no_grad():
        torch.testing.assert_close(layer(data()), expected, **ONCE)
    with torch.inference_mode():
        assert layer.eval()(data()).isfinite().all()
    assert layer.train()(data().requires_grad_()).requires_grad


@over_all
def test_data_stay_as_they_are(name):
    layer, x = made(name), data()
    before = x.clone()
    layer(x)
    assert torch.equal(x, before)


@over_all
def test_threads_share_a_layer_in_evaluation(name):
    layer = made(name, training=False)
    batches = [data(seed) for seed in range(16)]
    expected = [layer(x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, one in zip(pool.map(layer, batches), expected, strict=True):
            torch.testing.assert_close(found, one, rtol=0, atol=0)


@over_all
@MODES
def test_second_gradients(name, training):
    layer = made(name, training).double().requires_grad_(False)
    assert torch.autograd.gradgradcheck(layer, sample(2, 3, 2, 3).requires_grad_())


@over_all
def test_state_dicts_round_trip_through_weights_only(name, tmp_path):
    layer = made(name)
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    other = ALL[name]()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.testing.assert_close(other.state_dict(), layer.state_dict(), rtol=0, atol=0)


@over_layers
@MODES
def test_it_keeps_the_input_and_little_else(name, training):
    layer = made(name, training)
    x = sample(4, 3, 64, 64, dtype=torch.float32).requires_grad_()
    kept = saved_bytes(lambda: layer(x), layer.parameters())
    assert kept <= x.numel() * x.element_size() + 4000


@over_all
def test_checkpointing(name):
    layer, twin = made(name, training=False), made(name, training=False)

    def call(x):
        return torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)

    alike(step(call, layer, data()), step(twin, twin, data()))


@over_layers
def test_a_call_in_training_between_evaluation_and_its_backward(name):
    """It moves the running statistics that the evaluation went by."""
    layer, twin = made(name, False).double(), made(name, False).double()
    x, expected = sample(*SHAPE).requires_grad_(), sample(*SHAPE).requires_grad_()
    y = layer(x)
    layer.train()(x.detach())
    y.square().sum().backward()
    twin(expected).square().sum().backward()
    torch.testing.assert_close(x.grad, expected.grad, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in ALL if name != "AdaIN"])
def test_vmap_over_models_in_evaluation(name):
    layers = [randomized(ALL[name](), seed).eval() for seed in (0, 50)]
    parameters, buffers = torch.func.stack_module_state(layers)

    def call(parameters, buffers, x):
        return torch.func.functional_call(layers[0], (parameters, buffers), (x,))

    found = torch.vmap(call, in_dims=(0, 0, None))(parameters, buffers, data())
    torch.testing.assert_close(found, torch.stack([one(data()) for one in layers]), **ONCE)
