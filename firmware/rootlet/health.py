"""What outlives a reset: how often the board started, what ended it, and a safe mode where crash follows crash."""

import gc
import time

from . import __version__, leds, watchdog
from .kept import LONG_RUN_S, TEXT, clear, count, data, load, save  # noqa: F401 (clear: for people)
from .watchdog import feed, rest  # noqa: F401 (for the gateway)

STARTS = 5  # that many failed ones in a row lead to safe mode
SETTLED_S = 60
_LINKED_S = 10  # a connection of that length makes a start a good one

on_end: list = []  # functions called when the gateway has ended, by whatever
_reset = ""
_error = None  # (code, fact): the last one since the start
_short: list = [0, 0]  # failures for lack of memory in a row; ticks of the last
_secrets: list = []
_pause_ms = 0
_needs = None  # see memory.reserve
_began = time.ticks_ms()
_up_s = 0
_linked = -1  # seconds of the run when the broker took us first


def _board():
    from . import board

    try:
        return dict(board.load())
    except Exception:  # no reason to keep the gateway from telling what is wrong
        return {}


def starting():
    """Count this start; to be called once, before anything else. False: safe mode, the gateway must not start."""
    global _reset, _pause_ms, _began, _needs
    _began = time.ticks_ms()
    import machine

    hardware = _board()
    _needs = hardware.get("tls")
    _reset = hardware.get("reset", {}).get(str(machine.reset_cause()), "unknown")
    load()
    end = data["end"]
    crashed = end == "crash" and _reset != "power"
    if data["boots"] and _reset in ("watchdog", "hard"):
        if end in ("", "ok"):  # ended by nobody, and with the power on: it hung, or the processor itself stopped
            crashed = True
            count("WATCHDOG", "reset cause: " + _reset, 0)
        else:
            _reset = end  # the program's own reset has the same cause
    data["boots"] += 1
    # Safe mode leaves one try to the next start, of whatever kind: no board stays dead for ever.
    safe = data["fails"] >= STARTS
    _pause_ms = min(300000, 250 << min(data["crashes"], 11)) if crashed else 0
    leds.start(hardware)
    if safe:
        save(end="safe", fails=STARTS - 1)
        from . import crash

        crash.safe_mode(data, hardware.get("timer", -1))
    else:
        save(end="")
    return not safe


def _clean(text, longest=TEXT):
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text[:longest]


def run():
    """Run the gateway until somebody ends it. What it does not expect is kept, and resets the board."""
    global _began
    try:
        if _pause_ms:
            print("health: a pause of %d ms after a crash" % _pause_ms)
            time.sleep_ms(_pause_ms)
        _began = time.ticks_ms()
        import asyncio

        from . import memory

        memory.reserve(_needs)
        from . import start as program

        asyncio.run(program.main())
    except Exception as e:
        _save_all()
        _crash(e)
    except BaseException:  # Ctrl-C, machine.soft_reset()
        _save_all()
        ended()
        raise
    _save_all()
    ended()


def _save_all():
    """What is only in RAM goes to flash, as far as there is memory for that."""
    gc.collect()
    for function in on_end:
        try:
            function()
        except Exception as e:
            print("health:", e)


def ended():
    """Somebody has ended the program, or is about to reset the board: no crash, whatever the cause says then."""
    import micropython

    micropython.kbd_intr(-1)  # mpremote sends Ctrl-C more than once
    watchdog.stop()
    if data["end"] in ("", "ok"):
        save(end="asked")
    micropython.kbd_intr(3)


def _crash(error):
    import machine

    # Whatever fails on the way, out of memory above all: the board must reset, since nobody watches it any more.
    try:
        watchdog.stop()
        gc.collect()
        try:
            from . import crash

            code, fact = crash.describe(error, _clean)
        except MemoryError:
            code, fact = "MEMORY", ""
        count(code, _clean(fact), _up_s)
        kept = save(end="crash")
        print("health: the gateway ended by %s: %s; the board resets" % (code, fact))
        if not kept:
            time.sleep_ms(SETTLED_S * 1000)  # nobody will remember this crash: no fast loop
    finally:
        machine.reset()


def start(settings, hardware):
    """Begin to watch over the gateway. Args: settings: a checked configuration. hardware: the board file."""
    from . import deadline

    for row in settings["wifi"]["networks"] + [settings["mqtt"]]:
        if row["password"]:
            _secrets.append(row["password"])
    for row in (settings.get("ble") or {}).get("sensors", ()):
        _secrets.extend([row[key] for key in ("bindkey", "irk") if row[key]])
    watchdog.start(settings["watchdog_s"], hardware)
    deadline.on_wait[:] = [watchdog.waiting, leds.step]


def tick():
    """Feed the watchdog where all make progress, drive the LED, and settle a start that lasts."""
    global _began, _up_s
    seconds = time.ticks_diff(time.ticks_ms(), _began) // 1000
    if seconds > 0:
        _began = time.ticks_add(_began, seconds * 1000)
        _up_s += seconds
    if data["end"] == "" and (_up_s >= SETTLED_S or 0 <= _linked <= _up_s - _LINKED_S):
        save(end="ok", fails=0)
    watchdog.check()
    leds.step()


async def keep():
    """tick() for ever."""
    import asyncio

    while True:
        tick()
        await asyncio.sleep_ms(40)


def failed(error):
    """A failure that is tried again. Raises it where the lack of memory goes on: then only a reset helps."""
    global _error
    _error = (error.code, _clean(error.fact))
    leds.show(leds.error(error.code))
    if error.code in ("MEMORY", "TLS_MEMORY"):
        now = time.ticks_ms()
        recent = time.ticks_diff(now, _short[1]) < LONG_RUN_S * 1000
        _short[0] = _short[0] + 1 if recent else 1
        _short[1] = now
        if _short[0] >= 5:
            raise error


def connected():
    """The broker has taken us."""
    global _linked
    if _linked < 0:
        _linked = _up_s
    _short[0] = 0
    leds.show(leds.CONNECTED)


def report(device):
    """What the status topic says of this start and of those before, a dict; its fields: docs/telemetry.md."""
    last = {"code": data["code"], "fact": data["fact"], "boot": data["at"], "after_s": data["ran"]}
    return {
        "status": "online",
        "device": device,
        "version": __version__,
        "reset": _reset,
        "boots": data["boots"],
        "crashes": data["crashes"],
        "last_error": last if data["code"] else None,
        "trouble": {"code": _error[0], "fact": _error[1]} if _error else None,
        "uptime_s": _up_s,
        "heap_free": gc.mem_free(),
    }


def restarts(end, code="", fact=""):
    """The program is about to reset the board, in good order: `reset` of the next status says why.

    Args: end: one word, such as "wifi". code, fact: kept as last_error, where it is for a failure. No crash: it brings
        neither a pause nor safe mode. Returns whether that could be kept.
    """
    watchdog.stop()
    if code:
        data.update({"code": code, "fact": _clean(fact), "ran": _up_s, "at": data["boots"]})
    return save(end=end)


def last_reset():
    """What ended the run before this one: `reset` of the status."""
    return _reset
