"""What the package as a whole promises: what it imports, names, documents and calls."""

import ast
import builtins
import inspect
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import revnorm as rn
from backends import BACKENDS

PACKAGE = Path(rn.__file__).parent
FILES = sorted(PACKAGE.glob("_*.py"))
# These know libraries, so that no kernel need.
ADAPTERS = (
    "__init__",
    "__main__",
    "_arguments",
    "_backward",
    "_blocks",
    "_calls",
    "_chunks",
    "_compile",
    "_convert",
    "_chains",
    "_cuts",
    "_data_checks",
    "_estimator",
    "_flat",
    "_host",
    "_lanes",
    "_libraries",
    "_memory",
    "_mlx",
    "_pivoted",
    "_read_once",
    "_registry",
    "_room",
    "_rounding",
    "_standardizer",
    "_functions",
    "_stream",
    "_subclasses",
    "_table",
    "_tracing",
)
KERNELS = [path for path in FILES if path.stem not in ADAPTERS]


# A star import leaves Python's own of that name alone.
NAMES = [*rn.__all__, "compile"]


def ids(paths):
    return [path.stem for path in paths]


def imported_by(statement):
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_import_loads_nothing_but_numpy_and_array_api_compat():
    ours = imported_by("import revnorm")
    theirs = imported_by("import numpy, array_api_compat, array_api_compat.numpy")
    packages = {name.partition(".")[0] for name in ours - theirs}
    foreign = {name for name in packages if name not in sys.stdlib_module_names}
    assert foreign == {"revnorm"}


def test_import_loads_no_other_array_library():
    loaded = imported_by("import revnorm")
    others = {backend.module.partition(".")[0] for backend in BACKENDS} - {"numpy"}
    assert not others & loaded


def test_all_is_sorted_documented_and_there():
    assert rn.__all__ == sorted(rn.__all__)
    for name in NAMES:
        assert inspect.getdoc(getattr(rn, name)), name


@pytest.mark.parametrize("name", [n for n in NAMES if inspect.isfunction(getattr(rn, n))])
def test_functions_document_every_parameter(name):
    """And take arrays by position, options by keyword."""
    function = getattr(rn, name)
    doc = inspect.getdoc(function)
    for parameter in inspect.signature(function).parameters.values():
        assert re.search(rf"\b{parameter.name}\b", doc), parameter.name
        has_default = parameter.default is not parameter.empty or parameter.name == "like"
        assert has_default or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD
    for section in ("Parameters", "Returns", "Examples"):
        assert f"{section}\n{'-' * len(section)}" in doc, section


def test_star_import_shadows_no_builtin():
    taken = {}
    exec("from revnorm import *", taken)
    assert not (taken.keys() - {"__builtins__"}) & set(dir(builtins))
    assert rn.compile is not compile


def test_typed():
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("path", KERNELS, ids=ids(KERNELS))
def test_kernel_files_import_and_name_no_backend(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    libraries = {backend.module.partition(".")[0] for backend in BACKENDS}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    asked = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").partition(".")[0])
    assert not libraries & (names | modules)
    assert not {f"is_{library}_array" for library in libraries} & asked


def used_from_the_namespace():
    """Every NAME of `xp.NAME` in the kernels."""
    return sorted(
        {
            node.attr
            for path in FILES
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "xp"
        }
    )


USED = used_from_the_namespace()


@pytest.mark.parametrize("name", USED)
def test_every_function_used_is_in_the_standard(name):
    strict = pytest.importorskip("array_api_strict")
    assert hasattr(strict, name)


@pytest.mark.parametrize("name", USED)
def test_every_function_used_is_in_cupy(name):
    """Without a GPU: what array-api-compat wraps, or NumPy's of the same name, which CuPy has."""
    origin = find_spec("array_api_compat").submodule_search_locations[0]
    text = "".join(
        (Path(origin) / part).read_text(encoding="utf-8")
        for part in ("cupy/_aliases.py", "cupy/_info.py", "cupy/__init__.py")
    )
    wrapped = re.search(rf"\b{name}\b", text)
    assert wrapped or hasattr(np, name)


def test_version_has_one_source():
    from importlib.metadata import version

    assert rn.__version__ == version("revnorm")
