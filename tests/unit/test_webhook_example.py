"""The webhook example's board: what no reading is to blame for loses none, and one bad sensor ends nothing."""

import asyncio
import sys
import time
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from host_tools.paths import ROOT
from rootlet.errors import RootletError

SOURCE = (ROOT / "docs" / "examples" / "webhook" / "main.py").read_text()


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of main.py, which begins to work in the lines left out here."""
    monkeypatch.setitem(sys.modules, "network", ModuleType("network"))
    monkeypatch.delitem(sys.modules, "rootlet.wifi", raising=False)
    names: dict[str, Any] = {}
    exec(SOURCE.partition("\nmemory.reserve(")[0], names)  # noqa: S102
    names["log"] = lambda *_: None
    return names


def hook(program: dict[str, Any]) -> Any:
    made = object.__new__(program["Hook"])
    made.settings = {"secret": "s", "url": "https://x/", "device": "d", "sensor": {"kind": "k", "name": "n"}}
    made.settings["every_s"] = 0
    made.trust = made.hardware = made.asked = made.start = None
    made.gone = []
    made.box = SimpleNamespace(acked=made.gone.append)
    made.asks = []
    made.clock = SimpleNamespace(good=True, source="", now=lambda: 1795239001, sync=lambda: made.asks.append(1))
    return made


CASES = [(200, [7], True), (400, [7], True), (503, [], True), (401, [], False)]


@pytest.mark.parametrize(("status", "gone", "good"), CASES)
def test_a_refused_signature_loses_no_reading(
    program: dict[str, Any], status: int, gone: list[int], good: bool
) -> None:
    @contextmanager
    def post(*_: Any, **__: Any) -> Any:
        yield SimpleNamespace(status=status)

    program["https"] = SimpleNamespace(post=post)
    program["trees"] = SimpleNamespace(confirm=lambda _: None)
    made = hook(program)
    if gone:
        made.post([7], b"[]")
    else:
        with pytest.raises(RootletError):
            made.post([7], b"[]")
    assert (made.gone, made.clock.good) == (gone, good)


def test_the_time_is_asked_for_again_and_again(program: dict[str, Any]) -> None:
    made = hook(program)
    made.wlan = 1
    program["wifi"] = SimpleNamespace(address=lambda _: "192.0.2.7")
    made.asked = time.ticks_ms()  # type: ignore[attr-defined]
    asyncio.run(made.online())
    assert not made.asks
    made.asked -= program["CLOCK_MS"] + 1
    asyncio.run(made.online())
    asyncio.run(made.online())
    assert len(made.asks) == 1


def test_a_sensor_that_fails_is_read_again(program: dict[str, Any]) -> None:
    made = hook(program)
    kept: list[Any] = []
    made.box.put = lambda _, text: kept.append(text)
    said = [RootletError("SENSOR", "n"), [("temperature", 1, None)], KeyboardInterrupt]

    def read(*_: Any) -> Any:
        found = said.pop(0)
        if not isinstance(found, list):
            raise found
        return found

    program["sensors"] = SimpleNamespace(make=lambda *_: None, read=read)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(made.sense())
    assert len(kept) == 1
