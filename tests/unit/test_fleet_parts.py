"""The parts of a simulated fleet: ranges, packets, certificates, limits, and the rate that the schedule allows."""

import random
import resource
import threading
from collections import Counter

import pytest

from host_tools import ca, fleet_certs, limits
from host_tools.failure import Failure
from host_tools.fleet import Fleet, settings
from host_tools.fleet_observer import Observer
from host_tools.fleet_report import Report, attempts_cap, expected_peak, histogram_lines, percentile
from host_tools.sim.light_device import add, take
from rootlet.backoff import Backoff
from rootlet.errors import RootletError


def test_ranges_hold_what_a_set_holds():
    rand = random.Random(5)
    for _ in range(200):
        ranges, numbers = [], set()
        for _ in range(60):
            n = rand.randrange(40)
            add(ranges, n)
            numbers.add(n)
            assert sorted(numbers) == [i for a, b in ranges for i in range(a, b)]
            assert all(ranges[i][1] < ranges[i + 1][0] for i in range(len(ranges) - 1))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384])
def test_a_packet_is_taken_when_it_is_whole(size):
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7 & 127])
    length = length if size < 16384 else bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14])
    whole = b"\x40" + length + b"x" * size
    buffer = bytearray(whole[:-1])
    assert take(buffer) is None and bytes(buffer) == whole[:-1]
    buffer += whole[-1:] + b"\xd0\x00"
    assert take(buffer) == (0x40, b"x" * size)
    assert take(buffer) == (0xD0, b"")
    assert take(buffer) is None


@pytest.mark.parametrize(
    ("head", "code"), [(b"\x30\xff\xff\xff\xff", "MQTT_PACKET"), (b"\x30\xff\xff\xff\x7f", "MQTT_TOO_LARGE")]
)
def test_a_length_without_bound_is_refused(head, code):
    with pytest.raises(RootletError) as e:
        take(bytearray(head))
    assert e.value.code == code


def herd(count, rand, seconds=30):
    """Attempts by second of devices that all lost a broker at 0, and find none."""
    attempts = Counter()
    for _ in range(count):
        backoff, at = Backoff(rand=rand), 0.0
        while at < seconds:
            at += backoff.failed("TCP_REFUSED") / 1000
            attempts[int(at)] += 1
    return attempts


def test_the_cap_is_what_the_schedule_makes():
    rand = random.Random(11)
    most = max(herd(20000, rand.getrandbits).values()) / 20000
    assert abs(most - expected_peak()) < 0.01
    for _ in range(20):
        assert max(herd(200, rand.getrandbits).values()) <= attempts_cap(200)


def test_the_cap_finds_a_herd():
    assert max(herd(100, lambda bits: 1234).values()) > attempts_cap(100)


def test_certificates_are_private_and_used_again(tmp_path):
    authority = ca.init(tmp_path / "ca")
    names = fleet_certs.names(3, "sim")
    assert names == ["sim-0000", "sim-0001", "sim-0002"]
    files = fleet_certs.issue(authority, names, tmp_path / "fleet")
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    before = {path: path.read_bytes() for path in files.values()}
    assert fleet_certs.issue(authority, names, tmp_path / "fleet") == files
    assert {path: path.read_bytes() for path in files.values()} == before
    other = fleet_certs.issue(ca.init(tmp_path / "other"), names, tmp_path / "fleet")
    assert not set(other.values()) & set(files.values())


def test_too_many_devices_for_the_limit_of_files(monkeypatch, tmp_path):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 300))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    limits.need_files(200, "200 devices")
    with pytest.raises(Failure) as e:
        Fleet(dict.fromkeys(fleet_certs.names(1000, "sim"), tmp_path), "localhost", 8883, tmp_path / "ca.pem")
    assert "1000 devices" in e.value.what and "--nofile=564:564" in e.value.try_


def test_a_fleet_that_cannot_be(tmp_path):
    for count in (0, 20001):
        with pytest.raises(Failure):
            Fleet(dict.fromkeys(fleet_certs.names(count, "sim"), tmp_path), "localhost", 8883, tmp_path / "ca.pem")
    with pytest.raises(Failure, match="no such broker"):
        settings("not a host", 8883)


def test_the_observer_tells_what_is_missing():
    seen = Observer.__new__(Observer)
    seen._lock = threading.Lock()
    seen._seen = {("a", 1): [[0, 3], [4, 6]], ("b", 2): [[0, 9]]}
    assert seen.missing({"a": [[0, 6]], "b": [[0, 1]]}, 1) == [("a", 3), ("b", 0)]
    assert seen.missing({"a": [[0, 3]]}, 1) == []


def test_the_report():
    state = {"attempts": 3, "failures": {"TCP_REFUSED": 1}, "dropped": 0, "waiting": 2, "made": 5, "acknowledged": 3,
             "again": 0, "handshakes": 2, "connected": 0}  # fmt: skip
    report = Report(2, 9.5, 100.5, state, Counter({100: 2, 107: 1}), [0.2, 0.1], 1000000, 5000, {})
    assert report.facts()["handshake_s"] == {"p50": 0.1, "p99": 0.2, "count": 2}
    assert report.facts()["attempts_a_second"] == {"0": 2, "7": 1}
    assert "1 TCP_REFUSED" in "\n".join(report.lines())
    assert "2 readings not acknowledged" in report.lost()
    assert histogram_lines(report.histogram, 100)[1].split() == ["7", "s", "1", "#" * 20]
    assert percentile([], 50) == 0
