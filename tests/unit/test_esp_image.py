"""ESP32 firmware files: read and refused; esptool's own reader agrees on what is sound."""

import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from host_tools import esp_image
from tests import synthetic

FLASH = 4 << 20
APP = 0x10000 - 0x1000


def checked(data: bytes, chip: int = 0, offset: int = 0x1000, size: int = FLASH) -> esp_image.Firmware:
    firmware = esp_image.parse(data, offset)
    esp_image.check(firmware, len(data), chip, offset, size)
    return firmware


def changed(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(("chip", "offset"), [(0, 0x1000), (9, 0), (5, 0)])
def test_sound_firmware(chip: int, offset: int) -> None:
    data = synthetic.esp(chip, offset)
    firmware = checked(data, chip, offset)
    assert firmware.boot.flash_bytes == 4 << 20 and firmware.app_end == offset + len(data)
    assert [part.label for part in firmware.partitions] == ["nvs", "phy_init", "factory", "vfs"]
    assert esp_image.filesystem(firmware, FLASH) == (0x200000, 0x200000)


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4093, 70_001])
def test_esptool_agrees(size: int, digest: bool, tmp_path: Path) -> None:
    data = synthetic.esp_image(5, size // 4 * 4, digest)
    assert esp_image.parse_image(data) == esp_image.Image(5, 4 << 20, len(data))
    (tmp_path / "x.bin").write_bytes(data)
    if size in (17, 70_001):
        command = [sys.executable, "-m", "esptool", "image-info", str(tmp_path / "x.bin")]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.lower()
        assert "(valid)" in said and "invalid" not in said, said


def test_a_file_system_where_the_table_has_none() -> None:
    firmware = checked(synthetic.esp(vfs=False))
    assert esp_image.filesystem(firmware, FLASH) == (0x200000, 0x200000)
    assert esp_image.filesystem(firmware, 8 << 20) == (0x200000, 0x600000)
    assert not esp_image.is_fixed(firmware)
    later = checked(synthetic.esp(rows=[*synthetic.ROWS[:2], (0, 0, 0x10000, 0x210000, "factory")]))
    assert esp_image.filesystem(later, FLASH) == (0x220000, 0x1E0000)
    with pytest.raises(esp_image.EspError, match="no room"):
        esp_image.filesystem(firmware, 2 << 20)
    fat = checked(synthetic.esp(rows=[*synthetic.ROWS, (1, 0x81, 0x200000, 0x200000, "ffat")]))
    with pytest.raises(esp_image.EspError, match="FAT"):
        esp_image.filesystem(fat, FLASH)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: b"", "boot loader is cut off in its header"),
        (lambda d: b"UF2\n" + d, "begins with 0x55, not 0xe9"),
        (lambda d: changed(d, 1, b"\0"), "0 segments"),
        (lambda d: changed(d, 1, b"\x11"), "17 segments"),
        (lambda d: changed(d, 3, b"\xf0"), "unknown flash size"),
        (lambda d: changed(d, 28, b"\xff\xff\xff\x7f"), "cut off in segment 1 of 3"),
        (lambda d: changed(d, 40, b"wrong"), "checksum of the boot loader"),
        (lambda d: changed(d, 4, b"\1"), "SHA-256 of the boot loader"),
        (lambda d: d[:0x7000], "no partition table"),
        (lambda d: changed(d, 0x7000, b"\0"), "no partition table"),
        (lambda d: changed(d, 0x7004, b"\0\xa0"), "MD5 of the partition table"),
        (lambda d: d[:APP], "application is cut off in its header"),
        (lambda d: d[:-1], "application is cut off before its checksum"),
        (lambda d: d[:-20_000], "application is cut off in segment"),
        (lambda d: changed(d, APP + 1000, b"wrong"), "checksum of the application"),
        (lambda d: changed(d, len(d) - 1, bytes([d[-1] ^ 1])), "SHA-256 of the application"),
        (lambda d: d[:APP] + synthetic.esp_image(9, 4000), "boot loader for ESP32 .* application for ESP32-S3"),
        (lambda d: synthetic.esp(app_bytes=0x1F0000), "cut off"),
        (lambda d: synthetic.esp(rows=synthetic.ROWS[:2]), "no application"),
        (lambda d: synthetic.esp(rows=[*synthetic.ROWS, (1, 0x81, 0x1FF000, 0x1000, "vfs")]), "overlaps"),
        (lambda d: synthetic.esp(rows=[(1, 2, 0x8000, 0x1000, "nvs"), *synthetic.ROWS[2:]]), "overlaps"),
        (lambda d: synthetic.esp(rows=[*synthetic.ROWS, (1, 0x81, 0x200000, 0x1001, "vfs")]), "whole sectors"),
        (lambda d: synthetic.esp(9), r"for ESP32-S3 \(id 9\), the board has ESP32"),
        (lambda d: synthetic.esp(77), "for unknown chip"),
        (lambda d: synthetic.esp(flash_code=4), "expects 16777216 bytes of flash"),
        (
            lambda d: synthetic.esp(rows=[*synthetic.ROWS, (1, 0x81, 0x200000, 0x600000, "vfs")]),
            "'vfs' ends at 0x800000",
        ),
        (lambda d: d.ljust(4 << 20, b"\0"), "it ends at 0x401000"),
    ],
)
def test_each_fault_is_named(change, named: str) -> None:
    good = synthetic.esp()
    checked(good)
    with pytest.raises(esp_image.EspError, match=named):
        checked(change(good))


def test_the_digest_covers_what_the_checksum_does_not() -> None:
    data = bytearray(synthetic.esp_image(0, 64))
    struct.pack_into("<I", data, 4, 0x40090000)
    with pytest.raises(esp_image.EspError, match="SHA-256"):
        esp_image.parse_image(bytes(data))
    data[-32:] = hashlib.sha256(data[:-32]).digest()
    assert esp_image.parse_image(bytes(data)).size == len(data)
