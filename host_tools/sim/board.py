"""A virtual board: MicroPython behind a pseudo-terminal, with the heap, files, resets and faults of a real board."""

import contextlib
import json
import os
import pty
import random
import shutil
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from host_tools import boards
from host_tools.failure import Exit, Failure
from host_tools.sim.child import Child, find_micropython, make_raw, spawn
from host_tools.sim.console import Console
from host_tools.sim.proxy import Ask, Proxy

_STOP_S = 5
_IMAGE = "frozen.romfs"


def read_script(path: Path) -> dict[str, Any]:
    """The script in a JSON file. Args: path: of it. Raises Failure where it cannot be read or is not an object."""
    try:
        script = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure("the script cannot be read", str(error), f"correct {path}", code=Exit.USAGE) from None
    if not isinstance(script, dict):
        raise Failure("the script cannot be read", f"{path} is not a JSON object", f"correct {path}", code=Exit.USAGE)
    return script


def _unix(text: str) -> float:
    """Unix seconds of an RFC 3339 time, or of "now"."""
    if text == "now":
        return time.time()
    try:
        return datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except ValueError:
        raise Failure(
            "the script's clock cannot be used",
            f"clock.start is {text!r}",
            'write it like "2021-01-01T00:00:00Z", or "now"',
            code=Exit.USAGE,
        ) from None


