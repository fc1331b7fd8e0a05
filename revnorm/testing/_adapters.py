"""Kernels with signatures of their own, called as the kernel of a name is."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from revnorm.testing._case import Case

NAMES = ("instance_norm", "layer_norm", "group_norm", "batch_norm", "rms_norm")

EPS = 1e-5

# What a parameter of a function is, by its name.
_MEANINGS = {
    "scale": ("scale", "weight", "gamma", "w"),
    "bias": ("bias", "beta", "offset", "shift", "b"),
    "eps": ("eps", "epsilon", "variance_epsilon", "norm_eps"),
    "groups": ("groups", "num_groups", "n_groups", "group_count"),
    "shape": ("normalized_shape",),
    "axis": ("axis", "axes", "dim", "dims"),
    "channels": (
        *("num_features", "num_channels", "in_channels", "channels", "features", "size"),
        *("hidden_size", "hidden_dim", "embed_dim", "d_model"),
    ),
    "training": ("training", "use_input_stats"),
    "nothing": ("running_mean", "running_var"),
}
MEANING = {name: meaning for meaning, names in _MEANINGS.items() for name in names}


class Call(NamedTuple):
    """One call of a kernel: the data, its parameters, and what is asked of it."""

    name: str
    x: Any
    scale: Any = None
    bias: Any = None
    axis: Any = None
    groups: int | None = None
    eps: float = EPS

    @property
    def axes(self) -> tuple[int, ...]:
        """The reduced axes, counted from the first."""
        return tuple(one % self.x.ndim for one in np.atleast_1d(self.axis).tolist())

    @property
    def channels(self) -> int:
        """The length of a scale: channels, or elements of the last axis."""
        return int(self.x.shape[-1 if self.name in ("layer_norm", "rms_norm") else 1])

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the reduced axes."""
        return tuple(self.x.shape[axis] for axis in self.axes)

    def meant(self, meaning: str) -> Any:
        """What a parameter with this meaning is given."""
        given = {
            "scale": self.scale,
            "bias": self.bias,
            "eps": self.eps,
            "groups": self.groups,
            "axis": self.axis,
            "training": True,
            "nothing": None,
        }
        if meaning == "channels":
            return self.channels
        return self.shape if meaning == "shape" else given[meaning]


class Adapted:
    """A function to be called as the kernel of a name is.

    Attributes
    ----------
    adapted : object
        What it was made from.
    strays : bool
        Whether memory beyond a result was written to, as far as that can be seen.
    """

    strays = False

    def __init__(
        self,
        adapted: Any,
        name: str,
        call: Callable[[Call], Any],
        takes: frozenset[str],
        fits: Callable[[Case], str] = lambda case: "",
    ) -> None:
        self.adapted, self.name, self._call = adapted, name, call
        self._takes, self._fits = takes, fits
        self.__qualname__ = _told(adapted)
        self.__module__ = getattr(adapted, "__module__", None) or __name__

    def __call__(
        self,
        x: Any,
        scale: Any = None,
        bias: Any = None,
        *,
        axis: Any = None,
        channel_axis: int | None = None,
        groups: int | None = None,
        eps: float = EPS,
    ) -> Any:
        """The result for one call."""
        return self._call(Call(self.name, x, scale, bias, axis, groups, eps))

    def declares(self, case: Case) -> str:
        """Why it does not claim to do a case; empty where it does."""
        keywords = case.keywords
        more = sorted(set(keywords) - {"axis", "channel_axis", "groups", "eps"})
        if more:
            return f"not declared: it takes no {' and no '.join(more)}"
        for given, meaning in zip(case.arrays[1:], ("scale", "bias")):
            if meaning not in self._takes:
                return f"not declared: it takes no {meaning}"
            if given.ndim != 1 and case.kernel not in ("layer_norm", "rms_norm"):
                return f"not declared: a {meaning} that is not one for each channel"
        if keywords.get("eps", EPS) != EPS and "eps" not in self._takes:
            return "not declared: it takes no eps"
        return ("" if "axis" in self._takes else self._laid(case)) or self._fits(case)

    def _laid(self, case: Case) -> str:
        """Whether the axes are those of (N, C, ...)."""
        ndim, keywords = case.arrays[0].ndim, case.keywords
        usual: dict[str, tuple[int, ...]] = {
            "instance_norm": tuple(range(2, ndim)),
            "batch_norm": tuple(i for i in range(ndim) if i != 1),
        }
        if keywords.get("channel_axis", 1) not in (1, 1 - ndim):
            return "not declared: the channels are not at axis 1"
        if self.name == "group_norm":
            return ""
        axes = tuple(sorted(one % ndim for one in np.atleast_1d(keywords["axis"]).tolist()))
        if self.name in usual:
            same = axes == usual[self.name]
        else:
            same = axes == tuple(range(ndim - len(axes), ndim))
            same = same and (len(axes) == 1 or "shape" in self._takes)
        return "" if same else "not declared: other axes"


