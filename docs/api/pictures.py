"""Pictures of the reference pages, drawn by the functions themselves when the site is built.

`ALT` holds what each shows, by the name of the function that it is of.
"""

import matplotlib.pyplot as plt
import numpy as np

import revnorm as rn

ORANGE, BLUE, GREEN, GREY = "#d9661f", "#3a82d0", "#2f9e6e", "#828997"

ALT = {
    "Layout": "Four grids of instances by channels. Instance norm reduces one cell, layer norm a "
    "row, group norm half a row and batch norm a column.",
    "instance_norm": "Three series of different level and spread on the left, and on the right the "
    "same three with mean 0 and deviation 1.",
    "revin": "A series that rises; the same normalized, with a forecast behind it; and the "
    "forecast brought back to the level where the series ended.",
    "adain": "Two clouds of points, content and style, and a third: the content's points with the "
    "place and the spread of the style's.",
    "batch_instance_norm": "Two series as the gate moves from 0 to 1: alike at 0, where each is "
    "normalized by itself, and apart at 1, where both are normalized together.",
    "spatially_adaptive_norm": "An image, a map of scales that is larger on the right, and the "
    "result, with more contrast on the right.",
    "merge": "Two samples with their means and deviations, and below them the mean and deviation "
    "of both together.",
    "blend": "Two lines through a plane, and between them the line that is their weighted sum.",
}

plt.rcParams.update(
    {
        "text.color": GREY,
        "axes.labelcolor": GREY,
        "axes.edgecolor": GREY,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "axes.titlesize": "medium",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "legend.labelcolor": GREY,
        "savefig.transparent": True,
        "figure.constrained_layout.use": True,
    }
)


def panels(*titles, size=(7.2, 2.3), **options):
    _, axes = plt.subplots(1, len(titles), figsize=size, **options)
    for place, title in zip(axes, titles):
        place.set_title(title)
    return axes


def wave(seed, steps=48):
    random = np.random.default_rng(seed)
    return np.sin(np.arange(steps) / 4 + seed) + 0.3 * random.standard_normal(steps)


def instance_norm():
    series = np.stack([20 + 4 * wave(1), 8 + 1.5 * wave(2), 1 + 0.5 * wave(3)])
    before, after = panels("x", "instance_norm(x, axis=1)")
    for one, y, colour in zip(series, rn.instance_norm(series, axis=1), (ORANGE, BLUE, GREEN)):
        before.plot(one, color=colour)
        after.plot(y, color=colour)


def revin():
    past = (20 + 0.25 * np.arange(48) + 1.5 * wave(1))[None]
    y, norm_map = rn.revin(past, axis=1, center="last")
    later = np.arange(48, 64)
    forecast = (y[:, -1:] + 0.5 * (y[:, -16:] - y[:, -16:].mean())) * np.linspace(0, 1, 16)
    data, normal, back = panels("x", "y, and a model's forecast", "norm_map.inv(forecast)")
    for place, values in ((data, past), (normal, y), (back, past)):
        place.plot(values[0], color=BLUE)
    normal.plot(later, forecast[0], color=ORANGE)
    back.plot(later, norm_map.inv(forecast)[0], color=ORANGE)


def adain():
    random = np.random.default_rng(0)
    turn = np.asarray([[1.0, 0.6], [0.0, 0.8]])
    content = (random.standard_normal((150, 2)) @ turn).T[None]
    style = np.asarray([[[9.0], [6.0]]]) + random.standard_normal((1, 2, 150)) * [[0.6], [2.0]]
    _, place = plt.subplots(figsize=(5.2, 3.2))
    told = (("content", content, BLUE), ("style", style, GREY))
    for name, (first, second), colour in (
        *((name, cloud[0], colour) for name, cloud, colour in told),
        ("adain(content, style, axis=2)", rn.adain(content, style, axis=2)[0], ORANGE),
    ):
        place.scatter(first, second, s=10, color=colour, label=name)
    place.set(xlabel="first channel", ylabel="second channel")
    place.legend(loc="upper left")


def batch_instance_norm():
    series = np.stack([3 + wave(1), 6 + 2 * wave(2)])[:, None]
    gates = 0.0, 0.5, 1.0
    places = panels(*(f"gate {gate:g}" for gate in gates), sharey=True)
    for place, gate in zip(places, gates):
        y = rn.batch_instance_norm(series, gate, axis=2, batch_axis=0)
        for (one,), colour in zip(y, (ORANGE, BLUE)):
            place.plot(one, color=colour)


def spatially_adaptive_norm():
    random = np.random.default_rng(0)
    image = 5 + random.standard_normal((24, 24)).cumsum(axis=0).cumsum(axis=1) / 9
    scales = np.broadcast_to(np.linspace(-0.9, 0.9, 24), image.shape)
    y = rn.spatially_adaptive_norm(image, scales, np.zeros_like(image), axis=(0, 1))
    places = panels("x", "scale_map", "y", size=(7.2, 2.6))
    for place, shown in zip(places, (image, scales, y)):
        place.imshow(shown, cmap="cividis")
        place.set_axis_off()


def merge():
    random = np.random.default_rng(0)
    samples = random.normal(2.0, 0.6, 40), random.normal(6.0, 1.2, 80)
    first, second = (rn.moments(sample, axis=0) for sample in samples)
    told = (("first", first, BLUE), ("second", second, ORANGE))
    _, place = plt.subplots(figsize=(6.2, 2.0))
    rows = (*told, ("merge(first, second)", rn.merge(first, second), GREEN))
    for row, (_, moments, colour) in enumerate(rows):
        spread = np.sqrt(moments.variance)
        place.errorbar(moments.mean, [-row], xerr=spread, color=colour, fmt="o", capsize=5)
    for row, sample in enumerate(samples):
        place.scatter(sample, np.full(sample.shape, -row - 0.25), s=6, color=rows[row][2])
    place.set_yticks([0, -1, -2], [name for name, _, _ in rows])
    place.set_ylim(-2.5, 0.5)


def blend():
    x = np.linspace(-2.0, 6.0, 2)
    first = rn.standardizer(np.asarray([-1.0, 1.0]), axis=0, eps=0.0)
    second = rn.standardizer(np.asarray([0.0, 8.0]), axis=0, eps=0.0)
    mixed = rn.blend([first, second], [0.25, 0.75])
    _, place = plt.subplots(figsize=(4.6, 3.0))
    told = {"first": (first, BLUE), "second": (second, ORANGE)}
    for name, (one, colour) in told.items():
        place.plot(x, one(x), color=colour, label=name)
    place.plot(x, mixed(x), color=GREEN, label="blend([first, second], [¼, ¾])")
    place.set(xlabel="x", ylabel="y")
    place.legend()


def Layout():
    images, channels = 4, 6
    reduced = {
        "instance norm": np.s_[1:2, 2:3],
        "layer norm": np.s_[1:2, :],
        "group norm": np.s_[1:2, :3],
        "batch norm": np.s_[:, 2:3],
    }
    places = panels(*reduced, size=(7.2, 1.9), sharey=True)
    for place, cells in zip(places, reduced.values()):
        taken = np.full((images, channels), np.nan)
        taken[cells] = 1
        place.pcolormesh(taken, cmap="Oranges", vmin=0, vmax=1.6, edgecolors=GREY, linewidth=0.8)
        place.set(xticks=[], yticks=[], xlabel="channels", aspect="equal")
    places[0].set_ylabel("instances")
