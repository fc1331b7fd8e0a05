"""Formulas as MathML, which browsers draw without a network, a script or a font of their own.

Docstrings have them in the plain notation that `help()` shows, pages in LaTeX.
"""

import re

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
LOWERED = str.maketrans("ᵢⱼ₀₁₂₃₄₅₆₇₈₉", "ij0123456789")
LETTER = r"[^\W\d_⁰¹²³⁴-⁹₀-₉ᵢⱼ]"
TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+)"
    rf"|(?P<name>{LETTER}+(?:[._]{LETTER}+)*[ᵢⱼ₀-₉]*)"
    r"|(?P<raised>[⁻⁰¹²³⁴-⁹]+)"
    r"|(?P<sign>\S))"
)
RELATIONS = {"=": "=", "≤": r"\le"}
SUMS = {"+": "+", "−": "-"}
PRODUCTS = {"·": r"\cdot", "@": r"\circ"}
BRACKETS = {"(": ("(", ")"), "[": ("[", "]"), "|": (r"\vert", "|")}
INDENT = " " * 4
WIDE = 72

logger = logging.getLogger(__name__)


class Formula:
    """One line of the plain notation, read from the left; `tex` is the same in LaTeX."""

    def __init__(self, text):
        self.tokens = [(one.lastgroup, one[one.lastgroup]) for one in TOKEN.finditer(text.strip())]
        self.tex = self.listed(r",\qquad ")
        if self.tokens:
            raise ValueError(f"`{self.sign}` is one too many")

    @property
    def kind(self):
        return self.tokens[0][0] if self.tokens else None

    @property
    def sign(self):
        return self.tokens[0][1] if self.tokens else None

    def next(self):
        return self.tokens.pop(0)[1]

    def listed(self, comma):
        parts = [self.chain(self.sum, RELATIONS)]
        while self.sign == ",":
            self.next()
            parts.append(self.chain(self.sum, RELATIONS))
        return comma.join(parts)

    def chain(self, part, signs):
        tex = part()
        while self.sign in signs:
            tex = f"{tex} {signs[self.next()]} {part()}"
        return tex

    def sum(self):
        return self.chain(self.product, SUMS)

    def product(self):
        tex = self.power()
        while self.sign in (*PRODUCTS, "/") or self.kind == "name":
            if self.sign == "/":
                self.next()
                tex = rf"\frac{{{bare(tex)}}}{{{bare(self.power())}}}"
            elif self.sign in PRODUCTS:
                tex = f"{tex} {PRODUCTS[self.next()]} {self.power()}"
            else:
                tex = rf"{tex}\, {self.power()}"
        return tex

    def power(self):
        tex = self.base()
        return f"{tex}^{{{self.next().translate(RAISED)}}}" if self.kind == "raised" else tex

    def base(self):
        if self.sign == "Σ":
            self.next()
            return rf"\sum {self.power()}"
        if self.sign in BRACKETS:
            return self.within()
        if self.kind == "number":
            return self.next()
        if self.kind != "name":
            raise ValueError(f"a name or a number must stand where `{self.sign}` does")
        name = self.next()
        if name == "sqrt":
            return rf"\sqrt{{{bare(self.within())}}}"
        return upright(name) + (self.within() if self.sign in ("(", "[") else "")

    def within(self):
        opening = self.next()
        left, right = BRACKETS[opening]
        tex = self.listed(", ")
        if self.sign != right:
            raise ValueError(f"`{opening}` is not closed")
        self.next()
        return rf"\left{left} {tex} \right{left if opening == '|' else right}"


def bare(tex):
    """Without the round brackets around the whole, which a fraction or a root makes needless."""
    match = re.fullmatch(r"\\left\( (.*) \\right\)", tex)
    return match[1] if match and r"\right)" not in match[1] else tex


def upright(name):
    """A word upright, a letter as a variable, and their indices lowered."""
    word, index = re.fullmatch(r"(.*?)(?:_(\w)|([ᵢⱼ₀-₉]+))?", name).group(1, 2)
    index = index or name[len(word) :].translate(LOWERED)
    word = word if len(word) == 1 else r"\mathrm{{{}}}".format(word.replace("_", r"\_"))
    return f"{word}_{{{index}}}" if index else word


def typeset(app, what, name, obj, options, lines):
    """Every indented paragraph of a docstring is a formula a line, but for literal blocks."""
    paragraphs = "\n".join(lines).split("\n\n")
    literal = False
    for i, text in enumerate(paragraphs):
        parts = text.strip("\n").split("\n")
        if not all(part.startswith(INDENT) for part in parts):
            literal = text.endswith("::")
        elif i and not literal:
            try:
                found = (Formula(one).tex for part in parts for one in in_lines(part))
                paragraphs[i] = "\n\n".join(f".. math:: {tex}" for tex in found)
            except ValueError as error:
                logger.warning("%s: not a formula, %s: %s", name, error, text.strip())
    lines[:] = "\n\n".join(paragraphs).split("\n")


def in_lines(text):
    """Formulas that stand side by side, one below the other where they are long together."""
    return re.split(r",\s{2,}", text) if len(text.strip()) > WIDE else [text]


def inline(writer, node):
    writer.body.append(tex2mathml(node.astext()))
    raise SkipNode


def block(writer, node):
    writer.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>\n')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.add_css_file("math.css")
    # Before numpydoc takes the docstring apart.
    app.connect("autodoc-process-docstring", typeset, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
