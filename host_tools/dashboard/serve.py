"""The server of `rootlet dashboard`: HTTPS and WebSocket, one event loop, for those who may see the page."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from host_tools.dashboard import auth, login, protocol
from host_tools.dashboard.feed import Feed
from host_tools.dashboard.gate import redirection
from host_tools.dashboard.live import Live, Reading
from host_tools.dashboard.pages import Page
from host_tools.dashboard.sockets import Hub
from host_tools.failure import Exit, Failure
from host_tools.history import History
from host_tools.watch import Message, Place

_START_S = 20
_log = logging.getLogger("rootlet.dashboard")


@dataclass(frozen=True)
class Settings:
    """How to serve.

    Args:
        place: the broker. cert, key: of this server, PEM. ca: of the clients' certificates with mtls, PEM.
        names: what this server may be called, as its certificate says; the first stands in the URL.
        mtls: common names that may see the page, by certificate; None: by token.
        history: the file that readings are kept in, or None. redirect_port: of plain HTTP, or None; 0 takes a free one.
        say: takes one line for each request, or None. clean: what is done to each message first, or None; called
            in another thread. revoked: the CA's list of revoked certificates for mtls, PEM, or None.
        silence_s: a page that reads nothing for so long is dropped.
    """

    place: Place
    cert: Path
    key: Path
    ca: Path
    names: tuple[str, ...]
    listen: str = "127.0.0.1"
    port: int = 0
    mtls: tuple[str, ...] | None = None
    redirect_port: int | None = None
    history: Path | None = None
    keep_days: float = 30
    say: Callable[[str], None] | None = None
    clean: Callable[[Message], Message] | None = None
    silence_s: float = 20
    revoked: Path | None = None
    token: str = field(default_factory=auth.new_token, repr=False)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def context(cert: Path, key: Path, client_ca: Path | None, revoked: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer with forward secrecy. client_ca: clients need a certificate of it, that is not on its list
    `revoked`. Raises Failure."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    found.options |= ssl.OP_NO_RENEGOTIATION
    found.set_alpn_protocols(["http/1.1"])
    try:
        # Never asked for on the terminal: an encrypted key is refused.
        found.load_cert_chain(cert, key, password="")
        if client_ca:
            found.load_verify_locations(client_ca)
            found.verify_mode = ssl.CERT_REQUIRED
            if revoked:
                found.load_verify_locations(revoked)
                found.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as e:
        files = ", ".join(str(path) for path in (cert, key, client_ca, revoked) if path)
        because = f"{e.strerror or e} ({files})"[:300]
        raise Failure("the certificates cannot be used", because, "rootlet ca list", Exit.USAGE) from None
    return found


def bind(address: str, port: int) -> socket.socket:
    """A listening socket. Raises Failure."""
    try:
        kind = socket.SOCK_STREAM
        # asyncio switches off Nagle's algorithm only where the protocol is given.
        family, _, proto, _, where = socket.getaddrinfo(address, port, type=kind, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family, kind, proto)
    except OSError as e:
        because = f"{address}: {e.strerror}"
        raise Failure("the page cannot be served there", because, "--listen 127.0.0.1", Exit.USAGE) from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(where)
        found.listen(128)
        found.setblocking(False)
    except OSError as e:
        found.close()
        because = f"{address}:{port}: {e.strerror}"
        fix = "--port 0, or another; --listen must be an address of this machine"
        raise Failure("the page cannot be served there", because, fix) from None
    return found


class Site:
    """What runs: the sockets, what is known, and who is told. One event loop, whose thread alone touches it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        place = settings.place
        clients = (settings.ca, settings.revoked) if settings.mtls is not None else (None, None)
        self._tls = context(settings.cert, settings.key, *clients)
        self._feed = Feed(place, self._take, self._tell, settings.clean)
        self._live = Live(time.time(), place.pattern)
        self._live.broker(False, time.time())
        self._trouble: Failure | None = None
        self._connected = self._was_connected = False
        self._dropped = 0
        self.sessions = auth.Sessions()
        self._hub = Hub(self._live, self._state, self._totals, self._still_valid, settings.silence_s)
        with contextlib.ExitStack() as undo:
            self._socket = undo.enter_context(bind(settings.listen, settings.port))
            self._plain = None
            if settings.redirect_port is not None:
                self._plain = undo.enter_context(bind(settings.listen, settings.redirect_port))
            self.history = History(settings.history, keep_days=settings.keep_days) if settings.history else None
            undo.pop_all()
        self.page = Page(settings, self.sessions, self._hub, self._live, self._state, self._totals, self.history)
        self.port: int = self._socket.getsockname()[1]
        self.redirect_port: int | None = self._plain.getsockname()[1] if self._plain else None
        self.server: protocol.Server | None = None

    @property
    def url(self) -> str:
        """Where the page is, without the token."""
        name = self.settings.names[0]
        return f"https://{f'[{name}]' if ':' in name else name}:{self.port}/"

    def _still_valid(self, session: str) -> bool:
        return self.settings.mtls is not None or self.sessions.valid(session)

    def _state(self) -> dict[str, Any]:
        place, trouble = self.settings.place, self._trouble
        said = {"what": trouble.what, "because": trouble.because, "try": trouble.try_} if trouble else None
        return {"broker": f"{place.host}:{place.port}", "connected": self._connected, "trouble": said,
                "mtls": self.settings.mtls is not None, "history": self.history is not None}  # fmt: skip

    def _totals(self) -> dict[str, Any]:
        unstored = self.history.lost if self.history else 0
        return {**self._live.totals(), "not_taken": self._dropped, "not_stored": unstored}

    def _take(self, batch: list[Message], dropped: int) -> None:
        now = time.time()
        self._dropped = dropped
        for topic, payload in batch:
            if not topic:
                self._live.gap(now)
                continue
            for noted in self._live.message(topic, payload, now):
                if self.history is None:
                    continue
                if isinstance(noted, Reading):
                    self.history.reading(now, noted)
                else:
                    self.history.event(now, noted)

    def _tell(self, failure: Failure | None) -> None:
        now = time.time()
        if failure is None or str(failure) != str(self._trouble):
            _log.warning("connected to the broker" if failure is None else str(failure).replace("\n", "; "))
        self._trouble, self._connected = failure, failure is None
        if self._connected and self._was_connected:
            self._live.gap(now)
        self._was_connected = self._was_connected or self._connected
        self._live.broker(self._connected, now)
        self._hub.broker()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve until `end` is called or a signal comes. ready: called when connections are accepted."""
        settings = self.settings
        headers = login.headers(is_loopback(settings.listen))
        config = protocol.config(self.page.app(), headers, silence_s=settings.silence_s)
        self.server = protocol.Server(config, [self._socket], self._tls)
        others: list[protocol.Server] = []
        if self._plain:
            app = redirection(settings.names, self.port)
            others = [protocol.Server(protocol.config(app, headers), [self._plain], None)]
        tasks = [asyncio.create_task(other.serve_beside()) for other in others]
        tasks.append(asyncio.create_task(self._hub.run()))
        self._feed.start()
        self.server.when_ready = ready
        try:
            await self.server.serve()
        finally:
            self._feed.stop()
            for other in others:
                other.should_exit = True
            tasks[-1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def end(self) -> None:
        """Make `serve` return; from any thread."""
        if self.server:
            self.server.should_exit = True

    def close(self) -> None:
        """Free what is held: sockets, and the history after what was handed in is on the disk."""
        self._feed.stop()
        for one in (self._socket, self._plain):
            if one:
                one.close()
        if self.history:
            self.history.close()


def run(settings: Settings, say: Callable[[Site], None]) -> None:
    """Serve until Ctrl-C or SIGTERM. say: called once, when the page can be opened. Raises Failure."""
    site = Site(settings)
    try:
        asyncio.run(site.serve(lambda: say(site)))
    finally:
        site.close()


class Dashboard:
    """A server in a thread of its own; entering waits until it accepts connections."""

    def __init__(self, settings: Settings) -> None:
        self.site = Site(settings)
        self.token = settings.token
        self.url = self.site.url
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)

    def _run(self) -> None:
        try:
            asyncio.run(self.site.serve(self._ready.set))
        finally:
            self._ready.set()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_S) or not self._thread.is_alive():
            self.site.close()
            raise Failure("the page did not start", "its thread ended", "rootlet dashboard --debug")
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.site.end()
        self._thread.join(10)
        self.site.close()
