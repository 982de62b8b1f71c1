"""`rootlet dashboard`: what arrives at a real broker is on the page at once; clients and brokers that misbehave."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from host_tools.broker import Broker, choose
from host_tools.dashboard.serve import Dashboard
from host_tools.engines import mosquitto
from host_tools.failure import Failure
from tests.integration.conftest import Pki
from tests.integration.test_watch import Publisher
from tests.integration.viewing import Browser, free_port, row_of, settings, until


class Generous(Broker):
    """A broker that lets messages of a megabyte through, as others do."""

    def _start(self) -> bool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mosquitto, "configure", _generous)
            return super()._start()


def _generous(settings: Any, configure: Any = mosquitto.configure) -> Any:
    start = configure(settings)
    path = Path(start.command[-1])
    text = path.read_text()
    assert "max_packet_size 65536\n" in text
    path.write_text(text.replace("max_packet_size 65536\n", ""))
    return start


@pytest.fixture(scope="module")
def broker(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    server = (pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem)
    try:
        choose("mosquitto")
    except Failure:
        pytest.skip("Mosquitto is not installed and could not be")
    with Generous(*server, workdir=tmp_path_factory.mktemp("broker"), engine="mosquitto") as running:
        yield running


@pytest.fixture
def page(pki: Pki, broker: Broker, tmp_path: Path) -> Iterator[Dashboard]:
    made = settings(pki, broker.port, history=tmp_path / "history.sqlite", silence_s=2)
    with Dashboard(made) as running:
        yield running


@pytest.fixture
def browser(pki: Pki, page: Dashboard) -> Iterator[Browser]:
    with Browser(pki, page) as one:
        one.login()
        yield one


@pytest.fixture
def device(pki: Pki, broker: Broker) -> Iterator[Publisher]:
    publisher = Publisher(pki, broker.port)
    publisher.say("status", "online", retain=True)
    yield publisher
    publisher.say("status", b"", retain=True)
    publisher.close()


def connected(message: dict[str, Any]) -> bool:
    return message["type"] in ("hello", "broker") and message["connected"]


def ready(ws: Any) -> None:
    """Wait until the page sees the broker and knows all of before."""
    seen: set[str] = set()

    def both(message: dict[str, Any]) -> bool:
        seen.update(["connected"] if connected(message) else [], ["all"] if message.get("all") else [])
        return len(seen) == 2

    until(ws, both)


def test_what_is_published_is_on_the_page(browser: Browser, device: Publisher, page: Dashboard) -> None:
    with browser.socket() as ws:
        hello = json.loads(ws.recv(timeout=5))
        assert hello["type"] == "hello" and hello["broker"] == f"localhost:{page.site.settings.place.port}"
        assert abs(hello["now"] - time.time()) < 5 and "devices" in hello["totals"]
        everything = json.loads(ws.recv(timeout=5))
        assert (everything["type"], everything["all"]) == ("devices", True)
        row_of("dev-1", lambda row: row["status"] == "online")(everything) or until(
            ws, row_of("dev-1", lambda row: row["status"] == "online")
        )
        began = time.monotonic()
        device.reading(0, 20.5)
        reading = until(ws, row_of("dev-1", lambda row: row["readings"]))["readings"][0]
        assert time.monotonic() - began < 2
        assert (reading["quantity"], reading["value"], reading["unit"], reading["new"]) == (
            "temperature",
            20.5,
            "C",
            [20.5],
        )
        numbers = [float(n) for n in range(20)]
        for n in numbers:
            device.reading(1 + int(n), n)
        came: list[float] = []

        def more(message: dict[str, Any]) -> bool:
            row = row_of("dev-1")(message)
            came.extend(row["readings"][0]["new"] if row else [])
            return len(came) == len(numbers)

        until(ws, more)
        assert came == numbers
        # Who comes later has the same behind it, and then the same news.
        with browser.socket() as other:
            row = until(other, row_of("dev-1"))
            assert row["readings"][0]["spark"] == [20.5, *numbers]
            device.reading(21, 99)
            assert until(other, row_of("dev-1", lambda row: "new" in row["readings"][0]))["readings"][0]["new"] == [99]
    found = browser.http.get("/api/devices").json()
    assert [row["id"] for row in found["rows"]] == ["dev-1"] and found["connected"]
    assert browser.http.get("/api/device/dev-1").json()["readings"][0]["value"] == 99
    assert page.site.history and page.site.history.flush()
    asked = {"device": "dev-1", "sensor": "chip", "quantity": "temperature", "hours": "1"}
    points = browser.http.get("/api/series", params=asked).json()["points"]
    assert 1 <= len(points) <= 300 and points[-1][2] is not None and max(p[3] for p in points) == 99
    for wrong in (
        {"hours": "nan"},
        {"hours": "-1"},
        {"hours": "1e9"},
        {"hours": "x"},
        {"device": ""},
        {"sensor": "a" * 999},
    ):
        assert browser.http.get("/api/series", params=asked | wrong).status_code == 400
    device.say("status", {"status": "offline"})
    with browser.socket() as ws:
        until(ws, row_of("dev-1", lambda row: row["status"] == "offline"))
    assert page.site.history.flush()
    events = browser.http.get("/api/events", params={"device": "dev-1", "limit": 5}).json()["events"]
    assert "offline" in [event["kind"] for event in events]
    assert browser.http.get("/api/events", params={"limit": "0"}).status_code == 400


def test_an_opened_device(browser: Browser, device: Publisher) -> None:
    with browser.socket() as ws:
        ready(ws)
        device.reading(0, 1)
        until(ws, row_of("dev-1", lambda row: row["readings"]))

        def detail(message: dict[str, Any]) -> Any:
            return message["type"] == "device" and (message["device"] or "none")

        ws.send(json.dumps({"type": "open", "device": "dev-1"}))
        assert until(ws, detail)["readings"][0]["value"] == 1
        device.reading(1, 2)
        assert until(ws, detail)["readings"][0]["value"] == 2
        ws.send(json.dumps({"type": "open", "device": "no-such"}))
        assert until(ws, detail) == "none"
        ws.send(json.dumps({"type": "open", "device": None}))
        device.reading(2, 3)
        kinds: list[str] = []

        def third(message: dict[str, Any]) -> Any:
            kinds.append(message["type"])
            return row_of("dev-1", lambda row: row["readings"][0]["value"] == 3)(message)

        until(ws, third)
        assert "device" not in kinds


WRONG = [
    "", "{}", "[]", "null", "{", '{"type":"open"}', '{"type":"open","device":1}', '{"type":"close","device":"a"}',
    '{"type":"open","device":"a","more":1}', json.dumps({"type": "open", "device": "a" * 1100}), "[" * 1000,
    '{"type":"open","device":["a"]}', b'{"type":"open","device":null}', b"\x00",
]  # fmt: skip


def test_clients_that_say_something_else(browser: Browser) -> None:
    for text in WRONG:
        with browser.socket() as ws:
            ws.send(text)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    ws.recv(timeout=5)
        assert closed.value.rcvd and closed.value.rcvd.code == 1008, text
    with browser.socket() as ws:
        ws.send("a" * 100000)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                ws.recv(timeout=5)
        assert closed.value.rcvd and closed.value.rcvd.code == 1009


def test_sixteen_pages_and_no_more(browser: Browser) -> None:
    with contextlib.ExitStack() as stack:
        open_ = [stack.enter_context(browser.socket()) for _ in range(16)]
        with pytest.raises(InvalidStatus) as refused:
            browser.socket()
        assert refused.value.response.status_code == 503
        open_[3].close()
        with browser.socket() as ws:
            ws.recv(timeout=5)


def test_logging_out_ends_the_socket(browser: Browser) -> None:
    with browser.socket() as ws:
        ws.recv(timeout=5)
        assert browser.http.post("/logout", headers={"Origin": browser.origin}).status_code == 303
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                ws.recv(timeout=5)
        assert closed.value.rcvd and closed.value.rcvd.code == 1008
    with pytest.raises(InvalidStatus):
        browser.socket()


def test_who_does_not_read_is_dropped_while_another_gets_all(
    browser: Browser, device: Publisher, page: Dashboard
) -> None:
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect(("127.0.0.1", page.site.port))
    # One frame is taken off the wire and then nothing more: neither texts nor pings are answered.
    with browser.socket() as ws, browser.socket(sock=small, max_queue=1, ping_interval=None) as stuck:
        ready(ws)
        came: list[float] = []
        began, n = time.monotonic(), 0
        while len(came) < n or time.monotonic() - began < 3:
            if time.monotonic() - began < 3:
                for _ in range(20):
                    device.reading(n, n)
                    n += 1
            message = json.loads(ws.recv(timeout=5))
            for row in message.get("rows", ()):
                came += [value for reading in row["readings"] for value in reading["new"]]
        assert came == sorted(came) and came[-1] == n - 1 and len(set(came)) == len(came)
        assert page.site._hub.count == 1
        with pytest.raises(ConnectionClosed):
            for _ in range(100):
                stuck.recv(timeout=5)


def test_a_hostile_device(browser: Browser, device: Publisher, page: Dashboard) -> None:
    bad = "<img src=x onerror=alert(1)>\"'&\N{RIGHT-TO-LEFT OVERRIDE}\x1b[31m\u2028"
    with browser.socket() as ws:
        ready(ws)
        device.say("<script>alert(1)</script>", {"value": 1, "quantity": bad, "unit": bad, "sensor": bad})
        device.say("chip", b'{"value": 1e999, "quantity": "a", "sensor": "b"}')
        device.say("chip", b'{"value": NaN, "quantity": "c", "sensor": "b"}')
        device.say("chip", b'{"value": ' + b"9" * 5000 + b', "quantity": "d", "sensor": "b"}')
        device.say("chip", b"\xff\xfe{\x00")
        device.say("chip", b"[" * 60000)
        device.say("chip", b'{"value": "\\ud800", "quantity": "e", "sensor": "b"}')
        device.say("chip", b"x" * (1 << 20))
        device.say("status", b'{"status": "online", "last_error": "<b>", "reconnects": {"<i>": 1e400}}')
        for n in range(300):
            device.say("chip", {"value": n, "quantity": f"q{n}", "sensor": bad * 40}) if n % 3 == 0 else None
        device.say("chip", {"value": 7, "quantity": "last", "sensor": "s"})
        device.say("status", {"status": "offline", "why": bad})
        row = until(ws, row_of("dev-1", lambda row: row["status"] == "offline"))
        assert len(row["readings"]) <= 4 and len(json.dumps(row)) < 8000
        ws.send(json.dumps({"type": "open", "device": "dev-1"}))
        detail = until(ws, lambda message: message["type"] == "device" and message["device"])
        assert len(detail["readings"]) <= 64 and len(json.dumps(detail)) < 300_000
    answer = browser.http.get("/api/device/dev-1")
    assert answer.headers["content-type"] == "application/json" and "NaN" not in answer.text
    assert browser.http.get("/api/devices").json()["totals"]["not_kept"] >= 1


def test_the_broker_goes_and_comes_back(pki: Pki, tmp_path: Path) -> None:
    server = (pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem)
    port = free_port()
    with Dashboard(settings(pki, port)) as page, Browser(pki, page) as browser:
        browser.login()
        with browser.socket() as ws:
            hello = json.loads(ws.recv(timeout=5))
            assert not hello["connected"]
            trouble = hello["trouble"] or until(ws, lambda m: m["type"] == "broker" and m["trouble"])
            assert "no connection" in str(trouble)
            with Broker(*server, workdir=tmp_path, port=port) as broker:
                until(ws, connected, 20)
                device = Publisher(pki, port)
                device.say("status", "online", retain=True)
                until(ws, row_of("dev-1", lambda row: row["status"] == "online"))
                broker.kill()
                until(ws, lambda m: m["type"] == "broker" and not m["connected"])
                until(ws, row_of("dev-1", lambda row: row["status"] == "unknown"))
                wrong = pki.authority.issue_server(["elsewhere.example"], force=True)
                broker.restart(wrong.cert_pem, wrong.key_pem)
                said = until(
                    ws, lambda m: m["type"] == "broker" and "not who it should be" in str(m["trouble"]) and m, 20
                )
                assert not said["connected"] and "match" in said["trouble"]["because"]
                device.close()
                broker.restart(pki.server.cert_pem, pki.server.key_pem)
                until(ws, connected, 30)
                device = Publisher(pki, port)
                device.say("status", "online", retain=True)
                until(ws, row_of("dev-1", lambda row: row["status"] == "online"))
                device.close()
