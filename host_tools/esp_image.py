"""ESP32 firmware files (boot loader, partition table and application in one), read and checked before a chip gets them.

Formats: ESP-IDF "App Image Format" and "Partition Tables"; esptool documentation, "Firmware Image Format".
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import reduce
from operator import xor

CHIPS = {
    0: "ESP32", 2: "ESP32-S2", 5: "ESP32-C3", 9: "ESP32-S3", 12: "ESP32-C2", 13: "ESP32-C6", 16: "ESP32-H2",
    18: "ESP32-P4", 23: "ESP32-C5",
}  # fmt: skip
MAGIC = 0xE9
TABLE = 0x8000
_TABLE_BYTES = 0xC00
_TABLE_MAGIC = b"\xaa\x50"
_MD5_MAGIC = b"\xeb\xeb" + b"\xff" * 14
_HEADER = struct.Struct("<BBBBI")
_EXTENDED = struct.Struct("<4xH9xB")
_CHECKSUM_SEED = 0xEF
_MAX_SEGMENTS = 16
_SECTOR = 4096
_APP = 0


class EspError(ValueError):
    """A file that no chip should get; the text is the observed fact."""


@dataclass(frozen=True)
class Image:
    """One image: `chip` id, `flash_bytes` its header expects, `size` in bytes with checksum and digest."""

    chip: int
    flash_bytes: int
    size: int


@dataclass(frozen=True)
class Partition:
    """A row of the partition table; offset and size in bytes."""

    label: str
    kind: int
    subtype: int
    offset: int
    size: int


@dataclass(frozen=True)
class Firmware:
    """A whole firmware file: the boot loader's header, the partitions, and where the application ends in the flash."""

    boot: Image
    partitions: tuple[Partition, ...]
    app_end: int


def chip_name(chip: int) -> str:
    """A chip id in words."""
    return f"{CHIPS.get(chip, 'unknown chip')} (id {chip})"


