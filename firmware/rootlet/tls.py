"""Opens verified TLS connections. There is no way to open one that is not verified."""

import errno
import select
import socket

import tls

from . import memory
from .deadline import WRITE, Deadline, wait
from .errors import RootletError
from .judge import Judge, explain
from .stream import Stream, close
from .trust import read_file

_IN_PROGRESS = (115, 119, 36)  # EINPROGRESS of lwIP and Linux, of newlib, of macOS
_TRIES = 3


def resolve(host, port):
    """Up to three socket addresses of a host. Raises RootletError DNS."""
    fact = "no address for '%s'" % host
    try:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except OSError as e:
        raise RootletError("DNS", "%s (error %s)" % (fact, e.args[0])) from None
    if not found:
        raise RootletError("DNS", fact)
    return [row[-1] for row in found if row[1] == socket.SOCK_STREAM][:_TRIES]


def _dial(address, host, port, deadline):
    """A connected, non-blocking TCP socket."""
    raw = socket.socket()
    where = "%s:%d" % (host, port)
    if isinstance(address, tuple) and address[0] != host:
        where += " at " + address[0]  # on a board; the unix port has packed addresses
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
            raise RootletError("TCP_TIMEOUT", where)
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
        raise RootletError("TCP_REFUSED" if refused else "TCP", "%s, error %s" % (where, e.args[0])) from None
    except RootletError:
        raw.close()
        raise


def _context(trust, judge):
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_REQUIRED  # type: ignore[attr-defined]  # absent from the stubs
    try:
        for root in trust.roots:
            context.load_verify_locations(root)
    except (ValueError, OSError) as e:
        raise RootletError("TLS_NO_ROOTS", "a root of %d bytes: %s" % (len(root), e.args[-1])) from None
    if trust.cert:
        cert, key = read_file(trust.cert), read_file(trust.key)
        try:
            context.load_cert_chain(cert, key)
        except (ValueError, OSError) as e:
            raise RootletError("TLS_IDENTITY", "'%s' or '%s': %s" % (trust.cert, trust.key, e.args[0])) from None
    context.verify_callback = judge  # type: ignore[attr-defined]
    return context


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
    judge = Judge(host, trust, now)
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
        close(sock, raw)
        raise explain(e, judge) from None
