"""A TLS conversation in plain English, one line a message: bytes in, lines out, no I/O and no keys.

Reads what any onlooker can read: records and handshake messages until they are encrypted (RFC 5246, 8422 and 8446).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dpkt.ssl_ciphersuites import BY_CODE

from rootlet import x509

Sender = Literal["client", "server"]

_LARGEST_RECORD = 16384 + 2048
_LARGEST_MESSAGE = 1 << 17
_MOST_LINES = 200  # from each side of one conversation

_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION = 20, 21, 22, 23
_VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
_GROUPS = {
    23: "P-256", 24: "P-384", 25: "P-521", 26: "brainpoolP256r1", 27: "brainpoolP384r1", 28: "brainpoolP512r1",
    29: "X25519", 30: "X448", 256: "ffdhe2048", 257: "ffdhe3072", 4588: "X25519MLKEM768",
}  # fmt: skip
_SIGNATURES = {
    0x0201: "RSA with SHA-1", 0x0203: "ECDSA with SHA-1", 0x0401: "RSA with SHA-256", 0x0501: "RSA with SHA-384",
    0x0601: "RSA with SHA-512", 0x0403: "ECDSA with SHA-256", 0x0503: "ECDSA with SHA-384",
    0x0603: "ECDSA with SHA-512", 0x0804: "RSA-PSS with SHA-256", 0x0805: "RSA-PSS with SHA-384",
    0x0806: "RSA-PSS with SHA-512", 0x0807: "Ed25519", 0x0808: "Ed448",
}  # fmt: skip
ALERTS = {
    0: "close_notify: the sender is done, in order",
    10: "unexpected_message: a message came at the wrong moment",
    20: "bad_record_mac: a record does not decrypt; it was changed on the way, or the keys differ",
    22: "record_overflow: a record is too long",
    40: "handshake_failure: nothing that both sides support",
    42: "bad_certificate: the certificate cannot be read or its signature is wrong",
    43: "unsupported_certificate: a certificate of a kind that is not supported",
    44: "certificate_revoked: the certificate was revoked",
    45: "certificate_expired: the certificate has expired, or the clock is wrong",
    46: "certificate_unknown: the certificate was refused for another reason",
    47: "illegal_parameter: a field of a message is wrong",
    48: "unknown_ca: the CA of the certificate is not trusted here",
    49: "access_denied: the certificate is good, but its owner may not come in",
    50: "decode_error: a message cannot be read",
    51: "decrypt_error: a signature or a key check failed",
    70: "protocol_version: the TLS version is not supported",
    71: "insufficient_security: the cipher suites offered are too weak",
    80: "internal_error: a fault of the sender's own, such as memory",
    86: "inappropriate_fallback: a retry with an older version was refused",
    90: "user_canceled: the sender gave up",
    100: "no_renegotiation: a new handshake inside the connection was refused",
    109: "missing_extension: an extension that is needed is absent",
    110: "unsupported_extension: an extension that was not asked for",
    112: "unrecognized_name: the server does not have the name that was asked for",
    113: "bad_certificate_status_response: the stapled OCSP answer is bad",
    115: "unknown_psk_identity: the server does not know this pre-shared key",
    116: "certificate_required: the server wants a client certificate",
    120: "no_application_protocol: no protocol (ALPN) in common",
}
# The random of a Hello Retry Request, RFC 8446 section 4.1.3: the SHA-256 of "HelloRetryRequest".
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
_SIGNALS = (0x00FF, 0x5600)  # no suites, but signals in their place (RFC 5746, RFC 7507)


@dataclass(frozen=True)
class Line:
    """One thing that was said: seconds since the conversation began, who said it, and what in words."""

    seconds: float
    sender: Sender
    text: str


class _Malformed(Exception):
    """The bytes are not what they should be; the text is the fact."""


class _Reader:
    """Reads fields in order. Raises _Malformed where the bytes end too soon."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _Malformed(f"it ends {count - self.left} bytes too soon")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def vector(self, width: int) -> bytes:
        """Bytes after their length, which takes `width` bytes."""
        return self.take(self.number(width))

    def numbers(self, width: int) -> list[int]:
        """A vector of two-byte numbers."""
        body = _Reader(self.vector(width))
        return [body.number(2) for _ in range(body.left // 2)]


def _printable(data: bytes, most: int = 64) -> str:
    text = "".join(chr(c) if 0x20 <= c < 0x7F else "?" for c in data[:most])
    return text + "…" if len(data) > most else text


def _version(code: int) -> str:
    return _VERSIONS.get(code, f"version 0x{code:04x}")


def _suite(code: int) -> str:
    known = BY_CODE.get(code)
    return str(known.name) if known else f"suite 0x{code:04x}"


def _signature(code: int) -> str:
    return _SIGNATURES.get(code, f"algorithm 0x{code:04x}")


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _is_grease(code: int) -> bool:
    """Whether a value is there only to be ignored (RFC 8701)."""
    return code & 0x0F0F == 0x0A0A and code >> 8 == code & 0xFF


def _extensions(body: _Reader) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    if body.left:
        inner = _Reader(body.vector(2))
        while inner.left:
            kind = inner.number(2)
            found[kind] = inner.vector(2)
    return found


def _protocols(extension: bytes) -> str:
    names = _Reader(_Reader(extension).vector(2))
    shown = []
    while names.left:
        shown.append(_printable(names.vector(1), 16))
    return ", ".join(shown[:4])


def _client_hello(body: _Reader) -> str:
    legacy = body.number(2)
    body.take(32)
    session = body.vector(1)
    suites = [code for code in body.numbers(2) if not _is_grease(code) and code not in _SIGNALS]
    body.vector(1)  # compression
    extensions = _extensions(body)
    versions = [legacy]
    if 43 in extensions:
        versions = sorted(code for code in _Reader(extensions[43]).numbers(1) if not _is_grease(code))
    offered = " and ".join(_version(code) for code in versions[-3:])
    parts = [f"offers {offered}"]
    first = f" ({_suite(suites[0])} first)" if len(suites) > 1 else f" ({_suite(suites[0])})" if suites else ""
    parts.append(_count(len(suites), "cipher suite") + first)
    if 10 in extensions:
        groups = [_GROUPS.get(code, f"0x{code:04x}") for code in _Reader(extensions[10]).numbers(2)]
        parts.append("groups " + ", ".join(groups[:4]) + (f" and {len(groups) - 4} more" if len(groups) > 4 else ""))
    parts.append(_asked_name(extensions))
    if 16 in extensions:
        parts.append(f"speaks {_protocols(extensions[16])} (ALPN)")
    if session and 43 not in extensions:
        parts.append("would resume an earlier session")
    if 35 in extensions:
        parts.append("takes session tickets")
    return "Client Hello: " + ", ".join(parts)


def _asked_name(extensions: dict[int, bytes]) -> str:
    if 0 not in extensions:
        return "names no server (no SNI)"
    names = _Reader(_Reader(extensions[0]).vector(2))
    names.number(1)
    return f"asks for '{_printable(names.vector(2))}' (SNI)"


def _server_key_exchange(body: _Reader, suite: str) -> str:
    if "_ECDH" not in suite or "_PSK" in suite:
        return f"Server Key Exchange: {_count(body.left, 'byte')} for {suite}"
    kind = body.number(1)
    if kind != 3:
        return f"Server Key Exchange: a curve of kind {kind}, not a named one"
    code = body.number(2)
    group = _GROUPS.get(code, f"group 0x{code:04x}")
    point = body.vector(1)
    text = f"Server Key Exchange: a fresh key for this connection on {group} ({_count(len(point), 'byte')})"
    return text + (f", signed by {_signature(body.number(2))}" if body.left >= 2 else "")


def _certificates(body: _Reader, sender: Sender) -> str:
    chain = _Reader(body.vector(3))
    sizes, leaf = [], b""
    while chain.left:
        der = chain.vector(3)
        leaf = leaf or der
        sizes.append(len(der))
    if not sizes:
        return f"Certificate: none; the {sender} was asked and has none"
    try:
        cert = x509.parse(leaf)
        name, issuer = x509.label(cert.subject), x509.label(cert.issuer)
        whose = f"for '{name}', issued by '{issuer}'"
    except x509.Malformed:
        whose = "which cannot be read"
    first = "" if len(sizes) == 1 else "the first "
    return f"Certificate: {_count(len(sizes), 'certificate')}, {_count(sum(sizes), 'byte')}, {first}{whose}"


def _certificate_request(body: _Reader) -> str:
    kinds = {1: "RSA", 64: "ECDSA"}
    wanted = [kinds[kind] for kind in body.vector(1) if kind in kinds]
    signatures = body.numbers(2)
    names = _Reader(body.vector(2))
    count = 0
    while names.left:
        names.vector(2)
        count += 1
    by = f"from one of {_count(count, 'CA')} it names" if count else "from any CA"
    kind = " or ".join(wanted) or "of another kind"
    ways = _count(len(signatures), "signature algorithm")
    return f"Certificate Request: the client is asked for a certificate ({kind}, {by}; {ways})"


def _client_key_exchange(body: _Reader, suite: str) -> str:
    if "_PSK" in suite:
        return f"Client Key Exchange: the identity '{_printable(body.vector(2))}' of a pre-shared key"
    if "_ECDH" in suite:
        size = len(body.vector(1))
        return f"Client Key Exchange: its own fresh key ({_count(size, 'byte')}); both can now work out the secret"
    return f"Client Key Exchange: {_count(body.left, 'byte')} for {suite}"


class Conversation:
    """Both directions of one TCP connection that carries TLS.

    Never raises on bytes from outside; holds at most one record and one handshake message of each direction.
    """

    def __init__(self) -> None:
        self._halves = {"client": _Half("client", self), "server": _Half("server", self)}
        self.tls13 = False
        self.suite = ""

    def feed(self, sender: Sender, data: bytes, seconds: float) -> list[Line]:
        """What the next bytes of a direction say. Args: sender. data: any bytes. seconds: since the beginning."""
        return self._halves[sender].feed(data, seconds)

    def end(self, seconds: float) -> list[Line]:
        """What is left to say when the TCP connection has ended."""
        lines = [line for half in self._halves.values() for line in half.end(seconds)]
        return sorted(lines, key=lambda line: line.seconds)


class _Half:
    """One direction."""

    def __init__(self, sender: Sender, talk: Conversation) -> None:
        self._sender: Sender = sender
        self._talk = talk
        self._bytes = bytearray()
        self._messages = bytearray()
        self._lines: list[Line] = []
        self._seconds = 0.0
        self._said = 0
        self._deaf = False
        self._changed = False  # after Change Cipher Spec
        self._finished = False
        self._alert: Line | None = None  # encrypted; what it means depends on whether it is the last
        self._records = 0
        self._sent = 0

    def feed(self, data: bytes, seconds: float) -> list[Line]:
        self._seconds = seconds
        if not self._deaf:
            view = memoryview(data)
            # In pieces, so that what is held stays small however much comes at once.
            for at in range(0, len(view), _LARGEST_RECORD):
                self._bytes += view[at : at + _LARGEST_RECORD]
                try:
                    self._split()
                except _Malformed as fact:
                    self._give_up(str(fact))
                    break
        lines, self._lines = self._lines, []
        return lines

    def end(self, seconds: float) -> list[Line]:
        self._seconds = seconds
        if self._alert is not None:
            text = "Alert, encrypted: the last word of this side, so close_notify where the end was orderly"
            self._lines.append(Line(self._alert.seconds, self._sender, text))
            self._alert = None
        elif self._changed and not self._deaf:
            self._lines.append(Line(seconds, self._sender, "no close_notify from this side before TCP ended"))
        if self._bytes or self._messages:
            left = len(self._bytes) + len(self._messages)
            self._lines.append(Line(seconds, self._sender, f"cut off inside a message, after {_count(left, 'byte')}"))
        if self._records > 1:
            text = f"encrypted data in all: {_count(self._records, 'record')}, {_count(self._sent, 'byte')}"
            self._lines.append(Line(seconds, self._sender, text))
        lines, self._lines = self._lines, []
        self._deaf = True
        return lines

    def _say(self, text: str) -> None:
        if self._said < _MOST_LINES:
            self._lines.append(Line(self._seconds, self._sender, text))
        elif self._said == _MOST_LINES:
            self._lines.append(Line(self._seconds, self._sender, "more messages than are shown here"))
        self._said += 1

    def _give_up(self, fact: str) -> None:
        self._say(f"{fact}; the rest of this direction is not explained")
        self._deaf = True
        self._bytes.clear()
        self._messages.clear()

    def _split(self) -> None:
        """Take the whole records out of the bytes."""
        while self._bytes:
            kind = self._bytes[0]
            if not _CHANGE_CIPHER_SPEC <= kind <= _APPLICATION or (len(self._bytes) > 1 and self._bytes[1] != 3):
                raise _Malformed(f"not TLS: it goes on with '{_printable(bytes(self._bytes[:16]))}'")
            if len(self._bytes) < 5:
                return
            size = int.from_bytes(self._bytes[3:5], "big")
            if size > _LARGEST_RECORD:
                raise _Malformed(f"not TLS: a record of {_count(size, 'byte')} is longer than any")
            if len(self._bytes) < 5 + size:
                return
            payload = bytes(self._bytes[5 : 5 + size])
            del self._bytes[: 5 + size]
            self._record(kind, payload)

    def _record(self, kind: int, payload: bytes) -> None:
        if self._alert is not None:
            self._say("Alert, encrypted: a warning, since more follows")
            self._alert = None
        if kind == _HANDSHAKE and not self._changed:
            self._messages += payload
            self._handshakes()
            return
        if self._messages:
            raise _Malformed("a handshake message is broken off by another record")
        if kind == _HANDSHAKE:
            self._hidden_handshake()
        elif kind == _CHANGE_CIPHER_SPEC:
            self._change()
        elif kind == _ALERT:
            self._warn(payload)
        else:
            self._data(payload)

    def _hidden_handshake(self) -> None:
        if self._finished:
            self._say("a handshake message inside the connection, encrypted")
        else:
            self._finished = True
            self._say("Finished, encrypted: a check over the whole handshake; nothing was changed on the way")

    def _change(self) -> None:
        if self._talk.tls13:
            self._say("Change Cipher Spec: without meaning in TLS 1.3, sent for old middleboxes")
        else:
            self._changed = True
            self._say(f"Change Cipher Spec: all that the {self._sender} sends from here on is encrypted")

    def _warn(self, payload: bytes) -> None:
        if self._changed:
            self._alert = Line(self._seconds, self._sender, "")
        elif len(payload) != 2:
            self._say(f"Alert that cannot be read: {_count(len(payload), 'byte')} where two belong")
        else:
            level = "fatal" if payload[0] == 2 else "warning"
            self._say(f"Alert, {level}: {ALERTS.get(payload[1], f'number {payload[1]}')}")

    def _data(self, payload: bytes) -> None:
        self._records += 1
        self._sent += len(payload)
        if self._records > 1:
            return
        size = _count(len(payload), "byte")
        if self._talk.tls13:
            hidden = {
                "server": "its certificate, Certificate Verify and Finished, then data",
                "client": "Finished (its certificate before it, if asked for), then data",
            }[self._sender]
            self._say(f"first encrypted record, {size}; TLS 1.3 hides the rest: {hidden}, and the close_notify")
        elif self._changed:
            self._say(f"Application Data, the first: {size}, encrypted")
        else:
            self._say(f"Application Data before the handshake is done: {size} (early data, or not TLS at all)")

    def _handshakes(self) -> None:
        """Take the whole handshake messages out of the records."""
        while len(self._messages) >= 4:
            size = int.from_bytes(self._messages[1:4], "big")
            if size > _LARGEST_MESSAGE:
                raise _Malformed(f"a handshake message of {_count(size, 'byte')} is longer than is read here")
            if len(self._messages) < 4 + size:
                return
            kind, body = self._messages[0], bytes(self._messages[4 : 4 + size])
            del self._messages[: 4 + size]
            self._say(self._words(kind, body))

    def _words(self, kind: int, body: bytes) -> str:
        names: dict[int, tuple[str, Callable[[_Reader], str]]] = {
            0: ("Hello Request", lambda _: "Hello Request: asks for a new handshake"),
            1: ("Client Hello", _client_hello),
            2: ("Server Hello", self._server_hello),
            4: ("New Session Ticket", _ticket),
            11: ("Certificate", lambda r: _certificates(r, self._sender)),
            12: ("Server Key Exchange", lambda r: _server_key_exchange(r, self._talk.suite)),
            13: ("Certificate Request", _certificate_request),
            14: ("Server Hello Done", lambda _: "Server Hello Done: the client's turn"),
            15: ("Certificate Verify", _certificate_verify),
            16: ("Client Key Exchange", lambda r: _client_key_exchange(r, self._talk.suite)),
            22: ("Certificate Status", lambda r: f"Certificate Status: an OCSP answer, {_count(r.left, 'byte')}"),
        }
        if kind not in names:
            return f"a handshake message of type {kind}, {_count(len(body), 'byte')}"
        name, read = names[kind]
        try:
            return read(_Reader(body))
        except _Malformed as fact:
            return f"{name} that cannot be read: {fact}"

    def _server_hello(self, body: _Reader) -> str:
        version = body.number(2)
        random = body.take(32)
        body.vector(1)
        suite = body.number(2)
        body.number(1)
        extensions = _extensions(body)
        if 43 in extensions:
            version = _Reader(extensions[43]).number(2)
        self._talk.tls13 = version >= 0x0304
        self._talk.suite = _suite(suite)
        parts = [f"{_version(version)} with {self._talk.suite}"]
        if 51 in extensions:
            code = _Reader(extensions[51]).number(2)
            parts.append(f"key exchange on {_GROUPS.get(code, f'group 0x{code:04x}')}")
        if 16 in extensions:
            parts.append(f"speaks {_protocols(extensions[16])} (ALPN)")
        if random == _RETRY:
            return f"Hello Retry Request: the client must try again: {', '.join(parts)}"
        return f"Server Hello: chooses {', '.join(parts)}"


def _ticket(body: _Reader) -> str:
    seconds = body.number(4)
    return f"New Session Ticket: {_count(len(body.vector(2)), 'byte')}, good for {seconds:,} s"


def _certificate_verify(body: _Reader) -> str:
    return f"Certificate Verify: proof, by {_signature(body.number(2))}, that the client holds its certificate's key"
