"""Modules of flax, of linen and of nnx, built for each case and called as kernels.

Flax has the channels last, so those at axis 1 go there and back.
"""

import inspect
from collections.abc import Callable
from typing import Any

from revnorm.testing._adapters import EPS, MEANING, Adapted, Call
from revnorm.testing._case import Case

_LAST = ("layer_norm", "rms_norm")


def of_flax(module: Any, name: str) -> Adapted:
    """A module or a class of them."""
    from flax import linen

    kind: Any = module if inspect.isclass(module) else type(module)
    build = _linen if issubclass(kind, linen.Module) else _nnx
    call, fields, leaves = build(module, kind, name)
    meant = {MEANING.get(field) for field in fields}
    takes = {one for one in ("eps", "groups") if one in meant} | leaves
    takes |= {one for one in ("scale", "bias") if f"use_{one}" in fields}
    if build is _linen and {"reduction_axes", "feature_axes"} <= set(fields):
        takes.add("shape")

    def fits(case: Case) -> str:
        fixed = name == "group_norm" and "groups" not in takes
        return "not declared: it takes no number of groups" if fixed else ""

    def moved(asked: Call) -> Any:
        import jax.numpy as jnp

        if name in _LAST:
            return call(asked)
        return jnp.moveaxis(call(asked._replace(x=jnp.moveaxis(asked.x, 1, -1))), -1, 1)

    return Adapted(module, name, moved, frozenset(takes), fits)


def _options(asked: Call, fields: Any) -> dict[str, Any]:
    """The fields of a module that a call decides."""
    last = asked.x.shape[-1]
    given = {
        "use_scale": asked.scale is not None,
        "use_bias": asked.bias is not None,
        "use_running_average": False,
        "dtype": asked.x.dtype,
        "param_dtype": asked.x.dtype,
    }
    if asked.name in _LAST:
        given |= dict.fromkeys(("reduction_axes", "feature_axes"), asked.axes)
    for field in fields:
        meaning = MEANING.get(field)
        if meaning in ("eps", "groups"):
            given[field] = asked.meant(meaning)
        elif meaning == "channels":
            given[field] = last
    return {key: value for key, value in given.items() if key in fields}


def _probe(name: str) -> Call:
    import jax.numpy as jnp

    axis = -1 if name in _LAST else 0
    return Call(name, jnp.zeros((2, 3, 4)), jnp.ones(4), jnp.ones(4), axis=axis, groups=2, eps=EPS)


_Built = tuple[Callable[[Call], Any], list[str], set[str]]


def _linen(module: Any, kind: Any, name: str) -> _Built:
    import jax

    fields = [one for one in kind.__dataclass_fields__ if one not in ("parent", "name")]
    run = jax.jit(
        lambda own, variables, x: own.apply(variables, x, mutable=["batch_stats"])[0],
        static_argnums=0,
    )

    def made(asked: Call) -> tuple[Any, Any]:
        given = _options(asked, fields)
        own = kind(**given) if inspect.isclass(module) else module.clone(**given)
        key = jax.random.key(0)
        variables = jax.eval_shape(own.init, key, asked.x)
        # What is given, or not looked at in training, need not be drawn.
        if _leaves(variables) <= {"scale", "bias", "mean", "var"}:
            return own, jax.tree.map(lambda one: jax.numpy.zeros(one.shape, one.dtype), variables)
        return own, own.init(key, asked.x)

    def call(asked: Call) -> Any:
        own, variables = made(asked)
        values = jax.tree_util.tree_map_with_path(
            lambda path, leaf: _value(asked, str(path[-1].key), leaf), variables.get("params", {})
        )
        return run(own, {**variables, "params": values}, asked.x)

    return call, fields, _leaves(made(_probe(name))[1]) & {"scale", "bias"}


def _leaves(variables: Any) -> set[str]:
    """The last parts of the names of a module's variables."""
    import jax

    return {str(path[-1].key) for path, _ in jax.tree_util.tree_leaves_with_path(variables)}


def _nnx(module: Any, kind: Any, name: str) -> _Built:
    import jax
    from flax import nnx

    fields = [key for key in inspect.signature(kind.__init__).parameters if key != "self"]
    own = {} if inspect.isclass(module) else {k: v for k, v in vars(module).items() if k in fields}
    run = jax.jit(lambda graph, state, x: nnx.merge(graph, state)(x), static_argnums=0)

    def made(asked: Call) -> tuple[Any, dict[str, Any]]:
        rest = {"rngs": nnx.Rngs(0)} if "rngs" in fields else {}
        layer = kind(**own | _options(asked, fields) | rest)
        found = {
            str(path[-1]): node
            for path, node in nnx.iter_graph(layer)
            if path and isinstance(node, nnx.Param)
        }
        return layer, found

    def call(asked: Call) -> Any:
        layer, parameters = made(asked)
        for key, one in parameters.items():
            one[...] = _value(asked, key, one[...])
        return run(*nnx.split(layer), asked.x)

    return call, fields, set(made(_probe(name))[1]) & {"scale", "bias"}


def _value(asked: Call, key: str, leaf: Any) -> Any:
    """What a parameter is to be; as it is, if it is neither a scale nor a bias."""
    if key not in ("scale", "bias"):
        return leaf
    given = asked.scale if key == "scale" else asked.bias
    return leaf * 0 + float(key == "scale") if given is None else given.reshape(leaf.shape)
