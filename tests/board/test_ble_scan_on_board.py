"""`rootlet ble scan` with a virtual board among virtual peripherals: mpremote, MicroPython and bumble are real."""

import contextlib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("bumble")

from bumble.controller import Controller
from bumble.device import AdvertisingType, Device
from bumble.gatt import Characteristic, Service
from bumble.hci import Address
from bumble.host import Host
from bumble.transport.common import AsyncPipeSink

from host_tools.commands.app import app
from host_tools.failure import Failure
from host_tools.sim.air import Air
from host_tools.sim.board import VirtualBoard

TICKING = "import time\nprint('main runs')\nwhile True:\n    time.sleep_ms(20)\n"
RUUVI = bytes.fromhex("1bff99040512fc5394c37c0004fffc040cac364200cdcbb8334c884f")
HOSTILE = b'\x1b[2J"\n[x]\\'
OTHER = "12345678-1234-5678-1234-56789abcdef0"
READ = Characteristic.Properties.READ


class Sender:
    """Advertises; with services, one may connect."""

    def __init__(self, address: str, data: bytes, services: tuple[Service, ...] = (), response: bytes = b"") -> None:
        self.address, self.data, self.services, self.response = address, data, services, response

    async def start(self, link: Any) -> None:
        radio = Controller(self.address, link=link)
        self.device = Device(name="x", address=Address(self.address), host=Host(radio, AsyncPipeSink(radio)))
        self.device.add_services(self.services)
        await self.device.power_on()
        kind = AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE if self.services else AdvertisingType.UNDIRECTED
        self.device.scan_response_data = self.response
        await self.device.start_advertising(
            advertising_type=kind, advertising_data=self.data, scan_response_data=self.response, auto_restart=True,
            advertising_interval_min=60, advertising_interval_max=60,
        )  # fmt: skip

    async def stop(self) -> None:
        await self.device.power_off()


def thermometer(address: str) -> Sender:
    readable = Characteristic.READABLE
    services = (
        Service("181A", [Characteristic("2A6E", READ, readable, b"\x10\x08")]),
        Service(OTHER, [
            Characteristic(OTHER[:-1] + "1", READ, readable, b"\x01\x02\x03\x04"),
            Characteristic(OTHER[:-1] + "2", READ, readable | Characteristic.READ_REQUIRES_ENCRYPTION, b"\x10"),
        ]),
    )  # fmt: skip
    return Sender(address, b"\x02\x01\x06\x03\x03\x1a\x18" + bytes([len(HOSTILE) + 1, 9]) + HOSTILE, services)


@pytest.fixture(scope="module")
def air() -> Iterator[Air]:
    with Air() as air:
        air.add(Sender("C4:C1:38:12:34:56", RUUVI))
        air.add(thermometer("C4:C1:38:12:34:57"))
        air.add(Sender("C4:C1:38:12:34:58", b"\x05\xff\xbb\xaa\x01\x02"))
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


def test_what_is_in_the_air(board: VirtualBoard) -> None:
    since = board.position
    code, output = run(board, "--seconds", "2", "--all", "--json")
    assert code == 0, output
    told = json.loads(output)
    rows = {row["address"]: row for row in told["devices"]}
    assert set(rows) == {"c4:c1:38:12:34:56", "c4:c1:38:12:34:57", "c4:c1:38:12:34:58"} and told["lost"] == 0
    ruuvi, gatt, unknown = (rows[address] for address in sorted(rows))
    assert ruuvi["format"] == "ruuvi" and {"quantity": "temperature", "value": 24.3, "unit": "Cel"} in ruuvi["values"]
    assert ruuvi["kind"] == "static" and ruuvi["rssi"] == -60 and ruuvi["heard"] > 3
    assert (gatt["format"], gatt["services"], gatt["name"]) == ("gatt", ["environmental"], HOSTILE.decode())
    assert unknown["format"] is None and unknown["raw"] == [{"source": "manufacturer:aabb", "data": "0102"}]
    sensors = tomllib.loads(told["toml"])["ble"]["sensors"]
    assert {sensor["format"] for sensor in sensors} == {"ruuvi", "gatt", "mapped"}
    board.wait_for("main runs", since=since)


def test_the_table_cannot_drive_the_terminal(board: VirtualBoard) -> None:
    code, output = run(board, "--seconds", "1")
    assert code == 0 and "\x1b" not in output and "\\x1b[2J" in output
    assert "ruuvi-3456" in output and "manufacturer:aabb" not in output


def test_a_peripheral_is_explored(board: VirtualBoard, air: Air) -> None:
    since = board.position
    code, output = run(board, "--connect", "C4:C1:38:12:34:57", "--seconds", "5")
    assert code == 0, output
    assert "2a6e  read  1008  = temperature 20.64 Cel" in output
    assert f"{OTHER[:-1]}1  read  01020304" in output
    assert f"{OTHER[:-1]}2  read  not read: it wants" in output
    (sensor,) = tomllib.loads(output[output.index("[[ble") :])["ble"]["sensors"]
    assert sensor["services"] == ["environmental"] and len(sensor["values"]) == 2
    board.wait_for("main runs", since=since)
    assert air.connections == 0


def test_a_peripheral_that_is_not_there(board: VirtualBoard) -> None:
    since = board.position
    code, output = run(board, "--connect", "c4:c1:38:00:00:00", "--seconds", "1")
    assert code == 1 and "was not heard" in output
    board.wait_for("main runs", since=since)


def test_a_board_without_bluetooth(tmp_path: Path) -> None:
    with ticking(tmp_path / "flash", None, "pico_w") as board:
        since = board.position
        code, output = run(board, "--seconds", "1")
        assert code == 1 and "has no Bluetooth" in output
        board.wait_for("main runs", since=since)


def test_more_senders_than_there_is_room_for(tmp_path: Path) -> None:
    with Air() as crowd, ticking(tmp_path / "flash", crowd, "pico_w") as board:
        for i in range(70):
            crowd.add(Sender(f"C4:C1:38:12:00:{i:02X}", b"\x05\xff\xbb\xaa\x01" + bytes([i])))
        code, output = run(board, "--seconds", "3", "--all", "--json")
        told = json.loads(output)
        assert code == 0 and len(told["devices"]) == 64 and told["beyond"] > 0
