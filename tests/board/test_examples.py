"""The examples of docs/examples: the commands of their pages, word for word, on virtual boards.

What differs from a reader's machine: the ports (any free ones), the time server (on loopback), and shorter waits.
"""

import contextlib
import hmac
import http.client
import json
import os
import queue
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tools.paths import FIRMWARE, ROOT
from host_tools.servers import SntpServer
from rootlet.store import Store

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
    """The shell blocks of a page that run here, in order. Each has a marker, and what does not run says why."""
    text = (EXAMPLES / name / "README.md").read_text()
    found = re.findall(
        r"<!-- (not run: \w.*|run: by tests/board/test_examples\.py) -->\n```sh\n(.*?)```", text, re.DOTALL
    )
    assert len(found) == text.count("```sh\n")
    return [block for marker, block in found if marker.startswith("run")]


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
        log = self.project / "build" / "broker" / "log.txt"
        return log.read_text()[-800:] if log.exists() else ""

    @property
    def readings(self) -> set[tuple[str, str, float]]:
        """What `rootlet watch` showed: sensor, quantity, value."""
        found = re.findall(r"^rootlet/\S+ +(\{.*\})$", self.said, re.MULTILINE)
        rows = [json.loads(text) for text in found]
        return {(row["sensor"], row["quantity"], row["value"]) for row in rows if "quantity" in row}

    def console(self, seconds: int = 20) -> Terminal:
        """What the board says from now on."""
        line = f"rootlet logs --port build/board --seconds {seconds}"
        terminal = Terminal(line, self._cwd, self._environment)
        self.stack.callback(terminal.end)
        terminal.wait_for("the board on")
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
        assert page.count("\n") < 80, name
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
    assert {
        ("garden", "temperature", 4.5),
        ("kitchen", "temperature", 21.5),
        ("hall", "temperature", 19),
    } <= reader.readings
    assert "231d39c1" not in reader.said


def signed(secret: str, seconds: int, body: bytes) -> str:
    return f"t={seconds},v1=" + hmac.new(secret.encode(), b"%d." % seconds + body, "sha256").hexdigest()


