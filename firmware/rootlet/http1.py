"""Reads HTTP/1.1 responses (RFC 9112): bytes in, body bytes out, bounded memory; no I/O."""

_HEAD_LIMIT = 16384  # bytes that may come before the body
_KEPT_LIMIT = 4096  # of them kept as headers
_EACH = 64  # what a header costs beside its bytes: thousands of tiny ones would fill the heap
_LINE_LIMIT = 1024  # of a line kept; the rest of a longer one is passed over
_HEX = b"0123456789abcdefABCDEF"
_UNKNOWN = 1 << 29  # bytes of body, again and again until the connection ends; a small integer on a board
# Never passed over: they say where the body ends and where to go.
_FRAMING = ("content-length", "transfer-encoding", "location")


class BadResponse(Exception):
    """What came is not a valid HTTP/1.1 response."""


class Parser:
    """Give it what arrives; it gives back the body as it comes.

    Attributes: status (int, 0 until known); headers (dict, lower-case names; of a repeated one the last);
    length (declared body bytes, or None); in_head (the head is not complete); done (the response is complete).
    """

    def __init__(self):
        self.status = 0
        self.headers = {}
        self.length = None
        self.done = False
        self.in_head = True
        self._ends_by_close = False
        self._state = Parser._head  # a function, not a method: to make one for each chunk would fill the heap
        self._line = bytearray()
        self._left = 0  # bytes of body that come next, with no framing between them
        self._out = 0  # bytes of body at the front of the buffer
        self._head_size = 0
        self._kept = 0
        self._overlong = False

    def feed(self, buf, size):
        """Take the first `size` bytes of buf (bytearray or memoryview).

        What of them is body is moved to the front of buf. Returns its size. Raises BadResponse.
        """
        if size < self._left:  # all of it is body, and more is to come
            self._left -= size
            return size
        data = memoryview(buf)
        pos = self._out = 0
        while pos < size and not self.done:
            pos = self._state(self, data, pos, size)
        return self._out

    def eof(self, cut=False):
        """The connection has ended. Raises BadResponse where the response is not complete.

        Args: cut: by TCP alone, which anybody on the way can do (RFC 9112 section 9.8).
        """
        if self._ends_by_close and not cut:
            self.done = True
        if not self.done:
            raise BadResponse("ended too early")

    def _take_line(self, data, pos, end):
        """Collect up to LF; returns (line without CRLF or None where it goes on, next position)."""
        line = self._line
        if not line:
            self._overlong = False
        while pos < end:
            c = data[pos]
            pos += 1
            if c == 10:
                if line and line[-1] == 13:
                    line = line[:-1]
                self._line = bytearray()
                for b in line:
                    if (b < 32 and b != 9) or b == 127:
                        raise BadResponse("control character in a header")
                return bytes(line), pos
            if len(line) < _LINE_LIMIT:
                line.append(c)
            else:
                self._overlong = True
        return None, pos

    def _head(self, data, pos, end):
        line, after = self._take_line(data, pos, end)
        self._count(after - pos)
        if line is None:
            return after
        if not self.status:
            self._status_line(line)
        elif line:
            self._header(line)
        elif self.status < 200:
            self._kept = 0
            self.status = 0  # an interim response: the real one follows
            self.headers = {}
        else:
            self._choose_body()
        return after

    def _count(self, size):
        self._head_size += size
        if self._head_size > _HEAD_LIMIT:
            raise BadResponse("head too long")

    def _status_line(self, line):
        if not (line[:7] == b"HTTP/1." and line[8:9] == b" " and line[9:12].isdigit() and line[12:13] in (b" ", b"")):
            raise BadResponse("no status line")
        self.status = int(line[9:12])
        if self.status < 100:
            raise BadResponse("no status line")

    def _header(self, line):
        name, colon, value = line.partition(b":")
        if not colon or not name or line[0] in b" \t" or name != name.strip():
            raise BadResponse("bad header")
        try:
            key, text = name.decode().lower(), value.strip().decode()
        except UnicodeError:
            return  # a header outside ASCII and UTF-8 is none that we use
        if key in _FRAMING:
            if self._overlong or self.headers.get(key, text) != text:
                raise BadResponse("bad " + key)
        elif self._overlong or self._kept + len(line) + _EACH > _KEPT_LIMIT:
            return
        self._kept += len(line) + _EACH
        self.headers[key] = text

    def _choose_body(self):
        self.in_head = False
        coding = self.headers.get("transfer-encoding", "").lower()
        size = self.headers.get("content-length")
        if self.status in (204, 304):
            self.length = 0
            self.done = True
        elif coding:
            # RFC 9112 section 6.3: both together is how requests are smuggled, so it is refused.
            if coding != "chunked" or size is not None:
                raise BadResponse("transfer-encoding not supported")
            self._state = Parser._chunk_size
        elif size is not None:
            if not size.isdigit() or len(size) > 10:
                raise BadResponse("bad content-length")
            self.length = self._left = int(size)
            self._state = Parser._counted
            self.done = not self._left
        else:
            self._state = Parser._until_close
            self._ends_by_close = True

    def _body(self, data, pos, end):
        out = self._out
        n = min(end - pos, self._left)
        if out != pos:
            data[out : out + n] = data[pos : pos + n]
        self._out = out + n
        self._left -= n
        return pos + n

    def _counted(self, data, pos, end):
        pos = self._body(data, pos, end)
        self.done = not self._left
        return pos

    def _until_close(self, data, pos, end):
        self._left = _UNKNOWN
        return self._body(data, pos, end)

    def _chunk_size(self, data, pos, end):
        if not self._line:
            # As servers write it, digits and CRLF in one piece: read without allocating.
            size = 0
            at = pos
            while at < end and at < pos + 7 and data[at] in _HEX:
                size = size << 4 | (data[at] & 15) + (9 if data[at] > 57 else 0)
                at += 1
            if at > pos and _line_ends(data, at, end):
                return self._begin_chunk(size, at + 2)
        line, pos = self._take_line(data, pos, end)
        if self._overlong:
            raise BadResponse("bad chunk size")
        if line is not None:
            digits = line.split(b";")[0].strip()
            if not 1 <= len(digits) <= 8:
                raise BadResponse("bad chunk size")
            for c in digits:
                if c not in _HEX:
                    raise BadResponse("bad chunk size")
            return self._begin_chunk(int(digits, 16), pos)
        return pos

    def _begin_chunk(self, size, pos):
        self._left = size
        self._state = Parser._chunk if size else Parser._trailer
        return pos

    def _chunk(self, data, pos, end):
        pos = self._body(data, pos, end)
        if not self._left:
            self._state = Parser._chunk_end
        return pos

    def _chunk_end(self, data, pos, end):
        if not self._line and _line_ends(data, pos, end):
            self._state = Parser._chunk_size
            return pos + 2
        line, pos = self._take_line(data, pos, end)
        if line or len(self._line) > 1:
            raise BadResponse("chunk longer than its size")
        if line is not None:
            self._state = Parser._chunk_size
        return pos

    def _trailer(self, data, pos, end):
        line, after = self._take_line(data, pos, end)
        self._count(after - pos)
        self.done = line == b""
        return after


