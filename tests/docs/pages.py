"""Runs the blocks of one page in order, in one folder, as a reader would who types them."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from host_tools.paths import FIRMWARE, ROOT
from host_tools.sim.board import VirtualBoard
from tests.docs import fences
from tests.docs.fences import Block

_STEP_S = 110
_READY_S = 40
_PORTS = ("8883", "8884", "8443", "8080", "9000")  # that the pages name
_NAMES = ("broker.home", "broker.example.org", "page.home", "updates.home", "192.168.1.10", "192.168.1.5")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]


class Lasting:
    """A command that runs until Ctrl-C."""

    def __init__(self, command: str, cwd: Path, env: dict[str, str]) -> None:
        self.said = ""
        self.process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"], cwd=cwd, env=env, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._more:
                self.said += line
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def wait_for(self, pattern: str) -> None:
        end = time.monotonic() + _READY_S
        with self._more:
            while not re.search(pattern, self.said, re.M):
                left = end - time.monotonic()
                assert left > 0 and self._reader.is_alive(), f"no {pattern!r} in:\n{self.said}"
                self._more.wait(left)

    def end(self) -> None:
        """Ctrl-C; a program that does not heed it fails the test."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self._reader.join(5)


class Page:
    """The folder of a page while its blocks run; `board`: the kind of its virtual board."""

    def __init__(self, folder: Path, board: str = "pico_w") -> None:
        self.top = folder
        self.cwd = folder / "here"
        self.kind = board
        self.stack = contextlib.ExitStack()
        self.device: VirtualBoard | None = None
        self.deployed = self.brokers = False
        self.ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        self.replaced: dict[str, str] = {}
        self.here = {
            "boards": [],
            "names": list(_NAMES),
            "words": {"0.0.0.0": "127.0.0.1", **self.ports},
            "defaults": {
                "broker": {"port": self.ports["8883"], "psk_port": self.ports["8884"]},
                "dashboard": {"port": self.ports["8443"]},
            },
        }

    def __enter__(self) -> Self:
        for folder in (self.cwd, self.top / "home", self.top / "bin"):
            folder.mkdir()
        rootlet = self.top / "bin" / "rootlet"
        rootlet.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("here.py")}" "$@"\n')
        rootlet.chmod(0o755)
        self.write_here()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.stack.close()

    def write_here(self) -> None:
        (self.top / "here.json").write_text(json.dumps(self.here))

    @property
    def environment(self) -> dict[str, str]:
        path = [str(self.top / "bin"), str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/sbin"]
        dead = "http://127.0.0.1:9"
        return {
            "PATH": os.pathsep.join(path),
            "HOME": str(self.top / "home"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{FIRMWARE}",
            "PYTHONUNBUFFERED": "1",
            "ROOTLET_HERE": str(self.top / "here.json"),
            "ROOTLET_CWD": str(self.top / "cwd"),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "http_proxy": dead,
            "https_proxy": dead,
        }

    def run(self, block: Block) -> str:
        """Run a block, its scenes first; what it said. Raises AssertionError with what went wrong and where."""
        from tests.docs import scenes

        for scene in block.scenes or ():
            scenes.SCENES[scene](self)
        text = block.text
        for old, new in {**dict(block.replaced), **self.replaced}.items():
            text = text.replace(old, new)
        said = ""
        if "file" in block.parts:
            (self.cwd / block.parts["file"]).write_text(text)
        elif block.kind == "python":
            (self.cwd / "block.py").write_text(text)
            said = self.sh(f"{sys.executable} block.py", block)
        elif block.kind == "commands":
            said = self._commands(text, block)
        if "expect" in block.parts:
            assert block.parts["expect"] in said, f"{block.place}: no {block.parts['expect']!r} in:\n{said}"
        if "fill in" in block.parts:
            scenes.fill_in(self)
        return said

    def _commands(self, text: str, block: Block) -> str:
        until = iter(block.parts["until"].split(" | ") if "until" in block.parts else ())
        said = ""
        together: list[str] = []
        for command in fences.commands(text):
            lasting = fences.lasts(command)
            if not lasting:
                together.append(command)
                continue
            said += self.sh("\n".join(together), block)
            together = []
            said += self._last(command, lasting, next(until, None), block)
        return said + self.sh("\n".join(together), block)

    def _last(self, command: str, lasting: tuple[str, bool], until: str | None, block: Block) -> str:
        ready, stays = lasting
        program = Lasting(command, self.cwd, self.environment)
        self.stack.callback(program.end)
        try:
            program.wait_for(ready)
            if until:
                program.wait_for(re.escape(until))
        except AssertionError as e:
            raise AssertionError(f"{block.place}: {command}: {e}") from None
        if not stays:
            program.end()
        return program.said

    def sh(self, script: str, block: Block | None = None) -> str:
        """Run some lines in sh, which stops at the first that fails."""
        if not script:
            return ""
        where = Path(self.environment["ROOTLET_CWD"])
        with subprocess.Popen(
            ["sh", "-ec", f"trap 'pwd > \"$ROOTLET_CWD\"' EXIT\n{script}\n"], cwd=self.cwd, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                said, _ = process.communicate(timeout=_STEP_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        expected = int(block.parts.get("exit", 0)) if block else 0
        place = block.place if block else ""
        board = f"\nboard: {self.device.output[-800:]}" if self.device else ""
        assert process.returncode == expected, f"{place}: exit code {process.returncode} of\n{script}\n{said}{board}"
        self.cwd = Path(where.read_text().strip())
        return said
