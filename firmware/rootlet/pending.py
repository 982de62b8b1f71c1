"""An update that a command has asked for: fetched at the next start, while memory is free and in one piece.

Beside the gateway there is not always room for the connections of an update; alone there is.
"""

import asyncio
import json
import os

from . import board, health, memory, watchdog
from .errors import RootletError, unload

PATH = "update.json"
_SILENT_MS = 120000  # longest silence; while it waits for the network it is heard


def ask(number, url):
    """Keep it for the next start. Args: number: the command's id. Raises: RootletError UPDATE_FLASH."""
    try:
        with open(PATH + ".new", "w") as f:
            json.dump([number, url], f)
        os.rename(PATH + ".new", PATH)
    except OSError as e:
        raise RootletError("UPDATE_FLASH", "error %s" % e) from None


def _taken():
    """[id, URL], or None. It is gone then: whatever comes of it, it is tried once."""
    try:
        with open(PATH) as f:
            text = f.read(1024)
        os.remove(PATH)
        number, url = json.loads(text)
        return (number, url) if isinstance(url, str) else None
    except (OSError, ValueError, TypeError):
        return None


async def _fetched(url, settings, hardware, log):
    from . import clock, trust, update, wifi

    wlan = wifi.start(settings["wifi"], hardware)
    if wifi.address(wlan) is None:
        await wifi.join(wlan, settings["wifi"], hardware)
    clocks: list = []
    trusted = trust.load(settings["trust"], lambda: clocks[0].now(), hardware.get("tls"), settings["roots"])
    row = settings["clock"]
    clocks.append(clock.Clock(trusted.floor, row["servers"], timeout_ms=row["timeout_s"] * 1000))
    clocks[0].sync()
    return await update.fetch(url, trusted, settings, hardware, log)


async def carry_out(settings, log):
    """Fetch the update that waits, and restart for it.

    Args: settings: a checked configuration. log: function (topic, text).
    Returns where that failed, or none waits: (id, RootletError) or None.
    """
    asked = _taken()
    if not asked:
        return None
    number, url = asked
    hardware = board.load()
    health.start(settings, hardware)
    health.feed("", _SILENT_MS)
    watching = asyncio.create_task(health.keep())
    try:
        await _fetched(url, settings, hardware, log)
        log("update", "restarting for it")
        health.restarts("update")
        import machine

        machine.reset()
    except RootletError as e:
        log("error", e)
        return number, e
    except (OSError, RuntimeError, MemoryError) as e:
        log("error", "update: %r" % e)
        return number, RootletError("UPDATE_FLASH" if isinstance(e, OSError) else "MEMORY", str(e))
    finally:
        watching.cancel()
        watchdog.stop()  # the gateway starts its own
        for name in ("update", "https", "http1"):
            unload(name)
        memory.reserve(hardware.get("tls"))
