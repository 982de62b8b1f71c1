"""A fleet before the page: every device is on it, how late, what it costs, and what a killed page had stored.

ROOTLET_DASHBOARD_DEVICES devices (50) publish one reading a second for ROOTLET_DASHBOARD_SECONDS (5).
"""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import psutil
import pytest

from host_tools import fleet_certs, limits
from host_tools.broker import Broker
from tests.integration.conftest import Pki, pki  # noqa: F401
from tests.integration.test_dashboard_command import opened, options
from tests.integration.viewing import Browser
from tests.running import Command

DEVICES = int(os.environ.get("ROOTLET_DASHBOARD_DEVICES", "50"))
SECONDS = float(os.environ.get("ROOTLET_DASHBOARD_SECONDS", "5" if DEVICES <= 100 else "60"))
_AT_ONCE = 20  # handshakes


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def _packet(first: int, body: bytes) -> bytes:
    size, left = bytearray(), len(body)
    while True:
        left, low = divmod(left, 128)
        size.append(low | (128 if left else 0))
        if not left:
            return bytes([first]) + bytes(size) + body


class Fleet:
    """Devices with a certificate each, as cheap as they can be: MQTT 3.1.1 written by hand, QoS 1 with its answers.

    acknowledged: (device, seq) to the time of its PUBACK. published: those that were sent.
    """

    def __init__(self, made: Pki, port: int, folder: Path) -> None:
        self._pki, self._port = made, port
        self.names = fleet_certs.names(DEVICES, "dev")
        self._files = fleet_certs.issue(made.authority, self.names, folder)
        self.acknowledged: dict[tuple[str, int], float] = {}
        self.published: set[tuple[str, int]] = set()
        self.connected = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._over = threading.Event()

    def __enter__(self) -> "Fleet":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _context(self, name: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._pki.authority.cert_pem))
        context.load_cert_chain(self._files[name])
        return context

    async def _run(self) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._device(n, name, gate) for n, name in enumerate(self.names)))

    async def _device(self, n: int, name: str, gate: asyncio.Semaphore) -> None:
        async with gate:
            reader, writer = await asyncio.open_connection("localhost", self._port, ssl=self._context(name))
            writer.write(_packet(0x10, _text("MQTT") + b"\x04\x02" + struct.pack(">H", 120) + _text(name)))
            assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
        self.connected += 1
        answers = asyncio.create_task(self._answers(name, reader))
        begin, seq = time.time() + n % 97 / 97, 0
        while not self._over.is_set():
            await asyncio.sleep(max(0, begin + seq - time.time()))
            # The value is when it was said, so that the page shows how late it is.
            row = {"device": name, "sensor": "s", "quantity": "said", "value": round(time.time(), 4), "unit": "s"}
            row |= {"seq": seq, "boot": 1, "time": time.time()}
            body = _text(f"rootlet/{name}/s") + struct.pack(">H", seq % 65535 + 1) + json.dumps(row).encode()
            writer.write(_packet(0x32, body))
            self.published.add((name, seq))
            seq += 1
        answers.cancel()
        writer.close()

    async def _answers(self, name: str, reader: asyncio.StreamReader) -> None:
        for seq in range(1 << 30):
            await reader.readexactly(4)
            self.acknowledged[name, seq] = time.time()


@pytest.fixture
def broker(pki: Pki, tmp_path: Path) -> Iterator[Broker]:  # noqa: F811
    limits.need_files(3 * DEVICES, f"{DEVICES} devices")
    server = (pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem)
    with Broker(*server, workdir=tmp_path) as running:
        yield running


@pytest.mark.timeout(SECONDS + DEVICES / 10 + 60)
def test_a_fleet_on_the_page(pki: Pki, broker: Broker, tmp_path: Path) -> None:  # noqa: F811
    history = tmp_path / "history.sqlite"
    seen: dict[str, int] = {}
    late: list[float] = []
    with Command(*options(pki, broker.port, "--history", str(history))) as command:
        page = opened(command)
        process = psutil.Process(command.process.pid)
        with Browser(pki, page) as browser, Fleet(pki, broker.port, tmp_path) as fleet:
            browser.login()
            with browser.socket() as ws:
                first_rss = process.memory_info().rss
                end = time.monotonic() + 30 + DEVICES / 10
                while fleet.connected < DEVICES or len(seen) < DEVICES:  # all have begun
                    assert time.monotonic() < end, (fleet.connected, len(seen))
                    seen |= dict.fromkeys((row["id"] for row in _rows(ws.recv(timeout=10))), 0)
                began, cpu = time.monotonic(), sum(process.cpu_times()[:2])
                while time.monotonic() - began < SECONDS:
                    text = ws.recv(timeout=10)
                    now = time.time()
                    for row in _rows(text):
                        for reading in row["readings"]:
                            said = reading.get("new", ())
                            late += [now - value for value in said]
                            seen[row["id"]] += len(said)
                cpu = (sum(process.cpu_times()[:2]) - cpu) / (time.monotonic() - began)
                last_rss = process.memory_info().rss
                totals = browser.http.get("/api/devices").json()["totals"]
            killed = time.time()
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
        # What was acknowledged two seconds before is in the file: one for the commit, one for the way.
        due = {key for key, when in fleet.acknowledged.items() if when < killed - 2}
        with contextlib.closing(sqlite3.connect(history)) as db:
            rows = db.execute("SELECT device, seq FROM reading JOIN series ON series.id = reading.series").fetchall()
    print(
        f"\n{DEVICES} devices, {SECONDS:g} s: lag median {median(late):.2f} s, p99 {quantiles(late, n=100)[98]:.2f} s; "
        f"RSS {first_rss >> 20} MB, then {last_rss >> 20} MB; {cpu:.0%} of a core; "
        f"{len(rows)} rows kept, {len(due)} due"
    )
    assert min(seen.values()) >= SECONDS - 2
    assert (totals["devices"], totals["lost"], totals["not_taken"], totals["not_stored"]) == (DEVICES, 0, 0, 0)
    assert len(rows) == len(set(rows)) and due <= set(rows) <= fleet.published
    assert median(late) < 2 and last_rss - first_rss < (100 << 20)


def _rows(text: str) -> list[dict]:  # type: ignore[type-arg]
    message = json.loads(text)
    return message["rows"] if message["type"] == "devices" else []