def posted(reader: Reader, body: bytes, signature: str, more: dict[str, str] | None = None) -> int:
    """The status that the receiver gives."""
    context = ssl.create_default_context(cafile=reader.project / "ca-data" / "ca.crt.pem")
    connection = http.client.HTTPSConnection("localhost", reader.ports[8443], context=context, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/readings", body, {"X-Signature": signature, **(more or {})})
        return connection.getresponse().status


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
    # Who does not know the secret, or sends an old request again, is refused; what has come already is not told again.
    now = int(time.time())
    mine = json.dumps([{"device": "me", "boot": 1, "seq": 1}]).encode()
    assert posted(reader, mine, "") == 401
    assert posted(reader, mine, signed(secret[::-1], now, mine)) == 401
    assert posted(reader, mine + b" ", signed(secret, now, mine)) == 401
    assert posted(reader, mine, signed(secret, now - 301, mine)) == 401
    for nonsense in (b"[1]", b"{", b'[{"device": "me"}]'):
        assert posted(reader, nonsense, signed(secret, now, nonsense)) == 400
    assert posted(reader, b"", "", {"Content-Length": "8193"}) == 413
    for _ in range(2):
        assert posted(reader, mine, signed(secret, now, mine)) == 200
    other = mine.replace(b"me", b"it")
    assert posted(reader, other, signed(secret, now, other)) == 200
    server.wait_for('reading: .*"it"')
    assert len([line for line in server.said if '"me"' in line]) == 1


def without_retained(reader: Reader) -> None:
    """The broker goes, and comes back as one that ends the connection of who wants a message retained."""
    reader.terminals["server"].end()
    conf = reader.project / "mosquitto.conf"
    conf.write_text((reader.project / "build" / "broker" / "mosquitto.conf").read_text() + "retain_available false\n")
    program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    broker = Terminal(f"{program} -v -c {conf}", reader.project, dict(os.environ))
    reader.stack.callback(broker.end)
    reader.terminals["server"] = broker


@pytest.mark.parametrize("reader", ["aws-iot"], indirect=True)
def test_aws_iot(reader: Reader) -> None:
    *desk, to_aws = blocks(reader.name)
    for block in desk:
        reader.type(block)
    assert "BROKEN" not in reader.said
    assert ("chip", "temperature", 24) in reader.readings
    # Of what AWS does and Mosquitto does not by default, this much can be had here.
    console = reader.console(60)
    without_retained(reader)
    console.wait_for("mqtt: connected")
    reader.said = ""
    reader.type("rootlet watch --count 2 --timeout 20")
    assert ("chip", "temperature", 24) in reader.readings
    console.end()
    config = reader.project / "build" / "sim" / "config.json"
    said = json.loads(config.read_text())
    assert said["mqtt"]["retain"] is False
    said["mqtt"]["retain"] = True
    config.write_text(json.dumps(said))
    reader.type("mpremote connect build/board reset")
    reader.console().wait_for("error: MQTT_(REFUSED|CLOSED)")

    reader.type(to_aws)
    made = reader.project / "build" / "devices" / "thing-1"
    mqtt = json.loads((made / "config.json").read_text())["mqtt"]
    assert mqtt["host"].endswith("-ats.iot.eu-west-1.amazonaws.com")
    assert (mqtt["retain"], mqtt["qos"], "cert" in mqtt) == (False, 1, True)
    assert 2 <= Store(str(made / "roots.bin")).count < 10  # and their successors
    assert not (made / "trust_roots.py").exists()
    assert "BEGIN CERTIFICATE" in (reader.project / "thing-1.pem").read_text()


def test_the_policy_allows_what_the_configuration_does() -> None:
    statements = json.loads((EXAMPLES / "aws-iot" / "policy.json").read_text())["Statement"]
    assert {row["Action"] for row in statements} == {"iot:Connect", "iot:Publish"}
    assert statements[0]["Condition"]["ForAllValues:StringEquals"] == {"iot:ConnectAttributes": ["LastWill"]}
    topic = tomllib.loads((EXAMPLES / "aws-iot" / "rootlet.toml").read_text())["mqtt"]["topic"]
    allowed = statements[1]["Resource"].partition(":topic/")[2].replace("${iot:Connection.Thing.ThingName}", "{device}")
    assert allowed.endswith("/*")
    assert topic.startswith(allowed[:-1])
    assert topic.count("/") <= 7


@pytest.mark.parametrize("board", ["esp32_generic", "pico_w"])
@pytest.mark.parametrize("reader", ["battery-node"], indirect=True)
def test_battery_node(reader: Reader, board: str) -> None:
    """On both kinds of board: one that counts the time in its sleep, and one that forgets it."""
    if board == "pico_w" and os.environ.get("ROOTLET_EXAMPLES") != "all":
        pytest.skip("ROOTLET_EXAMPLES=all (make soak) runs it on a second kind of board")
    source = reader.folder / "docs" / "examples" / reader.name
    for name, changes in (
        ("rootlet.toml", [("every_s = 600 ", "every_s = 2 "), ('board = "esp32_generic"', f'board = "{board}"')]),
        ("main.py", [("SEND_EVERY = 6 ", "SEND_EVERY = 3 "), ("LISTEN_S = 10 ", "LISTEN_S = 0 ")]),
    ):
        text = (source / name).read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (source / name).write_text(text)
    for block in blocks(reader.name):
        reader.type(block.replace("esp32_generic", board))
    console = reader.console(60)
    console.wait_for("node: wake 2, 2 readings wait")
    console.wait_for("node: wake 3, 3 readings wait")
    console.wait_for("clock: it was -?[0-4] s slow")
    console.wait_for("mqtt: 3 readings sent")
    if board == "pico_w":
        return
    # Without a broker all stay, over sleeps, and go when it is back.
    reader.terminals["server"].end()
    console.wait_for("error: TCP_REFUSED", 60)
    waiting = int(re.findall(r"(\d+) readings wait", console.wait_for("readings wait"))[0])
    assert waiting >= 4
    reader.type(blocks(reader.name)[1])
    sent = int(re.findall(r"(\d+) readings sent", console.wait_for("readings sent", 60))[0])
    assert sent > waiting
