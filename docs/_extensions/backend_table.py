"""The directives `backends` and `known-failures`, rendered from the tests' own table."""

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from backends import BACKENDS, REQUIRED


class Backends(SphinxDirective):
    """What the tests run on."""

    def run(self):
        head = ("library", "device", "variant", "dtypes", "lazy", "batch-invariant", "tests")
        return table(self, head, [row(one) for one in BACKENDS])


class KnownFailures(SphinxDirective):
    """Which tests must fail where, and why."""

    def run(self):
        rows = [
            (one.id, f"``{test}``", reason)
            for one in BACKENDS
            for test, reason in one.known_failures.items()
        ]
        if not rows:
            return [nodes.paragraph(text="None are known.")]
        return table(self, ("backend", "test", "reason"), rows)


def row(backend):
    required = backend.library in REQUIRED and backend.device != "cuda"
    return (
        backend.library,
        backend.device,
        backend.variant,
        ", ".join(backend.dtypes),
        "yes" if backend.lazy else "no",
        "yes" if backend.batch_invariant else "no",
        "always" if required else "where there is one",
    )


def table(directive, head, rows):
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    for cells in (head, *rows):
        for i, cell in enumerate(cells):
            lines.append(f"   {'  ' if i else '* '}- {cell}".rstrip())
    holder = nodes.container()
    directive.state.nested_parse(StringList(lines, "tests/backends.py"), 0, holder)
    return holder.children


def setup(app):
    app.add_directive("backends", Backends)
    app.add_directive("known-failures", KnownFailures)
    return {"parallel_read_safe": True}
