"""Puts firmware on a board: finds the boot loader, writes, and makes sure of what arrived. Files are checked before."""

import contextlib
import errno
import glob
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from host_tools import boards
from host_tools.boards import Board
from host_tools.failure import Exit, Failure
from host_tools.firmware_files import Checked

INFO = "INFO_UF2.TXT"
_MOUNTS = ("/media/*", "/media/*/*", "/run/media/*/*", "/Volumes/*", "/mnt/*")
_CHUNK = 64 * 1024
_VANISH_S = 30
_BACK_S = 15
_ESPTOOL_S = 900
_BAUD = "460800"
_GONE = {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOENT, errno.ENOTCONN}
# Words of esptool and pyserial -> (what happened, what to do, exit code); the first that fits counts.
_ESPTOOL_WORDS = (
    ("This chip is", "{port} has another chip; nothing was written", "rootlet flash --board …   (rootlet boards)", 4),
    ("Unexpected chip", "{port} has a chip that esptool does not know", "pip install -U esptool", 4),
    ("Permission denied", "{port} may not be opened", "sudo usermod -aG dialout $USER   (then log in again)", 3),
    ("exclusively lock", "{port} is busy", "lsof {port}   (close what holds it: a REPL, an IDE)", 3),
    ("temporarily unavailable", "{port} is busy", "lsof {port}   (close what holds it: a REPL, an IDE)", 3),
    ("resource busy", "{port} is busy", "lsof {port}   (close what holds it: a REPL, an IDE)", 3),
    ("No such file", "no board on {port}", "mpremote devs   (lists the ports that are there)", 3),
    ("Could not open", "{port} cannot be opened", "mpremote devs   (lists the ports that are there)", 3),
    ("Failed to connect", "no boot loader answers on {port}", "hold BOOT while you plug the board in, and repeat", 3),
    ("MD5", "what is on the board differs from the file", "repeat with a shorter cable; the old content is gone", 4),
)

Say = Callable[[str], None]


def _read_info(drive: Path) -> str:
    """The Board-ID of a boot loader's drive, "" where its file names none. Raises OSError."""
    with (drive / INFO).open("rb") as f:
        text = f.read(4096).decode("ascii", "replace")
    found = re.search(r"^Board-ID:\s*(\S+)", text, re.MULTILINE)
    return found[1] if found else ""


def find_drives() -> dict[Path, str]:
    """The mounted drives of UF2 boot loaders: folder -> Board-ID."""
    found = {}
    for pattern in _MOUNTS:
        for name in glob.glob(f"{pattern}/{INFO}"):
            with contextlib.suppress(OSError):
                found[Path(name).parent] = _read_info(Path(name).parent)
    return found


def choose_drive(board: Board, drive: Path | None = None) -> Path:
    """The boot loader's drive to write to.

    Args: drive: the one that is asked for; None: the only one that is there.
    Raises: Failure, exit code 3 where there is none, 2 where there are several, 4 where it is another chip's.
    """
    wanted = board["image"]["drive"]
    hold = "hold BOOTSEL while you plug the board in   (or: mpremote bootloader), and repeat"
    if drive is None:
        found = [path for path, name in find_drives().items() if name == wanted]
        if not found:
            raise Failure(
                "no boot loader's drive found", f"no mounted drive says Board-ID: {wanted}", hold, Exit.NO_DEVICE
            )
        if len(found) > 1:
            choices = "  or  ".join(f"rootlet flash --drive {path}" for path in found)
            raise Failure("several boards found", ", ".join(map(str, found)), choices, Exit.USAGE)
        return found[0]
    try:
        name = _read_info(drive)
    except FileNotFoundError:
        raise Failure(f"{drive} is no boot loader's drive", f"there is no {INFO} in it", hold, Exit.NO_DEVICE) from None
    except OSError as e:
        raise Failure(f"{drive} cannot be read", e.strerror or str(e), f"ls -l {drive}", Exit.NO_DEVICE) from None
    if name != wanted:
        raise Failure(
            f"{drive} is another chip's; nothing was written",
            f"it says Board-ID: {name or '(none)'}, {board['name']} has {wanted}",
            "rootlet flash --board …   (rootlet boards --known lists them)",
            Exit.UNVERIFIED,
        )
    return drive


