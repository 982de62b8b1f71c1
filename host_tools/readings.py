"""What devices have published, as a table in bounded memory: values, rates, gaps, and who is online."""

import json
import math
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeGuard

from host_tools.masking import harmless
from host_tools.sequences import Sequences

KEPT = 32
MOST_ROWS = 256
MOST_OF_ONE = 96
MOST_DEVICES = 128
LONGEST_PAYLOAD = 4096
LONGEST_SHOWN = 200
_LONGEST_NAME = 48
_LARGEST_SEQUENCE = 1 << 53
_STATUS = "status"
_ADDRESS = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN_BLOCKS = "_.-=+*#@"


def short(value: object, longest: int = _LONGEST_NAME) -> str:
    """A value as harmless text of bounded length."""
    if not isinstance(value, str):
        try:
            value = str(value)
        except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists in lists
            value = f"({type(value).__name__})"
    text = harmless(value[: 4 * longest])
    return text if len(text) <= longest else text[: longest - 1] + "…"


def sparkline(values: Iterable[float], blocks: str = BLOCKS) -> str:
    """A small chart, one block a value, from the least to the greatest; all alike: one in the middle."""
    numbers = list(values)
    finite = [n for n in numbers if math.isfinite(n)]
    if not finite:
        return " " * len(numbers)
    low, high = min(finite), max(finite)
    # Halved, so that no difference overflows.
    span = high / 2 - low / 2
    top = len(blocks) - 1

    def block(n: float) -> str:
        if not math.isfinite(n):
            return " "
        return blocks[round((n / 2 - low / 2) / span * top)] if span > 0 else blocks[top // 2]

    return "".join(map(block, numbers))


@dataclass
class Device:
    """What is known of a device. status: "online", "offline" or "". more: of its health report, where it sends one."""

    name: str
    status: str = ""
    more: str = ""
    sequence: Sequences = field(default_factory=Sequences)


@dataclass
class Row:
    """One sensor's quantity. at: when the last came, seconds of the caller's clock. values: the newest numbers.

    address, rssi: of the Bluetooth sensor that it came from, dBm; "" and None for others.
    """

    device: str
    sensor: str
    quantity: str
    value: str = ""
    unit: str = ""
    at: float = 0
    count: int = 0
    address: str = ""
    rssi: int | None = None
    values: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    times: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))

    def rate(self) -> float | None:
        """Readings a second, over those kept; None for fewer than two."""
        span = self.times[-1] - self.times[0] if self.times else 0
        return (len(self.times) - 1) / span if span > 0 else None


@dataclass(frozen=True)
class Message:
    """One message, understood as far as it can be. kind: "reading", "status" or "other".

    time, data: the reading's time and the status, just as they came.
    """

    kind: str
    device: str
    sensor: str
    quantity: str = ""
    value: Any = None
    unit: str = ""
    seq: int | None = None
    boot: int | None = None
    status: str = ""
    more: str = ""
    address: str = ""
    rssi: int | None = None
    time: Any = None
    data: Any = None


def understand(topic: str, payload: bytes, form: str = "") -> Message:
    """What a message says. The device is that of the topic, which a broker checks; the payload may claim anything.

    Args: form: of the topics, with {device} and {sensor}: what comes elsewhere is "other". Without it the last two
        parts are device and sensor, so that a device can speak for another where the broker lets it publish below its
        own name.
    """
    parts = topic.split("/")
    if form:
        named = _named(parts, form)
        if named is None:
            return Message("other", "", short(topic))
        device, sensor = named
    else:
        device, sensor = (short(parts[-2]), short(parts[-1])) if len(parts) > 1 else ("", short(topic))
    text = payload[:LONGEST_PAYLOAD].decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if (sensor if form else parts[-1]) == _STATUS:
        status = data.get("status") if isinstance(data, dict) else text
        more = ", ".join(f"{short(k, 16)} {short(v, 32)}" for k, v in _few(data))
        return Message("status", device, sensor, status=short(status, 16), more=more[:LONGEST_SHOWN], data=data)
    if not isinstance(data, dict) or "value" not in data:
        return Message("other", device, sensor, value=short(text, LONGEST_SHOWN))
    # A topic may have its parts in another order: the payload says which of them is the device, if the form does not.
    claimed = data.get("device")
    if not form and isinstance(claimed, str) and claimed in parts:
        device = short(claimed)
        sensor = short(data["sensor"]) if data.get("sensor") in parts else sensor
    value = data["value"]
    seq, boot = _counter(data.get("seq")), _counter(data.get("boot"))
    return Message(
        "reading",
        device,
        sensor,
        short(data.get("quantity", "")),
        value if isinstance(value, int | float) and not isinstance(value, bool) else short(value),
        short(data.get("unit") or "", 12),
        seq,
        boot,
        address=_address(data.get("address")),
        rssi=_rssi(data.get("rssi")),
        time=data.get("time"),
    )


