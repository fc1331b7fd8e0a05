"""Modules of PyTorch and layers of Keras, built for each case and called as kernels."""

import inspect
from collections.abc import Callable
from typing import Any

from revnorm.testing._adapters import EPS, Adapted, Call, meanings
from revnorm.testing._case import Case

_SCALES, _BIASES = ("weight", "scale", "gamma"), ("bias", "beta", "offset")


def of_torch(module: Any, name: str) -> Adapted:
    """A module, or a class of them."""
    if inspect.isclass(module):
        named = _constructor(module)
        return _built(module, name, lambda call: module(**_given(call, named)), named)
    init = type(module).__init__
    known = inspect.signature(init).parameters
    names = [key for key in known if key not in ("self", "device", "dtype", "args", "kwargs")]
    # What takes any arguments, as Sequential does, does not say which it was made with.
    any_kind = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    told = init.__qualname__ == "Module.__init__" or all(
        one.kind not in any_kind for one in known.values()
    )
    if told and all(hasattr(module, key) for key in names):
        own = {key: getattr(module, key) for key in names}
        named = {k: m for k, m in _constructor(type(module)).items() if k in own}
        return _built(
            module, name, lambda call: type(module)(**own | _given(call, named, own)), named
        )
    return _fixed(module, name)


def _constructor(kind: Any) -> dict[str, str]:
    """The parameters of a constructor; a `dim` that must be given counts the channels."""
    known = inspect.signature(kind.__init__).parameters
    return {
        key: "channels" if meaning == "axis" and known[key].default is known[key].empty else meaning
        for key, meaning in meanings(kind.__init__, skip=1).items()
    }


def _given(call: Call, named: dict[str, str], own: dict[str, Any] | None = None) -> dict[str, Any]:
    """The arguments of a constructor; a bias there is whether there is one."""
    kept = {} if own is None else own
    return {
        key: _is_there(kept, key) if meaning in ("scale", "bias") else call.meant(meaning)
        for key, meaning in named.items()
        if meaning not in ("training", "nothing", "axis")
    }


def _is_there(own: dict[str, Any], key: str) -> bool:
    """Whether a module has the parameter that a flag of its constructor is called as."""
    return key not in own or (own[key] is not None and own[key] is not False)


def _axes(module: Any) -> Callable[[Case], str]:
    """Whether a module takes data of so many axes: InstanceNorm2d and its like count them."""
    parts = module.modules() if module is not None else ()
    ends = {type(part).__name__[-2:] for part in parts} & {"1d", "2d", "3d"}
    wanted = {int(end[0]) + 2 for end in ends}

    def fits(case: Case) -> str:
        ndim = case.arrays[0].ndim
        fine = not wanted or ndim in wanted
        return "" if fine else f"not declared: it takes {max(wanted)} axes"

    return fits


def _built(module: Any, name: str, build: Callable[[Call], Any], named: dict[str, str]) -> Adapted:
    kind: Any = module if inspect.isclass(module) else type(module)
    affine = "affine" in inspect.signature(kind).parameters

    def call(asked: Call) -> Any:
        made = build(asked)
        if affine and asked.scale is not None and _parameters(made)[0] is None:
            made = kind(**_given(asked, named) | {"affine": True})
        return _run(made, asked)

    takes = {meaning for meaning in named.values() if meaning in ("eps", "groups", "shape")}
    # Whether there are parameters is seen in one that was built.
    try:
        probe = build(_probe(name))
        scale, bias = _parameters(probe)
    except Exception:
        probe = scale = bias = None
    takes |= {"scale"} if affine or scale is not None else set()
    takes |= {"bias"} if affine or bias is not None else set()
    return Adapted(module, name, call, frozenset(takes), _axes(probe))


def _probe(name: str) -> Call:
    import torch

    axis = {"layer_norm": -1, "rms_norm": -1, "batch_norm": (0, 2, 3)}.get(name, (2, 3))
    return Call(name, torch.zeros(2, 4, 3, 4), axis=axis, groups=2)


