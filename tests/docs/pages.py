"""Runs the blocks of one page in order, in one folder, as a reader would who types them."""

import contextlib
import functools
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
from typing import Any, Self

from host_tools.paths import FIRMWARE, ROOT
from host_tools.sim.board import VirtualBoard
from tests.docs import fences
from tests.docs.fences import Block

_STEP_S = 900 if os.environ.get("ROOTLET_DOCS") == "all" else 110
_READY_S = 90
_PORTS = ("8883", "8884", "8443", "8080", "9000")  # that the pages name
_NAMES = ("broker.home", "broker.example.org", "page.home", "updates.home", "192.168.1.10", "192.168.1.5")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]


@functools.cache
def ports() -> dict[str, int]:
    """A free port for each that the pages name; the same for all pages, as boards that are made once hold them."""
    return dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))


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
        self.lasting: list[Lasting] = []
        self.script: dict[str, Any] = {}
        self.frozen = self.commands = False
        self.device: VirtualBoard | None = None
        self.deployed = self.brokers = self.publishes = False
        self.ports = ports()
        self.replaced: dict[str, str] = {}
        self.here = {
            "boards": [],
            "names": list(_NAMES),
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
        with self.stack:
            self.end()

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
            "MICROPYPATH": f"{FIRMWARE}:.frozen",
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
        for old, new in block.replaced:
            text = text.replace(old, new)
        for old, new in {"0.0.0.0": "127.0.0.1", **self.ports, **self.replaced}.items():
            text = re.sub(rf"(?<![\w./]){re.escape(old)}(?![\w.])", str(new), text)
        said = ""
        if "file" in block.parts:
            (self.cwd / block.parts["file"]).write_text(text)
        elif "add to" in block.parts:
            with (self.cwd / block.parts["add to"]).open("a") as f:
                f.write("\n" + text)
        elif block.kind == "python":
            (self.cwd / "block.py").write_text(text)
            said = self.sh("micropython block.py", block)
        elif block.kind == "commands":
            said = self._commands(text, block)
        for line in fences.shown(text):
            assert re.search(line, said), f"{block.place}: no line like {line!r} in:\n{said}"
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

    def end(self) -> None:
        """Ctrl-C to what still runs."""
        for program in reversed(self.lasting):
            program.end()
        self.lasting.clear()

    def _last(self, command: str, lasting: tuple[str, bool], until: str | None, block: Block) -> str:
        ready, stays = lasting
        program = Lasting(command, self.cwd, self.environment)
        self.lasting.append(program)
        try:
            program.wait_for(ready)
            if until:
                if self.device and " logs" in command:
                    self.device.reset()  # what it says is what it says when it starts
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
            ["sh", "-ec", f"trap 'pwd > \"$ROOTLET_CWD\"' EXIT\n{script}\n"],
            cwd=self.cwd, env=self.environment, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
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
