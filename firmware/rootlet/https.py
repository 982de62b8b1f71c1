"""HTTPS GET and POST: verified, streamed, bounded in time, size and redirects."""

import json

from . import http1, tls
from .deadline import Deadline
from .errors import RootletError

_CHUNK = 1024
_LONGEST_OUT = 4096  # bytes of a body that is sent: it goes out in one piece with the head


def _place(url):
    """A URL without its query, which may hold a key that no log should."""
    return url.partition("?")[0]


class Response:
    """A response whose body is still to be read.

    Attributes: status (int), headers (dict, lower-case names), url (after redirects), stream (the tls.Stream).
    Iterate over it for the body in pieces of at most 1,024 bytes (memoryviews, valid until the next piece).
    """

    def __init__(self, stream, parser, url, max_bytes):
        self.stream = stream
        self.url = url
        self._place = _place(url)
        self._parser = parser
        self._max = max_bytes
        self._buf = bytearray(_CHUNK)
        self._ready = []
        self.size = 0

    @property
    def status(self):
        """The status code, such as 200."""
        return self._parser.status

    @property
    def headers(self):
        """The headers: lower-case name to text. Of long ones, and of many, only some are kept."""
        return self._parser.headers

    def _step(self):
        """Read once and parse; returns False at the end of the response."""
        parser = self._parser
        if parser.done:
            return False
        try:
            n = self.stream.readinto(self._buf)
            if n:
                self._ready += parser.feed(memoryview(self._buf)[:n])
            else:
                parser.eof()
        except RootletError as e:
            if e.code == "NET_TIMEOUT":
                raise RootletError("HTTP_TIMEOUT", "%s, %d bytes of body so far" % (self._place, self.size)) from None
            if e.code == "NET_CLOSED":
                raise RootletError("HTTP_TRUNCATED", "%s, %d bytes of body so far" % (self._place, self.size)) from None
            raise
        except http1.BadResponse as e:
            code = "HTTP_RESPONSE" if n else "HTTP_TRUNCATED"
            raise RootletError(code, "%s: %s" % (self._place, e)) from None
        if parser.length is not None and parser.length > self._max:
            raise RootletError("HTTP_TOO_LARGE", "%d bytes announced, %d allowed" % (parser.length, self._max))
        return True

    def _read_head(self):
        while self._parser.in_head:
            self._step()

    def __iter__(self):
        try:
            while True:
                for piece in self._ready:
                    self.size += len(piece)
                    if self.size > self._max:
                        raise RootletError("HTTP_TOO_LARGE", "more than %d bytes" % self._max)
                    yield piece
                self._ready = []
                if not self._step():
                    return
        finally:
            self.close()

    def read(self):
        """The whole body as bytes; bounded by max_bytes."""
        body = bytearray()
        for piece in self:
            body.extend(piece)
        return bytes(body)

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
    method = "GET" if body is None else "POST"
    lines = ["%s %s HTTP/1.1" % (method, path), "Host: " + place, "Connection: close", "Accept-Encoding: identity"]
    if body is not None:
        lines.append("Content-Length: %d" % len(body))
    for name, value in headers.items():
        if "\r" in name + value or "\n" in name + value:
            raise ValueError("a line break in a header")
        lines.append("%s: %s" % (name, value))
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")


def post(url, trust, body, content_type="application/json", headers=None, timeout_ms=20000, max_bytes=16384):
    """POST to an address over verified TLS. No redirect is followed: what was sent to one place goes to no other.

    Args: body: str or bytes, at most 4,096 bytes. content_type: of it. url, trust, headers, timeout_ms, max_bytes: as
        for get.
    Returns a Response. Raises RootletError HTTP_*, and whatever tls.connect raises.
    """
    body = body.encode() if isinstance(body, str) else body
    if len(body) > _LONGEST_OUT:
        raise RootletError("HTTP_TOO_LARGE", "%d bytes to send, %d allowed" % (len(body), _LONGEST_OUT))
    headers = dict(headers or {})
    headers["Content-Type"] = content_type
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
        try:
            response._read_head()
        except RootletError:
            stream.close()
            raise
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
