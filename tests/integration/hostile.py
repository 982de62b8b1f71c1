"""Servers that misbehave, each on 127.0.0.1 and a free port, one thread a connection, all gone at the end."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

Handler = Callable[[socket.socket, threading.Event], None]


@contextlib.contextmanager
def serve(handler: Handler) -> Iterator[int]:
    """Run a handler for each connection; yields the port. The handler's event is set when the server is to end."""
    ending = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    threads: list[threading.Thread] = []

    def one(conn: socket.socket) -> None:
        with contextlib.suppress(OSError), conn:
            conn.settimeout(10)
            handler(conn, ending)

    def accept() -> None:
        while not ending.is_set():
            with contextlib.suppress(TimeoutError):
                conn, _ = listener.accept()
                threads.append(threading.Thread(target=one, args=(conn,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        ending.set()
        acceptor.join()
        listener.close()
        for thread in threads:
            thread.join(12)


def tls_context(chain: Path, key: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A server context that serves even what no client should take: weak keys, SHA-1, old versions."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    if version:
        context.minimum_version = context.maximum_version = version
    context.load_cert_chain(chain, key)
    return context


def over_tls(context: ssl.SSLContext, answer: Callable[[ssl.SSLSocket, threading.Event], None]) -> Handler:
    """A handler that reads a request head over TLS and then lets `answer` do as it likes."""

    def handle(conn: socket.socket, ending: threading.Event) -> None:
        with context.wrap_socket(conn, server_side=True) as tls:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = tls.recv(4096)
                if not piece:
                    return
                head += piece
            answer(tls, ending)

    return handle


def replies(data: bytes, then: str = "close") -> Callable[[ssl.SSLSocket, threading.Event], None]:
    """Send the bytes; then close in order, "cut" without close_notify, "stall", or "drip" a byte now and then."""

    def answer(tls: ssl.SSLSocket, ending: threading.Event) -> None:
        tls.sendall(data)
        if then == "stall":
            ending.wait(10)
        elif then == "drip":
            while not ending.wait(0.05):
                tls.sendall(b"x")
        elif then == "close":
            tls.unwrap()

    return answer


def plain_text(conn: socket.socket, ending: threading.Event) -> None:
    """An HTTP server without TLS."""
    conn.recv(4096)
    conn.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def closes_mid_handshake(conn: socket.socket, ending: threading.Event) -> None:
    """Takes the Client Hello and goes away."""
    conn.recv(4096)


def stalls_mid_handshake(conn: socket.socket, ending: threading.Event) -> None:
    """Takes the Client Hello and says nothing more."""
    conn.recv(4096)
    ending.wait(10)


def drips(conn: socket.socket, ending: threading.Event) -> None:
    """Sends the head of a handshake record and then a byte at a time, so that no single wait is long."""
    conn.recv(4096)
    conn.sendall(b"\x16\x03\x03\x10\x00")
    while not ending.wait(0.05):
        conn.sendall(b"\x02")


def alert(conn: socket.socket, ending: threading.Event) -> None:
    """Answers the Client Hello with a fatal alert, internal_error."""
    conn.recv(4096)
    conn.sendall(b"\x15\x03\x03\x00\x02\x02\x50")


def half_a_flight(files: tuple[Path, Path]) -> Handler:
    """A good server that goes away in the middle of its certificate."""
    context = tls_context(*files)

    def handle(conn: socket.socket, ending: threading.Event) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(conn.recv(4096))
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        flight = outgoing.read()
        conn.sendall(flight[: len(flight) // 2])

    return handle
