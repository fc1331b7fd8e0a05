"""The random attack: that it would find something, and a minute of it with a new seed each time."""

import numpy as np
import pytest

import attack
import oracle
import revnorm as rn
from pairs import pairs
from revnorm.testing import reference_gradients
from seed import SEED

pytestmark = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="no type wider than float64 to compare with"
)


def test_a_minute_of_attacks():
    assert attack.main(["--minutes", "1", "--seed", str(SEED)]) == 0


def test_an_attack_can_be_had_again():
    first, second = (attack.draw(7, 11) for _ in range(2))
    assert str(first) == str(second)
    for a, b in zip(first.arrays.values(), second.arrays.values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_attack_finds_what_is_wrong(monkeypatch, capsys):
    right = rn.instance_norm

    def wrong(x, *parameters, **options):
        y = right(x, *parameters, **options)
        return y + np.spacing(y)

    monkeypatch.setattr(rn, "instance_norm", wrong)
    attack.compiled.cache_clear()
    try:
        assert attack.main(["--minutes", "1", "--seed", "1", "--library", "numpy"]) == 1
    finally:
        attack.compiled.cache_clear()
    assert "attack.draw(1, " in capsys.readouterr().out


def test_pairs_are_as_fractions():
    rng = np.random.default_rng(0)
    x, where = rng.standard_normal((3, 50)) * 1e3 + 1e6, rng.random((3, 50)) < 0.7
    for function, options in (
        (oracle.revin, {"center": "mean", "correction": 1}),
        (oracle.revin, {"center": "last", "eps_mode": "clamp"}),
        (oracle.batch_instance_norm, {"gate": 0.25, "batch_axis": 0}),
    ):
        exact, fast = (
            function(a, axis=1, where=where, **options) for a in (oracle.exact(x), pairs(x))
        )
        # 2^-120 of 1e6 / 1e3, and of some tens of operations.
        assert np.max(abs(fast - exact).high) < 1e-32


MODES = [{"eps": 2.0, "eps_mode": mode} for mode in ("clamp", "relative")]


@pytest.mark.parametrize("center", ["mean", "last"])
@pytest.mark.parametrize("options", [{}, {"correction": 1}, *MODES])
def test_gradients_of_the_oracle_are_those_of_the_kit(center, options):
    """Two derivations, which share nothing."""
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((3, 4, 5)) * [[[1], [2], [3], [4]]], rng.standard_normal((3, 4, 5))
    scale, bias = rng.standard_normal((3, 1, 1)), rng.standard_normal((3, 1, 1))
    where = rng.random(x.shape) < 0.7
    options = {**options, "axis": (1, 2), "where": where, "center": center}
    given = (a.astype(np.longdouble) for a in (g, x, scale, bias))
    kit = reference_gradients("revin", *given, **options)
    for ours, theirs in zip(oracle.revin_gradients(g, x, scale, **options), kit, strict=True):
        error = abs(ours.value - theirs).high / ours.terms
        # 20 roundings to longdouble.
        assert np.max(error) < 20 * 2.0**-64
