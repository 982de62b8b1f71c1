"""The table of `rootlet watch`: what messages mean, gaps, rates, charts, and its bounds."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from host_tools import readings
from host_tools.readings import Table, pace, span, sparkline, understand, view
from host_tools.sequences import Sequence, Sequences


def reading(seq: int, value: Any = 21.5, device: str = "pico-1", sensor: str = "chip") -> tuple[str, bytes]:
    data = {"device": device, "sensor": sensor, "quantity": "temperature", "value": value, "unit": "C", "seq": seq}
    return f"rootlet/{device}/{sensor}", json.dumps(data).encode()


def test_a_reading() -> None:
    m = understand(*reading(7))
    assert (m.kind, m.device, m.sensor, m.quantity, m.value, m.unit, m.seq) == (
        "reading", "pico-1", "chip", "temperature", 21.5, "C", 7,
    )  # fmt: skip


@pytest.mark.parametrize("text", [b"online", b'{"status": "online", "boots": 3, "error": "DNS"}'])
def test_a_status(text: bytes) -> None:
    m = understand("rootlet/pico-1/status", text)
    assert (m.kind, m.device, m.status) == ("status", "pico-1", "online")
    assert m.more in ("", "boots 3, error DNS")


def test_a_device_is_that_of_the_topic() -> None:
    topic, payload = reading(1, device="victim")
    assert understand("rootlet/attacker/chip", payload).device == "attacker"
    assert understand("home/victim/x/y", payload).device == "victim"


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {"value": any_json},
    optional={
        name: any_json
        for name in (
            "device",
            "sensor",
            "quantity",
            "unit",
            "seq",
            "boot",
            "status",
            "outbox",
            "rssi",
            "reconnects",
            "address",
        )
    },
)
payloads = (
    st.binary(max_size=60)
    | any_json.map(lambda x: json.dumps(x).encode())
    | fields.map(lambda x: json.dumps(x).encode())
)
topics = st.text(max_size=30) | st.sampled_from(["rootlet/a/status", "rootlet/a/b", "a", "", "/", "status"])


@given(st.lists(st.tuples(topics, payloads), max_size=20))
def test_nothing_that_is_published_does_harm(messages: list[tuple[str, bytes]]) -> None:
    table = Table()
    for i, (topic, payload) in enumerate(messages):
        message = table.add(topic, payload, float(i))
        line = readings.as_json(topic, payload, message, table, "now")
        assert line.isascii() and "\n" not in line
        json.loads(line, parse_constant=lambda name: pytest.fail(name))
    console = Console(width=150, force_terminal=True, color_system=None, no_color=True)
    with console.capture() as said:
        console.print(view(table, 100.0, "broker:1"))
    assert "\x1b" not in said.get() and all(c.isprintable() or c == "\n" for c in said.get())


def test_a_hostile_publisher_takes_bounded_memory() -> None:
    table = Table()
    for i in range(2000):
        table.add(*reading(i, sensor=f"s{i}"), now=float(i))
        table.add(*reading(i, device=f"d{i}"), now=float(i))
    table.add("rootlet/pico-1/status", b'{"status": "online", "x": "' + b"y" * 100000 + b'"}', 1)
    assert len(table.rows) <= readings.MOST_ROWS and len(table.devices) <= readings.MOST_DEVICES
    assert sum(1 for device, _, _ in table.rows if device == "pico-1") == readings.MOST_OF_ONE
    assert table.not_kept == 4000 - len(table.rows)
    assert table.messages == 4001
    assert all(len(row.values) <= readings.KEPT for row in table.rows.values())


@given(st.lists(st.integers(0, 2**53), max_size=60))
def test_numbers_lost_are_never_fewer_than_none_and_take_bounded_memory(numbers: list[int]) -> None:
    sequence = Sequence()
    for number in numbers:
        sequence.add(number)
        assert sequence.lost >= 0 and sequence._missing.bit_length() <= 1025


@given(st.integers(1, 200), st.sets(st.integers(1, 198)))
def test_lost_numbers_are_counted(count: int, lost: set[int]) -> None:
    sequence = Sequence()
    for number in range(count + 1):
        if number not in lost or number in (0, count):
            sequence.add(number)
    assert sequence.lost == len([n for n in lost if n < count])


def test_late_repeated_and_from_the_restart() -> None:
    sequence = Sequence()
    for number in (0, 1, 4, 3, 4, 5, 0, 1):
        sequence.add(number)
    assert (sequence.lost, sequence.repeated, sequence.starts, sequence.last) == (1, 1, 1, 1)


@given(st.lists(st.tuples(st.integers(0, 2**53), st.none() | st.integers(0, 9)), max_size=60))
def test_starts_are_kept_in_bounded_memory(pairs: list[tuple[int, int | None]]) -> None:
    sequences = Sequences()
    for number, boot in pairs:
        sequences.add(number, boot)
        assert sequences.lost >= 0 and sequences.repeated >= 0 and len(sequences._kept) <= 4


def count(*pairs: tuple[int, int]) -> tuple[int, int]:
    sequences = Sequences()
    for boot, number in pairs:
        sequences.add(number, boot)
    return sequences.lost, sequences.repeated


def test_each_start_has_a_sequence_of_its_own() -> None:
    assert count((5, 7), (5, 8), (6, 0), (6, 1)) == (0, 0)
    assert count((5, 7), (5, 9), (6, 0), (6, 1)) == (1, 0)
    assert count((5, 7), (6, 2)) == (2, 0)  # it began while we watched, so 0 and 1 are missing
    assert count((5, 7), (6, 2), (6, 0), (6, 1)) == (0, 0)


def test_older_starts_may_come_late_and_again() -> None:
    # A cut of power: the new start's first reading, then what was on flash of the one before, part of it again.
    assert count((5, 0), (5, 1), (5, 2), (6, 0), (5, 1), (5, 2), (5, 3), (6, 1), (6, 2)) == (0, 2)
    assert count((6, 0), (5, 40), (5, 41), (6, 1), (5, 12)) == (0, 0)  # nobody has heard what came before 40
    assert count((5, 0), (5, 3), (6, 0), (5, 1), (5, 2), (5, 0)) == (0, 1)


def test_a_repeated_start_of_one_start_is_no_new_one() -> None:
    sequences = Sequences()
    for number in (0, 1, 2, 500, 0):
        sequences.add(number, 3)
    assert (sequences.lost, sequences.repeated) == (497, 1)


def test_starts_that_are_let_go_still_count() -> None:
    pairs = [(boot, number) for boot in range(1, 20) for number in (0, 1, 1, 3)]
    assert count(*pairs) == (19, 19)
    again = [(boot, number) for boot in (57, 58, 1, 2) for number in (0, 1)]  # deployed between: starts count from 1
    assert count(*again) == (0, 0)


def test_readings_with_boot_are_counted_by_both() -> None:
    table = Table()
    for boot, number in ((1, 0), (1, 1), (2, 0), (1, 1), (2, 1)):
        topic, payload = reading(number)
        message = table.add(topic, json.dumps(json.loads(payload) | {"boot": boot}).encode(), 1)
        assert (message.boot, message.seq) == (boot, number)
    assert table.lost("pico-1") == 0 and table.devices["pico-1"].sequence.repeated == 1
    for bad in (-1, True, "1", 2**60, 1.0):
        assert understand("a/b/c", json.dumps({"value": 1, "boot": bad, "seq": 1}).encode()).boot is None


def test_a_status_says_first_what_matters() -> None:
    data = {
        "status": "online", "device": "pico-1", "version": "1.0", "reset": "power", "boots": 3, "crashes": 0,
        "uptime_s": 7, "outbox": {"depth": 5, "dropped": 2}, "rssi": -61, "cert_days": 12,
        "reconnects": {"DNS": 1, "MQTT_TIMEOUT": 2}, "trouble": {"code": "DNS", "fact": "x"},
    }  # fmt: skip
    more = understand("rootlet/pico-1/status", json.dumps(data).encode()).more
    assert more.startswith("outbox 5, dropped 2, rssi -61, cert_days 12, reconnects 3, trouble DNS, version 1.0"), more
    hostile = {
        "outbox": {"depth": "\x1b[2J", "dropped": 10**400}, "rssi": [1], "cert_days": True,
        "trouble": {"code": "\x07" * 5000}, "reconnects": {str(i): 10**300 for i in range(99)},
    }  # fmt: skip
    for value in (hostile, {key: None for key in hostile}, {key: [7] for key in hostile}, {key: {} for key in hostile}):
        more = understand("rootlet/pico-1/status", json.dumps(value).encode()[: readings.LONGEST_PAYLOAD]).more
        assert more.isprintable() and len(more) <= readings.LONGEST_SHOWN


def test_lost_is_unknown_where_not_all_topics_are_watched() -> None:
    for whole, expected in ((True, 3), (False, None)):
        table = Table(whole)
        table.add(*reading(0), now=0)
        table.add(*reading(4), now=1)
        assert table.lost("pico-1") == expected
    assert readings.whole_topic("rootlet/#") and not readings.whole_topic("rootlet/+/chip")


@given(st.lists(st.floats(), max_size=40))
def test_a_chart_has_one_block_a_value(values: list[float]) -> None:
    chart = sparkline(values)
    assert len(chart) == len(values) and set(chart) <= set(readings.BLOCKS + " ")
    finite = [v for v in values if math.isfinite(v)]
    if len(set(finite)) > 1 and max(finite) / 2 - min(finite) / 2 > 0:
        assert chart[values.index(min(finite))] == "▁" and chart[values.index(max(finite))] == "█"


def test_charts() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == readings.BLOCKS
    assert sparkline([5, 5]) == "▄▄" and sparkline([]) == "" and sparkline([math.nan, 1]) == " ▄"
    assert sparkline([0, 1], readings.PLAIN_BLOCKS) == "_@"


def test_rates_and_ages() -> None:
    table = Table()
    for i in range(5):
        table.add(*reading(i), now=i * 2.0)
    (row,) = table.rows.values()
    assert row.rate() == 0.5 and row.count == 5
    assert [pace(r) for r in (None, 12.0, 0.5, 0.001)] == ["-", "12/s", "30/min", "3.6/h"]
    assert [span(s) for s in (0, 99, 100, 7200, 400000)] == ["0 s", "99 s", "2 min", "2 h", "5 d"]


def test_the_picture() -> None:
    table = Table()
    for i, value in enumerate((20, 21, 22)):
        table.add(*reading(i if i < 2 else 5, value), now=float(i))
    table.add("rootlet/pico-1/status", b"online", 3)
    table.add("rootlet/pico-2/status", b'{"status": "offline", "error": "DNS"}', 3)
    console = Console(width=120, no_color=True)
    with console.capture() as said:
        console.print(view(table, 9.0, "broker:1", note="a note"))
    text = said.get()
    for words in ("pico-1 online", "pico-2 offline", "22", "C", "7 s", "1/s", "▁▅█", "error DNS", "a note"):
        assert words in text, (words, text)


def heard(address: Any, rssi: Any) -> tuple[str, bytes]:
    topic, payload = reading(1, sensor="kitchen")
    return topic, json.dumps({**json.loads(payload), "address": address, "rssi": rssi}).encode()


def shown(table: Table) -> str:
    console = Console(width=160, no_color=True)
    with console.capture() as said:
        console.print(view(table, 9.0, "broker:1"))
    return said.get()


def test_a_bluetooth_sensor_has_its_address_and_signal() -> None:
    table = Table()
    table.add(*reading(0), now=0)
    assert "address" not in shown(table) and "dBm" not in shown(table)
    message = table.add(*heard("a4:c1:38:12:34:56", -61), now=1)
    assert (message.address, message.rssi) == ("a4:c1:38:12:34:56", -61)
    text = shown(table)
    for words in ("address", "dBm", "a4:c1:38:12:34:56", "-61"):
        assert words in text, text
    line = json.loads(readings.as_json(*heard("a4:c1:38:12:34:56", -61), message, table, "now"))
    assert (line["address"], line["rssi"]) == ("a4:c1:38:12:34:56", -61)
    plain = table.add(*reading(2), now=2)
    assert "address" not in json.loads(readings.as_json(*reading(2), plain, table, "now"))


@pytest.mark.parametrize(
    "address", ["a4:c1:38:12:34:56\n", "\x1b[2Ja4:c1:38", "A4:C1:38:12:34:56", "x" * 9000, 7, None, {}]
)
@pytest.mark.parametrize("rssi", [-128, 21, True, 1.5, "-61", 10**400, None, [-61]])
def test_hostile_addresses_and_signals_are_left_out(address: Any, rssi: Any) -> None:
    table = Table()
    message = table.add(*heard(address, rssi), now=0)
    assert (message.address, message.rssi) == ("", None)
    assert "address" not in shown(table)


def test_what_comes_while_nobody_looks_is_not_lost() -> None:
    table = Table()

    def take(seq: int, boot: int = 1) -> None:
        topic, payload = reading(seq)
        table.add(topic, json.dumps({**json.loads(payload), "boot": boot}).encode(), 0)

    for seq in (0, 1, 2):
        take(seq)
    table.unwatched()
    take(40)
    assert table.lost("pico-1") == 0
    take(42)
    assert table.lost("pico-1") == 1  # watched again
    table.unwatched()
    take(7, boot=2)
    assert table.lost("pico-1") == 1
    take(9, boot=2)
    assert table.lost("pico-1") == 2


def test_a_line_of_watch_tells_the_protocol() -> None:
    m = understand("rootlet/a/status", b'{"status": "online", "tls": ["TLSv1.3", "TLS1-3-AES-128-GCM-SHA256"]}')
    assert m.more == "tls TLSv1.3"


def test_topics_of_a_known_form() -> None:
    payload = b'{"value": 1, "device": "victim", "sensor": "x"}'
    form = "rootlet/{device}/{sensor}"
    assert understand("rootlet/evil/victim/status", b'{"status": "offline"}', form).kind == "other"
    assert understand("rootlet/evil/victim", payload, form).device == "evil"
    assert understand("other/evil/x", payload, form).kind == "other"
    m = understand("home/x1/from-evil/raw", payload, "home/{sensor}1/from-{device}/raw")
    assert (m.kind, m.device, m.sensor) == ("reading", "evil", "x")
    assert understand("a/b/status", b"online", "{device}/b/{sensor}").kind == "status"
    assert understand("rootlet/{device}/x", payload, form).device == "{device}"


def test_a_late_number_counts_once_and_not_for_ever() -> None:
    sequence = Sequence(one_start=True)
    for number in (0, 3, 1, 1):
        sequence.add(number)
    assert (sequence.lost, sequence.repeated) == (1, 1)
    for number in range(1000, 10000, 1000):
        sequence.add(number)
    assert sequence._missing.bit_length() <= 1025
    lost = sequence.lost
    sequence.add(7900)  # more than 1,024 ago
    assert (sequence.lost, sequence.repeated) == (lost, 2)
    sequence.add(8000)  # came before
    sequence.add(8999)
    assert (sequence.lost, sequence.repeated) == (lost - 1, 3)
