"""The gradients that PyTorch and JAX give of a function."""

from collections.abc import Callable
from typing import Any

from revnorm.testing._arrays import from_numpy


class NoGradient(RuntimeError):
    """The function is not one that autograd can follow."""


def gradients_of(
    function: Callable[..., Any],
    library: str,
    cotangent: Any,
    arrays: tuple[Any, ...],
    keywords: dict[str, Any],
) -> list[Any]:
    """Those of the first result: one for each array, None where it is not of real numbers."""

    def first(*arguments: Any) -> Any:
        result = function(*arguments, **keywords)
        return result[0] if isinstance(result, tuple) else result

    return {"torch": _torch, "jax": _jax}[library](first, cotangent, arrays)


def _torch(first: Callable[..., Any], cotangent: Any, arrays: tuple[Any, ...]) -> list[Any]:
    import torch

    leaves = [a.detach().requires_grad_(a.is_floating_point()) for a in arrays]
    y = first(*leaves)
    if not y.requires_grad:
        raise NoGradient("the result does not depend on the data, as autograd sees it")
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    seed = from_numpy(cotangent, "torch").to(y)
    found = iter(torch.autograd.grad(y, wanted, seed, allow_unused=True, materialize_grads=True))
    return [next(found) if leaf.requires_grad else None for leaf in leaves]


def _jax(first: Callable[..., Any], cotangent: Any, arrays: tuple[Any, ...]) -> list[Any]:
    import jax
    import jax.numpy as jnp

    real = [jnp.issubdtype(a.dtype, jnp.floating) for a in arrays]

    def of_real(*given: Any) -> Any:
        rest = iter(given)
        return first(*(next(rest) if r else a for r, a in zip(real, arrays, strict=True)))

    y, pull = jax.vjp(of_real, *(a for r, a in zip(real, arrays, strict=True) if r))
    found = iter(pull(jnp.asarray(cotangent, dtype=y.dtype)))
    return [next(found) if r else None for r in real]
