"""Readings and events as the dashboard notes them, and looks into the file that keeps them."""

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Some days ago: readings of the future are not believed, and those of long ago go.
NOW = float(int(time.time()) - 5 * 86400)


@dataclass(frozen=True)
class Reading:
    value: Any = 21.5
    device: str = "dev-1"
    sensor: str = "bme280"
    quantity: str = "temperature"
    unit: str = "°C"
    time: float | None = None
    boot: int | None = None
    seq: int | None = None


@dataclass(frozen=True)
class Event:
    device: str
    kind: str
    text: str


def ask(path: Path, question: str, *given: Any) -> list[Any]:
    db = sqlite3.connect(path)
    try:
        return db.execute(question, given).fetchall()
    finally:
        db.close()


def counter(start: int = 0) -> Iterator[Reading]:
    """Readings of one start of a device, one a second."""
    while True:
        yield Reading(start % 90 / 4, time=NOW + start, boot=1, seq=start)
        start += 1
