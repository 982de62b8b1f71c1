"""`rootlet ble scan` on the host: what is recognised, and that nothing a stranger sends gets out of its quotes."""

import asyncio
import json
import struct
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from host_tools import (
    ble_explore,
    ble_keys,
    ble_recognise,
    ble_report,
    ble_scan,
    deploy,
    find_board,
    project_check,
)
from host_tools.ble_scan import Characteristic, Device, Heard, Scan
from host_tools.commands.app import app
from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT
from rootlet import config_ble

KEY = "231d39c1d7cc1ab1aee224cd096db932"
OTHER = "12345678-1234-5678-1234-56789abcdef0"
SECRET_ADDRESS = "54:48:e6:8f:80:a5"


def ad(kind: int, data: bytes) -> bytes:
    return bytes([len(data) + 1, kind]) + data


def of(
    *structures: bytes, address: str = "a4:c1:38:12:34:56", kind: str = "public", connectable: bool = False
) -> Device:
    heard = Heard(address, kind, -61, 3, connectable, [b"".join(structures)])
    (device,) = ble_recognise.recognise_all(Scan([heard]))
    return device


def values(device: Device) -> dict[str, Any]:
    return {name: (value, unit) for name, value, unit in device.values}


# Messages: BTHome's format page (bthome.io/format, and its page on encryption), Ruuvi's test vectors of format 5,
# atc1441's and Eddystone's descriptions.
BTHOME = ad(0x16, bytes.fromhex("d2fc4002c40903bf13"))
ENCRYPTED = ad(0x16, bytes.fromhex("d2fc41a47266c95f730011223378237214"))
RUUVI = ad(0xFF, bytes.fromhex("99040512fc5394c37c0004fffc040cac364200cdcbb8334c884f"))
ATC = ad(0x16, bytes.fromhex("1a18a4c13812345600d62f500b8601"))
EDDYSTONE = ad(0x16, bytes.fromhex("aafe20000bb8170000000064000003e8"))
IBEACON = ad(0xFF, bytes.fromhex("4c000215") + bytes(range(16)) + bytes.fromhex("00010002c5"))


@pytest.mark.parametrize(
    ("payload", "format_", "quantity", "value", "unit"),
    [
        (BTHOME, "bthome", "temperature", 25.0, "Cel"),
        (RUUVI, "ruuvi", "temperature", 24.3, "Cel"),
        (ATC, "atc", "temperature", 21.4, "Cel"),
        (EDDYSTONE, "eddystone", "temperature", 23.0, "Cel"),
    ],
)
def test_each_format_is_recognised(payload: bytes, format_: str, quantity: str, value: float, unit: str) -> None:
    device = of(ad(1, b"\x06"), payload)
    assert device.format == format_ and device.key == ""
    got, its_unit = values(device)[quantity]
    assert got == pytest.approx(value) and its_unit == unit
    assert f"rootlet/{{device}}/{format_}-3456" in "\n".join(ble_report.table([device]))


def test_an_ibeacon_and_what_else_apple_sends() -> None:
    assert of(IBEACON).format == "ibeacon"
    assert of(ad(0xFF, bytes.fromhex("4c001005031c")), connectable=True).format is None


def test_a_gatt_sensor_is_recognised_by_the_services_it_lists() -> None:
    listed = ad(0x03, bytes.fromhex("0f181a18"))
    assert of(listed, connectable=True).services == ["environmental", "battery"]
    assert of(ad(0x07, bytes.fromhex("fb349b5f80000080001000001a180000")), connectable=True).format == "gatt"
    assert of(listed).format is None  # nobody can connect to it


def test_what_it_broadcasts_goes_before_what_it_lists() -> None:
    assert of(ATC, ad(0x03, bytes.fromhex("1a18")), connectable=True).format == "atc"


def test_an_encrypted_sensor_with_and_without_its_key() -> None:
    told = Scan([Heard(SECRET_ADDRESS, "public", -50, 1, False, [ENCRYPTED])])
    (device,) = ble_recognise.recognise_all(told)
    assert (device.format, device.key, device.values) == ("bthome", "needed", [])
    assert f"--bindkey {SECRET_ADDRESS}" in "\n".join(ble_report.table([device]))
    row = sensor(device)
    assert row["bindkey"] == {"secret": "bthome-80a5-bindkey"}
    assert "secrets.toml" in ble_report.section(device)
    (device,) = ble_recognise.recognise_all(told, {SECRET_ADDRESS: bytes.fromhex(KEY)})
    assert device.key == "right" and values(device)["temperature"][0] == pytest.approx(25.06)
    assert "bindkey" in sensor(device) and KEY not in json.dumps(ble_report.as_json(told, [device]))
    (device,) = ble_recognise.recognise_all(told, {SECRET_ADDRESS: bytes(16)})
    assert device.key == "wrong" and device.values == [] and "does not fit" in "\n".join(ble_report.table([device]))


