"""Runs on a real board before a measurement: joins WiFi as the board's own configuration says, tells its address.

Its own programs and files stay as they are; what is measured lies in a folder of its own, given as FOLDER.
"""

import asyncio
import gc
import json
import os
import sys


def join():
    sys.path[:] = [FOLDER] + [path for path in sys.path if path not in ("/app_a", "/app_b", FOLDER)]
    from rootlet import board, config, errors, wifi

    os.chdir("/")
    settings = config.load()["wifi"]
    os.chdir(FOLDER)
    facts = board.load()
    wlan = wifi.start(settings, facts)
    try:
        address = wifi.address(wlan) or asyncio.run(wifi.join(wlan, settings, facts))[1]
    except errors.RootletError as e:
        raise OSError("%s: %s" % (e.code, e.fact)) from None  # with the fact on the last line, which mpremote tells
    print("joined", json.dumps(address))


join()
# The measurement loads them itself, and sees its own heap.
for name in list(sys.modules):
    if name.startswith("rootlet"):
        del sys.modules[name]
del join, name
gc.collect()
