"""A page for every program in examples: its docstring, then its source."""

import ast
from pathlib import Path


def setup(app):
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}


def write_pages(app):
    docs = Path(app.srcdir)
    folder = docs / "examples" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    programs = sorted(docs.parent.glob("examples/*.py"))
    for stale in set(folder.glob("*.rst")) - {folder / f"{one.stem}.rst" for one in programs}:
        stale.unlink()
    for program in programs:
        target, text = folder / f"{program.stem}.rst", page(program)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def page(program):
    """The docstring's first sentence as the title, the rest of it, and the program."""
    source = program.read_text(encoding="utf-8")
    first, _, rest = (ast.get_docstring(ast.parse(source)) or program.stem).partition("\n")
    title = first.rstrip(".")
    listing = f".. literalinclude:: ../../../examples/{program.name}"
    start = docstring_end(source) + 1
    return "\n".join(
        [
            title,
            "=" * len(title),
            rest,
            "",
            f"``python examples/{program.name}``",
            "",
            listing,
            f"   :lines: {start}-",
            f"   :lineno-start: {start}",
            "",
        ]
    )


def docstring_end(source):
    body = ast.parse(source).body
    documented = body and isinstance(body[0], ast.Expr)
    return body[0].end_lineno + 1 if documented else 0
