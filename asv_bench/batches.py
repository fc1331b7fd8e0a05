"""How many results of an instance change with the batch that it is in.

    python asv_bench/batches.py --libraries numpy torch jax-eager jax-jit

Every instance is normalized alone and in the whole batch, and the two are compared bit for bit.
"""

import argparse
from importlib import import_module

import numpy as np

from benchmarks import functions, libraries, report, ways

SHAPES = [(64, 8, 7, 7), (16, 8, 56, 56), (32, 336, 7), (4, 4, 256, 256)]
HEAD = ("library", "shape", "dtype", "changed", "largest change, ULP")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--libraries", nargs="+", default=["numpy", "torch", "jax-eager"])
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--x64", action="store_true", help="with JAX's float64")
    arguments = parser.parse_args()
    if arguments.x64:
        import_module("jax").config.update("jax_enable_x64", True)
    lines = [
        line(name, shape, dtype)
        for name in arguments.libraries
        for dtype in arguments.dtypes
        for shape in SHAPES
    ]
    facts = report.provenance("torch", "jax")
    print(report.page(f"Batches, {report.today()}", facts, report.markdown(HEAD, lines)))


def line(name: str, shape: tuple[int, ...], dtype: str) -> tuple[str, ...]:
    """The share of results that change, and how far at most."""
    x = ways.data(shape, dtype)
    shown = (name, str(shape), dtype)
    try:
        whole = normalized(name, x)
    except ImportError as error:
        return (*shown, "not run", str(error))
    alone = np.concatenate([normalized(name, x[i : i + 1]) for i in range(len(x))])
    unit = np.spacing(np.maximum(np.abs(alone), 1).astype(dtype))
    changed = np.count_nonzero(whole != alone) / x.size
    return (*shown, f"{changed:.1%}", f"{np.max(np.abs(whole - alone) / unit):.1f}")


def normalized(name: str, x: np.ndarray) -> np.ndarray:
    run = libraries.bound(name, *functions.instance_norm(x))
    return libraries.backend_of(name).to_numpy(run())


if __name__ == "__main__":
    main()
