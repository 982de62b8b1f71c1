"""Opens verified TLS connections. There is no way to open one that is not verified."""

import errno
import gc
import select
import socket

import tls

from . import memory, policy, x509
from .deadline import READ, WRITE, Deadline, wait
from .errors import RootletError
from .trust import read_file

# Mbed TLS error numbers (include/mbedtls/ssl.h and x509.h), as MicroPython puts them in OSError.args[0].
_FATAL_ALERT = -0x7780
_CONN_EOF = -0x7280
_CLOSE_NOTIFY = -0x7880
_NOT_TLS = (-0x7200, -0x7100, -0x7700)  # invalid record, bad input, unexpected message
_VERSION = (-0x6E80, -0x6E00)  # bad protocol version, no common suite
_X509_RANGE = (-0x2F80, -0x2000)
_ALLOC_FAILED = (-0x7F00, -0x2880, -0x3F80, -0x6A, -0x10, -0x4D00)
_ABORT = -0x3000  # X509_FATAL_ERROR: what the callback returns to end a handshake
_IN_PROGRESS = (115, 119, 36)  # EINPROGRESS of lwIP and Linux, of newlib, of macOS
_CLOSED_ERRNOS = (32, 54, 103, 104, 128)  # EPIPE, ECONNRESET, ECONNABORTED by their various numbers
_ENOMEM = 12
_TRIES = 3
_BUFFER = 512
_LARGEST_READ = 16384
# With less free than this, on rp2, "not correctly signed" may mean that memory ran out (measured: under 48 KB).
_CERTAIN_FREE = 49152


class _Judge:
    """Judges each certificate as Mbed TLS hands it over, top of the chain first, leaf (depth 0) last."""

    def __init__(self, host, trust, now):
        self.host = host
        self.roots = trust.roots
        self.now = now
        self.fault = None
        self.chain = []
        self.top = None
        self.leaf_seen = False
        self.free = gc.mem_free()

    def __call__(self, der, depth):
        # Nothing may be raised from here: it would jump through Mbed TLS and leak what it holds.
        try:
            cert = x509.parse(der)
            self.chain.append(x509.label(cert.subject))
            policy.check_any(cert, self.now)
            if self.top is None:
                self.top = cert
            if not self._is_root(der):
                policy.check_signature(cert)
            if depth:
                policy.check_ca(cert)
            else:
                policy.check_server(cert, self.host)
                self.leaf_seen = True
            return 0
        except RootletError as e:
            self.fault = e
        except x509.Malformed as e:
            self.fault = RootletError("CERT_MALFORMED", str(e))
        except MemoryError:
            self.fault = RootletError("TLS_MEMORY", "while a certificate was judged")
        return _ABORT

    def _is_root(self, der):
        size = len(der)
        for root in self.roots:
            if len(root) == size and root == der:
                return True
        return False

    def untrusted(self):
        """Why no root was found, told from the top of what the server sent."""
        top = self.top
        if top is None:
            return RootletError("CERT_UNKNOWN_CA", "no certificate could be checked")
        if top.issuer == top.subject:
            if len(self.chain) == 1:
                return RootletError("CERT_SELF_SIGNED", "it is '%s'" % x509.label(top.subject))
            return RootletError("CERT_UNKNOWN_CA", "the root is '%s'" % x509.label(top.subject))
        issuer = x509.label(top.issuer)
        parsed = [x509.parse(root) for root in self.roots]
        for root in parsed:
            if root.subject == top.issuer:
                if self.free < _CERTAIN_FREE:
                    return RootletError("TLS_MEMORY", "%d B were free, a signature could not be checked" % self.free)
                return RootletError("CERT_UNKNOWN_CA", "a root named '%s' is embedded, but its key differs" % issuer)
        # A leaf alone that tells where its issuer is published, or whose issuer belongs to an embedded root's owner.
        if len(self.chain) == 1 and (top.has_aia or self._is_kin(parsed, top)):
            return RootletError("CERT_INCOMPLETE", "only the leaf came; its issuer '%s' did not" % issuer)
        return RootletError("CERT_UNKNOWN_CA", "the issuer is '%s'" % issuer)

    @staticmethod
    def _is_kin(roots, top):
        owner = x509.organisation(top.issuer)
        return owner is not None and owner in [x509.organisation(root.subject) for root in roots]


