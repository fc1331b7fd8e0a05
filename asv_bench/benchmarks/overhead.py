"""Cost of a call where there is next to no data."""

from . import functions, libraries, rows
from .kernels import prepared
from .ratios import _Ratio


class Call:
    params = (list(libraries.LIBRARIES), list(functions.IMAGES))
    param_names = ("library", "function")
    timeout = 600

    def setup(self, library, function):
        self.run = prepared(library, function, rows.TINY, "float32")

    def time_call(self, library, function):
        self.run()


class Ratios(_Ratio):
    """Of two ways' times for such a call."""

    params = ([row.name for row in rows.CALLS], [rows.TINY])
    param_names = ("ways", "shape")
