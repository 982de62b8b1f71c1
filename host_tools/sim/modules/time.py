"""Simulated: the clock of the board (its start, its epoch, set by machine.RTC) on top of the built-in module."""
# ruff: noqa: F403

import _sim
import utime as _builtin
from utime import *


# ticks_ms() stays the host's, although a board counts from its reset: asyncio's native part reads that clock itself.


def time():
    return int(_sim.unix()) - _sim.epoch()


def time_ns():
    return int(_sim.unix() * 1000000) * 1000 - _sim.epoch() * 1000000000


def gmtime(seconds=None):
    return _builtin.gmtime((time() if seconds is None else int(seconds)) + _sim.epoch())


localtime = gmtime  # boards have no time zone


def mktime(t):
    # Days from the civil calendar: the built-in one would take daylight saving flags into account.
    y, m = t[0], t[1]
    y, m = y + (m - 1) // 12, (m - 1) % 12 + 1
    y -= m <= 2
    of_era = y % 400
    days = y // 400 * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + (153 * (m + (-3 if m > 2 else 9)) + 2) // 5
    return (days + t[2] - 1 - 719468) * 86400 + t[3] * 3600 + t[4] * 60 + t[5] - _sim.epoch()
