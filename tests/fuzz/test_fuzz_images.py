"""Firmware files of any bytes: each reader gives its own error or an image, also where every checksum is right."""

import hashlib
import os
from functools import lru_cache

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_tools import boards, esp_image, firmware_files, full_image, uf2
from host_tools.failure import Failure
from tests import synthetic

EXAMPLES = int(os.environ.get("ROOTLET_FUZZ_EXAMPLES", "2000"))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
BOARDS = boards.all_boards()


@lru_cache
def sample(kind: str) -> bytes:
    return {
        "rp2": lambda: synthetic.rp2(2000),
        "rp2350": lambda: synthetic.rp2350(2000),
        "esp": lambda: synthetic.esp(app_bytes=300),
        "esp_image": lambda: synthetic.esp_image(0, 300),
        "table": lambda: synthetic.table([*synthetic.ROWS, synthetic.VFS]),
    }[kind]()


def read_uf2(data: bytes) -> None:
    try:
        image = uf2.parse(data)
        assert len(image.pages) * 512 <= len(data)
        uf2.check(image, [uf2.RP2040], synthetic.START, 2 << 20)
        assert all(synthetic.START <= at < synthetic.START + (2 << 20) for at in image.pages)
    except uf2.Uf2Error:
        pass


def read_esp(data: bytes, offset: int = 0x1000) -> None:
    try:
        firmware = esp_image.parse(data, offset)
        esp_image.check(firmware, len(data), 0, offset, 4 << 20)
        start, size = esp_image.filesystem(firmware, 4 << 20)
        assert firmware.app_end <= 4 << 20 and start + size <= 4 << 20
    except esp_image.EspError:
        pass


def spoilt(data: st.DataObject, good: bytes, low: int, high: int) -> bytes:
    out = bytearray(good)
    for _ in range(data.draw(st.integers(1, 6))):
        out[data.draw(st.integers(low, high - 1))] = data.draw(st.integers(0, 255))
    return bytes(out[: data.draw(st.integers(0, len(out)))] if data.draw(st.booleans()) else out)


@fuzz
@given(st.binary(max_size=1600))
def test_any_bytes(data):
    read_uf2(data)
    read_uf2(b"UF2\nWQ]\x9e" + data)
    read_esp(data)
    read_esp(b"\xe9\x01" + data, 0)


@fuzz
@given(st.data())
def test_changed_uf2(data):
    good = sample(data.draw(st.sampled_from(["rp2", "rp2350"])))
    # Mostly heads of blocks: a changed payload is but another program.
    block = data.draw(st.integers(0, len(good) // 512 - 1)) * 512
    read_uf2(spoilt(data, good, block, block + 32))


@fuzz
@given(st.data())
def test_changed_esp_image_with_right_digest(data):
    out = spoilt(data, sample("esp_image"), 0, 60)
    try:
        image = esp_image.parse_image(out[:-32] + hashlib.sha256(out[:-32]).digest())
        assert image.size <= len(out)
    except esp_image.EspError:
        pass


@fuzz
@given(st.data())
def test_changed_partitions_with_right_md5(data):
    rows = spoilt(data, sample("table")[:128], 0, 128)
    table = (rows + b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(rows).digest()).ljust(0xC00, b"\xff")
    good = sample("esp")
    read_esp(good[:0x7000] + table + good[0x7C00:])


@fuzz
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 2), *[st.integers(0, 2**32 - 1)] * 2, st.just("vfs")), max_size=5
    )
)
def test_any_partitions(rows):
    good = sample("esp")
    read_esp(good[:0x7000] + synthetic.table(rows) + good[0x7C00:])


@settings(parent=fuzz, max_examples=max(50, EXAMPLES // 10))
@given(st.data())
def test_files_are_refused_in_three_lines(data):
    good = sample(data.draw(st.sampled_from(["rp2", "rp2350", "esp"])))
    out = spoilt(data, good, 0, min(len(good), 0x8000))
    for board in BOARDS:
        try:
            checked = firmware_files.check(out, board, "file")
            start, size = full_image.place(checked.data, board)
            assert size % 4096 == 0 and start % 256 == 0
        except Failure as e:
            assert len(str(e).splitlines()) == 3
        except (uf2.Uf2Error, esp_image.EspError):
            pass
    try:
        firmware_files.board_of(out, "file")
    except Failure as e:
        assert len(str(e).splitlines()) == 3
