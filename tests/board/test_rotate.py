"""Rotation on a virtual board by the real mpremote, against a real broker with mutual TLS; killed in every step."""

import base64
import contextlib
import hashlib
import json
import multiprocessing
import os
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
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from host_tools import ca, certs, deploy, root_store, rotate
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
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.closed:
                    client.close()
                    continue
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


def slot_in_use(port: str) -> str:
    """Which slot of rotated files the board is told to use ("a", "b"); "": none."""
    code = "try:\n print('slot', open('slot').read())\nexcept OSError:\n pass"
    rows = [line.split() for line in deploy._mpremote(port, "exec", code).splitlines()]
    return next((row[1] for row in rows if len(row) == 2 and row[0] == "slot"), "")


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
        assert slot_in_use(board.port) == ""
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
        assert any("until it expires or is revoked" in line for line in lines)
        key = lab.device.key_der
        assert key.stat().st_mode & 0o777 == 0o600
        assert lab.on_board("device.key.der") == key.read_bytes()
        assert key.with_name(key.name + ".bak").exists()
        assert len(list((lab.authority.directory / "former" / "device-dev-1").iterdir())) == 1
        assert not (lab.authority.directory / "rotations" / "dev-1").exists()
        # Roots and pins alone: the identity is carried over, by the board itself.
        roots = certs.embed([lab.authority.cert_pem], lab.folder / "new" / "trust_roots.py", int(time.time()))
        pins = (pin(lab.server.cert), pin(lab.authority.cert))
        lab.rotate(board, identity=False, trust=roots.module, pins=pins)
        assert lab.on_board("device.crt.der") == second == lab.issued()
        assert lab.on_board("trust_roots.py") == roots.module.read_bytes()
        assert json.loads(lab.on_board("pins.json") or b"") == {"mqtt": list(pins)}
        assert (lab.flash / "slot").read_text() == "b\n"
        # And over the source of the roots goes their compiled form.
        lab.rotate(board, trust=roots.compiled)
        assert (lab.flash / "slot").read_text() == "a\n"
        assert lab.on_board("trust_roots.py") is None
        assert lab.on_board("trust_roots.mpy") == roots.compiled.read_bytes()
        assert lab.on_board("device.crt.der") == lab.issued() != second


def in_a_process(port: str, request: rotate.Request, lines: Any) -> None:
    """A rotation that leads a process group, so that it can be killed with the mpremote it has started."""
    os.setsid()
    rotate.run(port, request, lambda: ca.load(request.directory), lines.send)


