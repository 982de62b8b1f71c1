"""The command line as a person meets it: help with an example, three lines and an exit code, no traceback."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from host_tools.paths import ROOT

COMMANDS = [
    ["demo"], ["doctor"], ["boards"], ["flash"], ["new"], ["provision"], ["deploy"], ["logs"], ["repl"], ["watch"],
    ["send"], ["inspect"], ["capture"], ["explain"], ["sim"],
    ["broker"], ["bench"], ["export"],
    ["ca", "init"], ["ca", "issue", "server"], ["ca", "issue", "device"], ["ca", "list"], ["ca", "show"],
    ["certs", "embed"], ["certs", "store"], ["certs", "pin"], ["certs", "rotate"], ["certs", "audit"],
    ["psk", "new"], ["psk", "list"], ["ble", "scan"], ["new"], ["provision"],
]  # fmt: skip


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "firmware")]), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "host_tools", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout
    assert f"rootlet {' '.join(command)}" in re.sub(r"\s+", " ", done.stdout)


def three_lines(done: subprocess.CompletedProcess[str], code: int) -> list[str]:
    assert done.returncode == code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "because", "try"], done.stderr
    return lines


def test_no_board() -> None:
    lines = three_lines(run("deploy", "--port", "/dev/ttyNONE7"), 3)
    assert "/dev/ttyNONE7" in lines[0]


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in run("--debug", "deploy", "--port", "/dev/ttyNONE7").stderr


def test_unknown_board() -> None:
    assert "pico_w" in " ".join(three_lines(run("deploy", "--port", "x", "--board", "pico_x"), 2))


def test_unknown_command_is_usage() -> None:
    assert run("fly").returncode == 2


def test_no_ca_yet(tmp_path: Path) -> None:
    lines = three_lines(run("broker", cwd=tmp_path), 1)
    assert "rootlet ca init" in lines[2]
    assert run("ca", "init", cwd=tmp_path).returncode == 0
    lines = three_lines(run("broker", "--name", "broker.home", cwd=tmp_path), 1)
    assert "rootlet ca issue server broker.home" in lines[2]


def test_half_an_identity(tmp_path: Path) -> None:
    (tmp_path / "a.der").write_bytes(b"")
    three_lines(run("deploy", "--cert", "a.der", cwd=tmp_path), 2)


def test_watching_nobody(tmp_path: Path) -> None:
    assert run("ca", "init", cwd=tmp_path).returncode == 0
    three_lines(run("watch", "localhost", "--ca", "ca-data/ca.crt.pem", cwd=tmp_path), 2)
    lines = three_lines(run("watch", "localhost:1", "--ca", "ca-data/ca.crt.pem", cwd=tmp_path), 1)
    assert "no connection" in lines[0]


def test_help_is_quick_to_import() -> None:
    """`rootlet --help` loads none of the heavy libraries."""
    heavy = ("cryptography", "amqtt", "paho")
    code = f"import sys; import host_tools.commands.app; print([m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=environment, check=False
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_version() -> None:
    from rootlet import __version__

    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"rootlet {__version__}\n")
