"""What makes maps and moments known to PyTorch and JAX, which save only named tuples they know.

It happens when revnorm is imported, or for a library imported later, at the first array of it.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable
from typing import Any

from revnorm._libraries import is_torch

_kinds: list[Any] = []


def add(kind: Any) -> Any:
    """The named tuple, to be known to the libraries."""
    _kinds.append(kind)
    return kind


def make_known(array: Any = None) -> None:
    """The named tuples made known to the library of an array, or to all that are imported."""
    if array is None:
        for library in set(_waiting) & set(sys.modules):
            _waiting.pop(library)()
        return
    # Python that PyTorch traces has no effect of this kind, and is traced anew where it changes.
    if is_torch(array) and sys.modules["torch"].compiler.is_dynamo_compiling():
        return
    library = type(array).__module__.partition(".")[0].removesuffix("lib")
    if library in _waiting:
        _waiting.pop(library)()


def _to_torch() -> None:
    trees = importlib.import_module("torch.utils._pytree")
    for kind in _kinds:
        with contextlib.suppress(ValueError):
            trees._register_namedtuple(kind, serialized_type_name=f"revnorm.{kind.__name__}")
    importlib.import_module("torch.serialization").add_safe_globals(_kinds)


def _to_jax() -> None:
    export = importlib.import_module("jax.export")
    for kind in _kinds:
        with contextlib.suppress(ValueError):
            export.register_namedtuple_serialization(
                kind, serialized_name=f"revnorm.{kind.__name__}"
            )


_waiting: dict[str, Callable[[], None]] = {"torch": _to_torch, "jax": _to_jax}
