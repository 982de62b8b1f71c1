"""Reads what a TLS server sent: records, handshake messages, and their facts. Bytes in, facts out; no I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HELLO_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
_HASH: dict[int, tuple[hashes.HashAlgorithm, int]] = {
    0x1301: (hashes.SHA256(), 16),
    0x1302: (hashes.SHA384(), 32),
    0x1303: (hashes.SHA256(), 32),
}
VERSIONS = {0x0300: "SSLv3", 0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
MAX_CERTIFICATES = 32


class BadWire(Exception):
    """The bytes are no TLS that this reader understands."""


@dataclass
class Flight:
    """What a server's records say. Numbers are IANA's; None where the message did not come."""

    version: int | None = None
    suite: int | None = None
    group: int | None = None
    scheme: int | None = None
    certificates: list[bytes] = field(default_factory=list)
    certificate_message: int = 0
    largest_record: int = 0
    largest_message: int = 0
    fragmented: bool = False
    asks_client_certificate: bool = False
    tickets: int = 0
    hello_done: bool = False
    alert: int | None = None
    unread: bool = False


def u(data: bytes, pos: int, size: int) -> int:
    """A big-endian number of `size` bytes at `pos`. Raises BadWire where the data ends."""
    if pos + size > len(data):
        raise BadWire("message cut off")
    return int.from_bytes(data[pos : pos + size], "big")


def records(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(type, header, body) of every whole record (RFC 5246 section 6.2). Raises BadWire for what is no TLS."""
    pos = 0
    while pos + 5 <= len(data):
        kind, major, size = data[pos], data[pos + 1], u(data, pos + 3, 2)
        if not 20 <= kind <= 24 or major != 3 or size > 16384 + 2048:
            raise BadWire("not a TLS record")
        if pos + 5 + size > len(data):
            return
        yield kind, data[pos : pos + 5], data[pos + 5 : pos + 5 + size]
        pos += 5 + size


class _Opener:
    """Opens the TLS 1.3 records under one server secret (RFC 8446 sections 5.2, 5.3, 7.3)."""

    def __init__(self, secret: bytes, suite: int) -> None:
        algorithm, size = _HASH[suite]

        def expand(label: bytes, length: int) -> bytes:
            name = b"tls13 " + label
            info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
            return HKDFExpand(algorithm, length, info).derive(secret)

        key = expand(b"key", size)
        self._aead = ChaCha20Poly1305(key) if suite == 0x1303 else AESGCM(key)
        self._iv = int.from_bytes(expand(b"iv", 12), "big")
        self._count = 0

    def open(self, header: bytes, body: bytes) -> tuple[int, bytes]:
        nonce = (self._iv ^ self._count).to_bytes(12, "big")
        inner = self._aead.decrypt(nonce, body, header).rstrip(b"\0")
        self._count += 1
        return inner[-1], inner[:-1]


def read(data: bytes, secrets: dict[str, bytes] | None = None) -> Flight:
    """Everything there is to know from the bytes of one server.

    Args:
        data: what the server sent, from its first byte; it may end anywhere.
        secrets: key log labels to secrets, which open TLS 1.3. Without them TLS 1.3 stays closed (`unread`).
    Raises: BadWire.
    """
    flight = Flight()
    waiting = b""
    opener: _Opener | None = None
    sealed = False
    keys = secrets or {}
    for outer, header, sent in records(data):
        kind, body = outer, sent
        flight.largest_record = max(flight.largest_record, len(body))
        if kind == 23 and flight.version == 0x0304:
            if opener is None:
                secret = keys.get("SERVER_HANDSHAKE_TRAFFIC_SECRET")
                if secret is None or flight.suite not in _HASH:
                    flight.unread = True
                    return flight
                opener = _Opener(secret, flight.suite)
            try:
                kind, body = opener.open(header, body)
            except Exception:
                # A Key Update or a hostile server: what was read so far stands.
                flight.unread = True
                return flight
        elif sealed:
            return flight
        if kind == 20:
            sealed = flight.version != 0x0304
        elif kind == 21 and len(body) == 2 and body[1]:
            flight.alert = body[1]
        elif kind == 22:
            waiting, finished = _messages(flight, waiting + body)
            after = keys.get("SERVER_TRAFFIC_SECRET_0")
            if finished and after and flight.suite in _HASH:
                opener = _Opener(after, flight.suite)
    return flight


def _messages(flight: Flight, data: bytes) -> tuple[bytes, bool]:
    """Read the whole messages of `data`; returns what is left and whether a TLS 1.3 Finished was among them."""
    finished = False
    while len(data) >= 4:
        size = u(data, 1, 3)
        if len(data) < 4 + size:
            flight.fragmented = True
            flight.largest_message = max(flight.largest_message, size + 4)
            break
        flight.largest_message = max(flight.largest_message, size + 4)
        _message(flight, data[0], data[4 : 4 + size])
        finished = finished or (data[0] == 20 and flight.version == 0x0304)
        data = data[4 + size :]
    return data, finished


def _message(flight: Flight, kind: int, body: bytes) -> None:
    """One handshake message (RFC 5246 section 7.4, RFC 8446 section 4)."""
    modern = flight.version == 0x0304
    if kind == 2:
        _server_hello(flight, body)
    elif kind == 4:
        flight.tickets += 1
    elif kind == 11:
        flight.certificate_message = len(body) + 4
        flight.certificates = _certificates(body, modern)
    elif kind == 12 and body[:1] == b"\x03":
        flight.group = u(body, 1, 2)
        flight.scheme = u(body, 4 + u(body, 3, 1), 2) if flight.version == 0x0303 else None
    elif kind == 13:
        flight.asks_client_certificate = True
    elif kind == 14:
        flight.hello_done = True
    elif kind == 15 and modern:
        flight.scheme = u(body, 0, 2)


def _server_hello(flight: Flight, body: bytes) -> None:
    flight.version = u(body, 0, 2)
    if body[2:34] == HELLO_RETRY:
        flight.version = 0x0304
        return
    pos = 35 + u(body, 34, 1)
    flight.suite = u(body, pos, 2)
    pos += 5
    while pos + 4 <= len(body):
        kind, size = u(body, pos, 2), u(body, pos + 2, 2)
        if kind == 43:
            flight.version = u(body, pos + 4, 2)
        elif kind == 51:
            flight.group = u(body, pos + 4, 2)
        pos += 4 + size


def _certificates(body: bytes, modern: bool) -> list[bytes]:
    pos = 1 + u(body, 0, 1) if modern else 0
    end = pos + 3 + u(body, pos, 3)
    pos += 3
    found: list[bytes] = []
    while pos < end:
        size = u(body, pos, 3)
        if pos + 3 + size > len(body):
            raise BadWire("certificate cut off")
        if len(found) == MAX_CERTIFICATES:
            raise BadWire("too many certificates")
        found.append(body[pos + 3 : pos + 3 + size])
        pos += 3 + size
        if modern:
            pos += 2 + u(body, pos, 2)
    return found
