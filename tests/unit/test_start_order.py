"""The order of a start: nothing that may hang comes before the watchdog, and a refused start leaves no radio on."""

import asyncio
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rootlet import start, trees, watchdog
from rootlet.errors import RootletError

CHECKED = {"wifi": {}, "watchdog_s": 60}


class Radio:
    """An interface that is on."""

    on = True

    def active(self, on: bool) -> None:
        self.on = on


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> list[str]:
    """What start.main does, by name; the gateway is a stand-in that notes its arguments' order."""
    monkeypatch.chdir(tmp_path)
    found: list[str] = []

    async def run(*_: Any) -> None:
        found.append("gateway")

    wifi, gateway = ModuleType("rootlet.wifi"), ModuleType("rootlet.gateway")
    wifi.__dict__.update(begin=lambda *_: found.append("wifi"))
    gateway.__dict__.update(main=run)
    package = sys.modules["rootlet"]
    for module in (wifi, gateway):
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(package, module.__name__.partition(".")[2], module, raising=False)
    monkeypatch.setattr(start, "settings", lambda: CHECKED)
    monkeypatch.setattr(start, "board", SimpleNamespace(load=dict))
    monkeypatch.setattr(start, "slots", SimpleNamespace(start=lambda _: None))
    monkeypatch.setattr(start.gc, "mem_free", lambda: 0, raising=False)
    monkeypatch.setattr(trees, "settle", lambda: None)
    monkeypatch.setattr(watchdog, "start", lambda seconds, _: found.append(f"watchdog {seconds}"))
    monkeypatch.setattr(start, "log", lambda *_: None)
    return found


def test_the_watchdog_runs_before_the_radios_driver(order: list[str]) -> None:
    asyncio.run(start.main())
    assert order == ["watchdog 60", "wifi", "gateway"]


def test_a_refused_configuration_switches_no_radio_on(order: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RootletError("CONFIG", "no")

    monkeypatch.setattr(start, "settings", refuse)
    asyncio.run(start.main())
    assert order == []


def test_a_gateway_that_cannot_be_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    network = ModuleType("network")
    monkeypatch.setitem(sys.modules, "network", network)
    monkeypatch.delitem(sys.modules, "rootlet.gateway", raising=False)
    monkeypatch.delitem(sys.modules, "rootlet.wifi", raising=False)
    from rootlet import gateway

    def refuse(*_: Any) -> None:
        raise RootletError("TLS_NO_ROOTS", "none")

    monkeypatch.setattr(gateway, "Gateway", refuse)
    monkeypatch.setattr(gateway, "log", lambda *_: None)
    radio = Radio()
    asyncio.run(gateway.main({}, {}, None, radio))
    assert not radio.on
