"""The smallest heaps in which a gateway publishes: an embedded root, mutual TLS, one sensor, on virtual boards.

These are exact figures of the 64-bit interpreter, whose objects are about twice as large as on a chip, and promises:
more than these the firmware must not need. On a Pico W the memory of TLS lies in that heap, too, and is asked for.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from host_tools import ca, certs, deploy
from host_tools.broker import Broker
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.watch import Watcher

READINGS = 40
# Board, frozen, bytes of its heap.
PROMISED = [
    ("esp32_generic", True, 80 * 1024),
    ("esp32_generic", False, 164 * 1024),
    ("pico_w", True, 118 * 1024),
    ("pico_w", False, 192 * 1024),
]


@dataclass
class Lab:
    """A broker, its observer, and the device's files."""

    folder: Path
    authority: ca.Authority
    device: ca.Issued
    broker: Broker
    sntp: SntpServer

    def publishes(self, board: str, frozen: bool, heap: int, wait_s: float = 20) -> None:
        """Run it until READINGS have come, in order and without a word of memory. Raises AssertionError."""
        config = {
            "device": "dev-1",
            "wifi": {"networks": [{"ssid": "lab", "password": "lab-password"}], "timeout_s": 2},
            "clock": {"servers": [f"127.0.0.1:{self.sntp.port}"], "timeout_s": 1},
            "mqtt": {
                "host": "localhost", "port": self.broker.port, "cert": "device.crt.der", "key": "device.key.der",
                "retry_first_s": 0.2,
            },
            "sensors": [{"kind": "simulated", "name": "sim", "every_s": 0.05}],
        }  # fmt: skip
        name = f"{board}-{frozen}-{heap}"
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(config))
        roots = certs.embed([self.authority.cert_pem], self.folder / name / "trust_roots.py")
        flash = deploy.stage(
            self.folder / name / "flash", board=board, config=path, trust=roots.compiled, cert=self.device.cert_der,
            key=self.device.key_der, frozen=frozen,
        )  # fmt: skip
        script = {"wifi": {"networks": {"lab": {"password": "lab-password", "join_ms": 20}}, "scan_ms": 20}}
        me = self.authority.issue_device("observer", force=True)
        with (
            Watcher("localhost", self.broker.port, self.authority.cert_pem, me.cert_pem, me.key_pem) as watcher,
            VirtualBoard(flash, board=board, script=script, heap_bytes=heap, frozen=frozen) as running,
        ):
            seen: list[int] = []
            end = time.monotonic() + wait_s
            try:
                while len(seen) < READINGS:
                    topic, payload = watcher.next(max(0.01, end - time.monotonic()))
                    if topic.endswith("/sim"):
                        seen.append(json.loads(payload)["seq"])
            except Exception as e:
                raise AssertionError(f"{name}: {e!r}; the console said: {running.output[-600:]}") from e
            assert seen == list(range(READINGS))
            assert "MEMORY" not in running.output, running.output[-600:]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("heap")
    authority = ca.init(folder / "ca", subject="/CN=Heap CA")
    server = authority.issue_server(["localhost"])
    with (
        SntpServer() as sntp,
        Broker(server.cert_pem, server.key_pem, authority.cert_pem, workdir=folder) as broker,
    ):
        yield Lab(folder, authority, authority.issue_device("dev-1"), broker, sntp)


@pytest.mark.parametrize(("board", "frozen", "heap"), PROMISED)
def test_a_gateway_publishes_in_the_promised_heap(lab: Lab, board: str, frozen: bool, heap: int) -> None:
    lab.publishes(board, frozen, heap)
