"""
Keep as much of the light as a question needs
=============================================

Instance norm makes pictures in different light alike, and batch norm keeps their differences.
Batch-Instance norm [1]_ has a gate between the two: 0 is instance norm, 1 is batch norm. Which is
right depends on the question. A small network learns two of them at once, from handwritten digits
in changing light:

- which digit is it? The light should not matter, and in a new light less than ever.
- was it bright or dark? Only the light tells.

The digits are 1797 pictures of 8 × 8 that ship with scikit-learn.

.. [1] H. Nam, H.-E. Kim, "Batch-Instance Normalization for Adaptively Style-Invariant Neural
   Networks", NeurIPS 2018.
"""

# %%
# Light multiplies a picture and adds to it. In training the contrast is between 0.5 and 1; later it
# is much lower, and there is mist.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

from revnorm.torch import BatchInstanceNorm

digits = load_digits()
pictures = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
labels = torch.tensor(digits.target)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
learned, asked = order[:1200], order[1200:]


def lit(pictures, contrast, mist, seed):
    """Pictures in random light, and whether each is among the brighter half."""
    generator = torch.Generator().manual_seed(seed)
    size = (len(pictures), 1, 1, 1)
    share = torch.rand(size, generator=generator)
    low, high = contrast
    light = mist * torch.rand(size, generator=generator)
    return (low + (high - low) * share) * pictures + light, (share.ravel() > 0.5).long()


USUAL, NEW = ((0.5, 1.0), 0.0), ((0.1, 0.3), 0.6)
usual, bright = lit(pictures[asked], *USUAL, seed=1)
new, _ = lit(pictures[asked], *NEW, seed=2)

figure, axes = plt.subplots(
    2,
    8,
    figsize=(9, 2.6),
)
figure.set_label("Eight handwritten digits in the usual light, and the same eight pale and in mist")
for line, row, name in zip(axes, (usual, new), ("as in training", "new light")):
    for cell, picture in zip(line, row):
        cell.imshow(picture[0].numpy(), cmap="gray", vmin=0, vmax=1)
        cell.set(xticks=[], yticks=[])
    line[0].set_ylabel(name)
figure.tight_layout()
plt.show()

# %%
# Two convolutions, each followed by a norm whose gate is held at one value, and ten digits and two
# kinds of light to choose from.


def network(gate):
    def block(before, channels):
        norm = BatchInstanceNorm(channels, layout="NCHW")
        norm.gate.data.fill_(gate)
        norm.gate.requires_grad_(False)
        convolution = nn.Conv2d(before, channels, 3, padding=1, padding_mode="replicate")
        return [convolution, norm, nn.ReLU()]

    pooled = [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32 * 16, 12)]
    return nn.Sequential(*block(1, 16), *block(16, 32), *pooled)


def trained(gate, epochs=8, batch=200):
    torch.manual_seed(0)
    model = network(gate)
    parameters = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(parameters, 5e-3)
    for epoch in range(epochs):
        x, is_bright = lit(pictures[learned], *USUAL, seed=10 + epoch)
        for part in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            scores = model(x[part])
            loss = nn.functional.cross_entropy(scores[:, :10], labels[learned][part])
            loss = loss + nn.functional.cross_entropy(scores[:, 10:], is_bright[part])
            loss.backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def right_answers(model):
    """The share of right answers to each question."""
    seen, unseen = model(usual), model(new)
    return {
        "which digit, light as in training": accuracy(seen[:, :10], labels[asked]),
        "which digit, new light": accuracy(unseen[:, :10], labels[asked]),
        "bright or dark": accuracy(seen[:, 10:], bright),
    }


def accuracy(scores, answers):
    return 100 * (scores.argmax(1) == answers).float().mean().item()


# %%
# Moved from instance norm to batch norm, the gate lets the light in. The network then can tell
# bright from dark, and no longer knows the digits when the light is new.

gates = (0.0, 0.25, 0.5, 0.75, 1.0)
answers = [right_answers(trained(gate)) for gate in gates]
for gate, found in zip(gates, answers):
    print(f"gate {gate:4.2f}:", ", ".join(f"{name} {share:.0f} %" for name, share in found.items()))

# %%
# Half of the answers to the second question are right by chance, and a tenth of those to the first.

figure, axes = plt.subplots(
    figsize=(7, 3.6),
)
figure.set_label(
    "Right answers against the gate: digits in a new light are known at gate 0 and not at 1, "
    "bright and dark are told apart at 1 and not at 0"
)
colours = ("#808080", "#1a6fc2", "#c2571a")
for name, colour in zip(answers[0], colours):
    axes.plot(gates, [found[name] for found in answers], "o-", color=colour, label=name)
axes.set(xlabel="gate: 0 is instance norm, 1 is batch norm", ylabel="right answers, %")
axes.set(ylim=(0, 105), xticks=gates)
axes.legend(framealpha=0, loc="lower left")
figure.tight_layout()
plt.show()
# sphinx_gallery_thumbnail_number = 2
