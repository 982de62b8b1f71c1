"""Stream over a socket that does the worst: short writes, one-byte reads, "not yet", the end at every offset."""

import pytest

from rootlet.deadline import Deadline
from rootlet.errors import RootletError
from rootlet.stream import Stream
from tests.unit.fake_socket import FakeSocket

DATA = bytes(range(256)) * 5


def stream(fake, timeout_ms=1000):
    return Stream(fake, fake, "host", timeout_ms)


def cut(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 7, 511, 512, 513, 2000])
@pytest.mark.parametrize("gaps", [False, True])
def test_reads_are_exact_whatever_the_pieces(size, gaps):
    pieces = cut(DATA, size)
    if gaps:
        pieces = [p for piece in pieces for p in (None, piece)]
    s = stream(FakeSocket(pieces))
    out = b""
    for n in (0, 1, 2, 300, 512, 400, 65):
        got = s.read(n)
        assert len(got) == n
        out += got
    assert out == DATA


@pytest.mark.parametrize("offset", range(0, 40))
def test_the_end_at_every_offset_is_net_closed(offset):
    s = stream(FakeSocket(cut(DATA[:offset], 1)))
    with pytest.raises(RootletError) as e:
        s.read(40)
    assert e.value.code == "NET_CLOSED"


def test_short_and_refused_writes_lose_nothing():
    for room in (1, 3, 1000, 5000):
        fake = FakeSocket(room=room, busy_writes=True)
        assert stream(fake).write(DATA) == len(DATA)
        assert bytes(fake.sent) == DATA


def test_a_write_of_the_first_bytes_only():
    fake = FakeSocket()
    stream(fake).write(bytearray(b"\x30\x05\0\0"), 2)
    assert bytes(fake.sent) == b"\x30\x05"


def test_one_write_is_one_record():
    fake = FakeSocket()
    stream(fake).write(DATA)
    assert fake.writes == [len(DATA)]


def test_a_stalled_read_ends_at_its_deadline():
    with pytest.raises(RootletError) as e:
        stream(FakeSocket([b"ab"], stalls=True), timeout_ms=30).read(3)
    assert e.value.code == "NET_TIMEOUT"


def test_the_limit_bounds_all_reads_together():
    s = stream(FakeSocket([None] * 5, stalls=True), timeout_ms=60000)
    s.limit = Deadline(30)
    with pytest.raises(RootletError) as e:
        s.read(1)
    assert e.value.code == "NET_TIMEOUT"


def test_a_read_is_bounded():
    for size in (-1, 16385, 1 << 30):
        with pytest.raises(ValueError, match="read of"):
            stream(FakeSocket([DATA])).read(size)


def test_ready_does_not_wait():
    assert stream(FakeSocket(stalls=True)).ready() is False
    assert stream(FakeSocket([])).ready() is True, "the end is something to read"
    s = stream(FakeSocket([b"x"], stalls=True))
    assert s.ready() is True
    assert s.read(1) == b"x"


def test_after_close():
    fake = FakeSocket()
    s = stream(fake)
    s.close()
    s.close()
    assert fake.closed
    for use in (lambda: s.read(1), lambda: s.write(b"x"), s.ready):
        with pytest.raises(RootletError) as e:
            use()
        assert e.value.code == "NET_CLOSED"


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (OSError(104), "NET_CLOSED"),
        (OSError(-0x7880), "NET_CLOSED"),
        (OSError(12), "TLS_MEMORY"),
        (OSError(-0x7180), "TLS_FAILED"),
        (OSError(), "TLS_FAILED"),
    ],
)
def test_a_broken_connection_has_a_code(raised, code):
    class Broken(FakeSocket):
        def write(self, data):
            raise raised

    with pytest.raises(RootletError) as e:
        stream(Broken()).write(b"x")
    assert e.value.code == code
