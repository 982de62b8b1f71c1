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
_COMMITTED_S = 1.5  # a commit is made twice a second


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
    """Devices with a certificate each, as cheap as they can be: MQTT 3.1.1 written by hand, QoS 1.

    published: how many each has sent.
    """

    def __init__(self, made: Pki, port: int, folder: Path) -> None:
        self._pki, self._port = made, port
        self.names = fleet_certs.names(DEVICES, "dev")
        self.published = dict.fromkeys(self.names, 0)
        self._files = fleet_certs.issue(made.authority, self.names, folder)
        self.connected = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._over = threading.Event()

    def __enter__(self) -> "Fleet":
        self._thread.start()
        return self

    def stop(self) -> None:
        self._over.set()

    def __exit__(self, *_: object) -> None:
        self.stop()
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
        answers = asyncio.create_task(reader.read())
        begin, seq = time.time() + n % 97 / 97, 0
        while not self._over.is_set():
            await asyncio.sleep(max(0, begin + seq - time.time()))
            # The value is when it was said, so that the page shows how late it is.
            row = {"device": name, "sensor": "s", "quantity": "said", "value": round(time.time(), 4), "unit": "s"}
            row |= {"seq": seq, "boot": 1, "time": time.time()}
            body = _text(f"rootlet/{name}/s") + struct.pack(">H", seq % 65535 + 1) + json.dumps(row).encode()
            writer.write(_packet(0x32, body))
            seq += 1
            self.published[name] = seq
        answers.cancel()
        writer.close()


@pytest.fixture
def broker(pki: Pki, tmp_path: Path) -> Iterator[Broker]:  # noqa: F811
    limits.need_files(3 * DEVICES, f"{DEVICES} devices")
    server = (pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem)
    with Broker(*server, workdir=tmp_path) as running:
        yield running


@pytest.mark.timeout(SECONDS + DEVICES / 10 + 60)
def test_a_fleet_on_the_page(pki: Pki, broker: Broker, tmp_path: Path) -> None:  # noqa: F811
    history = tmp_path / "history.sqlite"
    shown: list[tuple[float, str, int]] = []  # when the page had how many numbers of which device
    late: list[float] = []
    with Command(*options(pki, broker.port, "--history", str(history))) as command:
        page = opened(command)
        process = psutil.Process(command.process.pid)
        with Browser(pki, page) as browser, contextlib.ExitStack() as stack:
            browser.login()
            ws = stack.enter_context(browser.socket())
            first_rss = process.memory_info().rss
            fleet = stack.enter_context(Fleet(pki, broker.port, tmp_path))

            def look() -> Iterator[float]:
                """How late each number is that the next message shows."""
                text, now = ws.recv(timeout=20), time.time()
                for row in _rows(text):
                    for reading in row["readings"]:
                        shown.append((now, row["id"], reading["count"]))
                        yield from (now - value for value in reading.get("new", ()))

            end = time.monotonic() + 30 + DEVICES / 10
            while fleet.connected < DEVICES or len({name for _, name, _ in shown}) < DEVICES:  # all have begun
                assert time.monotonic() < end, fleet.connected
                list(look())
            began, cpu = time.monotonic(), sum(process.cpu_times()[:2])
            while time.monotonic() - began < SECONDS:
                late += look()
            cpu = (sum(process.cpu_times()[:2]) - cpu) / (time.monotonic() - began)
            last_rss = process.memory_info().rss
            totals = browser.http.get("/api/devices").json()["totals"]
            killed = time.time()
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
            fleet.stop()
        with contextlib.closing(sqlite3.connect(history)) as db:
            rows = db.execute("SELECT device, seq FROM reading JOIN series ON series.id = reading.series").fetchall()
    print(
        f"\n{DEVICES} devices, {SECONDS:g} s: lag median {median(late):.2f} s, p99 {quantiles(late, n=100)[98]:.2f} s; "
        f"RSS {first_rss >> 20} MB, then {last_rss >> 20} MB; {cpu:.0%} of a core; {len(rows)} rows kept"
    )
    assert len(late) > DEVICES * SECONDS * 0.8
    assert (totals["devices"], totals["lost"], totals["not_taken"], totals["not_stored"]) == (DEVICES, 0, 0, 0)
    kept = {name: sorted(seq for device, seq in rows if device == name) for name in {device for device, _ in rows}}
    # No hole, nothing twice, nothing that nobody said, and all that the page had a commit before it was killed.
    assert all(seqs == list(range(len(seqs))) and len(seqs) <= fleet.published[name] for name, seqs in kept.items())
    due = {name: count for when, name, count in shown if when < killed - _COMMITTED_S}
    assert {name: count for name, count in due.items() if len(kept.get(name, ())) < count} == {}
    assert median(late) < 5 and last_rss - first_rss < (100 << 20)


def _rows(text: str) -> list[dict]:  # type: ignore[type-arg]
    message = json.loads(text)
    return message["rows"] if message["type"] == "devices" else []
