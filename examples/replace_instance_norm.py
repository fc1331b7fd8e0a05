"""
Replace instance norm in a model
================================

``revnorm.torch.convert`` replaces every ``nn.InstanceNorm`` of a model, and keeps its weights. Does
the model train as before, and how long does a step take? A small network learns to take noise out
of photographs, twice: with PyTorch's instance norm, and converted. Both begin with the same weights
and see the same pictures.

The two photographs ship with scikit-learn.
"""

# %%
# Crops of the photographs, with noise.

import statistics
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_sample_image
from torch import nn

from revnorm.torch import convert

STEPS = 80
BATCH, SIZE, NOISE = 4, 64, 0.15

photographs = [
    torch.tensor(load_sample_image(name)).permute(2, 0, 1) / 255
    for name in ("china.jpg", "flower.jpg")
]


def crops(generator, count=BATCH):
    """Pieces of the photographs, and the same with noise."""
    height, width = photographs[0].shape[1:]
    clean = []
    for _ in range(count):
        photograph = photographs[torch.randint(2, (), generator=generator)]
        top = torch.randint(height - SIZE, (), generator=generator)
        left = torch.randint(width - SIZE, (), generator=generator)
        clean.append(photograph[:, top : top + SIZE, left : left + SIZE])
    clean = torch.stack(clean)
    return clean, clean + NOISE * torch.randn(clean.shape, generator=generator)


# %%
# The network is told what to change in a picture. ``convert`` is the only line that differs.


class Denoiser(nn.Module):
    def __init__(self, channels=24):
        super().__init__()
        layers, before = [], 3
        for _ in range(3):
            norm = nn.InstanceNorm2d(channels, affine=True)
            layers += [nn.Conv2d(before, channels, 3, padding=1), norm, nn.ReLU()]
            before = channels
        self.change = nn.Sequential(*layers, nn.Conv2d(channels, 3, 3, padding=1))

    def forward(self, noisy):
        return noisy + self.change(noisy)


torch.manual_seed(0)
theirs = Denoiser()
torch.manual_seed(0)
ours = convert(Denoiser())
print(ours.change[1])

# %%
# A step of one and a step of the other, by turns, so that whatever else the machine does slows both
# down alike.

models = {"nn.InstanceNorm2d": theirs, "converted": ours}
optimizers = {name: torch.optim.Adam(model.parameters(), 3e-3) for name, model in models.items()}
losses, seconds = ({name: [] for name in models} for _ in range(2))
generator = torch.Generator().manual_seed(0)
for step in range(STEPS):
    clean, noisy = crops(generator)
    for name in sorted(models, reverse=step % 2):
        begun = time.perf_counter()
        optimizers[name].zero_grad()
        loss = nn.functional.mse_loss(models[name](noisy), clean)
        loss.backward()
        optimizers[name].step()
        seconds[name].append(time.perf_counter() - begun)
        losses[name].append(loss.item())

apart = max(abs(a / b - 1) for a, b in zip(*losses.values()))
ratio = statistics.median(a / b for a, b in zip(seconds["converted"], seconds["nn.InstanceNorm2d"]))
print(f"the losses of a step differ by at most {100 * apart:.1g} %")
print(f"a step of the converted model takes {ratio:.2f} times as long")

# %%
# Pictures that neither has seen with this noise.

clean, noisy = crops(torch.Generator().manual_seed(1), 16)
with torch.no_grad():
    cleaned = {name: model.eval()(noisy) for name, model in models.items()}
for name, picture in {"noisy": noisy, **cleaned}.items():
    error = nn.functional.mse_loss(picture, clean).item()
    print(f"{name:>17}: peak signal-to-noise ratio {-10 * np.log10(error):.1f} dB")

# %%
# Loss and time of every step, on top of each other.

figure, (left, right) = plt.subplots(
    1,
    2,
    figsize=(9, 3.4),
)
figure.set_label(
    "Loss of every training step, the same curve for both models, and milliseconds a step"
)
styles = {
    "nn.InstanceNorm2d": {"color": "#c2571a", "linewidth": 3, "alpha": 0.6},
    "converted": {"color": "#1a6fc2", "linewidth": 1},
}
for name, style in styles.items():
    left.plot(losses[name], label=name, **style)
    right.plot(1e3 * np.asarray(seconds[name]), label=name, **style)
left.set(xlabel="step", ylabel="mean squared error", yscale="log")
slow = 3e3 * statistics.median(seconds["nn.InstanceNorm2d"])
right.set(xlabel="step", ylabel="milliseconds", ylim=(0, slow))
left.legend(framealpha=0)
figure.tight_layout()
plt.show()

# %%
# One of the pictures.

row = {"taken": clean, "with noise": noisy, **cleaned}
figure, axes = plt.subplots(
    1,
    len(row),
    figsize=(9, 2.6),
)
figure.set_label(
    "A piece of a photograph as taken, with noise, and what the two models make of it, which "
    "look the same"
)
for cell, (name, picture) in zip(axes, row.items()):
    cell.imshow(picture[5].permute(1, 2, 0).clip(0, 1).numpy())
    cell.set(xticks=[], yticks=[])
    cell.set_title(name, fontsize=10)
figure.tight_layout()
plt.show()