def parse_image(data: bytes, what: str = "the image") -> Image:
    """Read one image at the start of data, and check its checksum and digest.

    Raises: EspError.
    """
    try:
        magic, segments, _, size_frequency, _ = _HEADER.unpack_from(data)
        chip, digest = _EXTENDED.unpack_from(data, _HEADER.size)
    except struct.error:
        raise EspError(f"{what} is cut off in its header") from None
    if magic != MAGIC:
        raise EspError(f"{what} begins with 0x{magic:02x}, not 0xe9: no ESP32 image")
    if not 1 <= segments <= _MAX_SEGMENTS:
        raise EspError(f"{what} has {segments} segments")
    if size_frequency >> 4 > 7:
        raise EspError(f"{what} has an unknown flash size ({size_frequency >> 4})")
    at = _HEADER.size + _EXTENDED.size
    checksum = _CHECKSUM_SEED
    for number in range(segments):
        head = data[at : at + 8]
        length = struct.unpack("<4xI", head)[0] if len(head) == 8 else 0
        at += 8
        if len(head) < 8 or at + length > len(data):
            raise EspError(f"{what} is cut off in segment {number + 1} of {segments}")
        checksum ^= _xor(data[at : at + length])
        at += length
    at = (at // 16 + 1) * 16
    if at + 32 * bool(digest) > len(data):
        raise EspError(f"{what} is cut off before its checksum")
    if data[at - 1] != checksum:
        raise EspError(f"the checksum of {what} is 0x{data[at - 1]:02x}, its bytes give 0x{checksum:02x}")
    if digest:
        if hashlib.sha256(data[:at]).digest() != data[at : at + 32]:
            raise EspError(f"the SHA-256 of {what} is not that of its bytes")
        at += 32
    return Image(chip, 1 << (20 + (size_frequency >> 4)), at)


def _xor(data: bytes) -> int:
    # Folding in halves is fast for megabytes in plain Python.
    while len(data) > 64:
        half = (len(data) + 1) // 2
        low, high = data[:half], data[half:].ljust(half, b"\0")
        data = (int.from_bytes(low, "little") ^ int.from_bytes(high, "little")).to_bytes(half, "little")
    return reduce(xor, data, 0)


def parse_table(data: bytes) -> tuple[Partition, ...]:
    """Read a partition table, with its MD5.

    Raises: EspError.
    """
    rows: list[Partition] = []
    for at in range(0, min(len(data), _TABLE_BYTES) - 31, 32):
        row = data[at : at + 32]
        if row[:2] == _TABLE_MAGIC:
            kind, subtype, offset, size, label = struct.unpack("<2xBBII16s4x", row)
            name = label.split(b"\0")[0].decode("ascii", "replace")
            rows.append(Partition(name, kind, subtype, offset, size))
        elif row[:16] == _MD5_MAGIC and rows:
            if hashlib.md5(data[:at], usedforsecurity=False).digest() != row[16:]:
                raise EspError("the MD5 of the partition table is not that of its rows")
            return tuple(rows)
        else:
            break
    raise EspError("there is no partition table with an MD5 at 0x8000: an application alone, or another format")


def parse(data: bytes, offset: int) -> Firmware:
    """Read a firmware file whose first byte goes to address `offset` of the flash.

    Raises: EspError where any of its three parts is absent, damaged or at odds with the others.
    """
    boot = parse_image(data[: TABLE - offset], "the boot loader")
    partitions = parse_table(data[TABLE - offset : TABLE - offset + _TABLE_BYTES])
    last = 0
    for part in sorted(partitions, key=lambda part: part.offset):
        if part.offset < max(last, TABLE + 0x1000) or not part.size:
            raise EspError(f"partition {part.label!r} overlaps what is before it, or is empty")
        if part.offset % _SECTOR or part.size % _SECTOR:
            raise EspError(f"partition {part.label!r} is not made of whole sectors of {_SECTOR} bytes")
        last = part.offset + part.size
    app = next((part for part in partitions if part.kind == _APP), None)
    if app is None:
        raise EspError("the partition table has no application")
    start = app.offset - offset
    image = parse_image(data[start : start + app.size], "the application")
    if image.chip != boot.chip:
        raise EspError(f"boot loader for {chip_name(boot.chip)}, application for {chip_name(image.chip)}")
    return Firmware(boot, partitions, app.offset + image.size)


def check(firmware: Firmware, file_bytes: int, chip: int, offset: int, size: int) -> None:
    """Refuse firmware that is not for a board.

    Args: file_bytes: length of the file. chip: the board's chip id. offset: where the file goes.
        size: the board's flash, bytes.
    Raises: EspError.
    """
    if firmware.boot.chip != chip:
        raise EspError(f"the file is for {chip_name(firmware.boot.chip)}, the board has {chip_name(chip)}")
    if firmware.boot.flash_bytes > size:
        raise EspError(f"its header expects {firmware.boot.flash_bytes} bytes of flash, the board has {size}")
    if offset + file_bytes > size:
        raise EspError(f"it ends at 0x{offset + file_bytes:x}, the flash at 0x{size:x}")
    for part in firmware.partitions:
        if part.offset + part.size > size:
            raise EspError(f"partition {part.label!r} ends at 0x{part.offset + part.size:x}, the flash at 0x{size:x}")


def filesystem(firmware: Firmware, size: int) -> tuple[int, int]:
    """Where MicroPython keeps its file system: (address, bytes) in a flash of `size` bytes.

    It is the partition `vfs`; newer firmware has none in its table and takes what follows the last partition up to the
    end of the flash (MicroPython ports/esp32/partitions-4MiBplus.csv).
    Raises: EspError where there is no room or it is formatted as FAT.
    """
    for part in firmware.partitions:
        if part.label == "vfs":
            return part.offset, part.size
        if part.label == "ffat":
            raise EspError("its file system is FAT (partition 'ffat'), not LittleFS")
    start = max(part.offset + part.size for part in firmware.partitions)
    if size - start < 16 * _SECTOR:
        raise EspError(f"the partitions end at 0x{start:x}: no room for a file system in 0x{size:x}")
    return start, size - start


def least_flash(firmware: Firmware, end: int) -> int:
    """Bytes of flash a chip must have for that firmware, whose file ends at address `end`."""
    return max([firmware.boot.flash_bytes, end, *(part.offset + part.size for part in firmware.partitions)])


def is_fixed(firmware: Firmware) -> bool:
    """True where the partition table itself says how long the file system is."""
    return any(part.label == "vfs" for part in firmware.partitions)
