"""Maps and moments are saved and loaded by PyTorch and JAX, whichever was imported first."""

import subprocess
import sys

import pytest

import revnorm as rn
from functions import X

ORDERS = pytest.mark.parametrize("first", ["library", "revnorm"])


def run(code, library, first):
    imports = [f"import {library}", "import revnorm as rn"]
    lines = [*(imports if first == "library" else imports[::-1]), code]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@ORDERS
def test_torch_export_is_saved(first, tmp_path):
    pytest.importorskip("torch")
    code = f"""
class Model(torch.nn.Module):
    def forward(self, x):
        return rn.revin(x, axis=1), rn.moments(x, axis=1)

x = torch.ones(2, 5)
program = torch.export.export(Model(), (x,))
torch.export.save(program, {str(tmp_path / "model.pt2")!r})
(y, map), moments = torch.export.load({str(tmp_path / "model.pt2")!r}).module()(x)
assert isinstance(map, rn.AffineMap) and isinstance(moments, rn.Moments)
assert torch.equal(map.inv(y), x)
"""
    run(code, "torch", first)


@ORDERS
def test_jax_export_is_serialized(first):
    jax = pytest.importorskip("jax")
    code = """
from jax import export
x = jax.numpy.ones((2, 5))
function = export.export(jax.jit(lambda x: (rn.revin(x, axis=1), rn.moments(x, axis=1))))(x)
(y, map), moments = export.deserialize(function.serialize()).call(x)
assert isinstance(map, rn.AffineMap) and isinstance(moments, rn.Moments)
assert (map.inv(y) == x).all()
"""
    run(code, jax.__name__, first)


def test_torch_loads_what_it_saved(tmp_path):
    torch = pytest.importorskip("torch")
    x = torch.tensor(X)
    saved = {"map": rn.standardizer(x, axis=2), "moments": rn.moments(x, axis=2)}
    torch.save(saved, tmp_path / "saved.pt")
    loaded = torch.load(tmp_path / "saved.pt")
    assert isinstance(loaded["moments"], rn.Moments)
    assert torch.equal(loaded["map"](x), saved["map"](x))


def test_torch_loads_where_it_was_imported_last(tmp_path):
    """The line of the docs, in a process that calls nothing before it loads."""
    torch = pytest.importorskip("torch")
    map = rn.standardizer(torch.tensor(X), axis=2)
    torch.save(map, tmp_path / "saved.pt")
    code = f"""
torch.serialization.add_safe_globals([rn.AffineMap, rn.Moments])
assert isinstance(torch.load({str(tmp_path / "saved.pt")!r}), rn.AffineMap)
"""
    run(code, "torch", "revnorm")
