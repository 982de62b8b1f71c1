"""The state behind the live page, fed by somebody who means harm: no exception, no unbounded memory, always JSON."""

import json
import os
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from host_tools.dashboard import live as live_module
from host_tools.dashboard.live import Event, Live, Reading
from host_tools.readings import LONGEST_PAYLOAD

NOW = 1_800_000_000.0

huge = st.sampled_from([10**400, 1 << 60, "a" * 999])
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | huge,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=70), inner, max_size=4),
    max_leaves=10,
)
STATUS = (
    "boots uptime_s reset crashes version tree rolled_back cert_days outbox reconnects rssi handshake_ms broker tls "
    "trouble last_error why ble"
).split()
failures = st.fixed_dictionaries({"code": st.sampled_from(["DNS", "TCP", "?"]) | any_json}, optional={"fact": any_json})
usual = {
    "boots": st.integers(0, 3),
    "cert_days": st.integers(-5, 40),
    "outbox": st.fixed_dictionaries({"depth": any_json, "dropped": st.integers(-3, 9) | any_json}),
    "reconnects": st.dictionaries(st.text(max_size=50), st.integers(-1, 5) | any_json, max_size=40),
    "tls": st.lists(st.text(max_size=90) | any_json, max_size=3),
    "trouble": failures,
    "last_error": failures,
}
states = st.fixed_dictionaries(
    {"status": st.sampled_from(["online", "online", "offline"]) | any_json},
    optional={key: usual.get(key, any_json) | any_json for key in STATUS},
)
values = st.fixed_dictionaries(
    {"value": any_json},
    optional={k: any_json for k in ("sensor", "quantity", "unit", "time", "boot", "seq", "address", "rssi", "device")},
)
payloads = st.binary(max_size=80) | (any_json | states | values).map(lambda x: json.dumps(x).encode())
names = st.text(max_size=9) | st.sampled_from(["d1", "d2", "\u202e", "<script>", "x" * 65536])
topics = st.one_of(
    st.text(max_size=40), st.builds("rootlet/{}/{}".format, names, st.sampled_from(["status", "a", "b"]) | names)
)
steps = st.tuples(topics, payloads, st.floats(0, 1e9)) | st.sampled_from(["gap", "away", "back"])
FIELDS = set(
    "id status since since_known seen readings more rate lost outbox reconnects rssi cert_days tls version broker "
    "handshake_ms trouble errors".split()
)


def texts(said: Any) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif isinstance(said, dict):
        for key, value in said.items():
            yield from (key, *texts(value))
    elif isinstance(said, list):
        for value in said:
            yield from texts(value)


def check(live: Live) -> None:
    """All that the page and the store rely on."""
    revision, rows = live.changed(0)
    assert revision == live.revision and len(rows) <= live_module.MOST_DEVICES
    for row in rows:
        assert set(row) == FIELDS
        detail = live.detail(row["id"])
        assert detail is not None and json.loads(json.dumps(detail, allow_nan=False)) == detail
        assert row["status"] in ("online", "offline", "unknown") and 0 < len(row["id"]) <= 64
        assert len(row["readings"]) <= 4 and all(len(r["spark"]) <= 24 for r in row["readings"])
        assert len(detail["readings"]) <= 64 and all(len(r["spark"]) <= 120 for r in detail["readings"])
        assert len(detail["events"]) <= 200 and len(row["errors"]) <= 5 and len(row["reconnects"]) <= 16
        assert all(isinstance(n, int) for n in row["reconnects"].values())
        assert row["tls"] is None or [type(text) for text in row["tls"]] == [str, str]
        assert row["lost"] >= 0 and row["rate"] >= 0
        for text in texts(detail):
            assert len(text) <= 200 and text.isprintable(), text
    json.dumps(live.totals(), allow_nan=False)


