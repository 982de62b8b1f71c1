"""Pre-shared keys for boards: makes, lists and checks them. One key a device, never printed."""

import os
import secrets
import stat
import string
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from host_tools.failure import Exit, Failure
from host_tools.safe_write import PRIVATE, File, make_directory, write_all

KEY_BYTES = 32
SHORTEST = 16
LIMITS = (
    "no forward secrecy: whoever learns the key later can read everything recorded before",
    "no certificate: whoever holds the key is taken for the device, and for the broker",
    "MicroPython 1.29 or newer on the board, and Mosquitto as the broker",
)
_MOST_BYTES = 4096
_LETTERS = frozenset(string.ascii_letters + string.digits + "-_.")


@dataclass(frozen=True)
class Key:
    """Where a device's key lies: `hex_file` for brokers, `raw_file` for the board; the same 32 bytes."""

    device: str
    hex_file: Path
    raw_file: Path


def new(device: str, directory: Path, *, force: bool = False) -> Key:
    """Make a key of 32 random bytes for a device.

    Args:
        device: the device id, which is its identity: 1 to 48 letters, digits, '-', '_' or '.'.
        directory: the key goes into its folder psk/. force: replace one that exists; the old files stay as .bak.
    Raises: Failure.
    """
    if not 0 < len(device) <= 48 or not set(device) <= _LETTERS or device.startswith("."):
        raise Failure(
            "the device id cannot be used",
            f"{device[:60]!r} is not 1 to 48 letters, digits, '-', '_' or '.', the first no '.'",
            "rootlet psk new pico-1",
            Exit.USAGE,
        )
    folder = directory / "psk"
    make_directory(directory)
    make_directory(folder)
    key = secrets.token_bytes(KEY_BYTES)
    made = Key(device, folder / f"{device}.key", folder / f"{device}.psk")
    files = [File(made.hex_file, key.hex().encode() + b"\n", PRIVATE), File(made.raw_file, key, PRIVATE)]
    write_all(files, force=force)
    return made


def entries(directory: Path) -> list[dict[str, str]]:
    """The keys of a directory: device, file, and when it was made (its age tells when to make another)."""
    found = []
    for path in sorted((directory / "psk").glob("*.key")):
        _read_hex(path)
        made = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d")
        found.append({"device": path.stem, "file": str(path), "made": made})
    return found


def mosquitto_lines(directory: Path) -> str:
    """The keys of a directory as Mosquitto's psk_file wants them: a secret. Raises Failure where there is none."""
    lines = [f"{path.stem}:{_read_hex(path)}\n" for path in sorted((directory / "psk").glob("*.key"))]
    if not lines:
        raise Failure(
            f"there is no pre-shared key in {directory}",
            f"no file {directory / 'psk' / '*.key'}",
            f"rootlet psk new DEVICE --dir {directory}",
            Exit.USAGE,
        )
    return "".join(lines)


def check_raw(path: Path) -> None:
    """That a file may go onto a board as its key: private, 16 to 32 raw bytes. Raises Failure; shows no content."""
    data = _read_private(path)
    fix = "rootlet psk new DEVICE, and give its file DEVICE.psk"
    if data.strip() and set(data.strip()) <= frozenset(string.hexdigits.encode()):
        raise Failure("the board needs the raw key", f"{path} holds hexadecimal digits", fix, Exit.USAGE)
    if not SHORTEST <= len(data) <= KEY_BYTES:
        because = f"{path} holds {len(data)} bytes, it must be {SHORTEST} to {KEY_BYTES}"
        raise Failure("the pre-shared key cannot be used", because, fix, Exit.USAGE)


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(_MOST_BYTES)
    except OSError as error:
        raise Failure(f"cannot read {path}", error.strerror or str(error), f"ls -l {path}", Exit.USAGE) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Failure(
            "others can read the pre-shared key",
            f"{path} has mode {stat.S_IMODE(mode):o}",
            f"make another one (rootlet psk new DEVICE --force), or chmod 600 {path} if nobody has read it",
        )
    return data


def _read_hex(path: Path) -> str:
    text = _read_private(path).strip()
    good = len(text) % 2 == 0 and SHORTEST * 2 <= len(text) <= KEY_BYTES * 2
    if not good or not set(text) <= frozenset(string.hexdigits.encode()) or not set(path.stem) <= _LETTERS:
        raise Failure(
            f"{path} is no pre-shared key",
            f"it is not DEVICE.key with {SHORTEST * 2} to {KEY_BYTES * 2} hexadecimal digits",
            f"rootlet psk new {path.stem[:48]} --force",
        )
    return text.decode()
