"""The directive `modes`: which functions are tested on which library, and in which mode.

It reads the tests' own declarations: the functions and libraries that each test is tried on. Where
REVNORM_RESULTS names the JUnit file of a run, it reads what came of them as well.
"""

import os
from functools import cache
from typing import NamedTuple
from xml.etree import ElementTree

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import revnorm as rn
import test_gradients
import test_laws
import test_lazy
from backend_table import table
from backends import BACKENDS, LIBRARIES, absence

NARROW = ("float16", "bfloat16")
MODES = {
    "float32": (
        test_laws.test_float32,
        test_lazy.test_jax_jit,
        test_lazy.test_dask_computes_nothing,
        test_lazy.test_onnx_model_of_every_function,
    ),
    **dict.fromkeys((*NARROW, "float64"), (test_laws.test_other_dtypes,)),
    "native": (test_laws.test_native_precision,),
    "masks": (test_laws.test_padding_is_without_effect,),
    "out": (test_laws.test_out_is_written_and_returned,),
    "traced": (test_lazy.test_torch_traces_one_graph, test_lazy.test_jax_jit),
    "lazy": (
        test_lazy.test_dask_computes_nothing,
        test_lazy.test_onnx_model_of_every_function,
    ),
    "gradients": (
        test_gradients.test_gradients_are_those_of_the_formula,
        test_gradients.test_gaps_reach_no_gradient,
    ),
}
TESTED, ELSEWHERE, FAILED = "✓", "○", "✗"
PUBLIC = {"conditional": "conditional_instance_norm"}


class Item(NamedTuple):
    """One test of a function in a mode on a backend, by the name that pytest gives it."""

    function: str
    backend: object
    mode: str
    id: str


class Modes(SphinxDirective):
    """A row for each mode and a column for each library: of all functions, or of the one named."""

    optional_arguments = 1

    def run(self):
        rows = []
        for mode in MODES:
            functions = self.arguments or sorted({i.function for i in declared() if i.mode == mode})
            cells = ([state(f, library, mode) for f in functions] for library in LIBRARIES)
            rows.append((mode, *map(told, cells)))
        return [nodes.container("", *table(self, ("mode", *LIBRARIES), rows))]


def told(states):
    """What holds for all functions, or for how many."""
    for sign in (FAILED, TESTED, ELSEWHERE):
        if count := states.count(sign):
            return sign if count == len(states) else f"{sign} {count}/{len(states)}"
    return ""


def state(function, library, mode):
    found = [
        item
        for item in declared()
        if (item.function, item.backend.library, item.mode) == (function, library, mode)
    ]
    if not found:
        return ""
    outcomes = {outcome(item) for item in found}
    return next(sign for sign in (FAILED, TESTED, ELSEWHERE) if sign in outcomes)


def outcome(item):
    known = results()
    if known is None:
        return ELSEWHERE if absence(item.backend) else TESTED
    return known.get(item.id, ELSEWHERE)


@cache
def results():
    """The outcomes of a run by the names of its tests; None where there was none."""
    if not (file := os.environ.get("REVNORM_RESULTS")):
        return None
    return {case.get("name"): _outcome(case) for case in ElementTree.parse(file).iter("testcase")}


def _outcome(case):
    if any(case.find(kind) is not None for kind in ("failure", "error")):
        return FAILED
    return TESTED if case.find("skipped") is None else ELSEWHERE


@cache
def declared():
    return [item for mode, tests in MODES.items() for test in tests for item in _items(mode, test)]


def _items(mode, test):
    marks = (*test.pytestmark, *_of_module(test))
    given = {mark.args[0]: mark.args[1] for mark in marks if mark.name == "parametrize"}
    libraries = next((mark.args for mark in marks if mark.name == "backends"), LIBRARIES)
    sampled = any(mark.name == "sampled" for mark in marks)
    for backend in (one for one in BACKENDS if one.library in libraries):
        for function in given["function"]:
            public = _public(function)
            left_out = sampled and backend.slow and not function.typical
            wanted = "dtype" not in given or mode in backend.dtypes
            if public and wanted and not left_out and test.__name__ not in backend.known_failures:
                parameters = (backend, function, *((mode,) if "dtype" in given else ()))
                name = f"{test.__name__}[{'-'.join(map(str, parameters))}]"
                yield Item(public, backend, mode, name)


def _of_module(test):
    marks = getattr(test, "__globals__", {}).get("pytestmark", ())
    return marks if isinstance(marks, (list, tuple)) else (marks,)


def _public(function):
    """The name that a function under test has for users; None for what is another by its axes."""
    first = function.id.partition("-")[0]
    name = PUBLIC.get(first, first)
    return name if hasattr(rn, name) else None


def setup(app):
    app.add_directive("modes", Modes)
    return {"parallel_read_safe": True}
