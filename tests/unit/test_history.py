"""The history: what is committed stays, what is repeated is kept once, what is old goes, a bad disk ends nothing."""

import json
import math
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from host_tools import history, history_file, history_sweep
from host_tools.failure import Failure
from host_tools.history import History
from host_tools.history_file import Wanted, open_writer, stored
from host_tools.history_sweep import Sweep
from tests.history_samples import NOW, Event, Reading, ask, counter
from tests.running import environment

DAY = 86400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.sqlite"


def wait_until(true, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def fill(kept: History, readings, at: float | None = None) -> None:
    for reading in readings:
        kept.reading(at or time.time(), reading)
    assert kept.flush()


def values(path: Path, **wanted) -> list:
    return [row.value for row in stored(path, Wanted(**wanted))]


def test_values_come_back_as_they_were(path):
    sent = [21.5, 21, -(1 << 63), (1 << 63) - 1, 0.1, "open", "", "naïve \N{SNOWMAN}"]
    with History(path) as kept:
        fill(kept, [Reading(value, time=NOW + i) for i, value in enumerate(sent)], NOW)
        back = list(stored(path, Wanted()))
    assert [row.value for row in back] == sent
    assert [type(row.value) for row in back] == [type(value) for value in sent]
    assert back[0][:5] == (NOW * 1000, NOW * 1000, "dev-1", "bme280", "temperature")
    assert back[1].received - back[1].time == -1000 and back[0].boot is None and back[0].seq is None


@settings(max_examples=60, deadline=None)
@given(
    some.one_of(some.integers(), some.floats(), some.text(), some.none(), some.booleans(), some.lists(some.text())),
    some.text(some.characters(categories=None)),
    some.one_of(some.none(), some.floats(), some.integers()),
    some.one_of(some.none(), some.integers(), some.floats()),
)
def test_nothing_that_is_handed_in_ends_the_writer(odd, value, text, when, number):
    fill(odd, [Reading(value, text, text, text, text, when, number, number), Reading(text)])
    odd.event(NOW, Event(text, text, text))
    assert odd.flush() and not odd.trouble
    for row in stored(odd.path, Wanted(device=text[:64])):
        assert isinstance(row.value, str) or math.isfinite(row.value)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    with History(tmp_path_factory.mktemp("odd") / "h.sqlite") as kept:
        yield kept


def test_what_cannot_be_a_reading_is_counted(path):
    with History(path) as kept:
        kept.reading(NOW, None)
        for at in (math.inf, math.nan, 1e300):
            kept.reading(at, Reading())
            kept.event(at, Event("dev-1", "online", ""))
        fill(kept, [Reading(1)])
        assert (kept.lost, kept.committed) == (7, 1)


def test_a_repeated_reading_is_kept_once(path):
    twice = Reading(time=NOW - 60, boot=3, seq=7)
    without_time = Reading(boot=3, seq=8)
    nameless = Reading(5, quantity="other")
    with History(path) as kept:
        fill(kept, [twice, without_time, nameless], NOW)
        fill(kept, [twice, without_time, nameless], NOW + 90)
        assert kept.repeated == 2 and kept.lost == 0 and kept.committed == 6
    with History(path) as kept:  # an outbox may send again long after
        fill(kept, [twice], NOW + DAY)
        assert kept.repeated == 1
    assert ask(path, "SELECT count(*) FROM reading") == [(4,)]


def test_the_same_number_of_another_start_or_quantity_or_after_a_deploy_is_another_reading(path):
    one = Reading(time=NOW, boot=1, seq=0)
    others = [Reading(time=NOW, boot=2, seq=0), Reading(time=NOW, boot=1, seq=0, quantity="humidity")]
    after_deploy = Reading(time=NOW + 9, boot=1, seq=0)
    with History(path) as kept:
        fill(kept, [one, *others, after_deploy])
        assert kept.repeated == 0


@pytest.mark.parametrize("told", [0.0, 1e9, NOW + DAY, math.nan, -1e300], ids=["0", "2001", "tomorrow", "nan", "past"])
def test_a_clock_that_cannot_be_right_is_replaced_by_ours(path, told):
    with History(path) as kept:
        fill(kept, [Reading(time=told)], NOW)
    assert next(stored(path, Wanted())).time == NOW * 1000


def test_series_are_few_points_of_equal_time(path):
    with History(path) as kept:
        fill(kept, [Reading(i, time=NOW + i) for i in range(1000)] + [Reading("off", time=NOW)])
        points = kept.series("dev-1", "bme280", "temperature", NOW, NOW + 1000, points=10)
        assert points == [(NOW + i * 100 + 49.5, i * 100, i * 100 + 49.5, i * 100 + 99) for i in range(10)]
        assert len(kept.series("dev-1", "bme280", "temperature", NOW, NOW + 999.5, points=300)) <= 300
        assert kept.series("dev-1", "bme280", "temperature", NOW + 100, NOW + 102) == [
            (NOW + 100, 100, 100, 100), (NOW + 101, 101, 101, 101)
        ]  # fmt: skip
        assert kept.series("dev-1", "bme280", "none", NOW, NOW + 9) == []


def test_events_come_newest_first(path):
    with History(path) as kept:
        for i in range(5):
            kept.event(NOW + i, Event(f"dev-{i % 2}", "online", f"{i}"))
        assert kept.flush()
        assert [e["text"] for e in kept.events("dev-0", 2)] == ["4", "2"]
        assert kept.events()[0] == {"time": NOW + 4, "device": "dev-0", "kind": "online", "text": "4"}


def test_the_file_is_its_owners_alone(path):
    old = os.umask(0)
    try:
        with History(path) as kept:
            fill(kept, [Reading()])
            for file in path.parent.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    finally:
        os.umask(old)
    path.chmod(0o644)
    History(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def foreign(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE notes (text)")
    db.close()


def newer(path: Path) -> None:
    History(path).close()
    ask(path, "PRAGMA user_version = 2")


def broken(path: Path) -> None:
    with History(path) as kept:
        fill(kept, [Reading(i, f"dev-{i}") for i in range(2000)])
    whole = bytearray(path.read_bytes())
    whole[4096 * 2 : -4096] = os.urandom(len(whole) - 4096 * 3)
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (foreign, "no history of Rootlet"),
        (newer, "another version"),
        (broken, "cannot be used"),
        (lambda path: path.write_bytes(b"not a database, but a letter" * 99), "cannot be used"),
        (lambda path: path.mkdir(), "cannot be used"),
        (lambda path: path.write_bytes(b"SQLite format 3\0"), "cannot be used"),
    ],
    ids=["foreign", "newer", "broken", "letter", "directory", "cut"],
)
def test_a_file_that_cannot_be_used_is_a_failure_at_the_start_and_stays_as_it_is(path, make, says):
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(Failure) as refused:
        History(path)
    assert says in refused.value.what and refused.value.try_
    assert before is None or path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_a_failure(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="cannot make"):
        History(tmp_path / "file" / "history.sqlite")


def test_a_file_that_somebody_holds_is_a_failure_at_the_start(path, monkeypatch):
    monkeypatch.setattr(history_file, "_WAIT_S", 0.05)
    History(path).close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(Failure) as refused:
        History(path)
    assert "locked" in refused.value.because and "fuser" in refused.value.try_
    db.close()


def test_a_file_that_is_held_for_a_while_loses_nothing(path, monkeypatch):
    monkeypatch.setattr(history_file, "_WAIT_S", 0.05)
    with History(path) as kept:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        kept.reading(NOW, Reading(1))
        assert not kept.flush(0.3)
        assert "locked" in kept.trouble
        db.execute("COMMIT")
        assert kept.flush() and kept.lost == 0 and not kept.trouble
        db.close()
    assert values(path) == [1]


def test_a_second_writer_may_empty_a_series_under_the_first(path):
    with History(path) as kept:
        fill(kept, [Reading(1)])
        db = sqlite3.connect(path)
        db.execute("DELETE FROM reading")
        db.execute("DELETE FROM series")
        db.commit()
        db.close()
        fill(kept, [Reading(2)])
        assert kept.lost == 0
    assert values(path) == [2]


def test_a_file_that_was_moved_away_is_begun_anew(path, monkeypatch):
    monkeypatch.setattr(history, "_LOOK_S", 0)
    with History(path) as kept:
        fill(kept, [Reading(1)])
        for file in list(path.parent.iterdir()):
            file.rename(file.with_name("old-" + file.name))
        fill(kept, [Reading(2)])
        assert values(path) == [2] and not kept.trouble


def test_what_finds_no_room_is_counted_and_nobody_waits(path, monkeypatch):
    monkeypatch.setattr(history, "MOST_WAITING", 100)
    monkeypatch.setattr(history_file, "_WAIT_S", 0.05)
    kept = History(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    for i in range(history._BATCH + 500):
        kept.reading(NOW, Reading(i))
    assert time.monotonic() - began < 0.2
    assert kept.lost >= 400
    kept.close()
    assert kept.lost == history._BATCH + 500 and kept.committed == 0
    kept.reading(NOW, Reading(1))
    assert kept.lost == history._BATCH + 501
    db.close()


FULL_DISK = """
import json, resource, sys, time
from host_tools import history
from tests.history_samples import NOW, counter
from pathlib import Path
kept = history.History(Path(sys.argv[1]))
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, most))
sent = 0
for reading in counter():
    kept.reading(time.time(), reading)
    sent += 1
    if sent % 1000 == 0 and kept.flush(3) is False:
        break
trouble, before = kept.trouble, kept.committed
for reading in list(zip(range(history.MOST_WAITING + 3000), counter(sent))):
    kept.reading(time.time(), reading[1])
    sent += 1
lost = kept.lost
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
well = kept.flush()
print(json.dumps([sent, before, lost, trouble, well, kept.trouble, kept.committed, kept.lost]))
kept.close()
"""


def child(code: str, *arguments: str, **more) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, env=environment(), text=True, **more
    )


def test_a_full_disk_is_told_and_its_losses_counted_and_then_it_goes_on(path):
    with child(FULL_DISK, str(path)) as process:
        said = process.communicate(timeout=60)[0]
    sent, before, lost, trouble, well, after, committed, lost_at_last = json.loads(said)
    assert "disk" in trouble and before > 1000 and lost > 0
    assert well and after == "" and lost_at_last == lost and committed == sent - lost
    assert ask(path, "SELECT count(*) FROM reading") == [(committed,)]
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]


