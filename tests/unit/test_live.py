"""The state behind the live page: what messages make of a device's row, its events, and what is stored."""

import json
from typing import Any

from host_tools.dashboard import device as device_module
from host_tools.dashboard import live as live_module
from host_tools.dashboard.live import Event, Live, Reading

START = 1_800_000_000.0
LATER = START + 100  # what the broker had kept has come


def reading(seq: int | None = 0, value: Any = 21.5, device: str = "d1", sensor: str = "chip", **more: Any) -> Any:
    said = {"device": device, "sensor": sensor, "quantity": "temperature", "unit": "Cel", "boot": 1, "seq": seq}
    return f"rootlet/{device}/{sensor}", json.dumps(said | {"value": value} | more).encode()


def status(device: str = "d1", status: str = "online", **said: Any) -> Any:
    return f"rootlet/{device}/status", json.dumps({"status": status, **said}).encode()


def row(live: Live, device: str = "d1") -> dict[str, Any]:
    (found,) = [row for row in live.changed(0)[1] if row["id"] == device]
    return found


def kinds(noted: Any) -> list[tuple[str, str]]:
    assert all(isinstance(one, Event) for one in noted)
    return [(one.kind, one.text) for one in noted]


def online(**said: Any) -> Live:
    """A device that came online before our eyes."""
    live = Live(START)
    live.message(*status(boots=1, uptime_s=3, reset="power", reconnects={}, version="0.1.0", **said), LATER)
    return live


def test_a_reading_is_stored_and_shown() -> None:
    live = Live(START)
    (noted,) = live.message(*reading(7, time="2027-01-15T08:00:00Z"), LATER)
    assert noted == Reading("d1", "chip", "temperature", 21.5, "Cel", START, 1, 7, {})
    shown = row(live)
    assert shown["readings"] == [
        {"sensor": "chip", "quantity": "temperature", "value": 21.5, "unit": "Cel", "time": START, "count": 1,
         "spark": [21.5]}
    ]  # fmt: skip
    assert (shown["status"], shown["since"], shown["seen"], shown["more"]) == ("unknown", None, LATER, 0)


def test_a_bluetooth_sensor_is_told_with_its_address_and_signal() -> None:
    live = Live(START)
    (noted,) = live.message(*reading(address="c4:7c:8d:6a:00:01", rssi=-71), LATER)
    assert noted.extra == {"address": "c4:7c:8d:6a:00:01", "rssi": -71}
    detail = live.detail("d1")
    assert detail and detail["bluetooth"] == [{"sensor": "chip", "time": LATER, **noted.extra}]


def test_a_time_that_is_none_is_not_believed() -> None:
    live = Live(START)
    for time in ("9999-99-99", "", None, [], 1e18, -5, True, "0001-01-01T00:00:00+23:59", "x" * 500):
        (noted,) = live.message(*reading(None, time=time), LATER)
        assert noted.time is None and row(live)["readings"][0]["time"] == LATER


def test_the_row_of_a_status() -> None:
    live = online(
        outbox={"depth": 3, "dropped": 1}, rssi=-61, cert_days=90, tls=["TLSv1.2", "TLS-ECDHE"], broker="b:8883",
        handshake_ms=900, trouble={"code": "DNS", "fact": "'b'"},
    )  # fmt: skip
    shown = row(live)
    assert shown["outbox"] == {"depth": 3, "dropped": 1} and shown["tls"] == ["TLSv1.2", "TLS-ECDHE"]
    assert (shown["rssi"], shown["cert_days"], shown["broker"], shown["handshake_ms"]) == (-61, 90, "b:8883", 900)
    assert (shown["version"], shown["reconnects"]) == ("0.1.0", {})
    assert shown["trouble"] == {
        "code": "DNS", "fact": "'b'", "what": "the host name could not be resolved",
        "fix": "check the name and the network's DNS server",
    }  # fmt: skip
    assert shown["errors"] == [shown["trouble"] | {"when": None}]  # nobody saw when
    detail = live.detail("d1")
    assert detail and detail["facts"]["outbox.depth"] == 3 and detail["facts"]["trouble.code"] == "DNS"
    assert live.detail("other") is None


