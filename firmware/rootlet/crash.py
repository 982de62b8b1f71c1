"""What is needed only where something went badly wrong: words for an exception, and safe mode."""

import sys
import time

from . import leds

RETRY_S = 3600
_timer = None
_began = time.ticks_ms()


def describe(error, clean):
    """(code, fact) of an exception: place, type and words; clean takes text and its longest length."""
    if hasattr(error, "code"):
        return error.code, error.fact
    from io import StringIO

    text = StringIO()
    sys.print_exception(error, text)  # type: ignore[attr-defined]  # absent from the stubs
    text = clean(text.getvalue(), 2000)
    print(text)
    place = words = ""
    for line in text.split("\n"):
        parts = line.split('"')
        if len(parts) > 2 and parts[0].strip() == "File":
            place = "%s:%s" % (parts[1][-40:], parts[2].split(",")[1].split()[-1])
        words = line.strip() or words
    return "CRASH", "%s: %s" % (place, words)


def safe_mode(kept, timer):
    """Tell why the gateway does not start, leave the REPL free, and try again in an hour.

    Args: kept: what health keeps. timer: id of the timer to use.
    """
    global _timer, _began
    print(
        """SAFE MODE: the gateway is not started, since start after start crashed.
Last error: %s: %s (start %d of %d).
The REPL is free. To start again: from rootlet import health; health.clear(); and reset, or deploy.
Next try by itself in %d min, unless: from rootlet import crash; crash.stay()"""
        % (kept["code"], kept["fact"], kept["at"], kept["boots"], RETRY_S // 60)
    )
    leds.show(leds.SAFE)
    from machine import Timer

    _began = time.ticks_ms()
    try:
        _timer = Timer(timer, period=50, mode=Timer.PERIODIC, callback=_idle)
    except (ValueError, OSError):
        pass  # the board file is lost: a person must come


def _idle(_):
    leds.step()
    if time.ticks_diff(time.ticks_ms(), _began) > RETRY_S * 1000:
        import machine

        machine.reset()


def stay():
    """Stay in safe mode until somebody resets the board."""
    if _timer is not None:
        _timer.deinit()
