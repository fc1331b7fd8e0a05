"""Where values are worked on: on their device, or on the host."""

import pytest

from revnorm import _host


def test_a_device_without_float64_is_not_worth_staying_on(monkeypatch):
    x = pytest.importorskip("torch").empty(2, device="meta")
    assert not _host.is_on_host(x)
    monkeypatch.setattr(_host, "has_float64", lambda xp, device: False)
    assert _host.is_on_host(x)
