"""A body by readinto, read(n) and iteration: the same bytes however it is cut and framed, and the end closes."""

import pytest

from rootlet import https
from rootlet.errors import RootletError
from rootlet.http1 import Parser
from rootlet.stream import Stream
from tests.unit.fake_socket import FakeSocket

BODY = bytes(i * 7 % 256 for i in range(5000))
OK = b"HTTP/1.1 200 OK\r\n"
FRAMED = {
    "counted": OK + b"Content-Length: 5000\r\n\r\n" + BODY,
    "chunked": OK
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%X\r\n%b\r\n" % (len(BODY[i : i + 700]), BODY[i : i + 700]) for i in range(0, 5000, 700))
    + b"0\r\n\r\n",
    "to the end": OK + b"\r\n" + BODY,
}


def page(data, cut=1 << 20, max_bytes=10000):
    wire = FakeSocket([data[i : i + cut] for i in range(0, len(data), cut)])
    made = https.Response(Stream(wire, wire, "host", 1000), Parser(), "https://host/", max_bytes)
    made._read_head()
    return made, wire


def by_readinto(size):
    def read(response):
        buf = bytearray(size)
        body = b""
        while n := response.readinto(buf):
            body += buf[:n]
        return body

    return read


def by_read(size):
    def read(response):
        pieces = []
        while piece := response.read(size):
            pieces.append(bytes(piece))
        assert all(len(piece) == size for piece in pieces[:-1])
        return b"".join(pieces)

    return read


def mixed(response):
    body = bytes(response.read(3))
    buf = bytearray(100)
    body += bytes(buf[: response.readinto(buf)])
    for piece in response:
        body += bytes(piece)
        break
    return body


@pytest.mark.parametrize("framing", FRAMED)
@pytest.mark.parametrize("cut", [1, 2, 3, 511, 513, 4096, 1 << 20])
def test_every_way_gives_the_same_body(framing, cut):
    ways = [by_readinto(1), by_readinto(999), by_readinto(1 << 16), by_read(1), by_read(1024), by_read(1 << 14)]
    ways += [lambda r: r.read(), lambda r: b"".join(bytes(piece) for piece in r), lambda r: r.read(5000)]
    for i, read in enumerate(ways):
        response, wire = page(FRAMED[framing], cut)
        assert bytes(read(response)) == BODY, (i, cut)
        if framing != "counted":
            assert not response.read()  # what ends it was not yet read
        assert response.size == 5000 and wire.closed, i
        assert response.read() == b"" == response.read(5) and response.readinto(bytearray(5)) == 0


@pytest.mark.parametrize("framing", FRAMED)
def test_ways_can_follow_each_other(framing):
    body = mixed(page(FRAMED[framing], 64)[0])
    assert len(body) > 50 and BODY.startswith(body)


def test_reading_nothing_reads_nothing():
    response, wire = page(FRAMED["counted"])
    assert response.readinto(bytearray()) == 0 == len(response.read(0))
    assert not wire.closed and response.read() == BODY


def test_a_larger_read_than_the_body_allocates_no_more_than_the_body():
    response, _ = page(FRAMED["counted"])
    assert response.read(1 << 60) == BODY


@pytest.mark.parametrize("framing", ["chunked", "to the end"])
def test_more_than_allowed_is_refused_and_closed(framing):
    for read in (by_readinto(100), by_read(100), list):
        response, wire = page(FRAMED[framing], max_bytes=4999)
        with pytest.raises(RootletError) as e:
            read(response)
        assert e.value.code == "HTTP_TOO_LARGE" and wire.closed


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (FRAMED["counted"][:-1], "HTTP_TRUNCATED"),
        (FRAMED["chunked"][:-1], "HTTP_TRUNCATED"),
        (FRAMED["chunked"].replace(b"2BC\r\n", b"2BB\r\n"), "HTTP_RESPONSE"),
        (FRAMED["chunked"].replace(b"64\r\n", b"6G\r\n"), "HTTP_RESPONSE"),
    ],
    ids=["counted", "chunked", "too short a chunk", "no number"],
)
def test_what_is_wrong_in_the_body_is_told_by_every_way_and_closes(data, code):
    for read in (by_readinto(64), by_readinto(8192), by_read(64), lambda r: r.read(), list):
        response, wire = page(data, 80)
        with pytest.raises(RootletError) as e:
            read(response)
        assert e.value.code == code and wire.closed


@pytest.mark.parametrize(
    "line", [b"5\r\n", b"5\n", b"05\r\n", b" 5 \r\n", b"5;x=y\r\n", b"0000005\r\n", b"00000005\r\n"]
)
def test_the_size_of_a_chunk_as_it_may_be_written(line):
    data = OK + b"Transfer-Encoding: chunked\r\n\r\n" + line + b"hello\r\n0\r\n\r\n"
    for cut in (1, 2, 3, 5, 1000):
        assert page(data, cut)[0].read() == b"hello", cut


@pytest.mark.parametrize("line", [b"\r\n", b"000000005\r\n", b"5 5\r\n", b"-5\r\n", b"0x5\r\n", b"5\r\r\n", b"5\0\r\n"])
def test_the_size_of_a_chunk_as_it_may_not(line):
    data = OK + b"Transfer-Encoding: chunked\r\n\r\n" + line + b"hello\r\n0\r\n\r\n"
    for cut in (1, 2, 3, 5, 1000):
        with pytest.raises(RootletError) as e:
            page(data, cut)[0].read()
        assert e.value.code == "HTTP_RESPONSE", cut
