"""Draw the picture of the first page that comes from an example.

    python docs/pictures.py

The one of errors is drawn by ``docs/audit/audit.py``.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt

DOCS = Path(__file__).parent


def main():
    plt.switch_backend("svg")
    plt.rcParams["svg.hashsalt"] = "front"
    example = DOCS.parent / "examples" / "drifting_level.py"
    runpy.run_path(str(example))
    plt.savefig(DOCS / "_static" / "drifting_level.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
