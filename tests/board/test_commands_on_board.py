"""Commands, telemetry and WiFi that is stuck, on the virtual board with a real broker."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tools import ca, certs, deploy, send
from host_tools.broker import Broker
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.watch import Place, Watcher

SCRIPT: dict[str, Any] = {"wifi": {"networks": {"lab": {"password": "lab-password", "join_ms": 20}}, "scan_ms": 20}}
NO_WIFI: dict[str, Any] = {"wifi": {"networks": {}, "scan_ms": 20}}


class Lab:
    """A broker with mutual TLS, an operator, and the flash of a board."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.authority = ca.init(folder / "ca", subject="/CN=Command CA")
        server = self.authority.issue_server(["localhost"])
        self.device = self.authority.issue_device("dev-1")
        operator = self.authority.issue_device("operator")
        self.broker = stack.enter_context(
            Broker(server.cert_pem, server.key_pem, self.authority.cert_pem, workdir=folder)
        )
        self.sntp = stack.enter_context(SntpServer())
        self.place = Place(
            "localhost",
            self.broker.port,
            self.authority.cert_pem,
            operator.cert_pem,
            operator.key_pem,
            topic=send.TOPIC,
        )
        self.watcher = stack.enter_context(
            Watcher("localhost", self.broker.port, self.authority.cert_pem, operator.cert_pem, operator.key_pem)
        )

    def flash(self, allowed: list[str], **wifi: int) -> Path:
        config = {
            "device": "dev-1",
            "wifi": {"networks": [{"ssid": "lab", "password": "lab-password"}], "timeout_s": 2, **wifi},
            "clock": {"servers": [f"127.0.0.1:{self.sntp.port}"], "timeout_s": 1},
            "mqtt": {
                "host": "localhost", "port": self.broker.port, "cert": "device.crt.der", "key": "device.key.der",
                "commands": allowed, "retry_first_s": 0.1, "retry_longest_s": 0.2,
            },
            "sensors": [{"kind": "simulated", "name": "sim", "every_s": 3600}],
        }  # fmt: skip
        path = self.folder / "config.json"
        path.write_text(json.dumps(config))
        roots = certs.embed([self.authority.cert_pem], self.folder / "trust_roots.py")
        return deploy.stage(
            self.folder / "flash", board="pico_w", config=path, trust=roots.compiled, cert=self.device.cert_der,
            key=self.device.key_der,
        )  # fmt: skip

    def status(self, timeout_s: float = 40) -> dict[str, Any]:
        """The next status of a device that is online."""
        end = time.monotonic() + timeout_s
        while True:
            topic, payload = self.watcher.next(max(0.01, end - time.monotonic()))
            if topic.endswith("/status") and json.loads(payload)["status"] == "online":
                assert len(payload) < 1024
                return dict(json.loads(payload))

    def send(self, command: str, *words: str) -> send.Answer:
        return send.send(self.place, "dev-1", command, words, 20)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        yield Lab(tmp_path, stack)


def test_commands_are_executed_and_a_reboot_once(lab: Lab) -> None:
    with VirtualBoard(lab.flash(["status", "interval", "reboot", "rotate"]), script=SCRIPT) as board:
        first = lab.status()
        assert first["boots"] == 1 and first["cert_days"] > 30 and first["largest_block"] > 20000
        assert first["broker"] == f"localhost:{lab.broker.port}" and first["handshake_ms"] > 0
        assert first["outbox"]["dropped"] == 0 and first["reconnects"] == {}
        board.wait_for("first reading published", 20)
        assert lab.send("status").ok
        assert lab.status()["outbox"]["depth"] == 0
        assert lab.send("interval", "sensor=sim", "every_s=0.2").ok
        for _ in range(3):  # the sensor that was asleep for an hour is read again
            while not lab.watcher.next(20)[0].endswith("/sim"):
                pass
        refused = lab.send("interval", "sensor=absent", "every_s=1")
        assert (refused.ok, refused.code) == (False, "COMMAND")
        assert lab.send("rotate", "slot=a").code == "SLOT"
        assert lab.send("update", "url=https://localhost/x").code == "COMMAND"
        _, payload = send.message("reboot", [])
        lab.watcher.publish("rootlet/dev-1/cmd", payload, 10)
        again = lab.status()
        assert (again["boots"], again["reset"], again["crashes"], again["last_error"]) == (2, "reboot", 0, None)
        lab.watcher.publish("rootlet/dev-1/cmd", payload, 10)
        assert lab.send("status").ok
        assert lab.status()["boots"] == 2


def test_wifi_that_is_stuck_restarts_the_board_and_says_so(lab: Lab) -> None:
    flash = lab.flash([], restart_after=2, reboot_after=3)
    with VirtualBoard(flash, script=NO_WIFI) as board:
        board.wait_for("next try in", 20)
        board.wait_for("rootlet starts", 40, since=board.position)
        board.update_script(SCRIPT)
        said = lab.status(60)
    assert said["reset"] == "wifi" and said["crashes"] == 0 and said["boots"] >= 2
    assert said["last_error"]["code"] == "WIFI_STUCK" and "'lab': no_ap" in said["last_error"]["fact"]
