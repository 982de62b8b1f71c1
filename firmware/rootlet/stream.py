"""A verified TLS connection as a stream: buffered reads, whole writes, a deadline on each."""

import io
import select

from .deadline import READ, WRITE, Deadline, wait
from .errors import RootletError, unload

_CONN_EOF = -0x7280  # of Mbed TLS, both
_CLOSE_NOTIFY = -0x7880
_BUFFER = 512
_LARGEST_READ = 16384


class Guard(io.IOBase):
    """The socket under a TLS connection. While a deadline is set and has passed there is nothing to read.

    Mbed TLS goes on by itself as long as anything comes, such as endless warning alerts, and looks at no clock.
    Errors are returned as negative numbers: what is raised here would jump through Mbed TLS and leak.
    """

    def __init__(self, raw, deadline):
        self.raw = raw
        self.deadline = deadline
        self.ended = False  # TCP has ended, and TLS was still reading

    def readinto(self, buf):
        deadline = self.deadline
        if deadline and not deadline.left():
            return None
        try:
            n = self.raw.readinto(buf)
            self.ended = n == 0
            return n
        except OSError as e:
            return -e.args[0]

    def write(self, buf):
        try:
            return self.raw.write(buf)
        except OSError as e:
            return -e.args[0]

    def ioctl(self, request, arg):
        return 0


class Stream:
    """A verified TLS connection: buffered reads, whole writes, a deadline on each.

    Attributes: host; chain (names, root first); version and cipher (text); timeout_ms for each read or write;
    since, the newest start of a certificate of the chain (Unix seconds, 0 where there was none);
    limit, a Deadline for all of them together in the place of timeout_ms, or None; cut, whether it has ended without
    close_notify.
    """

    def __init__(self, raw, sock, host, timeout_ms):
        self._raw = raw
        self._sock = sock
        self._poller = select.poll()
        # Asked of the socket itself: what TLS holds was handed out before.
        self._poller.register(raw, READ)
        self._buf = bytearray(_BUFFER)
        self._view = memoryview(self._buf)
        self._pos = 0
        self._end = 0
        self._eof = self.cut = False
        self.guard = None
        self.host = host
        self.timeout_ms = timeout_ms
        self.limit = None
        self.chain = []
        self.since = 0
        self.version = self.cipher = ""

    def _await(self, flag, deadline):
        self._poller.modify(self._raw, flag)
        if not wait(self._poller, deadline):
            raise self._late()

    def _late(self):
        return RootletError("NET_TIMEOUT", "%s, nothing within the time allowed" % self.host)

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
                deadline = self.limit or Deadline(self.timeout_ms)
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
                self.cut = e.args[0] == _CONN_EOF
            else:
                raise _broken(e, self.host) from None
        if n == 0:
            self._eof = True
            if self.guard and self.guard.ended:  # MicroPython says 0 to both
                self.cut = True
        return n

    def readinto(self, buf, deadline=None):
        """Read what there is, at least one byte, into buf. Returns the count, 0 at the end of the stream.

        Args: deadline: for this read; by default timeout_ms from now.
        """
        size = self._end - self._pos
        if size:
            size = min(size, len(buf))
            buf[:size] = self._view[self._pos : self._pos + size]
            self._pos += size
            return size
        limit = self.limit
        if limit and not limit.left():  # where something is always there, nothing below waits
            raise self._late()
        while True:
            n = self._fill(buf)
            if n is not None:
                return n
            if deadline is None:
                deadline = self.limit or Deadline(self.timeout_ms)
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
        deadline = self.limit or Deadline(
            self.timeout_ms
        )  # for all of it: a byte now and then must not hold up everything else
        done = 0
        while done < size:
            if self._pos == self._end and size - done < _BUFFER:
                self._pos = self._end = 0
                self._end = self.readinto(self._view, deadline)
                if not self._end:
                    raise RootletError("NET_CLOSED", self.host)
            n = self.readinto(view[done:], deadline)
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

    def wait(self, deadline):
        """Wait until there is something to read, or the end. Raises RootletError NET_TIMEOUT, NET_CLOSED."""
        while not self.ready():
            self._await(READ, deadline)

    def take(self, start):
        """Take four bytes that lie ready, if the first two are `start`. Returns the others as a number, or -1."""
        pos = self._pos
        buf = self._buf
        if self._end - pos < 4 or buf[pos] != start[0] or buf[pos + 1] != start[1]:
            return -1
        self._pos = pos + 4
        return buf[pos + 2] << 8 | buf[pos + 3]

    def setblocking(self, flag):
        """Nothing, whatever `flag` is: every call has its deadline. Here because umqtt.simple calls it."""

    def close(self):
        """Close the connection and free the buffers; MicroPython sends no close_notify. May be called twice."""
        sock, self._sock = self._sock, None
        if sock is not None:
            close(sock, self._raw)


def close(sock, raw):
    """Close a TLS object and the socket under it, whatever state they are in."""
    # Both, in this order: on some ports closing the TLS object leaves the socket open after a failed handshake.
    for s in (sock, raw):
        try:
            if s is not None:
                s.close()
        except OSError:
            pass


def _broken(e, host):
    number = e.args[0] if e.args else 0
    try:
        from . import mbedtls  # a table for failures only

        code = mbedtls.catalogue_code(number)
    except (MemoryError, OSError, ImportError):
        code = "TLS_FAILED"
    finally:
        unload("mbedtls")
    if code in ("NET_CLOSED", "NET_TIMEOUT"):
        return RootletError(code, host)
    if code == "TLS_MEMORY":
        return RootletError(code, "while talking to " + host)
    if code == "TLS_REFUSED":  # with TLS 1.3 a server judges our certificate after the handshake
        return RootletError(code, host + " sent a fatal alert")
    return RootletError("TLS_FAILED", "%s, code %s" % (host, number))
