"""`rootlet ble scan` with a virtual board among virtual peripherals: mpremote, MicroPython and bumble are real."""

import contextlib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("bumble")

from host_tools.commands.app import app
from host_tools.failure import Failure
from host_tools.sim import adverts_made as made
from host_tools.sim.advertisers import Advertiser, Crowd
from host_tools.sim.air import Air
from host_tools.sim.board import VirtualBoard
from host_tools.sim.peripherals import Custom, Thermometer

TICKING = "import time\nprint('main runs')\nwhile True:\n    time.sleep_ms(20)\n"
RUUVI, PLAIN, LOCKED, BEACON, UNKNOWN = (f"C4:C1:38:12:34:5{i}" for i in range(5))
THERMOMETER, CUSTOM, SECURE = (f"C4:C1:38:12:35:5{i}" for i in range(3))
KEY = bytes(range(16))
HOSTILE = '\x1b[2J"\n[x]\\'
SERVICE = "12345678-1234-5678-1234-56789abcdef0"
CHARACTERISTIC = SERVICE[:-1] + "1"


@pytest.fixture(scope="module")
def air() -> Iterator[Air]:
    objects = {"temperature": 20.5, "humidity": 40}
    with Air() as air:
        air.add(Advertiser(RUUVI, made.ruuvi(RUUVI, temperature=24.3), interval_ms=100))
        air.add(Advertiser(PLAIN, made.bthome(objects), interval_ms=100))
        air.add(
            Advertiser(LOCKED, lambda sent: made.bthome(objects, KEY, 1000 + sent, address=LOCKED), interval_ms=200)
        )
        air.add(Advertiser(BEACON, made.eddystone_tlm(voltage=3.0, temperature=21), interval_ms=100))
        air.add(Advertiser(UNKNOWN, b"\x05\xff\xbb\xaa\x01\x02", interval_ms=100, rssi=-70))
        air.add(Thermometer(THERMOMETER, HOSTILE, temperature=20.64))
        air.add(Custom(CUSTOM, "Level", service=SERVICE, characteristic=CHARACTERISTIC, value=b"\x01\x02\x03\x04"))
        air.add(Custom(SECURE, service=SERVICE, characteristic=CHARACTERISTIC, value=b"\x01", encrypted=True))
        yield air


@contextlib.contextmanager
def ticking(folder: Path, air: Air | None, board: str) -> Iterator[VirtualBoard]:
    """A board whose program runs."""
    folder.mkdir()
    (folder / "main.py").write_text(TICKING)
    with VirtualBoard(folder, board=board, script={"ble": {"port": air.port}} if air else {}) as virtual:
        virtual.wait_for("main runs")
        yield virtual


@pytest.fixture(params=["pico_w", "esp32_s3"])
def board(request: pytest.FixtureRequest, tmp_path: Path, air: Air) -> Iterator[VirtualBoard]:
    with ticking(tmp_path / "flash", air, request.param) as virtual:
        yield virtual


def run(board: VirtualBoard, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["ble", "scan", "--port", board.port, *arguments])
    if isinstance(result.exception, Failure):
        return int(result.exception.code), str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