def test_no_room_at_the_start_is_a_failure(path):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000));"
        "from host_tools import failure, history_file; from pathlib import Path\n"
        "try: history_file.open_writer(Path(sys.argv[1]))\nexcept failure.Failure as e: print(e)"
    )
    with child(code, str(path)) as process:
        said = process.communicate(timeout=60)[0]
    assert "cannot be used" in said and "df -h" in said


KILLED = """
import sys, time
from host_tools.history import History, MOST_WAITING
from tests.history_samples import NOW, Reading
from pathlib import Path
kept = History(Path(sys.argv[1]))
boot = int(sys.argv[2])
sent = 0
while True:
    kept.reading(time.time(), Reading(sent, f"dev-{sent % 50}", time=NOW + sent, boot=boot, seq=sent))
    sent += 1
    if sent % 100 == 0:
        print(kept.committed, flush=True)
        while sent - kept.committed > MOST_WAITING - 100:
            time.sleep(0.001)
"""


@pytest.mark.parametrize("rounds", [int(os.environ.get("ROOTLET_KILLS", "4"))])
def test_what_was_committed_survives_kill_9(path, rounds):
    told: list[int] = []
    for boot in range(rounds):
        with child(KILLED, str(path), str(boot)) as process:
            # At another moment each time, after some thousands are told to be safe.
            enough, last = 3000 + 7777 * (boot % 5), 0
            assert process.stdout
            for line in process.stdout:
                last = int(line)
                if last >= enough:
                    break
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().splitlines()
            told.append(max([last, *(int(line) for line in rest[:-1])]))
    for boot, most in enumerate(told):
        found = [seq for (seq,) in ask(path, "SELECT seq FROM reading WHERE boot = ? ORDER BY seq", boot)]
        assert found == list(range(len(found))) and len(found) >= most > 0, boot
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert ask(path, "PRAGMA foreign_key_check") == []


