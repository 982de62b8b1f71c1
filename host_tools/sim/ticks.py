"""Gives CPython's `time` the millisecond ticks that the firmware's modules count with."""

import time


def _ms() -> int:
    return time.monotonic_ns() // 1_000_000


def install() -> None:
    """Add ticks_ms, ticks_add and ticks_diff; they never wrap here."""
    for name, function in (
        ("ticks_ms", _ms),
        ("ticks_add", lambda ticks, more: ticks + more),
        ("ticks_diff", lambda later, earlier: later - earlier),
    ):
        if not hasattr(time, name):
            setattr(time, name, function)
