"""Sees every reading that a broker hands on, and tells which acknowledged ones did not come."""

import json
import ssl
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from host_tools.failure import Failure
from host_tools.sim.light_device import add

_TIMEOUT_S = 15


class Observer:
    """Subscribes to rootlet/# with a session that outlives its connections. Keeps numbers only, as ranges.

    Args: host, port, ca, cert, key: as for watch.Watcher; cert's name must be allowed to read everything.
        name: of the session, the MQTT client id.
    """

    def __init__(self, host: str, port: int, ca: Path, cert: Path, key: Path, name: str = "fleet-observer") -> None:
        self._place = (host, port)
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, int], list[list[int]]] = {}
        self._readings = 0
        self._twice = 0
        self._subscribed = threading.Event()
        self._came = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(cert, key, password="")
        self._client.tls_set_context(context)
        self._client.reconnect_delay_set(1, 2)
        self._client.on_connect = lambda client, *_: client.subscribe("rootlet/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_disconnect = lambda *_: self._subscribed.clear()
        self._client.on_message = self._received

    def _received(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        try:
            said = json.loads(message.payload)
            key, number = (str(said["device"]), int(said.get("boot", 0))), int(said["seq"])
        except (ValueError, KeyError, TypeError):
            return  # a status
        with self._lock:
            ranges = self._seen.setdefault(key, [])
            before = sum(stop - start for start, stop in ranges)
            add(ranges, number)
            new = sum(stop - start for start, stop in ranges) - before
            self._readings += new
            self._twice += 1 - new
        self._came.set()

    def __enter__(self) -> Self:
        try:
            self._client.connect(*self._place, keepalive=30)
        except OSError as e:
            raise Failure(
                f"no connection to {self._place[0]}:{self._place[1]}", str(e), "start it: rootlet broker"
            ) from e
        self._client.loop_start()
        self.wait_subscribed()
        return self

    def wait_subscribed(self) -> None:
        """Until the broker has agreed. Raises Failure."""
        if not self._subscribed.wait(_TIMEOUT_S):
            because = f"no subscription within {_TIMEOUT_S} s"
            raise Failure("the observer is not let in", because, "see the broker's log")

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def of(self, device: str) -> int:
        """Different readings of one device."""
        with self._lock:
            return sum(stop - start for (name, _), ranges in self._seen.items() if name == device
                       for start, stop in ranges)  # fmt: skip

    def wait_of(self, device: str, count: int, timeout_s: float) -> int:
        """Wait for so many different readings of one device. Returns how many there are. Raises TimeoutError."""
        end = time.monotonic() + timeout_s
        while (seen := self.of(device)) < count:
            self._came.clear()
            if time.monotonic() > end:
                raise TimeoutError(f"{seen} readings of {device} after {timeout_s:g} s")
            self._came.wait(1)
        return seen

    def readings(self) -> int:
        """Different readings seen so far."""
        return self._readings

    def missing(self, acked: dict[str, list[list[int]]], boot: int) -> list[tuple[str, int]]:
        """(device, sequence number) of what was acknowledged but not seen. acked: see Report."""
        absent = []
        with self._lock:
            for device, ranges in acked.items():
                seen = self._seen.get((device, boot), [])
                absent += [(device, n) for n in numbers(ranges) if not any(a <= n < b for a, b in seen)]
        return absent

    def settled(
        self, acked: dict[str, list[list[int]]], boot: int, timeout_s: float = 15, quiet_s: float = 2
    ) -> dict[str, Any]:
        """facts(), as soon as nothing is missing, or nothing has come for `quiet_s`, or the time is over."""
        end = time.monotonic() + timeout_s
        while self.missing(acked, boot) and time.monotonic() < end and self._came.wait(quiet_s):
            self._came.clear()
            time.sleep(0.1)  # not a whole comparison for each message
        return self.facts(acked, boot)

    def facts(self, acked: dict[str, list[list[int]]], boot: int) -> dict[str, Any]:
        """For Report.received."""
        return {"readings": self._readings, "missing": len(self.missing(acked, boot)), "twice": self._twice}


def numbers(ranges: list[list[int]]) -> Iterable[int]:
    """Each number of a list of [first, past the last]."""
    for start, stop in ranges:
        yield from range(start, stop)
