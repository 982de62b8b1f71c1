"""Opens verified TLS connections. There is no way to open one that is not verified."""

import errno
import select
import socket

import tls

from . import memory
from .deadline import READ, WRITE, Deadline, wait, waiting
from .errors import RootletError
from .judge import Judge, explain
from .stream import Guard, Stream, close
from .trust import read_file

_IN_PROGRESS = (115, 119, 36)  # EINPROGRESS of lwIP and Linux, of newlib, of macOS
_TRIES = 3
# Forward secrecy and authenticated encryption only; AES-128 first, which is cheaper on a chip without AES hardware.
CIPHERS = [
    "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256",
    "TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256",
    "TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384",
    "TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384",
]


def resolve(host, port):
    """Up to three socket addresses of a host. Raises RootletError DNS."""
    for c in host:
        if not 0x20 < ord(c) < 0x7F:
            raise RootletError("DNS", "the name is not plain ASCII", "write it in its xn-- form (A-labels)")
    fact = "no address for '%s'" % host
    waiting()
    try:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except OSError as e:
        raise RootletError("DNS", "%s (error %s)" % (fact, e.args[0])) from None
    if not found:
        raise RootletError("DNS", fact)
    return [row[-1] for row in found if row[1] == socket.SOCK_STREAM][:_TRIES]


def _dial(address, host, port, deadline):
    """A connected, non-blocking TCP socket."""
    try:
        raw = socket.socket()
    except OSError as e:
        raise RootletError("TCP", "no socket is free, error %s" % e.args[0]) from None
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


def _context(roots, callback):
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(CIPHERS)
    try:
        for root in roots:
            context.load_verify_locations(bytes(root))  # it takes no bytearray
    except (ValueError, OSError) as e:
        raise RootletError("TLS_NO_ROOTS", "a root of %d bytes: %s" % (len(root), e.args[-1])) from None
    context.verify_callback = callback  # type: ignore[attr-defined]  # absent from the stubs
    return context


def _identify(context, trust):
    """Give the board's own certificate and key to a context."""
    if not trust.cert:
        return
    cert, key = read_file(trust.cert), read_file(trust.key)
    try:
        context.load_cert_chain(cert, key)
    except (ValueError, OSError) as e:
        raise RootletError("TLS_IDENTITY", "'%s' or '%s': %s" % (trust.cert, trust.key, e.args[0])) from None


def _handshake(sock, raw, hello, deadline):
    """Drive the handshake by sending the first application bytes, the only way that has a deadline."""
    view = memoryview(hello)
    # The socket below is asked, not the TLS object, which some ports poll only every millisecond. Short slices, since
    # now and then it is the writing that waits.
    poller = select.poll()
    poller.register(raw, READ)
    sent = 0
    while sent < len(hello):
        n = sock.write(view[sent:])
        if n:
            sent += n
            continue
        left = deadline.left()
        if not left:
            raise RootletError("NET_TIMEOUT", "")
        waiting()
        poller.poll(min(left, 50))


def _dial_any(addresses, host, port, deadline):
    """A TCP socket to the first address that answers."""
    for i, address in enumerate(addresses):
        try:
            return _dial(address, host, port, deadline)
        except RootletError:
            if i == len(addresses) - 1:
                raise


def _server_name(host):
    """The host as SNI and Mbed TLS want it: without the dot that DNS allows at its end (RFC 6066 section 3)."""
    return host[:-1] if host.endswith(".") else host


def _peek(addresses, host, port, trust, now, deadline):
    """Look at the server's certificates and leave. Returns a pick.Peek; nothing it holds may be believed."""
    from .pick import Peek

    peek = Peek(host, trust, now)
    raw = _dial_any(addresses, host, port, deadline)
    sock = None
    try:
        context = _context((), peek)
        # Without roots nothing can be verified: the callback only looks, then ends the handshake before it is done.
        context.verify_mode = tls.CERT_OPTIONAL  # type: ignore[attr-defined]
        guard = Guard(raw, deadline)
        sock = context.wrap_socket(guard, server_hostname=_server_name(host), do_handshake_on_connect=False)
        _handshake(sock, raw, b"\0", deadline)
        raise RootletError("TLS_FAILED", "the server's certificate was not presented")
    except (OSError, ValueError, MemoryError, RootletError) as e:
        close(sock, raw)  # first: to explain it takes memory
        if peek.fault or not peek.leaf_seen:
            raise explain(e, peek) from None
        return peek


def _open(addresses, host, port, hello, trust, roots, now, deadline, timeout_ms):
    """A verified connection, the first bytes sent. Returns a Stream."""
    judge = Judge(host, trust, now, roots)
    raw = _dial_any(addresses, host, port, deadline)
    sock = None
    try:
        context = trust.psk.prepare(tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)) if trust.psk else _context(roots, judge)
        context.verify_mode = tls.CERT_REQUIRED  # type: ignore[attr-defined]
        _identify(context, trust)
        guard = Guard(raw, deadline)
        sock = context.wrap_socket(guard, server_hostname=_server_name(host), do_handshake_on_connect=False)
        _handshake(sock, raw, hello, deadline)
        guard.deadline = None
        if trust.psk:
            trust.psk.check(sock.cipher()[0])
        elif not judge.leaf_seen:
            raise RootletError("TLS_FAILED", "the server's certificate was not presented for judgement")
        stream = Stream(raw, sock, host, timeout_ms)
        stream.guard = guard
        stream.chain = judge.chain
        stream.since = judge.since
        stream.cipher, stream.version = sock.cipher()
        return stream
    except (OSError, ValueError, MemoryError, RootletError) as e:
        close(sock, raw)
        why = explain(e, judge)
        raise (trust.psk.explain(why) if trust.psk else why) from None


def connect(host, port, hello, trust, timeout_ms=15000):
    """Open a verified TLS connection and send the first bytes over it.

    The first bytes are part of the call because MicroPython completes a handshake with a deadline only while
    writing; they leave after the server's certificate has been verified and the handshake is finished.

    Where `trust` has a root store, the root is chosen by a look at the server's certificates at the first contact,
    and remembered; a failure with the remembered root looks again, once.

    Args:
        host: DNS name in A-labels (also sent as SNI) or dotted IPv4 address; the certificate must name it.
        port: 1 to 65535. hello: bytes, at least one. trust: a trust.Trust.
        timeout_ms: for TCP and TLS together; also the stream's timeout for each later read or write.
    Returns a Stream.
    Raises RootletError CLOCK_NOT_SET, DNS, TCP*, TLS_* or CERT_*.
    With a trust by shared key, "verified" means that the server has proved, by its Finished message, to know the key.
    """
    now = trust.now()
    memory.check(trust.needs)
    deadline = Deadline(timeout_ms)
    addresses = resolve(host, port)
    if trust.store is None:
        return _open(addresses, host, port, hello, trust, trust.roots, now, deadline, timeout_ms)
    from . import pick

    place = "%s:%d" % (host, port)
    remembered = trust.choices.get(place)
    roots = pick.known([remembered], trust)[1] if remembered else None
    failure = None
    if roots:
        try:
            return _open(addresses, host, port, hello, trust, roots, now, deadline, timeout_ms)
        except RootletError as e:
            if not e.code.startswith("CERT_"):
                raise
            failure = e
    issuer, roots = pick.choose(_peek(addresses, host, port, trust, now, deadline), trust)
    if failure and issuer == remembered:
        raise failure
    memory.check(trust.needs)
    stream = _open(addresses, host, port, hello, trust, roots, now, deadline, timeout_ms)
    trust.choices.put(place, issuer)
    return stream
