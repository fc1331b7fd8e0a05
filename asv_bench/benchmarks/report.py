"""How a measurement is written down."""

import math
import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from .measure import Ratio

MEGABYTE = 1e6


class Effort(NamedTuple):
    """How long is measured: what `measure.paired` takes."""

    rounds: int = 9
    seconds: float = 0.2


def effort(quick: bool) -> Effort:
    return Effort(3, 0.01) if quick else Effort()


def page(title: str, facts: list[tuple[str, str]], *parts: str) -> str:
    """A page of Markdown: a title, what it was measured with, and parts set apart."""
    head = "; ".join(f"{name} {value}" for name, value in facts)
    return "\n\n".join([f"# {title}", head, *parts]) + "\n"


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A pipe table with columns of even width."""
    table = [head, *lines]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in [head, rule, *lines]
    )


def spread(found: Ratio) -> str:
    return f"{found.low:.2f} to {found.high:.2f}"


def sized(shape: tuple[int, ...]) -> str:
    size = nbytes(shape)
    unit = f"{size / MEGABYTE:.0f} MB" if size >= MEGABYTE else f"{size / 1e3:.0f} KB"
    return f"({','.join(map(str, shape))}) {unit}"


def nbytes(shape: tuple[int, ...]) -> int:
    """Bytes of a float32 array of that shape."""
    return 4 * math.prod(shape)


def destination(path: Path, name: str) -> Path:
    """The path, or a file of that name in the folder that the path is; the folder is made."""
    file = path if path.suffix else path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def today() -> str:
    return date.today().isoformat()


def provenance(*distributions: str) -> list[tuple[str, str]]:
    """What something was measured with: names and values."""
    return [
        ("processor", processor()),
        ("threads", os.environ["OMP_NUM_THREADS"]),
        ("python", platform.python_version()),
        *((name, version(name)) for name in ("revnorm", "numpy", *distributions)),
    ]


def version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The processor's name as Linux gives it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
