"""The directive `measured`: rows of the newest of the dated results, as they were written."""

from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from backend_table import table


class Measured(SphinxDirective):
    """Its argument is a pattern of files, its content a name of rows a line: `as = shown as`."""

    required_arguments = 1
    has_content = True

    def run(self):
        file = newest(Path(self.get_source_info()[0]).parent, self.arguments[0])
        self.env.note_dependency(str(file))
        found = rows(file.read_text(encoding="utf-8"))
        shown = []
        for line in self.content:
            name, _, title = (part.strip() for part in line.partition("="))
            cells = [row[1:4:2] for row in found if row[0] == name]
            if not cells:
                raise self.error(f"no row {name!r} in {file.name}")
            titles = [title or name, *[""] * (len(cells) - 1)]
            shown += [(title, *cell) for title, cell in zip(titles, cells)]
        told = f"From :doc:`results/{file.stem}`:"
        holder = nodes.container()
        self.state.nested_parse(StringList([told], str(file)), 0, holder)
        return [*holder.children, *table(self, ("what", "data", "ratio"), shown)]


def newest(folder, pattern):
    return max(folder.glob(pattern))


def rows(text):
    """The cells of a Markdown table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def setup(app):
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True}