def run_out(db: sqlite3.Connection, sweep: Sweep, now: float = NOW) -> tuple[int, float]:
    """Steps of a sweep until it pauses; how many, and the longest in seconds."""
    steps, longest = 0, 0.0
    while sweep._due == 0 or sweep._next is not None:
        began = time.monotonic()
        db.execute("BEGIN")
        sweep.step(db, now)
        db.execute("COMMIT")
        longest = max(longest, time.monotonic() - began)
        steps += 1
        assert steps < 5000
    return steps, longest


def test_what_is_too_old_goes_in_small_steps(path):
    with History(path, keep_days=9999) as kept:
        for day in range(40):
            fill(kept, (Reading(i, f"dev-{i % 20}", time=NOW - day * DAY - i) for i in range(2000)))
            kept.event(NOW - day * DAY, Event("dev-1", "online", str(day)))
        fill(kept, [Reading(1, "gone", time=NOW - 35 * DAY)])
    db = open_writer(path)
    steps, longest = run_out(db, Sweep(30, 1 << 30))
    db.close()
    assert steps > 10 and longest < 0.5
    (oldest,) = ask(path, "SELECT min(time) FROM reading")[0]
    assert NOW - 30 * DAY <= oldest / 1000 < NOW - 29 * DAY
    assert len(values(path)) == 30 * 2000 + 1  # 30 days ago to the second is not yet older
    assert ask(path, "SELECT count(*) FROM event") == [(31,)]
    assert ask(path, "SELECT count(*) FROM series WHERE device = 'gone'") == [(0,)]
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_file_that_is_too_large_loses_its_oldest(path):
    with History(path, keep_days=9999) as kept:
        for start in range(0, 100_000, 10_000):
            fill(kept, (Reading(i, f"dev-{i % 7}", time=NOW - 100_000 + i) for i in range(start, start + 10_000)))
    before, most = path.stat().st_size, 1_000_000
    db = open_writer(path)
    run_out(db, Sweep(9999, most))
    db.close()
    assert before > 2 * most and most * 0.8 < path.stat().st_size <= most
    left = sorted(row.time for row in stored(path, Wanted()))
    assert left[-1] == (NOW - 1) * 1000 and len(left) > 10_000
    assert len(left) == (left[-1] - left[0]) / 1000 + 1  # nothing is missing between


