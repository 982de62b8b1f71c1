"""Runs `rootlet` commands as a person does: in a process, or in a terminal, while something else goes on."""

import fcntl
import os
import pty
import queue
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

from host_tools.paths import ROOT


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "firmware")])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **more}


class Command:
    """A `rootlet` command that runs; its lines can be waited for."""

    def __init__(self, *arguments: str, cwd: Path = ROOT, **more: str) -> None:
        line = [sys.executable, "-m", "host_tools", *arguments]
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=environment(**more), text=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def wait_for(self, pattern: str, timeout_s: float = 20) -> str:
        end = time.monotonic() + timeout_s
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {pattern!r} in {self.said[-20:]}") from None
            self.said.append(line)
            if re.search(pattern, line):
                return line

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


def in_a_terminal(arguments: list[str], *steps: Any, **more: str) -> str:
    """Run a command in a terminal. steps: text to wait for, bytes to type, or what to call. Returns what it showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "host_tools", *arguments], environment(TERM="xterm", **more))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
    seen = b""
    end = time.monotonic() + 30
    try:
        for step in steps:
            if isinstance(step, bytes):
                os.write(terminal, step)
                continue
            if callable(step):
                step()
                continue
            at = len(seen)
            while step.encode() not in seen[at:]:
                assert select.select([terminal], [], [], max(0, end - time.monotonic()))[0], seen[-500:]
                seen += os.read(terminal, 4096)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)
    return seen.decode(errors="replace")
