"""Retention: what is too old, or too much, goes in steps so small that nothing waits for them."""

import sqlite3
import time

_MOST_ROWS = 2000
_LONGEST_S = 0.02
_PAUSE_S = 60.0
_LEAST_SHARE, _MOST_SHARE = 0.02, 0.25
_PAGES = 500


class Sweep:
    """Rounds through all series; each removes what is older than its cutoff, at most _MOST_ROWS or _LONGEST_S a step.

    A round begins each minute, and at once where the file is too large, which is looked at before each step; where it
    still is after a round, the next one follows, with a cutoff later by 1/50 of the kept time, or by up to 1/4 where it
    is far too large. The clock of this machine
    may be wrong: what is kept reaches back from the newest that there is, where that is older than the clock.

    Args: keep_days: of readings and events. most_bytes: of the pages in use.
    Attributes: pressing: the file is too large, and the next step should follow before more is written.
    """

    def __init__(self, keep_days: float, most_bytes: int) -> None:
        self._keep_ms = round(keep_days * 86_400_000)
        self._most_bytes = most_bytes
        self._by_size = 0
        self._cutoff = 0
        self._next: int | None = None  # the series to look at next; None between rounds
        self._oldest: int | None = None
        self._newest: int | None = None  # so far in this round
        self._end: int | None = None  # the newest of the round before; None: nobody has looked yet
        self._due = 0.0
        self.pressing = False

    @property
    def busy(self) -> bool:
        """Whether the next step should follow soon."""
        return self._next is not None or self._due == 0

    def step(self, db: sqlite3.Connection, now: float) -> bool:
        """Go on a little, in the transaction that is open. now: Unix s. Returns whether a series is gone."""
        if self._next is None:
            self.pressing = self._excess(db) > 0
            if time.monotonic() < self._due and not self.pressing:
                return False
            by_age = 0 if self._end is None else min(round(now * 1000), self._end) - self._keep_ms
            self._cutoff = max(by_age, self._by_size)
            self._next, self._oldest, self._newest = 0, None, None
        return self._go_on(db, round(now * 1000))

    def _go_on(self, db: sqlite3.Connection, now: int) -> bool:
        end, left, gone = time.monotonic() + _LONGEST_S, _MOST_ROWS, False
        while left > 0 and time.monotonic() < end:
            found = db.execute("SELECT id FROM series WHERE id >= ? ORDER BY id LIMIT 1", (self._next,)).fetchone()
            if not found:
                self._finish(db, now)
                break
            (series,) = found
            removed = db.execute(
                """DELETE FROM reading WHERE (series, time, boot, seq) IN (SELECT series, time, boot, seq FROM reading
                WHERE series = ? AND time < ? ORDER BY time, boot, seq LIMIT ?)""",
                (series, self._cutoff, left),
            ).rowcount
            left -= removed
            if left <= 0:
                self._next = series
                break
            kept = db.execute("SELECT time FROM reading WHERE series = ? ORDER BY time LIMIT 1", (series,)).fetchone()
            if kept:
                last = "SELECT time FROM reading WHERE series = ? ORDER BY time DESC LIMIT 1"
                self._note(kept[0])
                self._note(db.execute(last, (series,)).fetchone()[0])
            else:
                db.execute("DELETE FROM series WHERE id = ?", (series,))
                gone = True
            self._next = series + 1
        return gone

    def _note(self, at: int) -> None:
        self._oldest = at if self._oldest is None else min(at, self._oldest)
        self._newest = at if self._newest is None else max(at, self._newest)

    def _excess(self, db: sqlite3.Connection) -> float:
        """What share of the pages in use is too much; 0 and less: nothing."""
        pages, free, size = _pages(db)
        return 1 - self._most_bytes / ((pages - free) * size)

    def _finish(self, db: sqlite3.Connection, now: int) -> None:
        """The end of a round: the events, then whether it was enough."""
        events = "SELECT id FROM event ORDER BY id LIMIT ?"
        removed = db.execute(
            f"DELETE FROM event WHERE id IN ({events}) AND time < ?",  # noqa: S608
            (_MOST_ROWS, self._cutoff),
        ).rowcount
        if removed == _MOST_ROWS:
            return
        for order in ("", "DESC"):
            found = db.execute(f"SELECT time FROM event ORDER BY id {order} LIMIT 1").fetchone()  # noqa: S608
            if found:
                self._note(found[0])
        self._next = None
        looked, self._end = self._end, self._newest
        pages, free, size = _pages(db)
        over = pages * size > self._most_bytes
        end = time.monotonic() + _LONGEST_S
        for _ in range(min(free, _PAGES) if over else 0):
            # One page each: the module sqlite3 takes only the first step of this statement.
            db.execute("PRAGMA incremental_vacuum(1)")
            if time.monotonic() > end:
                break
        excess = self._excess(db)
        self.pressing = excess > 0 and self._oldest is not None
        if excess > 0 and self._oldest is not None:
            share = min(_MOST_SHARE, max(_LEAST_SHARE, excess / 2))
            self._by_size = self._oldest + max(1, round((min(now, self._newest or now) - self._oldest) * share))
            self._due = 0.0
        elif (over and free) or (looked is None and self._end is not None):
            self._due = 0.0
        else:
            self._due = time.monotonic() + _PAUSE_S


def _pages(db: sqlite3.Connection) -> tuple[int, int, int]:
    """(pages, those of them that are free, bytes of one)."""
    pages, free, size = (db.execute(f"PRAGMA {n}").fetchone()[0] for n in ("page_count", "freelist_count", "page_size"))
    return pages, free, size
