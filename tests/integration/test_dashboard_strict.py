"""What is easily overlooked about the page: many at once, certificates taken back, messages that take long."""

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

import httpx
import pytest

from host_tools import broker_probe
from host_tools.broker_probe import Papers
from host_tools.dashboard.feed import Feed
from host_tools.dashboard.live import Live
from host_tools.dashboard.serve import Dashboard
from host_tools.dashboard.sockets import Hub
from host_tools.watch import Place
from tests.integration.conftest import Pki
from tests.integration.viewing import Browser, free_port, settings, trusting

if TYPE_CHECKING:
    from starlette.websockets import WebSocket


def test_many_at_once_guess_no_more_than_one(pki: Pki) -> None:
    """Each has been let in before any has failed, and only then tells its token."""
    with Dashboard(settings(pki, free_port())) as page, contextlib.ExitStack() as stack:
        head = f"POST /login HTTP/1.1\r\nHost: localhost:{page.site.port}\r\nContent-Length: 7\r\n\r\n".encode()
        guessing = []
        for _ in range(9):
            raw = stack.enter_context(_connection(page.site.port))
            stream = stack.enter_context(trusting(pki).wrap_socket(raw, server_hostname="localhost"))
            stream.sendall(head)
            guessing.append(stream)
        with Browser(pki, page) as browser:
            assert browser.http.get("/").status_code == 401  # by now the server has read all that came before
        for stream in guessing:
            stream.sendall(b"token=x")
        codes = sorted(_status(stream) for stream in guessing)
    assert codes == [401] * 5 + [429] * 4


def _connection(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def _status(stream: ssl.SSLSocket) -> int:
    with stream.makefile("rb") as lines:
        return int(lines.readline(100).split()[1])


def test_a_revoked_certificate_opens_no_page(pki: Pki, tmp_path: Path) -> None:
    """Its name is allowed still."""
    with broker_probe.papers(pki.authority) as issued:
        papers, gone = _Files(issued, "operator"), _Files(issued, "observer")
        revoked = issued.revoke("observer")
        allowed = settings(pki, free_port(), mtls=("operator", "observer"), revoked=revoked)
        with Dashboard(allowed) as page:
            with Browser(pki, page, papers) as browser:
                assert browser.http.get("/").status_code == 200
            with Browser(pki, page, gone) as browser, pytest.raises(httpx.TransportError):
                browser.http.get("/")


class _Files:
    def __init__(self, issued: Papers, name: str) -> None:
        self.cert_pem, self.key_pem = issued.issue(name)


def test_messages_are_cleaned_in_another_thread_than_the_pages(pki: Pki) -> None:
    """A device that sends only what takes long must not stop the page."""
    me = pki.clients["observer"]
    place = Place("localhost", free_port(), pki.authority.cert_pem, me.cert_pem, me.key_pem)
    cleaned_by: list[str] = []

    def clean(message: tuple[str, bytes]) -> tuple[str, bytes]:
        cleaned_by.append(threading.current_thread().name)
        return message[0], b"clean"

    class Watching:
        connected, dropped = True, 0

        def __init__(self) -> None:
            self.left = [("rootlet/a/x", json.dumps(i).encode()) for i in range(3)]

        def next(self, _: float) -> tuple[str, bytes]:
            if not self.left:
                self.connected = False
                raise TimeoutError
            return self.left.pop(0)

    taken: list[tuple[str, bytes]] = []

    async def run() -> None:
        feed = Feed(place, lambda batch, _: taken.extend(batch), lambda _: None, clean)
        feed._loop = asyncio.get_running_loop()
        thread = threading.Thread(target=feed._watch, args=(Watching(),), name="feed")
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert taken == [("rootlet/a/x", b"clean")] * 3
    assert cleaned_by == ["feed"] * 3


def test_hello_comes_first_also_where_the_handshake_takes_longer_than_a_tick() -> None:
    live = Live(0)
    live.message("rootlet/a/x", b"1", 1)
    hub = Hub(live, lambda: {"connected": True, "trouble": None}, live.totals, lambda _: True)
    told: asyncio.Queue[str] = asyncio.Queue()

    class Socket:
        async def accept(self) -> None:
            hub.tick()
            hub.broker()

        async def send_text(self, text: str) -> None:
            told.put_nowait(json.loads(text)["type"])

        async def receive(self) -> dict[str, str]:
            await asyncio.Event().wait()
            raise AssertionError

    async def run() -> list[str]:
        serving = asyncio.create_task(hub.serve(cast("WebSocket", Socket()), ""))
        said = [await asyncio.wait_for(told.get(), 5) for _ in range(3)]
        serving.cancel()
        return said

    assert asyncio.run(run()) == ["hello", "broker", "devices"]