def test_a_rotation_killed_in_every_step(lab: Lab) -> None:
    """kill -9; each time the board still connects, and the next rotation succeeds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    switched_in, finished = set(), 0
    with lab.board() as board:
        connected(board)
        for delay, steps in ((0.1, STEPS), (0, STEPS[-2:])):
            for step in steps:
                before = lab.on_board("device.crt.der")
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=in_a_process, args=(board.port, lab.request(), theirs))
                process.start()
                theirs.close()
                while ours.poll(20) and not ours.recv().endswith(f"/{len(STEPS)} {step}"):
                    pass
                time.sleep(delay)  # what is killed in the middle is found out by being there in the middle
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid or 0, signal.SIGKILL)
                process.join()
                ours.close()
                connected(board)
                switched = lab.on_board("device.crt.der") != before
                if switched:
                    switched_in.add(step)
                to_finish = switched and (lab.authority.directory / "rotations" / "dev-1" / "plan.json").exists()
                lines = lab.rotate(board)
                assert any("is finished first" in line for line in lines) == to_finish, (step, delay, lines)
                finished += to_finish
                assert lab.on_board("device.crt.der") == lab.issued() != before
                assert lab.on_board("device.key.der") == lab.device.key_der.read_bytes()
                assert not (lab.authority.directory / "rotations" / "dev-1").exists()
    assert {"restart", "keep"} <= switched_in <= {"switch", "restart", "keep"} and finished


def test_the_command(lab: Lab) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "firmware")])}
    with lab.board() as board:
        connected(board)

        def command(*extra: str) -> subprocess.CompletedProcess[str]:
            line = [sys.executable, "-m", "host_tools", "certs", "rotate", *extra, "--port", board.port]
            line += ["--dir", str(lab.authority.directory), "--wait", "20"]
            return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=60, check=False)

        done = command("dev-1")
        assert done.returncode == 0, done.stderr
        assert "done: the board uses the new files" in done.stdout
        assert slot_in_use(board.port) == "a"
        at = board.position
        done = command("dev-2")
        assert done.returncode == Exit.USAGE
        assert "it is 'dev-1', not 'dev-2'" in done.stderr
        board.wait_for("mqtt: connected", 20, since=at)
        done = command("dev-1", "--pins", "sha256//AAAA")
        assert done.returncode == Exit.USAGE
        assert "is no pin" in done.stderr


@pytest.mark.parametrize("step", ["copy", "trial", "switch"])
def test_a_board_that_loses_its_power_in_a_step(step: str, lab: Lab) -> None:
    store = lab.folder / "roots.bin"
    # A large one, so that copying takes a while.
    root_store.make(store, bundles=[], names=[], hosts=[], deny=[], max_bytes=10000, build_time=None)
    board = lab.board()
    with board:
        connected(board)
        stop = threading.Timer(0.15, board.stop)

        def say(line: str) -> None:
            if line.endswith(f" {step}"):
                stop.start()

        began = time.monotonic()
        with pytest.raises(Failure) as e:
            rotate.run(board.port, lab.request(roots=store), lambda: lab.authority, say)
        assert e.value.code != Exit.UNVERIFIED
        stop.join()
        assert time.monotonic() - began < 60  # it does not wait for a board that is gone
    with lab.board() as board:
        board.wait_for("mqtt: connected", 20)
        lab.rotate(board, roots=store)
    assert lab.on_board("device.crt.der") == lab.issued()
    assert lab.on_board("roots.bin") == store.read_bytes()


def test_a_full_flash(lab: Lab) -> None:
    with lab.board() as board:
        connected(board)
        board.update_script({**SCRIPT, "faults": {"flash_full": True}})
        at = board.position
        with pytest.raises(Failure) as e:
            lab.rotate(board)
        assert e.value.code == Exit.FAILED
        board.wait_for("mqtt: connected", 20, since=at)  # it is started again
        board.update_script(SCRIPT)
        lab.rotate(board)
        assert lab.on_board("device.crt.der") == lab.issued()


def pin(cert: x509.Certificate) -> str:
    key = cert.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256//" + base64.b64encode(hashlib.sha256(key).digest()).decode()


def other_ca(lab: Lab) -> dict[str, Any]:
    return {"directory": ca.init(lab.folder / "other", subject="/CN=Rotation CA").directory}


def expired(lab: Lab) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"not_before": now - timedelta(days=9), "not_after": now - timedelta(days=1)}


def wrong_roots(lab: Lab) -> dict[str, Any]:
    stranger = ca.init(lab.folder / "stranger", subject="/CN=Stranger")
    return {"trust": certs.embed([stranger.cert_pem], lab.folder / "bad" / "trust_roots.py").compiled}


def damaged_roots(lab: Lab) -> dict[str, Any]:
    bad = lab.folder / "damaged.mpy"
    bad.write_bytes(b"M\x00\x00\x00 no module")
    return {"trust": bad}


def wrong_pins(lab: Lab) -> dict[str, Any]:
    return {"identity": False, "pins": (pin(lab.device.cert),)}


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (wrong_pins, ("CERT_PIN",)),
        (other_ca, ("TLS_REFUSED", "TLS_CLOSED")),
        (expired, ("TLS_REFUSED", "TLS_CLOSED")),
        (wrong_roots, ("CERT_UNKNOWN_CA",)),
        (damaged_roots, ("TLS_NO_ROOTS",)),
    ],
)
def test_bad_files_fail_the_trial_and_nothing_changes(change: Any, codes: tuple[str, ...], lab: Lab) -> None:
    with lab.board() as board:
        connected(board)
        changes = change(lab)
        request = lab.request(**changes)
        before, issued = lab.on_board("device.crt.der"), sorted((lab.authority.directory / "issued").iterdir())
        at = board.position
        with pytest.raises(Failure) as e:
            rotate.run(board.port, request, lambda: ca.load(request.directory), lambda _: None)
        assert e.value.code == Exit.UNVERIFIED
        assert e.value.because.startswith(codes)
        assert len(str(e.value).splitlines()) == 3
        board.wait_for("mqtt: connected", 20, since=at)  # it is started again without being asked
        assert not (lab.flash / "slot").exists()
        assert not list((lab.flash / "slot_a").iterdir())
        assert lab.on_board("device.crt.der") == before
        assert sorted((lab.authority.directory / "issued").iterdir()) == issued
        assert not (request.directory / "rotations" / "dev-1").exists()


def test_a_board_that_does_not_connect_after_the_switch_goes_back(lab: Lab) -> None:
    with lab.board() as board:
        connected(board)
        lab.rotate(board)
        first = lab.issued()

        def say(line: str) -> None:
            lab.relay.closed = lab.relay.closed or line.endswith(" switch")

        with pytest.raises(Failure, match="uses the former files again") as e:
            rotate.run(board.port, lab.request(wait_s=1), lambda: lab.authority, say)
        assert e.value.code == Exit.UNVERIFIED
        lab.relay.closed = False
        at = board.position
        board.reset()
        board.wait_for("slots: using slot a", 20, since=at)
        board.wait_for("mqtt: connected", 20, since=at)
        assert lab.on_board("device.crt.der") == first == lab.issued()
