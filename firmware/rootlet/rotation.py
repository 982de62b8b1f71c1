"""The board's part of a rotation: fill the slot that is not in use, try it, switch. The host calls these in turn."""

import binascii
import hashlib
import json
import os

from . import slots
from .errors import RootletError

_PIECE = 512


def _remove(name):
    try:
        os.remove(name)
    except OSError as e:
        if e.args[0] != 2:
            raise


def _digest(name):
    h = hashlib.sha256()
    size = 0
    with open(name, "rb") as f:
        while True:
            piece = f.read(_PIECE)
            if not piece:
                break
            size += len(piece)
            h.update(piece)
    return [size, binascii.hexlify(h.digest()).decode()]


def _write(name, text):
    """Write a small file under another name, then rename it: it is never seen half-made.

    littlefs renames over a file in one step. FAT refuses; then the old one goes first, and slots.marker() knows that
    a new one left alone counts.
    """
    with open(name + ".new", "w") as f:
        f.write(text)
    try:
        os.rename(name + ".new", name)
    except OSError:
        _remove(name)
        os.rename(name + ".new", name)


def facts():
    """What the host needs to know, as a dict; no secret is in it. Raises RootletError CONFIG."""
    from . import config

    settings = config.load()
    m = settings["mqtt"]
    space = os.statvfs("/")
    whole = {}
    for slot in slots.SLOTS:
        found = slots.complete(slot)
        if found:
            whole[slot] = {"made": found[0], "files": found[1], "tried": slots.tried(slot)}
    return {
        "device": settings["device"],
        "cert": m["cert"],
        "key": m["key"],
        "trust": settings["trust"],
        "roots": settings["roots"],
        "pins": _pins(slots.active(lambda *_: None)),
        "active": slots.active(lambda *_: None),
        "slots": whole,
        "free": space[0] * space[3],
    }


def _pins(slot):
    """What pins.json of the slot in use says, or {}."""
    try:
        with open((slots.folder(slot) + "/" if slot else "") + "pins.json") as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}


def clear(slot):
    """Empty a slot, what makes it count first, so that a cut leaves a slot that is not used."""
    if slot == slots.active(lambda *_: None):
        raise RootletError("SLOT", "slot %s is in use" % slot)
    place = slots.folder(slot)
    try:
        os.mkdir(place)
    except OSError:
        pass
    _remove(place + "/complete")
    for row in list(os.ilistdir(place)):
        os.remove(place + "/" + row[0])


def carry(source, target, names):
    """Copy files that stay the same from the slot in use; a private key does not leave the board for it."""
    for name in names:
        with open(slots.folder(source) + "/" + name, "rb") as old, open(slots.folder(target) + "/" + name, "wb") as new:
            while True:
                piece = old.read(_PIECE)
                if not piece:
                    break
                new.write(piece)


def seal(slot, made, files):
    """Declare a slot whole, if every file has its size and SHA-256.

    Args: made: Unix seconds. files: {name: [size, SHA-256 in hex]}. Raises RootletError SLOT.
    """
    place = slots.folder(slot) + "/"
    for name in files:
        try:
            same = _digest(place + name) == files[name]
        except OSError:
            same = False
        if not same:
            raise RootletError("SLOT", "%s%s is not what was sent" % (place, name))
    _write(place + "complete", json.dumps({"made": made, "files": files}))


def switch(slot):
    """Make a slot ("a", "b"), or the files beside main.py (None), the ones in use from the next start on."""
    if slot is None:
        _remove(slots.MARKER + ".new")
        _remove(slots.MARKER)
        return
    if not slots.complete(slot):
        raise RootletError("SLOT", "slot %s is not whole" % slot)
    try:
        os.stat(slots.MARKER)
    except OSError:
        # An earlier switch may have been cut off here: its marker must not be lost while the next one is written.
        if slots.marker():
            os.rename(slots.MARKER + ".new", slots.MARKER)
    _write(slots.MARKER, slot + "\n")


async def _connect():
    from . import board, memory, start

    hardware = board.load()
    memory.reserve(hardware.get("tls"))
    settings = start.settings()
    from . import gateway

    g = gateway.Gateway(settings, hardware)
    await g._online()
    g.link.connect()
    g.link.client.disconnect()


def trial(slot):
    """Connect to the configured broker with the files of a slot (None: those beside main.py).

    Prints `trial ok`, or `trial failed CODE: …`. Joins WiFi and sets the clock as the gateway does.
    """
    import asyncio

    try:
        if slot and not slots.complete(slot):
            raise RootletError("SLOT", "slot %s is not whole" % slot)
        slots.use(slot)
        try:
            asyncio.run(_connect())
        except MemoryError:
            raise RootletError("MEMORY", "during the trial") from None
        except (ValueError, TypeError, AttributeError, LookupError, OSError) as e:
            raise RootletError("SLOT", "%s: %s" % (type(e).__name__, e)) from None
        if slot:
            with open(slots.folder(slot) + "/tried", "w") as f:
                f.write("ok\n")
    except RootletError as e:
        print("trial failed %s" % e)
    else:
        print("trial ok")
