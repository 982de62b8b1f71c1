"""Commands to the gateway on a virtual board, over a real broker: what they do, and that none is done twice."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tools.broker import Broker
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.watch import Watcher
from tests.integration.conftest import Pki
from tests.integration.test_gateway import SCRIPT, running_broker, settings, staged


class Scene:
    def __init__(self, board: VirtualBoard, watcher: Watcher, flash: Path) -> None:
        self.board, self.watcher, self.flash = board, watcher, flash

    def send(self, number: str, command: str, **more: Any) -> None:
        text = json.dumps({"id": number, "command": command, **more})
        self.watcher.publish("rootlet/dev-1/cmd", text.encode(), 10)

    def on(self, kind: str, timeout_s: float = 30) -> dict[str, Any]:
        """The next message on a topic of the device."""
        end = time.monotonic() + timeout_s
        while True:
            topic, payload = self.watcher.next(max(0.01, end - time.monotonic()))
            if topic == f"rootlet/dev-1/{kind}":
                said: dict[str, Any] = json.loads(payload)
                return said


@contextlib.contextmanager
def running(
    pki: Pki,
    folder: Path,
    script: dict[str, Any] = SCRIPT,
    outbox: dict[str, Any] | None = None,
    every_s: float = 0.1,
    **mqtt: Any,
) -> Iterator[tuple[Scene, Broker]]:
    me = pki.clients["operator"]
    with running_broker(pki, folder) as broker, SntpServer() as sntp:
        config = settings(broker.port, sntp.port)
        config["mqtt"].update(retry_first_s=0.3, **mqtt)
        config["outbox"] = outbox or {"hold_s": 0}
        config["sensors"][0]["every_s"] = every_s
        flash = staged(pki, folder, config)
        with (
            Watcher("localhost", broker.port, pki.authority.cert_pem, me.cert_pem, me.key_pem) as watcher,
            VirtualBoard(flash, script=script) as board,
        ):
            scene = Scene(board, watcher, flash)
            assert scene.on("status")["status"] == "online"
            scene.on("sim")
            yield scene, broker


ALL = ["status", "interval", "rotate", "update", "reboot"]


def test_status_and_interval(pki: Pki, tmp_path: Path) -> None:
    with running(pki, tmp_path, commands=ALL) as (scene, _):
        scene.send("q1", "status")
        assert scene.on("reply") == {"id": "q1", "command": "status", "ok": True}
        status = scene.on("status")
        assert status["status"] == "online" and status["outbox"]["errors"] == 0 and status["cert_days"] > 300
        scene.send("q2", "interval", sensor="sim", every_s=3600)
        assert scene.on("reply")["ok"] is True
        with contextlib.suppress(TimeoutError):
            for _ in range(20):  # what was on its way
                scene.on("sim", 1.0)
            pytest.fail("the sensor is read as before")
        scene.send("q3", "interval", sensor="nobody", every_s=1)
        assert scene.on("reply")["error"]["code"] == "COMMAND"


def test_a_reboot_happens_once_however_often_it_is_sent(pki: Pki, tmp_path: Path) -> None:
    with running(pki, tmp_path, commands=ALL) as (scene, _):
        before = scene.on("sim")
        scene.send("again", "reboot")
        assert scene.on("reply") == {"id": "again", "command": "reboot", "ok": True}
        gone = scene.on("status")
        assert gone == {"status": "offline", "why": "reboot"}
        back = scene.on("status")
        assert back["reset"] == "reboot" and back["boots"] == before["boot"] + 1 and back["crashes"] == 0
        scene.send("again", "reboot")
        said = scene.on("reply")
        assert said["ok"] is False and said["repeated"] is True
        scene.send("other", "status")
        assert scene.on("reply")["ok"] is True
        assert scene.on("status")["boots"] == back["boots"]


def test_what_is_not_allowed_is_refused_and_said(pki: Pki, tmp_path: Path) -> None:
    with running(pki, tmp_path, commands=["status"]) as (scene, _):
        scene.send("x", "reboot")
        said = scene.on("reply")
        assert said["ok"] is False and said["error"]["fact"] == "reboot is not in mqtt.commands"
        scene.watcher.publish("rootlet/dev-1/cmd", b"\xff{", 10)
        assert scene.on("reply")["error"]["code"] == "COMMAND"


def test_without_commands_nothing_is_subscribed(pki: Pki, tmp_path: Path) -> None:
    with running(pki, tmp_path) as (scene, _):
        scene.send("x", "status")
        with contextlib.suppress(TimeoutError):
            pytest.fail(f"it answered {scene.on('reply', 2)}")


def test_a_slot_that_was_never_connected_with_is_not_switched_to(pki: Pki, tmp_path: Path) -> None:
    with running(pki, tmp_path, commands=["rotate"]) as (scene, _):
        scene.send("r", "rotate", slot="a")
        assert scene.on("reply")["error"]["code"] == "SLOT"


def test_an_update_without_a_key_is_refused(pki: Pki, tmp_path: Path) -> None:
    with running(pki, tmp_path, commands=["update"]) as (scene, _):
        scene.send("u", "update", url="https://localhost:1/x")
        assert scene.on("reply")["error"]["code"] == "UPDATE_OFF"


def test_a_command_kept_by_the_broker_is_not_executed(pki: Pki, tmp_path: Path) -> None:
    with running(pki, tmp_path, commands=ALL) as (scene, broker):
        scene.watcher._client.publish(
            "rootlet/dev-1/cmd", json.dumps({"id": "old", "command": "reboot"}).encode(), 1, True
        ).wait_for_publish(10)
        assert scene.on("reply")["ok"] is True  # not kept when it came to a subscription that was there
        back = scene.on("status")
        while back["status"] != "online":
            back = scene.on("status")
        scene.send("new", "status")
        said = scene.on("reply")
        assert said["id"] == "new" and scene.on("status")["boots"] == back["boots"]


def test_a_huge_message_kept_on_the_command_topic_costs_commands_only(pki: Pki, tmp_path: Path) -> None:
    with running(pki, tmp_path, commands=ALL) as (scene, _):
        scene.watcher._client.publish("rootlet/dev-1/cmd", b"x" * 40000, 1, True).wait_for_publish(10)
        scene.board.wait_for("MQTT_TOO_LARGE", 20)
        scene.board.wait_for("no commands until the next connection", 20)
        last = scene.on("sim")["seq"]
        for _ in range(60):
            seq = scene.on("sim")["seq"]
        assert seq >= last + 30


def test_a_long_outage_leaves_memory_for_the_next_connection(pki: Pki, tmp_path: Path) -> None:
    """With all that commands need loaded, and hundreds of readings waiting."""
    mqtt = {"commands": ALL, "retry_longest_s": 1, "queue": 200}
    with running(pki, tmp_path, outbox={"hold_s": 1}, every_s=0.05, **mqtt) as (scene, broker):
        at = scene.board.position
        broker.kill()
        # Some ten seconds, and 200 readings.
        for _ in range(25):
            scene.board.wait_for("TCP_REFUSED", 20, since=at)
            at = scene.board.position
        broker.restart()
        scene.board.wait_for("mqtt: connected", 30, since=at)
        said = scene.board.output
        assert "MEMORY" not in said and "SAFE MODE" not in said and "ended by" not in said
