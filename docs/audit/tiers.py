"""What people use today, with a verdict for each tier.

    python docs/audit/tiers.py

writes a table and a picture, named by the date, beside this file.
"""

import argparse
import datetime
import warnings
from pathlib import Path

from audit import versions
from implementations import implementations

from revnorm.testing import bounds, check
from revnorm.testing._tiers import TIERS

SEED, FUZZ = 1, 8
# What "exact" is on these pages, whatever a library has: that of float32 in NumPy.
EXACT = bounds("numpy", "float32")
NAMES = {"exact": "correctly rounded"}
MARKS = {"passed": "✓", "failed": "✗", "not run": "–"}
COLOURS = {"passed": "#2a8a4a", "failed": "#d0432f", "not run": "#808080"}


def audited(one):
    """The report of one implementation."""
    tiers = [tier for tier in TIERS if tier != "gradients" or one.library in ("torch", "jax")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return check(
            one.function,
            one.kernel,
            library=one.library,
            only=one.only,
            tiers=tiers,
            bounds=EXACT,
            seed=SEED,
            fuzz=FUZZ,
        )


def shown(report, tier):
    status = report.tiers[tier]
    if status != "failed":
        return MARKS[status]
    share = report.worst_in(tier)[1]
    return f"{MARKS[status]} {share:.1e}" if share < float("inf") else MARKS[status]


def worst(report):
    """The worst case of each tier that failed."""
    return "; ".join(
        f"{NAMES.get(tier, tier)}: {report.worst_in(tier)[0]}"
        for tier, status in report.tiers.items()
        if status == "failed" and tier != "exact"
    )


def table(reports, missing, date):
    head = ["implementation", *(NAMES.get(tier, tier) for tier in TIERS)]
    lines = [
        f"# Audit by tiers, {date}",
        "",
        "float32, on a CPU. ✓: every case passed; ✗: one failed, with its error as a multiple of "
        "what is allowed, if it is finite; –: not run. There are the named cases and "
        f"{FUZZ} random ones of seed {SEED}. The last column asks everybody for {EXACT.forward} "
        "ULP.",
        "",
        f"Versions: {versions()}.",
        "",
        *([f"Not installed: {', '.join(missing)}.", ""] if missing else []),
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
    ]
    for name, report in reports.items():
        lines.append(f"| {name} | " + " | ".join(shown(report, tier) for tier in TIERS) + " |")
    lines += ["", "| implementation | worst cases | what it looks like |", "| --- | --- | --- |"]
    for name, report in reports.items():
        if worst(report):
            lines.append(f"| {name} | {worst(report)} | {report.diagnosis or ''} |")
    lines += ["", f"![Verdicts by tier](tiers-{date}.svg)", "", "`python docs/audit/tiers.py`"]
    return "\n".join(lines) + "\n"


def picture(reports, path):
    """A mark for each implementation and tier, on no background, told apart without colours."""
    import matplotlib.pyplot as plt

    plt.rcParams |= {"svg.hashsalt": "tiers", "font.size": 10, "text.color": "#808080"}
    rows = list(reports.items())
    figure, axes = plt.subplots(figsize=(9, 0.28 * len(rows) + 1), layout="constrained")
    for y, (name, report) in enumerate(rows):
        own = name.startswith("revnorm")
        axes.text(-0.6, y, name, ha="right", va="center", weight="bold" if own else "normal")
        for x, tier in enumerate(TIERS):
            status = report.tiers[tier]
            style = {"passed": "o", "failed": "X", "not run": "_"}[status]
            axes.plot(x, y, style, color=COLOURS[status], markersize=8)
    for x, tier in enumerate(TIERS):
        axes.text(x, -0.8, NAMES.get(tier, tier), rotation=35, ha="left", va="bottom")
    axes.set_xlim(-5.5, len(TIERS) + 1)
    axes.set_ylim(len(rows) - 0.5, -3.5)
    axes.axis("off")
    figure.savefig(path, transparent=True, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    parser.add_argument("--only", nargs="+", default=[""], help="whose names have one in them")
    arguments = parser.parse_args()
    date = datetime.date.today().isoformat()
    found, missing = implementations()
    reports = {}
    for one in found:
        if any(part in one.name for part in arguments.only):
            reports[one.name] = audited(one)
            print(one.name, *(shown(reports[one.name], tier) for tier in TIERS), flush=True)
            path = arguments.folder / f"tiers-{date}.md"
            path.write_text(table(reports, missing, date), encoding="utf-8")
    picture(reports, arguments.folder / f"tiers-{date}.svg")


if __name__ == "__main__":
    main()
