"""Cost of a call where there is next to no data."""

from . import functions, libraries, measure, rows, ways
from .kernels import prepared


class Call:
    params = (list(libraries.LIBRARIES), list(functions.IMAGES))
    param_names = ("library", "function")
    timeout = 600

    def setup(self, library, function):
        self.run = prepared(library, function, rows.TINY, "float32")

    def time_call(self, library, function):
        self.run()


def track_call_to_textbook():
    x = ways.data(rows.TINY)
    return measure.paired(ways.numpy(x), ways.textbook(x)).median


track_call_to_textbook.unit = "ratio"
