"""Virtual boards, real MicroPython with the firmware on it, beside a simulated fleet."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from host_tools import ca, certinfo, certs, deploy
from host_tools.fleet_certs import DAYS
from host_tools.safe_write import PRIVATE, File, write_all
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.x509_build import key_bytes

MOST = 16
_BOARD = "pico_w"
_SSID = "fleet"
_SCRIPT = {"wifi": {"networks": {_SSID: {"dhcp": True}}}, "sensors": {"temperature_c": 22}}


@contextmanager
def real_boards(
    count: int,
    authority: ca.Authority,
    roots: Path,
    host: str,
    port: int,
    folder: Path,
    every_s: float,
    mqtt: dict[str, Any] | None = None,
) -> Iterator[dict[str, VirtualBoard]]:
    """Run `count` of them, named real-0000 and so on; gives name to board.

    Args: authority: issues their certificates. roots: PEM file of the CA of the broker at host:port. folder: for their
        files, which hold their keys. every_s: seconds between two readings. mqtt: more settings, as `brokers`.
    Raises: Failure.
    """
    running: dict[str, VirtualBoard] = {}
    with ExitStack() as stack:
        if count:
            sntp = stack.enter_context(SntpServer())
            trust = certs.embed([roots], folder / "trust_roots.py").compiled
        for i in range(count):
            name = f"real-{i:04}"
            config = folder / f"{name}.json"
            config.write_text(
                json.dumps(
                    {
                        "device": name,
                        "wifi": {"networks": [{"ssid": _SSID}], "country": "XX"},
                        "clock": {"servers": [f"127.0.0.1:{sntp.port}"]},
                        "mqtt": {
                            "host": host,
                            "port": port,
                            "cert": "device.crt.der",
                            "key": "device.key.der",
                            **(mqtt or {}),
                        },
                        "sensors": [{"kind": "internal_temperature", "name": "chip", "every_s": every_s}],
                    }
                )
            )
            cert, key = folder / f"{name}.crt.der", folder / f"{name}.key.der"
            made, secret = authority.sign_device(name, days=DAYS)
            write_all([File(cert, certinfo.der(made)), File(key, key_bytes(secret, Encoding.DER), PRIVATE)])
            flash = deploy.stage(folder / name, board=_BOARD, config=config, trust=trust, cert=cert, key=key)
            running[name] = stack.enter_context(VirtualBoard(flash, board=_BOARD, script=_SCRIPT))
        yield running
