"""The host tools: provisioning beside the bare cryptography, deploying again beside at first, how late the page is."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles

from host_tools import ca, certs
from host_tools.bench import page
from host_tools.bench.place import Place
from host_tools.bench.rows import Row
from host_tools.failure import Failure
from host_tools.paths import FIRMWARE, ROOT

GROUP = "tools"
BARE = "provision: key and certificate alone"
FIRST = "deploy: first, empty board"
TICK = "dashboard: the page's tick"
_PROJECT = """\
[defaults]
board = "{board}"
[wifi]
networks = [{{ ssid = "bench" }}]
[[brokers]]
name = "home"
host = "broker.home"
[[sensors]]
kind = "internal_temperature"
name = "chip"
"""
_CONFIG = {
    "device": "bench", "wifi": {"networks": [{"ssid": "bench"}]}, "mqtt": {"host": "broker.home"},
    "sensors": [{"kind": "internal_temperature", "name": "chip"}],
}  # fmt: skip


def _bare(count: int) -> float:
    """Seconds to make so many P-256 keys and sign a certificate for each."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    authority, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    issuer = x509.Name.from_rfc4514_string("CN=Bench CA")
    began = time.perf_counter()
    for i in range(count):
        key = ec.generate_private_key(ec.SECP256R1())
        named = x509.CertificateBuilder(issuer, x509.Name.from_rfc4514_string(f"CN=gw-{i:04}"), key.public_key())
        dated = named.not_valid_before(now).not_valid_after(now + timedelta(days=825))
        dated.serial_number(x509.random_serial_number()).sign(authority, hashes.SHA256())
    return time.perf_counter() - began


def _provision(board: str, count: int) -> tuple[float, float]:
    """Seconds of the whole command for so many devices of a new project, and of the same where all is done already."""
    paths = [str(ROOT), str(FIRMWARE), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryDirectory(prefix="rootlet-bench-") as folder:
        table = Path(folder) / "fleet.csv"
        (Path(folder) / "rootlet.toml").write_text(_PROJECT.format(board=board))
        table.write_text("id\n" + "".join(f"gw-{i:04}\n" for i in range(count)))
        words = ["provision", "--csv", str(table), "--jobs", "1", "--project", folder]
        took = []
        for _ in range(2):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "host_tools", *words], env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            took.append(time.perf_counter() - began)
            if done.returncode:
                raise Failure("provisioning cannot be measured", done.stderr.strip()[-300:], "rootlet bench --debug")
    return took[0], took[1]


def provisioning(board: str, quick: bool) -> list[Row]:
    """Devices a second, one process."""
    count = 5 if quick else 50
    # Many bare ones even so: a few are over in a millisecond.
    found = [(*_provision(board, count), _bare(200)) for _ in range(1 if quick else 5)]
    unit, note = "devices/s", f"{count} devices, one process, with the start of the command"
    return [
        Row(GROUP, BARE, unit, tuple(200 / bare for _, _, bare in found), note="P-256, by `cryptography`"),
        Row(GROUP, "provision: the command", unit, tuple(count / first for first, _, _ in found), BARE, note=note),
        Row(GROUP, "provision: again, all kept", unit, tuple(count / again for _, again, _ in found), BARE),
    ]


def _deploy(board_id: str, folder: Path, frozen: bool) -> list[float]:
    """Seconds of the first deployment to an empty board, of one with another trust root, and of the same once more."""
    from host_tools import deploy_jobs, trees
    from host_tools.sim.board import VirtualBoard

    flash, config = folder / "flash", folder / "config.json"
    flash.mkdir()
    config.write_text(json.dumps(_CONFIG))
    made = [ca.init(folder / name, subject="/CN=Bench CA", key_type="p256") for name in ("one", "other")]
    one, other = (certs.embed([each.cert_pem], each.directory / "trust_roots.py").module for each in made)
    took = []
    with VirtualBoard(flash, board_id, frozen=frozen) as board:
        for trust in (one, other, other):
            job = deploy_jobs.from_files(board_id, {"config": config, "trust": trust}, board.port)
            began, at = time.perf_counter(), board.position
            deploy_jobs.run([replace(job, frozen=frozen)], trees.Options(wait_s=None), lambda _: None)
            took.append(time.perf_counter() - began)
            # An interrupt that comes while a board starts may be lost, and mpremote waits ten seconds then.
            board.wait_for("gateway: rootlet starts", 20, at)
    return took


def deploying(place: Place, quick: bool) -> list[Row]:
    """Seconds of a deployment by mpremote, until the board has been told to restart; quick: of a frozen firmware."""
    from host_tools import umqtt

    umqtt.fetch()
    found = []
    for _ in range(1 if quick else 3):
        with tempfile.TemporaryDirectory(prefix="rootlet-bench-") as folder:
            found.append(_deploy(place.board, Path(folder), quick))
    columns = zip((FIRST, "deploy: one changed file", "deploy: unchanged"), zip(*found, strict=True), strict=True)
    note = "firmware frozen in" if quick else ""
    return [Row(GROUP, name, "s", took, None if name == FIRST else FIRST, "less", note) for name, took in columns]


def showing(place: Place, quick: bool) -> list[Row]:
    """Milliseconds from a reading's publication to the page's message with it."""
    if absent := page.absent():
        note = f"lag not measured without {', '.join(absent)}: pip install 'rootlet[dashboard]'"
        return [Row(GROUP, TICK, "ms", (500.0,), better="less", note=note)]
    from host_tools.dashboard.sockets import TICK_S

    found = page.lags(place, *((1, 2) if quick else (3, 5)))
    note = f"{page.DEVICES} devices, a reading a second each"
    middle, late = tuple(map(median, found)), tuple(quantiles(lags, n=100)[98] for lags in found)
    return [
        Row(GROUP, TICK, "ms", (TICK_S * 1000,) * len(found), better="less"),
        Row(GROUP, "dashboard: lag, median", "ms", middle, TICK, "less", note),
        Row(GROUP, "dashboard: lag, 99th percentile", "ms", late, TICK, "less", note),
    ]


def measure(place: Place, quick: bool) -> list[Row]:
    """Rows of provisioning, of deploying to the virtual board, and of the page."""
    return provisioning(place.board, quick) + deploying(place, quick) + showing(place, quick)
