"""The examples of docs/examples: the commands of their pages, word for word, on virtual boards.

What differs from a reader's machine: the ports (any free ones), the time server (on loopback), and shorter waits.
"""

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


from host_tools.paths import FIRMWARE, ROOT
from host_tools.servers import SntpServer

EXAMPLES = ROOT / "docs" / "examples"
NAMES = ("plain-sensor", "aws-iot", "webhook", "ble-gateway", "battery-node")
LASTING = re.compile(r"rootlet broker (?!.*--check)|rootlet sim |python3 receiver\.py ")
_STEP_S = 110
_SHIM = """\
#!/bin/sh
here=$1
case "$here" in {cases} esac
exec {python} {what} "$@"
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def blocks(name: str) -> list[str]:
    """The page's shell blocks, in order."""
    return re.findall(r"```sh\n(.*?)```", (EXAMPLES / name / "README.md").read_text(), re.DOTALL)


class Terminal:
    """A lasting command; its lines can be waited for."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash", "-c", "exec " + command.strip()], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, pattern: str, timeout_s: float = 40) -> str:
        end = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"no {pattern!r} in {self.said[-30:]}"
            self.said.append(line)
            if re.search(pattern, line):
                return line

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


class Reader:
    """Types what a page says. said: the whole output of each command that ended, joined."""

    def __init__(self, name: str, folder: Path, sntp: int, stack: contextlib.ExitStack) -> None:
        self.name, self.folder, self.stack = name, folder, stack
        self.said = ""
        self.terminals: dict[str, Terminal] = {}
        self.ports = {old: free_port() for old in (8883, 8884, 8443)}
        here = folder / "docs" / "examples"
        shutil.copytree(EXAMPLES / name, here / name)
        for file in ("rootlet.toml", "settings.example.json"):
            if (here / name / file).exists():
                self._fit(here / name / file, sntp)
        self._environment = self._surroundings(folder / "bin")
        self._cwd = folder

    def _fit(self, path: Path, sntp: int) -> None:
        text, count = re.subn(r'\["pool\.ntp\.org", [^]]*\]', f'["127.0.0.1:{sntp}"]', path.read_text())
        assert count == 1
        for old, new in self.ports.items():
            text = text.replace(str(old), str(new))
        path.write_text(text)

    def _surroundings(self, shims: Path) -> dict[str, str]:
        shims.mkdir()
        broker = f'broker) set -- "$@" --port {self.ports[8883]} ;;'
        if self.name == "battery-node":
            broker = broker.replace(" ;;", f" --psk-port {self.ports[8884]} ;;")
        for program, what, cases in (
            ("rootlet", "-m host_tools", broker),
            ("mpremote", "-m mpremote", ""),
            ("python3", "", f'receiver.py) set -- "$@" --port {self.ports[8443]} ;;'),
        ):
            (shims / program).write_text(_SHIM.format(cases=cases, python=sys.executable, what=what))
            (shims / program).chmod(0o755)
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("ROOTLET_")},
            "PATH": f"{shims}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}:{FIRMWARE}",
            "NO_COLOR": "1", "COLUMNS": "200", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip

    @property
    def project(self) -> Path:
        """The reader's copy of the example."""
        return self._cwd

    def type(self, block: str) -> None:
        """Run one block; one that lasts goes on in a terminal of its own."""
        if LASTING.search(block):
            terminal = Terminal(block, self._cwd, self._environment)
            self.stack.callback(terminal.end)
            terminal.wait_for("Ctrl-C ends it|end it with Ctrl-C")
            self.terminals["board" if " sim " in block else "server"] = terminal
            return
        after = self.folder / "after.json"
        dump = "import json, os; print(json.dumps([os.getcwd(), dict(os.environ)]))"
        script = f"set -euo pipefail\n{block}\n{sys.executable} -c '{dump}' > {after}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self._cwd, env=self._environment, capture_output=True, text=True,
            timeout=_STEP_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}\n{self._log()}"
        self.said += done.stdout
        cwd, self._environment = json.loads(after.read_text())
        self._cwd = Path(cwd)

    def _log(self) -> str:
        files = [*self._cwd.glob("build/broker/log.txt")]
        return "\n".join(file.read_text()[-800:] for file in files)

    @property
    def readings(self) -> set[tuple[str, str, float]]:
        """What `rootlet watch` showed: sensor, quantity, value."""
        found = re.findall(r"^rootlet/\S+ +(\{.*\})$", self.said, re.MULTILINE)
        rows = [json.loads(text) for text in found]
        return {(row["sensor"], row["quantity"], row["value"]) for row in rows if "quantity" in row}

    def console(self, seconds: int = 20) -> Terminal:
        """What the board says from its next start on."""
        line = f"rootlet logs --port build/board --seconds {seconds}"
        terminal = Terminal(line, self._cwd, self._environment)
        self.stack.callback(terminal.end)
        return terminal


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reader]:
    with contextlib.ExitStack() as stack:
        sntp = stack.enter_context(SntpServer())
        yield Reader(request.param, tmp_path, sntp.port, stack)


def test_each_example_is_listed_and_short() -> None:
    folders = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    assert folders == sorted(NAMES)
    index = (EXAMPLES / "README.md").read_text()
    for name in NAMES:
        assert f"({name}/README.md)" in index
        page = (EXAMPLES / name / "README.md").read_text()
        assert page.count("\n") <= 80, name
        for link in re.findall(r"\]\(([^)#]*)", page):
            assert link.startswith("https://") or (EXAMPLES / name / link).is_file(), (name, link)


@pytest.mark.parametrize("reader", ["plain-sensor"], indirect=True)
def test_plain_sensor(reader: Reader) -> None:
    for block in blocks(reader.name):
        reader.type(block)
    assert "the board publishes" in reader.said
    assert {("air", "temperature", 21.5), ("air", "humidity", 40), ("chip", "temperature", 24)} <= reader.readings
    assert "lab-password" not in reader.said


@pytest.mark.parametrize("reader", ["ble-gateway"], indirect=True)
def test_ble_gateway(reader: Reader) -> None:
    pytest.importorskip("bumble")
    for block in blocks(reader.name):
        reader.type(block)
    assert {("garden", "temperature", 4.5), ("kitchen", "temperature", 21.5), ("hall", "temperature", 19)} <= reader.readings
    assert "231d39c1" not in reader.said


@pytest.mark.parametrize("reader", ["webhook"], indirect=True)
def test_webhook(reader: Reader) -> None:
    for block in blocks(reader.name):
        reader.type(block)
    server = reader.terminals["server"]
    server.wait_for('^reading: .*"quantity": "temperature"')
    said = [line for line in server.said if line.startswith("status")]
    assert said[:2] == ["status: 503", "status: 503"]
    secret = (reader.project / "hook.key").read_text().strip()
    assert secret not in "".join(server.said)