class Stream:
    """A verified TLS connection: buffered reads, whole writes, a deadline on each.

    Attributes: host; chain (names, root first); version and cipher (text); timeout_ms for each read or write;
    limit, a Deadline that bounds all of them together, or None.
    """

    def __init__(self, raw, sock, host, timeout_ms):
        self._raw = raw
        self._sock = sock
        self._poller = select.poll()
        self._poller.register(sock, READ)
        self._buf = bytearray(_BUFFER)
        self._view = memoryview(self._buf)
        self._pos = 0
        self._end = 0
        self._eof = False
        self.host = host
        self.timeout_ms = timeout_ms
        self.limit = None
        self.chain = []
        self.version = self.cipher = ""

    def _await(self, flag, deadline):
        if self.limit and self.limit.left() < deadline.left():
            deadline = self.limit
        self._poller.modify(self._sock, flag)
        if not wait(self._poller, deadline):
            raise RootletError("NET_TIMEOUT", "%s, nothing within the time allowed" % self.host)

    def write(self, data, size=None):
        """Write all of data (or its first `size` bytes). Raises RootletError NET_TIMEOUT, NET_CLOSED."""
        sock = self._sock
        if sock is None:
            raise RootletError("NET_CLOSED", self.host)
        if size is None:
            size = len(data)
        deadline = None
        done = 0
        while done < size:
            try:
                part = data if done == 0 and size == len(data) else memoryview(data)[done:size]
                n = sock.write(part)
            except OSError as e:
                raise _broken(e, self.host) from None
            if n:
                done += n
                continue
            if deadline is None:
                deadline = Deadline(self.timeout_ms)
            self._await(WRITE, deadline)
        return size

    def _fill(self, into):
        """One non-blocking read into `into`: bytes read, 0 at the end, None where nothing is there yet."""
        if self._eof:
            return 0
        if self._sock is None:
            raise RootletError("NET_CLOSED", self.host)
        try:
            n = self._sock.readinto(into)
        except OSError as e:
            if e.args and e.args[0] in (_CONN_EOF, _CLOSE_NOTIFY):
                n = 0
            else:
                raise _broken(e, self.host) from None
        if n == 0:
            self._eof = True
        return n

    def readinto(self, buf):
        """Read what there is, at least one byte, into buf. Returns the count, 0 at the end of the stream."""
        size = self._end - self._pos
        if size:
            size = min(size, len(buf))
            buf[:size] = self._view[self._pos : self._pos + size]
            self._pos += size
            return size
        deadline = None
        while True:
            n = self._fill(buf)
            if n is not None:
                return n
            if deadline is None:
                deadline = Deadline(self.timeout_ms)
            self._await(READ, deadline)

    def read(self, size):
        """Exactly `size` bytes, at most 16,384. Raises RootletError NET_TIMEOUT, NET_CLOSED; ValueError."""
        if not 0 <= size <= _LARGEST_READ:
            raise ValueError("read of %d bytes" % size)
        pos = self._pos
        if self._end - pos >= size:
            self._pos = pos + size
            return bytes(self._view[pos : pos + size])
        out = bytearray(size)
        view = memoryview(out)
        done = 0
        while done < size:
            if self._pos == self._end and size - done < _BUFFER:
                self._pos = self._end = 0
                self._end = self.readinto(self._view)
                if not self._end:
                    raise RootletError("NET_CLOSED", self.host)
            n = self.readinto(view[done:])
            if not n:
                raise RootletError("NET_CLOSED", self.host)
            done += n
        return bytes(out)

    def ready(self):
        """Whether a read would find something now: data, or the end of the stream."""
        if self._pos < self._end or self._eof:
            return True
        self._pos = self._end = 0
        self._end = self._fill(self._view) or 0
        return self._end > 0 or self._eof

    def setblocking(self, flag):
        """Nothing: every call has its deadline. Here because umqtt.simple calls it."""

    def close(self):
        """Send close_notify if it can be sent at once, and free the buffers. May be called twice."""
        sock, self._sock = self._sock, None
        if sock is not None:
            _close(sock, self._raw)


def _close(sock, raw):
    # Both, in this order: on some ports closing the TLS object leaves the socket open after a failed handshake.
    for s in (sock, raw):
        try:
            if s is not None:
                s.close()
        except OSError:
            pass


def _broken(e, host):
    code = e.args[0] if e.args else 0
    if code in _CLOSED_ERRNOS or code in (_CONN_EOF, _CLOSE_NOTIFY):
        return RootletError("NET_CLOSED", host)
    if code == _ENOMEM or code in _ALLOC_FAILED:
        return RootletError("TLS_MEMORY", "while talking to " + host)
    return RootletError("TLS_FAILED", "%s, code %s" % (host, code))


def resolve(host, port):
    """Up to three socket addresses of a host. Raises RootletError DNS."""
    try:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except OSError:
        found = []
    if not found:
        raise RootletError("DNS", "no address for '%s'" % host)
    return [row[-1] for row in found if row[1] == socket.SOCK_STREAM][:_TRIES]


def _dial(address, host, port, deadline):
    """A connected, non-blocking TCP socket."""
    raw = socket.socket()
    try:
        raw.setblocking(False)
        try:
            raw.connect(address)
        except OSError as e:
            if e.args[0] not in _IN_PROGRESS:
                raise
        poller = select.poll()
        poller.register(raw, WRITE)
        flags = wait(poller, deadline)
        if not flags:
            raise RootletError("TCP_TIMEOUT", "%s:%d" % (host, port))
        if flags & (select.POLLERR | select.POLLHUP):
            raw.recv(1)  # raises what went wrong
            raise OSError(errno.ECONNREFUSED)
        try:
            raw.setsockopt(6, 1, 1)  # IPPROTO_TCP, TCP_NODELAY: no waiting for the ACK of the packet before
        except (OSError, ValueError, NotImplementedError):
            pass  # lwIP on rp2 knows the option only in newer builds
        return raw
    except OSError as e:
        raw.close()
        refused = e.args and e.args[0] in (errno.ECONNREFUSED, 111, 61, 104, 103)
        raise RootletError("TCP_REFUSED" if refused else "TCP", "%s:%d, error %s" % (host, port, e.args[0])) from None
    except RootletError:
        raw.close()
        raise


