"""Ratios of training steps, the fastest of rounds by turns, and what is kept for backward."""

from . import measure, rows, ways
from .ratios import _Ratio


class _Steps(_Ratio):
    param_names = ("ways", "shape")

    def track_ratio(self, name, shape):
        return measure.fastest(self.first, self.second).ratio


def _named(*shapes):
    return [row.name for row in rows.STEPS if set(shapes) & set(row.targets)], list(shapes)


class Images(_Steps):
    params = _named(rows.SMALL, rows.MIDDLE, rows.LARGE)


class Series(_Steps):
    params = _named(*rows.TRAINED_SERIES)


class Volumes(_Steps):
    params = _named(rows.VOLUME)


class Networks(_Steps):
    params = ([row.name for row in rows.NETWORKS], list(rows.PHOTOGRAPHS))


class Forecasters(_Steps):
    params = ([row.name for row in rows.FORECASTERS], list(rows.TRAINED_SERIES))


class Saved:
    """Bytes kept for backward, in units of the input's bytes."""

    params = (list(rows.KEPT),)
    param_names = ("way",)
    timeout = 600
    unit = "input sizes"

    def setup(self, name):
        try:
            self.step = rows.KEPT[name].way(ways.data(rows.KEPT[name].shape))
        except ImportError as error:
            raise NotImplementedError(str(error)) from error

    def track_saved(self, name):
        return saved(self.step)


def saved(step):
    """What a step keeps for backward, in units of its input's bytes."""
    x, *parameters = step.operands
    return measure.saved(step.forward, parameters) / (x.numel() * x.element_size())
