"""Training steps of a small network, with PyTorch's instance norm and with it converted.

A way takes images, N, 3, H, W, and gives a step: forward, loss, backward and the optimizer.
"""

from typing import Any

import numpy as np

from . import ways

BLOCKS = 4


def theirs(x: np.ndarray, **options: Any) -> ways.Function:
    return step(network(**options), x)


def converted(x: np.ndarray, **options: Any) -> ways.Function:
    from revnorm.torch import convert

    return step(convert(network(**options)), x)


def theirs_compiled(x: np.ndarray, **options: Any) -> ways.Function:
    return step(_compiled(network(**options)), x)


def converted_compiled(x: np.ndarray, **options: Any) -> ways.Function:
    from revnorm.torch import convert

    return step(_compiled(convert(network(**options))), x)


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
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)

    def train() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return train


def _compiled(model: Any) -> Any:
    ways.torch().compiler.reset()
    return ways.torch().compile(model, fullgraph=True, dynamic=False)
