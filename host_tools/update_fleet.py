"""Takes an update to the devices of a project: asks them over MQTT, stage by stage, and waits for what they say."""

import contextlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from host_tools import safe_write
from host_tools.failure import Exit, Failure
from host_tools.rollout import Action, Ask, Limits, Outcome, Rollout, State
from host_tools.watch import Watcher

Say = Callable[[str], None]
_TICK_S = 0.5
_QUIET_S = 1.0
_RETAINED_S = 15.0


@dataclass(frozen=True)
class Target:
    """A device. topic: with {sensor} in it. url: of the signed list for its kind of board. version: in that list."""

    device: str
    board: str
    topic: str
    url: str
    version: int

    def on(self, sensor: str) -> str:
        """Its topic `status`, `cmd` or `reply`."""
        return self.topic.replace("{device}", self.device).replace("{sensor}", sensor)


def check_url(url: str) -> None:
    """Refuse what a board cannot fetch. Raises Failure."""
    from rootlet import http1

    try:
        http1.split_url(url)
    except ValueError as e:
        fix = "give https://HOST[:PORT]/PATH"
        raise Failure("boards cannot fetch from there", f"{url[:100]}: {e}", fix, Exit.USAGE) from None


def filters(targets: Iterable[Target]) -> list[str]:
    """What to subscribe to: the status and the replies of all."""
    found: list[str] = []
    for template in {target.topic for target in targets}:
        for sensor in ("status", "reply"):
            levels = template.replace("{sensor}", sensor).split("/")
            one = "/".join("+" if "{device}" in level else level for level in levels)
            found.append(one)
    return sorted(set(found))


def command(target: Target, name: str, again: bool) -> str:
    """The message that asks a device. name: of the question; a device answers each once."""
    return json.dumps({"id": name, "command": "update", "url": target.url + ("#again" if again else "")})


class Progress:
    """A file with what became of each device, for --resume."""

    def __init__(self, path: Path, lists: dict[str, str], versions: dict[str, int]) -> None:
        self.path, self.lists, self.versions = path, lists, versions
        self._written = ""

    def write(self, rollout: Rollout) -> None:
        """Keep it, where it has changed."""
        states = {name: list(row) for name, row in rollout.states().items()}
        text = json.dumps({"lists": self.lists, "versions": self.versions, "devices": states}, indent=1)
        if text != self._written:
            safe_write.write_all([safe_write.File(self.path, text.encode())], force=True, keep_backup=False)
            self._written = text


def resumed(path: Path, boards: Iterable[str]) -> tuple[dict[str, str], dict[str, int], list[str]]:
    """(list of each board, version of each board, devices that are done) of an earlier run. Raises Failure."""
    try:
        data = json.loads(path.read_text())
        lists = {str(board): str(name) for board, name in data["lists"].items()}
        versions = {str(board): int(number) for board, number in data["versions"].items()}
        done = [str(name) for name, (state, _) in data["devices"].items() if state == State.CONFIRMED]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        raise Failure("there is nothing to resume", f"{path}: {type(e).__name__}", "the command without --resume",
                      Exit.USAGE) from None  # fmt: skip
    if set(boards) - set(lists):
        raise Failure("the last update was not for all these boards", f"it was for {', '.join(sorted(lists))}",
                      "the command without --resume", Exit.USAGE)  # fmt: skip
    return lists, versions, done


def newest(folder: Path) -> Path:
    """The progress file that was written last. Raises Failure."""
    found = sorted(folder.glob("rollout-*.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise Failure("there is nothing to resume", f"no rollout-*.json in {folder}", "the command without --resume",
                      Exit.USAGE)  # fmt: skip
    return found[-1]


def plan(rollout: Rollout, targets: list[Target], limits: Limits) -> list[str]:
    """What is going to happen, a line each."""
    boards = Counter((target.board, target.version, target.url) for target in targets)
    lines = [f"{count} x {board}: version {version}, {url}" for (board, version, url), count in sorted(boards.items())]
    for number, size, allowed in rollout.plan():
        lines.append(f"stage {number}: {size} device{'s'[: size > 1]}, stops after more than {allowed} failures")
    done = sum(state is State.CONFIRMED for state, _ in rollout.states().values())
    if done:
        lines.append(f"{done} done already")
    lines.append(f"each has {limits.timeout_s:g} s and {limits.tries} tries; {limits.at_once} at the same time")
    return lines


def table(rollout: Rollout) -> list[str]:
    """How it ended: a line for each state, then one for each device that did not make it."""
    states = rollout.states()
    count = Counter(state for state, _ in states.values())
    lines = [f"{state:<10} {count[state]}" for state in State if count[state]]
    return lines + [f"  {name}: {state}: {why}" for name, (state, why) in states.items() if why and state in
                    (State.FAILED, State.ABSENT)]  # fmt: skip


def run(
    rollout: Rollout, targets: list[Target], watcher: Watcher, progress: Progress, limits: Limits, say: Say
) -> None:
    """Take it through. Args: watcher: entered, subscribed to filters(targets). Raises Failure where it was stopped."""
    mark = secrets.token_hex(8)
    by_name = {target.device: target for target in targets}
    meaning = {target.on(kind): (target.device, kind) for target in targets for kind in ("status", "reply")}

    def heard(timeout_s: float) -> tuple[bool, list[Action]]:
        try:
            topic, payload = watcher.next(timeout_s)
        except TimeoutError:
            return False, []
        name, kind = meaning.get(topic, ("", ""))
        try:
            said = json.loads(payload)
        except (ValueError, RecursionError):
            said = None
        now = time.monotonic()
        return True, rollout.reply(name, said, now) if kind == "reply" else rollout.status(name, said, now)

    def do(actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Ask):
                target = by_name[action.device]
                watcher.publish(target.on("cmd"), command(target, f"{mark}-{action.number}", limits.again).encode())
            else:
                say(action.text)

    end = time.monotonic() + _RETAINED_S
    while time.monotonic() < end:  # what the broker has kept of each device
        more, actions = heard(_QUIET_S)
        do(actions)
        if not more:
            break
    do(rollout.start(time.monotonic()))
    ticked = time.monotonic()
    try:
        while rollout.outcome is Outcome.GOING:
            do(heard(_TICK_S)[1])
            if time.monotonic() - ticked >= _TICK_S:
                ticked = time.monotonic()
                do(rollout.tick(ticked))
                progress.write(rollout)
    finally:
        with contextlib.suppress(Failure):
            progress.write(rollout)
    for line in table(rollout):
        say(line)
    if rollout.outcome is Outcome.STOPPED:
        fix = "rootlet publish-update --resume, when the cause is gone; after a deployment by cable without --resume"
        raise Failure("the update was stopped", rollout.why, fix)
