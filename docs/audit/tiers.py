"""What people use today, with a verdict for each tier.

    python docs/audit/tiers.py

writes a table and a picture, named by the date, beside this file. What was found is kept in a third
file: with --only, the other implementations stay as they were found on that day.
"""

import argparse
import datetime
import json
import sys
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
    # JAX would compile each of them for each shape, which takes half an hour.
    tiers = [tier for tier in TIERS if tier != "gradients" or one.library == "torch"]
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


def row(report):
    """The verdicts of a report, and its diagnosis, as JSON has them."""
    tiers = {}
    for tier, status in report.tiers.items():
        case, share = report.worst_in(tier)
        tiers[tier] = {"status": status, "case": case, "share": min(share, sys.float_info.max)}
    return {"tiers": tiers, "diagnosis": report.diagnosis or ""}


def shown(found):
    """A verdict as the table has it."""
    told = MARKS[found["status"]]
    finite = found["status"] == "failed" and found["share"] < sys.float_info.max
    return f"{told} {found['share']:.1e}" if finite else told


def worst(found):
    """The worst case of each tier that failed."""
    return "; ".join(
        f"{NAMES.get(tier, tier)}: {one['case']}"
        for tier, one in found["tiers"].items()
        if one["status"] == "failed" and tier != "exact"
    )


def table(rows, missing, date):
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
    for name, found in rows.items():
        lines.append(f"| {name} | " + " | ".join(map(shown, found["tiers"].values())) + " |")
    lines += ["", "| implementation | worst cases | what it looks like |", "| --- | --- | --- |"]
    for name, found in rows.items():
        if worst(found):
            lines.append(f"| {name} | {worst(found)} | {found['diagnosis']} |")
    lines += ["", f"![Verdicts by tier](tiers-{date}.svg)", "", "`python docs/audit/tiers.py`"]
    return "\n".join(lines) + "\n"


def picture(rows, path):
    """A mark for each implementation and tier, on no background, told apart without colours."""
    import matplotlib.pyplot as plt

    plt.rcParams |= {"svg.hashsalt": "tiers", "font.size": 10, "text.color": "#808080"}
    figure, axes = plt.subplots(figsize=(9, 0.28 * len(rows) + 1), layout="constrained")
    for y, (name, found) in enumerate(rows.items()):
        own = name.startswith("revnorm")
        axes.text(-0.6, y, name, ha="right", va="center", weight="bold" if own else "normal")
        for x, tier in enumerate(TIERS):
            status = found["tiers"][tier]["status"]
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
    path = arguments.folder / f"tiers-{date}.json"
    found, missing = implementations()
    for one in found:
        if any(part in one.name for part in arguments.only):
            made = row(audited(one))
            print(one.name, *map(shown, made["tiers"].values()), flush=True)
            rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            path.write_text(json.dumps(rows | {one.name: made}, indent=1), encoding="utf-8")
    kept = json.loads(path.read_text(encoding="utf-8"))
    rows = {one.name: kept[one.name] for one in found if one.name in kept}
    text = table(rows, missing, date)
    (arguments.folder / f"tiers-{date}.md").write_text(text, encoding="utf-8")
    picture(rows, arguments.folder / f"tiers-{date}.svg")


if __name__ == "__main__":
    main()