def adapt(object: Any, /, *, as_: str) -> Callable[..., Any]:
    """A function to be called as the kernel of a name is, made from one that is not.

    Parameters
    ----------
    object : callable, module, layer or path
        - a function; its parameters are known by their names, such as those of PyTorch's
          functional norms: weight, scale or gamma; bias or beta; eps or epsilon; num_groups or
          groups; normalized_shape; axis or dim. One without axes works on (N, C, ...). A function
          that is called as the kernel is already is given back.
        - a `torch.nn.Module`, or its class: KernelBench's Model and ModelNew, for instance. The
          class is built for the channels, groups and eps of each case, a `dim` that must be given
          being the channels; an instance too, if it has attributes of the names of its
          constructor's parameters.
        - a Keras layer, or its class. It is built anew for each case.
        - a flax module, of linen or of nnx, or its class; it is built anew, too. Flax has the
          channels last: those at axis 1 are moved there and back.
        - the path of an ONNX model, a name that ends in ".onnx", with one input or with data, scale
          and bias. It is run by ONNX Runtime.
        - a function of a C library, as ctypes or cffi has it: ``f(y, x, scale, bias, n, c, l,
          groups, eps)``, with pointers to float, the sizes of (N, C, L) or (1, rows, L), each an
          int64, and a float. NULL stands for parameters that are not there.
    as_ : str
        "instance_norm", "layer_norm", "group_norm", "batch_norm" (in training) or "rms_norm".

    Returns
    -------
    callable
        What it does not take, such as masks, is not declared: `check` lists it as not run.

    Raises
    ------
    ValueError
        If there is no such name.
    TypeError
        If a parameter that must be given has a name that says nothing, or that no kernel of that
        name has; or if a group norm has none for the groups.

    Examples
    --------
    >>> import numpy as np
    >>> from revnorm.testing import adapt, check
    >>> def fast_norm(x, weight, bias, epsilon=1e-5):
    ...     d = x - x.mean((2, 3), keepdims=True)
    ...     y = d / np.sqrt((d * d).mean((2, 3), keepdims=True) + epsilon)
    ...     weight = 1.0 if weight is None else weight[:, None, None]
    ...     return y * weight + (0.0 if bias is None else bias[:, None, None])
    >>> function = adapt(fast_norm, as_="instance_norm")
    >>> check(function, "instance_norm", only=lambda case: case.name == "mean 0").tiers["formula"]
    'passed'
    """
    if as_ not in NAMES:
        raise ValueError(f"`as_` must be one of {', '.join(NAMES)}, got {as_!r}")
    if isinstance(object, str | Path):
        from revnorm.testing._adapters_foreign import of_onnx

        return of_onnx(Path(object), as_)
    kinds = {base.__module__.partition(".")[0] for base in _bases(object)}
    if "ctypes" in kinds or "_ctypes" in kinds:
        from revnorm.testing._adapters_foreign import of_ctypes

        return of_ctypes(object, as_)
    library = type(getattr(object, "__self__", None)).__module__
    if "_cffi_backend" in kinds or library == "_cffi_backend":
        from revnorm.testing._adapters_foreign import of_cffi

        return of_cffi(object, as_)
    if "flax" in kinds:
        from revnorm.testing._adapters_flax import of_flax

        return of_flax(object, as_)
    if "keras" in kinds:
        from revnorm.testing._adapters_layers import of_keras

        return of_keras(object, as_)
    if "torch" in kinds and _is_module(object):
        from revnorm.testing._adapters_layers import of_torch

        return of_torch(object, as_)
    return _of_function(object, as_)


def _bases(object: Any) -> tuple[type, ...]:
    return inspect.getmro(object if inspect.isclass(object) else type(object))


def _is_module(object: Any) -> bool:
    return any(base.__qualname__ == "Module" for base in _bases(object))


def _told(object: Any) -> str:
    if isinstance(object, str | Path):
        return str(object)
    return str(getattr(object, "__qualname__", type(object).__qualname__))


def meanings(function: Callable[..., Any], skip: int = 0, name: str = "") -> dict[str, str]:
    """The parameters of a function, and what those mean that have a name that is known."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):
        raise TypeError(f"{function!r} has no signature; wrap it in a function") from None
    found = {}
    for one in parameters:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            continue
        meaning = MEANING.get(one.name, "")
        if meaning == "groups" and name not in ("", "group_norm") and one.default is one.empty:
            raise TypeError(f"parameter {one.name!r} is that of a group norm, not of a {name}")
        if not meaning and one.default is one.empty:
            raise TypeError(
                f"parameter {one.name!r} of {_told(function)} has a name that is not known: one of "
                f"{', '.join(name for names in _MEANINGS.values() for name in names)}"
            )
        if meaning:
            found[one.name] = meaning
    return found


def _of_function(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    if _is_kernel(function, name):
        return function
    named = meanings(function, skip=1, name=name)
    groups = ", ".join(_MEANINGS["groups"])
    if name == "group_norm" and "groups" not in named.values():
        raise TypeError(f"{_told(function)} has no parameter for the groups: {groups}")
    positional = inspect.Parameter.POSITIONAL_ONLY
    kinds = {key: one.kind for key, one in inspect.signature(function).parameters.items()}

    def call(asked: Call) -> Any:
        given = {key: asked.meant(meaning) for key, meaning in named.items()}
        first = [given.pop(key) for key in list(given) if kinds[key] is positional]
        return function(asked.x, *first, **given)

    return Adapted(function, name, call, frozenset(named.values()))


def _is_kernel(function: Callable[..., Any], name: str) -> bool:
    """Whether a function is called as the kernel is: with these names, or with any."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    first = [one for one in parameters.values() if one.kind is not one.KEYWORD_ONLY][1:]
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return True
    order = [MEANING.get(one.name) for one in first]
    wanted = "groups" if name == "group_norm" else "axis"
    if order[:1] not in ([], ["scale"]) or order[1:2] not in ([], ["bias"]):
        return False
    return wanted in parameters and "eps" in parameters
