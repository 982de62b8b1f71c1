"""Commands from the broker: checked strictly, executed slowly, and none of them twice."""

import json
import os
import time

from .errors import RootletError

NAMES = ("status", "interval", "rotate", "update", "reboot")
LONGEST = 1024
PATH = "command.json"
_GRAVE = ("rotate", "update", "reboot")  # what ends in a restart: begun at most once, whatever is sent again
_PAUSE_MS = 1000
_WAITING = 4
_KNOWN = 8


def _refused(fact, number=None):
    e = RootletError("COMMAND", fact)
    e.number = number  # type: ignore[attr-defined]  # whom to answer, where that could be read
    return e


def _name(v, longest):
    if not isinstance(v, str) or not 0 < len(v) <= longest:
        return False
    return all(ord(c) < 128 and (c.isalpha() or c.isdigit() or c in "-_.") for c in v)


def _period(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool) and 0.05 <= v <= 86400


def _address(v):
    if not isinstance(v, str) or not 8 < len(v) <= 512 or not v.startswith("https://"):
        return False
    return all(0x20 < ord(c) < 0x7F for c in v)


_ARGS = {
    "interval": (("sensor", lambda v: _name(v, 48)), ("every_s", _period)),
    "update": (("url", _address),),
    "rotate": (("slot", lambda v: v == "a" or v == "b"),),
}


def parse(message, allowed):
    """(id, name, args) of a command.

    Args: message: bytes as they came. allowed: names that the configuration lets through.
    Raises: RootletError COMMAND, which repeats nothing of the message but a command's name; its `number` is the id,
        or None where that cannot be read.
    """
    if len(message) > LONGEST:
        raise _refused("longer than %d bytes" % LONGEST)
    try:
        # What nests deeply takes many times its own size to read.
        data = json.loads(str(message, "utf-8")) if message.count(b"[") + message.count(b"{") < 9 else None
    except (ValueError, RuntimeError):
        data = None
    if not isinstance(data, dict):
        raise _refused("it is no JSON object")
    number = data.get("id")
    if not _name(number, 32):
        raise _refused("id must be 1 to 32 letters, digits, '-', '_' or '.'")
    name = data.get("command")
    if not isinstance(name, str) or name not in NAMES:
        raise _refused("no such command", number)
    if name not in allowed:
        raise _refused("%s is not in mqtt.commands" % name, number)
    rows = _ARGS.get(name, ())
    args = {}
    for key, check in rows:
        if key not in data or not check(data[key]):
            raise _refused("%s.%s is missing or wrong" % (name, key), number)
        args[key] = data[key]
    if len(data) != 2 + len(rows):
        raise _refused("%s has keys that do not belong to it" % name, number)
    return number, name, args


def answer(number, name, error=None, **facts):
    """The answer to a command as JSON text of at most 1 KB.

    Args: number: the command's id, or None. error: RootletError, or None: it went well. facts: what else to say;
        left out where they are too many.
    """
    said = {"id": number, "command": name, "ok": error is None}
    if error:
        said["error"] = {"code": error.code, "fact": error.fact[:120]}
    whole = dict(said)
    whole.update(facts)
    text = json.dumps(whole)
    return text if len(text.encode()) <= LONGEST else json.dumps(said)


def _load():
    """The ids on flash; whatever cannot be believed is left out."""
    try:
        with open(PATH) as f:
            said = json.loads(f.read(LONGEST))
        return [number for number in said if _name(number, 32)][-_KNOWN:]
    except (OSError, ValueError, TypeError, RuntimeError, MemoryError):
        return []


def _keep(ids):
    """A new file, then renamed over the old: a cut of power leaves one whole."""
    try:
        with open(PATH + ".new", "w") as f:
            json.dump(ids, f)
        os.rename(PATH + ".new", PATH)
    except OSError as e:
        # Not executed then: a command that is sent again would restart the board for ever.
        raise RootletError("COMMAND", "it cannot be kept on flash: %s" % e) from None


class Commands:
    """Takes commands in, and executes one a second at most.

    Args:
        topic: where they come, bytes. allowed: names the configuration lets through.
        execute: {name: function (id, args)}, which returns facts for the answer, a dict or None, or raises
            RootletError. What restarts the board is only noted there: the answer has to go out first.
    """

    def __init__(self, topic, allowed, execute):
        self._topic = topic
        self._allowed = allowed
        self._execute = execute
        self._waiting: list = []
        self._busy = None  # the id of one that found the queue full
        self._begun = _load()
        self._recent: list = []
        self._next = time.ticks_ms()
        self.dropped = 0

    def receive(self, topic, message, retained=False):
        """Take in a message, as MQTT's callback. Executes nothing. retained: then it is old, and let go."""
        if topic != self._topic or retained:
            return
        if len(self._waiting) < _WAITING:
            self._waiting.append(message[: LONGEST + 1])
            return
        self.dropped += 1
        if self._busy is None:
            try:
                self._busy = parse(message, self._allowed)[0]
            except RootletError:
                pass

    def step(self):
        """Execute what is due: one command a second at most. Returns the text of an answer to publish, or None."""
        if not self._waiting or time.ticks_diff(self._next, time.ticks_ms()) > 0:
            return None
        if self._busy is not None:
            busy, self._busy = self._busy, None
            return answer(busy, None, RootletError("COMMAND", "busy: too many commands at once"))
        self._next = time.ticks_add(time.ticks_ms(), _PAUSE_MS)
        number = name = None
        try:
            number, name, args = parse(self._waiting.pop(0), self._allowed)
            if number in self._recent or number in self._begun:
                return answer(number, name, RootletError("COMMAND", "this id came before"), repeated=True)
            self._recent = self._recent[1 - _KNOWN :] + [number]
            if name in _GRAVE:
                begun = self._begun[1 - _KNOWN :] + [number]
                _keep(begun)
                self._begun = begun
            facts = self._execute[name](number, args)
            return answer(number, name, **(facts or {}))
        except RootletError as e:
            return answer(number or getattr(e, "number", None), name, e)
