"""Three virtual boards, a broker by mutual TLS, and an observer of it that knows nothing of the page."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from host_tools import ca, certs, deploy
from host_tools.broker import Broker
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.watch import Watcher

BOARDS = ("dev-1", "dev-2", "dev-3")
_WIFI = {"networks": {"lab": {"password": "lab-password", "join_ms": 20}}, "scan_ms": 20}


class Fleet:
    """All of it, running; `boards` by id. dev-3 comes to its broker by a detour, and one of its sensors fails."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.authority = ca.init(folder / "ca", subject="/O=Browser tests/CN=Browser tests CA")
        self.server = self.authority.issue_server(["localhost"], ["127.0.0.1"])
        self.observer = self.authority.issue_device("observer")
        self.broker = stack.enter_context(
            Broker(
                self.server.cert_pem, self.server.key_pem, self.authority.cert_pem,
                workdir=folder / "broker", observers=("observer", "watcher"),
            )
        )  # fmt: skip
        self._sntp = stack.enter_context(SntpServer())
        self._roots = certs.embed([self.authority.cert_pem], folder / "trust_roots.py")
        self.watcher = stack.enter_context(self.client("watcher"))
        self.boards = {name: self._board(name, stack) for name in BOARDS}
        for board in self.boards.values():
            board.wait_for("mqtt: connected", 60)

    def client(self, name: str, topic: str = "rootlet/#") -> Watcher:
        """An MQTT client with a certificate of its own."""
        issued = self.authority.issue_device(name, force=True)
        return Watcher(
            "localhost", self.broker.port, self.authority.cert_pem, issued.cert_pem, issued.key_pem, topic=topic
        )

    def _board(self, name: str, stack: contextlib.ExitStack) -> VirtualBoard:
        issued = self.authority.issue_device(name)
        sensors: list[dict[str, Any]] = [
            {"kind": "simulated", "name": "room", "every_s": 0.5},
            {"kind": "internal_temperature", "name": "chip", "every_s": 1},
        ]
        if name == "dev-3":
            sensors.append({"kind": "dht22", "name": "cellar", "pin": 15, "every_s": 1})
        here = {"host": "localhost", "port": self.broker.port}
        # dev-3's first broker is not there: it tells of the error it met.
        first = {"host": "localhost", "port": 1, "brokers": [here], "retry_first_s": 0.1} if name == "dev-3" else here
        settings = {
            "device": name,
            "wifi": {"networks": [{"ssid": "lab", "password": "lab-password"}]},
            "clock": {"servers": [f"127.0.0.1:{self._sntp.port}"]},
            "mqtt": {
                **first, "cert": "device.crt.der", "key": "device.key.der", "status_s": 10,
            },
            "sensors": sensors,
        }  # fmt: skip
        config = self.folder / f"{name}.json"
        config.write_text(json.dumps(settings))
        flash = self.folder / name
        deploy.stage(
            flash, board="pico_w", config=config, trust=self._roots.compiled,
            cert=issued.cert_der, key=issued.key_der,
        )  # fmt: skip
        script = {"wifi": _WIFI}  # nothing answers at the pin of the dht22
        return stack.enter_context(VirtualBoard(flash, script=script))

    def hear(self, topic: str, word: str, timeout_s: float = 30) -> float:
        """Wait until the observer hears a message on a topic that holds this word; returns when (Unix seconds)."""
        end = time.monotonic() + timeout_s
        while True:
            heard, payload = self.watcher.next(max(0.01, end - time.monotonic()))
            if heard == topic and word.encode() in payload:
                return time.time()

    def forget(self) -> None:
        """Throw away what the observer has heard so far."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.watcher.next(0.001)
