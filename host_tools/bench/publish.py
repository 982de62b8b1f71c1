"""Publishing: Rootlet, stock umqtt.simple and a bare loop, over mutual TLS to one broker, in interleaved rounds."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from host_tools.bench import parts
from host_tools.bench.place import ON_BOARD, Place
from host_tools.bench.rows import Row
from host_tools.broker import Broker

SIZES = (16, 64, 256, 1024, 4096)  # bytes of payload
WINDOWS = (1, 4, 16, 64)
ROUNDS = 7
RAW_LIMIT = 0.6  # of the bare loop, at least
STOCK_LIMIT = 500  # times stock umqtt.simple with QoS 1, at least
RAM_LIMIT = 0.6  # of the bare loop, through the outbox, where an answer comes before anything goes to flash
FLASH_LIMIT = 0.3  # where each goes to flash first
_FULL = {"count": 2000, "stock": 20, "latency": 400, "stock latency": 20}
_QUICK = {"count": 200, "stock": 4, "latency": 20, "stock latency": 4}
_SLOW = 20  # a real board: so many times fewer

_ORDER = (
    "publish, QoS 1", "publish, QoS 0", "publish, by window", "latency to PUBACK", "latency of QoS 0 there and back",
    "publish, through the outbox", "publish, processor time a message", "publish, garbage a message",
)  # fmt: skip

Step = dict[str, Any]


def _size(size: int) -> str:
    return f"{size} B" if size < 1024 else f"{size // 1024} KB"


def _count(counts: dict[str, int], size: int) -> int:
    return max(40, counts["count"] * 256 // max(256, size))


def _throughput(counts: dict[str, int], sizes: tuple[int, ...]) -> Iterator[tuple[Step, list[dict[str, Any]]]]:
    for qos, group in ((1, "publish, QoS 1"), (0, "publish, QoS 0")):
        for size in sizes:
            count = _count(counts, size)
            base: Step = {"measure": "rate", "qos": qos, "size": size, "window": 16, "count": count}
            raw, stock = f"{_size(size)}: bare loop", f"{_size(size)}: stock umqtt.simple"
            few = counts["stock"] if qos else count // 4
            yield base | {"way": "raw"}, [{"group": group, "name": raw}]
            yield base | {"way": "stock", "count": few}, [{"group": group, "name": stock}]
            ours: list[dict[str, Any]] = [{"group": group, "name": f"{_size(size)}: rootlet", "to": raw}]
            if size == 64:
                limit = STOCK_LIMIT if qos else None
                name = "64 B: rootlet, against stock"
                ours[0] |= {"headline": True, "promised": RAW_LIMIT if qos else None}
                ours.append({"group": group, "name": name, "to": stock, "promised": limit, "headline": True})
                # What is left of the difference where stock has our stream, which sends at once.
                other = {"group": group, "name": "64 B: stock umqtt.simple over our stream"}
                yield base | {"way": "stock", "stream": True, "count": count // 4}, [other]
            yield base | {"way": "rootlet"}, ours


def _with_processor(row: dict[str, Any], name: str = "") -> list[dict[str, Any]]:
    """A row of a rate, and one of the processor time that each message took the board's interpreter."""
    ways = {"group": "publish, processor time a message", "name": name or row["name"], "unit": "µs", "better": "less"}
    ways["allowance"] = 0.6  # told in whole milliseconds for all messages
    return [row, {key: row[key] for key in ("to",) if key in row} | ways | {"take": 1}]


def _windows(counts: dict[str, int], windows: tuple[int, ...]) -> Iterator[tuple[Step, list[dict[str, Any]]]]:
    group = "publish, by window"
    for window in windows:
        base = {"measure": "rate", "qos": 1, "size": 64, "window": window, "count": _count(counts, 64)}
        raw = f"window of {window}: bare loop"
        ours = {"group": group, "name": f"window of {window}: rootlet", "to": raw}
        yield base | {"way": "raw"}, _with_processor({"group": group, "name": raw})
        yield base | {"way": "rootlet"}, _with_processor(ours)


