"""Which board: what is plugged in, by its USB descriptors and volumes; nothing is opened, no program is disturbed."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from host_tools.failure import Exit, Failure

Ports = Callable[[], Iterable[Any]]

VOLUMES = ("/media/*", "/media/*/*", "/run/media/*/*", "/Volumes/*")
"""Where systems mount a drive, as glob patterns."""

# USB vendor and product id -> (what it is, chip; "" where the id does not tell): as MicroPython's ports, the boot ROMs
# of Raspberry Pi and Espressif, and the makers of bridges give them.
_USB = {
    (0x2E8A, 0x0003): ("BOOTSEL", "RP2040"),
    (0x2E8A, 0x000F): ("BOOTSEL", "RP2350"),
    (0x2E8A, 0x0005): ("MicroPython", "RP2040 or RP2350"),
    (0x303A, 0x0002): ("ROM loader", "ESP32-S2"),
    (0x303A, 0x0009): ("ROM loader", "ESP32-S3"),
    (0x303A, 0x1001): ("MicroPython or ROM loader", "ESP32-C3, C6 or S3"),
    (0x303A, 0x4001): ("MicroPython", "ESP32-S2 or S3"),
    (0x10C4, 0xEA60): ("USB bridge CP210x", ""),
    (0x1A86, 0x7523): ("USB bridge CH340", ""),
    (0x1A86, 0x55D3): ("USB bridge CH343", ""),
    (0x1A86, 0x55D4): ("USB bridge CH9102", ""),
    (0x0403, 0x6001): ("USB bridge FT232R", ""),
    (0x0403, 0x6015): ("USB bridge FT231X", ""),
}


@dataclass(frozen=True)
class Found:
    """A board on a serial port, as its USB descriptor tells.

    `port`: path or name for mpremote. `serial`: USB serial number, or None. `vid`, `pid`: USB ids, or None.
    `state`: what it is, in words ("MicroPython", "ROM loader", "USB bridge CP210x", "serial port"). `chip`: "" unknown.
    """

    port: str
    serial: str | None = None
    vid: int | None = None
    pid: int | None = None
    state: str = "serial port"
    chip: str = ""


@dataclass(frozen=True)
class Drive:
    """A board that waits for firmware as a USB drive: where it is mounted and what its INFO_UF2.TXT says."""

    path: Path
    model: str
    board_id: str


def serial_ports() -> Iterable[Any]:
    """The serial ports of this machine, by pyserial."""
    from serial.tools import list_ports

    return list(list_ports.comports())


def _printable(text: str | None) -> str | None:
    """A descriptor is written by the device: it must not drive the terminal."""
    return "".join(c for c in text if c.isprintable())[:64] if text else None


def connected(ports: Ports = serial_ports) -> list[Found]:
    """Every USB serial port, by name; ports built into the computer have no vendor id and are left out.

    Args: ports: gives objects with device, vid, pid, serial_number; by default pyserial's.
    """
    rows = []
    for port in ports():
        if port.vid is None:
            continue
        pid: int = getattr(port, "pid", None) or 0
        state, chip = _USB.get((port.vid, pid), ("USB serial port", ""))
        rows.append(Found(str(port.device), _printable(port.serial_number), port.vid, pid, state, chip))
    return sorted(rows, key=lambda found: found.port)


def drives(patterns: Iterable[str] | None = None) -> list[Drive]:
    """Boards in BOOTSEL mode whose drive is mounted: it has a file INFO_UF2.TXT (the UF2 format's description).

    Args: patterns: where to look, as globs; by default VOLUMES.
    """
    import glob

    found = {}
    for pattern in VOLUMES if patterns is None else patterns:
        for name in glob.glob(pattern):
            path = Path(os.path.realpath(name))
            try:
                with (path / "INFO_UF2.TXT").open(encoding="utf-8", errors="replace") as f:
                    text = f.read(2048)
            except OSError:
                continue
            facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
            model, board_id = (_printable(facts.get(key, "").strip()) or "" for key in ("Model", "Board-ID"))
            found[path] = Drive(path, model, board_id)
    return [found[path] for path in sorted(found)]


def find(
    port: str | None = None, serial: str | None = None, *, command: str = "rootlet deploy", ports: Ports = serial_ports
) -> Found:
    """The one board that is meant.

    Args:
        port: taken as it is, whether USB or not. serial: USB serial number; with both, they must agree.
        command: the command that asks, for the lines that a person may type. ports: see connected().
    Raises: Failure with exit code 3 where there is none, and 2, with the exact commands, where there are several.
    """
    there = connected(ports)
    if port is not None:
        if port.startswith("/") and not os.path.exists(port):
            raise Failure(
                f"no board on {port}", "there is no such port", "rootlet boards   (lists them)", Exit.NO_DEVICE
            )
        found = next((one for one in there if _same(one.port, port)), Found(port))
        if serial is not None and found.serial != serial:
            raise Failure(
                f"another board is on {port}",
                f"its serial number is {found.serial or 'unknown'}, not {serial}",
                "rootlet boards   (lists what is connected)",
                Exit.NO_DEVICE,
            )
        return Found(port, found.serial, found.vid, found.pid, found.state, found.chip)
    matching = [one for one in there if serial is None or one.serial == serial]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(f"{one.port} ({one.serial or 'no serial number'})" for one in matching)
        choices = "  or  ".join(f"{command} --port {one.port}" for one in matching)
        raise Failure("several boards found", names, choices, Exit.USAGE)
    _none(serial, there)


def _same(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _none(serial: str | None, there: list[Found]) -> NoReturn:
    if serial is not None and there:
        names = ", ".join(f"{one.port} ({one.serial or 'no serial number'})" for one in there)
        raise Failure(f"the board {serial} is not connected", f"there is {names}", "plug it in", Exit.NO_DEVICE)
    waiting = drives()
    if waiting:
        raise Failure(
            "no board found",
            f"{waiting[0].path} is a board in BOOTSEL mode: it has no MicroPython running",
            "rootlet flash, or unplug it and plug it in without the button",
            Exit.NO_DEVICE,
        )
    raise Failure(
        "no board found" if serial is None else f"the board {serial} is not connected",
        "no USB serial port is there",
        "plug the board in by a cable that carries data; without a board: rootlet demo",
        Exit.NO_DEVICE,
    )