def test_an_unknown_sender_gets_a_skeleton_to_fill_in() -> None:
    device = of(ad(0xFF, bytes.fromhex("aabb0102")), ad(0x16, bytes.fromhex("e1ff05")), ad(9, b"Level 7"))
    assert device.format is None
    row = sensor(device)
    assert row["name"] == "level-7" and row["format"] == "mapped"
    assert [(v["source"], v["format"]) for v in row["values"]] == [("manufacturer:bbaa", "<h"), ("service:ffe1", "<B")]
    assert "# manufacturer:bbaa = 0102" in ble_report.section(device)
    assert ble_report.section(of(ad(1, b"\x06"))) == ""


def test_a_sensor_whose_address_changes() -> None:
    named = of(BTHOME, ad(9, b"Kitchen"), address="5a:00:00:00:00:01", kind="resolvable")
    assert sensor(named)["local_name"] == "Kitchen" and "address" not in sensor(named)
    nameless = of(BTHOME, address="5a:00:00:00:00:01", kind="resolvable")
    assert sensor(nameless)["irk"] == {"secret": "bthome-0001-irk"}


def test_kinds_of_address() -> None:
    for first, kind in ((0xC4, "static"), (0x5A, "resolvable"), (0x12, "private"), (0x90, "random")):
        assert ble_scan.kind_of(1, bytes([first, 0, 0, 0, 0, 0])) == kind
        assert ble_scan.kind_of(0, bytes([first, 0, 0, 0, 0, 0])) == "public"


def test_two_of_one_name_get_names_of_their_own() -> None:
    heard = [Heard(f"a4:c1:38:00:00:0{i}", "public", -50 - i, 1, False, [BTHOME + ad(9, b"Room")]) for i in range(3)]
    heard.append(Heard("b4:c1:38:00:00:01", "public", -70, 1, False, [BTHOME + ad(9, b"Room")]))
    names = [device.sensor for device in ble_recognise.recognise_all(Scan(heard))]
    assert names == ["room", "room-0001", "room-0002", "room-0001-2"]


# Hostile


def sensor(device: Device) -> dict[str, Any]:
    """The one sensor of a section, after the check that the firmware itself makes."""
    data = tomllib.loads("[ble]\nevery_s = 60\n\n" + ble_report.section(device))
    assert list(data) == ["ble"] and list(data["ble"]) == ["every_s", "sensors"]
    (row,) = data["ble"]["sensors"]
    filled = {}
    for key, value in row.items():
        if key in ("bindkey", "irk"):
            assert list(value) == ["secret"] and project_check.SECRET_NAME.fullmatch(value["secret"])
            value = "0" * 32
        filled[key] = value
    config_ble.check({"sensors": [filled]}, [])
    return dict(row)


kinds = st.sampled_from([0x02, 0x03, 0x07, 0x08, 0x09, 0x16, 0x20, 0x21, 0xFF])
starts = st.sampled_from(
    [b"", b"\xd2\xfc", b"\x99\x04\x05", b"\x1a\x18", b"\xaa\xfe", b"\x4c\x00\x02\x15", b"\x0f\x18"]
)
structures = st.builds(lambda kind, start, rest: ad(kind, start + rest), kinds, starts, st.binary(max_size=28))
nasty = [b'"\n[[devices]]\nid = "x"', b"'''", b'\\"', b"\x1b[2J", b"*", b"[red]a[/red]", b"\xe2\x80\xae"]
names = st.one_of(
    st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=29),
    st.sampled_from(nasty),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(structures, names.map(lambda name: ad(9, name)), st.binary(max_size=10)), max_size=5),
    st.sampled_from(["public", "static", "resolvable", "private"]),
    st.booleans(),
)
def test_whatever_is_sent_stays_in_its_place(parts: list[bytes], kind: str, connectable: bool) -> None:
    device = of(b"".join(parts), kind=kind, connectable=connectable)
    if ble_report.section(device):
        sensor(device)
    lines = ble_report.table([device])
    assert all(line.isprintable() for line in lines) and max(map(len, lines)) < 4000
    json.dumps(ble_report.as_json(Scan([device.heard]), [device]), allow_nan=False)
    assert config_ble._device(device.sensor) and len(device.sensor) <= 32