def test_events_alone_do_not_fill_the_disk_either(path):
    with History(path, keep_days=9999) as kept:
        for i in range(15_000):
            kept.event(NOW - 15_000 + i, Event("dev-1", "trouble", "x" * 200))
        assert kept.flush()
    db = open_writer(path)
    run_out(db, Sweep(9999, 1_000_000))
    db.close()
    assert path.stat().st_size <= 1_000_000
    assert ask(path, "SELECT count(*) > 2000, max(time) FROM event") == [(1, (NOW - 1) * 1000)]


def test_a_flood_does_not_outrun_the_bound(path):
    most, largest = 2_000_000, 0
    with History(path, most_bytes=most) as kept:
        now = time.time()
        for i in range(40_000):
            kept.reading(now, Reading("x" * 500, f"dev-{i % 7}", time=now - 40_000 + i))
            if i % 2000 == 1999:
                assert kept.flush()
                largest = max(largest, path.stat().st_size)
        wait_until(lambda: ask(path, "PRAGMA page_count")[0][0] * 4096 <= most)
    assert largest < 2 * most + 2_500_000  # one batch may be on its way


def test_a_clock_that_is_far_ahead_removes_nothing_by_age(path):
    with History(path, keep_days=9999) as kept:
        fill(kept, (Reading(i, f"dev-{i % 3}", time=NOW - i * DAY) for i in range(40)), at=NOW)
        kept.event(NOW - 3 * DAY, Event("dev-1", "online", ""))
    db = open_writer(path)
    run_out(db, Sweep(30, 1 << 30), now=NOW + 3650 * DAY)
    db.close()
    assert sorted(values(path)) == list(range(31))
    assert ask(path, "SELECT count(*) FROM event") == [(1,)]


