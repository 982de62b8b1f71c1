"""The state of all devices as far as their messages tell it: in bounded memory, without I/O, for one thread.

At most MOST_DEVICES devices and MOST_QUANTITIES quantities in all; what is more is only counted. Where there are more
than MOST_EVENTS events in all, a device keeps but its newest FAIR_EVENTS.
"""

from collections import deque
from typing import Any

from host_tools.dashboard.device import FEW_SPARKS, Device, Event, Noted, Quantity, Reading
from host_tools.readings import understand

__all__ = ["Event", "Live", "Noted", "Reading"]

MOST_DEVICES = 2000
MOST_QUANTITIES = 32000
MOST_EVENTS = 40000
FAIR_EVENTS = 20
LARGEST_PAYLOAD = 65536
_FOUND_S = 10.0  # what the broker has kept comes at once after the subscription


class Live:
    """All devices.

    Args: now: Unix seconds. topic: where devices publish: their `mqtt.topic`. A message elsewhere is only counted, so
        that no device can speak for another below its own name.
    Attributes: revision: grows with each change. connected: whether the broker is there.
    """

    def __init__(self, now: float, topic: str = "rootlet/{device}/{sensor}") -> None:
        self._topic = topic
        self._devices: dict[str, Device] = {}  # the one that changed last comes last
        self._found_until = now + _FOUND_S
        self._quantities = self._events = 0
        self._rate: deque[list[int]] = deque(maxlen=60)  # [second, readings]
        self.connected = True
        self.revision = 0
        self.messages = self.readings = self.not_kept = 0

    def message(self, topic: str, payload: bytes, now: float) -> list[Noted]:
        """Take in one message; returns what is worth storing. now: Unix seconds."""
        self.messages += 1
        if len(payload) > LARGEST_PAYLOAD:
            self.not_kept += 1
            return []
        said = understand(topic, payload, self._topic)
        if said.kind == "other":
            return []
        device = self._device(said.device)
        if device is None:
            self.not_kept += 1
            return []
        before = len(device.events)
        if said.kind == "status":
            noted: list[Noted] = list(device.tell(said, now, found=now < self._found_until))
        else:
            self.readings += 1
            self._count(now)
            quantity = device.quantities.get((said.sensor, said.quantity)) or self._quantity(device, said)
            self.not_kept += quantity is None
            noted = device.read(said, quantity, now)
        self._trim(device, before)
        self._touch(device)
        return noted

    def _device(self, name: str) -> Device | None:
        device = self._devices.get(name)
        if device is None and name and len(self._devices) < MOST_DEVICES:
            device = self._devices[name] = Device(name)
        return device

    def _quantity(self, device: Device, said: Any) -> Quantity | None:
        if self._quantities >= MOST_QUANTITIES:
            return None
        made = device.add(said.sensor, said.quantity)
        self._quantities += made is not None
        return made

    def _trim(self, device: Device, before: int) -> None:
        self._events += len(device.events) - before
        while self._events > MOST_EVENTS and len(device.events) > FAIR_EVENTS:
            device.events.popleft()
            self._events -= 1

    def _count(self, now: float) -> None:
        second = int(now)
        if not self._rate or self._rate[-1][0] != second:
            self._rate.append([second, 0])
        self._rate[-1][1] += 1

    def _touch(self, device: Device) -> None:
        self.revision += 1
        device.changed = self.revision
        self._devices[device.name] = self._devices.pop(device.name)

    def _all_changed(self) -> None:
        self.revision += 1
        for device in self._devices.values():
            device.changed = self.revision

    def gap(self, now: float) -> None:
        """The broker was away and is back: what came meanwhile was not seen, and is not lost."""
        self._found_until = now + _FOUND_S
        for device in self._devices.values():
            device.unwatched(now)
        self._all_changed()

    def broker(self, connected: bool, now: float) -> None:
        """The connection to the broker came or went; while it is away no device's status is known.

        Where it comes back, this is a gap, too.
        """
        was, self.connected = self.connected, connected
        if connected and was:
            self._found_until = now + _FOUND_S
        elif connected:
            self.gap(now)
        elif was:
            for device in self._devices.values():
                device.unsure(now)
            self._all_changed()

    def changed(self, since: int) -> tuple[int, list[dict[str, Any]]]:
        """(revision, rows of the devices that changed after revision `since`); 0: of all. See Device.row."""
        rows = []
        for device in reversed(self._devices.values()):
            if device.changed <= since:
                break
            rows.append(device.row(self.connected, FEW_SPARKS))
        return self.revision, rows

    def detail(self, device: str) -> dict[str, Any] | None:
        """All that is known of a device; None where there is no such device. See Device.detail."""
        found = self._devices.get(device)
        return found.detail(self.connected) if found else None

    def totals(self) -> dict[str, Any]:
        """Of all devices: how many, by status and in trouble; messages and readings since the start; readings/min."""
        totals: dict[str, Any] = {"devices": len(self._devices), "online": 0, "offline": 0, "unknown": 0, "trouble": 0}
        lost = dropped = 0
        for device in self._devices.values():
            totals[device.status_now(self.connected)] += 1
            totals["trouble"] += device.trouble is not None
            lost += device.sequence.lost
            dropped += device.dropped
        first = self._rate[-1][0] - 59 if self._rate else 0
        rate = sum(n for second, n in self._rate if second >= first)
        totals |= {"messages": self.messages, "readings": self.readings, "not_kept": self.not_kept}
        return totals | {"rate": rate, "lost": lost, "dropped": dropped}
