"""Training steps of a small network, with PyTorch's instance norm and with it converted.

A way takes images, N, 3, H, W, and gives a step: forward, loss, backward and the optimizer. Of a
forecaster, a way takes series, N, T, C: a line over time between RevIN and its way back, with the
authors' RevIN and with the layer that replaces it.
"""

from typing import Any

import numpy as np

from . import measure, steps, ways

BLOCKS = 4
AHEAD = 96


def theirs(x: np.ndarray, **options: Any) -> ways.Function:
    return step(network(**options), x)


def converted(x: np.ndarray, **options: Any) -> ways.Function:
    from revnorm.torch import convert

    return step(convert(network(**options)), x)


def theirs_compiled(x: np.ndarray, **options: Any) -> ways.Function:
    return step(steps.traced(network(**options)), x)


def converted_compiled(x: np.ndarray, **options: Any) -> ways.Function:
    from revnorm.torch import convert

    return step(steps.traced(convert(network(**options))), x)


def tracked(way: ways.Callable[..., ways.Function]) -> ways.Callable[..., ways.Function]:
    """The same with running statistics."""
    return lambda x: way(x, track_running_stats=True)


def network(channels: int = 32, **options: Any) -> Any:
    """Convolution, norm and ReLU, four times, and ten classes."""
    torch = ways.torch()
    nn, layers, before = torch.nn, [], 3
    torch.manual_seed(0)
    for _ in range(BLOCKS):
        norm = nn.InstanceNorm2d(channels, affine=True, **options)
        layers += [nn.Conv2d(before, channels, 3, padding=1), norm, nn.ReLU(inplace=True)]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def step(model: Any, x: np.ndarray) -> ways.Function:
    torch = ways.torch()
    images, labels = torch.from_numpy(x), torch.arange(len(x)) % 10
    return _train(model, model, images, labels, torch.nn.functional.cross_entropy)


def _train(call: Any, model: Any, x: Any, target: Any, loss: Any) -> ways.Function:
    optimizer = ways.torch().optim.SGD(model.parameters(), lr=0.001)

    def train() -> None:
        optimizer.zero_grad()
        loss(call(x), target).backward()
        optimizer.step()

    return train


def authors(x: np.ndarray) -> ways.Function:
    return forecasts(measure.of_tests("systems").AuthorsRevIN(x.shape[-1]), x)


def replaced(x: np.ndarray) -> ways.Function:
    return forecasts(_replacing(x), x)


def authors_compiled(x: np.ndarray) -> ways.Function:
    return forecasts(measure.of_tests("systems").AuthorsRevIN(x.shape[-1]), x, steps.traced)


def replaced_compiled(x: np.ndarray) -> ways.Function:
    return forecasts(_replacing(x), x, steps.traced)


def forecasts(norm: Any, x: np.ndarray, made: ways.Callable[..., Any] = lambda model: model) -> Any:
    """A step of a forecaster that calls its RevIN by mode, as the authors' code does."""
    torch = ways.torch()
    torch.manual_seed(0)

    class Forecaster(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.line = norm, torch.nn.Linear(x.shape[1], AHEAD)

        def forward(self, x: Any) -> Any:
            return self.norm(self.line(self.norm(x, "norm").mT).mT, "denorm")

    model, past = Forecaster(), torch.from_numpy(x)
    future = past[:, -AHEAD:].roll(1, 0)
    return _train(made(model), model, past, future, torch.nn.functional.mse_loss)


def _replacing(x: np.ndarray) -> Any:
    from revnorm.torch import RevIN

    return RevIN(x.shape[-1], detach=True)
