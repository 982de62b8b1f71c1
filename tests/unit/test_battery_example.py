"""The battery node: after power-up nobody knows the time, whatever its file says; after a sleep it is guessed."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from host_tools.paths import ROOT

SOURCE = (ROOT / "docs" / "examples" / "battery-node" / "main.py").read_text()
THEN = 1795239001


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The names of main.py, without the call that starts it."""
    monkeypatch.chdir(tmp_path)
    machine = ModuleType("machine")
    machine.__dict__.update(deepsleep=lambda _: None)
    monkeypatch.setitem(sys.modules, "machine", machine)
    monkeypatch.setitem(sys.modules, "network", ModuleType("network"))
    monkeypatch.delitem(sys.modules, "rootlet.wifi", raising=False)
    names: dict[str, Any] = {}
    exec(SOURCE.rpartition("\nmain()")[0], names)  # noqa: S102
    names["log"] = lambda *_: None
    return names


def wake(program: dict[str, Any], powered: bool, online: bool) -> list[str]:
    """What one wake does, a board's clock standing at the start of its epoch."""
    found: list[str] = []
    node = object.__new__(program["Node"])
    node.before, node.powered, node.dated = program["load"](), powered, False
    node.wakes = node.before["wakes"] + 1 if node.before else 0
    node.settings = {"sensors": [{"every_s": 600}]}
    node.box = type("Box", (), {"flush": lambda _: True, "__len__": lambda _: 0})()
    now = [0]
    node.clock = SimpleNamespace(read=lambda: now[0])
    program["clock"] = SimpleNamespace(set_rtc=lambda seconds: now.__setitem__(0, seconds))
    node.read = lambda: found.append("read")

    def connect() -> None:
        found.append("online")
        if online:
            now[0], node.dated = THEN, True

    node.online = connect
    node.wake()
    node.sleep()
    return found


def test_a_reading_is_dated_by_a_sleep_and_not_by_what_was_before_a_cut_of_power(program: dict[str, Any]) -> None:
    assert wake(program, True, True) == ["online"]
    assert wake(program, False, True) == ["read"]
    # The battery is changed where there is no network: nothing is dated before it is back.
    assert wake(program, True, False) == ["online"]
    assert json.loads(Path("node.json").read_text()) == {"wakes": 2, "until": 0}
    assert wake(program, False, False) == ["online"]
    assert wake(program, False, True) == ["online"]
    assert wake(program, False, True) == ["read"]
