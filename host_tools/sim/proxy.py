"""Stands between the host's serial port and the interpreter: resets, raw mode across resets, the watchdog."""

import errno
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Literal

from host_tools.sim.child import Child
from host_tools.sim.console import Console, Splitter

_CTRL_A, _CTRL_B, _CTRL_C = b"\x01", b"\x02", b"\x03"
_RAW_PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
_FRIENDLY_PROMPT = b">>> "
_SOFT_REBOOT = b"MPY: soft reboot\r\n"
_CHUNK = 4096
_BACKLOG = 1 << 16
# A host that is attached but does not read holds the board up for this long, as on rp2; then output is dropped.
_SLOW_HOST_S = 0.5
_LOOK_FOR_HOST_MS = 20
_MAX_FAILED_STARTS = 3

Spawn = Callable[[str, bool], Child]
Ask = Literal["reset", "power_cut", "power_on"]


class Proxy:
    """Runs in one thread. Args: host: our end of the host's terminal. spawn: starts the interpreter (cause, main?).

    was_cut: called when the power went where the script wanted it to.
    """

    def __init__(self, host: int, console: Console, spawn: Spawn, was_cut: Callable[[], None]) -> None:
        self._host = host
        self._console = console
        self._spawn = spawn
        self._was_cut = was_cut
        self._wake_read, self._wake_write = os.pipe()
        self._lock = threading.Lock()
        self._stopping = False
        self._asked: Ask | None = None
        self._done = threading.Event()
        self.off = threading.Event()  # no power: neither the program nor a host's bytes get anywhere
        os.set_blocking(host, False)
        os.set_blocking(self._wake_read, False)
        self._child: Child | None = None
        self._attached = False
        self._raw = False
        self._to_host = b""
        self._to_child = b""
        self._stalled: float | None = None
        self._watchdog: float | None = None
        self._wakes: float | None = None  # when a deep sleep ends; None while there is none
        self._failed_starts = 0

    # Called from other threads.

    def ask_stop(self) -> None:
        """End the thread and the interpreter."""
        with self._lock:
            if not self._stopping:
                self._stopping = True
                os.write(self._wake_write, b"s")

    def ask(self, what: Ask, timeout_s: float) -> bool:
        """Reset hard, cut the power or give it back; whether it happened in time."""
        self._done.clear()
        with self._lock:
            if self._stopping:
                return False
            self._asked = what
            os.write(self._wake_write, b"r")
        return self._done.wait(timeout_s)

    # Called from the proxy's own thread.

    def run(self) -> None:
        """Serve until ask_stop(), then leave nothing behind."""
        reason = "it was switched off"
        try:
            self._power_up("power")
            while not self._stopping:
                self._turn()
        except Exception as error:  # told to whoever waits for the console; a thread has no one else to tell
            reason = f"it failed: {error}"
        finally:
            self._end_child()
            self._console.close(reason)
            with self._lock:
                self._stopping = True
                for fd in (self._host, self._wake_read, self._wake_write):
                    os.close(fd)

    def _power_up(self, cause: str) -> None:
        self._end_child()
        self._wakes = None
        soft = cause == "soft"
        if not soft:
            self._raw = False
            self._watchdog = None
        self._splitter = Splitter()
        self._up = False  # whether Ctrl-C can reach the board's program; until then input is held back
        self._swallowing: bytes | None = None
        self._tail = b""
        self._last = b""
        self._to_child = b""
        self.off.clear()
        self._child = self._spawn(cause, not (soft and self._raw))

    def _power_cut(self) -> None:
        """End the interpreter, and keep what it had said until then."""
        child, self._child = self._child, None
        self.off.set()
        self._watchdog = self._wakes = None
        self._to_host = self._to_child = b""
        self._raw = False
        if child is None:
            return
        child.kill()
        while data := _read(child.terminal):
            for kind, part in self._splitter.feed(data):
                if kind == "text" and self._swallowing is None:
                    self._emit(part)
        child.end()

    def _sleep(self, ms: int) -> None:
        """Deep sleep: the program and what is in RAM are gone, and nothing is heard; 0 ms: until a reset."""
        self._end_child()
        self._raw = False
        self._watchdog = None
        self._to_child = b""
        self._wakes = time.monotonic() + (ms / 1000 if ms else float("inf"))

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None

    def _turn(self) -> None:
        """Wait for one thing to happen and handle it."""
        child = self._child
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        if child is not None:
            self._register(poller, child)
        ready = dict(poller.poll(self._patience_ms() if child is not None else self._sleep_left_ms()))
        if self._wake_read in ready:
            os.read(self._wake_read, 64)
        if self._stopping:
            return
        if self._asked:
            asked, self._asked = self._asked, None
            if asked == "power_cut":
                self._power_cut()
            elif asked == "power_on" or not self.off.is_set():
                self._power_up("power" if asked == "power_on" else "reset")
            self._done.set()
        elif child is not None:
            self._serve(child, ready)
        elif self._wakes is not None and time.monotonic() >= self._wakes:
            self._power_up("deepsleep")

    def _sleep_left_ms(self) -> int | None:
        """How long there is nothing to do; None: until somebody asks for something."""
        if self._wakes is None or self._wakes == float("inf"):
            return None
        return max(0, int((self._wakes - time.monotonic()) * 1000) + 1)

    def _register(self, poller: select.poll, child: Child) -> None:
        full = len(self._to_host) >= _BACKLOG
        events = (0 if full else select.POLLIN) | (select.POLLOUT if self._to_child and self._up else 0)
        poller.register(child.terminal, events)
        if self._attached:
            reading = 0 if len(self._to_child) >= _CHUNK else select.POLLIN
            poller.register(self._host, reading | (select.POLLOUT if self._to_host else 0))

    def _serve(self, child: Child, ready: dict[int, int]) -> None:
        if self._watchdog is not None and time.monotonic() >= self._watchdog:
            self._power_up("wdt")
            return
        if not self._attached:
            self._look_for_host()
        elif self._host in ready:
            self._serve_host(ready[self._host])
        if self._stalled is not None and time.monotonic() - self._stalled >= _SLOW_HOST_S:
            self._to_host = b""
            self._stalled = None
        if child.terminal in ready:
            self._serve_child(child, ready[child.terminal])

    def _patience_ms(self) -> int | None:
        waits = []
        if not self._attached:
            waits.append(float(_LOOK_FOR_HOST_MS))
        now = time.monotonic()
        if self._watchdog is not None:
            waits.append((self._watchdog - now) * 1000)
        if self._stalled is not None:
            waits.append((self._stalled + _SLOW_HOST_S - now) * 1000)
        return max(0, int(min(waits)) + 1) if waits else None

    def _look_for_host(self) -> None:
        poller = select.poll()
        poller.register(self._host, select.POLLIN)
        self._attached = not any(event & select.POLLHUP for _, event in poller.poll(0))

    def _serve_host(self, event: int) -> None:
        if event & select.POLLOUT and self._to_host:
            self._to_host = self._to_host[_write(self._host, self._to_host) :]
            self._stalled = time.monotonic() if len(self._to_host) >= _BACKLOG else None
        if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
            data = _read(self._host)
            if data:
                if _CTRL_B in data and self._raw:
                    self._raw = False
                    self._tail = b""
                if _CTRL_C in data:
                    # Ctrl-C must get through although the program reads none of what was sent before.
                    self._to_child = b"" if self._up else self._to_child
                self._to_child += data
                self._flush_to_child()
            elif data == b"":
                self._attached = False
                self._to_host = b""
                self._stalled = None

    def _flush_to_child(self) -> None:
        if self._up and self._swallowing is None and self._to_child and self._child is not None:
            self._to_child = self._to_child[_write(self._child.terminal, self._to_child) :]

    def _serve_child(self, child: Child, event: int) -> None:
        if event & select.POLLOUT:
            self._flush_to_child()
        if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
            data = _read(child.terminal)
            if data == b"":
                self._ended()
                return
            for kind, part in self._splitter.feed(data or b""):
                if kind == "text":
                    self._said(part)
                elif self._marked(part.decode("ascii", "replace")):
                    return  # a new interpreter runs; the rest was the old one's

    def _ended(self) -> None:
        """The interpreter ended by itself: Ctrl-D at a prompt, or SystemExit."""
        self._failed_starts = 0 if self._up else self._failed_starts + 1
        if self._failed_starts >= _MAX_FAILED_STARTS:
            raise RuntimeError("MicroPython ends at once; see its output")
        self._emit(_SOFT_REBOOT)
        self._power_up("soft")

    def _marked(self, mark: str) -> bool:
        """Handle a mark of the stand-ins; whether it replaced the interpreter."""
        name, _, argument = mark.partition(" ")
        if name == "up":
            self._up = True
            self._flush_to_child()
        elif name == "repl" and self._raw:
            self._swallowing = b""
        elif name == "again":
            self._to_child = _CTRL_C + self._to_child
            self._flush_to_child()
        elif name == "wdt":
            self._watchdog = time.monotonic() + int(argument) / 1000 if int(argument) else None
        elif name == "cut":
            self._power_cut()
            self._was_cut()
            return True
        elif name == "sleep":
            self._sleep(int(argument))
            return True
        elif name == "reset":
            self._power_up(argument or "reset")
            return True
        elif name == "soft":
            self._emit(_SOFT_REBOOT)
            self._power_up("soft")
            return True
        return False

    def _said(self, data: bytes) -> None:
        if self._swallowing is not None:
            # After a soft reset in raw mode: skip the friendly prompt, and go back to where the host thinks we are.
            self._swallowing += data
            if not self._swallowing.endswith(_FRIENDLY_PROMPT):
                return
            self._swallowing = None
            self._to_child = _CTRL_A + self._to_child
            self._flush_to_child()
            return
        self._tail = (self._tail + data)[-len(_RAW_PROMPT) - len(data) :]
        if _RAW_PROMPT in self._tail:
            self._raw = True
        self._tail = self._tail[-len(_RAW_PROMPT) :]
        self._emit(data)

    def _emit(self, data: bytes) -> None:
        """Give output to the console and the host; like a board, with CR LF at each line's end."""
        joined = (self._last + data).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        # A CR at the end may be half a line end: its LF, if it comes, completes it.
        self._last = b"\r" if joined.endswith(b"\r") else b""
        joined = joined[: len(joined) - len(self._last)]
        self._console.add(joined)
        if self._attached:
            self._to_host += joined
            if len(self._to_host) >= _BACKLOG and self._stalled is None:
                self._stalled = time.monotonic()


def _read(fd: int) -> bytes | None:
    """What is there; None for nothing yet, b"" when the other end is closed."""
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:
            return b""
        raise


def _write(fd: int, data: bytes) -> int:
    """How many bytes were taken."""
    try:
        return os.write(fd, data[:_CHUNK])
    except BlockingIOError:
        return 0
    except OSError as error:
        if error.errno == errno.EIO:
            return len(data)
        raise
