"""The reference pages: every name is near, every formula is typeset, every mode was looked up."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import revnorm as rn
from backends import LIBRARIES

DOCS = Path(__file__).parent.parent / "docs"
MODULES = ("revnorm", "revnorm.torch", "revnorm.keras", "revnorm.testing")


@pytest.fixture(autouse=True)
def extensions(monkeypatch):
    """The site's own extensions, which Sphinx finds in the same way."""
    for folder in ("_extensions", "api"):
        monkeypatch.syspath_prepend(DOCS / folder)
    pytest.importorskip("sphinx")


def public(module):
    found = importlib.import_module(module)
    return [f"{module}.{name}" for name in (*found.__all__, *("compile",) * (found is rn))]


@pytest.mark.parametrize("module", MODULES)
def test_every_name_is_two_clicks_from_the_first_page(module):
    pytest.importorskip(module.removeprefix("revnorm.").replace("testing", "numpy"))
    first = (DOCS / "index.rst").read_text(encoding="utf-8")
    linked = [DOCS / f"{page}.rst" for page in re.findall(r":doc:`(?:.*<)?([\w/]+)>?`", first)]
    texts = [page.read_text(encoding="utf-8") for page in linked if page.exists()]
    listed = {line.strip() for text in texts for line in text.splitlines()}
    assert set(public(module)) <= listed


@pytest.mark.parametrize(
    ("plain", "tex"),
    [
        ("y = (x − mean) / sqrt(variance + eps)",
         r"y = \frac{x - \mathrm{mean}}{\sqrt{\mathrm{variance} + \mathrm{eps}}}"),
        ("mean = Σ x / n", r"\mathrm{mean} = \frac{\sum x}{n}"),
        ("std_c · mean₂", r"\mathrm{std}_{c} \cdot \mathrm{mean}_{2}"),
        ("n ≤ (2⁻⁵² · m)²", r"n \le \left( 2^{-52} \cdot m \right)^{2}"),
        ("(a + b) · (c + d) / e",
         r"\frac{\left( a + b \right) \cdot \left( c + d \right)}{e}"),
        ("y = scales[label],   norm_map.inv(y) = |x|",
         r"y = \mathrm{scales}\left[ \mathrm{label} \right],\qquad "
         r"\mathrm{norm\_map.inv}\left( y \right) = \left\vert x \right\vert"),
    ],
)  # fmt: skip
def test_plain_notation_becomes_latex(plain, tex):
    from docutils.utils.math.latex2mathml import tex2mathml

    import formulas

    assert formulas.Formula(plain).tex == tex
    assert "<math" in tex2mathml(tex, as_block=True)


@pytest.mark.parametrize("text", ["y = (x", "y = ", "x) + y", 'library = "torch"', "x | y"])
def test_what_is_no_formula_is_told(text):
    import formulas

    with pytest.raises(ValueError, match="`"):
        _ = formulas.Formula(text).tex


@pytest.mark.parametrize("name", [n for n in rn.__all__ if inspect.isfunction(getattr(rn, n))])
def test_formulas_of_docstrings_are_typeset(name):
    import formulas

    lines = inspect.getdoc(getattr(rn, name)).splitlines()
    written = [line for line in lines[:8] if line.startswith(formulas.INDENT) and " = " in line]
    formulas.typeset(None, "function", name, None, None, lines)
    assert sum(line.startswith(".. math::") for line in lines) >= len(written)
    assert not set(written) & set(lines)


def test_literal_blocks_stay_as_they_are():
    import formulas

    lines = ["Like this::", "", "    a = b", "", "    c = d", "", "But:", "", "    e = f"]
    formulas.typeset(None, "function", "one", None, None, lines)
    assert lines[2:5] == ["    a = b", "", "    c = d"]
    assert lines[-1] == ".. math:: e = f"


def test_table_of_modes_has_every_function_and_library():
    import modes

    names = {item.function for item in modes.declared()}
    assert {"instance_norm", "revin", "adain", "merge", "blend"} <= names <= set(rn.__all__)
    assert {item.backend.library for item in modes.declared()} == set(LIBRARIES)
    assert modes.state("instance_norm", "numpy", "masks") == modes.TESTED
    assert modes.state("instance_norm", "numpy", "lazy") == ""


def test_table_of_modes_names_tests_as_pytest_does(request):
    import modes

    tests = {item.id.partition("[")[0] for item in modes.declared()}
    collected = {item.name for item in request.session.items}
    if not tests <= {name.partition("[")[0] for name in collected} or request.config.option.backend:
        pytest.skip("not all tests are collected")
    assert {item.id for item in modes.declared()} <= collected


def test_table_of_modes_reads_a_run(tmp_path, monkeypatch):
    import modes

    case = '<testcase name="test_native_precision[numpy:cpu-instance_norm{}]">{}</testcase>'
    told = [case.format("", ""), case.format("-plain", '<failure message="far off"/>')]
    file = tmp_path / "suite.xml"
    file.write_text(f"<testsuites><testsuite>{''.join(told)}</testsuite></testsuites>")
    monkeypatch.setenv("REVNORM_RESULTS", str(file))
    monkeypatch.setattr(modes, "results", modes.results.__wrapped__)
    assert modes.state("instance_norm", "numpy", "native") == modes.FAILED
    assert modes.state("revin", "numpy", "native") == modes.ELSEWHERE


def test_measured_rows_are_those_of_the_newest_file(tmp_path):
    import measured

    for day in ("2026-01-02", "2026-01-10"):
        (tmp_path / f"{day}.md").write_text("")
    assert measured.newest(tmp_path, "????-??-??.md").stem == "2026-01-10"
    text = "# A title\n\n| what | shape |\n| --- | --- |\n| NumPy / copy | (2,3) |\n"
    assert measured.rows(text) == [["NumPy / copy", "(2,3)"]]
