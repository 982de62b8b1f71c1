"""Faults of the virtual board: the power, the flash in the middle of a write, the clock, names, WiFi that hangs."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from host_tools.paths import ROOT
from host_tools.sim.board import VirtualBoard
from host_tools.sim.serve import serve

TICKING = "import time\nprint('main runs')\nwhile True:\n    time.sleep_ms(5)\n    print('tick')\n"
APPEND = """
import time
i = 0
while True:
    with open("log", "ab") as f:
        f.write(b"%07d\\n" % i)
    print("wrote", i)
    i += 1
    time.sleep_ms(2)
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "flash"
    folder.mkdir()
    return folder


def wrote(board: VirtualBoard, since: int = 0) -> list[int]:
    return [int(number) for number in re.findall(r"^wrote (\d+)$", board.output[since:], re.MULTILINE)]


def test_the_power_goes_and_comes_back(files: Path) -> None:
    (files / "main.py").write_text("import machine\nprint('cause', machine.reset_cause())\n" + APPEND)
    with VirtualBoard(files, board="esp32_s3") as board:
        board.reset()
        board.wait_for("^cause 2")
        board.wait_for("wrote 20", since=board.position)
        board.power_cut()
        assert not board.has_power
        told = board.output
        lines = (files / "log").read_bytes()
        assert wrote(board)[-1] in (int(lines[-8:]), int(lines[-8:]) - 1)
        board.reset()  # the button does nothing without power
        board.power_cut()
        assert not board.has_power and board.output == told
        assert (files / "log").read_bytes() == lines
        at = board.position
        board.power_on()
        board.wait_for("^cause 1", since=at)
        board.wait_for("wrote 1$", since=at)
        assert board.has_power


def test_stop_while_off(files: Path) -> None:
    with VirtualBoard(files) as board:
        board.power_cut()


@pytest.mark.parametrize("keep", [0, 3, 8])
def test_a_write_is_torn(keep: int, files: Path) -> None:
    (files / "main.py").write_text("import machine\nt = machine.Timer(period=1, callback=print)\n" + APPEND)
    with VirtualBoard(files, script={"faults": {"cut": {}}}) as board:
        board.wait_for("wrote 3")
        board.cut_at_write(10, keep=keep)
        board.wait_off()
        last = wrote(board)[-1]
        log = (files / "log").read_bytes()
        assert log == b"".join(b"%07d\n" % i for i in range(last + 1)) + (b"%07d\n" % (last + 1))[:keep]
        board.power_on()  # and the cut has been used up
        board.wait_for("wrote 30", since=board.position)


def test_torn_at_random_by_a_seed(files: Path) -> None:
    (files / "main.py").write_text('f = open("a", "w")\nf.write("x" * 1000)\nprint("not reached")\n')
    sizes = []
    with VirtualBoard(files, script={"faults": {"cut": {}}}) as board:
        board.wait_for("not reached")
        for seed in (1, 1, 2):
            board.power_cut()
            at = board.position
            board.cut_at_write(1, seed=seed)
            board.power_on()
            board.wait_off()
            sizes.append((files / "a").stat().st_size)
            assert board.position == at
    assert sizes[0] == sizes[1] != sizes[2]
    assert all(0 < size < 1000 for size in sizes)


def test_watched_files_are_files(files: Path) -> None:
    """What a program may do with a file works the same while a cut is awaited."""
    (files / "main.py").write_text(
        """
import json, os
with open("t", "w+") as f:
    json.dump({"a": [1]}, f)
    print("more", file=f)
    assert f.write("xyz") == 3
    f.flush()
    assert f.seek(0) == 0
    assert f.readline() == '{"a": [1]}more\\n' and f.read(2) == "xy" and f.tell() == 17
with open("b", "wb") as f:
    assert f.write(b"12345", 2) == 2
    assert f.write(bytearray(b"abc")) == 3
with open("b", "r+b") as f:
    buf = bytearray(3)
    assert f.readinto(buf) == 3 and buf == b"12a"
    f.seek(0)
    assert list(f) == [b"12abc"]
with open("a.py", "w") as f:
    f.write("x = 5")
import a
assert a.x == 5
try:
    open("no/such", "w")
except OSError as e:
    assert e.errno == 2
print("all", "well")
"""
    )
    with VirtualBoard(files, script={"faults": {"cut": {}}}) as board:
        board.wait_for("^>>> ")
        assert "all well" in board.output, board.output


@pytest.mark.parametrize(
    ("after", "left"),
    [
        (False, [{"old"}, {"old", "new"}, {"old", "new"}, {"new"}, {"new", "dir"}]),
        (True, [{"old", "new"}, {"old", "new"}, {"new"}, {"new", "dir"}, {"new"}]),
    ],
)
def test_the_power_goes_at_a_change_of_names(after: bool, left: list[set[str]], files: Path, tmp_path: Path) -> None:
    program = """
import os
open("new", "w").close()
os.rename("new", "new2")
os.remove("old")
os.mkdir("dir")
os.rmdir("dir")
print("not", "reached")
"""
    for number, names in enumerate(left, 1):
        flash = tmp_path / str(number)
        flash.mkdir()
        (flash / "main.py").write_text(program)
        (flash / "old").write_text("")
        with VirtualBoard(flash, script={"faults": {"cut": {"at_change": number, "after": after}}}) as board:
            board.wait_off()
            assert "not reached" not in board.output
            renamed = number > 2 or (number == 2 and after)
            assert {p.name for p in flash.iterdir()} - {"main.py"} == {
                "new2" if name == "new" and renamed else name for name in names
            }