@example('"\\\n\x7f\u202e\U000e0001')
@given(st.text(st.characters(), max_size=40))
def test_a_quoted_text_comes_back(text: str) -> None:
    if any("\ud800" <= c <= "\udfff" for c in text):
        text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    quoted = ble_report.quoted(text)
    assert quoted.isprintable() and tomllib.loads(f"a = {quoted}") == {"a": text}


def test_a_name_that_writes_toml_is_only_a_name() -> None:
    device = of(BTHOME, ad(9, b'x"\n[wifi]\ncountry="XX'), kind="resolvable")
    assert "local_name" not in sensor(device) and "\n" not in "".join(ble_report.table([device]))


words = st.one_of(st.sampled_from(["heard", "count", "end", "service", "characteristic", "value", "unread", "-", "1"]),
                  st.text(max_size=8), st.integers().map(str), st.binary(max_size=8).map(bytes.hex))  # fmt: skip


@given(st.lists(st.lists(words, max_size=8), max_size=20))
def test_a_board_that_tells_nonsense(rows: list[list[str]]) -> None:
    told = ble_scan.read_scan(rows)
    assert len(told.heard) <= ble_scan.MOST
    ble_report.table(ble_recognise.recognise_all(told))
    found = ble_scan.read_characteristics(rows, "x")
    tomllib.loads(ble_explore.toml("a4:c1:38:12:34:56", found))


def test_the_board_cannot_tell_of_more_than_it_may() -> None:
    rows = [["heard", "0", f"{i:012x}", "0", "-50", "1", "00"] for i in range(300)]
    rows += [["heard", "0", "0" * 12, "0", "-50", "1", f"{i:02x}"] for i in range(200)]
    told = ble_scan.read_scan(rows)
    assert len(told.heard) == ble_scan.MOST and max(len(one.payloads) for one in told.heard) <= 12


