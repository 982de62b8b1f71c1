"""Remote update as in the field: a command over MQTT, the files over HTTPS, the answer and the status by the board."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tools.sim.board import VirtualBoard
from host_tools.watch import Watcher
from tests.board.test_remote_update import Updates, begin


class Field(Updates):
    """Updates, with a gateway that takes commands, and somebody who may send them."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        super().__init__(folder, stack)
        settings = json.loads((self.staged / "config.json").read_text())
        settings["mqtt"] |= {"commands": ["update", "status"], "retry_first_s": 0.3}
        settings["sensors"][0]["every_s"] = 0.2
        settings["outbox"] = {"hold_s": 0}
        (self.staged / "config.json").write_text(json.dumps(settings))
        me = self.authority.issue_device("operator")
        self.watcher = stack.enter_context(
            Watcher("localhost", self.broker.port, self.authority.cert_pem, me.cert_pem, me.key_pem)
        )
        self.seen: dict[tuple[int, int], int] = {}
        self.asked = 0

    def next(self, kind: str, timeout_s: float = 60) -> dict[str, Any]:
        """The next message of a kind; readings are counted, also the one that is returned."""
        end = time.monotonic() + timeout_s
        while True:
            topic, payload = self.watcher.next(max(0.01, end - time.monotonic()))
            said: dict[str, Any] = json.loads(payload)
            if "seq" in said:
                key = said["boot"], said["seq"]
                self.seen[key] = self.seen.get(key, 0) + 1
            if topic.endswith("/" + kind):
                return said

    def update(self, name: str) -> dict[str, Any]:
        """Ask for it; the first answer."""
        self.asked += 1
        data = {"id": f"u{self.asked}", "command": "update", "url": self.url(name)}
        self.watcher.publish("rootlet/dev-1/cmd", json.dumps(data).encode(), 10)
        return self.next("reply")

    def status(self, **wanted: Any) -> dict[str, Any]:
        """The next status that says so."""
        while True:
            said = self.next("status")
            if all(said.get(key) == value for key, value in wanted.items()):
                return said

    def nothing_missing(self) -> None:
        """Of each start that went on to another, the readings have come without a gap."""
        for boot in {boot for boot, _ in self.seen}:
            numbers = sorted(seq for b, seq in self.seen if b == boot)
            assert numbers == list(range(numbers[-1] + 1)), (boot, numbers)


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    with contextlib.ExitStack() as stack:
        yield Field(tmp_path, stack)


def started(field: Field, board: VirtualBoard) -> int:
    """A first version by cable; its number."""
    begin(field, board)
    version = field.status(status="online", trial=False)["tree_version"]
    assert isinstance(version, int)
    field.next("sim")
    return version


def test_a_new_version_by_command_and_no_reading_is_missing(field: Field) -> None:
    with field.board() as board:
        started(field, board)
        assert field.update(field.publish(field.same(), field.base))["ok"] is True
        assert field.status(status="offline")["why"] == "update"
        said = field.status(status="online", tree_version=field.base)
        assert said["reset"] == "update" and said["crashes"] == 0 and said["rolled_back"] is None
        if said["trial"]:
            field.status(tree_version=field.base, trial=False)
        for _ in range(5):
            field.next("sim")
    field.nothing_missing()


def test_a_version_that_crashes_is_taken_back_and_said(field: Field) -> None:
    with field.board() as board:
        former = started(field, board)
        bad = field.same()
        (bad / "rootlet" / "gateway.mpy").unlink()
        (bad / "rootlet" / "gateway.py").write_text("raise ValueError('a mistake')\n")
        name = field.publish(bad, field.base)
        assert field.update(name)["ok"] is True
        said = field.status(status="online", rolled_back=field.base)
        assert said["tree_version"] == former and said["trial"] is False
        # Asked for again, it is refused, and the board goes on.
        assert field.update(name)["ok"] is True
        refused = field.next("reply")
        assert refused["ok"] is False and refused["error"]["code"] == "UPDATE_REFUSED"
        assert "failed here before" in refused["error"]["fact"]
        field.next("sim")
    field.nothing_missing()


def test_what_is_not_signed_for_this_board_is_refused_and_said(field: Field) -> None:
    with field.board() as board:
        former = started(field, board)
        name = field.publish(field.same(), field.base)
        path = field.web / name
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(bytes(data))
        assert field.update(name)["ok"] is True
        refused = field.next("reply")
        assert refused["ok"] is False and refused["error"]["code"] == "UPDATE_SIGNATURE"
        said = field.status(status="online", reset="update")
        assert said["tree_version"] == former and said["crashes"] == 0
        field.next("sim")
    field.nothing_missing()