def test_the_clock_jumps(files: Path) -> None:
    (files / "main.py").write_text("import time\nwhile True:\n    print('t', time.time())\n    time.sleep_ms(5)\n")
    start = 1609459200
    with VirtualBoard(files, script={"clock": {"start": "2021-01-01T00:00:00Z"}}) as board:
        board.wait_for(f"t {start + 0}|t {start + 1}")
        board.jump_clock(86400)
        board.wait_for(rf"^t {start + 86400}|^t {start + 86401}")
        board.jump_clock(-3600)
        board.wait_for(rf"^t {start + 82800}|^t {start + 82801}|^t {start + 82802}")
        at = board.position
        board.reset()
        board.wait_for(rf"^t {start}$|^t {start + 1}$", since=at)


def test_a_clock_that_jumped_can_be_set(files: Path) -> None:
    (files / "main.py").write_text(
        "import machine, time\nprint('ready')\nwhile time.time() < 1700000000:\n    time.sleep_ms(5)\n"
        "machine.RTC().datetime((2022, 2, 2, 0, 2, 2, 2, 0))\nprint(time.gmtime()[:5])\n"
        "machine.soft_reset() if time.time() else 0\n"
    )
    with VirtualBoard(files, script={"clock": {"start": "2021-01-01T00:00:00Z"}}) as board:
        board.wait_for("ready")
        board.jump_clock(1e8)
        board.wait_for(re.escape("(2022, 2, 2, 2, 2)"))


@pytest.mark.parametrize("name", ["pico_w", "esp32_s3"])
def test_answers_of_dns(name: str, files: Path) -> None:
    (files / "main.py").write_text(
        """
import socket, time
while True:
    try:
        print("dns", [row[-1] for row in socket.getaddrinfo("broker.example", 80, 0, socket.SOCK_STREAM)])
    except OSError as e:
        print("dns", e.errno)
    time.sleep_ms(5)
"""
    )
    script: dict[str, Any] = {"dns": {"broker.example": "127.0.0.2"}}
    with VirtualBoard(files, board=name, script=script) as board:
        board.wait_for(r"^dns \[.*\]$")
        one = board.output.count("dns [")
        board.update_script({"dns": {"broker.example": ["127.0.0.2", "127.0.0.3"]}})
        board.wait_for(r"^dns \[.*, .*\]$")
        assert one
        board.update_script({"dns": {"broker.example": "fail"}})
        assert board.wait_for(r"^dns -?\d+$") == {"pico_w": "dns -6", "esp32_s3": "dns -202"}[name]


WIFI = """
import network, time
w = network.WLAN(network.STA_IF)
def join():
    w.active(True)
    w.connect("lab", "password")
    end = time.ticks_add(time.ticks_ms(), 300)
    while not w.isconnected() and time.ticks_diff(end, time.ticks_ms()) > 0:
        time.sleep_ms(5)
    return w.isconnected()
print("first", join())
while True:
    if not w.isconnected():
        print("lost", w.status())
        print("again", join())
        w.disconnect()
        w.active(False)
        print("off and on", join())
    time.sleep_ms(5)
"""


def network(**more: Any) -> dict[str, Any]:
    return {"wifi": {"networks": {"lab": {"password": "password", "join_ms": 10, **more}}}}


@pytest.mark.parametrize("name", ["pico_w", "esp32_s3"])
def test_an_interface_that_is_stuck(name: str, files: Path) -> None:
    (files / "main.py").write_text(WIFI)
    with VirtualBoard(files, board=name, script=network()) as board:
        board.wait_for("^first True")
        for value in (True, 2):
            at = board.position
            board.update_script(network(stuck=value))
            board.wait_for("^lost", since=at)
            board.wait_for("^again False", since=at)
            board.wait_for("^off and on True", since=at)
        assert board.output.count("again") == 2


def test_an_interface_that_needs_a_reset(files: Path) -> None:
    (files / "main.py").write_text(WIFI)
    with VirtualBoard(files, script=network()) as board:
        board.wait_for("^first True")
        board.update_script(network(needs_reboot=True))
        board.wait_for("^off and on False")
        for _ in range(2):
            at = board.position
            board.reset()
            board.wait_for("^first True", since=at)
        board.update_script(network(needs_reboot=2))
        board.wait_for("^off and on False", since=at)


def test_signal_strength_of_a_network(files: Path) -> None:
    (files / "main.py").write_text(WIFI.replace("while True", "print(w.status('rssi'), w.scan()[0][3])\nwhile True"))
    with VirtualBoard(files, script=network(rssi=-83)) as board:
        board.wait_for("^-83 -83$")


def test_the_command_gives_power_back_when_the_script_changes(files: Path, tmp_path: Path) -> None:
    """`rootlet sim` in the main thread, and its script changed by another."""
    (files / "main.py").write_text(APPEND)
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"faults": {"cut": {"at_write": 3, "keep": 2}}}))

    def change() -> None:
        seen.wait(20)
        script.write_text(json.dumps({}))
        back.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    seen, back = threading.Event(), threading.Event()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        (back if "power is back" in line else seen).set()

    thread = threading.Thread(target=change)
    thread.start()
    serve(say, "pico_w", files, script, None)
    thread.join()
    assert "the power is back" in said
    assert (files / "log").read_bytes().startswith(b"0000000\n0000001\n00")


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "chaos.md").read_text(), re.DOTALL)
    assert found
    example = tmp_path / "example.py"
    example.write_text(found[1])
    done = subprocess.run(
        [sys.executable, str(example)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the board believes: start 20\n"
