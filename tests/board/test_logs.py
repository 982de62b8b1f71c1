"""`rootlet logs` and `rootlet repl` on a virtual board, through its real serial port."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from host_tools import deploy
from host_tools.failure import Exit, Failure
from host_tools.paths import FIRMWARE
from host_tools.sim.board import VirtualBoard
from tests.running import Command, in_a_terminal

TALKS = """
import time, sys
print("[%8.3f] gateway: rootlet starts, 1 B free" % (time.ticks_ms() / 1000))
print("[%8.3f] error: WIFI_NO_AP: the network is not there; 'home': no_ap; try: x" % (time.ticks_ms() / 1000))
print("wifi password is canary-5f2e and \\x1b[31mred\\x1b[0m \\x1b]0;title\\x07end \\x9b1m")
sys.stdout.buffer.write(b"bytes \\xff\\xfe " + b"x" * 9000 + b"\\n")
print("Traceback (most recent call last):")
print('  File "rootlet/gateway.py", line 22, in log')
print('  File "../../etc/passwd.py", line 1, in log')
print("OSError: (-30592, 'MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE')")
while True:
    time.sleep_ms(50)
    print("tick", x if "x" in globals() else time.ticks_ms())
"""


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[VirtualBoard]:
    files = tmp_path / "flash"
    files.mkdir()
    (files / "main.py").write_text(TALKS)
    with VirtualBoard(files, link=tmp_path / "tty") as board:
        board.wait_for("tick")
        yield board


def test_a_console_is_explained_and_harmless(talking: VirtualBoard, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"wifi": {"networks": [{"password": "canary-5f2e"}]}}))
    with Command("logs", "--port", talking.port, cwd=tmp_path) as command:
        command.wait_for("--- the board on .*; Ctrl-C ends ---")
        talking.reset()
        command.wait_for("--- the board starts ---")
        first = command.wait_for("rootlet starts")
        assert re.match(r"\d\d:\d\d:\d\d\.\d{3} \[ *\d+\.\d{3}\] gateway: ", first)
        command.wait_for("error: WIFI_NO_AP")
        assert re.fullmatch(
            r" {4}likely: The SSID is misspelt; case counts. \(rootlet explain WIFI_NO_AP\)", command.wait_for("likely")
        )
        assert command.wait_for("wifi password").endswith("is [hidden] and red end ")
        assert 4000 < len(command.wait_for("bytes \N{REPLACEMENT CHARACTER}{2} x+ …$")) < 4200
        source = command.wait_for(r"gateway\.py:22: ")
        path, line, text = source.strip().split(":", 2)
        assert (tmp_path / path).read_text().splitlines()[int(line) - 1].strip() == text.strip()
        assert "passwd" in command.wait_for("File")
        command.wait_for("OSError")  # nothing of that file comes in between
        assert "rootlet explain TLS_REFUSED" in command.wait_for("likely")
        ticks = [command.wait_for("tick") for _ in range(3)]
        assert command.interrupt() == Exit.OK
        assert not command.process.stderr or command.process.stderr.read() == ""
        everything = "\n".join(command.said)
        assert "canary" not in everything and "\x1b" not in everything and "\x9b" not in everything
        assert "KeyboardInterrupt" not in talking.output and len(ticks) == 3  # the program was left alone


def test_for_machines_and_for_a_while(talking: VirtualBoard) -> None:
    with Command("logs", "--port", talking.port, "--json", "--since-reset", "--seconds", "8") as command:
        assert json.loads(command.wait_for("waiting"))["kind"] == "open"
        at = talking.position
        talking.wait_for("tick", since=at)
        talking.reset()
        rows = [json.loads(command.wait_for(".")) for _ in range(8)]
        assert command.process.wait(20) == Exit.OK
    assert [row["kind"] for row in rows[:2]] == ["start", "line"]
    assert rows[1]["topic"] == "gateway" and rows[1]["board_s"] >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", rows[1]["time"])
    assert rows[2]["code"] == "WIFI_NO_AP" and rows[2]["cause"].startswith("The SSID")
    assert rows[6]["source"]["line"] == 22
    assert rows[6]["source"]["text"] in (FIRMWARE / "rootlet" / "gateway.py").read_text()


def test_a_board_that_is_unplugged_and_comes_back(talking: VirtualBoard, tmp_path: Path) -> None:
    link = tmp_path / "tty"
    with Command("logs", "--port", str(link)) as command:
        command.wait_for("tick")
        talking.stop()
        assert "every 2 s at most" in command.wait_for("the board is gone")
        with VirtualBoard(tmp_path / "flash", link=link):
            command.wait_for("the board is back")
            command.wait_for("tick")
        command.wait_for("the board is gone")
        assert command.interrupt() == Exit.OK


def test_colours_on_a_terminal_only_and_not_where_they_are_unwanted(talking: VirtualBoard) -> None:
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        output = in_a_terminal(["logs", "--port", talking.port, "--seconds", "2"], "tick", **more)
        assert bool(re.search("\x1b\\[(?:[01];)?3[0-7]m", output)) == coloured
        assert "\x1b[31mred" not in output


def test_a_repl(talking: VirtualBoard) -> None:
    output = in_a_terminal(["repl", "--port", talking.port], "tick", b"\x03", ">>>", b"print(6 * 7)\r", "42", b"\x1d")
    assert "42" in output


def test_a_repl_needs_a_terminal(talking: VirtualBoard) -> None:
    with Command("repl", "--port", talking.port) as command:
        assert command.process.wait(20) == Exit.USAGE
        assert command.process.stderr and "error: a REPL needs a terminal" in command.process.stderr.read()


def test_a_port_that_is_not_there_or_taken(talking: VirtualBoard) -> None:
    with Command("logs", "--port", "/dev/ttyNONE7") as command:
        assert command.process.wait(20) == Exit.NO_DEVICE
        assert command.process.stderr and "error: no board on /dev/ttyNONE7" in command.process.stderr.read()
    with Command("logs", "--port", talking.port) as command:
        command.wait_for("tick")
        with Command("logs", "--port", talking.port) as second:
            assert second.process.wait(20) == Exit.NO_DEVICE
            assert second.process.stderr and "is busy" in second.process.stderr.read()


@pytest.mark.parametrize("name", ["logs", "repl"])
def test_two_boards_and_none_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from host_tools.commands.app import app

    plugged = (("/dev/ttyACM0", "E660"), ("/dev/ttyACM1", None))
    rows = [SimpleNamespace(device=port, vid=1, pid=1, serial_number=number) for port, number in plugged]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: rows)
    result = CliRunner().invoke(app, [name])
    assert isinstance(result.exception, Failure) and result.exception.code == Exit.USAGE
    words = str(result.exception)
    assert "/dev/ttyACM0 (E660), /dev/ttyACM1 (no serial number)" in words
    assert f"rootlet {name} --port /dev/ttyACM0  or  rootlet {name} --port /dev/ttyACM1" in words


def test_the_gateway_itself_and_an_unhandled_error(tmp_path: Path) -> None:
    """The .mpy files of a real deployment name the firmware's files; their lines are shown."""
    with VirtualBoard(tmp_path / "flash") as board:
        tree = deploy.stage(tmp_path / "tree")
        (tree / "main.py").write_text("from rootlet import gateway\ngateway.Gateway(None, {})\n")
        deploy.copy_to_board(board.port, tree)
        with Command("logs", "--port", board.port) as command:
            command.wait_for("Ctrl-C ends")
            board.reset()
            shown = command.wait_for(r"firmware/rootlet/gateway\.py:\d+: ")
            frame = next(line for line in reversed(command.said[:-1]) if "gateway.py" in line)
            number = re.search(r"line (\d+)", frame)
            assert number and f"gateway.py:{number[1]}: " in shown
            command.wait_for("TypeError")
