"""A broker that ends the connection at an announcement it does not allow must not keep readings from arriving."""

import asyncio
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from rootlet.errors import RootletError
from rootlet.outbox import Outbox

MQTT = {
    "qos": 1, "host": "h", "port": 1, "brokers": [], "retry_first_s": 0.002, "retry_longest_s": 0.002,
    "keepalive_s": 60, "window": 8, "user": None, "password": None, "session": "clean", "failback_s": 60, "status_s": 0,
    "retain": True,
    "topic": "rootlet/{device}/{sensor}",
}  # fmt: skip


class Refusing:
    """An MQTT client whose broker closes the connection where something is sent under homeassistant/."""

    arrived: list[str]

    def __init__(self, *args: Any, **words: Any) -> None:
        self.window, self.number = 8, 0
        self.inflight: dict[int, None] = {}
        self.wire: list[tuple[int, str]] = []
        self.on_ack: Any = None
        self.sock: Any = types.SimpleNamespace()

    def connect(self, clean: bool) -> bool:
        self.inflight, self.wire = {}, []
        return False

    def publish(self, topic: str | bytes, msg: Any, **words: Any) -> int:
        self.number += 1
        self.inflight[self.number] = None
        self.wire.append((self.number, topic if isinstance(topic, str) else topic.decode()))
        return self.number

    def check_msg(self) -> bool:
        if not self.wire:
            return False
        pid, topic = self.wire.pop(0)
        if topic.startswith("homeassistant/"):
            raise RootletError("MQTT_CLOSED", "the broker closed the connection")
        self.inflight.pop(pid, None)
        self.on_ack(pid)
        Refusing.arrived.append(topic)
        return True

    def close(self) -> None:
        """Nothing is open."""

    def ping(self) -> None:
        """It is there."""


class Clock:
    good = True

    def now(self) -> int:
        return 1800000000


def test_readings_arrive_at_a_broker_that_allows_no_announcement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("network", "machine"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    from rootlet import gateway, link

    Refusing.arrived = []
    monkeypatch.setattr(link.mqtt, "Client", Refusing)
    monkeypatch.setattr(gateway.wifi, "address", lambda wlan: "192.0.2.1")
    monkeypatch.setattr(gateway, "log", lambda *a: None)
    monkeypatch.setattr(gateway.memory, "reserve", lambda needs: None)
    made: Any = object.__new__(gateway.Gateway)
    made.settings = {
        "device": "d",
        "home_assistant": "homeassistant",
        "mqtt": MQTT,
        "clock": {"every_s": 9999},
        "https": None,
    }
    made.outbox = Outbox(folder=str(tmp_path / "outbox"), mode="ram", window=8)
    made.link = link.Link(MQTT, "d", None, made.outbox)
    made.remote = made.ble = made.wlan = None
    made.announced, made.topics, made.board, made.shy = [], {}, {}, False
    made.told_of = made.said = made.sequence = made.seen = 0
    made.told = made.synced = time.ticks_ms()  # type: ignore[attr-defined]
    made.clock = Clock()
    ended = 0

    async def online() -> None:
        """WiFi and clock are there."""

    def connect() -> None:
        nonlocal ended
        ended += 1
        made.link.connect()
        made.told_of = made.said = 0

    made._online, made._connect, made._fetch = online, connect, lambda: True

    async def run() -> None:
        for n in range(20):
            made._take("tag", "temperature", n, "Cel")
            made._take("tag", "humidity", n, "%RH")
        work = asyncio.create_task(made._work())
        async with asyncio.timeout(20):
            while len(Refusing.arrived) < 40:
                await asyncio.sleep(0.01)
        work.cancel()

    asyncio.run(run())
    assert Refusing.arrived == ["rootlet/d/tag"] * 40
    assert ended == 2  # one connection to learn it, one to work by
