"""UF2 files: read and checked before they reach a board, and written. Format: github.com/microsoft/uf2, README.md."""

import struct
from dataclasses import dataclass

BLOCK = 512
PAYLOAD = 256
_MAGIC = (0x0A324655, 0x9E5D5157)
_END_MAGIC = 0x0AB16F30
_HEAD = struct.Struct("<8I")
_NOT_MAIN_FLASH = 0x00000001
_FILE_CONTAINER = 0x00001000
_FAMILY_PRESENT = 0x00002000

FAMILIES = {
    0xE48BFF56: "RP2040",
    0xE48BFF57: "RP2-absolute",
    0xE48BFF58: "RP2-data",
    0xE48BFF59: "RP2350-arm-s",
    0xE48BFF5A: "RP2350-riscv",
    0xE48BFF5B: "RP2350-arm-ns",
}
RP2040, ABSOLUTE, ARM_S = 0xE48BFF56, 0xE48BFF57, 0xE48BFF59
# The one block that picotool puts before an RP2350 image against erratum RP2350-E10; the boot ROM writes it nowhere.
_E10_TARGET = 0x10FFFF00
# The RP2350 looks for this marker in the first 4 KB of the flash (datasheet, "Image definition").
_RP2350_MARKER = struct.pack("<I", 0xFFFFDED3)


class Uf2Error(ValueError):
    """A UF2 file that no board should get; the text is the observed fact."""


@dataclass(frozen=True)
class Image:
    """What a UF2 file writes: `family` (its id) and `pages` (address -> 256 bytes), `prologue` the E10 block or b""."""

    family: int
    pages: dict[int, bytes]
    prologue: bytes = b""

    @property
    def start(self) -> int:
        """The lowest address."""
        return min(self.pages)

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return max(self.pages) + PAYLOAD


def family_name(family: int) -> str:
    """A family id in words."""
    return f"{FAMILIES.get(family, 'unknown')} (0x{family:08x})"


def parse(data: bytes) -> Image:
    """Read a UF2 file for an RP2040 or RP2350.

    Args: data: the whole file.
    Raises: Uf2Error on anything but complete, numbered blocks of one family with 256 bytes each.
    """
    if not data or len(data) % BLOCK:
        raise Uf2Error(f"{len(data)} bytes are no whole number of 512-byte blocks: not UF2, or cut off")
    pages: dict[int, bytes] = {}
    family = total = None
    prologue = b""
    for index in range(len(data) // BLOCK):
        block = data[index * BLOCK : (index + 1) * BLOCK]
        target, number, count, kind, payload = _block(block, index)
        if index == 0 and kind == ABSOLUTE and target == _E10_TARGET and len(data) > BLOCK:
            prologue = block
            continue
        if family is None:
            family, total = kind, count
        if kind != family:
            raise Uf2Error(f"block {index} is for {family_name(kind)}, those before it for {family_name(family)}")
        wanted = index - bool(prologue)
        if number != wanted or count != total:
            raise Uf2Error(f"block {index} says {number} of {count}, not {wanted} of {total}")
        if target in pages:
            raise Uf2Error(f"address 0x{target:08x} is written twice")
        pages[target] = payload
    if len(pages) != total or family is None:
        raise Uf2Error(f"{len(pages)} of {total} blocks are there: the file is cut off")
    return Image(family, pages, prologue)


def _block(block: bytes, index: int) -> tuple[int, int, int, int, bytes]:
    """(target, number, count, family, payload) of one block."""
    magic0, magic1, flags, target, size, number, count, family = _HEAD.unpack_from(block)
    if (magic0, magic1) != _MAGIC or struct.unpack_from("<I", block, BLOCK - 4)[0] != _END_MAGIC:
        raise Uf2Error(f"block {index} lacks the UF2 magic numbers")
    if flags & (_NOT_MAIN_FLASH | _FILE_CONTAINER):
        raise Uf2Error(f"block {index} is not for the main flash (flags 0x{flags:x})")
    if not flags & _FAMILY_PRESENT:
        raise Uf2Error(f"block {index} names no chip family")
    if size != PAYLOAD or target % PAYLOAD:
        raise Uf2Error(f"block {index} writes {size} bytes at 0x{target:08x}, not a page of 256")
    return target, number, count, family, block[_HEAD.size : _HEAD.size + PAYLOAD]


def check(image: Image, families: list[int], start: int, size: int) -> None:
    """Refuse an image that is not for a board's chip, or that the chip would not start.

    Args: families: ids the board takes. start, size: its flash, address and bytes.
    Raises: Uf2Error.
    """
    if image.family not in families:
        wanted = " or ".join(family_name(family) for family in families)
        raise Uf2Error(f"the file is for {family_name(image.family)}, the board takes {wanted}")
    if image.start < start or image.end > start + size:
        raise Uf2Error(
            f"it writes 0x{image.start:08x} to 0x{image.end:08x}, the flash is 0x{start:08x} to 0x{start + size:08x}"
        )
    if image.start != start:
        raise Uf2Error(f"it begins at 0x{image.start:08x}, not at the start of the flash 0x{start:08x}: no firmware")
    first = image.pages[start]
    if families[0] == RP2040:
        # The boot ROM checks the first page and starts nothing where its CRC is wrong (RP2040 datasheet, 2.8.1.3.1).
        if crc32_mpeg2(first[:-4]) != struct.unpack("<I", first[-4:])[0]:
            raise Uf2Error("the checksum of the second-stage boot loader is wrong: the chip would not start it")
    elif _RP2350_MARKER not in b"".join(image.pages.get(start + at, b"") for at in range(0, 4096, PAYLOAD)):
        raise Uf2Error("there is no image definition in its first 4 KB: the chip would not start it")


def crc32_mpeg2(data: bytes) -> int:
    """CRC-32 with polynomial 0x04c11db7, most significant bit first, no final inversion."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def build(family: int, pages: dict[int, bytes], prologue: bytes = b"") -> bytes:
    """A UF2 file.

    Args: family: chip family id. pages: address -> 256 bytes. prologue: a block to put first, or b"".
    """
    out = bytearray(prologue)
    for number, address in enumerate(sorted(pages)):
        out += _HEAD.pack(*_MAGIC, _FAMILY_PRESENT, address, PAYLOAD, number, len(pages), family)
        out += pages[address].ljust(BLOCK - _HEAD.size - 4, b"\0") + struct.pack("<I", _END_MAGIC)
    return bytes(out)


def pages_of(data: bytes, address: int) -> dict[int, bytes]:
    """Bytes cut into pages from that address on; the last is filled with 0xff."""
    return {address + at: data[at : at + PAYLOAD].ljust(PAYLOAD, b"\xff") for at in range(0, len(data), PAYLOAD)}
