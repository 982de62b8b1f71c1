"""The whole journey on one machine: CA, servers, virtual board, verified readings, and three refusals."""

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from host_tools import ca, certs, deploy
from host_tools.broker import Broker
from host_tools.failure import Failure
from host_tools.paths import BUILD
from host_tools.servers import HttpsServer, SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.watch import Watcher

DEVICE = "pico-demo"
READINGS = 20
_BOARD = "pico_w"
_SSID = "demo-net"
_WIFI_PASSWORD = "demo-password"  # noqa: S105  (of a network that exists only in the virtual board)

Say = Callable[[str], None]

# Runs on the board: asks each server in turn and prints the board's own words.
_REFUSALS = """
import asyncio
from rootlet import board, clock, config, https, trust, wifi
from rootlet.errors import RootletError
settings = config.load()
hardware = board.load()
asyncio.run(wifi.join(wifi.start(settings["wifi"], hardware), settings["wifi"], hardware))
t = trust.load(settings["trust"], lambda: c.now(), hardware["tls"])
c = clock.Clock(t.floor, settings["clock"]["servers"])
c.sync()
for url in {urls}:
    try:
        https.get(url, t, timeout_ms=10000).close()
        print("accepted", url)
    except RootletError as e:
        print("refused", e)
"""


@dataclass(frozen=True)
class Running:
    """What `--keep` leaves running: where it is and how to look at it."""

    board_port: str
    broker_port: int
    ca_file: Path
    observer_cert: Path
    observer_key: Path


def _settings(broker: Broker, https: HttpsServer, sntp: SntpServer) -> dict[str, Any]:
    return {
        "device": DEVICE,
        "wifi": {
            "networks": [{"ssid": _SSID, "password": _WIFI_PASSWORD}],
            "country": "FR",
            "hostname": DEVICE,
        },
        "clock": {"servers": [f"127.0.0.1:{sntp.port}"]},
        "https": {"url": f"https://localhost:{https.port}/"},
        "mqtt": {
            "host": "localhost",
            "port": broker.port,
            "cert": "device.crt.der",
            "key": "device.key.der",
        },
        "sensors": [
            {"kind": "internal_temperature", "name": "chip", "every_s": 0.3},
            {"kind": "adc", "name": "battery", "pin": 26, "every_s": 0.5, "scale": 3},
        ],
    }


def _script() -> dict[str, Any]:
    return {
        "wifi": {"networks": {_SSID: {"password": _WIFI_PASSWORD, "dhcp": True, "join_ms": 300}}},
        "clock": {"start": "2021-01-01T00:00:00Z", "settable": True},
        "sensors": {"temperature_c": 24.5, "adc": {"26": 25000}},
    }


