"""An update over a fleet, stage by stage: what is heard goes in, what is to be done comes out; no I/O, no clock."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

STAGES = (1.0, 10.0, 100.0)
AGAIN = ("NET_", "HTTP_", "TCP", "DNS", "TLS_TIMEOUT", "TLS_CLOSED", "TLS_MEMORY", "WIFI", "MEMORY", "UPDATE_FILE")
"""Codes that may pass: the device is asked again."""

_QUIET_S = 10.0  # between two questions to a device that is back with its former version


class State(StrEnum):
    """Of a device."""

    WAITING = "waiting"
    ASKED = "asked"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    ABSENT = "absent"


class Outcome(StrEnum):
    """Of a rollout."""

    GOING = "going"
    DONE = "done"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Ask:
    """Send a device the command. number: how often it has been asked, from 1."""

    device: str
    number: int


@dataclass(frozen=True)
class Told:
    """Something for a person to read."""

    text: str


Action = Ask | Told


@dataclass(frozen=True)
class Limits:
    """How careful a rollout is.

    Args:
        stages: percent of the fleet, rising, the last 100. max_failures: in each stage; None: none in the first one,
            then 2 % of a stage. timeout_s: for a device, from the first question until its new version has worked.
        tries: questions to a device. at_once: devices that are asked at the same time. again: also devices that have
            gone back from this very version.
    """

    stages: Sequence[float] = STAGES
    max_failures: int | None = None
    timeout_s: float = 900
    tries: int = 3
    at_once: int = 50
    again: bool = False


def sizes(count: int, stages: Sequence[float] = STAGES) -> list[int]:
    """How many devices have been asked after each stage; at least one in the first, and one more in each."""
    found: list[int] = []
    for percent in stages:
        size = min(count, max(1, math.ceil(round(count * percent / 100, 9))))
        if not found or size > found[-1]:
            found.append(size)
    if count and found[-1] < count:
        found.append(count)
    return found if count else []


@dataclass
class _Device:
    state: State = State.WAITING
    why: str = ""
    asked: int = 0
    first: float = 0.0
    last: float = 0.0
    online: bool = False
    heard: bool = False  # it was there when it was asked, or since
    missed: bool = False  # it was not there when it was asked last


class Rollout:
    """Give it what devices say and the time; do what it returns, in that order.

    Args:
        devices: ids, those that go first first. versions: the version that each is to run. confirmed: devices that
            have it already (from an earlier run).
    Attributes: outcome; why: of a stop.
    """

    def __init__(
        self, devices: Iterable[str], versions: dict[str, int], limits: Limits, confirmed: Iterable[str] = ()
    ) -> None:
        self.limits = limits
        self.outcome = Outcome.GOING
        self.why = ""
        self._versions = versions
        self._devices = {name: _Device() for name in devices}
        self._ends = sizes(len(self._devices), limits.stages)
        self._stage = -1
        self._queue: deque[str] = deque()
        self._members: list[str] = []
        for name in confirmed:
            if name in self._devices:
                self._devices[name].state = State.CONFIRMED

    def states(self) -> dict[str, tuple[State, str]]:
        """{device: (state, why)}, in the order of the rollout."""
        return {name: (device.state, device.why) for name, device in self._devices.items()}

    def plan(self) -> list[tuple[int, int, int]]:
        """(number of the stage, devices in it, failures that are let pass) of each stage."""
        rows, before = [], 0
        for i, end in enumerate(self._ends):
            rows.append((i + 1, end - before, self._allowed(i)))
            before = end
        return rows

    def start(self, now: float) -> list[Action]:
        """Begin, after the retained status of every device has been given to status(). now: seconds, of any clock."""
        return self._next_stage(now)

    def status(self, name: str, said: Any, now: float) -> list[Action]:
        """A device's status message: {"status", "tree_version", "trial", "rolled_back"}; other JSON is let go."""
        device = self._devices.get(name)
        if device is None or not isinstance(said, dict) or self.outcome is not Outcome.GOING:
            return []
        device.online = said.get("status") == "online"
        if not device.online:
            return []
        device.heard = True
        if device.state in (State.CONFIRMED, State.FAILED):
            return []
        if said.get("tree_version", said.get("version")) == self._versions[name]:
            if said.get("trial") is not False:
                return []  # it runs, and has not worked yet
            device.state = State.CONFIRMED
            return self._settle(now)
        return self._former(name, device, said, now)

    def _former(self, name: str, device: _Device, said: dict[str, Any], now: float) -> list[Action]:
        """It runs another version than it should."""
        soon = device.asked == 1 and now - device.last < _QUIET_S
        if said.get("rolled_back") == self._versions[name] and (device.asked or not self.limits.again):
            if self.limits.again and soon:
                return []  # still what it said before it was asked
            return self._failed(name, "it went back from this version", now)
        if device.state is State.ASKED and (device.missed or now - device.last >= _QUIET_S):
            return self._ask_again(name, "it came back with its former version", now)
        return []

    def reply(self, name: str, said: Any, now: float) -> list[Action]:
        """A device's answer to the command: {"command": "update", "ok": …, "error": {"code", "fact"}}."""
        device = self._devices.get(name)
        if device is None or not isinstance(said, dict) or self.outcome is not Outcome.GOING:
            return []
        if said.get("command") not in ("update", None) or said.get("repeated"):
            return []  # a question that came twice is answered twice
        device.heard = True
        if device.state is not State.ASKED or said.get("ok") is not False:
            return []
        error = said.get("error")
        code, fact = (error.get("code"), error.get("fact")) if isinstance(error, dict) else (error, "")
        why = ": ".join(str(part)[:120] for part in (code or "it said no", fact) if part)
        if why.startswith((*AGAIN, "COMMAND: busy")):
            return self._ask_again(name, why, now)
        return self._failed(name, why, now)

    def tick(self, now: float) -> list[Action]:
        """Time has passed. To be called about once a second."""
        actions: list[Action] = []
        for name in self._members:
            device = self._devices[name]
            if device.state is State.ASKED and now - device.first >= self.limits.timeout_s:
                if device.heard:
                    actions += self._failed(name, device.why or "it did not report the new version in time", now)
                else:
                    device.state, device.why = State.ABSENT, "it was not heard"
                    actions += [Told(f"{name}: absent: {device.why}"), *self._settle(now)]
            if self.outcome is not Outcome.GOING:
                break
        return actions

    def _allowed(self, stage: int) -> int:
        if self.limits.max_failures is not None:
            return self.limits.max_failures
        before = self._ends[stage - 1] if stage else 0
        return (self._ends[stage] - before) * 2 // 100 if stage else 0

    def _next_stage(self, now: float) -> list[Action]:
        self._stage += 1
        if self._stage >= len(self._ends):
            self.outcome = Outcome.DONE
            return []
        begin = self._ends[self._stage - 1] if self._stage else 0
        self._members = list(self._devices)[begin : self._ends[self._stage]]
        self._queue = deque(name for name in self._members if self._devices[name].state is State.WAITING)
        waiting = len(self._queue)
        told = Told(
            f"stage {self._stage + 1} of {len(self._ends)}: {waiting} of {len(self._members)} devices to update"
        )
        return [told, *self._settle(now)]

    def _settle(self, now: float) -> list[Action]:
        """After any change: stop, go on within the stage, or begin the next."""
        if self.outcome is not Outcome.GOING or self._stage < 0:
            return []
        count = Counter(self._devices[name].state for name in self._members)
        if count[State.FAILED] > self._allowed(self._stage):
            return self._stop(f"{count[State.FAILED]} failed in stage {self._stage + 1}")
        actions: list[Action] = []
        while self._queue and count[State.ASKED] < self.limits.at_once:
            name = self._queue.popleft()
            if self._devices[name].state is State.WAITING:
                count[State.ASKED] += 1
                actions.append(self._ask(name, now))
        if actions or count[State.ASKED]:
            return actions
        if not count[State.CONFIRMED] and self._stage + 1 < len(self._ends):
            return self._stop(f"no device of stage {self._stage + 1} runs the new version")
        return self._next_stage(now)

    def _stop(self, why: str) -> list[Action]:
        self.outcome, self.why = Outcome.STOPPED, why
        return [Told(f"stopped: {why}")]

    def _ask(self, name: str, now: float) -> Ask:
        device = self._devices[name]
        if not device.asked:
            device.first, device.heard = now, device.online
        device.missed = not device.online
        device.state, device.last = State.ASKED, now
        device.asked += 1
        return Ask(name, device.asked)

    def _ask_again(self, name: str, why: str, now: float) -> list[Action]:
        device = self._devices[name]
        device.why = why
        if device.asked >= self.limits.tries:
            return self._failed(name, why, now)
        return [Told(f"{name}: {why}; asked again"), self._ask(name, now)]

    def _failed(self, name: str, why: str, now: float) -> list[Action]:
        device = self._devices[name]
        device.state, device.why = State.FAILED, why
        return [Told(f"{name}: failed: {why}"), *self._settle(now)]
