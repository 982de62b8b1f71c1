"""The live page in a real Chromium: virtual boards, a broker by mutual TLS, and the command `rootlet dashboard`."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tools.broker import Broker, choose
from host_tools.failure import Failure
from tests.browser import chromium
from tests.browser.fleet import BOARDS, Fleet
from tests.running import Command

DARK = {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 375, "height": 812}, "is_mobile": True, "has_touch": True}

# The row of a device in the list, and what a person reads in it.
ROW = "#rows .row:has(.device-name bdi:text-is('%s'))"
WORD = "(name) => [...document.querySelectorAll('#rows .row')].find((row) => row.deviceId === name)?.innerText"


class Dashboard:
    """`rootlet dashboard` as a person starts it; url: what it printed, with the token in the fragment."""

    def __init__(self, fleet: Fleet, port: str = "0", broker: int | None = None) -> None:
        line = ["dashboard", f"localhost:{broker or fleet.broker.port}", "--ca", str(fleet.authority.cert_pem)]
        line += ["--cert", str(fleet.observer.cert_pem), "--key", str(fleet.observer.key_pem)]
        line += ["--ca-dir", str(fleet.authority.directory), "--port", port]
        self.command = Command(*line, cwd=fleet.folder)
        self.token_url = self.command.wait_for(r"https://\S+#token=").split()[-1]
        self.url, _, self.token = self.token_url.partition("#token=")
        self.port = self.url.rstrip("/").rpartition(":")[2]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    chromium.program()
    try:
        choose("mosquitto")
    except Failure:
        pytest.skip("Mosquitto is not installed (apt-get install mosquitto)")
    with contextlib.ExitStack() as stack:
        yield Fleet(tmp_path_factory.mktemp("fleet"), stack)


@pytest.fixture(scope="module")
def dashboard(fleet: Fleet) -> Iterator[Dashboard]:
    running = Dashboard(fleet)
    with running.command:
        yield running


@pytest.fixture(scope="module")
def browser(fleet: Fleet) -> Iterator[Any]:
    with chromium.chromium(fleet.authority.cert_pem) as running:
        yield running


@contextlib.contextmanager
def opened(browser: Any, dashboard: Dashboard, **options: Any) -> Iterator[tuple[Any, chromium.Watched]]:
    """The page, logged in by the printed address, with all boards in the list; at the end nothing has gone wrong."""
    with chromium.page_of(browser, **options) as (page, watched):
        page.goto(dashboard.token_url)
        for name in BOARDS:
            page.wait_for_selector(ROW % name)
        watched.errors = [error for error in watched.errors if "401" not in error]  # of the login page, see its test
        yield page, watched
        watched.clean()


def words(page: Any, name: str) -> str:
    return str(page.evaluate(WORD, name))


def becomes(page: Any, name: str, status: str, timeout_s: float) -> None:
    page.wait_for_function(f"([name, status]) => ({WORD})(name)?.includes(status)", arg=[name, status],
                           timeout=timeout_s * 1000)  # fmt: skip


def test_the_token_opens_the_page_and_is_in_no_request(browser: Any, dashboard: Dashboard) -> None:
    with chromium.page_of(browser) as (page, watched):
        page.goto(dashboard.url)
        assert "Log in" in page.title()
        assert chromium.axe(page) == []
        chromium.screenshot(page, "login")
        page.fill("#token", "wrong-token")
        page.click("button")
        page.wait_for_function("() => document.querySelector('#say').textContent.includes('wrong')")
        assert page.context.cookies() == []
        watched.errors = [error for error in watched.errors if "401" not in error]
        page.goto(dashboard.token_url)
        page.wait_for_selector(ROW % "dev-1")
        assert page.url == dashboard.url
        (cookie,) = page.context.cookies()
        assert cookie["name"] == "__Host-session" and cookie["secure"] and cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict" and dashboard.token not in cookie["value"]
        assert any(url.startswith("wss://") for url in watched.urls)
        # Once more, logged in: the address does not keep it either.
        page.goto(dashboard.token_url)
        page.wait_for_selector(ROW % "dev-1")
        page.wait_for_function("() => !location.href.includes('token')")
        assert not any(dashboard.token in url for url in watched.urls)
        page.get_by_role("button", name="Log out").click()
        page.wait_for_selector("#token")
        assert page.evaluate("fetch('/api/devices').then((answer) => answer.text().then(() => answer.status))") == 401
        watched.errors = [error for error in watched.errors if "401" not in error]
        page.goto(dashboard.url)
        page.wait_for_selector("#token")
        watched.errors = [error for error in watched.errors if "401" not in error]
        watched.clean()


def test_readings_change_without_a_reload(browser: Any, dashboard: Dashboard) -> None:
    with opened(browser, dashboard) as (page, watched):
        loads = len([url for url in watched.urls if url == dashboard.url])
        for name in BOARDS:
            becomes(page, name, "online", 5)
            before = words(page, name)
            page.wait_for_function(f"([name, before]) => ({WORD})(name) !== before", arg=[name, before], timeout=5000)
            assert "room" in words(page, name) and "°C" in words(page, name)
        assert len([url for url in watched.urls if url == dashboard.url]) == loads
        assert [kind for kind, _ in watched.frames[:2]] == ["hello", "devices"]
        assert {kind for kind, _ in watched.frames} <= {"hello", "devices", "broker"}
        assert chromium.axe(page) == []


def test_a_board_that_dies_is_offline_within_two_seconds_and_comes_back(
    browser: Any, dashboard: Dashboard, fleet: Fleet
) -> None:
    with opened(browser, dashboard) as (page, _):
        becomes(page, "dev-2", "online", 5)
        fleet.forget()
        began = time.time()
        fleet.boards["dev-2"].power_cut()
        heard = fleet.hear("rootlet/dev-2/status", "offline", 5)
        becomes(page, "dev-2", "offline", 5)
        seen = time.time()
        print(f"will heard {heard - began:.3f} s, shown {seen - began:.3f} s after the cut")
        assert seen - began <= 2
        assert "online" in words(page, "dev-1")
        chromium.screenshot(page, "list-one-offline")
        fleet.boards["dev-2"].power_on()
        fleet.hear("rootlet/dev-2/status", '"online"', 30)
        becomes(page, "dev-2", "online", 2)


@pytest.mark.parametrize(("name", "options"), [("light", {}), ("dark", DARK), ("phone", PHONE)])
def test_a_devices_page(browser: Any, dashboard: Dashboard, name: str, options: dict[str, Any]) -> None:
    with opened(browser, dashboard, **options) as (page, _):
        chromium.screenshot(page, f"list-{name}")
        assert chromium.axe(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        page.click((ROW % "dev-3") + " .device-name")
        page.wait_for_selector("#device h1:has-text('dev-3')")
        page.wait_for_function(
            "() => ['TLSv1.2', 'ECDHE', 'SENSOR', 'cellar', 'TCP_REFUSED']"
            ".every((word) => document.querySelector('#device').innerText.includes(word))"
        )
        page.wait_for_selector("svg.chart .mean, svg.chart .dot", state="attached")
        page.check("input[name=hours][value='24']")
        page.get_by_text("As a table").click()
        page.wait_for_selector("#device details tbody tr:has-text('25')")
        page.wait_for_function("() => document.querySelector('#chart-summary').innerText.includes('last 24 hours')")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        assert chromium.axe(page) == []
        chromium.screenshot(page, f"device-{name}")
        page.go_back()
        page.wait_for_selector(ROW % "dev-1")


HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"alert('owned')\">"
LEVEL = "<img src=x onerror=alert(1)><script>alert(2)"  # one level of a topic: no slash
RTL = "\u202e\u2066kcatta\u202d"


def test_a_hostile_device_runs_nothing_and_the_page_stays_right(
    browser: Any, dashboard: Dashboard, fleet: Fleet
) -> None:
    """With a certificate of its own it may write what it likes, below its own name."""

    def reading(**fields: Any) -> bytes:
        return json.dumps({"sensor": HOSTILE, "quantity": RTL, "value": 1, "unit": HOSTILE, **fields}).encode()

    status = {
        "status": "online", "device": "dev-1", "version": HOSTILE, "broker": RTL + HOSTILE, "tls": [HOSTILE, HOSTILE],
        "rssi": 1e99, "trouble": {"code": HOSTILE, "fact": RTL + HOSTILE}, "boots": [],
        "last_error": {"code": "x" * 999, "fact": "\x00\x1b[2J"}, "reconnects": {HOSTILE: 1, "__proto__": 2},
        "outbox": {"depth": "<b>", "dropped": -1}, "ble": {"seen": {HOSTILE: [1, 2]}},
    }  # fmt: skip
    big = b"9" * 401
    payloads: list[tuple[str, bytes]] = [
        ("status", json.dumps(status).encode()),
        (LEVEL, reading()),
        (HOSTILE, reading()),
        (RTL, reading(value=HOSTILE)),
        ("nan", b'{"sensor": "nan", "quantity": "q", "value": NaN}'),
        ("inf", b'{"sensor": "inf", "quantity": "q", "value": -Infinity}'),
        ("big", b'{"sensor": "big", "quantity": "q", "value": ' + big + b"}"),
        ("exp", b'{"sensor": "exp", "quantity": "q", "value": 1e400, "time": 1e400}'),
        ("utf", b'{"sensor": "\xff\xfe\xc0\x80", "quantity": "q", "value": "\xed\xa0\x80"}'),
        ("deep", b"[" * 50_000),
        ("long", b'{"value": "' + b"A" * 60_000 + b'"}'),
        ("proto", reading(sensor="__proto__", quantity="constructor", value={"a": [1]})),
        ("a/b/c/" + HOSTILE, reading(device="dev-1", sensor="room")),
    ]
    commands = "rootlet/evil/cmd/#"
    with fleet.client("evil", commands) as evil, pytest.raises(TimeoutError):
        # The broker throws out whoever sends more than 64 KB.
        evil.publish("rootlet/evil/huge", b"A" * 1_000_000, 0.5)
    with opened(browser, dashboard) as (page, watched), fleet.client("evil", commands) as evil:
        for topic, payload in payloads:
            evil.publish(f"rootlet/evil/{topic}", payload, 10)
        page.wait_for_selector(ROW % "evil")
        becomes(page, "evil", "online", 5)
        chromium.screenshot(page, "list-hostile")
        page.click((ROW % "evil") + " .device-name")
        page.wait_for_selector("#device h1:has-text('evil')")
        page.wait_for_function("() => document.querySelector('#device').innerText.includes('<script>')")
        chromium.screenshot(page, "device-hostile")
        assert page.title().startswith("evil")
        assert page.evaluate("document.querySelectorAll('#device img, #device script, main script').length") == 0
        shown = page.evaluate("document.body.innerText")
        assert "\u202e" not in shown and "\u2066" not in shown and len(shown) < 60_000
        # The rest of the page goes on.
        page.go_back()
        for name in BOARDS:
            before = words(page, name)
            page.wait_for_function(f"([name, before]) => ({WORD})(name) !== before", arg=[name, before], timeout=5000)
            assert "evil" not in words(page, name)
        assert max(length for _, length in watched.frames) < 50_000
        evil.publish("rootlet/evil/status", b'{"status": "offline"}', 10)
        becomes(page, "evil", "offline", 5)


def test_a_page_of_another_origin_cannot_open_the_websocket(
    browser: Any, dashboard: Dashboard, fleet: Fleet, tmp_path: Path
) -> None:
    """With the session's cookie: the other page is of the same site, since cookies know no ports."""
    from host_tools.servers import HttpsServer

    page_source = b"<!doctype html><html lang=en><title>other</title><link rel=icon href='data:,'><h1>other</h1>"
    script = """(url) => new Promise((say) => {
        const socket = new WebSocket(url);
        socket.onopen = () => say("open"); socket.onmessage = () => say("message"); socket.onclose = (e) => say(e.code);
    })"""
    address = dashboard.url.replace("https://", "wss://") + "ws"
    server = HttpsServer(fleet.server.cert_pem, fleet.server.key_pem, {"/": page_source})
    with server, opened(browser, dashboard) as (page, watched):
        assert page.evaluate(script, address) == "open"
        other = page.context.new_page()
        other.goto(f"https://localhost:{server.port}/")
        assert other.evaluate(script, address) == 1006
        read = "(url) => fetch(url, {credentials: 'include'}).then((a) => a.text(), () => 'refused')"
        assert other.evaluate(read, dashboard.url + "api/devices") == "refused"
        other.close()