@cache
def _places(form: str) -> tuple[re.Pattern[str], ...]:
    """One expression for each part of a topic."""
    signs = {"{device}": "(?P<device>.+)", "{sensor}": "(?P<sensor>.+)"}
    parts = (re.split(r"(\{device\}|\{sensor\})", part) for part in form.split("/"))
    return tuple(re.compile("".join(signs.get(p, re.escape(p)) for p in part), re.DOTALL) for part in parts)


def _named(parts: list[str], form: str) -> tuple[str, str] | None:
    """(device, sensor) of a topic of this form."""
    places = _places(form)
    if len(parts) != len(places):
        return None
    names: dict[str, str] = {}
    for part, place in zip(parts, places, strict=True):
        match = place.fullmatch(part)
        if match is None:
            return None
        names |= match.groupdict()
    return short(names.get("device", "")), short(names.get("sensor", ""))


def _address(value: Any) -> str:
    return value if isinstance(value, str) and _ADDRESS.fullmatch(value) else ""


def _rssi(value: Any) -> int | None:
    """A signal strength in dBm, as HCI has it: -127 to 20."""
    return value if whole(value) and -127 <= value <= 20 else None


def whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number that every JSON reader keeps exactly."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_SEQUENCE


def _counter(value: Any) -> int | None:
    return value if whole(value) and value >= 0 else None


def _few(data: object) -> list[tuple[str, str | int | float]]:
    """What matters most of a status report (docs/telemetry.md), then a few more of its plain values."""
    if not isinstance(data, dict):
        return []
    outbox, ended, trouble, tls = (data.get(key) for key in ("outbox", "reconnects", "trouble", "tls"))
    rows: list[tuple[str, str | int | float]] = []
    if isinstance(outbox, dict):
        rows += [("outbox", outbox["depth"])] if whole(outbox.get("depth")) else []
        rows += [("dropped", outbox["dropped"])] if whole(outbox.get("dropped")) and outbox["dropped"] else []
    rows += [(key, data[key]) for key in ("rssi", "cert_days") if whole(data.get(key))]
    if isinstance(ended, dict):
        counts = [n for n in list(ended.values())[:8] if whole(n)]
        rows += [("reconnects", sum(counts))] if counts else []
    if isinstance(trouble, dict) and isinstance(trouble.get("code"), str):
        rows.append(("trouble", trouble["code"]))
    if isinstance(tls, list) and tls and isinstance(tls[0], str):
        rows.append(("tls", tls[0]))
    told = {"status", "device", "rssi", "cert_days", "outbox", "reconnects", "trouble"}
    plain = [(k, v) for k, v in data.items() if isinstance(v, str | int | float) and v != "" and k not in told]
    return rows + plain[: max(3, 6 - len(rows))]


class Table:
    """All that was heard. At most MOST_ROWS sensors, MOST_OF_ONE of one device; what is more is only counted.

    Args: whole: every topic of the devices is watched, so that a missing sequence number is a lost reading.
    """

    def __init__(self, whole: bool = True) -> None:
        self._whole = whole
        self.rows: dict[tuple[str, str, str], Row] = {}
        self.devices: dict[str, Device] = {}
        self.not_kept = 0
        self.messages = 0

    def add(self, topic: str, payload: bytes, now: float) -> Message:
        """Take in one message; returns what it was understood as. now: seconds, of any clock that only goes on."""
        message = understand(topic, payload)
        self.messages += 1
        device = self._device(message.device)
        if device is None:
            self.not_kept += 1
        elif message.kind == _STATUS:
            device.status, device.more = message.status, message.more
        else:
            if message.seq is not None:
                device.sequence.add(message.seq, message.boot)
            row = self._row(message)
            if row is None:
                self.not_kept += 1
            else:
                _put(row, message, now)
        return message

    def unwatched(self) -> None:
        """The connection to the broker was away: what came meanwhile was not seen, and is not lost."""
        for device in self.devices.values():
            device.sequence.unwatched()

    def _device(self, name: str) -> Device | None:
        if name not in self.devices and len(self.devices) < MOST_DEVICES:
            self.devices[name] = Device(name)
        return self.devices.get(name)

    def _row(self, message: Message) -> Row | None:
        key = (message.device, message.sensor, message.quantity)
        if key not in self.rows:
            of_one = sum(1 for device, _, _ in self.rows if device == message.device)
            if len(self.rows) >= MOST_ROWS or of_one >= MOST_OF_ONE:
                return None
            self.rows[key] = Row(*key)
        return self.rows[key]

    def lost(self, device: str) -> int | None:
        """Readings of a device that have not come, by its sequence numbers; None where that cannot be told."""
        found = self.devices.get(device)
        return found.sequence.lost if found and self._whole and found.sequence else None


