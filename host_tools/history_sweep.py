"""Retention: what is too old, or too much, goes in steps so small that nothing waits for them."""

import sqlite3
import time

_MOST_ROWS = 2000
_LONGEST_S = 0.02
_PAUSE_S = 60.0
_SHARE = 50
_PAGES = 500


class Sweep:
    """Rounds through all series; each removes what is older than its cutoff, at most _MOST_ROWS or _LONGEST_S a step.

    Where the file is still too large after a round, the next one follows at once, with a cutoff 1/50 of the kept time
    later.

    Args: keep_days: of readings and events. most_bytes: of the pages in use.
    """

    def __init__(self, keep_days: float, most_bytes: int) -> None:
        self._keep_ms = round(keep_days * 86_400_000)
        self._most_bytes = most_bytes
        self._by_size = 0
        self._cutoff = 0
        self._next: int | None = None  # the series to look at next; None between rounds
        self._oldest: int | None = None
        self._due = 0.0

    @property
    def busy(self) -> bool:
        """Whether the next step should follow soon."""
        return self._next is not None or self._due == 0

    def step(self, db: sqlite3.Connection, now: float) -> bool:
        """Go on a little, in the transaction that is open. now: Unix s. Returns whether a series is gone."""
        if self._next is None:
            if time.monotonic() < self._due:
                return False
            self._cutoff = max(round(now * 1000) - self._keep_ms, self._by_size)
            self._next, self._oldest = 0, None
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
                self._note(kept[0])
            else:
                db.execute("DELETE FROM series WHERE id = ?", (series,))
                gone = True
            self._next = series + 1
        return gone

    def _note(self, at: int) -> None:
        self._oldest = at if self._oldest is None else min(at, self._oldest)

    def _finish(self, db: sqlite3.Connection, now: int) -> None:
        """The end of a round: the events, then whether it was enough."""
        events = "SELECT id FROM event ORDER BY id LIMIT ?"
        removed = db.execute(
            f"DELETE FROM event WHERE id IN ({events}) AND time < ?",  # noqa: S608
            (_MOST_ROWS, self._cutoff),
        ).rowcount
        if removed == _MOST_ROWS:
            return
        first = db.execute("SELECT time FROM event ORDER BY id LIMIT 1").fetchone()
        if first:
            self._note(first[0])
        self._next = None
        pages, free, size = (
            db.execute(f"PRAGMA {n}").fetchone()[0] for n in ("page_count", "freelist_count", "page_size")
        )
        over = pages * size > self._most_bytes
        end = time.monotonic() + _LONGEST_S
        for _ in range(min(free, _PAGES) if over else 0):
            # One page each: the module sqlite3 takes only the first step of this statement.
            db.execute("PRAGMA incremental_vacuum(1)")
            if time.monotonic() > end:
                break
        if (pages - free) * size > self._most_bytes and self._oldest is not None:
            self._by_size = self._oldest + max(1, (now - self._oldest) // _SHARE)
            self._due = 0.0
        elif over and free:
            self._due = 0.0
        else:
            self._due = time.monotonic() + _PAUSE_S