def _line_ends(data, pos, end):
    return pos + 1 < end and data[pos] == 13 and data[pos + 1] == 10


def split_url(url):
    """Take an https URL apart.

    Returns (host in lower case, port, path with query).
    Raises ValueError, saying what is wrong, for anything but https://host[:port][/path] in ASCII.
    """
    for c in url:
        if not 0x20 < ord(c) < 0x7F:
            raise ValueError("a space or a character outside ASCII: write names in the xn-- form, paths with %XX")
    if url[:8].lower() != "https://":
        raise ValueError("not https")
    rest = url[8:].split("#")[0]
    cut = len(rest)
    for mark in "/?":
        at = rest.find(mark)
        if 0 <= at < cut:
            cut = at
    place, path = rest[:cut], rest[cut:]
    host, colon, port = place.partition(":")
    if "@" in place:
        raise ValueError("a user name in it")
    if not host or (colon and not (port.isdigit() and 0 < int(port) < 65536)):
        raise ValueError("no host, or a bad port")
    for c in host.lower():
        if c not in "abcdefghijklmnopqrstuvwxyz0123456789.-_":
            raise ValueError("a bad host name (IPv6 addresses are not supported)")
    return host.lower(), int(port or 443), path if path[:1] == "/" else "/" + path


def join_url(host, port, path, location):
    """The URL that a Location header means, seen from the page it came with. It may be other than https."""
    if "://" in location:
        return location
    if location[:2] == "//":
        return "https:" + location
    base = "https://%s:%d" % (host, port)
    if location[:1] == "/":
        return base + location
    folder = path.split("?")[0]
    return base + folder[: folder.rfind("/") + 1] + location
