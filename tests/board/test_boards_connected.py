"""`rootlet boards` and `rootlet doctor` on virtual boards, asked by the real mpremote."""

import base64
import contextlib
import fcntl
import json
import os
import pty
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from host_tools import ask_board, ca, certs, deploy, doctor, doctor_board, find_board, x509_build
from host_tools.commands.app import app
from host_tools.doctor import Row
from host_tools.failure import Exit, Failure
from host_tools.sim.board import VirtualBoard

PASSWORD = "a-wifi-password"
TICKING = "import time\nprint('main runs')\nwhile True:\n    time.sleep_ms(20)\n"
DEVICE = "pico-7"


class Port:
    """As pyserial lists one."""

    def __init__(self, device: str, serial: str | None, vid: int | None = 0x2E8A, pid: int = 5) -> None:
        self.device, self.serial_number, self.vid, self.pid = device, serial, vid, pid


PlugIn = Callable[..., None]


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PlugIn:
    """Takes the serial ports that are there from now on."""
    there: list[Port] = []
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: there)
    monkeypatch.setattr(find_board, "VOLUMES", (str(tmp_path / "media" / "*"),))
    monkeypatch.chdir(tmp_path)

    def plug(*ports: Port) -> None:
        there[:] = ports

    return plug


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, Failure):
        return int(result.exception.code), str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def config() -> dict[str, Any]:
    return {
        "device": DEVICE,
        "wifi": {"networks": [{"ssid": "home", "password": PASSWORD}]},
        "mqtt": {"host": "localhost", "cert": "device.crt.der", "key": "device.key.der"},
        "sensors": [{"kind": "internal_temperature", "name": "chip"}],
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a deployed board holds, but for a main.py that does nothing."""
    folder = tmp_path_factory.mktemp("deployed")
    authority = ca.init(folder / "ca")
    device = authority.issue_device(DEVICE)
    certs.embed([authority.cert_pem], folder / "trust_roots.py")
    settings = folder / "config.json"
    settings.write_text(json.dumps(config()))
    made = deploy.stage(
        folder / "tree", config=settings, trust=folder / "trust_roots.py", cert=device.cert_der, key=device.key_der
    )
    (made / "main.py").write_text(TICKING)
    return made


def copy(tree: Path, flash: Path) -> Path:
    for path in tree.rglob("*"):
        if path.is_file():
            target = flash / path.relative_to(tree)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return flash


@pytest.fixture
def board(tree: Path, tmp_path: Path) -> Iterator[VirtualBoard]:
    with VirtualBoard(copy(tree, tmp_path / "flash")) as virtual:
        virtual.wait_for("main runs")
        yield virtual


def undisturbed(board: VirtualBoard) -> bool:
    """Whether its program has run from power-up on, without an end or a second start."""
    return board.output.count("boot: ") == 1 and board.output.strip().endswith("\nmain runs")


def test_nothing_is_connected(plug_in: PlugIn) -> None:
    plug_in(Port("/dev/ttyS0", None, None))
    code, output = run("boards")
    assert code == 3 and "no board found" in output
    assert run("boards", "--json") == (3, "[]\n")


def test_boards_are_listed_undisturbed(board: VirtualBoard, plug_in: PlugIn, tmp_path: Path) -> None:
    drive = tmp_path / "media" / "RP2350"
    drive.mkdir(parents=True)
    (drive / "INFO_UF2.TXT").write_text("UF2 Bootloader v1.0\nModel: Raspberry Pi RP2350\nBoard-ID: RP2350\n")
    plug_in(
        Port(board.port, "e661a"), Port("/dev/ttyUSB9", "0001", 0x10C4, 0xEA60), Port("/dev/ttyACM8", None, 0x303A, 9)
    )
    code, output = run("boards")
    assert code == 0
    lines = output.splitlines()
    assert lines[0].split()[0] == "PORT"
    told = {line.split()[0]: line for line in lines[1:5]}
    assert "e661a" in told[board.port] and told[board.port].endswith("MicroPython")
    assert told["/dev/ttyUSB9"].endswith("USB bridge CP210x")
    assert told["/dev/ttyACM8"].endswith("ROM loader")
    assert told[str(drive)].endswith("BOOTSEL")
    assert undisturbed(board)
    data = json.loads(run("boards", "--json")[1])
    assert [row["state"] for row in data] == ["ROM loader", "USB bridge CP210x", "MicroPython", "BOOTSEL"]


def test_boards_are_asked_and_go_on(board: VirtualBoard, plug_in: PlugIn, tmp_path: Path) -> None:
    with VirtualBoard(tmp_path / "bare", board="esp32_s3", script={"unique_id": "0123456789ab"}) as bare:
        plug_in(Port(board.port, "e661a"), Port(bare.port, "e662b", 0x303A, 0x4001))
        since = board.position
        code, output = run("boards", "--ask", "--json")
        assert code == 0, output
        told = {row["serial"]: row for row in json.loads(output)}
        board.wait_for("main runs", since=since)
    one, other = told["e661a"], told["e662b"]
    assert one["device"] == DEVICE and one["rootlet"] == "0.1.0" and one["chip"] == "RP2040"
    assert one["micropython"].startswith("1.") and one["state"] == "MicroPython"
    assert 100_000 < one["flash_free"] < one["flash_bytes"] and 100_000 < one["heap_free"] < one["heap_bytes"]
    assert other["device"] is None and other["rootlet"] is None
    assert other["unique_id"] == "0123456789ab" and "ESP32" in other["chip"]


def test_the_table_of_asked_boards(board: VirtualBoard, plug_in: PlugIn) -> None:
    code, output = run("boards", "--ask", "--port", board.port)
    assert code == 0
    row = output.splitlines()[1]
    assert row.split()[0] == board.port and "RP2040" in row and DEVICE in row and " KB" in row


def test_no_secret_leaves_the_board(board: VirtualBoard, plug_in: PlugIn, tree: Path) -> None:
    assert DEVICE in run("doctor", "--ask", "--port", board.port)[1]
    said = board.output
    key = (tree / "device.key.der").read_bytes()
    assert DEVICE in said
    for secret in (PASSWORD, "home", base64.b64encode(key[30:69]).decode(), key[36:68].hex()):
        assert secret not in said


def test_a_busy_board_is_told_and_the_other_still_answers(board: VirtualBoard, plug_in: PlugIn, tmp_path: Path) -> None:
    with VirtualBoard(tmp_path / "other") as other:
        plug_in(Port(board.port, "e661a"), Port(other.port, "e662b"))
        held = os.open(board.port, os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            code, output = run("boards", "--ask", "--json")
        finally:
            os.close(held)
    told = {row["serial"]: row for row in json.loads(output)}
    assert code == Exit.NO_DEVICE
    assert told["e661a"]["state"] == "busy" and "busy" in told["e661a"]["error"]["what"]
    assert told["e662b"]["state"] == "MicroPython" and told["e662b"]["micropython"]


@contextlib.contextmanager
def mute_port() -> Iterator[str]:
    """A serial port on which nobody answers."""
    ours, theirs = pty.openpty()
    folder = Path(os.path.realpath("/tmp"))
    link = folder / f"rootlet-mute-{os.getpid()}"
    link.symlink_to(os.ttyname(theirs))
    try:
        yield str(link)
    finally:
        link.unlink()
        os.close(ours)
        os.close(theirs)


def test_a_board_without_micropython(plug_in: PlugIn) -> None:
    with mute_port() as port:
        plug_in(Port(port, "0001", 0x10C4, 0xEA60))
        begun = time.monotonic()
        code, output = run("boards", "--ask", "--json", "--timeout", "1.5")
    assert time.monotonic() - begun < 20
    (row,) = json.loads(output)
    assert code == 1 and row["state"] == "no MicroPython: ROM loader, or other firmware"


# Which of two


def test_two_boards_and_none_is_named(board: VirtualBoard, plug_in: PlugIn, tmp_path: Path) -> None:
    with VirtualBoard(tmp_path / "other") as other:
        plug_in(Port(board.port, "e661a"), Port(other.port, "e662b"))
        other.wait_for(">>> ")
        for command in (["deploy"], ["doctor", "--ask"], ["certs", "rotate", DEVICE]):
            code, output = run(*command)
            assert code == 2, output
            for port, serial in ((board.port, "e661a"), (other.port, "e662b")):
                assert f"{port} ({serial})" in output
                assert f"rootlet {' '.join(command)} --port {port}" in output
        assert undisturbed(board) and other.output.count(">>> ") == 1


# The doctor on a board


def look(board: VirtualBoard) -> tuple[int, dict[str, list[dict[str, str]]]]:
    code, output = run("doctor", "--ask", "--json", "--port", board.port)
    told: dict[str, list[dict[str, str]]] = {}
    for row in json.loads(output):
        told.setdefault(row["check"], []).append(row)
    return code, told


def wrong(told: dict[str, list[dict[str, str]]]) -> dict[str, dict[str, str]]:
    return {name: row for name, rows in told.items() for row in rows if row["status"] == "problem"}


def test_a_healthy_board(board: VirtualBoard, plug_in: PlugIn) -> None:
    since = board.position
    code, told = look(board)
    assert code == 0 and wrong(told) == {}, told
    for name in ("MicroPython", "flash", "heap", "firmware", "board config", "trust", "clock floor", "identity"):
        assert told[name][0]["status"] == "ok", name
    board.wait_for("main runs", since=since)


def test_a_board_is_not_asked_unless_told(board: VirtualBoard, plug_in: PlugIn) -> None:
    plug_in(Port(board.port, "e661a"))
    code, output = run("doctor")
    assert code == 0 and f"rootlet doctor --ask --port {board.port}" in output
    assert undisturbed(board)


def test_a_program_in_one_of_two_trees(plug_in: PlugIn, tree: Path, tmp_path: Path) -> None:
    flash = copy(tree, tmp_path / "flash")
    for name in ("rootlet", "trust_roots.py"):
        (flash / "app_b").mkdir(exist_ok=True)
        (flash / name).rename(flash / "app_b" / name)
    (flash / "app").write_text("b\n")
    with VirtualBoard(flash) as virtual:
        assert wrong(look(virtual)[1]) == {}
        (flash / "app").write_text("a\n")
        assert "not on the board" in wrong(look(virtual)[1])["firmware"]["fact"]


def test_no_board_to_ask(plug_in: PlugIn) -> None:
    code, output = run("doctor", "--ask")
    assert code == 3 and "no board found" in output


def test_a_board_with_nothing_on_it(plug_in: PlugIn, tmp_path: Path) -> None:
    with VirtualBoard(tmp_path / "bare") as bare:
        code, told = look(bare)
        assert code == 1
        assert wrong(told)["firmware"]["fix"] == f"rootlet deploy --port {bare.port}"


@pytest.mark.parametrize(
    ("name", "content", "check", "words"),
    [
        ("config.json", b"{", "board config", "CONFIG"),
        ("config.json", json.dumps(config() | {"wifi": {"password": PASSWORD}}).encode(), "board config", "wifi"),
        ("trust_roots.py", b"ROOTS = ()\nBUILD_TIME = 0\n", "trust", "TLS_NO_ROOTS"),
        ("clock.json", None, "clock floor", "ahead of this machine"),
        ("device.crt.der", b"0\x03\x02\x01\x01", "identity", ""),
        ("rootlet/__init__.py", b'__version__ = "0.0.9"\n', "firmware", "0.0.9"),
    ],
    ids=["no-json", "config", "no-roots", "clock", "certificate", "old-firmware"],
)
def test_each_fault_of_a_board(
    tree: Path, plug_in: PlugIn, tmp_path: Path, name: str, content: bytes | None, check: str, words: str
) -> None:
    flash = copy(tree, tmp_path / "flash")
    if name.endswith(".py"):
        (flash / name).with_suffix(".mpy").unlink(missing_ok=True)
    ahead = json.dumps({"last_good": int(time.time()) + 400 * 86400}).encode()
    (flash / name).write_bytes(ahead if content is None else content)
    with VirtualBoard(flash) as virtual:
        code, told = look(virtual)
    assert code == 1 and set(wrong(told)) == {check}, told
    assert words in wrong(told)[check]["fact"] and wrong(told)[check]["fix"]
    assert PASSWORD not in json.dumps(told)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_a_key_of_another_certificate(plug_in: PlugIn, tree: Path, tmp_path: Path, kind: str) -> None:
    flash = copy(tree, tmp_path / "flash")
    device = ca.init(tmp_path / "ca").issue_device(DEVICE, key_type=kind)
    (flash / "device.crt.der").write_bytes(device.cert_der.read_bytes())
    (flash / "device.key.der").write_bytes(device.key_der.read_bytes())
    with VirtualBoard(flash) as virtual:
        assert wrong(look(virtual)[1]) == {}
        other = x509_build.new_key(kind).private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (flash / "device.key.der").write_bytes(other)
        assert "not the certificate's" in wrong(look(virtual)[1])["identity"]["fact"]


def test_what_the_doctor_calls_too_little(tmp_path: Path) -> None:
    told = ask_board.Board("/dev/x", micropython="1.23.0", machine="Raspberry Pi Pico W with RP2040", platform="rp2",
                           flash_free=8192, heap_free=20000)  # fmt: skip
    assert doctor_board._micropython(told).status == "problem"
    assert doctor_board._micropython(ask_board.Board("x", micropython="2.0.0-preview")).status == "ok"
    assert doctor_board._micropython(ask_board.Board("x", micropython="\u0661?")).status == "problem"
    assert doctor_board._room("flash", 8192, doctor_board.LEAST_FLASH, "x").status == "problem"
    assert doctor_board._room("heap", 20000, doctor_board._heap_needed(told), "x").status == "problem"
    assert doctor_board._room("heap", None, 1, "x").status == "problem"


def test_the_wrong_board_for_the_device(tmp_path: Path) -> None:
    told = ask_board.Board("/dev/x", device="pico-8")
    devices = (doctor.Device(DEVICE, {}),)
    found = doctor.Setup(tmp_path, tmp_path, devices=devices, named=True)
    assert [row.status for row in doctor_board._device(told, found)] == ["problem"]
    assert list[Row](doctor_board._device(ask_board.Board("x", device=DEVICE), found)) == []


@pytest.mark.parametrize(
    "answer",
    ["", "nothing", "rootlet-board {", "rootlet-board []", "rootlet-board {}", "rootlet-board " + "[" * 9000,
     "x" * 20000, 'rootlet-board {"heap_free": 1, "heap_bytes": 2, "flash": [1]}',
     'rootlet-board {"heap_free": 1, "heap_bytes": 2, "faults": {"a": 1}}'],
    ids=range(9),
)  # fmt: skip
def test_a_strange_answer(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "_mpremote", lambda *_, **__: answer + "\n")
    with pytest.raises(Failure) as caught:
        ask_board.ask("/dev/ttyACM0")
    assert "cannot be used" in caught.value.what


def test_an_answer_cannot_drive_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"heap_free": 1, "heap_bytes": True, "flash": None, "device": "\x1b[2J", "machine": 7, "rootlet": "9" * 999}
    monkeypatch.setattr(deploy, "_mpremote", lambda *_, **__: "rootlet-board " + json.dumps(told) + "\n")
    found = ask_board.ask("/dev/ttyACM0")
    assert found.device == "\\x1b[2J" and found.machine is None and found.heap_bytes is None
    assert len(found.rootlet or "") <= 100


def test_a_question_that_fails_still_restarts_the_board(board: VirtualBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_board, "_SCRIPT", "raise RuntimeError\n")
    since = board.position
    with pytest.raises(Failure):
        ask_board.ask(board.port)
    board.wait_for("main runs", since=since)
