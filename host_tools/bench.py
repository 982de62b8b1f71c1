"""Measures, in one run and as ratios: publishing against stock umqtt.simple; and the size of the firmware."""

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi

from host_tools import ca, certs, deploy, root_store
from host_tools.broker import Broker
from host_tools.failure import Failure
from host_tools.servers import HttpsServer
from host_tools.sim.board import VirtualBoard

CORE_LIMIT = 63 * 1024  # what joins, sets the clock, verifies, reads, publishes, and keeps the connection
SIZE_LIMIT = 132 * 1024  # with what a gateway may also use; 31 KB of that are Bluetooth and its decoders
_EXTRAS = (
    "store", "pick", "psk", "slots", "rotation", "trees", "health", "kept", "watchdog", "crash", "leds", "outbox",
    "commands", "remote", "telemetry", "update", "pending", "manifest", "signature", "home_assistant", "aes_ccm",
    "config_ble", "ble_adverts", "ble_bonds", "ble_central", "ble_formats", "ble_gateway", "ble_radio", "ble_sensor",
    "decode_atc", "decode_automation_io", "decode_battery", "decode_bthome", "decode_eddystone", "decode_ess",
    "decode_heart_rate", "decode_ibeacon", "decode_mapped", "decode_ruuvi",
)  # fmt: skip
_SCRIPT = Path(__file__).parent / "sim" / "bench_mqtt.py"
_ROOTS_SCRIPT = Path(__file__).parent / "sim" / "bench_roots.py"
PEEK_LIMIT = 0.3
RAM_LIMIT = 0.6  # of the bare loop, through the outbox
FLASH_LIMIT = 0.4


@dataclass(frozen=True)
class Result:
    """Messages a second by each way, and the bytes of the compiled firmware package."""

    engine: str
    stock: float
    window_1: float
    window_16: float
    raw: float
    outbox_ram: float
    outbox_flash: float
    outbox_first: float
    firmware_bytes: int
    free_bytes: int

    @property
    def ratio(self) -> float:
        """Rootlet with its window of 16, in units of stock umqtt.simple."""
        return self.window_16 / self.stock

    def to_raw(self, rate: float) -> float:
        """A rate in units of the bare loop: packets framed beforehand, over the same verified connection."""
        return rate / self.raw


def package_bytes(folder: Path) -> tuple[int, int]:
    """Bytes of the compiled firmware: of the core, and of all of it."""
    sizes = {path.stem: path.stat().st_size for path in deploy.build_firmware(folder)}
    return sum(size for name, size in sizes.items() if name not in _EXTRAS), sum(sizes.values())


def _publish(folder: Path, engine: str) -> dict[str, Any]:
    authority = ca.init(folder / "ca", subject="/CN=Bench CA")
    server = authority.issue_server(["localhost"])
    device = authority.issue_device("bench")
    roots = certs.embed([authority.cert_pem], folder / "trust_roots.py")
    with Broker(server.cert_pem, server.key_pem, authority.cert_pem, workdir=folder, engine=engine) as broker:
        job: dict[str, Any] = {"host": "localhost", "port": broker.port, "now": int(time.time())}
        job |= {"stock_count": 100, "count": 4000, "rounds": 5, "mqtt": _settings(broker.port)}
        [result] = _board(
            folder / "board", job, _SCRIPT, trust=roots.compiled, cert=device.cert_der, key=device.key_der
        )
        result["engine"] = broker.engine
        return result


def _settings(port: int) -> dict[str, Any]:
    """The "mqtt" section of a configuration, with its defaults."""
    from rootlet import config

    checked = config.check(
        {
            "device": "bench",
            "wifi": {"networks": [{"ssid": "bench"}]},
            "mqtt": {"host": "localhost", "port": port},
            "sensors": [{"kind": "simulated", "name": "bench"}],
        }
    )
    section: dict[str, Any] = checked["mqtt"]
    return section


def _result_rows(output: str) -> list[dict[str, Any]]:
    rows = [json.loads(line.removeprefix("result ")) for line in output.splitlines() if line.startswith("result ")]
    if not rows:
        raise Failure("the benchmark ended without a result", output[-400:], "rootlet bench --debug")
    return rows