def test_it_comes_and_goes() -> None:
    live = online()
    detail = live.detail("d1")
    assert detail and [(e["kind"], e["text"]) for e in detail["events"]] == [("online", "power")]
    assert (row(live)["since"], row(live)["since_known"]) == (LATER, True)
    assert kinds(live.message(*status(status="offline"), LATER + 9)) == [("offline", "")]
    assert kinds(live.message(*status(status="offline"), LATER + 10)) == []
    shown = row(live)
    assert (shown["status"], shown["since"], shown["seen"]) == ("offline", LATER + 9, LATER)
    assert shown["version"] == "0.1.0"  # what it said last is still known
    noted = live.message(*status(boots=1, uptime_s=60, reset="power", reconnects={"TCP": 2}), LATER + 60)
    assert kinds(noted) == [("online", "power"), ("reconnect", "2 TCP")]
    assert row(live)["errors"][0]["code"] == "TCP" and row(live)["errors"][0]["when"] == LATER + 60
    assert kinds(live.message(*status(status="offline", why="reboot"), LATER + 70)) == [("offline", "reboot")]


def test_the_status_that_comes_every_few_minutes_changes_nothing() -> None:
    live = online()
    for n in range(1, 5):
        at = LATER + 300 * n
        said = status(boots=1, uptime_s=3 + 300 * n, reset="power", reconnects={}, version="0.1.0")
        assert live.message(*said, at) == []
        assert (row(live)["since"], row(live)["seen"]) == (LATER, at)


def test_what_the_broker_had_kept_is_not_news() -> None:
    live = Live(START)
    assert live.message(*status("a", boots=4, uptime_s=500, reconnects={}), START + 1) == []
    assert live.message(*status("b", boots=4, uptime_s=500, reconnects={"TCP": 1}), START + 1) == []
    assert live.message(*status("c", "offline"), START + 1) == []
    told = {name: (row(live, name)["since"], row(live, name)["since_known"]) for name in "abc"}
    assert told == {"a": (START - 499, False), "b": (START + 1, False), "c": (START + 1, False)}
    assert all(row(live, name)["seen"] is None for name in "abc")  # nobody has heard it
    assert kinds(live.message(*status("a", boots=5, uptime_s=2, reset="wifi"), START + 3)) == [("restart", "wifi")]
    assert kinds(live.message(*status("b", "offline"), START + 3)) == [("offline", "")]


def test_why_it_started_anew() -> None:
    error = {"code": "CRASH", "fact": "main.py:7 ValueError"}
    live = online()
    noted = live.message(*status(boots=2, reset="crash", last_error=error, version="0.1.0"), LATER + 1)
    assert kinds(noted) == [("crash", "crash, CRASH: main.py:7 ValueError")]
    assert row(live)["errors"][0]["code"] == "CRASH"
    noted = live.message(*status(boots=3, reset="watchdog", last_error=error), LATER + 2)
    assert kinds(noted)[0][0] == "crash"
    assert kinds(live.message(*status(boots=4, reset="power", last_error=error), LATER + 3)) == [("restart", "power")]
    # Firmware without a count of starts: the time since the start went back.
    live.message(*status("d2", uptime_s=500), LATER)
    assert kinds(live.message(*status("d2", uptime_s=5), LATER + 9)) == [("restart", "")]


def test_each_start_counts_its_connections_anew() -> None:
    live = online()
    live.message(*status(boots=1, reconnects={"TCP": 3}), LATER + 1)
    noted = live.message(*status(boots=2, reset="power", reconnects={"TCP": 2, "DNS": 1}), LATER + 2)
    assert kinds(noted) == [("restart", "power"), ("reconnect", "2 TCP, DNS")]
    noted = live.message(*status(boots=2, reset="power", reconnects={"TCP": 2, "DNS": 2}), LATER + 2)
    assert kinds(noted) == [("reconnect", "DNS")]


