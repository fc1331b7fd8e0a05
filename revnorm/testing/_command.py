"""`python -m revnorm check`: one kernel, a verdict for each tier, and what is probably wrong."""

import argparse
import difflib
import importlib
import importlib.util
import inspect
import io
import json
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from revnorm.testing._adapters import NAMES, Adapted, adapt
from revnorm.testing._arrays import LIBRARIES, from_numpy
from revnorm.testing._case import Case
from revnorm.testing._cases import KERNELS
from revnorm.testing._check import SMALLEST, check, smallest_of
from revnorm.testing._report import Outcome, Report
from revnorm.testing._tiers import TIERS

_DTYPES = ("float32", "float64", "float16", "bfloat16")


class _Unusable(Exception):
    """What was asked for cannot be had."""


def main(arguments: list[str]) -> int:
    """Run the command; the status is 0 if the kernel passed, 1 if not, 2 if it cannot be had."""
    chosen = _parser().parse_args(arguments)
    seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function = _adapted(chosen.target, chosen.as_)
            _try_library(chosen.library, chosen.device)
            with _progress(chosen.json) as told:
                report = check(
                    function,
                    chosen.as_,
                    library=chosen.library,
                    device=chosen.device,
                    dtypes=(chosen.dtype,),
                    only=_declared(chosen),
                    tiers=_tiers(chosen),
                    seed=seed,
                    fuzz=chosen.fuzz,
                    progress=told,
                )
            smallest, without = smallest_of(report, seed)
    except (_Unusable, ImportError, TypeError, ValueError) as error:
        kind = "" if isinstance(error, _Unusable) else f"{type(error).__name__}: "
        print(f"{chosen.target}: {kind}{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    passed = _passed(report, chosen.tier)
    notes = [*_hints(report, function, chosen), *_of_prints(printed.getvalue()), *without]
    if chosen.json:
        print(json.dumps(_as_json(report, chosen, seed, passed, smallest, notes), indent=2))
    else:
        _print(report, chosen, seed, passed, smallest, notes)
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
    parser.add_argument(
        "--ndim", type=int, action="append", help="only data of so many axes; may be repeated"
    )
    parser.add_argument("--contiguous", action="store_true", help="only contiguous data")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    return parser


def _adapted(target: str, name: str) -> Callable[..., Any]:
    onnx = target.endswith(".onnx")
    if onnx and not Path(target).exists():
        raise _Unusable("there is no such file")
    found = target if onnx else _loaded(target)
    if name in NAMES:
        try:
            adapted = adapt(found, as_=name)
        except Exception as error:
            raise _Unusable(f"{type(error).__name__}: {error}") from error
        if isinstance(adapted, Adapted) and not onnx:
            # What is no function does not know by which name it was found.
            place, _, adapted.__qualname__ = target.rpartition(":")
            adapted.__module__ = Path(place).stem if place.endswith(".py") else place
        return adapted
    if not callable(found):
        raise _Unusable(f"must be a function, got {found!r}")
    return found


def _loaded(target: str) -> Any:
    """What a module or a file calls by a name."""
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise _Unusable("must be module:function, file.py:function or model.onnx")
    try:
        module = _of_file(Path(place)) if place.endswith(".py") else _of_name(place)
    except _Unusable:
        raise
    except (Exception, SystemExit) as error:
        told = f"{place} cannot be imported: {type(error).__name__}: {error}"
        raise _Unusable(told) from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise _Unusable(f"{place} has no {name!r}{_similar(part, found)}")
        found = getattr(found, part)
    return found


def _of_file(path: Path) -> Any:
    if not path.exists():
        raise _Unusable("there is no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise _Unusable(f"{path} is not a module of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    # What lies beside the file can be imported, as if it were run.
    sys.path.insert(0, str(path.resolve().parent))
    spec.loader.exec_module(module)
    return module


def _of_name(name: str) -> Any:
    sys.path.insert(0, "")
    return importlib.import_module(name)


def _similar(name: str, found: Any) -> str:
    """What may have been meant."""
    own = [key for key, one in vars(found).items() if callable(one) and not key.startswith("_")]
    near = difflib.get_close_matches(name, own, 3, 0.3) or own[:5]
    return f"; there is {', '.join(near)}" if near else ""


def _try_library(library: str, device: str | None) -> None:
    """One array made, so that a device which is not there is told at once."""
    try:
        from_numpy(np.zeros(1, dtype=np.float32), library, device=device)
    except ImportError as error:
        raise _Unusable(f"--library {library} is not installed: {error}") from error
    except Exception as error:
        raise _Unusable(
            f"--device {device} of {library}: {type(error).__name__}: {error}"
        ) from error


def _declared(chosen: argparse.Namespace) -> Callable[[Case], bool]:
    """What the options say that the kernel claims to do."""

    def only(case: Case) -> bool:
        x = case.arrays_in(chosen.dtype)[0]
        fits = chosen.ndim is None or x.ndim in chosen.ndim
        return fits and (x.flags.c_contiguous or not chosen.contiguous)

    return only


def _hints(report: Report, function: Any, chosen: argparse.Namespace) -> list[str]:
    """Whose arrays the kernel may want, where it raises an exception for all that it is given."""
    run = [one for one in report.outcomes if one.status != "not run"]
    if any(one.result is not None or one.status == "passed" for one in run):
        return []
    module = sys.modules.get(getattr(function, "__module__", ""))
    imported = {
        getattr(one, "__name__", "").partition(".")[0]
        for one in vars(module or object).values()
        if inspect.ismodule(one)
    }
    others = [one for one in LIBRARIES if one in imported - {chosen.library, "numpy"}]
    return [f"Its module imports {one}: was --library {one} meant?" for one in others[:1]]


def _of_prints(printed: str) -> list[str]:
    lines = printed.splitlines()
    return [f"It printed {len(lines)} lines; the first: {lines[0]}"] if lines else []


def _tiers(chosen: argparse.Namespace) -> list[str]:
    if chosen.tier:
        return list(chosen.tier)
    return [one for one in TIERS if one != "gradients" or chosen.library in ("torch", "jax")]


def _judged(report: Report, asked: list[str] | None) -> dict[str, str]:
    """The tiers that decide: the exact one does where it was asked for by name."""
    return {tier: one for tier, one in report.tiers.items() if tier != "exact" or asked}


def _passed(report: Report, asked: list[str] | None) -> bool:
    judged = _judged(report, asked).values()
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


def _print(
    report: Report,
    chosen: argparse.Namespace,
    seed: int,
    passed: bool,
    smallest: Outcome | None,
    notes: list[str],
) -> None:
    title = _title(chosen, seed)
    failed = [tier for tier, status in _judged(report, chosen.tier).items() if status == "failed"]
    verdict = "passed" if passed else f"failed: {', '.join(failed) or 'nothing was run'}"
    worst = report.outcome_of([one for one in TIERS if one != "exact" or chosen.tier])
    lines = [] if worst is None else ["", f"{worst.case.name}: {worst.text}"]
    if smallest is not None:
        lines += ["", SMALLEST, "", report.again(smallest)]
    elif worst is not None:
        lines += ["", report.again(worst)]
    lines += [f"\n{one}" for one in notes]
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
    return f"{told}\nRandom cases: --seed {seed}"


def _as_json(
    report: Report,
    chosen: argparse.Namespace,
    seed: int,
    passed: bool,
    smallest: Outcome | None,
    notes: list[str],
) -> dict[str, Any]:
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
        "smallest": None if smallest is None else report.again(smallest),
        "notes": notes,
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
