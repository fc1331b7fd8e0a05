"""How near sound kernels come to what is allowed, in many random cases.

    python docs/audit/fuzzed.py --cases 1000

prints, for each implementation, the worst error in the tiers "formula" and "conditioning" as a
multiple of what is allowed, and how many cases failed.
"""

import argparse
import datetime
import warnings

from audit import versions
from implementations import implementations

from revnorm.testing import cases, check

TIERS = ("formula", "conditioning")


def fuzzed(one, seed, count):
    """The report of the random cases alone."""
    named = {case.name for case in cases(one.kernel)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return check(
            one.function,
            one.kernel,
            library=one.library,
            only=lambda case: case.name not in named and (one.only is None or one.only(case)),
            tiers=TIERS,
            seed=seed,
            fuzz=count,
        )


def line(name, report):
    cells = [name]
    for tier in TIERS:
        shares = [o.shares[tier] for o in report.outcomes if tier in o.shares]
        failed = sum(not share <= 1 for share in shares)
        cells += [f"{len(shares)}", f"{failed}", f"{max(shares, default=0):.2g}"]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[""], help="whose names have one in them")
    arguments = parser.parse_args()
    found, missing = implementations()
    print(f"{datetime.date.today()}, seed {arguments.seed}: {versions()}")
    if missing:
        print(f"Not installed: {', '.join(missing)}")
    head = [
        "implementation",
        *(f"{t}: {what}" for t in TIERS for what in ("run", "failed", "worst")),
    ]
    print("| " + " | ".join(head) + " |", "|" + " --- |" * len(head), sep="\n")
    for one in found:
        if any(part in one.name for part in arguments.only):
            print(line(one.name, fuzzed(one, arguments.seed, arguments.cases)), flush=True)


if __name__ == "__main__":
    main()