def _parameters(module: Any) -> tuple[Any, Any]:
    """Scale and bias of a module, by the last part of their names."""
    found = dict(module.named_parameters())
    ends = {key.rpartition(".")[2]: one for key, one in found.items()}
    scale, bias = (
        next((ends[key] for key in keys if key in ends), None) for keys in (_SCALES, _BIASES)
    )
    return scale, bias


def _run(module: Any, asked: Call) -> Any:
    """The result with scale and bias in place, with their gradients where these are asked for."""
    import torch

    module = module.to(device=asked.x.device, dtype=asked.x.dtype)
    module.train()
    given = {}
    for key, one in module.named_parameters():
        end = key.rpartition(".")[2]
        if end in _SCALES:
            value = torch.ones_like(one) if asked.scale is None else asked.scale
        elif end in _BIASES:
            value = torch.zeros_like(one) if asked.bias is None else asked.bias
        else:
            continue
        given[key] = value.reshape(one.shape)
    return torch.func.functional_call(module, given, (asked.x,))


def _fixed(module: Any, name: str) -> Adapted:
    """A module that is as it is: for its own channels and its own eps."""
    scale, bias = _parameters(module)
    values = (getattr(part, "eps", None) for part in module.modules())
    eps = next((one for one in values if one is not None), EPS)
    own = _channels(module) if scale is None else scale.numel()
    groups = next((g for p in module.modules() if (g := getattr(p, "num_groups", None))), None)

    axes = _axes(module)

    def fits(case: Case) -> str:
        last = case.kernel in ("layer_norm", "rms_norm")
        channels = case.arrays[0].shape[-1 if last else 1]
        if own not in (None, channels):
            return f"not declared: it has {own} channels"
        if case.keywords.get("eps", EPS) != eps:
            return f"not declared: its eps is {eps:g}"
        if groups is not None and case.keywords.get("groups") != groups:
            return f"not declared: it has {groups} groups"
        return axes(case)

    takes = {"eps"} | ({"scale"} if scale is not None else set())
    takes |= {"bias"} if bias is not None else set()
    return Adapted(module, name, lambda call: _run(module, call), frozenset(takes), fits)


def _channels(module: Any) -> int | None:
    """What the parts of a module say of their channels."""
    named = ("num_features", "num_channels")
    found = (getattr(part, key, None) for part in module.modules() for key in named)
    return next((one for one in found if one is not None), None)


def of_keras(layer: Any, name: str) -> Adapted:
    """A layer of Keras 3, or a class of them."""
    kind: Any = layer if inspect.isclass(layer) else type(layer)
    config = {} if inspect.isclass(layer) else layer.get_config()
    parameters = {
        key
        for base in kind.__mro__
        if "__init__" in vars(base) and base.__module__ != "builtins"
        for key in inspect.signature(vars(base)["__init__"]).parameters
    }

    def call(asked: Call) -> Any:
        made = kind.from_config({**config, **options(asked)})
        made.build(tuple(asked.x.shape))
        values = list(made.trainable_variables)
        for i, one in enumerate(values):
            name_of = one.name.rpartition("/")[2]
            given = asked.scale if name_of in _SCALES else asked.bias
            if given is not None and name_of in (*_SCALES, *_BIASES):
                values[i] = given.reshape(tuple(one.shape))
        training = {"training": True} if name == "batch_norm" else {}
        # Without state of its own, the gradients of the parameters reach what was given.
        return made.stateless_call(values, made.non_trainable_variables, asked.x, **training)[0]

    def options(asked: Call) -> dict[str, Any]:
        # Keras counts the axis of the channels, but for a layer norm and an RMS norm.
        reduced = name in ("layer_norm", "rms_norm")
        given = {
            "epsilon": asked.eps,
            "axis": list(asked.axes) if reduced else 1,
            "groups": asked.groups,
            "dtype": str(asked.x.dtype).rpartition(".")[2],
        }
        return {key: value for key, value in given.items() if key in parameters | {"dtype"}}

    takes = {"eps", "scale", "shape"} | ({"bias"} if name != "rms_norm" else set())
    return Adapted(layer, name, call, frozenset(takes))
