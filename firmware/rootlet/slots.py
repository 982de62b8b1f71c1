"""Which identity and trust files are in use: those of slot a, of slot b, or those beside main.py."""

import json
import os
import sys

from .errors import RootletError

# The file `slot` says "a" or "b"; absent means the files beside main.py. A slot counts only with a file `complete`
# in it, written last: {"made": Unix seconds, "files": {name: [size in bytes, SHA-256 in hex]}}. The file `tried` says
# that a connection with it has worked.
SLOTS = ("a", "b")
MARKER = "slot"
_LONGEST = 2048
_chosen: tuple = ()  # (slot, its files): decided once, so that certificate and key come from one place


def folder(slot):
    """The folder of slot "a" or "b"."""
    return "slot_" + slot


def complete(slot):
    """(made, {name: [size, SHA-256]}) of a slot whose files are all there with their sizes, else None."""
    try:
        with open(folder(slot) + "/complete") as f:
            text = f.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            return None
        data = json.loads(text)
        made, files = data["made"], data["files"]
        if not isinstance(made, int):
            return None
        for name in files:
            size, digest = files[name]
            if "/" in name or len(digest) != 64 or os.stat(folder(slot) + "/" + name)[6] != size:
                return None
        return made, files
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError):
        return None


def tried(slot):
    """Whether a connection has been made with what is in a slot now."""
    try:
        return os.stat(folder(slot) + "/tried")[6] >= 0
    except OSError:
        return False


def _read(name):
    """What a marker file says: "a" or "b", None where it is absent, "" where it is nonsense."""
    try:
        with open(name, "rb") as f:
            text = f.read(3)
    except OSError as e:
        return None if e.args[0] == 2 else ""
    for slot in SLOTS:
        if text == slot.encode() + b"\n":
            return slot
    return ""


def marker():
    """What is asked for: "a", "b", None for the files beside main.py, "" where nobody can tell.

    Where a file system cannot rename over a file, a cut may leave the new marker alone under its first name.
    """
    said = _read(MARKER)
    return said or _read(MARKER + ".new") or said


def active(log=print):
    """The slot to use, or None for the files beside main.py. A slot that is not whole is never used.

    In place of the one asked for, only a slot that has been connected with is taken, the newest first.
    Args: log: function (topic, text).
    """
    wanted = marker()
    if wanted is None or (wanted and complete(wanted)):
        return wanted
    best = None
    for slot in SLOTS:
        found = complete(slot)
        if found and tried(slot) and (best is None or found[0] > best[0]):
            best = (found[0], slot)
    instead = best[1] if best else None
    log(
        "slots",
        "%s; using %s"
        % (
            "slot %s is not whole" % wanted if wanted else "the marker cannot be read",
            "slot " + instead if instead else "the files beside main.py",
        ),
    )
    return instead


def use(slot, log=print):
    """Take the files of a slot ("a", "b"), or those beside main.py (None), until the next restart."""
    global _chosen
    found = complete(slot) if slot else None
    _chosen = (slot, found[1]) if found else (None, {})
    if found:
        log("slots", "using slot " + slot)


def start(log=print):
    """Decide which slot is in use, and say so. Called by itself where nobody does."""
    use(active(log), log)


def path(name):
    """Where an identity or trust file is: in the slot in use where that has it, else beside main.py.

    Args: name: file name as configured; of a path, a slot holds the last part. None gives None.
    """
    if not _chosen:
        start()
    slot, files = _chosen
    last = name.split("/")[-1] if name else None
    return folder(slot) + "/" + last if last in files else name


def load_module(name):
    """Import a cert module from the slot in use where that has it, else as ever.

    Raises ImportError, or whatever a damaged module raises.
    """
    for ending in (".mpy", ".py"):
        found = path(name + ending)
        if found != name + ending:
            sys.path.insert(0, folder(_chosen[0]))
            try:
                return __import__(name)
            finally:
                sys.path.pop(0)
    return __import__(name)


def applied(settings):
    """The configuration with the certificate and key that are in use, and with the pins of `pins.json`, if any.

    The file: {"mqtt" or "https": list of sha256//BASE64, or null for none}. Args: settings: of config.load.
    Returns settings. Raises RootletError SLOT where the file cannot be read: pins must not get lost in silence.
    """
    m = settings["mqtt"]
    m["cert"], m["key"] = path(m["cert"]), path(m["key"])
    name = path("pins.json")
    try:
        with open(name) as f:
            text = f.read(_LONGEST)
    except OSError as e:
        if e.args[0] == 2:
            return settings
        raise RootletError("SLOT", "%s cannot be read" % name) from None
    try:
        pins = json.loads(text)
        if not isinstance(pins, dict):
            raise ValueError
        for section in pins:
            row = pins[section]
            if section not in ("mqtt", "https") or not (row is None or (isinstance(row, list) and row)):
                raise ValueError
            if settings[section]:
                settings[section]["pins"] = row
    except (ValueError, TypeError):
        raise RootletError("SLOT", "%s is not what it should be" % name) from None
    return settings