def test_a_clock_that_is_far_ahead_takes_no_more_for_the_size(path):
    with History(path, keep_days=9999) as kept:
        for start in range(0, 40_000, 10_000):
            fill(kept, (Reading(i, time=NOW - 40_000 + i) for i in range(start, start + 10_000)), at=NOW)
    db = open_writer(path)
    run_out(db, Sweep(9999, 600_000), now=NOW + 3650 * DAY)
    db.close()
    assert len(values(path)) > 8000 and path.stat().st_size <= 600_000


def test_the_dashboards_writer_forgets_what_is_too_old(path, monkeypatch):
    monkeypatch.setattr(history_sweep, "_PAUSE_S", 0.05)
    with History(path, keep_days=1) as kept:
        fill(kept, [Reading(i, f"dev-{i}", time=NOW - i) for i in range(5000)] + [Reading(7, time=time.time())])
        wait_until(lambda: values(path) == [7])
        assert kept.lost == 0


def test_the_dashboards_writer_keeps_the_size_while_it_writes(path, monkeypatch):
    monkeypatch.setattr(history_sweep, "_PAUSE_S", 0)
    most = 500_000
    sent = 0
    with History(path, most_bytes=most) as kept:
        now = time.time()
        for sent in range(60_000):
            kept.reading(now, Reading(sent, f"dev-{sent % 7}", time=now - 70_000 + sent))
            if sent % 2000 == 1999:
                assert kept.flush()
        wait_until(lambda: ask(path, "PRAGMA page_count")[0][0] * 4096 <= most)
        assert kept.lost == 0 and kept.committed == sent + 1
    assert path.stat().st_size <= most
    assert 5000 < len(values(path)) < 30_000 and max(values(path)) == sent


def test_an_export_reads_while_it_is_written(path):
    command = [sys.executable, "-m", "host_tools", "export", "--history", str(path), "--format", "jsonl"]
    with History(path) as kept:
        readings = counter()
        fill(kept, (next(readings) for _ in range(20_000)))
        two = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) for _ in range(2)]
        meanwhile = 0
        for _ in range(200):
            for _ in range(100):
                kept.reading(time.time(), next(readings))
            assert kept.flush(5)
            meanwhile += 100
            assert kept.series("dev-1", "bme280", "temperature", NOW, NOW + 40_000, 50)
            if meanwhile == 3000:
                read = [process.communicate(timeout=60)[0] for process in two]
                break
        assert not kept.trouble and kept.lost == 0 and kept.committed == 20_000 + meanwhile
    for process, text in zip(two, read, strict=True):
        numbers = [json.loads(line)["seq"] for line in text.splitlines()]
        assert process.returncode == 0 and numbers == list(range(len(numbers))) and len(numbers) >= 20_000


def test_a_thousand_readings_a_second(path, record_property):
    seconds = float(os.environ.get("ROOTLET_HISTORY_S", "3"))
    with History(path) as kept:
        began, cpu, readings, sent, longest = time.monotonic(), time.process_time(), counter(), 0, 0.0
        while time.monotonic() - began < seconds:
            due = int((time.monotonic() - began) * 1000) - sent
            for _ in range(due):
                at = time.monotonic()
                kept.reading(time.time(), next(readings))
                longest = max(longest, time.monotonic() - at)
            sent += due
            time.sleep(0.01)
        assert kept.flush()
        share = (time.process_time() - cpu) / (time.monotonic() - began)
        assert kept.lost == 0 and kept.committed == sent >= 900 * seconds
    size = path.stat().st_size / sent
    record_property("cpu_share", share)
    print(f"\n{sent} readings, {share:.1%} of a core, longest hand-in {longest * 1e3:.2f} ms, {size:.1f} bytes each")
    assert share < 0.4
    assert size < 80
