"""uvicorn's protocols with bounds of our own: who is connected, for how long, and how many at once."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.http11 import Response

SOCKET_PATH = b"/ws"
MOST_CONNECTIONS = 128
MOST_OF_ONE = 64
MOST_HEADERS = 16384
REQUEST_S = 20.0
HANDSHAKE_S = 10.0
_SHUTDOWN_S = 1.0
_SEND_BUFFER = 1 << 17
_log = logging.getLogger("uvicorn.error")


def _peer(transport: asyncio.BaseTransport) -> str:
    """The common name in the client's certificate, which TLS has verified; "" without one."""
    tls = transport.get_extra_info("ssl_object")
    names = (tls.getpeercert() or {}).get("subject", ()) if tls else ()
    found = [str(value) for row in names for kind, value in row if kind == "commonName"]
    return found[0] if len(found) == 1 else ""


class Http(H11Protocol):
    """HTTP: the application learns the peer's name, and each request has to be over within REQUEST_S seconds."""

    _deadline: asyncio.TimerHandle | None = None

    def _again(self) -> None:
        self._no_deadline()
        self._deadline = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _no_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "peer": _peer(transport)}
        self._again()

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_deadline()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._again()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._no_deadline()
        super().handle_websocket_upgrade(event)

    def _should_upgrade(self) -> bool:
        # Elsewhere the wish is ignored, as RFC 9110 section 7.8 allows: the application answers as ever.
        upgrade = self._get_upgrade()
        return self.scope["raw_path"] == SOCKET_PATH and self.scope["method"] == "GET" and upgrade == b"websocket"

    def send_400_response(self, msg: str) -> None:
        kind = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        head = h11.Response(status_code=400, headers=[*self.server_state.default_headers, *kind], reason=b"Bad Request")
        with contextlib.suppress(h11.LocalProtocolError):  # an answer has already begun
            for event in (head, h11.Data(data=msg.encode()), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class WebSocket(WebSocketsSansIOProtocol):
    """WebSocket: refusals carry the headers of every other answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        send = self.conn.send_response

        def with_headers(response: Response) -> None:
            for name, value in self.default_headers:
                if name.decode() not in response.headers:
                    response.headers[name.decode()] = value.decode()
            # A refusal ends the handshake too; else uvicorn logs each as an error of the application.
            self.handshake_complete = self.handshake_complete or response.status_code != 101
            send(response)

        self.conn.send_response = with_headers  # type: ignore[method-assign]


class Listener:
    """Accepts connections, with TLS where there is a context; what is too many is closed at once.

    Args: state: uvicorn's, which knows the connections. context: None for plain HTTP.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Callable[[], asyncio.Protocol],
        state: ServerState,
        context: ssl.SSLContext | None,
    ) -> None:
        self._factory, self._state, self._context = factory, state, context
        self._loop = asyncio.get_running_loop()
        self._greeting: dict[asyncio.Task[None], str] = {}
        self._tasks = [self._loop.create_task(self._accept(one)) for one in sockets]

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, address = await self._loop.sock_accept(listening)
            except OSError as e:
                # No more files, most likely: what is open goes on.
                _log.warning("no connection can be accepted: %s", e)
                await asyncio.sleep(0.5)
                continue
            clients = (getattr(one, "client", None) for one in self._state.connections)
            known = [*self._greeting.values(), *(client[0] for client in clients if client)]
            if len(known) >= MOST_CONNECTIONS or known.count(address[0]) >= MOST_OF_ONE:
                connection.close()
                continue
            # What a client does not read must not pile up in the kernel either.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            connection.setblocking(False)
            task = self._loop.create_task(self._greet(connection))
            self._greeting[task] = address[0]
            task.add_done_callback(self._greeting.pop)

    async def _greet(self, connection: socket.socket) -> None:
        times = {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": _SHUTDOWN_S} if self._context else {}
        try:
            await self._loop.connect_accepted_socket(self._factory, connection, ssl=self._context, **times)
        except OSError:  # every failure of TLS is one
            connection.close()

    def close(self) -> None:
        """Accept nothing more, and give up what has not shaken hands."""
        for task in [*self._tasks, *self._greeting]:
            task.cancel()

    async def wait_closed(self) -> None:
        """Until that is done."""
        await asyncio.gather(*self._tasks, *self._greeting, return_exceptions=True)


class Server(uvicorn.Server):
    """uvicorn's server on these sockets. Args: context: None for plain HTTP."""

    def __init__(
        self, config: uvicorn.Config, sockets: Sequence[socket.socket], context: ssl.SSLContext | None
    ) -> None:
        super().__init__(config)
        self._sockets, self._context = sockets, context
        self.when_ready: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""

        def protocol() -> asyncio.Protocol:
            return Http(self.config, self.server_state, {})

        self._listener = Listener(self._sockets, protocol, self.server_state, self._context)
        self.started = True
        self.when_ready()

    async def serve_beside(self) -> None:
        """As `serve`, but signals are the other server's."""
        await self._serve()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End at once: a goodbye to each client, and no waiting for one that does not answer."""
        self._listener.close()
        await self._listener.wait_closed()
        for one in self._sockets:
            one.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0.1)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=0.3)


def config(app: Any, headers: Sequence[tuple[str, str]], *, silence_s: float = 20) -> uvicorn.Config:
    """uvicorn's settings. Args: headers: of every answer. silence_s: a WebSocket that is silent for so long is dropped.

    Bounds: MOST_CONNECTIONS, headers of MOST_HEADERS bytes, messages of 4 KB.
    """
    return uvicorn.Config(
        app,
        http=Http,
        ws=WebSocket,
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=list(headers),
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=10,
        h11_max_incomplete_event_size=MOST_HEADERS,
        ws_max_size=4096,
        ws_ping_interval=silence_s / 4,
        ws_ping_timeout=silence_s * 3 / 4,
        ws_per_message_deflate=False,
    )
