"""What the history takes in, and how it becomes something that SQLite and PostgreSQL can say."""

import math
from typing import Protocol

LONGEST_NAME = 64
LONGEST_TEXT = 400
_LATEST_S = 1e11
_LARGEST = 1 << 63


class Reading(Protocol):
    """What the dashboard notes of a reading. time: Unix s, of the device where it told it; or None."""

    @property
    def device(self) -> str: ...
    @property
    def sensor(self) -> str: ...
    @property
    def quantity(self) -> str: ...
    @property
    def value(self) -> int | float | str: ...
    @property
    def unit(self) -> str: ...
    @property
    def time(self) -> float | None: ...
    @property
    def boot(self) -> int | None: ...
    @property
    def seq(self) -> int | None: ...


class Event(Protocol):
    """What the dashboard notes of anything else."""

    @property
    def device(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def text(self) -> str: ...


def text(value: object, longest: int = LONGEST_NAME) -> str:
    """Text that SQLite and PostgreSQL take: no lone surrogate, no NUL."""
    return str(value)[:longest].encode("utf-8", "replace").decode().replace("\0", "")


def number_or_text(value: object) -> int | float | str:
    """A number as it is where SQLite can say it, else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(value, LONGEST_TEXT)
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        return float(value) if abs(value) < 1 << 1023 else "too large"
    return value if math.isfinite(value) else str(value)


def counted(number: object) -> bool:
    """Whether it is a number that counts from 0, and fits."""
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _LARGEST


def ms(seconds: float) -> int:
    """Unix seconds as ms. Raises: ValueError for what is no time."""
    if not abs(seconds) < _LATEST_S:
        raise ValueError
    return round(seconds * 1000)
