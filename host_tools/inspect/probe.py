"""Two connections to a server: a full handshake by OpenSSL, and the Client Hello of a board's Mbed TLS."""

import os
import socket
import time
from contextlib import closing
from dataclasses import dataclass, field

from cryptography import x509
from OpenSSL import SSL, crypto

from host_tools.failure import Failure
from host_tools.inspect import wire
from host_tools.inspect.dial import Deadline, Wire, connect, failure
from host_tools.inspect.mbedtls import Abilities

ALPN = [b"h2", b"http/1.1", b"mqtt"]
_NO_APPLICATION_PROTOCOL = 120
_AFTER_S = 1.0  # how long a server may take to close in order, which is when its tickets have come
_ALERTS = {40: "handshake_failure", 42: "bad_certificate", 43: "unsupported_certificate", 47: "illegal_parameter",
           48: "unknown_ca", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
           112: "unrecognized_name", 116: "certificate_required", 120: "no_application_protocol"}  # fmt: skip

# X509_V_ERR_* in the words of `openssl verify`; pyOpenSSL gives a verify callback the number only.
_VERIFY = {2: "unable to get issuer certificate", 7: "certificate signature failure", 9: "not yet valid",
           10: "certificate has expired", 18: "self-signed certificate", 19: "self-signed certificate in chain",
           20: "unable to get local issuer certificate", 21: "unable to verify the first certificate",
           22: "certificate chain too long", 24: "invalid CA", 25: "path length constraint exceeded",
           26: "unsuitable certificate purpose", 32: "key usage does not include certificate signing",
           34: "unhandled critical extension", 47: "permitted subtree violation", 79: "invalid CA"}  # fmt: skip


@dataclass
class Seen:
    """One connection: what came, how much, and how it ended.

    `fault`: (code, fact) where the handshake did not come to its end. `errors`: OpenSSL's (depth, words), in its order.
    """

    address: str = ""
    flight: wire.Flight = field(default_factory=wire.Flight)
    sent: int = 0
    received: int = 0
    protocol: str = ""
    cipher: str = ""
    alpn: str = ""
    alpn_offered: list[str] = field(default_factory=list)
    seconds: float = 0.0
    complete: bool = False
    errors: list[tuple[int, str]] = field(default_factory=list)
    fault: tuple[str, str] | None = None


def alert_name(number: int) -> str:
    """The name of a TLS alert (RFC 8446 section 6), or its number."""
    return _ALERTS.get(number, f"alert {number}")


def full(host: str, port: int, name: str, roots: list[x509.Certificate], timeout: float) -> Seen:
    """A full handshake by OpenSSL with all it can do, and what OpenSSL thinks of the chain.

    Args: name: for SNI ("" for none). roots: trust anchors. timeout: seconds for everything.
    Raises: Failure where no connection or no TLS came about.
    """
    deadline = Deadline(timeout)
    seen = _once(host, port, name, roots, deadline, ALPN)
    if seen.flight.alert == _NO_APPLICATION_PROTOCOL and not seen.flight.certificates:
        # A server that knows none of these protocols may insist on that; then they are left out.
        seen = _once(host, port, name, roots, deadline, [])
    if seen.fault and not seen.flight.certificates:
        raise failure(*seen.fault)
    return seen


def _once(
    host: str, port: int, name: str, roots: list[x509.Certificate], deadline: Deadline, alpn: list[bytes]
) -> Seen:
    seen = Seen(alpn_offered=[one.decode() for one in alpn])
    secrets: dict[str, bytes] = {}
    with closing(connect(host, port, deadline)) as sock:
        seen.address = _address(sock)
        line = Wire(sock, deadline)
        start = time.monotonic()
        try:
            _run(line, _connection(_context(roots, seen, secrets, alpn), name), seen, secrets)
        except TimeoutError:
            seen.fault = ("TLS_TIMEOUT", f"{host}:{port} did not finish the handshake in time")
        except OSError as error:
            seen.fault = ("TLS_CLOSED", f"{host}:{port}, {error.strerror or error}")
        seen.seconds = time.monotonic() - start
    _digest(seen, line, secrets)
    return seen


def _address(sock: socket.socket) -> str:
    return str(sock.getpeername()[0])


def _context(roots: list[x509.Certificate], seen: Seen, secrets: dict[str, bytes], alpn: list[bytes]) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    # This looks at servers and sends nothing private: it takes whatever it meets, so as to be able to name it.
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.set_min_proto_version(SSL.TLS1_VERSION)
    if alpn:
        context.set_alpn_protos(alpn)
    store = context.get_cert_store()
    if store is not None:
        for root in roots:
            store.add_cert(crypto.X509.from_cryptography(root))
        # A board takes any CA it is given as a root, self-signed or not.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)

    def judge(_: SSL.Connection, cert: crypto.X509, error: int, depth: int, ok: int) -> bool:
        if not ok and len(seen.errors) < 8:
            seen.errors.append((depth, _VERIFY.get(error, f"verify error {error}")))
        return True

    def keylog(_: SSL.Connection, text: bytes) -> None:
        label, _random, secret = text.decode("ascii").split()
        secrets[label] = bytes.fromhex(secret)

    context.set_verify(SSL.VERIFY_PEER, judge)
    context.set_keylog_callback(keylog)
    return context