def test_a_server_that_goes_away_and_comes_back_asks_for_its_new_token(browser: Any, fleet: Fleet) -> None:
    first = Dashboard(fleet)
    with first.command, chromium.page_of(browser) as (page, watched):
        page.goto(first.token_url)
        page.wait_for_selector(ROW % "dev-1")
        assert first.command.interrupt() == 0
        page.wait_for_function("() => document.querySelector('#link').innerText.includes('lost')")
        page.wait_for_selector("#notice:visible")
        assert chromium.axe(page) == []
        chromium.screenshot(page, "server-away")
        second = Dashboard(fleet, first.port)
        with second.command:
            assert second.token != first.token
            page.wait_for_selector("#token")
            page.goto(first.token_url)
            page.wait_for_function("() => document.querySelector('#say').textContent.includes('wrong')")
            page.goto(second.token_url)
            page.wait_for_selector(ROW % "dev-1")
            page.wait_for_function("() => document.querySelector('#link').innerText.includes('Live')")


def test_an_empty_page_and_a_broker_that_goes_away_and_comes_back(browser: Any, fleet: Fleet, tmp_path: Path) -> None:
    files = (fleet.server.cert_pem, fleet.server.key_pem, fleet.authority.cert_pem)
    with contextlib.ExitStack() as first:
        broker = first.enter_context(Broker(*files, workdir=tmp_path / "first"))
        running = Dashboard(fleet, broker=broker.port)
        with running.command, chromium.page_of(browser) as (page, _):
            page.goto(running.token_url)
            page.wait_for_selector("#empty:visible")
            assert chromium.axe(page) == []
            chromium.screenshot(page, "list-empty")
            first.close()
            link = "(words) => document.querySelector('#link').innerText.includes(words)"
            page.wait_for_function(link, arg="Broker away")
            chromium.screenshot(page, "broker-away")
            with Broker(*files, workdir=tmp_path / "second", port=broker.port):
                page.wait_for_function(link, arg="Live")
