"""A stand-in for the ROM boot loader of an ESP32 on a serial port, for the real esptool to talk to.

It speaks the serial protocol of Espressif's esptool documentation: SLIP frames, SYNC, registers, SPI flash by plain or
deflated blocks, MD5. It does not show: the stub, resets by DTR/RTS, baud rates, timing, flash encryption, secure boot.
"""

import contextlib
import hashlib
import os
import pty
import select
import struct
import threading
import tty
import zlib
from functools import reduce
from operator import xor

MAGIC_REGISTER = 0x40001000
# First data word of the SPI controller, where the flash's JEDEC id appears: on the ESP32, and on later chips.
SPI_WORDS = {0x3FF42080, 0x60002058}
_MAGIC_OF_ESP32 = 0x00F01D83
_OK, _UNKNOWN, _BAD_CHECKSUM = b"\0\0\0\0", b"\1\5\0\0", b"\1\7\0\0"


class RomLoader:
    """A context manager. `port` is its serial port, `flash` what is on the chip, `writes` counts erasures and blocks.

    Args: chip: chip id. flash_bytes: a power of two. flip: address whose byte is stored wrong, or None.
    """

    def __init__(self, chip: int = 0, flash_bytes: int = 4 << 20, flip: int | None = None) -> None:
        self.chip, self.flip = chip, flip
        self.flash = bytearray(b"\x5a" * flash_bytes)
        self.writes = 0
        self._at = 0
        self._inflate = zlib.decompressobj()
        self._jedec = 0x40EF | (flash_bytes.bit_length() - 1) << 16

    def __enter__(self):
        self._board, self._host = pty.openpty()
        tty.setraw(self._host)
        self.port = os.ttyname(self._host)
        self._stop, self._stopping = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.write(self._stopping, b"x")
        self._thread.join(10)
        for handle in (self._board, self._host, self._stop, self._stopping):
            os.close(handle)

    def _run(self) -> None:
        pending = b""
        while True:
            ready, _, _ = select.select([self._board, self._stop], [], [])
            if self._stop in ready:
                return
            with contextlib.suppress(OSError):
                pending += os.read(self._board, 65536)
            *frames, pending = pending.split(b"\xc0")
            for frame in frames:
                if len(frame) >= 8:
                    self._answer(frame.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb"))

    def _answer(self, frame: bytes) -> None:
        _, command, size, checksum = struct.unpack_from("<BBHI", frame)
        data = frame[8 : 8 + size]
        value, reply = self._do(command, data, checksum)
        packet = struct.pack("<BBHI", 1, command, len(reply), value) + reply
        packet = b"\xc0" + packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"
        packet *= 8 if command == 0x08 else 1
        while packet:
            packet = packet[os.write(self._board, packet) :]

    def _do(self, command: int, data: bytes, checksum: int) -> tuple[int, bytes]:
        """(value, data and status) of a command."""
        if command == 0x08:  # SYNC; a stub would answer with the value 0
            return 0x20120707, _OK
        if command == 0x0A:  # READ_REG
            (register,) = struct.unpack_from("<I", data)
            if register == MAGIC_REGISTER:
                return _MAGIC_OF_ESP32 if self.chip == 0 else 0, _OK
            return self._jedec if register in SPI_WORDS else 0, _OK
        if command == 0x14 and self.chip:  # GET_SECURITY_INFO, unknown to the ESP32
            return 0, struct.pack("<IB7xII", 0, 0, self.chip, 0) + _OK
        if command in (0x02, 0x10):  # FLASH_BEGIN, FLASH_DEFL_BEGIN
            erase, _, _, self._at = struct.unpack_from("<4I", data)
            self._inflate = zlib.decompressobj()
            self._store(b"\xff" * erase, self._at)
            return 0, _OK
        if command in (0x03, 0x11):  # FLASH_DATA, FLASH_DEFL_DATA
            block = data[16:]
            if reduce(xor, block, 0xEF) != checksum:
                return 0, _BAD_CHECKSUM
            block = self._inflate.decompress(block) if command == 0x11 else block
            self._store(block, self._at)
            self._at += len(block)
            return 0, _OK
        if command == 0x13:  # SPI_FLASH_MD5
            start, size = struct.unpack_from("<2I", data)
            return 0, hashlib.md5(self.flash[start : start + size]).hexdigest().encode() + _OK
        # WRITE_REG, SPI_SET_PARAMS, SPI_ATTACH, CHANGE_BAUDRATE, and the ends of flashing
        return 0, _OK if command in (0x09, 0x0B, 0x0D, 0x0F, 0x04, 0x12) else _UNKNOWN

    def _store(self, block: bytes, at: int) -> None:
        if not block:
            return
        self.writes += 1
        block = bytearray(block[: len(self.flash) - at])
        if self.flip is not None and at <= self.flip < at + len(block):
            block[self.flip - at] ^= 1
        self.flash[at : at + len(block)] = block