def _context(trust, judge):
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_REQUIRED  # type: ignore[attr-defined]  # absent from the stubs
    try:
        for root in trust.roots:
            context.load_verify_locations(root)
    except (ValueError, OSError):
        raise RootletError("TLS_NO_ROOTS", "an embedded root cannot be loaded") from None
    if trust.cert:
        cert, key = read_file(trust.cert), read_file(trust.key)
        try:
            context.load_cert_chain(cert, key)
        except (ValueError, OSError) as e:
            raise RootletError("TLS_IDENTITY", "'%s' or '%s': %s" % (trust.cert, trust.key, e.args[0])) from None
    context.verify_callback = judge  # type: ignore[attr-defined]
    return context


def _why(e, judge):
    """A handshake's exception as a RootletError."""
    if judge.fault:
        return judge.fault
    if isinstance(e, MemoryError):
        return RootletError("TLS_MEMORY", "largest free block %d B" % memory.largest_block())
    if isinstance(e, RootletError):
        codes = {"NET_TIMEOUT": "TLS_TIMEOUT", "NET_CLOSED": "TLS_CLOSED"}
        return RootletError(codes[e.code], e.fact) if e.code in codes else e
    if isinstance(e, ValueError):
        return judge.untrusted() if "not correctly signed" in str(e) else RootletError("TLS_FAILED", str(e).strip())
    return _why_mbedtls(e.args[0] if e.args else 0, judge)


def _why_mbedtls(code: int, judge):
    """The same for an OSError, by the number Mbed TLS or the socket gave."""
    if code == _ENOMEM or code in _ALLOC_FAILED:
        return RootletError("TLS_MEMORY", "largest free block %d B" % memory.largest_block())
    if code in (_CONN_EOF, _CLOSE_NOTIFY) or code in _CLOSED_ERRNOS:
        return RootletError("TLS_CLOSED", judge.host)
    if code == _FATAL_ALERT:
        return RootletError("TLS_REFUSED" if judge.leaf_seen else "TLS_VERSION", "it sent a fatal alert")
    if code in _NOT_TLS:
        return RootletError("TLS_NOT_TLS", "what came is no TLS record")
    if code in _VERSION:
        return RootletError("TLS_VERSION", "Mbed TLS code %d" % code)
    if _X509_RANGE[0] <= code <= _X509_RANGE[1]:
        return RootletError("CERT_MALFORMED", "Mbed TLS code %d" % code)
    return RootletError("TLS_FAILED", "Mbed TLS code %s" % code)


def _handshake(sock, hello, poller, deadline):
    """Drive the handshake by sending the first application bytes, the only way that has a deadline."""
    view = memoryview(hello)
    sent = 0
    while sent < len(hello):
        n = sock.write(view[sent:])
        if n:
            sent += n
        elif not wait(poller, deadline):
            raise RootletError("NET_TIMEOUT", "")


def connect(host, port, hello, trust, timeout_ms=15000):
    """Open a verified TLS connection and send the first bytes over it.

    The first bytes are part of the call because MicroPython completes a handshake with a deadline only while
    writing; they leave after the server's certificate has been verified and the handshake is finished.

    Args:
        host: DNS name (also sent as SNI) or dotted IPv4 address; the certificate must name it.
        port: 1 to 65535. hello: bytes, at least one. trust: a trust.Trust.
        timeout_ms: for TCP and TLS together; also the stream's timeout for each later read or write.
    Returns a Stream.
    Raises RootletError CLOCK_NOT_SET, DNS, TCP*, TLS_* or CERT_*.
    """
    now = trust.now()
    memory.check(trust.needs)
    deadline = Deadline(timeout_ms)
    addresses = resolve(host, port)
    raw = None
    for i, address in enumerate(addresses):
        try:
            raw = _dial(address, host, port, deadline)
            break
        except RootletError:
            if i == len(addresses) - 1:
                raise
    judge = _Judge(host, trust, now)
    sock = None
    try:
        context = _context(trust, judge)
        sock = context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
        poller = select.poll()
        poller.register(sock, WRITE)
        _handshake(sock, hello, poller, deadline)
        if not judge.leaf_seen:
            raise RootletError("TLS_FAILED", "the server's certificate was not presented for judgement")
        stream = Stream(raw, sock, host, timeout_ms)
        stream.chain = judge.chain
        stream.cipher, stream.version = sock.cipher()
        return stream
    except (OSError, ValueError, MemoryError, RootletError) as e:
        _close(sock, raw)
        raise _why(e, judge) from None
