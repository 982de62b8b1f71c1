"""The README's first steps, word for word, on virtual boards of three kinds, from an empty folder."""

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from host_tools.paths import FIRMWARE, ROOT
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard

SCRIPT = {"wifi": {"networks": {"lab": {"password": "lab-password", "join_ms": 50}}, "scan_ms": 50}}
# What cannot be as it is written: there is no USB here, and nothing may leave this machine.
SKIPPED = {"rootlet flash --board pico_w --download": "no board, and no internet"}


def commands() -> list[str]:
    """The commands of the README's section, in order."""
    section = (ROOT / "README.md").read_text().split("## Your first real board")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [line.strip() for block in blocks for line in block.strip().splitlines()]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def edit(project: Path, board: str, broker: int, sntp: int) -> None:
    """What the README asks to fill in, and the ports of this machine."""
    path = project / "rootlet.toml"
    text = path.read_text()
    for old, new in (
        ('ssid = "my-wifi"', 'ssid = "lab"'),
        ('country = "XX"', 'country = "FR"'),
        ('host = "broker.home"', f'host = "localhost"\nport = {broker}'),
        ("# [clock]", "[clock]"),
        ('# servers = ["192.168.1.1"]', f'servers = ["127.0.0.1:{sntp}"]'),
        ("every_s = 10", "every_s = 1"),
    ):
        assert old in text
        text = text.replace(old, new)
    assert f'"{board}"' in text
    path.write_text(text)
    secrets = project / "secrets.toml"
    secrets.write_text(secrets.read_text().replace("CHANGE-ME", "lab-password"))


def logs_of_a_start(run: list[str], folder: Path, environment: dict[str, str], device: VirtualBoard) -> str:
    """What `rootlet logs` shows from the board's next start until it is connected (or the command ends)."""
    lines = []
    with subprocess.Popen(
        run, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines.append(process.stdout.readline())  # it listens
        device.reset()
        for line in process.stdout:
            lines.append(line)
            if "mqtt: connected" in line:
                break
        process.terminate()
    return "".join(lines)


@pytest.mark.parametrize("board", ["pico_w", "esp32_generic", "esp32_c3"])
def test_by_the_words_of_the_readme(board: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{FIRMWARE}", "NO_COLOR": "1", "COLUMNS": "200"}
    port = free_port()
    said: dict[str, str] = {}
    folder = tmp_path
    (tmp_path / "flash").mkdir()
    with contextlib.ExitStack() as stack:
        sntp = stack.enter_context(SntpServer())
        device = stack.enter_context(VirtualBoard(tmp_path / "flash", board=board, script=SCRIPT))
        for line in commands():
            if line in SKIPPED:
                continue
            if line.startswith("cd "):
                folder = folder / line[3:]
                edit(folder, board, port, sntp.port)
                continue
            words = shlex.split(line.replace("pico_w", board).replace("broker.home", "localhost"))
            words = [{"192.168.1.10": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(word, word) for word in words]  # noqa: S104
            words += {
                "broker": ["--port", str(port)],
                "deploy": ["--port", device.port],
                "logs": ["--port", device.port, "--since-reset", "--seconds", "20"],
                "watch": ["--once", "--timeout", "30"],
            }.get(words[1], [])
            run = [sys.executable, "-m", "host_tools", *words[1:]]
            if words[1] == "broker":
                process = stack.enter_context(
                    subprocess.Popen(run, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
                )
                stack.callback(process.terminate)
                assert process.stdout is not None
                said["broker"] = process.stdout.readline()
                continue
            if words[1] == "logs":
                said["logs"] = logs_of_a_start(run, folder, environment, device)
                continue
            done = subprocess.run(
                run, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            assert done.returncode == 0, (
                line,
                done.stdout,
                done.stderr,
                device.output[-600:],
            )
            said[words[1]] = done.stdout
    assert "on 127.0.0.1" in said["broker"]
    assert "first reading" in said["deploy"]
    assert "temperature" in said["watch"]
    assert "wifi: joined" in said["logs"]
    assert "mqtt: connected" in said["logs"]
    assert "lab-password" not in "".join(said.values())
    assert {"new", "provision", "ca", "deploy", "broker", "watch"} <= set(said)
