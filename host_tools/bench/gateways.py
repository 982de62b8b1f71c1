"""A gateway to be measured: the surroundings it needs, and its files, for the virtual board or one like it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tools.bench import parts
from host_tools.bench.place import Place, VirtualPlace
from host_tools.paths import FIRMWARE

WIFI = ("bench", "bench-password")
JOIN_MS = 20  # the simulated WiFi's own time
SCRIPT = {"wifi": {"networks": {WIFI[0]: {"password": WIFI[1], "join_ms": JOIN_MS}}, "scan_ms": JOIN_MS}}
# Built into a board; on the virtual one stand-ins, which are loaded before anything is counted.
BUILT_IN = ["machine", "network", "socket", "select", "tls", "asyncio", "json", "os", "struct", "binascii", "hashlib"]
_LAZY = ["asyncio.event", "asyncio.funcs", "collections", "errno", "io", "random"]


@dataclass(frozen=True)
class Gateway:
    """What a script needs to run a gateway: a job and files for Place.run."""

    job: dict[str, Any]
    files: dict[str, Path | bytes]


def surroundings(place: Place, frozen: bool = False) -> VirtualPlace:
    """A virtual board of the same kind, with WiFi. Args: frozen: with the firmware in its interpreter."""
    return VirtualPlace(place.board, frozen=frozen, script=SCRIPT)


@contextmanager
def gateway(place: Place, folder: Path, **more: Any) -> Iterator[Gateway]:
    """Broker and time server run meanwhile; one sensor, mutual TLS, an embedded root, all keys P-256.

    Args: more: of the configuration.
    """
    from host_tools.broker import Broker
    from host_tools.servers import SntpServer

    made = parts.parties(place, folder)
    authority, server = made.authority, made.server
    with (
        SntpServer() as sntp,
        Broker(server.cert_pem, server.key_pem, authority.cert_pem, workdir=folder) as broker,
    ):
        config = {
            "device": "bench",
            "wifi": {"networks": [{"ssid": WIFI[0], "password": WIFI[1]}]},
            "clock": {"servers": [f"{place.bind}:{sntp.port}"], "timeout_s": 1},
            "mqtt": {"host": place.address, "port": broker.port, "cert": "device.crt.der", "key": "device.key.der"},
            "sensors": [{"kind": "internal_temperature", "name": "chip"}],
            **more,
        }
        job = parts.job(place, broker.port, built_in=BUILT_IN + _LAZY, wifi=WIFI)
        yield Gateway(
            job,
            made.files
            | {
                "config.json": json.dumps(config).encode(),
                "root.der": authority.cert_der,
                "start_boot.py": FIRMWARE / "boot.py",
                "start_main.py": FIRMWARE / "main.py",
            },
        )