class VirtualBoard:
    """A board that exists only here, for mpremote, the tests and the demonstration.

    Args:
        fs: folder that is the board's flash; made if absent.
        board: id of a file in boards/.
        script: WiFi networks, sensors, clock and faults, as a dict or a JSON file (its format: `rootlet sim --help`).
        link: path for a link to the port, beside the one in a temporary folder.
        heap_bytes: of the board's heap, where it is to be other than sim_heap_bytes of the board's file.
        frozen: the firmware is in the interpreter, as boards/manifest.py puts it there, and not on the flash.

    A context manager; without `with`, call start() and stop(). Raises Failure on an unknown board, a bad script, or
    where MicroPython is not installed.
    """

    def __init__(
        self,
        fs: Path,
        board: str = "pico_w",
        script: Path | dict[str, Any] | None = None,
        link: Path | None = None,
        heap_bytes: int | None = None,
        frozen: bool = False,
    ) -> None:
        self._board = boards.load(board)
        self._heap_bytes = heap_bytes or self._board["sim_heap_bytes"]
        self._script = read_script(script) if isinstance(script, Path) else dict(script or {})
        self._start_of_clock()
        self._micropython = find_micropython()
        self._frozen = frozen
        self._files = fs.resolve()
        self._link = link
        self._folder: Path | None = None
        self._proxy: Proxy | None = None
        self._thread: threading.Thread | None = None
        self._console = Console()
        self._updates = 0
        # What is done to the running board, beside the script; see live() in modules/_sim.py.
        self._live: dict[str, Any] = {"jump_s": 0}
        self._lock = threading.Lock()

    def _start_of_clock(self) -> float:
        return _unix(self._script.get("clock", {}).get("start", self._board["clock_start"]))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Switch it on: boot.py and main.py run. Returns itself."""
        if self._folder is not None:
            return self
        # A board's files hold its key and passwords.
        self._files.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="rootlet-sim-"))
        try:
            self._switch_on(self._folder)
        except BaseException:
            self.stop()
            raise
        return self

    def _switch_on(self, folder: Path) -> None:
        data = {
            "id": self._board["id"],
            "port": self._board["port"],
            "machine": f"{self._board['name']} with {self._board['chip']}",
            "cpu_hz": self._board["cpu_hz"],
            "epoch_year": self._board["epoch_year"],
            "wlan": {key: self._board["wlan"][key] for key in ("constants", "pm", "dns_errno", "hostname")},
            "pins": self._board["pins"],
            "temperature": self._board["temperature"],
            "watchdog": self._board["watchdog"],
            "filesystem_bytes": self._board["flash"]["filesystem_bytes"],
        }
        (folder / "board.json").write_text(json.dumps(data))
        if self._frozen:
            from host_tools.sim import frozen

            frozen.build(folder / _IMAGE)
        self._write_script(folder)
        ours, theirs = pty.openpty()
        try:
            make_raw(theirs)
            name = os.ttyname(theirs)
        finally:
            os.close(theirs)
        # A path outside /dev/pts: to mpremote it is then a serial port like any other, with timeouts that work.
        (folder / "tty").symlink_to(name)
        self._proxy = Proxy(ours, self._console, self._spawn, self._disarm)
        self._thread = threading.Thread(target=self._proxy.run, name="virtual board", daemon=True)
        self._thread.start()
        if self._link is not None:
            _replace_link(self._link, name)

    def _spawn(self, cause: str, run_main: bool) -> Child:
        """Power the interpreter up; `cause` is "soft", or that of a hard reset."""
        folder = self._needed_folder()
        if cause != "soft":
            now = time.time()
            start = self._slept_until(folder, now) if cause == "deepsleep" else None
            start = self._start_of_clock() - self._live["jump_s"] if start is None else start
            state = {"unix": start, "at": now, "boot": now, "cause": cause, "rebooted": self._hung(folder)}
            (folder / "state.json").write_text(json.dumps(state))
        image = folder / _IMAGE if self._frozen else None
        return spawn(self._micropython, self._heap_bytes, self._files, folder, run_main, "ble" in self._script, image)

    @staticmethod
    def _slept_until(folder: Path, now: float) -> float | None:
        """What the clock of a chip says that runs it on through a deep sleep."""
        try:
            before = json.loads((folder / "state.json").read_text())
        except (OSError, ValueError):
            return None
        return float(before["unix"] - before["at"] + now)

    def _hung(self, folder: Path) -> Any:
        """What an interface hung by ("needs_reboot" of a network), before this hard reset or an earlier one."""
        try:
            before = json.loads((folder / "state.json").read_text())
        except (OSError, ValueError):  # the first start, or a board that was cut off while it wrote
            return None
        return before.get("hung") or before.get("rebooted")

    def _needed_folder(self) -> Path:
        if self._folder is None:
            raise Failure("the virtual board is off", "it was stopped, or never started", "use it inside `with`")
        return self._folder

    def _write_script(self, folder: Path) -> None:
        # The board looks at inode, size and time; the padding makes any two versions differ in size.
        self._updates += 1
        text = json.dumps({**self._script, "live": self._live}) + " " * (self._updates % 61)
        (folder / "script.new").write_text(text)
        os.replace(folder / "script.new", folder / "script.json")

    def update_script(self, script: dict[str, Any]) -> None:
        """Replace the script while the board runs; clock.start counts from the next hard reset."""
        with self._lock:
            self._script = dict(script)
            if "cut" in self._script.get("faults", {}):
                self._live.pop("cut", None)
            self._write_script(self._needed_folder())

    @property
    def port(self) -> str:
        """Path of the serial port, for mpremote."""
        return str(self._needed_folder() / "tty")

    @property
    def output(self) -> str:
        """What the console said since power-up, host attached or not (the newest 256 Ki characters)."""
        return self._console.text

    @property
    def position(self) -> int:
        """How much the console said so far, for `since`."""
        return self._console.position

    def wait_for(self, pattern: str, timeout_s: float = 10, since: int = 0) -> str:
        """Wait for the console to say something.

        Args: pattern: for re.search with MULTILINE. timeout_s: how long.
            since: a former `position`; 0 is power-up.
        Returns: the whole line. Raises: TimeoutError.
        """
        return self._console.wait_for(pattern, timeout_s, since)

    def reset(self) -> None:
        """Press the reset button. Returns when the new start has begun."""
        self._ask("reset")

    def _ask(self, what: Ask) -> None:
        if self._proxy is None:
            self._needed_folder()
        elif not self._proxy.ask(what, _STOP_S):
            raise Failure(
                "the virtual board does not obey", "its interpreter did not start or end", "see VirtualBoard.output"
            )

    def power_cut(self) -> None:
        """Take the power away at once: kill -9 of the interpreter. The flash stays as it is, also half written."""
        self._ask("power_cut")
        self._disarm()

    def power_on(self) -> None:
        """Give the power back: a power-up reset. Returns when the new start has begun."""
        self._ask("power_on")

    @property
    def has_power(self) -> bool:
        """Whether it is on."""
        return self._proxy is not None and not self._proxy.off.is_set()

    def wait_off(self, timeout_s: float = 10) -> None:
        """Wait until a cut that was asked for has come, at most timeout_s. Raises TimeoutError."""
        if self._proxy is not None and not self._proxy.off.wait(timeout_s):
            raise TimeoutError(f"the power is still on; the console said: {self.output[-500:]}")

    def cut_at_write(self, number: int, keep: int | None = None, seed: int | None = None) -> None:
        """Cut the power in the middle of a write() to the flash; see wait_off() and power_on().

        Args: number: the write it is, counted from now, from 1; 0 for none: files opened from now on are watched, so
        that a later cut finds them (as with the script's "faults": {"cut": {}}, from the start on).
        keep: how many bytes of it reach the flash; else a random part of them, by the seed.
        """
        part = {"keep": keep} if keep is not None else {"part": random.Random(seed).random()}  # noqa: S311
        self._arm({"at_write": number, **part})

    def cut_at_change(self, number: int, after: bool = False) -> None:
        """Cut the power at a change of the flash's names: rename, remove, mkdir, rmdir, or open() that empties a file.

        Args: number: the change it is, counted from now, from 1. after: it has just been done, else not yet.
        """
        self._arm({"at_change": number, "after": after})

    def _arm(self, cut: dict[str, Any]) -> None:
        with self._lock:
            # The number of the update makes the same cut, asked for twice, count twice.
            self._live["cut"] = {**cut, "update": self._updates}
            self._write_script(self._needed_folder())

    def _disarm(self) -> None:
        with self._lock:
            if self._folder is not None and ("cut" in self._live or "cut" in self._script.get("faults", {})):
                self._live["cut"] = {}
                self._write_script(self._folder)

    def jump_clock(self, seconds: float) -> None:
        """Let the board's clock jump while it runs; a hard reset starts it anew.

        Args: seconds: negative is backwards.
        """
        with self._lock:
            self._live["jump_s"] += seconds
            self._write_script(self._needed_folder())

    def stop(self) -> None:
        """Switch it off: ends the process and the thread, removes the port. May be called twice."""
        if self._proxy is not None:
            self._proxy.ask_stop()
        if self._thread is not None:
            self._thread.join(_STOP_S)
        self._console.close("it was switched off")
        if self._link is not None and self._folder is not None:
            _remove_link(self._link, self._folder / "tty")
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = self._proxy = self._thread = None


def _remove_link(link: Path, other: Path) -> None:
    """Remove a link, unless somebody has made it point elsewhere since."""
    with contextlib.suppress(OSError):
        if os.readlink(link) == os.readlink(other):
            link.unlink()


def _replace_link(link: Path, target: str) -> None:
    if os.path.lexists(link) and not os.path.islink(link):
        raise Failure(
            f"cannot make the link {link}",
            "a file that is not a link is there",
            "choose another --link",
            code=Exit.USAGE,
        )
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    except OSError as error:
        raise Failure(f"cannot make the link {link}", str(error), "choose another --link", code=Exit.USAGE) from None
