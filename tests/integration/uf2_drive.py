"""A stand-in for the drive of the Pico's boot loader: a folder that takes a UF2 file as the boot ROM does.

It keeps pages by their address and goes away once every block has come. It does not show: a FAT file system, the mass
storage protocol, the order and pace of a real drive's writes, the flash itself.
"""

import struct
import threading
from pathlib import Path

INFO = "UF2 Bootloader v3.0\nModel: Raspberry Pi RP2\nBoard-ID: %s\n"


class Drive:
    """A context manager. `folder` is the drive, `flash` what the chip's flash holds, from 0x10000000 on."""

    def __init__(self, folder: Path, board_id: str = "RPI-RP2", flash_bytes: int = 2 << 20, takes: bool = True) -> None:
        self.folder, self.takes = folder, takes
        self.flash = bytearray(b"\x5a" * flash_bytes)
        self.family = 0
        self._stop = threading.Event()
        folder.mkdir()
        (folder / "INFO_UF2.TXT").write_text(INFO % board_id)
        (folder / "INDEX.HTM").write_text("<html></html>")

    def __enter__(self):
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)

    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def _run(self) -> None:
        # A real drive sees each block come; here the folder is looked at until the last one is in it.
        while not self._stop.wait(0.01):
            for path in self.folder.glob("*.[uU][fF]2"):
                data = path.read_bytes()
                if self.takes and len(data) >= 1024 and len(data) % 512 == 0:
                    count = struct.unpack_from("<I", data, len(data) - 512 + 24)[0]
                    number = struct.unpack_from("<I", data, len(data) - 512 + 20)[0]
                    if number == count - 1:
                        self._program(data)
                        self.folder.rename(self.folder.with_name(self.folder.name + " (gone)"))
                        return

    def _program(self, data: bytes) -> None:
        for at in range(0, len(data), 512):
            target, size, _, _, self.family = struct.unpack_from("<5I", data, at + 12)
            offset = target - 0x10000000
            if offset < len(self.flash):
                self.flash[offset : offset + size] = data[at + 32 : at + 32 + size]
