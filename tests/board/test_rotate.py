"""Rotation on a virtual board by the real mpremote, against a real broker with mutual TLS; killed wherever it can be."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from host_tools import ca, certs, deploy, rotate
from host_tools.broker import Broker
from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard

SCRIPT: dict[str, Any] = {"wifi": {"networks": {"lab": {"password": "lab-password", "join_ms": 20}}, "scan_ms": 20}}
STEPS = [name for name, _ in rotate.STEPS]


class Relay:
    """Passes connections on to the broker and keeps what clients send: TLS 1.2 shows a client's certificate."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.seen = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, keep: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if keep:
                    self.seen += data
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Lab:
    """A broker that devices must show a certificate to, and the flash of a board that has one."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.authority = ca.init(folder / "ca", subject="/CN=Rotation CA")
        self.server = self.authority.issue_server(["localhost"])
        self.device = self.authority.issue_device("dev-1")
        self.broker = stack.enter_context(
            Broker(self.server.cert_pem, self.server.key_pem, self.authority.cert_pem, workdir=folder)
        )
        sntp = stack.enter_context(SntpServer())
        self.relay = Relay(self.broker.port)
        stack.callback(self.relay.close)
        self.roots = certs.embed([self.authority.cert_pem], folder / "trust_roots.py")
        config = folder / "config.json"
        config.write_text(
            json.dumps(
                {
                    "device": "dev-1",
                    "wifi": {"networks": [{"ssid": "lab", "password": "lab-password"}], "timeout_s": 2},
                    "clock": {"servers": [f"127.0.0.1:{sntp.port}"], "timeout_s": 1},
                    "mqtt": {
                        "host": "localhost",
                        "port": self.relay.port,
                        "cert": "device.crt.der",
                        "key": "device.key.der",
                    },
                    "sensors": [{"kind": "simulated", "name": "sim", "every_s": 1}],
                }
            )
        )
        self.flash = deploy.stage(
            folder / "flash",
            config=config,
            trust=self.roots.compiled,
            cert=self.device.cert_der,
            key=self.device.key_der,
        )

    def board(self) -> VirtualBoard:
        return VirtualBoard(self.flash, script=SCRIPT)

    def request(self, **changes: Any) -> rotate.Request:
        return replace(rotate.Request("dev-1", self.authority.directory, wait_s=20), **changes)

    def rotate(self, board: VirtualBoard, **changes: Any) -> list[str]:
        lines: list[str] = []
        rotate.run(board.port, self.request(**changes), lambda: ca.load(self.authority.directory), lines.append)
        return lines

    def issued(self) -> bytes:
        """The device certificate that the CA's folder holds."""
        return self.device.cert_der.read_bytes()

    def on_board(self, name: str) -> bytes | None:
        """The identity file that the board uses, by what its flash says."""
        marker = self.flash / "slot"
        folder = self.flash / f"slot_{marker.read_text().strip()}" if marker.exists() else self.flash
        return (folder / name).read_bytes() if (folder / name).exists() else None


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        yield Lab(tmp_path, stack)


def connected(board: VirtualBoard) -> str:
    """Restart the board; how it says that it is connected."""
    at = board.position
    board.reset()
    return board.wait_for("mqtt: connected", 20, since=at)


def test_a_rotation_and_the_next(lab: Lab) -> None:
    with lab.board() as board:
        connected(board)
        first = lab.issued()
        assert first in lab.relay.seen
        del lab.relay.seen[:]
        at = board.position
        lines = lab.rotate(board, days=30)
        second = lab.issued()
        assert second != first
        assert second in lab.relay.seen and first not in lab.relay.seen
        assert lab.on_board("device.crt.der") == second
        board.wait_for("slots: using slot a", since=at)
        assert [line.split()[1] for line in lines if line[:2] in {f"{i}/" for i in range(1, 9)}] == STEPS
        assert any("nothing can be revoked" in line for line in lines)
        key = lab.device.key_der
        assert key.stat().st_mode & 0o777 == 0o600
        assert lab.on_board("device.key.der") == key.read_bytes()
        assert key.with_name(key.name + ".bak").exists()
        assert not (lab.authority.directory / "rotations" / "dev-1").exists()
        # Roots and pins alone: the identity is carried over, by the board itself.
        roots = certs.embed([lab.authority.cert_pem], lab.folder / "new" / "trust_roots.py", int(time.time()))
        lines = lab.rotate(board, identity=False, trust=roots.module, pins=())
        assert lab.on_board("device.crt.der") == second == lab.issued()
        assert lab.on_board("trust_roots.py") == roots.module.read_bytes()
        assert json.loads(lab.on_board("pins.json") or b"") == {"mqtt": None}
        assert (lab.flash / "slot").read_text() == "b\n"
        # And over the source of the roots goes their compiled form.
        lab.rotate(board, trust=roots.compiled)
        assert (lab.flash / "slot").read_text() == "a\n"
        assert lab.on_board("trust_roots.py") is None
        assert lab.on_board("trust_roots.mpy") == roots.compiled.read_bytes()
        assert lab.on_board("device.crt.der") == lab.issued() != second
