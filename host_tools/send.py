"""Sends a command to a device over MQTT and waits for its answer."""

import json
import math
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from host_tools.failure import Exit, Failure
from host_tools.readings import LONGEST_PAYLOAD, short
from host_tools.watch import Place, Watcher
from rootlet import commands
from rootlet.errors import RootletError

TOPIC = "rootlet/{device}/{sensor}"
_LONGEST_FACT = 160


def message(command: str, words: Iterable[str]) -> tuple[str, bytes]:
    """(id, payload) of a command, checked as the device checks it.

    Args: words: KEY=VALUE each. Raises: Failure (usage).
    """
    data: dict[str, Any] = {"id": uuid.uuid4().hex, "command": command}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key in data:
            raise Failure(f"{word[:40]!r} is no argument", "arguments are KEY=VALUE, each key once", _example(command),
                          Exit.USAGE)  # fmt: skip
        data[key] = _number(value) if key == "every_s" else value
    payload = json.dumps(data, allow_nan=False).encode()
    try:
        commands.parse(payload, commands.NAMES)
    except RootletError as e:
        raise Failure(f"{command[:40]!r} cannot be sent like that", e.fact, _example(command), Exit.USAGE) from None
    return str(data["id"]), payload


def _number(text: str) -> float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


_ARGUMENTS = {"interval": " sensor=chip every_s=5", "update": " url=https://…", "rotate": " slot=b"}


def _example(command: str) -> str:
    known = command if command in commands.NAMES else "status"
    others = "" if command in commands.NAMES else f"; there are {', '.join(commands.NAMES)}"
    return f"rootlet send DEVICE {known}{_ARGUMENTS.get(known, '')}{others}"


_STATUS_S = 2


@dataclass(frozen=True)
class Answer:
    """What the device said: `ok`, the error's code and fact where it did not, and the whole object."""

    ok: bool
    code: str
    fact: str
    data: dict[str, Any]

    def lines(self) -> list[str]:
        """The facts as harmless text, one a line, 32 at most."""
        facts = {key: value for key, value in self.data.items() if key not in ("id", "command", "ok", "error")}
        if isinstance(facts.get("status"), dict):
            facts |= facts.pop("status")
        return [f"{short(key, 24)}: {short(value, _LONGEST_FACT)}" for key, value in [*facts.items()][:32]]


def understand(payload: bytes, wanted: str) -> Answer | None:
    """An answer to the command with this id, or None for anything else. The payload may be anything at all."""
    try:
        data = json.loads(payload[:LONGEST_PAYLOAD].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("id") != wanted or not isinstance(data.get("ok"), bool):
        return None
    error = data.get("error")
    said = error if isinstance(error, dict) else {}
    return Answer(data["ok"], short(said.get("code", ""), 40), short(said.get("fact", ""), _LONGEST_FACT), data)


def send(place: Place, device: str, command: str, words: Iterable[str], timeout_s: float) -> Answer:
    """Publish a command and wait for its answer.

    Args: place: the broker, and who we are; place.topic: the pattern of the device's topics, with {device} and
        {sensor}. words: arguments, KEY=VALUE each. timeout_s: for the answer.
    Raises: Failure: usage for what is no command, failed where no answer comes.
    """
    from host_tools.project_check import is_name

    if not is_name(device):
        raise Failure(f"{device[:48]!r} is no device", "it is no device id", "rootlet send DEVICE status", Exit.USAGE)
    number, payload = message(command, words)

    def topic(sensor: str) -> str:
        return place.topic.replace("{device}", device).replace("{sensor}", sensor)

    status = ""
    done: Answer | None = None
    with Watcher(
        place.host, place.port, place.ca, place.cert, place.key, user=place.user, password=place.password,
        topic=[topic("reply"), topic("status")], longest=LONGEST_PAYLOAD,
    ) as watcher:  # fmt: skip
        end = time.monotonic() + timeout_s
        try:
            watcher.publish(topic("cmd"), payload, timeout_s)
            while True:
                heard, said = watcher.next(max(0.001, end - time.monotonic()))
                answer = understand(said, number) if heard == topic("reply") else None
                if answer and (command != "status" or not answer.ok):
                    return answer
                if answer:
                    done = answer
                    end = min(end, time.monotonic() + _STATUS_S)
                if heard == topic("status"):
                    status = _word(said)
                    if done:  # the one that was asked for comes after the answer
                        return Answer(True, "", "", {**done.data, "status": json.loads(said)})
                if time.monotonic() > end:
                    raise TimeoutError
        except TimeoutError:
            if done:
                return done  # it has published none, or not to us
            raise _silence(device, command, status, timeout_s) from None


def _word(payload: bytes) -> str:
    from host_tools.readings import understand as read

    return read("rootlet/device/status", payload).status


def _silence(device: str, command: str, status: str, timeout_s: float) -> Failure:
    said = f"its last status is {status!r}" if status else "it has no status at this broker"
    because = f"nothing in {timeout_s:g} s; {said}"
    if status == "online":
        fix = f'"commands": ["{command}"] in the device\'s mqtt section; the broker must know us as an operator'
    else:
        fix = f"look whether it is there: rootlet watch; its id is {device!r}?"
    return Failure(f"{device} has not answered", because, fix, Exit.FAILED)