def _latency(counts: dict[str, int], sizes: tuple[int, ...]) -> Iterator[tuple[Step, list[dict[str, Any]]]]:
    for qos, group in ((1, "latency to PUBACK"), (0, "latency of QoS 0 there and back")):
        for size in sizes:
            ways = ("raw", "stock", "rootlet") if qos else ("stock", "rootlet")
            names = {"raw": "bare loop", "stock": "stock umqtt.simple", "rootlet": "rootlet"}
            for way in ways:
                count = counts["stock latency" if way == "stock" else "latency"]
                step = {"measure": "latency", "way": way, "qos": qos, "size": size, "window": 1, "count": count}
                rows: list[dict[str, Any]] = []
                for take, percentile in enumerate(("p50", "p99")):
                    row: dict[str, Any] = {
                        "group": group,
                        "name": f"{_size(size)}: {names[way]}, {percentile}",
                        "better": "less",
                        "allowance": 1.0,  # a few dozen microseconds, and the scheduler's share of them
                    }
                    if way == "rootlet":
                        row["to"] = f"{_size(size)}: {names[ways[0]]}, {percentile}"
                    if percentile == "p99":
                        row["allowance"] = 2.0  # one late message in a hundred says more of the machine
                    rows.append(row | {"unit": "ms", "take": take, "headline": way == "rootlet" and qos and size == 64})
                yield step, rows


def _outbox(counts: dict[str, int]) -> Iterator[tuple[Step, list[dict[str, Any]]]]:
    group = "publish, through the outbox"
    raw = "bare loop, window of 16"
    base = {"qos": 1, "size": 64, "count": _count(counts, 64)}
    yield base | {"measure": "rate", "way": "raw", "window": 16}, _with_processor({"group": group, "name": raw})
    for name, step, promised in (
        ("in RAM", {"mode": "ram"}, RAM_LIMIT),
        ("in RAM, on flash when it waits", {"mode": "flash"}, RAM_LIMIT),
        ("on flash first", {"mode": "flash", "first": True}, FLASH_LIMIT),
    ):
        row = {"group": group, "name": name, "to": raw, "promised": promised, "headline": True}
        yield base | {"measure": "outbox"} | step, _with_processor(row, f"rootlet, outbox {name}")


def _garbage() -> Iterator[tuple[Step, list[dict[str, Any]]]]:
    group = "publish, garbage a message"
    base = {"measure": "garbage", "qos": 1, "size": 64, "window": 16, "count": 8}
    row = {"group": group, "unit": "B", "better": "less"}
    yield base | {"way": "stock", "window": 1}, [row | {"name": "64 B: stock umqtt.simple"}]
    name = "64 B: rootlet, window full"
    yield base | {"way": "rootlet"}, [row | {"name": name, "to": "64 B: stock umqtt.simple", "allowance": 0.5}]


def settings(place: Place, port: int) -> dict[str, Any]:
    """The "mqtt" section of a configuration, with its defaults."""
    from rootlet import config

    checked = config.check(
        {
            "device": "bench",
            "wifi": {"networks": [{"ssid": "bench"}]},
            "mqtt": {"host": place.address, "port": port},
            "sensors": [{"kind": "simulated", "name": "bench"}],
        }
    )
    section: dict[str, Any] = checked["mqtt"]
    return section


def steps(quick: bool, virtual: bool = True) -> list[tuple[Step, list[dict[str, Any]]]]:
    """What is done in each round: the step for the board, and the rows that its values belong to, in their order."""
    counts = _QUICK if quick else _FULL
    if not virtual:
        counts = counts | {"count": counts["count"] // _SLOW, "latency": counts["latency"] // 4}
    sizes, few = ((64, 1024), (64,)) if quick else (SIZES, (64, 4096))
    windows = (1, 16) if quick else WINDOWS
    parts_of_it = (
        _throughput(counts, sizes),
        _windows(counts, windows),
        _latency(counts, few),
        _outbox(counts),
        _garbage(),
    )
    return [one for part in parts_of_it for one in part]


def measure(place: Place, quick: bool) -> list[Row]:
    """Throughput by size, QoS and window, through the outbox, and latency."""
    todo = steps(quick, place.virtual)
    with tempfile.TemporaryDirectory() as name:
        made = parts.parties(place, Path(name))
        files = (made.server.cert_pem, made.server.key_pem, made.authority.cert_pem)
        # An operator, since a device hears nothing but its commands.
        with Broker(*files, workdir=Path(name), bind=place.bind, operators=["bench"]) as broker:
            job = parts.job(
                place, broker.port, mqtt=settings(place, broker.port), rounds=1 if quick else ROUNDS,
                steps=[step for step, _ in todo],
            )  # fmt: skip
            results = place.run(ON_BOARD / "publishing.py", job, made.files, timeout_s=600)
    rows = []
    for i, (_, kinds) in enumerate(todo):
        found = [result["values"] for result in results if result["step"] == i]
        for kind in kinds:
            take = kind.get("take", 0)
            values = tuple(result[take] for result in found)
            fields = {"unit": "messages/s", "values": values} | kind
            fields.pop("take", None)
            if any(values):  # a real board cannot tell processor time
                rows.append(Row(**fields))
    rows.sort(key=lambda row: _ORDER.index(row.group))
    return rows
