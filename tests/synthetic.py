"""Sound firmware files of random bytes, in the shape of MicroPython's releases: none for a real board is at hand."""

import hashlib
import random
import struct
from functools import reduce
from operator import xor

from host_tools import uf2

START = 0x10000000


def rp2_pages(size: int = 10_000, chip: str = "RP2040") -> dict[int, bytes]:
    data = bytearray(random.Random(size).randbytes(size))
    if chip == "RP2040":
        data[252:256] = struct.pack("<I", uf2.crc32_mpeg2(bytes(data[:252])))
    else:
        data[512:516] = struct.pack("<I", 0xFFFFDED3)
    return uf2.pages_of(bytes(data), START)


def rp2(size: int = 10_000, family: int = uf2.RP2040) -> bytes:
    return uf2.build(family, rp2_pages(size, "RP2040" if family == uf2.RP2040 else "RP2350"))


def rp2350(size: int = 10_000) -> bytes:
    """With the block that is put first against erratum E10."""
    prologue = bytearray(uf2.build(uf2.ABSOLUTE, {0x10FFFF00: b"\xef" * 256}))
    prologue[24:28] = struct.pack("<I", 2)
    return uf2.build(uf2.ARM_S, rp2_pages(size, "RP2350"), bytes(prologue))


def esp_image(chip: int, size: int, digest: bool = True, flash_code: int = 2, seed: int = 1) -> bytes:
    """An image with three segments."""
    body = random.Random(seed).randbytes(size)
    third = size // 3 // 4 * 4
    segments = [body[:third], body[third : 2 * third], body[2 * third :]]
    out = bytearray(struct.pack("<BBBBI", 0xE9, 3, 2, flash_code << 4, 0x40080000))
    out += struct.pack("<4xH9xB", chip, digest)
    for number, segment in enumerate(segments):
        out += struct.pack("<II", 0x3FFF0000 + number * 0x10000, len(segment)) + segment
    out += b"\0" * (15 - len(out) % 16)
    out.append(reduce(xor, body, 0xEF))
    return bytes(out) + (hashlib.sha256(out).digest() if digest else b"")


def table(rows: list[tuple[int, int, int, int, str]]) -> bytes:
    """A partition table of (type, subtype, offset, size, label)."""
    out = b"".join(struct.pack("<HBBII16s4x", 0x50AA, *row[:4], row[4].encode()) for row in rows)
    return (out + b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(out).digest()).ljust(0xC00, b"\xff")


ROWS = [(1, 2, 0x9000, 0x6000, "nvs"), (1, 1, 0xF000, 0x1000, "phy_init"), (0, 0, 0x10000, 0x1F0000, "factory")]
VFS = (1, 0x81, 0x200000, 0x200000, "vfs")


def esp(
    chip: int = 0, offset: int = 0x1000, app_bytes: int = 40_000, vfs: bool = True, flash_code: int = 2, rows=None
) -> bytes:
    """Boot loader, partition table and application, as makeimg.py puts them together."""
    out = esp_image(chip, 6_000, flash_code=flash_code).ljust(0x8000 - offset, b"\xff")
    out += table(rows or ROWS + [VFS] * vfs)
    return out.ljust(0x10000 - offset, b"\xff") + esp_image(chip, app_bytes, seed=2)
