"""The file that keeps what devices have published: its schema, how it is opened, and what is read from it.

SQLite in WAL mode: one process writes while others read. `synchronous=NORMAL`: a commit is in the hands of the kernel
when it returns, so a killed process loses nothing that was committed, and a cut of power may cost the last seconds but
never the file (sqlite.org/wal.html, "Performance Considerations"). FULL would wait for the disk at each commit only to
save those seconds.
"""

import contextlib
import difflib
import os
import shlex
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from host_tools.failure import Exit, Failure
from host_tools.masking import harmless
from host_tools.safe_write import PRIVATE, make_directory

DEFAULT = Path("dashboard-data/history.sqlite")
APPLICATION = 0x526F6F74  # "Root"
VERSION = 1
_WAIT_S = 5.0
_LONGEST_CHECK_S = 2.0
_LONGEST_QUERY_S = 20.0
_CHUNK = 4096
_CACHE_KB = 16384
_WAL_BYTES = 16 << 20

# A reading is one entry of one tree, which is ordered as it is asked for. boot and seq are in its key, so that what
# QoS 1 repeats finds itself; without them boot is -1 and seq any number. Times in ms; late: received minus time.
# value has no type, so that SQLite keeps each as it is.
_TABLES = (
    """CREATE TABLE series (id INTEGER PRIMARY KEY, device TEXT NOT NULL, sensor TEXT NOT NULL,
        quantity TEXT NOT NULL, unit TEXT NOT NULL, UNIQUE (device, sensor, quantity, unit))""",
    """CREATE TABLE reading (series INTEGER NOT NULL REFERENCES series (id), time INTEGER NOT NULL,
        boot INTEGER NOT NULL, seq INTEGER NOT NULL, late INTEGER NOT NULL, value,
        PRIMARY KEY (series, time, boot, seq)) WITHOUT ROWID""",
    """CREATE TABLE event (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, device TEXT NOT NULL, kind TEXT NOT NULL,
        text TEXT NOT NULL)""",
    "CREATE INDEX event_of_device ON event (device, id)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)

_BROKEN = "mv {path} {path}.broken; what can be saved: sqlite3 {path}.broken .recover"
_FIXES = {
    "FULL": "df -h {folder}; make room, or give the history another place",
    "IOERR": "df -h {folder}; look at the disk: sudo dmesg | tail",
    "BUSY": "fuser -v {path}; end what holds it",
    "LOCKED": "fuser -v {path}; end what holds it",
    "CORRUPT": _BROKEN,
    "NOTADB": _BROKEN,
}
# Of a file that is not known to be ours nothing may be moved, removed or changed.
_FOREIGN = "give the file of a history, or one that does not exist yet: --history FILE"


def failure(path: Path, error: Exception) -> Failure:
    """What SQLite said of the file, with what to do."""
    name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").split("_")[0]
    fix = _FIXES.get(name, "ls -la {folder}").format(path=path, folder=path.parent)
    if name in ("CORRUPT", "NOTADB") and not _ours(path):
        fix = _FOREIGN
    return Failure(f"the history {path} cannot be used", f"SQLite: {error}"[:300], fix)


def _ours(path: Path) -> bool:
    """Whether the file says in its header that it is a history (sqlite.org/fileformat.html, 1.3)."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError:
        return False
    return header.startswith(b"SQLite format 3\0") and header[68:72] == APPLICATION.to_bytes(4, "big")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    place = f"file:{quote(str(path.absolute()))}?mode={mode}"
    db = sqlite3.connect(place, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    # A broken or foreign file must not run anything by its schema.
    db.execute("PRAGMA trusted_schema = OFF")
    return db


def _is_new(db: sqlite3.Connection, path: Path) -> bool:
    """Whether there is nothing in the file yet. Raises: Failure where it is of another program or a newer Rootlet."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application, tables) == (0, 0):
        return True
    if application != APPLICATION:
        because = f"it is an SQLite file of another program (application id {application:#x})"
        raise Failure(f"{path} is no history of Rootlet", because, "give another file", Exit.USAGE)
    if version != VERSION:
        because = f"its schema has version {version}, this Rootlet knows {VERSION}"
        raise Failure(f"{path} is of another version of Rootlet", because, "pip install --upgrade rootlet")
    return False


def _refuse_corrupt(db: sqlite3.Connection) -> None:
    """Look through the file, at most _LONGEST_CHECK_S: what is broken is better known before than after."""
    with _limited(db, _LONGEST_CHECK_S):
        try:
            (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as e:
            if e.sqlite_errorname != "SQLITE_INTERRUPT":
                raise
            return
    if said != "ok":
        error = sqlite3.DatabaseError(said)
        error.sqlite_errorname = "SQLITE_CORRUPT"
        raise error


@contextlib.contextmanager
def _limited(db: sqlite3.Connection, seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    db.set_progress_handler(lambda: time.monotonic() > end, 100_000)
    try:
        yield
    finally:
        db.set_progress_handler(None, 0)


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the file for writing; what is not there is made, for its owner alone (0600).

    Raises: Failure where it is foreign, newer, broken, locked for 5 s, or not writable.
    """
    make_directory(path.parent)
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))
        if path.is_file() and path.stat().st_mode & 0o077 and (_ours(path) or not path.stat().st_size):
            path.chmod(PRIVATE)
    except OSError as e:
        raise Failure(f"cannot make {path}", e.strerror or str(e), f"ls -ld {path.parent}; df {path.parent}") from None
    db = None
    try:
        db = _connect(path, "rw")
        new = _is_new(db, path)
        if new:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before there is anything
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise sqlite3.OperationalError(f"no WAL mode there, but {mode}: the file must be on a local disk")
        for setting in ("synchronous = NORMAL", "foreign_keys = ON", f"cache_size = -{_CACHE_KB}"):
            db.execute(f"PRAGMA {setting}")
        db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        if not new:
            _refuse_corrupt(db)
        db.execute("BEGIN IMMEDIATE")  # that it can be written shows now
        if _is_new(db, path):
            for statement in _TABLES:
                db.execute(statement)
        db.execute("COMMIT")
    except (sqlite3.Error, Failure) as e:
        if db:
            db.close()
        raise e if isinstance(e, Failure) else failure(path, e) from None
    return db


@contextlib.contextmanager
def reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, while another process may write; each query takes at most 20 s.

    Raises: Failure where there is no file, or it cannot be read.
    """
    if not path.exists():
        raise Failure("there is no history", f"{path} does not exist", "rootlet dashboard keeps one; or give --history")
    db = None
    try:
        db = _connect(path, "ro")
        if _is_new(db, path):
            raise Failure("there is no history yet", f"{path} is empty", "rootlet dashboard fills it")
        with _limited(db, _LONGEST_QUERY_S):
            yield db
    except sqlite3.Error as e:
        raise failure(path, e) from None
    finally:
        if db:
            db.close()


def points(
    path: Path, series: tuple[str, str, str], since: float, until: float, most: int
) -> list[tuple[float, float, float, float]]:
    """The numbers of one (device, sensor, quantity), in at most `most` steps of equal time: (Unix s, min, mean, max).

    Args: since, until: Unix seconds, the first included. A step in which nothing came is left out.
    """
    first, last = round(since * 1000), round(until * 1000)
    step = max(1, -((first - last) // max(1, most)))
    with reader(path) as db:
        rows = db.execute(
            """SELECT avg(r.time) / 1000, min(r.value), avg(r.value), max(r.value)
            FROM series AS s CROSS JOIN reading AS r ON r.series = s.id
            WHERE s.device = ? AND s.sensor = ? AND s.quantity = ? AND r.time >= ? AND r.time < ?
            AND typeof(r.value) <> 'text' GROUP BY (r.time - ?) / ? ORDER BY 1""",
            (*series, first, last, first, step),
        )
        return [(at, float(low), float(mean), float(high)) for at, low, mean, high in rows]


def events(path: Path, device: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest events, the newest first. device: None for all."""
    which, given = ("WHERE device = ?", [device]) if device is not None else ("", [])
    question = f"SELECT time, device, kind, text FROM event {which} ORDER BY id DESC LIMIT ?"  # noqa: S608
    with reader(path) as db:
        rows = db.execute(question, [*given, max(0, limit)])
        return [{"time": at / 1000, "device": of, "kind": kind, "text": text} for at, of, kind, text in rows]


@dataclass(frozen=True)
class Wanted:
    """Which readings: None for all. since, until: Unix seconds, since included."""

    device: str | None = None
    sensor: str | None = None
    quantity: str | None = None
    since: float | None = None
    until: float | None = None


class Stored(NamedTuple):
    """One reading as it is kept. time, received: Unix ms. boot, seq: None where the device gave none."""

    time: int
    received: int
    device: str
    sensor: str
    quantity: str
    value: int | float | str
    unit: str
    boot: int | None
    seq: int | None


_MOST_NAMES = 2000


def refuse_unknown(path: Path, wanted: Wanted) -> None:
    """Check that the history knows the device, the sensor of it and the quantity of that.

    Raises: Failure for a name that nothing is kept of, with at most five there are, the closest first.
    """
    where, bound = "1", list[str]()
    with reader(path) as db:
        for column in ("device", "sensor", "quantity"):
            name = getattr(wanted, column)
            if name is None:
                continue
            # Only names of columns come from here, the values are bound.
            names = f"SELECT DISTINCT {column} FROM series WHERE {where}"  # noqa: S608
            where, bound = f"{where} AND {column} = ?", [*bound, name]
            if db.execute(f"SELECT 1 FROM series WHERE {where} LIMIT 1", bound).fetchone():  # noqa: S608
                continue
            found = [row[0] for row in db.execute(f"{names} LIMIT {_MOST_NAMES}", bound[:-1])]
            close = [harmless(one)[:64] for one in difflib.get_close_matches(name, found, 5, 0)]
            because = (
                f"there {'is' if len(close) == 1 else 'are'} {', '.join(close)}" if close else "it has none at all"
            )
            fix = f"--{column} {shlex.quote(close[0])}" if close else "rootlet export, without a choice"
            raise Failure(f"the history has no {column} {harmless(name)[:64]!r}", because, fix)


def stored(path: Path, wanted: Wanted) -> Iterator[Stored]:
    """Readings, series by series, each by time; a chunk of them in memory, and no transaction that stays open.

    So that the writer can go on and the WAL stays small, however slow whoever takes them is.
    """
    first = round((wanted.since or 0) * 1000)
    last = round(wanted.until * 1000) if wanted.until is not None else (1 << 62)
    asked = {name: value for name in ("device", "sensor", "quantity") if (value := getattr(wanted, name)) is not None}
    where = " AND ".join(["1", *(f"{name} = ?" for name in asked)])
    # Only names of columns come from here, the values are bound.
    question = f"SELECT device, sensor, quantity, unit, id FROM series WHERE {where} ORDER BY 1, 2, 3, 4"  # noqa: S608
    with reader(path) as db:
        found = db.execute(question, list(asked.values())).fetchall()
    for device, sensor, quantity, unit, number in found:
        after = (first, -2, -1)
        while True:
            with reader(path) as db:
                rows = db.execute(
                    """SELECT time, boot, seq, late, value FROM reading WHERE series = ? AND time < ?
                    AND (time, boot, seq) > (?, ?, ?) ORDER BY time, boot, seq LIMIT ?""",
                    (number, last, *after, _CHUNK),
                ).fetchall()
            for at, boot, seq, late, value in rows:
                known = boot >= 0
                yield Stored(
                    at, at + late, device, sensor, quantity, value, unit,
                    boot if known else None, seq if known else None,
                )  # fmt: skip
            if len(rows) < _CHUNK:
                break
            after = rows[-1][:3]
