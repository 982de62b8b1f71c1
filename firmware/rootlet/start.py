"""Starts the gateway: the configuration first, while memory is free and in one piece, then all the rest."""

import gc
import os
import time

from . import board, slots, trees, watchdog
from .errors import RootletError, unload


def log(topic, text):
    """One line on the console: seconds since boot, topic, text."""
    print("[%8.3f] %s: %s" % (time.ticks_diff(time.ticks_ms(), 0) / 1000, topic, text))


def settings():
    """The checked configuration; then the checker, which is needed once only, gives its memory back.

    Raises: RootletError CONFIG, SLOT.
    """
    from . import config

    try:
        return slots.applied(config.load())
    finally:
        unload("config")
        gc.collect()


async def main():
    """Load what is on the flash and run. A wrong configuration is told, and ends the program."""
    log("gateway", "rootlet starts, %d B free" % gc.mem_free())
    try:
        trees.settle()
    except OSError as e:
        log("error", "flash: %s" % e)
    slots.start(log)
    try:
        checked = settings()
        hardware = board.load()
    except RootletError as e:
        log("error", e)
        return
    failed = None
    try:
        os.stat("update.json")
        from . import pending

        failed = await pending.carry_out(checked, log)
        unload("pending")
    except OSError:
        pass  # no update was asked for
    from . import wifi

    watchdog.start(checked["watchdog_s"], hardware)  # before the radio's driver, which may hang
    watchdog.feed()
    wlan = wifi.begin(checked["wifi"], hardware)  # it takes seconds, in which all the rest is loaded
    from . import gateway

    await gateway.main(checked, hardware, failed, wlan)
