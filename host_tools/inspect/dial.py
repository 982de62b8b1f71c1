"""A TCP connection with one deadline for all that happens on it, and a limit on what a server may send."""

import ipaddress
import queue
import socket
import threading
import time
from typing import Any

from host_tools.failure import Exit, Failure
from rootlet.errors import words

MAX_RECEIVED = 256 * 1024
_TRIES = 4


class Deadline:
    """A moment on the monotonic clock. `seconds`: from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left. Raises TimeoutError at zero."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def failure(code: str, fact: str, exit_code: Exit = Exit.FAILED) -> Failure:
    """A Failure in the words the board has for that code."""
    what, fix = words(code)
    return Failure(f"{code}: {what}", fact, fix, exit_code)


def target(text: str, default: int = 443) -> tuple[str, int]:
    """Host (A-labels or an address) and port of HOST, HOST:PORT or [IPv6]:PORT. Raises Failure (usage)."""
    from host_tools.x509_names import host_name

    def wrong(because: str) -> Failure:
        shown = "".join(c if c.isprintable() else "?" for c in text[:80])
        return Failure(f"'{shown}' is no HOST[:PORT]", because, "rootlet inspect broker.example.org:8883", Exit.USAGE)

    host, port = text, str(default)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        if rest and not rest.startswith(":"):
            raise wrong("after ']' there must be ':PORT'")
        port = rest[1:] or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= 65535):
        raise wrong("the port is not 1 to 65535")
    try:
        return str(ipaddress.ip_address(host)), int(port)
    except ValueError:
        pass
    try:
        return host_name(host), int(port)
    except Failure as bad:
        raise wrong(bad.because) from None


def connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """A TCP connection. Raises Failure: DNS, TCP_REFUSED, TCP_TIMEOUT, TCP."""
    where = f"{host}:{port}"
    error: OSError | None = None
    for family, kind, proto, address in _resolve(host, port, deadline)[:_TRIES]:
        try:
            left = deadline.left()
        except TimeoutError as e:
            error = e
            break
        sock = socket.socket(family, kind, proto)
        try:
            sock.settimeout(left)
            sock.connect(address)
            return sock
        except OSError as e:
            sock.close()
            error = e
    if isinstance(error, TimeoutError):
        raise failure("TCP_TIMEOUT", f"{where} did not answer in time")
    if isinstance(error, ConnectionRefusedError):
        raise failure("TCP_REFUSED", where)
    raise failure("TCP", f"{where}: {error.strerror if error else 'no address'}")


def _resolve(host: str, port: int, deadline: Deadline) -> list[tuple[Any, Any, int, Any]]:
    """getaddrinfo has no timeout of its own, so a thread asks."""
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put([(f, k, p, a) for f, k, p, _, a in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
        except OSError as e:
            answer.put(e)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answer.get(timeout=deadline.left())
    except (queue.Empty, TimeoutError):
        raise failure("DNS", f"no answer for '{host}' in time") from None
    if isinstance(found, OSError) or not found:
        raise failure("DNS", f"no address for '{host}'")
    rows: list[tuple[Any, Any, int, Any]] = found
    return rows


class Wire:
    """A socket that counts and keeps what the server sent.

    `received`: bytes, at most MAX_RECEIVED. `sent`: how many bytes went out.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self.received = bytearray()
        self.sent = 0

    def send(self, data: bytes) -> None:
        """Send all. Raises OSError, TimeoutError."""
        self._sock.settimeout(self._deadline.left())
        self._sock.sendall(data)
        self.sent += len(data)

    def receive(self, seconds: float | None = None) -> bytes:
        """The next bytes, b"" at the end. Raises OSError, TimeoutError, Failure when it is too much."""
        left = self._deadline.left()
        self._sock.settimeout(left if seconds is None else min(seconds, left))
        data = self._sock.recv(16384)
        self.received += data
        if len(self.received) > MAX_RECEIVED:
            raise Failure("the server sends too much", f"over {MAX_RECEIVED} bytes came before the handshake was done",
                          "check that it is the server you mean")  # fmt: skip
        return data
