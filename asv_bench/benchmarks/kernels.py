"""Time of every kernel on every library."""

from . import functions, libraries, rows, ways


class _Time:
    param_names = ("library", "function", "shape", "dtype")
    timeout = 600

    def setup(self, library, function, shape, dtype):
        self.run = prepared(library, function, shape, dtype)

    def time_kernel(self, library, function, shape, dtype):
        self.run()


class Images(_Time):
    params = (
        list(libraries.LIBRARIES),
        list(functions.IMAGES),
        [rows.SMALL, rows.MIDDLE, rows.LARGE],
        ["float32", "float64"],
    )


class Series(_Time):
    params = (
        list(libraries.LIBRARIES),
        list(functions.SERIES),
        list(rows.SERIES),
        ["float32", "float64"],
    )


def prepared(library, function, shape, dtype):
    """The call, made once already; NotImplementedError where the library is missing."""
    call = (functions.IMAGES | functions.SERIES)[function](ways.data(shape, dtype))
    try:
        run = libraries.bound(library, *call)
        run()
    except ImportError as error:
        raise NotImplementedError(str(error)) from error
    return run