def test_new_firmware_and_back() -> None:
    live = online(tree="a")
    said = {"boots": 2, "reset": "update", "tree": "b", "version": "0.2.0"}
    assert kinds(live.message(*status(**said), LATER + 1))[1:] == [
        ("version", "0.1.0 → 0.2.0"),
        ("version", "tree a → b"),
    ]
    said |= {"boots": 3, "tree": "a", "version": "0.1.0", "rolled_back": 7}
    assert kinds(live.message(*status(**said), LATER + 2))[1:] == [
        ("version", "0.2.0 → 0.1.0"), ("version", "tree b → a"), ("rolled_back", "version 7 did not work"),
    ]  # fmt: skip
    assert live.message(*status(**said), LATER + 3) == []


def test_trouble_comes_and_goes() -> None:
    live = online()
    trouble = {"code": "DNS", "fact": "x"}
    assert kinds(live.message(*status(boots=1, trouble=trouble), LATER + 1)) == [("trouble", "DNS: x")]
    assert live.totals()["trouble"] == 1
    assert live.message(*status(boots=1, trouble=trouble), LATER + 2) == []
    assert kinds(live.message(*status(boots=1), LATER + 3)) == [("trouble_gone", "DNS")]


def test_days_of_the_certificate() -> None:
    live = online(cert_days=32)
    told = []
    for days in (31, 30, 29, 8, 7, 6, 1, 0, -1, -2, 365, 364):
        told += kinds(live.message(*status(boots=1, cert_days=days), LATER + 1))
    texts = ("30 days left", "7 days left", "it ends today", "renewed, 365 days left")
    assert told == [("certificate", text) for text in texts]


def test_lost_readings_are_told_once_a_minute() -> None:
    live = Live(START)
    events: list[tuple[float, str]] = []
    for n in range(200):
        noted = live.message(*reading(2 * n), LATER + n)
        events += [(n, one.text) for one in noted if isinstance(one, Event)]
    assert events == [(1, "1 reading"), (61, "60 readings"), (121, "60 readings"), (181, "60 readings")]
    assert row(live)["lost"] == 199
    live.message(*reading(1), LATER + 300)
    assert row(live)["lost"] == 198


def test_what_the_outbox_dropped() -> None:
    live = online(outbox={"depth": 0, "dropped": 0})
    for dropped, boots, told in ((0, 1, []), (5, 1, ["5 readings"]), (5, 1, []), (7, 1, ["2 readings"])):
        noted = live.message(*status(boots=boots, outbox={"depth": 1, "dropped": dropped}), LATER + 1)
        assert [text for kind, text in kinds(noted) if kind == "dropped"] == told
    noted = live.message(*status(boots=2, outbox={"depth": 1, "dropped": 3}), LATER + 2)
    assert ("dropped", "3 readings") in kinds(noted) and live.totals()["dropped"] == 3


def test_while_the_broker_is_away_nothing_is_known() -> None:
    live = online()
    live.message(*reading(0), LATER)
    revision = live.revision
    live.broker(False, LATER + 10)
    revision, rows = live.changed(revision)
    assert [(r["status"], r["since"]) for r in rows] == [("unknown", LATER + 10)]
    live.broker(True, LATER + 60)
    assert row(live)["status"] == "unknown"
    # The same connection as before: it was online all the time.
    said = status(boots=1, uptime_s=3, reset="power", reconnects={}, version="0.1.0")
    assert live.message(*said, LATER + 61) == []
    assert (row(live)["status"], row(live)["since"]) == ("online", LATER)
    live.message(*reading(50), LATER + 62)
    assert row(live)["lost"] == 0  # not seen is not lost
    # Another connection: since when nobody knows.
    live.gap(LATER + 100)
    assert kinds(live.message(*status(boots=1, reconnects={"TCP": 1}), LATER + 101)) == [("reconnect", "TCP")]
    assert (row(live)["since"], row(live)["since_known"]) == (LATER + 101, False)
    revision = live.revision
    live.gap(LATER + 200)
    assert [r["status"] for r in live.changed(revision)[1]] == ["unknown"]
    assert kinds(live.message(*status(status="offline"), LATER + 201)) == [("offline", "")]