def _put(row: Row, message: Message, now: float) -> None:
    row.count += 1
    row.at = now
    row.times.append(now)
    row.unit = message.unit
    row.value = short(message.value, LONGEST_SHOWN)
    row.address, row.rssi = message.address, message.rssi
    if isinstance(message.value, int | float):
        try:
            row.values.append(float(message.value))
        except OverflowError:
            row.values.append(math.inf)


def span(seconds: float) -> str:
    """A time in one or two digits and a unit."""
    for limit, size, unit in ((100, 1, "s"), (6000, 60, "min"), (360000, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def pace(rate: float | None) -> str:
    """A rate in readings a second or a minute or an hour."""
    if rate is None:
        return "-"
    for factor, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if rate * factor >= 1 or unit == "h":
            return f"{rate * factor:.3g}/{unit}"
    return "-"


def whole_topic(topic: str) -> bool:
    """Whether a topic filter lets every topic of a device through."""
    return topic.endswith("#")


def as_json(topic: str, payload: bytes, message: Message, table: Table, received: str) -> str:
    """One message for a machine: `topic` and `payload` as they came, and what they were understood as."""
    row: dict[str, Any] = {
        "received": received, "topic": topic, "payload": payload.decode("utf-8", "replace"), "kind": message.kind,
        "device": message.device,
    }  # fmt: skip
    if message.kind == "status":
        row["status"] = message.status
    elif message.kind == "reading":
        value = message.value
        finite = not isinstance(value, float) or math.isfinite(value)
        row |= {"sensor": message.sensor, "quantity": message.quantity, "value": value if finite else str(value)}
        row |= {"unit": message.unit, "boot": message.boot, "seq": message.seq, "lost": table.lost(message.device)}
        if message.address:
            row |= {"address": message.address, "rssi": message.rssi}
    return json.dumps(row)


def view(table: Table, now: float, where: str, blocks: str = BLOCKS, note: str = "") -> Any:
    """The table for a terminal, as something rich can show. where: the broker. note: for the last line."""
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(title=f"{where}: {table.messages} messages", title_justify="left", expand=False)
    for name in ("device", "sensor", "quantity"):
        grid.add_column(name, overflow="ellipsis", no_wrap=True)
    for name in ("value", "unit", "age", "rate", "count", "lost"):
        grid.add_column(name, justify="left" if name == "unit" else "right", overflow="ellipsis", no_wrap=True)
    heard = any(row.address for row in table.rows.values())
    if heard:
        grid.add_column("address", no_wrap=True)
        grid.add_column("dBm", justify="right", no_wrap=True)
    grid.add_column(f"last {KEPT // 2}", no_wrap=True)
    seen = ""
    for row in sorted(table.rows.values(), key=lambda row: (row.device, row.sensor, row.quantity)):
        lost = table.lost(row.device)
        first, seen = row.device != seen, row.device
        cells = [row.sensor, row.quantity, short(row.value, 16), row.unit, span(now - row.at), pace(row.rate())]
        cells += [str(row.count), "-" if lost is None else str(lost) if first else ""]
        if heard:
            cells += [row.address, "" if row.rssi is None else str(row.rssi)]
        chart = sparkline(list(row.values)[-(KEPT // 2) :], blocks)
        grid.add_row(_device_cell(table, row.device, first), *map(Text, cells), Text(chart, "cyan"))
    silent = [
        device for device in table.devices.values() if device.name not in {row.device for row in table.rows.values()}
    ]
    for device in sorted(silent, key=lambda device: device.name):
        grid.add_row(_device_cell(table, device.name, True))
    words = [f"{table.not_kept} messages of further sensors are not shown"] if table.not_kept else []
    words += [f"{d.name}: {d.more}" for d in table.devices.values() if d.more][:8]
    return Group(grid, *(Text(word, "dim") for word in (*words, note) if word))


_COLOURS = {"online": "green", "offline": "bold red"}


def _device_cell(table: Table, name: str, first: bool) -> Any:
    from rich.text import Text

    if not first:
        return Text("")
    device = table.devices.get(name)
    status = device.status if device else ""
    return Text.assemble(name, " ", (status, _COLOURS.get(status, "yellow")))
