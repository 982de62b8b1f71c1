"""HTTPS GET and POST: verified, streamed, bounded in time, size and redirects."""

import json

from . import http1, tls
from .deadline import Deadline
from .errors import RootletError

_CHUNK = 4096  # a quarter of a TLS record, a block of flash
_HEAD = 512


def _place(url):
    """A URL without its query, which may hold a key that no log should."""
    return url.partition("?")[0]


class Response:
    """A response whose body is still to be read: by readinto, by read, or by iteration, also one after the other.

    Attributes: status (int), headers (dict, lower-case names), url (after redirects), stream (the tls.Stream),
    size (bytes of body read so far).
    Iterate over it for the body in pieces of at most 4,096 bytes (memoryviews, valid until the next piece).
    Each raises RootletError HTTP_TIMEOUT, HTTP_TRUNCATED, HTTP_RESPONSE or HTTP_TOO_LARGE, and closes the connection.
    """

    def __init__(self, stream, parser, url, max_bytes):
        self.stream = stream
        self.url = url
        self._place = _place(url)
        self._parser = parser
        self._max = max_bytes
        self._rest: memoryview | None = None  # what of the body came with the head
        self.size = 0

    @property
    def status(self):
        """The status code, such as 200."""
        return self._parser.status

    @property
    def headers(self):
        """The headers: lower-case name to text. Of long ones, and of many, only some are kept."""
        return self._parser.headers

    def _step(self, buf):
        """Read once into buf and parse; returns the bytes of body, now at its front."""
        parser = self._parser
        n = 0
        try:
            n = self.stream.readinto(buf)
            if n:
                return parser.feed(buf, n)
            parser.eof(self.stream.cut)
            return 0
        except RootletError as e:
            self.close()
            code = {"NET_TIMEOUT": "HTTP_TIMEOUT", "NET_CLOSED": "HTTP_TRUNCATED"}.get(e.code)
            if not code:
                raise
            raise RootletError(code, "%s, %d bytes of body so far" % (self._place, self.size)) from None
        except http1.BadResponse as e:
            self.close()
            code = "HTTP_RESPONSE" if n else "HTTP_TRUNCATED"
            raise RootletError(code, "%s: %s" % (self._place, e)) from None

    def _read_head(self):
        buf = bytearray(_HEAD)
        n = 0
        while self._parser.in_head:
            n = self._step(buf)
        if n:
            self._rest = memoryview(buf)[:n]
        length = self._parser.length
        if length is not None and length > self._max:
            self.close()
            raise RootletError("HTTP_TOO_LARGE", "%d bytes announced, %d allowed" % (length, self._max))

    def readinto(self, buf):
        """Read some of the body into buf, at least one byte: what there is. Returns the count, 0 at its end."""
        parser = self._parser
        n = 0
        rest = self._rest
        if rest:
            n = min(len(rest), len(buf))
            buf[:n] = rest[:n]
            self._rest = rest[n:] if n < len(rest) else None
        while not (n or parser.done) and len(buf):
            n = self._step(buf)
        self.size += n
        if self.size > self._max:
            self.close()
            raise RootletError("HTTP_TOO_LARGE", "more than %d bytes" % self._max)
        if parser.done and self._rest is None:
            self.close()
        return n

    def __iter__(self):
        try:
            view = memoryview(bytearray(_CHUNK))
            while True:
                n = self.readinto(view)
                if not n:
                    return
                yield view if n == _CHUNK else view[:n]
        finally:
            self.close()

    def read(self, size=-1):
        """The next `size` bytes of the body, fewer at its end; without a size all of it, bounded by max_bytes.

        Returns a bytearray, empty at the end.
        """
        left = self._parser.length
        if left is None and size < 0:
            body = bytearray()
            for piece in self:
                body.extend(piece)
            return body
        if left is not None:
            left -= self.size
            size = left if size < 0 else min(size, left)
        body = bytearray(size)
        view = memoryview(body)
        done = 0
        while done < size:
            n = self.readinto(view[done:])
            if not n:
                return body[:done]
            done += n
        return body

    def json(self):
        """The body as a JSON value. Raises RootletError HTTP_JSON."""
        try:
            return json.loads(self.read())
        except ValueError:
            kind = self.headers.get("content-type", "no type")
            raise RootletError("HTTP_JSON", "%s: status %d, %r" % (self._place, self.status, kind[:60])) from None

    def close(self):
        """Close the connection; the body need not have been read."""
        self.stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _request(host, port, path, headers, body):
    place = host if port == 443 else "%s:%d" % (host, port)
    lines = ["GET %s HTTP/1.1" % path, "Host: " + place, "Connection: close", "Accept-Encoding: identity"]
    if body is not None:
        lines[0] = "POST" + lines[0][3:]
    for name, value in headers.items():
        if "\r" in name + value or "\n" in name + value:
            raise ValueError("a line break in a header")
        lines.append("%s: %s" % (name, value))
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")


def post(url, trust, body, headers, timeout_ms=20000, max_bytes=16384):
    """POST to an address over verified TLS. No redirect is followed: what was sent to one place goes to no other.

    Args: body: bytes, at most 4,096. headers: {"Content-Type": …} and more. url, trust, timeout_ms, max_bytes: see get.
    Returns a Response. Raises RootletError HTTP_*, and whatever tls.connect raises.
    """
    size = str(len(body))
    if len(body) > 4096:  # it goes out in one piece with the head
        raise RootletError("HTTP_TOO_LARGE", size + " bytes to send")
    headers = dict(headers)
    headers["Content-Length"] = size
    return get(url, trust, headers, timeout_ms, max_bytes, 0, body)


def get(url, trust, headers=None, timeout_ms=20000, max_bytes=262144, redirects=3, _body=None):
    """GET a page over verified TLS.

    Args:
        url: https://host[:port]/path. trust: a trust.Trust.
        headers: dict of extra request headers; not sent on to another host by a redirect.
        timeout_ms: for everything, from the name look-up to the last byte of the body, redirects included.
        max_bytes: of body. redirects: how many to follow, each to https only.
    Returns a Response. Raises RootletError HTTP_*, TLS_NO_ROOTS, and whatever tls.connect raises.
    """
    if trust.psk:
        raise RootletError("TLS_NO_ROOTS", "a pre-shared key is for MQTT, a page needs roots")
    headers = headers or {}
    deadline = Deadline(timeout_ms)
    for _ in range(redirects + 1):
        try:
            host, port, path = http1.split_url(url)
            hello = _request(host, port, path, headers, _body)
        except ValueError as e:
            raise RootletError("HTTP_URL", str(e)) from None
        stream = tls.connect(host, port, hello, trust, max(1, deadline.left()))
        stream.limit = deadline
        response = Response(stream, http1.Parser(), url, max_bytes)
        response._read_head()
        location = response.headers.get("location")
        if response.status not in (301, 302, 303, 307, 308) or not location:
            return response
        stream.close()
        url = http1.join_url(host, port, path, location)
        if url[:8].lower() != "https://":
            raise RootletError("HTTP_INSECURE_REDIRECT", "from %s to %s" % (host, _place(url)[:60]))
        if url[8:].partition("/")[0].lower() not in (host, "%s:%d" % (host, port)):
            headers = {}
    raise RootletError("HTTP_REDIRECTS", "more than %d, the last to %s" % (redirects, _place(url)[:60]))
