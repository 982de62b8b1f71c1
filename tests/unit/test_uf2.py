"""UF2 files: read, refused and written; each fault is named before a board sees the file."""

import struct
import zlib

import pytest

from host_tools import uf2
from tests import synthetic

FLASH = 2 << 20


def field(data: bytes, block: int, index: int, value: int) -> bytes:
    """The file with one 32-bit word of a block's head changed."""
    out = bytearray(data)
    struct.pack_into("<I", out, block * 512 + index * 4, value)
    return bytes(out)


def checked(data: bytes, families: list[int] | None = None, size: int = FLASH) -> uf2.Image:
    image = uf2.parse(data)
    uf2.check(image, families or [uf2.RP2040], synthetic.START, size)
    return image


def test_what_is_built_is_read_back() -> None:
    pages = synthetic.rp2_pages()
    image = checked(uf2.build(uf2.RP2040, pages))
    assert image.pages == pages and image.family == uf2.RP2040
    assert (image.start, image.end) == (0x10000000, 0x10000000 + len(pages) * 256)


def test_rp2350_with_the_block_against_its_erratum() -> None:
    data = synthetic.rp2350()
    image = checked(data, [uf2.ARM_S, uf2.ABSOLUTE], 4 << 20)
    assert image.pages == synthetic.rp2_pages(chip="RP2350")
    assert uf2.build(image.family, image.pages, image.prologue) == data


def test_the_layout_of_a_block() -> None:
    data = uf2.build(uf2.RP2040, {0x10000000: bytes(range(256))})
    assert len(data) == 512 and data[:8] == b"UF2\nWQ]\x9e" and data[-4:] == bytes.fromhex("306fb10a")
    assert data[32:288] == bytes(range(256))


def test_the_checksum_is_crc32_mpeg2() -> None:
    assert uf2.crc32_mpeg2(b"123456789") == 0x0376E6E7  # its check value in every catalogue of CRCs
    # The same polynomial as zlib's, with the bits of each byte and of the result turned round and inverted at the end.
    turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in b"rootlet")
    assert uf2.crc32_mpeg2(b"rootlet") == int(f"{zlib.crc32(turned) ^ 0xFFFFFFFF:032b}"[::-1], 2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: b"", "0 bytes"),
        (lambda d: d[:-1], "cut off"),
        (lambda d: d[:-512], "39 of 40 blocks"),
        (lambda d: d[512:], "says 1 of 40, not 0"),
        (lambda d: d + d[:512], "says 0 of 40, not 40"),
        (lambda d: d[:512] + d[1024:1536] + d[512:1024] + d[1536:], "says 2 of 40, not 1"),
        (lambda d: field(d, 3, 0, 0), "block 3 lacks the UF2 magic"),
        (lambda d: field(d, 3, 1, 0), "block 3 lacks the UF2 magic"),
        (lambda d: field(d, 3, 127, 0), "block 3 lacks the UF2 magic"),
        (lambda d: field(d, 3, 2, 0x2001), "not for the main flash"),
        (lambda d: field(d, 3, 2, 0x3000), "not for the main flash"),
        (lambda d: field(d, 3, 2, 0), "names no chip family"),
        (lambda d: field(d, 3, 3, 0x10000301), "not a page"),
        (lambda d: field(d, 3, 3, 0x10000000), "written twice"),
        (lambda d: field(d, 3, 4, 476), "not a page"),
        (lambda d: field(d, 3, 6, 41), "of 41, not 3 of 40"),
        (lambda d: field(d, 3, 7, uf2.ARM_S), "those before it for RP2040"),
        (lambda d: field(d, 3, 3, 0x0FFFFF00), "the flash is 0x10000000"),
        (lambda d: field(d, 3, 3, 0x10200000), "the flash is 0x10000000"),
        (lambda d: field(d, 3, 3, 0xFFFFFF00), "the flash is 0x10000000"),
        (lambda d: field(d, 0, 3, 0x10100000), "not at the start"),
        (lambda d: field(d, 0, 9, 1), "second-stage boot loader"),
    ],
)
def test_each_fault_is_named(change, named: str) -> None:
    good = synthetic.rp2()
    checked(good)
    with pytest.raises(uf2.Uf2Error, match=named):
        checked(change(good))


def test_another_family() -> None:
    with pytest.raises(uf2.Uf2Error, match=r"for RP2350-arm-s .* takes RP2040"):
        checked(synthetic.rp2350())
    with pytest.raises(uf2.Uf2Error, match="for RP2350-riscv"):
        checked(uf2.build(0xE48BFF5A, synthetic.rp2_pages(chip="RP2350")), [uf2.ARM_S, uf2.ABSOLUTE])
    with pytest.raises(uf2.Uf2Error, match=r"for unknown \(0x0000abcd\)"):
        checked(uf2.build(0xABCD, synthetic.rp2_pages()))


def test_rp2350_without_an_image_definition() -> None:
    with pytest.raises(uf2.Uf2Error, match="no image definition"):
        checked(uf2.build(uf2.ARM_S, uf2.pages_of(bytes(8192), synthetic.START)), [uf2.ARM_S])


def test_the_erratum_block_is_not_taken_for_firmware() -> None:
    with pytest.raises(uf2.Uf2Error, match="of 2 blocks|the flash is"):
        checked(synthetic.rp2350()[:512], [uf2.ARM_S, uf2.ABSOLUTE])
