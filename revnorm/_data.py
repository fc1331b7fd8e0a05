"""What every step on the way of the data carries, made once by the checks."""

from typing import Any, NamedTuple

from revnorm._libraries import array_namespace, device
from revnorm._trees import Array, mapped


class Options(NamedTuple):
    """What is chosen once for a whole call, and is no array."""

    eps: float = 1e-5
    eps_mode: str = "add"
    correction: float = 0
    precision: str = "full"


class Recipe(NamedTuple):
    """The dtype worked in, whether sums are taken in float64, and whether all is."""

    work: Any
    accumulate: bool
    widened: bool


class Data(NamedTuple):
    """What every step on the way of the data carries, made once by the checks."""

    x: Array
    where: Array | None
    axis: tuple[int, ...]
    options: Options
    recipe: Recipe

    def worked(self, operands: Any) -> Any:
        """Operands in the dtype worked in, numbers as they are."""

        def widened(array: Array) -> Array:
            xp = array_namespace(array)
            return xp.astype(array, wider(xp, array.dtype, self.recipe.work), copy=False)

        return mapped(widened, operands)


def recipe(x: Array, precision: str) -> Recipe:
    """Worked in is float64 where there is one, or the input's own dtype, at least float32."""
    xp = array_namespace(x)
    own = wider(xp, x.dtype, xp.float32)
    if own != xp.float32 or not has_float64(xp, device(x)):
        return Recipe(own, False, False)
    if precision == "native":
        return Recipe(own, True, False)
    return Recipe(xp.float64, True, True)


def has_float64(xp: Any, device: Any) -> bool:
    info = xp.__array_namespace_info__()
    return "float64" in info.dtypes(device=device, kind="real floating")


def wider(xp: Any, a: Any, b: Any) -> Any:
    """What two dtypes promote to, also where JAX is told to promote nothing by itself."""
    if a == b:
        return a
    bits = xp.finfo(a).bits, xp.finfo(b).bits
    if bits[0] == bits[1]:
        return xp.result_type(a, b)
    return a if bits[0] > bits[1] else b