@settings(max_examples=int(os.environ.get("ROOTLET_FUZZ_EXAMPLES", "150")), deadline=None)
@given(st.lists(steps, max_size=25))
@example([("rootlet/d/status", b"[" * 60000, 0.0)])
@example([("rootlet/d/x", b'{"value": NaN}', 0.0), ("rootlet/d/x", b'{"value": -1e999}', 1.0)])
@example(
    [("rootlet/d/x", b'{"value": "\\ud800\\u202e\\u001b[2J<b>"}', 0.0), ("rootlet/\ud800/x", b'{"value": 1}', 0.0)]
)
@example([("rootlet/d/status", b'{"status": "online", "uptime_s": 1e400, "boots": 1e400, "rssi": true}', 0.0)])
@example([("rootlet/d/x", b'{"value": 1' + b"0" * 4000 + b"}", 0.0)])
def test_whatever_is_published(messages: list[Any]) -> None:
    live = Live(NOW)
    before = 0
    for step in messages:
        if step == "gap":
            live.gap(NOW)
        elif isinstance(step, str):
            live.broker(step == "back", NOW)
        else:
            topic, payload, later = step
            for noted in live.message(topic, payload, NOW + later):
                assert isinstance(noted, Reading | Event)
                fields = [getattr(noted, name) for name in type(noted).__slots__]
                json.dumps(fields, allow_nan=False)
                assert all(len(text) <= 200 and text.isprintable() for text in texts(fields))
        assert live.revision >= before
        before = live.revision
    check(live)


def test_a_payload_of_a_megabyte_is_only_counted() -> None:
    live = Live(NOW)
    huge = json.dumps({"value": 1, "x": "y" * (1 << 20)}).encode()
    assert live.message("rootlet/d/x", huge, NOW) == []
    assert live.totals()["not_kept"] == 1 and live.totals()["devices"] == 0


def test_depth() -> None:
    """Also just so deep that JSON can be read, and no deeper."""
    live = Live(NOW)
    for depth in (50, 200, 500, 2000, *range(850, 1001)):
        inner = b"[" * depth + b"1" + b"]" * depth
        live.message("rootlet/d/x", b'{"value": ' + inner + b"}", NOW)
        live.message("rootlet/d/status", b'{"status": "online", "a": {"b": {"c": ' + inner + b"}}}", NOW)
        live.message("rootlet/d/status", b'{"status": ' + inner + b"}", NOW)
        live.message("rootlet/d/status", b'{"a":' * depth + b"1" + b"}" * depth, NOW)
    check(live)


def fill(live: Live, devices: int, quantities: int, numbers: int) -> None:
    """The usual: each device with its status and its readings."""
    said = {
        "status": "online", "version": "0.1.0", "reset": "power", "boots": 3, "crashes": 0, "last_error": None,
        "trouble": {"code": "DNS", "fact": "'broker.example'"}, "uptime_s": 86400, "heap_free": 90000,
        "largest_block": 60000, "broker": "broker.example:8883", "handshake_ms": 900, "reconnects": {"TCP": 3},
        "tls": ["TLSv1.2", "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256"], "rssi": -61, "cert_days": 80,
        "outbox": {"depth": 0, "dropped": 0, "stored": 0, "errors": 0}, "tree": None, "tree_version": None,
        "trial": None, "rolled_back": None,
    }  # fmt: skip
    for d in range(devices):
        live.message(f"rootlet/dev-{d}/status", json.dumps(said | {"device": f"dev-{d}"}).encode(), NOW)
        for n in range(numbers):
            for q in range(quantities):
                reading = {"device": f"dev-{d}", "sensor": f"s{q}", "quantity": "temperature", "unit": "Cel"}
                reading |= {"time": "2027-01-15T08:00:00Z", "boot": 3, "seq": n * quantities + q, "value": 20 + n / 10}
                live.message(f"rootlet/dev-{d}/s{q}", json.dumps(reading).encode(), NOW + n)


