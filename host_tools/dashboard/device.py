"""One device of the live page: its readings, its status, and what happened to it."""

import sys
from array import array
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from host_tools.dashboard import plain
from host_tools.dashboard.changes import Facts, changes, ended, facts
from host_tools.readings import Message, short
from host_tools.sequences import Sequences

MOST_QUANTITIES = 64
MOST_EVENTS = 200
SPARKS = 120
FEW_SPARKS = 24
_SHOWN = 4
_MOST_ERRORS = 5
_EVENTS_A_MINUTE = 30
_LOST_S = 60.0  # between two events of lost readings
_SHORTEST_S = 10.0  # over which a rate is told: of a burst nobody knows when the next comes


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading. time: Unix seconds by the device's clock, None where it says none. extra: a Bluetooth sensor's
    `address` and `rssi`, else empty. value: a number that JSON can say, or text."""

    device: str
    sensor: str
    quantity: str
    value: int | float | str
    unit: str
    time: float | None
    boot: int | None
    seq: int | None
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a device. kind: a word of changes.KINDS."""

    device: str
    kind: str
    text: str


Noted = Reading | Event


@dataclass(slots=True)
class Quantity:
    """One quantity of one sensor. count: numbers that came so far, of which the last SPARKS are kept."""

    value: int | float | str = ""
    unit: str = ""
    time: float = 0
    count: int = 0
    address: str = ""
    rssi: int | None = None
    spark: "array[float]" = field(default_factory=lambda: array("d"))

    def put(self, number: int | float) -> None:
        """Take in one more number."""
        self.count += 1
        self.spark.append(number)
        if len(self.spark) > SPARKS:
            del self.spark[0]

    def row(self, sensor: str, quantity: str, sparks: int) -> dict[str, Any]:
        """For JSON."""
        return {
            "sensor": sensor, "quantity": quantity, "value": self.value, "unit": self.unit, "time": self.time,
            "count": self.count, "spark": plain.tidy(self.spark[-sparks:]),
        }  # fmt: skip


