"""Simulated: nothing by itself. What the other stand-ins share: the script, the clock, the board's data, the host."""

import json
import sys

import utime

MARK = "\x1b]rootlet-sim;%s\x07"
EPOCH_2000 = 946684800

control = None  # a VfsPosix that is mounted nowhere: program code on the board does not see it
rom = None  # likewise, the folder of the stand-ins
board = {}
_script = {}
_seen = None
_looked = None


def open_control(vfs_posix, stand_ins):
    """Take the folder that the host and the board share, and that of the stand-ins."""
    global control, rom, board
    rom = stand_ins
    control = vfs_posix
    with control.open("/board.json", "r") as f:
        board = json.load(f)


def script():
    """The script as a dict; read again when the host has changed it, so that a test can change it live."""
    global _script, _seen, _looked
    ms = utime.ticks_ms()
    if ms == _looked:  # a file system that is busy would ask thousands of times a second
        return _script
    _looked = ms
    s = control.stat("/script.json")
    now = (s[1], s[6], s[8])
    if now != _seen:
        with control.open("/script.json", "r") as f:
            _script = json.load(f)
        _seen = now
    return _script


def live(name, default=None):
    """What the host does to the running board, beside the script: "jump_s" of the clock, "cut" of the power."""
    return script().get("live", {}).get(name, default)


def mark(text):
    """Tell the host something, by a sequence that it takes out of the console's text."""
    sys.stdout.write(MARK % text)


def state():
    """What outlives a soft reset: "unix" at host time "at", "boot" (host time), "cause"."""
    with control.open("/state.json", "r") as f:
        return json.load(f)


def wait():
    """The host ends this process; nothing after the call must run, not even an `except` clause."""
    while True:
        try:
            while True:
                utime.sleep(1)
        except BaseException:
            pass


_clock = None


def unix():
    """Unix seconds by the board's clock, a float."""
    global _clock
    if _clock is None:
        s = state()
        _clock = s["unix"] - s["at"]
    return utime.time() + _clock + live("jump_s", 0)


def set_unix(seconds):
    """Set the board's clock, unless the script says that it cannot be set."""
    global _clock
    if not script().get("clock", {}).get("settable", True):
        return
    s = state()
    s["at"] = utime.time()
    s["unix"] = seconds - live("jump_s", 0)
    keep(s)
    _clock = None


def keep(new):
    """Write the state, which the next soft reset finds."""
    with control.open("/state.json", "w") as f:
        json.dump(new, f)


def uptime_ms():
    """Milliseconds since the last hard reset."""
    return int((utime.time() - state()["boot"]) * 1000)


def epoch():
    """Unix time of the board's second 0."""
    return EPOCH_2000 if board["epoch_year"] == 2000 else 0


def lost(ssid):
    """Whether an event of the script has this access point away now."""
    events = script().get("wifi", {}).get("events", ())
    if not events:
        return False
    now = uptime_ms()
    for e in events:
        if e.get("lose_ap") == ssid and now >= e["at_ms"] and ("for_ms" not in e or now < e["at_ms"] + e["for_ms"]):
            return True
    return False