def attack(live: Live, devices: int) -> None:
    """All that one may make the state keep: long names of wide characters, every event, every number, every gap."""
    wide = "\N{GRINNING FACE}"
    for d in range(devices):
        name = f"{d}".ljust(64, wide)
        for n in range(40):
            error = {"code": f"{n}".ljust(64, wide), "fact": f"{n}".ljust(160, wide)}
            said = {
                "status": "online",
                "boots": n,
                "trouble": error,
                "last_error": error,
                "version": f"{n}" + wide * 64,
            }
            said |= {"reconnects": {f"{n}.{k}" + wide * 3: 1 for k in range(16)}}
            said |= {f"{k}{wide}": wide * 2 for k in range(40)}
            text = json.dumps(said, ensure_ascii=False).encode()
            assert len(text) < LONGEST_PAYLOAD
            live.message(f"rootlet/{name}/status", text, NOW + 60 * n)
        for q in range(16):  # the bound of all quantities divided by that of the devices
            sensor = f"{q}".ljust(64, wide)
            for n in range(125):
                reading: dict[str, Any] = {
                    "value": n / 3,
                    "quantity": wide * 64,
                    "unit": wide * 64,
                    "boot": n % 5,
                    "seq": 3 * n,
                }
                live.message(f"rootlet/{name}/{sensor}", json.dumps(reading, ensure_ascii=False).encode(), NOW + n)
            last = {"value": wide * 200, "quantity": wide * 64}
            live.message(f"rootlet/{name}/{sensor}", json.dumps(last, ensure_ascii=False).encode(), NOW)


def memory(make: Any, devices: int) -> int:
    make(Live(NOW), 1)  # what the interpreter itself keeps is none of ours
    tracemalloc.start()
    try:
        live = Live(NOW)
        make(live, devices)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some devices, with the bounds of the whole in proportion; of more by ROOTLET_LIVE_DEVICES (minutes)."""
    devices = int(os.environ.get("ROOTLET_LIVE_DEVICES", "0"))
    few = memory(lambda live, n: fill(live, n, 5, 120), devices or 20) / (devices or 20)
    bad = devices or 6
    for name in ("MOST_EVENTS", "MOST_QUANTITIES"):
        monkeypatch.setattr(live_module, name, getattr(live_module, name) * bad // live_module.MOST_DEVICES)
    most = memory(attack, bad) / bad
    print(f"a usual device: {few / 1024:.1f} KB; one that means harm: {most / 1024:.0f} KB")
    assert few < 16 * 1024
    assert most < 80 * 1024


def test_a_million_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "MOST_DEVICES", 50)
    live = Live(NOW)

    def many() -> None:
        for n in range(int(os.environ.get("ROOTLET_LIVE_TOPICS", "20000"))):
            live.message(f"rootlet/d{n}/s{n}", b'{"value": 1, "quantity": "%d"}' % n, NOW)
            live.message(f"rootlet/d1/s{n}", b'{"value": 1, "quantity": "%d"}' % n, NOW)

    tracemalloc.start()
    try:
        many()
        assert tracemalloc.get_traced_memory()[0] < 400_000
    finally:
        tracemalloc.stop()
    assert live.totals()["devices"] == 50
    check(live)


def test_speed() -> None:
    """1,000 devices that send once a second must leave nearly all of a core to others."""
    live = Live(NOW)
    fill(live, 1000, 5, 1)
    messages = [
        (f"rootlet/dev-{d}/s1", b'{"device": "dev-%d", "sensor": "s1", "quantity": "temperature", "unit": "Cel", '
         b'"time": "2027-01-15T08:00:00Z", "boot": 3, "seq": %d, "value": 21.5}' % (d, 5 + n))
        for n in range(5) for d in range(1000)
    ]  # fmt: skip
    began = time.process_time()
    for topic, payload in messages:
        live.message(topic, payload, NOW)
    message = (time.process_time() - began) / len(messages)
    began = time.process_time()
    rows = live.changed(0)[1]
    changed = time.process_time() - began
    began = time.process_time()
    text = json.dumps(rows, allow_nan=False)
    dumped = time.process_time() - began
    print(f"{message * 1e6:.1f} µs a message")
    print(f"1,000 rows: {changed * 1e3:.1f} ms; as JSON {dumped * 1e3:.1f} ms, {len(text)} bytes")
    assert len(rows) == 1000
    assert message < 300e-6 and changed + dumped < 0.5  # generous: machines differ, and are busy