def write_uf2(checked: Checked, drive: Path, say: Say, timeout_s: float = _VANISH_S) -> None:
    """Copy a UF2 file onto a boot loader's drive, flushed to the device, and wait until the board has taken it.

    The boot loader restarts the board, and so takes the drive away, only once every block has come. What it wrote
    cannot be read back over that drive.
    Raises: Failure.
    """
    target = drive / "FIRMWARE.UF2"
    data = checked.data
    written = 0
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(handle, "wb", buffering=0) as f:
            while written < len(data):
                chunk = data[written : written + _CHUNK]
                size = f.write(chunk)
                # The last blocks may take the drive away before the kernel has its answer.
                with contextlib.nullcontext() if written + size < len(data) else _may_vanish():
                    os.fsync(f.fileno())
                written += size
    except OSError as e:
        if not (e.errno in _GONE and written == len(data)):
            raise _drive_failure(drive, e, written, len(data)) from None
    say(f"copied {len(data)} bytes to {drive}")
    end = time.monotonic() + timeout_s
    while (drive / INFO).exists():
        if time.monotonic() > end:
            raise Failure(
                "the board did not take the firmware",
                f"its drive is still there {timeout_s:.0f} s after the copy",
                "unplug the board, hold BOOTSEL while you plug it in, and repeat",
            )
        time.sleep(0.05)
    say("the board took it, and restarts")


@contextlib.contextmanager
def _may_vanish() -> Any:
    try:
        yield
    except OSError as e:
        if e.errno not in _GONE:
            raise


def _drive_failure(drive: Path, error: OSError, written: int, total: int) -> Failure:
    reason = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        what = f"{drive} may not be written; nothing was written"
        return Failure(what, reason, f"ls -ld {drive}; mount | grep {drive}")
    if error.errno == errno.ENOSPC:
        return Failure("the file does not fit onto the drive", reason, f"df {drive}")
    return Failure(
        "the copy was cut off", f"{written} of {total} bytes: {reason}", "hold BOOTSEL, plug the board in, and repeat"
    )


def serial_ports() -> set[str]:
    """The USB serial ports that are there."""
    from serial.tools import list_ports

    return {port.device for port in list_ports.comports() if port.vid is not None}


