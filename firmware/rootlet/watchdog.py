"""Resets a board whose program makes no progress, however short the hardware's own watchdog is."""

import time

# esp32 cannot stop its watchdog, only set it anew: four times this, in its ticks, still fits 32 bits.
_NEVER_MS = 7 * 86400000

_limit = 0
_due: dict = {}  # who: ticks until when it must be heard again
_wdt = None
_timer = None
_off = None


def start(seconds, board):
    """Reset the board where somebody is silent for longer than was announced, and `seconds` more. 0: never.

    Called again while it runs it does nothing.

    Where the hardware's longest time is shorter (rp2), a timer feeds it as long as all are in time: the program may
    then block for longer (a DNS query), and a program that is dead still lets the hardware bite.

    Args: board: the board file; its "watchdog" row has longest_ms, and what switches it off: [address, value].
    """
    global _limit, _wdt, _timer, _off
    if not seconds or _wdt:
        return
    import machine

    row = board.get("watchdog") or {}
    _limit = seconds * 1000
    _off = row.get("off")
    longest = min(_limit, row.get("longest_ms") or _limit)
    _wdt = machine.WDT(timeout=longest)
    if longest < _limit:
        _timer = machine.Timer(-1, period=1000, mode=machine.Timer.PERIODIC, callback=check)


def feed(who="", ms=0):
    """`who` is alive, and is heard again within ms milliseconds. Sensors go by their names, the gateway by ""."""
    if _limit:
        _due[who] = time.ticks_add(time.ticks_ms(), ms + _limit)


def rest(who):
    """`who` has nothing to do until somebody else has: not expected before it is heard again."""
    _due.pop(who, None)


def waiting():
    """The program waits with a deadline, and nobody else can run: that is no silence."""
    soon = time.ticks_add(time.ticks_ms(), _limit)
    for who in _due:
        if time.ticks_diff(soon, _due[who]) > 0:
            _due[who] = soon
    check()


def check(_=None):
    """Feed the hardware if all are in time."""
    if _wdt is None:
        return
    now = time.ticks_ms()
    for who in _due:
        if time.ticks_diff(_due[who], now) < 0:
            return
    _wdt.feed()


def stop():
    """No reset from here on: somebody is at the REPL, or the program ends in an orderly way."""
    global _limit, _wdt, _timer
    _limit = 0
    _due.clear()
    if _wdt is None:
        return
    import machine

    if _off:
        machine.mem32[_off[0]] = _off[1]
    else:
        machine.WDT(timeout=_NEVER_MS)
    _wdt = None
    if _timer is not None:
        _timer.deinit()
        _timer = None
