"""A running dashboard, and browsers' stand-ins that verify it: HTTP by httpx, WebSocket by websockets."""

import asyncio
import functools
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from host_tools.dashboard.serve import Dashboard, Settings
from host_tools.watch import Place
from tests.integration.conftest import Pki

SESSION = "__Host-session"


def settings(pki: Pki, broker_port: int, **more: Any) -> Settings:
    me = pki.clients["observer"]
    ca = pki.authority.cert_pem
    place = Place("localhost", broker_port, ca, me.cert_pem, me.key_pem)
    files = {"cert": pki.server.cert_pem, "key": pki.server.key_pem, "ca": ca}
    return Settings(**{"place": place, **files, "names": ("localhost", "127.0.0.1"), **more})


def free_port() -> int:
    with closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def trusting(pki: Pki, me: Any = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki.authority.cert_pem))
    if me is not None:
        context.load_cert_chain(me.cert_pem, me.key_pem)
    return context


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="browsers", daemon=True).start()
    return loop


def _wait(work: Any, timeout_s: float) -> Any:
    return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout_s), _loop()).result(timeout_s + 5)


class WebSocket:
    """A WebSocket for tests without a loop. The library's own synchronous client reads and writes the same TLS object
    in two threads, which OpenSSL does not bear: every few hundred connections one hung.
    """

    def __init__(self, address: str, **more: Any) -> None:
        async def begin() -> ClientConnection:
            return await connect(address, **more)

        self._connection: ClientConnection = _wait(begin(), 15)

    def recv(self, timeout: float) -> str:
        return str(_wait(self._connection.recv(), timeout))

    def send(self, text: str | bytes) -> None:
        _wait(self._connection.send(text), 10)

    def close(self) -> None:
        _wait(self._connection.close(), 10)

    def __enter__(self) -> "WebSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Browser:
    """One that trusts the CA. session: its cookie's value, "" before `login`. me: its client certificate."""

    def __init__(self, pki: Pki, page: Dashboard, me: Any = None) -> None:
        self.page, self.context, self.session = page, trusting(pki, me), ""
        self.origin = page.url.rstrip("/")
        self.http = httpx.Client(base_url=page.url, verify=self.context, trust_env=False, timeout=10)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def login(self, token: str | None = None, **headers: str) -> httpx.Response:
        given = self.page.token if token is None else token
        answer = self.http.post("/login", data={"token": given}, headers={"Origin": self.origin, **headers})
        self.session = answer.cookies.get(SESSION, "")
        return answer

    def socket(self, origin: str | None = "own", **more: Any) -> WebSocket:
        headers = {"Cookie": f"{SESSION}={self.session}"} if self.session else {}
        address = f"wss://localhost:{self.page.site.port}/ws"
        shown = self.origin if origin == "own" else origin
        more = {"max_size": 1 << 24, "open_timeout": 10, "close_timeout": 2, "proxy": None, **more}
        return WebSocket(address, ssl=self.context, origin=shown, additional_headers=headers, **more)


def until(ws: WebSocket, found: Callable[[dict[str, Any]], Any], timeout_s: float = 10) -> Any:
    """Read messages until one gives something true."""
    end = time.monotonic() + timeout_s
    seen: list[str] = []
    while True:
        try:
            text = ws.recv(timeout=max(0.01, end - time.monotonic()))
        except TimeoutError:
            raise AssertionError(f"not among {seen[-20:]}") from None
        seen.append(text[:300])
        answer = found(json.loads(text))
        if answer:
            return answer


def row_of(device: str, test: Callable[[dict[str, Any]], Any] = bool) -> Callable[[dict[str, Any]], Any]:
    """For `until`: the first row of a device that passes a test."""

    def found(message: dict[str, Any]) -> Any:
        rows = message["rows"] if message["type"] == "devices" else ()
        return next((row for row in rows if row["id"] == device and test(row)), None)

    return found
