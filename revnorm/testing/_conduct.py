"""What a function does beside its result."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from revnorm.testing._arrays import from_numpy, to_numpy
from revnorm.testing._case import HELD, Case

INPUT_CHANGED = "the input was changed"
BEYOND = "memory beyond the result was written to"
FOREIGN = "an array of"
OTHER_DTYPE = ", the input's is "
STALE = "gives the result of an earlier call"
WRITES = "the data was written to"
OVERWRITES = "the next call overwrites the result"
TWICE = "other bits for the same data"
THREAD = "other bits in another thread"
BATCH = "other bits in a batch of one"


def misconduct(
    function: Callable[..., Any], case: Case, dtype: str, library: str, device: Any = None
) -> list[str]:
    """What a case of the tier "conduct" finds, in words."""
    return _FINDINGS[case.conduct](_Caller(function, case, dtype, library, device))


class _Caller:
    """A function with the arguments of a case."""

    def __init__(
        self, function: Callable[..., Any], case: Case, dtype: str, library: str, device: Any
    ) -> None:
        self.function, self.case = function, case
        self.dtype, self.library, self.device = dtype, library, device

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self.case.arguments(self.dtype, self.library, self.device)

    def array(self, values: np.ndarray) -> Any:
        dtype = "float32" if (self.library, self.dtype) == HELD else self.dtype
        return from_numpy(values, self.library, dtype=dtype, device=self.device)

    def __call__(self, *arrays: Any, **keywords: Any) -> Any:
        with np.errstate(all="ignore"):
            result = self.function(*arrays, **keywords)
        return result[0] if isinstance(result, tuple) else result

    def bits(self, *arrays: Any, **keywords: Any) -> np.ndarray:
        return np.array(to_numpy(self(*arrays, **keywords)))


# Elements before and behind the data: no multiple of a vector's length.
_MARGIN = 37


def _input(call: _Caller) -> list[str]:
    (x, *others), keywords = call.arguments()
    before = [np.array(to_numpy(one)) for one in others]
    size = x.size if isinstance(x.size, int) else int(np.prod(x.shape))
    around = np.full(size + 2 * _MARGIN, 7.0)
    inside = slice(_MARGIN, -_MARGIN)
    around[inside] = to_numpy(x).reshape(-1)
    buffer = call.array(around)
    around = np.array(to_numpy(buffer))
    call(buffer[inside].reshape(x.shape), *others, **keywords)
    after = np.array(to_numpy(buffer))
    found = []
    if not np.array_equal(around[inside], after[inside]):
        found.append(WRITES)
    before_and_behind = (np.concatenate([one[:_MARGIN], one[-_MARGIN:]]) for one in (around, after))
    if not np.array_equal(*before_and_behind):
        found.append("the memory around the data was written to")
    if any(not np.array_equal(b, to_numpy(one)) for b, one in zip(before, others, strict=True)):
        found.append("a parameter was written to")
    return found


def _alias(call: _Caller) -> list[str]:
    arrays, keywords = call.arguments()
    if call.library not in ("numpy", "torch") or call.device not in (None, "cpu"):
        return []
    y = call(*arrays, **keywords)
    first, x = to_numpy(y), to_numpy(arrays[0])
    found = ["the result shares memory with the data"] if np.may_share_memory(first, x) else []
    kept = np.array(first)
    (other, *rest), keywords = call.arguments()
    call(other + other, *rest, **keywords)
    if not np.array_equal(kept, to_numpy(y), equal_nan=True):
        found.append(OVERWRITES)
    return found


def _twice(call: _Caller) -> list[str]:
    first, again = (call.bits(*arrays, **kw) for arrays, kw in (call.arguments(), call.arguments()))
    same = np.array_equal(first, again, equal_nan=True)
    return [] if same else [TWICE]


def _other(call: _Caller) -> list[str]:
    (x, *others), keywords = call.arguments()
    turned = np.ascontiguousarray(to_numpy(x)[..., ::-1, :] * np.float32(0.5))
    first = call.bits(x, *others, **keywords)
    second = call.bits(call.array(turned), *others, **keywords)
    constant = np.all(first == first.reshape(-1)[0])
    return [STALE] if np.array_equal(first, second) and not constant else []


def _thread(call: _Caller) -> list[str]:
    arrays, keywords = call.arguments()
    here = call.bits(*arrays, **keywords)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(call.bits, *arrays, **keywords) for _ in range(4)]
    same = all(np.array_equal(here, run.result(), equal_nan=True) for run in runs)
    return [] if same else [THREAD]


def _batch(call: _Caller) -> list[str]:
    (x, *others), keywords = call.arguments()
    whole = call.bits(x, *others, **keywords)
    alone = [call.bits(x[i : i + 1], *others, **keywords) for i in range(x.shape[0])]
    same = np.array_equal(whole, np.concatenate(alone), equal_nan=True)
    return [] if same else [BATCH]


_FINDINGS = {
    "input": _input,
    "alias": _alias,
    "twice": _twice,
    "other": _other,
    "thread": _thread,
    "batch": _batch,
}
