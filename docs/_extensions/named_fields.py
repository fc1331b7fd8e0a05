"""Leaves the fields of a NamedTuple to its docstring."""


def setup(app):
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}


def skip(app, what, name, member, skipped, options):
    return True if type(member).__name__ == "_tuplegetter" else None