# On a board that is only said to be there


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the board says; the command finds it."""
    lines: list[str] = []
    monkeypatch.setattr(deploy, "_mpremote", lambda *_, **__: "\n".join(lines))
    monkeypatch.setattr(find_board, "find", lambda *_, **__: find_board.Found("/dev/ttyX"))
    return lines


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["ble", "scan", *arguments])
    if isinstance(result.exception, Failure):
        return int(result.exception.code), str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_nothing_heard_is_no_error_but_a_hint(said: list[str]) -> None:
    said.append("rootlet-ble end 0 0")
    code, output = run()
    assert code == 0 and "nothing was heard" in output


def test_unknown_senders_only_where_they_are_asked_for(said: list[str]) -> None:
    said += ["rootlet-ble heard 0 a4c138000001 0 -60 6 05ffaabb0102", "rootlet-ble end 3 4"]
    code, output = run()
    assert code == 0 and "--all" in output and "a4:c1" not in output and "3 advertisements were lost" in output
    code, output = run("--all", "--json")
    assert code == 0 and json.loads(output)["devices"][0]["raw"] == [{"source": "manufacturer:bbaa", "data": "0102"}]


def test_a_board_without_bluetooth(said: list[str]) -> None:
    said.append("rootlet-ble fault radio none")
    code, output = run()
    assert code == 1 and "no Bluetooth" in output


def test_an_answer_without_an_end(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said.append("rootlet-ble heard 0 a4c138000001 0 -60 6 05ffaabb0102")
    code, output = run()
    assert code == 1 and "end is missing" in output


def test_no_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [])
    assert run()[0] == Exit.NO_DEVICE


def test_no_address(said: list[str]) -> None:
    code, output = run("--connect", "kitchen")
    assert code == 2 and "kitchen is no Bluetooth address" in output


@pytest.mark.parametrize(
    ("fault", "words"),
    [("absent -", "was not heard"), ("connect -", "no connection"), ("explore \x1b[2J it", "\\x1b[2J it")],
)
def test_a_peripheral_that_cannot_be_explored(said: list[str], fault: str, words: str) -> None:
    said += [f"rootlet-ble fault {fault}", "rootlet-ble end 0 0"]
    code, output = run("--connect", "a4:c1:38:12:34:56")
    assert code == 1 and words in output


def test_a_scan_that_is_broken_off_restarts_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def mpremote(port: str, *arguments: str, **_: Any) -> str:
        calls.append(arguments[0])
        if arguments[0] == "exec":
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(deploy, "_mpremote", mpremote)
    with pytest.raises(KeyboardInterrupt):
        ble_scan.scan(find_board.Found("/dev/ttyX"), 1, False)
    assert calls == ["exec", "reset"]


def test_an_explored_peripheral() -> None:
    custom = OTHER
    found = [
        Characteristic("1800", "2a00", 0x02, b"Thermo", 6),
        Characteristic("181a", "2a6e", 0x12, struct.pack("<h", 2064), 2),
        Characteristic(custom, custom[:-1] + "1", 0x12, b"\x01\x02\x03\x04", 4),
        Characteristic(custom, custom[:-1] + "2", 0x02, None, 0, 5),
        Characteristic(custom, custom[:-1] + "3", 0x08),
    ]
    text = "\n".join(ble_explore.table(found))
    assert "temperature 20.64 Cel" in text and '"Thermo"' in text and "wants pairing" in text
    data = tomllib.loads(ble_explore.toml("a4:c1:38:12:34:56", found))["ble"]["sensors"]
    assert data[0]["services"] == ["environmental"]
    assert [(row["source"][-1], row["format"]) for row in data[0]["values"]] == [("1", "<i"), ("2", "<h")]
    config_ble.check({"sensors": data}, [])


# Keys


def test_a_key_comes_from_a_file_the_environment_or_a_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\nmore\n")
    wanted = {SECRET_ADDRESS: bytes.fromhex(KEY)}
    monkeypatch.delenv(ble_keys.VARIABLE, raising=False)
    assert ble_keys.read([f"{SECRET_ADDRESS.upper()}={file}"]) == wanted
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("getpass.getpass", lambda _: KEY)
    assert ble_keys.read([SECRET_ADDRESS]) == wanted
    monkeypatch.setattr("getpass.getpass", lambda _: "abc")
    monkeypatch.setenv(ble_keys.VARIABLE, KEY)
    assert ble_keys.read([SECRET_ADDRESS]) == wanted


def test_a_key_that_cannot_be_used_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ble_keys.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
    bad = tmp_path / "bad"
    bad.write_text("secretive")
    for wish in (
        f"{SECRET_ADDRESS}={KEY}",
        f"{SECRET_ADDRESS}={bad}",
        f"{SECRET_ADDRESS}={tmp_path}/none",
        SECRET_ADDRESS,
    ):
        with pytest.raises(Failure) as caught:
            ble_keys.read([wish])
        assert caught.value.code == Exit.USAGE
        assert KEY not in str(caught.value) and "secretive" not in str(caught.value)


# This computer's adapter


def bleak_with(monkeypatch: pytest.MonkeyPatch, rows: list[tuple[Any, Any]]) -> None:
    class Scanner:
        def __init__(self, detection_callback: Any) -> None:
            self.take = detection_callback

        async def __aenter__(self) -> None:
            for row in rows:
                self.take(*row)

        async def __aexit__(self, *_: object) -> None:
            pass

    monkeypatch.setitem(sys.modules, "bleak", SimpleNamespace(BleakScanner=Scanner))  # type: ignore[arg-type]

    async def at_once(_: float) -> None:
        pass

    monkeypatch.setattr(asyncio, "sleep", at_once)


def advertisement(**given: Any) -> Any:
    scanner = pytest.importorskip("bleak.backends.scanner")
    base = {"local_name": None, "manufacturer_data": {}, "service_data": {}, "service_uuids": [], "tx_power": None,
            "rssi": -55, "platform_data": ()}  # fmt: skip
    return scanner.AdvertisementData(**base | given)


def sender(address: str, details: Any = None) -> Any:
    return pytest.importorskip("bleak.backends.device").BLEDevice(address, "as the system calls it", details)


def test_this_computers_adapter_hears_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def long(short: str) -> str:
        return f"0000{short}-0000-1000-8000-00805f9b34fb"

    public = {"path": "/org/bluez/hci0/dev_x", "props": {"AddressType": "public"}}
    rows = [
        (sender("A4:C1:38:00:00:01", public),
         advertisement(service_data={long("fcd2"): BTHOME[4:]}, local_name="Bath\x1b")),
        (sender("C4:C1:38:00:00:02", {"props": {"AddressType": "random"}}),
         advertisement(manufacturer_data={0x0499: RUUVI[4:]})),
        (sender("A4:C1:38:00:00:03"), advertisement(service_uuids=[long("180f"), OTHER])),
        (sender("6CE1B2A5-3F1D-4D5E-8E3B-1F0E9E1C2D3A"),
         advertisement(service_data={long("181a"): ATC[4:]}, local_name="ATC_1")),
        (sender("A4:C1:38:00:00:05"), advertisement(service_uuids=["nonsense"])),
    ]  # fmt: skip
    bleak_with(monkeypatch, [*rows, rows[0]])
    code, output = run("--local", "--json")
    assert code == 0
    told = {row["address"]: row for row in json.loads(output)["devices"]}
    assert told["a4:c1:38:00:00:01"]["heard"] == 2 and told["a4:c1:38:00:00:01"]["kind"] == "public"
    assert told["c4:c1:38:00:00:02"]["format"] == "ruuvi" and told["c4:c1:38:00:00:02"]["kind"] == "static"
    assert told["a4:c1:38:00:00:03"]["services"] == ["battery"]
    # macOS hides the address: the sensor is known by its name.
    hidden = told["6ce1b2a5-3f1d-4d5e-8e3b-1f0e9e1c2d3a"]
    assert (hidden["kind"], hidden["format"]) == ("system", "atc") and hidden["values"]
    assert 'local_name = "ATC_1"' in json.loads(output)["toml"]


def test_this_computers_adapter_explores(monkeypatch: pytest.MonkeyPatch) -> None:
    def characteristic(uuid: str, *words: str) -> Any:
        return SimpleNamespace(uuid=uuid, properties=list(words))

    temperature = characteristic("00002a6e-0000-1000-8000-00805f9b34fb", "read", "notify")
    locked = characteristic(OTHER, "read", "write-without-response")
    service = SimpleNamespace(uuid="0000181a-0000-1000-8000-00805f9b34fb", characteristics=[temperature, locked])

    class Client:
        services = (service,)

        def __init__(self, device: Any, timeout: float) -> None:
            assert device == "the device"

        async def __aenter__(self) -> Any:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def read_gatt_char(self, one: Any) -> bytearray:
            if one is locked:
                raise RuntimeError("NotPermitted")
            return bytearray(struct.pack("<h", 2064))

    class Scanner:
        @staticmethod
        async def find_device_by_address(address: str, timeout: float) -> Any:
            return "the device" if address == "a4:c1:38:00:00:01" else None

    fake = SimpleNamespace(BleakScanner=Scanner, BleakClient=Client)
    monkeypatch.setitem(sys.modules, "bleak", fake)  # type: ignore[arg-type]
    code, output = run("--local", "--connect", "a4:c1:38:00:00:01")
    assert code == 0 and "2a6e  read, notify  1008  = temperature 20.64 Cel" in output
    assert f"{OTHER}  read, write  not read" in output
    code, output = run("--local", "--connect", "a4:c1:38:00:00:02")
    assert code == 1 and "was not heard" in output


def test_bleak_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bleak", None)
    code, output = run("--local")
    assert code == 1 and "pip install 'rootlet[ble]'" in output and len(output.splitlines()) == 3


def test_no_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bleak")
    if sys.platform != "linux":
        pytest.skip("BlueZ is Linux's")
    command = [sys.executable, "-m", "host_tools", "ble", "scan", "--local", "--seconds", "1"]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'firmware'}", "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()[-3:]
    assert [line.split(":")[0] for line in lines] == ["error", "because", "try"] and "D-Bus" in lines[1]


def test_keys_work_without_the_stand_ins_of_the_tests() -> None:
    code = (
        "from host_tools import ble_recognise as r, ble_scan as s\n"
        f"heard = s.Heard({SECRET_ADDRESS!r}, 'public', -50, 1, False, [{ENCRYPTED!r}])\n"
        f"print(r.recognise(heard, {{heard.address: bytes.fromhex({KEY!r})}}).key)"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'firmware'}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False, cwd="/")
    assert done.stdout == "right\n", done.stderr