def test_a_broker_that_comes_late() -> None:
    live = Live(START)
    live.broker(True, START + 900)
    assert live.message(*status(boots=1, uptime_s=50, reconnects={}), START + 901) == []
    assert (row(live)["since"], row(live)["since_known"]) == (START + 851, False)


def test_what_changed_since() -> None:
    live = Live(START)
    for name in "abc":
        live.message(*reading(device=name), LATER)
    revision, rows = live.changed(0)
    assert {r["id"] for r in rows} == set("abc") and live.changed(revision) == (revision, [])
    live.message(*reading(1, device="b"), LATER + 1)
    live.message(*reading(2, device="b"), LATER + 2)
    newer, rows = live.changed(revision)
    assert newer > revision and [r["id"] for r in rows] == ["b"]
    spark = rows[0]["readings"][0]
    assert spark["count"] == 3 and len(spark["spark"]) == 3


def test_the_first_four_are_shown_and_all_in_detail() -> None:
    live = Live(START)
    for n in range(6):
        for value in range(130):
            live.message(*reading(None, value, sensor=f"s{n}"), LATER + value)
    shown, detail = row(live), live.detail("d1")
    assert [r["sensor"] for r in shown["readings"]] == ["s0", "s1", "s2", "s3"] and shown["more"] == 2
    assert shown["readings"][0]["spark"] == list(range(106, 130))
    assert detail and len(detail["readings"]) == 6 and detail["more"] == 0
    assert detail["readings"][0]["spark"] == list(range(10, 130)) and detail["readings"][0]["count"] == 130


def test_a_burst_is_no_rate() -> None:
    live = Live(START)
    for n in range(4):
        live.message(*reading(n), LATER + n / 100)
    assert row(live)["rate"] == 18


def test_rates() -> None:
    live = Live(START)
    for n in range(90):
        live.message(*reading(n), LATER + n)
    assert row(live)["rate"] == 60
    assert live.totals()["rate"] == 60 and live.totals()["readings"] == 90


def test_no_device_speaks_for_another() -> None:
    live = Live(START)
    live.message("rootlet/evil/victim/status", b'{"status": "offline"}', LATER)
    live.message("rootlet/evil/chip", reading(device="victim")[1], LATER)
    live.message("elsewhere/victim/chip", reading(device="victim")[1], LATER)
    live.message("rootlet/victim/cmd", b'{"id": 1}', LATER)
    assert [r["id"] for r in live.changed(0)[1]] == ["evil"]
    mine = Live(START, "house/{sensor}/of/{device}")
    mine.message("house/chip/of/d1", reading()[1], LATER)
    assert [r["id"] for r in mine.changed(0)[1]] == ["d1"]


def test_bounds_of_the_whole(monkeypatch: Any) -> None:
    monkeypatch.setattr(live_module, "MOST_DEVICES", 3)
    monkeypatch.setattr(live_module, "MOST_QUANTITIES", 5)
    live = Live(START)
    for n in range(5):
        for sensor in "xyz":
            live.message(*reading(None, device=f"d{n}", sensor=sensor), LATER)
    totals = live.totals()
    assert (totals["devices"], totals["not_kept"], totals["messages"]) == (3, 4 + 6, 15)
    assert sum(len(r["readings"]) for r in live.changed(0)[1]) == 5


def test_events_are_bounded_in_number_and_pace() -> None:
    live = Live(START)
    stored = []
    for n in range(1000):
        stored += live.message(*status(status="offline" if n % 2 else "online"), LATER + n / 100)
    assert len(stored) == 30  # of ten seconds
    for n in range(1000):
        live.message(*status(status="offline" if n % 2 else "online"), LATER + 100 + 10 * n)
    detail = live.detail("d1")
    assert detail and len(detail["events"]) == device_module.MOST_EVENTS == 200
    assert detail["events"][0]["time"] == LATER + 100 + 9990
