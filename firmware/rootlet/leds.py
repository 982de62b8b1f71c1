"""What the board's LED says; a board without one says nothing."""

import time

# How often and how long (ms) it is lit in a row; then a gap. Errors blink long, steps short.
START = (0, 0)  # lit all the time
WIFI = (1, 100)
CLOCK = (2, 100)
CONNECTING = (3, 100)
CONNECTED = (1, 0)  # dark, but for a blink at a reading
SAFE = (20, 50)
_ERRORS = (("WIFI", 1), ("CLOCK", 2), ("TLS", 3), ("CERT", 3), ("MQTT", 4), ("DNS", 5), ("TCP", 5), ("NET", 5))
_GAP_MS = 1200
_BLINK_MS = 80
_BLINKS_APART_MS = 1000

_pin = None
_code = START
_blinked = time.ticks_ms()


def start(board):
    """Take the LED that the board file names, if any."""
    global _pin
    if board.get("led") is not None:
        import machine

        try:
            _pin = machine.Pin(board["led"], machine.Pin.OUT)
        except (ValueError, OSError, RuntimeError):
            return
        step()


def error(code):
    """The pattern of an error's class: long blinks, six for what has no class of its own."""
    for start, count in _ERRORS:
        if code.startswith(start):
            return count, 500
    return 6, 500


def show(code):
    """Show a pattern from now on. An error stays until the connection works or another error comes."""
    global _code
    if _code[1] != 500 or code[1] == 500 or code in (CONNECTED, SAFE):
        _code = code
    step()


def blink():
    """A reading has gone out: one blink, at most one a second."""
    global _blinked
    now = time.ticks_ms()
    if time.ticks_diff(now, _blinked) > _BLINKS_APART_MS:
        _blinked = now


def lit(code, now, blinked):
    """Whether a pattern is lit. now, blinked: ticks in ms."""
    count, ms = code
    if not ms:
        return not count or 0 <= time.ticks_diff(now, blinked) < _BLINK_MS
    at = now % (2 * ms * count + _GAP_MS)
    return at < 2 * ms * count and at // ms % 2 == 0


def step(_=None):
    """Set the LED to what its pattern says now. To be called some times a second."""
    global _pin
    try:
        if _pin is not None:
            _pin.value(lit(_code, time.ticks_ms(), _blinked))
    except OSError:
        _pin = None  # on a Pico W it hangs on the radio chip, which may fail