def wait_for_port(before: set[str], timeout_s: float = _BACK_S) -> str:
    """The serial port that came since `before`; "" where none comes in time."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        new = serial_ports() - before
        if new:
            return min(new)
        time.sleep(0.1)
    return ""


def _esptool(port: str, arguments: list[str], show: Say) -> str:
    """Run the real esptool; its output is passed on as it comes. Returns it; raises Failure."""
    if find_spec("esptool") is None:
        raise Failure("ESP32 boards are flashed by esptool", "it is not installed", "pip install 'rootlet[flash]'")
    output = pending = ""
    with subprocess.Popen(
        [sys.executable, "-m", "esptool", "--port", port, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "240"},
    ) as child:
        watchdog = threading.Timer(_ESPTOOL_S, child.kill)
        watchdog.start()
        try:
            assert child.stdout is not None  # noqa: S101  (stdout=PIPE)
            while piece := os.read(child.stdout.fileno(), 4096):
                text = piece.decode("utf-8", "replace")
                output = (output + text)[-20000:]
                *lines, pending = (pending + text)[-20000:].split("\n")
                for line in lines:
                    if line.strip():
                        show(line.rstrip())
        except BaseException:
            child.kill()
            raise
        finally:
            watchdog.cancel()
    if child.returncode == 0:
        return output
    said = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [at for at, line in enumerate(said) if "error occurred" in line]
    reason = " ".join(said[fatal[-1] if fatal else -1 :])
    # An operating system's own words, in brackets, are nearer to the fact than esptool's guess before them.
    system = re.search(r"\((\[Errno \d+\][^()]*)\)", reason)
    because = system[1] if system else reason.rpartition("error occurred: ")[2] or "esptool gave no reason"
    for word, what, try_, code in _ESPTOOL_WORDS:
        if word.lower() in reason.lower():
            raise Failure(what.format(port=port), because[:200], try_.format(port=port), Exit(code))
    raise Failure(f"esptool failed on {port}", because[:200], f"esptool --port {port} flash-id")


def write_esp(checked: Checked, port: str, say: Say, show: Say, *, stub: bool = True) -> None:
    """Write a firmware file by esptool, which compares the MD5 of the flash with the file's.

    Args: port: serial port. show: takes esptool's own output. stub: False: the chip's ROM loader alone does it.
    Raises: Failure; a wrong chip or too small a flash is refused before anything is written.
    """
    image = checked.board["image"]
    common = ["--chip", checked.board["chip"].lower().replace("-", "")] + ([] if stub else ["--no-stub"])
    said = _esptool(port, [*common, "--after", "no-reset", "flash-id"], lambda _: None)
    found = re.search(r"Detected flash size: (\d+)([KM])B", said)
    flash = int(found[1]) << (20 if found[2] == "M" else 10) if found else None
    check_flash(checked, flash)
    say(f"{port}: {checked.board['chip']}, flash of {flash or 'unknown'} bytes")
    # What is written is what was checked, whatever becomes of the file meanwhile; private, for it may hold keys.
    with tempfile.NamedTemporaryFile(prefix="rootlet-", suffix=".bin") as f:
        f.write(checked.data)
        f.flush()
        arguments = ["--baud", _BAUD, "write-flash", "--flash-size", "keep", hex(image["offset"]), f.name]
        said = _esptool(port, [*common, *arguments], show)
    if "Hash of data verified" not in said:
        raise Failure(
            "esptool did not confirm what it wrote",
            'it did not say "Hash of data verified"',
            f"esptool --port {port} verify-flash {image['offset']:#x} FILE",
            Exit.UNVERIFIED,
        )
    say("written, and its MD5 on the chip is the file's")


def check_flash(checked: Checked, flash: int | None) -> None:
    """Refuse a chip whose flash the file does not fit.

    Args: flash: bytes, as the chip says; None where it says nothing.
    Raises: Failure, exit code 4.
    """
    because = ""
    if flash is not None and flash < checked.least_bytes:
        because = f"the chip's flash has {flash} bytes, the file wants {checked.least_bytes}"
    elif checked.exact and flash != checked.least_bytes:
        because = f"the chip's flash has {flash or 'unknown'} bytes, the file system is made for {checked.least_bytes}"
    if because:
        fix = "the same with --flash-mb, where the image is made; or another firmware file"
        raise Failure("the file does not fit this chip; nothing was written", because, fix, Exit.UNVERIFIED)


def project_device(name: str) -> tuple[Board, str | None, Path]:
    """A device of the project around this folder: its board, USB serial number and provisioned folder.

    Raises: Failure, exit code 2, where there is no project or no such device.
    """
    folder = None
    if find_spec("host_tools.project") is not None:
        project = import_module("host_tools.project")
        folder = project.find()
    if folder is None:
        raise Failure(
            f"{name} is neither a folder nor a device",
            "there is no rootlet.toml here or above",
            "rootlet flash --board BOARD --full TREE",
            Exit.USAGE,
        )
    found = project.load(folder)
    device = found.device(name)
    return boards.load(device.board), device.serial, Path(found.out(device.id))


def stage_device(board: Board, provisioned: Path, out: Path) -> Path:
    """Lay out a provisioned device's whole tree in `out`. Raises Failure."""
    from host_tools import deploy

    def file(*names: str) -> Path | None:
        return next((provisioned / name for name in names if (provisioned / name).is_file()), None)

    if file("config.json") is None:
        raise Failure("the device is not provisioned", f"no config.json in {provisioned}", "rootlet provision")
    return deploy.stage(
        out,
        board=board["id"],
        config=file("config.json"),
        trust=file("trust_roots.mpy", "trust_roots.py"),
        roots=file("roots.bin"),
        cert=file("device.crt.der"),
        key=file("device.key.der"),
        psk=file("device.psk"),
    )


def with_tree(checked: Checked, name: str, tree: Path) -> tuple[Checked, int]:
    """Firmware with a file system that holds a tree, checked again as a whole, and the number of its files.

    Raises: Failure.
    """
    from host_tools import esp_image, firmware_files, full_image, uf2

    files = full_image.read_tree(tree)
    full_image.check_tree(tree, files, checked.board)
    try:
        _, size = full_image.place(checked.data, checked.board)
        joined = full_image.join(checked.data, full_image.littlefs_image(files, checked.board, size), checked.board)
    except (uf2.Uf2Error, esp_image.EspError) as e:
        raise firmware_files.bad(name, str(e), checked.board) from None
    return firmware_files.check(joined, checked.board, "the full image"), len(files)


def keep(checked: Checked, out: Path, force: bool) -> None:
    """Write a full image to a file that only its owner can read. Raises Failure."""
    from host_tools import safe_write

    safe_write.write_all([safe_write.File(out, checked.data, safe_write.PRIVATE)], force=force)
