"""Costs and ratios of costs, of functions without arguments."""

import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

Function = Callable[[], Any]


class Ratio(NamedTuple):
    """How often one function's time holds another's: the median of rounds and its quartiles."""

    median: float
    low: float
    high: float


class Fastest(NamedTuple):
    """The shortest time of each of two functions among rounds, in seconds, and their ratio.

    Beside it the median of the rounds' ratios: where memory is new in one round and not in the
    next, the two differ.
    """

    ratio: float
    first: float
    second: float
    median: float


def paired(first: Function, second: Function, *, rounds: int = 9, seconds: float = 0.1) -> Ratio:
    """The time of `first` divided by that of `second`, taken by turns in one process.

    Parameters
    ----------
    first, second : callable
        Without arguments; each is called once before anything is timed.
    rounds : int
        How many ratios are taken, each of two neighbouring times.
    seconds : float
        How long one time lasts at least, unless a single call lasts longer.
    """
    times = by_turns(first, second, rounds, seconds)
    return quartiles([one / other for one, other in times])


def fastest(first: Function, second: Function, *, rounds: int = 9, seconds: float = 0.1) -> Fastest:
    """The shortest times of two functions over rounds, as `paired` takes them."""
    return shortest(list(by_turns(first, second, rounds, seconds)))


def shortest(times: list[tuple[float, float]]) -> Fastest:
    """What rounds by turns say of the two."""
    ones, others = zip(*times, strict=True)
    median = statistics.median(one / other for one, other in times)
    return Fastest(min(ones) / min(others), min(ones), min(others), median)


def by_turns(
    first: Function, second: Function, rounds: int, seconds: float
) -> Iterator[tuple[float, float]]:
    """Seconds a call of both, round by round; which one is timed first alternates."""
    ways = (first, second)
    counts = [calls_within(way, seconds) for way in ways]
    for turn in range(rounds):
        times = {}
        for i in (0, 1) if turn % 2 else (1, 0):
            times[i] = seconds_of(ways[i], counts[i])
        yield times[0], times[1]


def quartiles(ratios: list[float]) -> Ratio:
    if len(ratios) == 1:
        return Ratio(*ratios * 3)
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


def calls_within(function: Function, seconds: float) -> int:
    """How many calls of a warm function fill a time; the first call, the cold one, is apart."""
    function()
    return max(1, round(seconds / max(seconds_of(function, 1), 1e-7)))


def seconds_of(function: Function, calls: int) -> float:
    """Seconds a call, on average over some calls."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def temporaries(function: Function) -> int:
    """Bytes that Python and NumPy held at the peak of a call, beyond what the result keeps."""
    function()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = function()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del result
    return peak - max(after, before)


def saved(function: Function, parameters: Iterable[Any]) -> int:
    """Bytes that PyTorch keeps for backward after a call, but for the parameters'."""
    function()
    return of_tests("saved").saved_bytes(function, parameters)


def of_tests(name: str) -> Any:
    """A module of the tests."""
    folder = str(Path(__file__).parents[2] / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module(name)
