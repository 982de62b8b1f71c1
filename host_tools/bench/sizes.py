"""Bytes of the compiled firmware, against what it is allowed."""

import tempfile
from pathlib import Path

from host_tools import deploy
from host_tools.bench.place import Place
from host_tools.bench.rows import Row

CORE_LIMIT = 63 * 1024  # what joins, sets the clock, verifies, reads, publishes, and keeps the connection
SIZE_LIMIT = 132 * 1024  # with what a gateway may also use; 31 KB of that are Bluetooth and its decoders
EXTRAS = (
    "store", "pick", "psk", "slots", "rotation", "trees", "health", "kept", "watchdog", "crash", "why", "leds",
    "outbox", "commands", "remote", "telemetry", "update", "pending", "manifest", "signature", "home_assistant",
    "aes_ccm", "config_ble", "ble_adverts", "ble_bonds", "ble_central", "ble_formats", "ble_gateway", "ble_radio",
    "ble_sensor", "decode_atc", "decode_automation_io", "decode_battery", "decode_bthome", "decode_eddystone",
    "decode_ess", "decode_heart_rate", "decode_ibeacon", "decode_mapped", "decode_ruuvi",
)  # fmt: skip


def package_bytes(folder: Path) -> tuple[int, int]:
    """Bytes of the compiled firmware: of the core, and of all of it. Args: folder: where it is compiled to."""
    sizes = {path.stem: path.stat().st_size for path in deploy.build_firmware(folder)}
    return sum(size for name, size in sizes.items() if name not in EXTRAS), sum(sizes.values())


def measure(place: Place, quick: bool) -> list[Row]:
    """The two sizes, each told as a ratio to what is allowed."""
    with tempfile.TemporaryDirectory() as folder:
        core, size = package_bytes(Path(folder))

    def row(name: str, value: float, to: str | None = None, note: str = "") -> Row:
        return Row("sizes", name, "B", (value,), to, "less", note, allowance=0.05, promised=1.0 if to else None)

    return [
        row("core, allowed", CORE_LIMIT),
        row("core", core, "core, allowed", "joins, sets the clock, verifies, reads, publishes; .mpy, without roots"),
        row("all, allowed", SIZE_LIMIT),
        row("all", size, "all, allowed", f"with {len(EXTRAS)} modules that a gateway may use beside them"),
    ]
