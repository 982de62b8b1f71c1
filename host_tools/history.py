"""Keeps what devices have published: a bounded queue to one thread that writes, commits twice a second and tidies up.

Nobody who hands in a reading waits for the disk. What finds no room, or cannot be written, is counted in `lost`.
"""

import contextlib
import itertools
import sqlite3
import threading
import time
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from host_tools import history_file
from host_tools.failure import Failure
from host_tools.history_sweep import Sweep
from host_tools.history_values import LONGEST_TEXT, Event, Reading, counted, ms, number_or_text, text

MOST_WAITING = 20_000
MOST_SERIES = 200_000
_COMMIT_S = 0.5
_STEP_S = 0.05
_LONGEST_TIDY_S = 0.1
_BATCH = 2000
_AGAIN_S = 1.0
_MOST_IDS = 20_000
_MOST_REMEMBERED = 50_000
_LOOK_S = 5.0
_EARLIEST_S = 1_577_836_800  # 2020: a clock that says less was never set
_MOST_AHEAD_S = 3600


class History:
    """What devices have published, in an SQLite file that one thread of this process writes.

    At most MOST_WAITING readings wait in memory (20 s at 1,000 a second), of at most MOST_SERIES series.

    Args:
        path: the file; made where it does not exist, 0600.
        keep_days: readings and events that are older go.
        most_bytes: of the file; the oldest go before it gets larger. The WAL beside it has at most some 16 MB more.
    Raises: Failure where the file cannot be used.
    Attributes:
        committed: of those handed in, how many are on the file's side of a commit, repeated ones included.
        repeated: how many came again, and are kept once.
        trouble: why nothing can be written at present, in one line; "" if all is well.
    """

    def __init__(self, path: Path, keep_days: float = 30, most_bytes: int = 1 << 30) -> None:
        self.path = Path(path)
        self.committed = self.repeated = 0
        self.trouble = ""
        self._db = history_file.open_writer(self.path)
        self._place = self._inode()
        self._sweep = Sweep(keep_days, most_bytes)
        self._ids: dict[tuple[str, ...], int] = {}
        self._remembered: OrderedDict[tuple[int, int, int], None] = OrderedDict()
        self._numbers = itertools.count(time.time_ns() // 1000 & 0xFFFFFF)
        self._lock = threading.Lock()
        self._done = threading.Condition(self._lock)
        self._waiting: list[tuple[float, Any, bool]] = []
        self._accepted = self._refused = self._failed = 0
        self._unfit = self._again = 0  # of the batch that is being written
        self._wake = threading.Event()
        self._hurry = self._closing = False
        self._looked = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def reading(self, at: float, reading: Reading) -> None:
        """Keep a reading; never waits. at: when it came, Unix s."""
        self._put((at, reading, True))

    def event(self, at: float, event: Event) -> None:
        """Keep an event; never waits. at: Unix s."""
        self._put((at, event, False))

    def _put(self, row: tuple[float, Any, bool]) -> None:
        with self._lock:
            if self._closing or len(self._waiting) >= MOST_WAITING:
                self._refused += 1
                return
            self._accepted += 1
            self._waiting.append(row)
            if len(self._waiting) >= _BATCH and not self.trouble:
                self._wake.set()

    @property
    def lost(self) -> int:
        """How many readings and events found no room or could not be written."""
        return self._refused + self._failed

    def flush(self, timeout_s: float = 10) -> bool:
        """Wait until all that was handed in before is committed or counted as lost; False where that takes longer."""
        with self._done:
            all_of_it = self._accepted
            self._hurry = True
            self._wake.set()
            return self._done.wait_for(lambda: self.committed + self._failed >= all_of_it, timeout_s)

    def close(self) -> None:
        """Write what waits, and end. What cannot be written is counted as lost."""
        with self._lock:
            self._closing = True
        self._wake.set()
        self._thread.join(15)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def series(
        self, device: str, sensor: str, quantity: str, since: float, until: float, points: int = 300
    ) -> list[tuple[float, float, float, float]]:
        """The numbers between two times (Unix s) in at most `points` steps: (Unix s, min, mean, max). Any thread."""
        return history_file.points(self.path, (device, sensor, quantity), since, until, points)

    def events(self, device: str | None = None, limit: int = 200) -> list[dict[str, Any]]:
        """The newest events, the newest first: time (Unix s), device, kind, text. Any thread."""
        return history_file.events(self.path, device, limit)

    def _run(self) -> None:
        batch: list[tuple[float, Any, bool]] = []
        while True:
            self._wake.wait(_AGAIN_S if self.trouble else _STEP_S if self._sweep.busy else _COMMIT_S)
            with self._lock:
                self._wake.clear()
                closing, self._hurry = self._closing, False
                room = _BATCH - len(batch)
                batch += self._waiting[:room]
                del self._waiting[:room]
                left = bool(self._waiting)
            wrote = self._attempt(self._write, batch) if batch else True
            if wrote:
                batch = []
                self._attempt(self._tidy)
            with self._lock:
                if left and wrote:
                    self._wake.set()
            if closing and (not wrote or not left):
                break
        with self._done:
            self._failed += len(batch) + len(self._waiting)
            self._waiting.clear()
            self._done.notify_all()
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _attempt(self, what: Any, *given: Any) -> bool:
        """Do it in a transaction. False: it can be tried again, as when the disk is full or somebody holds the file."""
        try:
            self._reopen_if_gone()
            self._db.execute("BEGIN IMMEDIATE")
            what(*given)
            self._db.execute("COMMIT")
        except (sqlite3.Error, Failure, OSError) as e:
            # Somebody else may have removed a series whose number is remembered: that helps at the next attempt.
            self._ids.clear()
            self._remembered.clear()
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            self.trouble = f"{self.path}: {e.because if isinstance(e, Failure) else e}"[:300]
            return False
        self.trouble = ""
        self._count(*given)
        return True

    def _count(self, batch: list[tuple[float, Any, bool]] | None = None) -> None:
        if batch is None:
            return
        with self._done:
            self.committed += len(batch) - self._unfit
            self.repeated += self._again
            self._failed += self._unfit
            self._done.notify_all()

    def _write(self, batch: list[tuple[float, Any, bool]]) -> None:
        self._unfit = self._again = 0
        readings, events = [], []
        for at, noted, is_reading in batch:
            try:
                if is_reading:
                    row = self._row(at, noted)
                    readings += [row] if row else []
                else:
                    events.append((ms(at), text(noted.device), text(noted.kind), text(noted.text, LONGEST_TEXT)))
            except (AttributeError, TypeError, ValueError, OverflowError):
                self._unfit += 1  # nothing that devices send gets here: better counted than the end of all
        before = self._db.total_changes
        self._db.executemany("INSERT OR IGNORE INTO reading VALUES (?, ?, ?, ?, ?, ?)", readings)
        self._again += len(readings) - (self._db.total_changes - before)
        self._db.executemany("INSERT INTO event (time, device, kind, text) VALUES (?, ?, ?, ?)", events)

    def _row(self, at: float, reading: Reading) -> tuple[int, int, int, int, int, int | float | str] | None:
        """A row of the table `reading`; None for a repeated one."""
        number = self._id((text(reading.device), text(reading.sensor), text(reading.quantity), text(reading.unit)))
        if number is None:
            self._unfit += 1
            return None
        told = reading.time
        timed = isinstance(told, int | float) and _EARLIEST_S <= told <= at + _MOST_AHEAD_S
        when = ms(told) if timed and told is not None else ms(at)
        boot, seq = -1, next(self._numbers)
        if counted(reading.boot) and counted(reading.seq):
            boot, seq = int(reading.boot or 0), int(reading.seq or 0)
            if not timed and self._heard((number, boot, seq)):
                self._again += 1
                return None
        return number, when, boot, seq, ms(at) - when, number_or_text(reading.value)

    def _heard(self, key: tuple[int, int, int]) -> bool:
        """Whether it came before. For readings without a time, whose key in the table does not tell."""
        if key in self._remembered:
            return True
        self._remembered[key] = None
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return False

    def _id(self, key: tuple[str, ...]) -> int | None:
        """The number of a series, made where there is none; None where there are too many."""
        if key not in self._ids:
            question = "SELECT id FROM series WHERE device = ? AND sensor = ? AND quantity = ? AND unit = ?"
            found = self._db.execute(question, key).fetchone()
            if not found:
                if self._db.execute("SELECT count(*) FROM series").fetchone()[0] >= MOST_SERIES:
                    return None
                make = "INSERT INTO series (device, sensor, quantity, unit) VALUES (?, ?, ?, ?) RETURNING id"
                found = self._db.execute(make, key).fetchone()
            if len(self._ids) >= _MOST_IDS:
                self._ids.clear()
            self._ids[key] = found[0]
        return self._ids[key]

    def _tidy(self) -> None:
        end = time.monotonic() + _LONGEST_TIDY_S
        while True:
            if self._sweep.step(self._db, time.time()):
                self._ids.clear()
            if not self._sweep.pressing or time.monotonic() > end:
                break

    def _inode(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_dev, found.st_ino

    def _reopen_if_gone(self) -> None:
        """A file that was moved or removed would be written on, unseen by all: begin a new one."""
        if time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        if not self.path.exists() or self._inode() != self._place:
            fresh = history_file.open_writer(self.path)
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db, self._place = fresh, self._inode()
            self._ids.clear()
