"""clock.Clock against real UDP servers on loopback, honest and not: what is believed, what is kept, what is said."""

import json

import pytest

from host_tools.servers import SntpServer
from rootlet import clock
from rootlet.errors import RootletError

FLOOR = 1790000000


class Board:
    """A clock that starts in 2021, as on a board at power-up, and can be set."""

    def __init__(self, monkeypatch, settable=True):
        self.seconds = 1609459200
        self._settable = settable
        monkeypatch.setattr(clock.Clock, "read", lambda _: self.seconds)

    def set(self, seconds):
        if self._settable:
            self.seconds = seconds


@pytest.fixture
def make(monkeypatch, tmp_path):
    def make(*servers, settable=True, floor=FLOOR):
        board = Board(monkeypatch, settable)
        names = [f"127.0.0.1:{s.port}" for s in servers]
        made = clock.Clock(floor, names, str(tmp_path / "clock.json"), timeout_ms=100, set_rtc=board.set)
        made.board = board
        return made

    return make


def refused(function):
    with pytest.raises(RootletError) as e:
        function()
    assert e.value.code == "CLOCK_NOT_SET"
    return e.value.fact


def test_before_anything_the_clock_is_not_good(make):
    assert "it says 2021-01-01; no SNTP server has answered yet" in refused(make().now)


def test_sync_sets_the_clock(make):
    with SntpServer() as server:
        c = make(server)
        seconds = c.sync()
        assert c.now() == seconds == c.board.seconds
        assert c.source == f"127.0.0.1:{server.port}"


def test_the_second_server_stands_in_for_the_first(make):
    with SntpServer(mode="silent") as silent, SntpServer() as good:
        c = make(silent, good)
        c.sync()
        assert c.source.endswith(str(good.port))


@pytest.mark.parametrize("mode", ["silent", "kiss-of-death", "wrong-originate"])
def test_a_server_not_to_be_believed(make, mode):
    with SntpServer(mode=mode) as server:
        c = make(server)
        assert str(server.port) in refused(c.sync)
        assert not c.good
        assert str(server.port) in refused(c.now)


def test_no_server_is_there(make):
    with SntpServer() as server:
        pass
    refused(make(server).sync)


@pytest.mark.parametrize("offset", [-30 * 365 * 86400, 30 * 365 * 86400])
def test_a_time_before_the_build_or_far_ahead_is_refused(make, offset):
    with SntpServer(offset_s=offset) as server:
        assert "before the build or too far ahead" in refused(make(server).sync)


def test_a_jump_needs_a_second_server(make):
    with SntpServer() as true, SntpServer(offset_s=86400) as false, SntpServer(offset_s=86400) as other:
        c = make(true)
        before = c.sync()
        c.servers = [f"127.0.0.1:{false.port}"]
        assert "unconfirmed" in refused(c.sync)
        assert c.now() - before < 60, "the good time is kept"
        c.servers.append(f"127.0.0.1:{other.port}")
        assert c.sync() - before > 80000


def test_a_clock_that_cannot_be_set_is_not_good(make):
    with SntpServer() as server:
        c = make(server, settable=False)
        assert "cannot be set" in refused(c.sync)
        refused(c.now)


def test_what_a_certificate_shows_becomes_the_floor(make, tmp_path):
    path = tmp_path / "clock.json"
    with SntpServer() as server:
        c = make(server)
        seconds = c.sync()
        assert not path.exists(), "SNTP alone must not move the floor"
        c.keep(seconds - 3600)
        assert json.loads(path.read_text()) == {"last_good": seconds - 3600}
        c.keep(seconds - 7200)
        assert make(server).floor == seconds - 3600, "an older certificate moves nothing"
        c.keep(0)
    with SntpServer(offset_s=-86400) as behind:
        refused(make(behind).sync)


def test_a_false_time_is_forgotten_at_the_next_start(make):
    """The server was verified under a clock 300 days ahead: only its certificate's start may be kept of that."""
    with SntpServer(offset_s=300 * 86400) as ahead, SntpServer() as true:
        c = make(ahead)
        started = c.sync() - 330 * 86400
        c.keep(started)
        assert abs(make(true).sync() - (started + 30 * 86400)) < 60


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"last_good": "x"}', '{"last_good": 1}', '{"last_good": 99999999999}']
)
def test_a_damaged_file_is_as_none(make, tmp_path, text):
    (tmp_path / "clock.json").write_text(text)
    assert make().floor == FLOOR
