"""A web server may answer anything: HTTP_* or nothing, the same however it is cut, within the memory allowed."""

import random
from collections import Counter

import pytest

from rootlet import http1, https, tls
from rootlet.errors import RootletError
from rootlet.stream import Stream
from rootlet.trust import Trust
from tests.fuzz import mutate
from tests.fuzz.mutate import INPUTS, Wire

CODES = {
    "HTTP_URL", "HTTP_TIMEOUT", "HTTP_TRUNCATED", "HTTP_RESPONSE", "HTTP_TOO_LARGE", "HTTP_INSECURE_REDIRECT",
    "HTTP_REDIRECTS", "HTTP_JSON",
}  # fmt: skip
URL = "https://host.example/a/page?key=SECRET"
MAX_BYTES = 600  # of body
# A head with all that is kept of it, a line on its way, the pieces of one read, the body.
LARGEST = 64 * 1024 + 4 * MAX_BYTES
TRUST = Trust([], lambda: 1795239001)

LINES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304", b"HTTP/1.0 200 OK", b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 302 Found", b"HTTP/1.1 99 x", b"HTTP/2 200", b"HTTP/1.1 200OK", b"ICY 200 OK",
]  # fmt: skip
HEADERS = [
    b"Content-Length: 5", b"Content-Length: 6", b"Content-Length: 0", b"Content-Length: 99999999999",
    b"Content-Length: -1", b"Content-Length: 5, 5", b"Content-Length: 601", b"Content-Length: \xd9\xa5",
    b"content-length:5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: Chunked",
    b"Location: /other", b"Location: https://host.example/b", b"Location: http://host.example/",
    b"Location: //x:99999/",
    b"Location: https://us\xc3\xa9r@h/", b"Location: ?", b"Content-Type: application/json", b"X: y", b"X : y",
    b" folded",
    b"no colon", b": empty", b"X-Long: " + b"x" * 2000, b"Location: /" + b"x" * 1100, b"X-\x00: y", b"\xff\xfe: \xff",
]  # fmt: skip
BODIES = [
    b"hello", b"[1,2]", b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\n[1,2]\r\n0\r\nTrail: er\r\n\r\n", b"", b"x" * 700,
    b"FFFFFFFF\r\nhello", b"100000000\r\nhello", b"-5\r\nhello", b"5\r\nhello!\r\n0\r\n\r\n",
    b"0\r\n" + b"T: r\r\n" * 40,
    b"1\r\nx\r\n" * 90 + b"0\r\n\r\n", b"1" * 1500,
]  # fmt: skip
SOUND = [
    (b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Content-Type: application/json"], b"[1,2]"),
    (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], b"3\r\n[1,\r\n2;x=y\r\n2]\r\n0\r\nTrail: er\r\n\r\n"),
    (b"HTTP/1.1 200 OK", [b"Server: x"], b"[1,2]"),
    (b"HTTP/1.1 302 Found", [b"Location: /b?key=SECRET", b"Content-Length: 0"], b""),
    (b"HTTP/1.1 100 Continue", [], b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[1,2]"),
    (b"HTTP/1.1 204 No Content", [], b""),
]


def response(dice):
    if not dice.randrange(50):
        return dice.randbytes(dice.randrange(300))
    line, headers, body = dice.choice(SOUND)
    headers = headers[:]
    for _ in range(dice.choice((0, 1, 1, 2, 4))):
        kind = dice.randrange(8)
        if kind == 0:
            line = dice.choice(LINES)
        elif kind == 1:
            body = dice.choice(BODIES)
        elif kind == 2 and headers:
            headers.pop(dice.randrange(len(headers)))
        elif kind == 3 and headers:
            at = dice.randrange(len(headers))
            headers[at] = mutate.change(dice, headers[at], dice.choice(HEADERS))
        elif kind == 4:
            body = mutate.change(dice, body, dice.choice(BODIES))
        elif kind == 5:
            line = mutate.change(dice, line)
        else:
            new = dice.choice(HEADERS)
            at = dice.randrange(len(headers) + 1)
            headers[at:at] = [new] * dice.choice((1, 1, 1, 2, 20))
    end = dice.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\n\r"))
    data = end.join([line, *headers, b"", body])
    return data if dice.randrange(5) else mutate.change(dice, data)


def inputs(count, seed=9112):
    """([response, …] for redirects, whether the last one stalls)"""
    dice = random.Random(seed)
    for _ in range(count):
        yield [response(dice) for _ in range(dice.choice((1, 1, 3)))], not dice.randrange(4), dice.random()


def get(conversations, stalls, patch):
    """GET and read. Returns (code, or None; status; body)."""
    wires = [Wire(pieces, stalls and i == len(conversations) - 1) for i, pieces in enumerate(conversations)]
    waiting = wires[:]

    def connect(host, port, hello, trust, timeout_ms):
        assert b"\r\n\r\n" in hello
        wire = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return Stream(wire, wire, host, timeout_ms)

    patch(connect)
    status, body = 0, b""
    try:
        # A stall is met with a time-out at once.
        with https.get(URL, TRUST, timeout_ms=0 if stalls else 20000, max_bytes=MAX_BYTES, redirects=2) as page:
            status = page.status
            # One way or the other; half of what is JSON is none.
            body = repr(page.json()).encode() if status == 200 else page.read()
        return None, status, body
    except RootletError as e:
        # What comes after a "?" may be a key, and no log may show it.
        assert "?key=" not in e.fact, e.fact
        assert e.fact.isprintable() or e.code in ("HTTP_INSECURE_REDIRECT", "HTTP_REDIRECTS"), (e.code, e.fact)
        return e.code, status, body
    finally:
        assert all(wire.closed for wire in wires if not wire.incoming and not waiting)


@pytest.fixture
def patch(monkeypatch):
    monkeypatch.setattr(tls, "connect", None)  # put back afterwards
    return lambda connect: setattr(tls, "connect", connect)


def test_anything_a_server_answers_ends_in_a_documented_error(patch):
    tally = Counter()
    for i, (responses, stalls, seed) in enumerate(inputs(INPUTS)):
        dice = random.Random(seed)
        try:
            cut = [mutate.pieces(dice, data, gaps=not stalls) for data in responses]
            if i % 50:
                found = get(cut, stalls, patch)
            else:
                with mutate.bounded(LARGEST, responses):
                    found = get(cut, stalls, patch)
            # A redirect is followed as soon as its head is there: what is wrong behind it may not be seen.
            if i % 10 == 0 and b"ocation" not in responses[0]:
                whole = get([[data] if data else [] for data in responses], stalls, patch)
                assert (found[0] is None) == (whole[0] is None) and found[2] == whole[2], (found, whole)
        except BaseException as e:
            raise AssertionError(f"{type(e).__name__}: {e} for {responses!r}, stalls {stalls}") from e
        assert found[0] is None or found[0] in CODES, (found, responses)
        assert len(found[2]) <= 6 * MAX_BYTES
        tally[found[0]] += 1
    assert set(tally) == {None, *CODES}, tally
    assert tally[None] > 0.15 * INPUTS, tally


def test_the_largest_heads_take_bounded_memory(patch):
    ok = b"HTTP/1.1 200 OK\r\n"
    heavy = [
        ok + b"".join(b"%x:\r\n" % i for i in range(6000)),
        ok + b"".join(b"%x:%x\r\n" % (i, i) for i in range(6000)),
        ok + b"x" * 40000,
        ok + (b"x: " + b"y" * 1000 + b"\r\n") * 40,
        b"HTTP/1.1 100 x\r\n\r\n" * 3000,
        ok + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 8000,
        ok + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 8000,
        ok + b"\r\n" + b"x" * 40000,
    ]
    for data in heavy:
        cut = [data[i : i + 4096] for i in range(0, len(data), 4096)]
        with mutate.bounded(LARGEST, data[:40]):
            code, _, _ = get([cut], False, patch)
        assert code in ("HTTP_RESPONSE", "HTTP_TOO_LARGE"), (code, data[:40])


def test_any_url_is_taken_or_refused():
    dice = random.Random(3986)
    sound = b"https://host.example:8443/path/to?key=value#part"
    taken = 0
    for _ in range(INPUTS):
        text = sound
        for _ in range(dice.choice((0, 1, 2, 3))):
            text = mutate.change(dice, text, b"https://user@[::1]:0/../%00?#//:65536")
        url = text.decode("latin-1")
        try:
            host, port, path = http1.split_url(url)
        except ValueError:
            continue
        taken += 1
        assert host and 0 < port < 65536 and path.startswith("/")
        assert not set(host + path) & set(" \r\n\t\0"), url
        assert "@" not in host and "/" not in host
    assert taken > 0.1 * INPUTS