def _connection(context: SSL.Context, name: str) -> SSL.Connection:
    connection = SSL.Connection(context, None)
    if name:
        connection.set_tlsext_host_name(name.encode("ascii"))
    connection.set_connect_state()
    return connection


def _flush(line: Wire, connection: SSL.Connection) -> None:
    while True:
        try:
            line.send(connection.bio_read(65536))
        except SSL.WantReadError:
            return


def _run(line: Wire, connection: SSL.Connection, seen: Seen, secrets: dict[str, bytes]) -> None:
    while not seen.complete:
        try:
            connection.do_handshake()
            seen.complete = True
        except SSL.WantReadError:
            _flush(line, connection)
            data = line.receive()
            if not data:
                seen.fault = ("TLS_CLOSED", "the connection ended during the handshake")
                return
            connection.bio_write(data)
        except SSL.Error:
            seen.fault = ("TLS_FAILED", "OpenSSL gave up the handshake")
            return
    _flush(line, connection)
    seen.sent, seen.received = line.sent, len(line.received)
    seen.protocol = connection.get_protocol_version_name()
    seen.cipher = connection.get_cipher_name() or ""
    seen.alpn = connection.get_alpn_proto_negotiated().decode("ascii", "replace")
    _linger(line, connection, secrets)


def _linger(line: Wire, connection: SSL.Connection, secrets: dict[str, bytes]) -> None:
    """Take what a server says after the handshake: tickets, or the alert of one that wanted a client certificate."""
    limit = Deadline(_AFTER_S)
    try:
        # Our close would meet a server that has closed already, and its reset would swallow the alert: wait first.
        while _undecided(wire.read(bytes(line.received), secrets)) and line.receive(limit.left()):
            pass
        connection.shutdown()
        _flush(line, connection)
        while line.receive(limit.left()):
            pass
    except (OSError, SSL.Error, Failure, wire.BadWire):
        pass


def _undecided(flight: wire.Flight) -> bool:
    return flight.asks_client_certificate and flight.alert is None and not flight.tickets


def _digest(seen: Seen, line: Wire, secrets: dict[str, bytes]) -> None:
    """Put what came into facts, and a fault into the board's words."""
    if not seen.complete:
        seen.sent, seen.received = line.sent, len(line.received)
    try:
        seen.flight = wire.read(bytes(line.received), secrets)
    except wire.BadWire as error:
        if not seen.complete:
            first = bytes(line.received[:1])
            seen.fault = ("TLS_NOT_TLS", "what came is no TLS record") if first not in (b"\x15", b"\x16") else (
                "TLS_FAILED", str(error))  # fmt: skip
        return
    if seen.fault and seen.flight.alert is not None:
        code = "TLS_REFUSED" if seen.flight.certificates else "TLS_VERSION"
        seen.fault = (code, f"the server sent the alert {alert_name(seen.flight.alert)}")


def client_hello(name: str, abilities: Abilities) -> bytes:
    """The Client Hello that a board sends, as one record (RFC 5246 section 7.4.1.2).

    Args: name: for SNI ("" for none).
    """

    def numbers(values: list[int]) -> bytes:
        body = b"".join(v.to_bytes(2, "big") for v in values)
        return len(body).to_bytes(2, "big") + body

    def extension(kind: int, body: bytes) -> bytes:
        return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body

    extensions = b""
    if name:
        host = name.encode("ascii")
        entry = b"\0" + len(host).to_bytes(2, "big") + host
        extensions += extension(0, len(entry).to_bytes(2, "big") + entry)
    extensions += extension(10, numbers(abilities["groups"]))
    extensions += extension(13, numbers(abilities["schemes"]))
    extensions += extension(11, b"\x01\x00")
    body = b"\x03\x03" + os.urandom(32) + b"\0" + numbers([*abilities["suites"], 0x00FF]) + b"\x01\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


def as_board(host: str, port: int, name: str, abilities: Abilities, timeout: float) -> Seen:
    """Send a board's Client Hello and read the server's answer up to its Server Hello Done.

    Nothing more is sent: what the server would serve to a board is known by then. `fault` says why it would not.
    Raises: Failure where no TCP connection came about.
    """
    seen = Seen()
    deadline = Deadline(timeout)
    with closing(connect(host, port, deadline)) as sock:
        seen.address = _address(sock)
        line = Wire(sock, deadline)
        try:
            line.send(client_hello(name, abilities))
            while not seen.flight.hello_done and seen.flight.alert is None:
                if not line.receive():
                    seen.fault = ("TLS_CLOSED", "it closed the connection after a board's Client Hello")
                    break
                seen.flight = wire.read(bytes(line.received))
        except TimeoutError:
            seen.fault = ("TLS_TIMEOUT", f"no answer to a board's Client Hello in {timeout:g} s")
        except wire.BadWire as error:
            seen.fault = ("TLS_NOT_TLS", str(error))
        except Failure as error:
            seen.fault = ("TLS_FAILED", error.because)
        except OSError as error:
            seen.fault = ("TLS_CLOSED", str(error.strerror or error))
    seen.sent, seen.received = line.sent, len(line.received)
    if seen.flight.alert is not None:
        seen.fault = ("TLS_VERSION", f"to a board's Client Hello it sent the alert {alert_name(seen.flight.alert)}")
    seen.complete = seen.flight.hello_done and seen.fault is None
    return seen