class _Steps:
    """Prints each step with the time it was reached."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        self._say(f"[{time.monotonic() - self._began:5.1f} s] {text}")


def _console(board: VirtualBoard, pattern: str, timeout_s: float = 30) -> str:
    """Wait for a line of the board's console. Raises Failure with the board's last words."""
    try:
        return board.wait_for(pattern, timeout_s)
    except TimeoutError:
        tail = " | ".join(board.output.splitlines()[-6:])
        raise Failure(
            "the virtual board did not get as far as expected",
            f"no line like {pattern!r} in {timeout_s:.0f} s; last lines: {tail}",
            "rootlet demo --debug",
        ) from None


def _text(line: str) -> str:
    """A console line without its time."""
    return line.partition("] ")[2].strip() or line.strip()


def _hostile(folder: Path, authority: ca.Authority, stack: ExitStack) -> list[tuple[str, str]]:
    """Start the three servers nobody should trust; returns (what is wrong, URL) for each."""
    now = datetime.now(UTC)
    stranger = ca.init(folder / "stranger-ca", subject="/CN=Somebody else's CA")
    certificates = [
        ("wrong name", authority.issue_server(["other.example"])),
        ("unknown CA", stranger.issue_server(["localhost"])),
        (
            "expired",
            authority.issue_server(
                ["localhost", "expired.localhost"],
                not_before=now - timedelta(days=30),
                not_after=now - timedelta(days=1),
                force=True,
            ),
        ),
    ]
    urls = []
    for what, issued in certificates:
        server = stack.enter_context(HttpsServer(issued.cert_pem, issued.key_pem, {"/": b"never seen"}))
        urls.append((what, f"https://localhost:{server.port}/"))
    return urls


def _refusals(board: VirtualBoard, folder: Path, urls: list[tuple[str, str]], step: _Steps) -> None:
    script = folder / "refusals.py"
    script.write_text(_REFUSALS.format(urls=[url for _, url in urls]))
    lines = [
        line for line in deploy.run_on_board(board.port, script).splitlines() if line.startswith(("refused", "acc"))
    ]
    if len(lines) != len(urls) or not all(line.startswith("refused") for line in lines):
        raise Failure(
            "a server that must not be trusted was not refused", "; ".join(lines) or "no answer", "report this"
        )
    for (what, _), line in zip(urls, lines, strict=True):
        step(f"refused, {what}:")
        step(f"    {line.removeprefix('refused ')}")


def run(
    say: Say, *, folder: Path = BUILD / "demo", keep: Callable[[Running], None] | None = None, engine: str = "auto"
) -> None:
    """Run the demonstration.

    Args: say: takes each line of the report. folder: for everything it makes; emptied first.
        keep: called while all is still running, with where it runs. engine: "auto", "mosquitto" or "amqtt".
    Raises: Failure where any step does not happen.
    """
    step = _Steps(say)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    authority = ca.init(folder / "ca", subject="/O=Rootlet demo/CN=Rootlet demo CA")
    server = authority.issue_server(["localhost"], ips=["127.0.0.1"])
    device = authority.issue_device(DEVICE)
    observer = authority.issue_device("observer")
    roots = certs.embed([authority.cert_pem], folder / "trust_roots.py")
    step("made a throw-away CA, a server certificate, a device certificate and a cert module")
    with ExitStack() as stack:
        broker = stack.enter_context(
            Broker(server.cert_pem, server.key_pem, authority.cert_pem, workdir=folder, engine=engine)
        )
        https = stack.enter_context(HttpsServer(server.cert_pem, server.key_pem, {"/": b"Hello from the LAN.\n"}))
        sntp = stack.enter_context(SntpServer())
        step(f"started {broker.engine} on port {broker.port} (mutual TLS), HTTPS on {https.port}, SNTP on {sntp.port}")
        files = folder / "board"
        files.mkdir()
        board = stack.enter_context(VirtualBoard(files, board=_BOARD, script=_script()))
        config = folder / "config.json"
        config.write_text(json.dumps(_settings(broker, https, sntp), indent=2))
        tree = deploy.stage(
            folder / "stage",
            board=_BOARD,
            config=config,
            trust=roots.compiled,
            cert=device.cert_der,
            key=device.key_der,
        )
        deploy.copy_to_board(board.port, tree)
        step(f"deployed the firmware to a virtual Pico W over mpremote ({board.port})")
        watcher = stack.enter_context(
            Watcher("localhost", broker.port, authority.cert_pem, observer.cert_pem, observer.key_pem)
        )
        board.reset()
        for pattern in (
            r"wifi: joined .*",
            r"clock: 20.*",
            r"https: GET .*",
            r"https: verified.*",
            r"mqtt: connected .*",
            r"mqtt: verified.*",
        ):
            step(_text(_console(board, pattern)))
        received = _readings(watcher)
        step(f"{len(received)} readings received by an independent subscriber that verifies too; the last:")
        step(f"    {received[-1][0]}  {received[-1][1].decode()}")
        if keep:
            keep(Running(board.port, broker.port, authority.cert_pem, observer.cert_pem, observer.key_pem))
        _refusals(board, folder, _hostile(folder, authority, stack), step)
    step("done: everything verified, everything hostile refused")


def _readings(watcher: Watcher) -> list[tuple[str, bytes]]:
    received: list[tuple[str, bytes]] = []
    end = time.monotonic() + 45
    while len(received) < READINGS:
        try:
            topic, payload = watcher.next(max(0.01, end - time.monotonic()))
        except TimeoutError:
            because = f"{len(received)} of {READINGS} in 45 s"
            raise Failure("too few readings arrived", because, "rootlet demo --debug") from None
        if not topic.endswith("/status"):
            received.append((topic, payload))
    sequence = [json.loads(payload)["seq"] for _, payload in received]
    if len(set(sequence)) < READINGS:
        raise Failure("readings are missing", f"sequence numbers {sequence}", "rootlet demo --debug")
    return received
