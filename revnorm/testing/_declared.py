"""What a function claims to do, read from its signature."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from revnorm.testing._case import Case


def undeclared(
    function: Callable[..., Any], case: Case, arrays: tuple[Any, ...], keywords: dict[str, Any]
) -> str:
    """Why a function cannot be called with what a case has; empty where it can."""
    declares = getattr(function, "declares", None)
    if declares is not None:
        return str(declares(case))
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*arrays, **keywords)
    except TypeError as error:
        return f"not declared: {error}"
    return ""


def refused(error: Exception, keywords: dict[str, Any]) -> bool:
    """Whether an error says that an option, which a function passed on, is not known there."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    options = set(keywords) - {"axis", "eps"}
    return isinstance(error, TypeError) and found is not None and found[1] in options
