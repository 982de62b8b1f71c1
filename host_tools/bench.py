"""Measures, in one run and as ratios: publishing against stock umqtt.simple; and the size of the firmware."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tools import ca, certs, deploy
from host_tools.broker import Broker
from host_tools.failure import Failure
from host_tools.sim.board import VirtualBoard

SIZE_LIMIT = 60 * 1024
_SCRIPT = Path(__file__).parent / "sim" / "bench_mqtt.py"


@dataclass(frozen=True)
class Result:
    """Messages a second by each way, and the bytes of the compiled firmware package."""

    engine: str
    stock: float
    window_1: float
    window_16: float
    firmware_bytes: int
    free_bytes: int

    @property
    def ratio(self) -> float:
        """Rootlet with its window of 16, in units of stock umqtt.simple."""
        return self.window_16 / self.stock


def _publish(folder: Path, engine: str) -> dict[str, Any]:
    authority = ca.init(folder / "ca", subject="/CN=Bench CA")
    server = authority.issue_server(["localhost"])
    device = authority.issue_device("bench")
    roots = certs.embed([authority.cert_pem], folder / "trust_roots.py")
    files = folder / "board"
    with Broker(server.cert_pem, server.key_pem, authority.cert_pem, workdir=folder, engine=engine) as broker:
        job = {"host": "localhost", "port": broker.port, "now": int(time.time()), "stock_count": 100, "count": 5000}
        deploy.stage(files, board="pico_w", trust=roots.compiled, cert=device.cert_der, key=device.key_der)
        for started in ("boot.py", "main.py"):
            (files / started).unlink()
        (files / "bench.json").write_text(json.dumps(job))
        with VirtualBoard(files, board="pico_w") as board:
            output = deploy.run_on_board(board.port, _SCRIPT, timeout_s=120)
        lines = [line for line in output.splitlines() if line.startswith("result ")]
        if not lines:
            raise Failure("the benchmark ended without a result", output[-400:], "rootlet bench --debug")
        result: dict[str, Any] = json.loads(lines[-1].removeprefix("result "))
        result["engine"] = broker.engine
        return result


def run(say: Callable[[str], None], engine: str = "auto") -> Result:
    """Run the benchmark and say each figure.

    Args: say: takes each line. engine: the broker, "auto", "mosquitto" or "amqtt".
    """
    with tempfile.TemporaryDirectory() as folder:
        size = sum(path.stat().st_size for path in deploy.build_firmware(Path(folder) / "mpy"))
        result = Result(firmware_bytes=size, **_publish(Path(folder), engine))
    say(f"QoS 1 over mutual TLS, 64-byte payload, {result.engine} on loopback, virtual Pico W (64-bit MicroPython):")
    say(f"  stock umqtt.simple           {result.stock:10.1f} messages/s     1.0")
    for name, rate in (("rootlet, one at a time", result.window_1), ("rootlet, window of 16", result.window_16)):
        say(f"  {name:<28} {rate:10.1f} messages/s {rate / result.stock:7.1f}")
    say(f"ratio: {result.ratio:.0f} (at least 500 promised)")
    say(f"firmware package compiled by mpy-cross: {size} B of {SIZE_LIMIT} B allowed, without roots")
    return result
