"""Ratios of two ways' times, by turns in one process, and temporaries."""

from . import measure, rows, ways


class _Ratio:
    timeout = 600
    unit = "ratio"

    def setup(self, name, shape):
        listed = [*rows.ROWS, *rows.STEPS, *rows.NETWORKS, *rows.FORECASTERS]
        row = next(row for row in listed if row.name == name)
        if shape not in row.targets:
            raise NotImplementedError(f"{name} has no ratio to reach at {shape}")
        x = ways.data(shape)
        try:
            self.first, self.second = row.first(x), row.second(x)
        except ImportError as error:
            raise NotImplementedError(str(error)) from error

    def track_ratio(self, name, shape):
        return measure.paired(self.first, self.second).median


def _named(shapes):
    return [row.name for row in rows.ROWS if set(shapes) & set(row.targets)]


class Images(_Ratio):
    shapes = (rows.SMALL, rows.MIDDLE, rows.LARGE)
    params = (_named(shapes), list(shapes))
    param_names = ("ways", "shape")


class Series(_Ratio):
    params = (_named(rows.SERIES), list(rows.SERIES))
    param_names = ("ways", "shape")


class Temporaries:
    """Bytes held at the peak beyond the output, in units of the input's bytes."""

    params = (list(rows.TEMPORARIES), [rows.SMALL, rows.MIDDLE, rows.LARGE])
    param_names = ("way", "shape")
    timeout = 600
    unit = "input sizes"

    def track_temporaries(self, way, shape):
        x = ways.data(shape)
        return measure.temporaries(rows.TEMPORARIES[way](x)) / x.nbytes
