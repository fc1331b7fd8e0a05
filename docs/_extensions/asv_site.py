"""The directive `versions`: the results of asv that are committed, version by version.

asv's own pages of them are published beside these, where asv and the history are at hand.
"""

import itertools
import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from time import gmtime, strftime

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "asv_bench" / "asv.conf.json"
FOLDER = "_asv"


def results():
    """What was measured of each version, the oldest first, as asv wrote it down."""
    settings = json.loads(CONFIG.read_text(encoding="utf-8"))
    files = (CONFIG.parent / settings["results_dir"]).glob("*/*-*.json")
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return sorted(found, key=lambda one: one["date"])


def measured(result):
    """The numbers of a version by what was measured: the benchmark's class and its parameters."""
    numbers = {}
    for name, entry in result["results"].items():
        of = dict(zip(result["result_columns"], entry))
        kind = name.split(".")[-2]
        for parameters, number in zip(itertools.product(*of["params"]), of["result"] or ()):
            # NaN is what was not asked for.
            if number is not None and not math.isnan(number):
                words = ", ".join(one.strip("'\"") for one in parameters)
                numbers[words if name.endswith("ratio") else f"{kind}: {words}"] = number
    return numbers


class Versions(SphinxDirective):
    """A table of what is tracked, and where asv's own pages are."""

    def run(self):
        versions = results()
        columns = [measured(one) for one in versions]
        lines = [".. list-table::", "   :header-rows: 1", "", "   * - what"]
        for one in versions:
            day = strftime("%Y-%m-%d", gmtime(one["date"] / 1000))
            lines.append(f"     - {day}, {one['commit_hash'][:7]}")
        for what in sorted(set().union(*columns)):
            lines.append(f"   * - {what}")
            lines += [f"     - {f'{one[what]:.2f}' if what in one else ''}" for one in columns]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, str(CONFIG)), 0, holder)
        return [*holder.children, self.where()]

    def where(self):
        if reason := obstacle():
            return nodes.paragraph(text=f"asv's own pages were not made: {reason}.")
        up = "../" * self.env.docname.count("/")
        link = nodes.reference("", "asv's own pages", refuri=f"{up}{FOLDER}/index.html")
        return nodes.paragraph(
            "", "", nodes.Text("The same as curves over the history: "), link, nodes.Text(".")
        )


def obstacle():
    """Why asv cannot publish here, or None."""
    if find_spec("asv") is None:
        return "asv is not installed"
    needed = ["main", *(one["commit_hash"] for one in results())]
    command = ["git", "-C", str(ROOT), "rev-parse", "--quiet", "--verify"]
    try:
        for name in needed:
            subprocess.run([*command, f"{name}^{{commit}}"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "they need git, and the history of the branch main"
    return None


def publish(app, error):
    """Has asv make its pages within the finished site."""
    if error or app.builder.format != "html" or obstacle():
        return
    command = [sys.executable, "-m", "asv", "publish", "--no-pull", "--config", str(CONFIG)]
    done = subprocess.run(
        [*command, "--html-dir", str(Path(app.outdir) / FOLDER)], capture_output=True, text=True
    )
    if done.returncode:
        raise ExtensionError(f"asv publish failed: {done.stdout}{done.stderr}")


def setup(app):
    app.add_directive("versions", Versions)
    app.connect("build-finished", publish)
    return {"parallel_read_safe": True}