def test_what_is_in_the_air(board: VirtualBoard, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.hex())
    since = board.position
    code, output = run(board, "--seconds", "3", "--all", "--json", "--bindkey", f"{LOCKED}={tmp_path / 'key'}")
    assert code == 0, output
    told = json.loads(output)
    rows = {row["address"].upper(): row for row in told["devices"]}
    formats = {RUUVI: "ruuvi", PLAIN: "bthome", LOCKED: "bthome", BEACON: "eddystone", UNKNOWN: None,
               THERMOMETER: "gatt", CUSTOM: None, SECURE: None}  # fmt: skip
    assert {address: row["format"] for address, row in rows.items()} == formats
    for address, value in ((RUUVI, 24.3), (PLAIN, 20.5), (LOCKED, 20.5), (BEACON, 21)):
        values = {row["quantity"]: row["value"] for row in rows[address]["values"]}
        assert values["temperature"] == pytest.approx(value), address
    assert rows[RUUVI]["kind"] == "static" and rows[RUUVI]["rssi"] == -60 and rows[RUUVI]["heard"] > 3
    assert rows[LOCKED]["key"] == "right" and KEY.hex() not in output and KEY.hex() not in board.output
    assert rows[THERMOMETER]["services"] == ["environmental"] and rows[THERMOMETER]["name"] == HOSTILE
    assert rows[UNKNOWN]["raw"] == [{"source": "manufacturer:aabb", "data": "0102"}]
    sensors = tomllib.loads(told["toml"])["ble"]["sensors"]
    assert [sensor["format"] for sensor in sensors].count("mapped") == 1 and len(sensors) == 6
    board.wait_for("main runs", since=since)


def test_the_table_cannot_drive_the_terminal(board: VirtualBoard) -> None:
    code, output = run(board, "--seconds", "1.5")
    assert code == 0 and "\x1b" not in output and "\\x1b[2J" in output
    assert "ruuvi-3450" in output and "manufacturer:aabb" not in output and "its bindkey is needed" in output


def explored(board: VirtualBoard, address: str, air: Air) -> str:
    since = board.position
    code, output = run(board, "--connect", address, "--seconds", "5")
    assert code == 0, output
    board.wait_for("main runs", since=since)
    assert air.connections == 0
    return output


def test_a_thermometer_is_explored(board: VirtualBoard, air: Air) -> None:
    output = explored(board, THERMOMETER, air)
    assert "= temperature 20.64 Cel" in output and "= battery 90 %" in output
    (sensor,) = tomllib.loads(output[output.index("[[ble") :])["ble"]["sensors"]
    assert sensor["services"] == ["environmental", "battery"] and "values" not in sensor


def test_what_no_decoder_knows_is_explored(board: VirtualBoard, air: Air) -> None:
    output = explored(board, CUSTOM, air)
    assert f"characteristic {CHARACTERISTIC}  read, notify  01020304" in output
    (sensor,) = tomllib.loads(output[output.index("[[ble") :])["ble"]["sensors"]
    (row,) = sensor["values"]
    assert row["source"] == f"characteristic:{CHARACTERISTIC}" and row["format"] == "<i"


def test_what_wants_a_bond_is_not_read(board: VirtualBoard, air: Air) -> None:
    assert f"characteristic {CHARACTERISTIC}  read, notify  not read: it wants" in explored(board, SECURE, air)


def test_a_peripheral_that_is_not_there(board: VirtualBoard) -> None:
    since = board.position
    code, output = run(board, "--connect", "c4:c1:38:00:00:00", "--seconds", "1")
    assert code == 1 and "was not heard" in output
    board.wait_for("main runs", since=since)


def test_a_peripheral_that_accepts_no_connection(board: VirtualBoard) -> None:
    since = board.position
    code, output = run(board, "--connect", RUUVI, "--seconds", "3")
    assert code == 1 and "no connection" in output
    board.wait_for("main runs", since=since)


def test_a_board_without_bluetooth(tmp_path: Path) -> None:
    with ticking(tmp_path / "flash", None, "pico_w") as board:
        since = board.position
        code, output = run(board, "--seconds", "1")
        assert code == 1 and "has no Bluetooth" in output
        board.wait_for("main runs", since=since)


def test_more_senders_than_there_is_room_for(tmp_path: Path) -> None:
    with Air() as crowd, ticking(tmp_path / "flash", crowd, "pico_w") as board:
        crowd.add(Crowd(rate=200, addresses=200))
        code, output = run(board, "--seconds", "3", "--all", "--json")
        told = json.loads(output)
        assert code == 0 and len(told["devices"]) == 64 and told["beyond"] > 0