def _board(folder: Path, job: dict[str, Any], script: Path, **parts: Any) -> list[dict[str, Any]]:
    """Run a script on a virtual Pico W with the firmware and the given parts; returns its result lines."""
    deploy.stage(folder, board="pico_w", **parts)
    for started in ("boot.py", "main.py"):
        (folder / started).unlink()
    (folder / "bench.json").write_text(json.dumps(job))
    with VirtualBoard(folder, board="pico_w") as board:
        return _result_rows(deploy.run_on_board(board.port, script, timeout_s=120))


def _find_root(folder: Path) -> list[dict[str, Any]]:
    """The time to look at a server and find its root, against the handshake, for roots of several kinds."""
    found = []
    with ExitStack() as stack:
        servers = []
        for kind in ("p256", "p384", "rsa2048", "rsa4096"):
            authority = ca.init(folder / f"ca-{kind}", subject=f"/O=Bench/CN=Bench {kind}", key_type=kind)
            issued = authority.issue_server(["localhost"], key_type="rsa2048" if kind.startswith("rsa") else "p256")
            server = stack.enter_context(HttpsServer(issued.cert_pem, issued.key_pem, {"/": b"ok"}))
            servers.append([kind, server.port])
            found.append(authority.cert_pem)
        root_store.make(
            folder / "roots.bin", bundles=[Path(certifi.where()), *found], names=[], hosts=[], deny=[],
            max_bytes=None, build_time=None,
        )  # fmt: skip
        job = {"now": int(time.time()), "servers": servers, "rounds": 15}
        return _board(folder / "finder", job, _ROOTS_SCRIPT, roots=folder / "roots.bin")


def run(say: Callable[[str], None], engine: str = "auto") -> Result:
    """Run the benchmark and say each figure.

    Args: say: takes each line. engine: the broker, "auto", "mosquitto" or "amqtt".
    """
    with tempfile.TemporaryDirectory() as folder:
        core, size = package_bytes(Path(folder) / "mpy")
        finding = _find_root(Path(folder))
        result = Result(firmware_bytes=size, **_publish(Path(folder), engine))
    say(f"QoS 1 over mutual TLS, 64-byte payload, {result.engine} on loopback, virtual Pico W (64-bit MicroPython):")
    say(f"  stock umqtt.simple           {result.stock:10.1f} messages/s     1.0")
    for name, rate in (("rootlet, one at a time", result.window_1), ("rootlet, window of 16", result.window_16)):
        say(f"  {name:<28} {rate:10.1f} messages/s {rate / result.stock:7.1f}")
    say(f"ratio: {result.ratio:.0f} (at least 500 promised)")
    say(f"  a bare loop, window of 16    {result.raw:10.1f} messages/s   the limit, {result.raw / result.stock:.0f}")
    for name, rate, promised in (
        ("rootlet, window of 16", result.window_16, ""),
        ("through the outbox, RAM", result.outbox_ram, f" (at least {RAM_LIMIT:.0%} promised)"),
        ("through the outbox, flash", result.outbox_flash, f" (at least {FLASH_LIMIT:.0%} promised)"),
        ("  each on flash first", result.outbox_first, ""),
    ):
        say(f"  {name:<28} {rate:10.1f} messages/s  {result.to_raw(rate):4.0%} of the limit{promised}")
    say("finding a server's root among more than 117, in ms and as a part of the handshake (median of 15):")
    for row in finding:
        peek, lookup, whole = (row[key] / 1000 for key in ("peek_us", "lookup_us", "handshake_us"))
        part = (peek + lookup) / whole
        say(f"  {row['name']:<8} look {peek:6.1f}  look-up {lookup:5.2f}  handshake {whole:6.1f}  part {part:4.0%}")
    say(f"  (at most {PEEK_LIMIT:.0%} promised for the look)")
    say(f"firmware compiled by mpy-cross, without roots: {core} B of {CORE_LIMIT} B allowed for the core,")
    say(f"  {size} B of {SIZE_LIMIT} B with {', '.join(_EXTRAS)}")
    return result
