"""What health keeps over resets: one small file, written as seldom as can be, believed as little as can be."""

import json
import os

PATH = "health.json"
LONG_RUN_S = 600  # a run of that length begins the count of crashes anew
TEXT = 120

# fails: starts in a row that crashed before they settled. crashes: all in a row, for the pause.
# end: "" starting, "ok" running, "asked" ended by somebody, "crash", "safe". ran: seconds of the run before a crash.
_FRESH: dict = {"boots": 0, "fails": 0, "crashes": 0, "ran": 0, "end": "", "code": "", "fact": "", "at": 0}
data = dict(_FRESH)


def load():
    """Take whatever can be believed of the file."""
    data.update(_FRESH)
    try:
        with open(PATH) as f:
            said = json.loads(f.read(1024))
        for key, default in _FRESH.items():
            value = said.get(key)
            if type(value) is type(default) and (default == "" or 0 <= value < 1 << 29):
                data[key] = value[:TEXT] if default == "" else value
    except (OSError, ValueError, AttributeError, RuntimeError, MemoryError):
        pass


def save(**changes):
    """Whether the change is on flash. A new file, then renamed over the old: a cut of power leaves one whole."""
    data.update(changes)
    try:
        with open(PATH + ".new", "w") as f:
            json.dump(data, f)
        os.rename(PATH + ".new", PATH)
        return True
    except (OSError, MemoryError):
        return False


def clear():
    """Forget crashes and errors: the next start is an ordinary one."""
    data.update(_FRESH)
    try:
        os.remove(PATH)
    except OSError:
        pass


def count(code, fact, ran):
    """A crash. ran: seconds of the run that it ended."""
    if data["end"] == "":
        data["fails"] += 1
    data["crashes"] = 1 if ran >= LONG_RUN_S else data["crashes"] + 1
    data.update({"code": code, "fact": fact, "ran": ran, "at": data["boots"]})
