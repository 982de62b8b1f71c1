"""What a full image's file system must have so that every supported MicroPython reads it; the rest is shown by
tests/integration/test_flash.py.
"""

import struct

import pytest

from host_tools import boards, full_image

SIZES = {"pico_w": 868352, "esp32_generic": 2 << 20}


def blocks(image: bytes) -> int:
    """How many blocks are not erased."""
    return sum(image[at : at + 4096] != b"\xff" * 4096 for at in range(0, len(image), 4096))


@pytest.mark.parametrize(("board", "inline"), [("pico_w", 512), ("esp32_generic", 128)])
def test_files_within_a_folder_fit_the_board_s_cache(board: str, inline: int) -> None:
    """A driver reads such a file into its cache, and one with a smaller cache than ours would write past its end."""
    facts = boards.load(board)
    empty, small, large = (
        blocks(full_image.littlefs_image({"main.py": b"x" * size}, facts, SIZES[board]))
        for size in (0, inline, inline + 1)
    )
    assert (small, large) == (empty, empty + 1)


@pytest.mark.parametrize("board", SIZES)
def test_older_drivers_take_the_disk_version(board: str) -> None:
    image = full_image.littlefs_image({"main.py": b""}, boards.load(board), SIZES[board])
    # LittleFS SPEC.md: the superblock's name, a tag, then version, block size, block count, name_max.
    found = struct.unpack_from("<4I", image, image.index(b"littlefs") + 12)
    assert found == (0x00020000, 4096, SIZES[board] // 4096, 255)


def test_what_does_not_come_back_was_not_there() -> None:
    facts = boards.load("pico_w")
    files = {"main.py": b"1", "a/b/c/d.txt": b"deep", "name with spaces \u00e9": b"2"}
    assert full_image.extract(full_image.littlefs_image(files, facts, SIZES["pico_w"]), facts) == files
