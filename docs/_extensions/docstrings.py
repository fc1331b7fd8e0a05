"""Docstrings as this project writes them: |x| is a magnitude, fields are told of once."""

import re

MAGNITUDE = re.compile(r"(?<![`\\])\|([^|`]+)\|(?!`)")


def setup(app):
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
    app.connect("autodoc-skip-member", skip_fields)
    return {"parallel_read_safe": True}


def escape_bars(app, what, name, obj, options, lines):
    """Keeps |x| from being read as the name of a substitution."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[i] = MAGNITUDE.sub(r"\\|\1\\|", line)


def skip_fields(app, what, name, member, skipped, options):
    """The fields of a NamedTuple are in its docstring."""
    return True if type(member).__name__ == "_tuplegetter" else None
