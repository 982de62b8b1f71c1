"""http1: every response read whole whatever the cuts; what is not HTTP refused; URLs taken apart."""

from rootlet import http1

COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nTrail: er\r\n\r\n"
TO_CLOSE = b"HTTP/1.0 404 Not Found\n\nhello"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" + COUNTED


def read(pieces, eof=False):
    parser = http1.Parser()
    body = bytearray()
    for piece in pieces:
        buf = bytearray(piece)
        n = parser.feed(buf, len(buf))
        body.extend(buf[:n])
    if eof:
        parser.eof()
    return parser, bytes(body)


def refused(data, eof=False):
    try:
        read(data if isinstance(data, list) else [data], eof)
    except http1.BadResponse:
        return True
    return False


def test_every_cut_in_two():
    for whole, status in ((COUNTED, 200), (CHUNKED, 200), (INTERIM, 200), (TO_CLOSE, 404)):
        for cut in range(len(whole) + 1):
            parser, body = read([whole[:cut], whole[cut:]], eof=whole is TO_CLOSE)
            assert (parser.status, body, parser.done) == (status, b"hello", True), cut


def test_byte_by_byte():
    for whole in (COUNTED, CHUNKED, INTERIM):
        parser, body = read([whole[i : i + 1] for i in range(len(whole))])
        assert body == b"hello" and parser.done


def test_end_at_every_byte_is_noticed():
    for whole in (COUNTED, CHUNKED):
        for cut in range(len(whole)):
            assert refused(whole[:cut], eof=True), cut


def test_headers():
    parser, _ = read([COUNTED])
    assert parser.headers == {"content-length": "5", "x-a": "b"}
    assert parser.length == 5


def test_long_headers_are_passed_over_and_what_is_kept_is_bounded():
    long = b"X-Long: " + b"y" * 3000 + b"\r\n" + b"".join(b"X-%d: " % i + b"z" * 900 + b"\r\n" for i in range(8))
    parser, body = read([b"HTTP/1.1 200 OK\r\n" + long + b"Content-Length: 5\r\n\r\nhello"])
    assert body == b"hello"
    assert parser.headers["content-length"] == "5"
    assert "x-long" not in parser.headers
    assert sum([len(k) + len(v) for k, v in parser.headers.items()]) <= 4096


def test_no_body():
    for status in (b"204", b"304"):
        parser, body = read([b"HTTP/1.1 " + status + b" x\r\n\r\n"])
        assert parser.done and body == b""
    parser, _ = read([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
    assert parser.done


def test_nothing_after_the_end_is_taken():
    _, body = read([COUNTED + b"more"])
    assert body == b"hello"


def test_refused():
    head = b"HTTP/1.1 200 OK\r\n"
    for data in (
        b"SSH-2.0-x\r\n",
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 2x0 OK\r\n",
        b"HTTP/1.1 099 OK\r\n",
        head + b"no colon\r\n",
        head + b" folded: x\r\n",
        head + b"a : b\r\n",
        head + b"a: b\rc\r\n",
        head + b"Content-Length: -1\r\n\r\n",
        head + b"Content-Length: 1, 1\r\n\r\n",
        head + b"Content-Length: 99999999999\r\n\r\n",
        head + b"Content-Length: 5\r\nContent-Length: 6\r\n",
        head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        head + b"Transfer-Encoding: gzip\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n123456789\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        [head, b"a: "] + [b"x" * 500] * 40,
        [head] + [b"a: b\r\n" * 100] * 30,
        head + b"Content-Length: " + b" " * 2000 + b"5\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 2000,
        head + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc",
        [b"x" * 500] * 40,
    ):
        assert refused(data), data[:60]


def test_urls():
    for url, expected in (
        ("https://Example.org", ("example.org", 443, "/")),
        ("https://example.org:8443/a?b#c", ("example.org", 8443, "/a?b")),
        ("https://example.org?x/y", ("example.org", 443, "/?x/y")),
        ("HTTPS://10.0.0.1/", ("10.0.0.1", 443, "/")),
    ):
        assert http1.split_url(url) == expected
    for url in (
        "http://example.org",
        "https://",
        "https:///x",
        "https://a:b@c/",
        "https://a:0/",
        "https://a:65536/",
        "https://a:x/",
        "https://a b/",
        "https://a/\r\nX: y",
        "https://[::1]/",
        "https://b\u00fccher.example/",
    ):
        try:
            http1.split_url(url)
        except ValueError:
            continue
        raise AssertionError(url)


def test_redirect_targets():
    for location, expected in (
        ("/b", "https://h:1/b"),
        ("b", "https://h:1/x/b"),
        ("//o/b", "https://o/b"),
        ("https://o/b", "https://o/b"),
        ("http://o/b", "http://o/b"),
    ):
        assert http1.join_url("h", 1, "/x/y?q=/z/", location) == expected