class Device:
    """What is known of a device."""

    __slots__ = (
        "_known",
        "_lost",
        "_lost_at",
        "_since",
        "_status",
        "_sure",
        "_times",
        "_unsure_since",
        "changed",
        "dropped",
        "errors",
        "events",
        "facts",
        "name",
        "quantities",
        "seen",
        "sequence",
        "told",
        "trouble",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.changed = 0
        self.quantities: dict[tuple[str, str], Quantity] = {}
        self.sequence = Sequences()
        self.events: deque[tuple[float, str, str]] = deque(maxlen=MOST_EVENTS)
        self.facts: dict[str, Any] = {}
        self.told: Facts | None = None
        self.trouble: tuple[str, str] | None = None
        self.errors: list[tuple[str, str, float | None]] = []  # the newest last
        self.seen: float | None = None
        self.dropped = 0
        self._status, self._known = "unknown", False
        self._since: float | None = None
        self._sure = False
        self._unsure_since: float | None = None
        self._times: deque[float] = deque(maxlen=32)
        self._lost, self._lost_at = 0, 0.0

    def add(self, sensor: str, quantity: str) -> Quantity | None:
        """A place for one more quantity; None where there is none left."""
        if len(self.quantities) >= MOST_QUANTITIES:
            return None
        made = self.quantities[sys.intern(sensor), sys.intern(quantity)] = Quantity()
        return made

    def read(self, said: Message, quantity: Quantity | None, now: float) -> list[Noted]:
        """Take in a reading. quantity: where it goes, or None. Returns what is worth storing."""
        self.seen = now
        self._times.append(now)
        noted: list[Noted] = []
        if said.seq is not None:
            self.sequence.add(said.seq, said.boot)
            noted += self._missed(now)
        if quantity is None:
            return noted
        value, time = plain.value(said.value), plain.unix(said.time)
        quantity.value, quantity.time = value, now if time is None else time
        if said.unit != quantity.unit:
            quantity.unit = sys.intern(said.unit)
        if said.address != quantity.address:
            quantity.address = said.address
        quantity.rssi = said.rssi
        if not isinstance(value, str):
            quantity.put(value)
        extra = {"address": said.address, "rssi": said.rssi} if said.address else {}
        row = Reading(self.name, said.sensor, said.quantity, value, said.unit, time, said.boot, said.seq, extra)
        return [row, *noted]

    def _missed(self, now: float) -> list[Event]:
        """Lost readings are told at most once a minute: what is late may still come."""
        lost = self.sequence.lost
        if lost <= self._lost:
            self._lost = lost
            return []
        if now - self._lost_at < _LOST_S:
            return []
        more, self._lost, self._lost_at = lost - self._lost, lost, now
        return self._happened(now, "lost", f"{more} reading{'s' * (more > 1)}")

    def _happened(self, now: float, kind: str, text: str) -> list[Event]:
        """Keep an event, unless there were too many within the last minute."""
        events = self.events
        if len(events) >= _EVENTS_A_MINUTE and now - events[-_EVENTS_A_MINUTE][0] < 60:
            return []
        text = short(text, plain.TEXT)
        events.append((now, kind, text))
        return [Event(self.name, kind, text)]

    def tell(self, said: Message, now: float, found: bool) -> list[Event]:
        """Take in a status. found: the broker may have kept it, so that it may be of any age."""
        status = said.status if said.status in ("online", "offline") else "unknown"
        data = said.data if isinstance(said.data, dict) else {}
        if status == "online":
            return self._online(facts(data), data, now, found)
        noted: list[Event] = []
        if (status, self._sure) != (self._status, True):
            same = status == self._status
            if not same or self._since is None:
                self._since, self._known = now, not found
            if not same and status == "offline" and not (found and self._status == "unknown"):
                why = data.get("why")
                noted = self._happened(now, "offline", short(why) if isinstance(why, str) else "")
        self._status, self._sure, self._unsure_since = status, True, None
        return noted

    def _online(self, new: Facts, data: dict[Any, Any], now: float, found: bool) -> list[Event]:
        old, self.told = self.told, new
        noted: list[Event] = []
        went_on = self._status == "online" and old is not None and old.connection == new.connection
        if not went_on:
            self._since, self._known = now, not found
            if found and new.uptime is not None and not new.reconnects:
                self._since = max(0.0, now - new.uptime)
            if self._status != "online" and not (found and self._status == "unknown"):
                noted += self._happened(now, "online", new.reset)
        if not found:
            self.seen = now
        for kind, text in changes(old, new) if old else ():
            noted += self._happened(now, kind, text)
        self._remember(old, new, now)
        self._status, self._sure, self._unsure_since = "online", True, None
        self.facts = plain.flat(data)
        self.trouble = new.trouble
        self.dropped = new.outbox["dropped"] if new.outbox else 0
        return noted

    def _remember(self, old: Facts | None, new: Facts, now: float) -> None:
        """Keep the last few failures, each code once. Of a first status nobody knows when they were."""
        came = list(ended(old, new)) if old else list(new.reconnects)
        rows = [(code, "") for code in came]
        rows += [row for row in (new.last_error, new.trouble) if row and (not old or row not in old.failures)]
        for code, fact in rows:
            before = next((row[1] for row in self.errors if row[0] == code), "")
            self.errors = [row for row in self.errors if row[0] != code]
            self.errors.append((code, fact or before, now if old else None))
        del self.errors[:-_MOST_ERRORS]

    def unsure(self, now: float) -> None:
        """The broker is away: nobody knows the status."""
        self._sure = False
        self._unsure_since = now if self._unsure_since is None else self._unsure_since

    def unwatched(self, now: float) -> None:
        """The broker is back: what came meanwhile was not seen."""
        self.unsure(now)
        self.sequence.unwatched()

    def status_now(self, connected: bool) -> str:
        """online, offline or unknown. connected: whether the broker is there."""
        return self._status if connected and self._sure else "unknown"

    def _rate(self) -> float:
        """Readings a minute, over the last few."""
        times = self._times
        span = max(times[-1] - times[0], _SHORTEST_S) if times else _SHORTEST_S
        return round((len(times) - 1) / span * 60, 2) if times else 0

    def row(self, connected: bool, sparks: int = FEW_SPARKS, most: int = _SHOWN) -> dict[str, Any]:
        """A summary for JSON.

        status: online, offline or unknown, `since` Unix seconds of the time of the last, null where nobody has said
        it; `since_known` false: it has been so at least since then. seen: Unix seconds of the last message of the
        device itself, null where none was heard. readings: of the first few quantities, `time` Unix seconds, `spark`
        the newest numbers, `count` how many there were so far. more: quantities beyond these. rate: readings/min.
        """
        status = self.status_now(connected)
        told = self.told or Facts()
        sure = status == self._status
        shown = [q.row(*key, sparks) for key, q in islice(self.quantities.items(), most)]
        return {
            "id": self.name, "status": status, "since": self._since if sure else self._unsure_since,
            "since_known": self._known if sure else True, "seen": self.seen, "readings": shown,
            "more": len(self.quantities) - len(shown), "rate": self._rate(), "lost": self.sequence.lost,
            "outbox": told.outbox, "reconnects": told.reconnects, "rssi": told.rssi, "cert_days": told.cert_days,
            "tls": told.tls, "version": told.version, "broker": told.broker, "handshake_ms": told.handshake_ms,
            "trouble": plain.expanded(*told.trouble) if told.trouble else None,
            "errors": [plain.expanded(code, fact) | {"when": when} for code, fact, when in reversed(self.errors)],
        }  # fmt: skip

    def detail(self, connected: bool) -> dict[str, Any]:
        """All that is known, for JSON: the row with every quantity, and `facts` (the last status, flattened),
        `events` (the newest first) and `bluetooth` (sensors heard: sensor, address, rssi in dBm)."""
        heard: dict[str, dict[str, Any]] = {}
        for (sensor, _), q in self.quantities.items():
            if q.address:
                heard[sensor] = {"sensor": sensor, "address": q.address, "rssi": q.rssi, "time": q.time}
        return self.row(connected, SPARKS, MOST_QUANTITIES) | {
            "facts": self.facts,
            "events": [{"time": time, "kind": kind, "text": text} for time, kind, text in reversed(self.events)],
            "bluetooth": list(heard.values()),
        }
