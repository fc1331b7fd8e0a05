"""Measure the few benchmarks that are tracked over versions, on one commit after the other.

    python asv_bench/track.py main
    python asv_bench/track.py --machine two-cores v0.1.0 main

Each commit is built and installed in an environment that asv makes. The results are added to those
in asv_bench/results, and the site shows them when it is built anew.
"""

import argparse
import subprocess
import sys
from pathlib import Path

CONFIG = Path(__file__).parent / "asv.conf.json"
SMALL_AND_MIDDLE = r"\((64, 256, 7, 7|32, 64, 56, 56)\)"
# Ratios of paired times and counts of bytes, which hold on a machine that does other work as well.
TRACKED = (
    r"overhead\.Ratios\.track_ratio\('call overhead, (NumPy|torch eager)",
    rf"ratios\.Images\.track_ratio\('NumPy(, out / copy| / textbook NumPy)', {SMALL_AND_MIDDLE}",
    r"ratios\.Series\.track_ratio\('RevIN both ways, NumPy / published', \(512",
    rf"training\.Images\.track_ratio\('step, torch eager / F.instance_norm', {SMALL_AND_MIDDLE}",
    r"training\.Saved\.track_saved\('(torch eager|RevIN both ways, torch eager)'\)",
    r"track_temporaries\('NumPy.*\(32, 64, 56, 56\)",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commits", nargs="+", help="commits, tags or branches, one run for each")
    parser.add_argument("--machine", help="the name in asv_bench/results; asv's own otherwise")
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "asv", "run", "--config", str(CONFIG), "--show-stderr"]
    command += [part for one in TRACKED for part in ("--bench", one)]
    if arguments.machine:
        command += ["--machine", arguments.machine]
    for commit in arguments.commits:
        subprocess.run([*command, f"{commit}^!"], check=True)


if __name__ == "__main__":
    main()
