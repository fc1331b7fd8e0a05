"""`python -m revnorm check`: one kernel, a verdict for each tier, and what is probably wrong."""

import argparse
import importlib
import importlib.util
import json
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from revnorm.testing._adapters import NAMES, adapt
from revnorm.testing._arrays import LIBRARIES
from revnorm.testing._cases import KERNELS
from revnorm.testing._check import check
from revnorm.testing._report import Report
from revnorm.testing._tiers import TIERS

_DTYPES = ("float32", "float64", "float16", "bfloat16")


def main(arguments: list[str]) -> int:
    """Run the command; the status is 0 if the kernel passed, 1 if not, 2 if it cannot be had."""
    chosen = _parser().parse_args(arguments)
    seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
    try:
        function = _adapted(chosen.target, chosen.as_)
        with _progress(chosen.json) as told, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = check(
                function,
                chosen.as_,
                library=chosen.library,
                device=chosen.device,
                dtypes=(chosen.dtype,),
                tiers=_tiers(chosen),
                seed=seed,
                fuzz=chosen.fuzz,
                progress=told,
            )
    except (AttributeError, ImportError, OSError, TypeError, ValueError) as error:
        print(f"{chosen.target}: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    passed = _passed(report, chosen.tier)
    if chosen.json:
        print(json.dumps(_as_json(report, chosen, seed, passed), indent=2))
    else:
        _print(report, chosen, seed, passed)
    return int(not passed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m revnorm check", description=__doc__)
    parser.add_argument(
        "target", help="module:function, file.py:function or model.onnx; a class of modules, too"
    )
    parser.add_argument(
        "--as", dest="as_", choices=KERNELS, required=True, help="what it is a kernel of"
    )
    parser.add_argument("--library", choices=LIBRARIES, default="numpy", help="whose arrays")
    parser.add_argument("--device", help="where these lie, as the library names it")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32")
    parser.add_argument(
        "--tier", action="append", choices=TIERS, help="only this one; may be repeated"
    )
    parser.add_argument("--seed", type=int, help="of the random cases; a new one by default")
    parser.add_argument("--fuzz", type=int, default=20, help="how many random cases (20)")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    return parser


def _adapted(target: str, name: str) -> Callable[..., Any]:
    found = target if target.endswith(".onnx") else _loaded(target)
    if name in NAMES:
        return adapt(found, as_=name)
    if not callable(found):
        raise TypeError(f"must be a function, got {found!r}")
    return found


def _loaded(target: str) -> Any:
    """What a module or a file calls by a name."""
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise ValueError("must be module:function, file.py:function or model.onnx")
    if place.endswith(".py"):
        path = Path(place)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None or not path.exists():
            raise ImportError(f"there is no file {place}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, "")
        module = importlib.import_module(place)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _tiers(chosen: argparse.Namespace) -> list[str]:
    if chosen.tier:
        return list(chosen.tier)
    return [one for one in TIERS if one != "gradients" or chosen.library in ("torch", "jax")]


def _passed(report: Report, asked: list[str] | None) -> bool:
    """Whether no tier failed, but for the exact one where it was not asked for by name."""
    tiers = report.tiers
    judged = [status for tier, status in tiers.items() if tier != "exact" or asked]
    return "failed" not in judged and "passed" in judged


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal's standard error, which goes when it is full."""
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        quiet = True
    if quiet:
        yield None
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("checking", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print(report: Report, chosen: argparse.Namespace, seed: int, passed: bool) -> None:
    title = _title(chosen, seed)
    verdict = "passed" if passed else "failed"
    worst = report.outcome_of([one for one in TIERS if one != "exact" or chosen.tier])
    lines = (
        [] if worst is None else ["", f"{worst.case.name}: {worst.text}", "", report.again(worst)]
    )
    if report.tiers["exact"] == "failed" and not chosen.tier:
        lines.append("\nThe tier exact decides only where --tier exact asks for it.")
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        plain = [" ".join((tier.ljust(14), status)) for tier, status in report.tiers.items()]
        told = [] if report.diagnosis is None else ["", report.diagnosis]
        print("\n".join([title, "", *plain, *told, *lines, "", f"{verdict}"]))
        return
    console = Console()
    console.print(Text(title))
    console.print(report.screen())
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    console.print(Text(f"\n{verdict}", style="bold green" if passed else "bold red"))


def _title(chosen: argparse.Namespace, seed: int) -> str:
    where = chosen.library + (f" ({chosen.device})" if chosen.device else "")
    told = f"{chosen.target} as {chosen.as_} on {where}, {chosen.dtype}"
    return f"{told}. Random cases: --seed {seed}"


def _as_json(report: Report, chosen: argparse.Namespace, seed: int, passed: bool) -> dict[str, Any]:
    tiers = {}
    for tier, status in report.tiers.items():
        name, share = report.worst_in(tier)
        tiers[tier] = {"status": status, "worst": name, "share": _finite(share)}
    return {
        "target": chosen.target,
        "as": chosen.as_,
        "library": chosen.library,
        "device": chosen.device,
        "dtype": chosen.dtype,
        "seed": seed,
        "fuzz": chosen.fuzz,
        "version": metadata.version("revnorm"),
        "tiers": tiers,
        "diagnosis": report.diagnosis,
        "failures": [
            {"case": one.case.name, "tier": one.case.tier, "text": one.text}
            for one in report.failures
        ],
        "not_run": [
            {"case": one.case.name, "text": one.text}
            for one in report.outcomes
            if one.status == "not run"
        ],
        "passed": passed,
    }


def _finite(share: float) -> float | str:
    """JSON has no infinity."""
    return share if share < float("inf") else "inf"
