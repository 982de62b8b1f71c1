"""Bluetooth sensors in a project: [ble], [[ble.sensors]], their keys from secrets, and what a board can do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_tools import boards, masking, project, project_secrets, provision
from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT
from rootlet import config

KEY = "5ec2e7" + "0123456789abcdef012345678A"
GOOD = """\
home_assistant = "homeassistant"
[wifi]
networks = [{ ssid = "home" }]
[[brokers]]
name = "home"
host = "broker.home"
[ble]
every_s = 30
[[ble.sensors]]
name = "kitchen"
format = "bthome"
address = "A4:C1:38:12:34:56"
bindkey = { secret = "kitchen-{device}" }
change = { temperature = 0.2 }
[[ble.sensors]]
name = "band"
format = "gatt"
irk = { secret = "band" }
services = ["heart_rate"]
[[ble.sensors]]
name = "tank"
format = "mapped"
local_name = "TANK*"
[[ble.sensors.values]]
quantity = "level"
source = "manufacturer:04b9"
format = "<h"
[[devices]]
id = "pico-1"
[[devices]]
id = "node-2"
board = "esp32_generic"
ble = { active = true }
"""
SECRETS = f'kitchen-pico-1 = "{KEY}"\nkitchen-node-2 = "{KEY}"\nband = "{KEY}"\n'


def write(folder: Path, text: str = GOOD, secrets: str = SECRETS) -> Path:
    (folder / project.FILE).write_text(text)
    path = folder / project_secrets.FILE
    path.touch(0o600)
    path.write_text(secrets)
    return folder


def refused(folder: Path, **more: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        for device in project.load(folder, **more).devices:
            assert device.config
    failure = caught.value
    assert KEY[:12] not in str(failure) and failure.code == Exit.USAGE
    return failure


def test_each_device_has_what_its_board_accepts(tmp_path: Path) -> None:
    loaded = project.load(write(tmp_path))
    assert KEY not in repr(loaded)
    one, two = (config.check(device.config) for device in loaded.devices)
    kitchen, band, tank = one["ble"]["sensors"]
    assert (kitchen["bindkey"], kitchen["address"]) == (KEY.lower(), "a4:c1:38:12:34:56")
    assert band["irk"] == KEY.lower() and band["services"] == ["heart_rate"]
    assert tank["values"][0]["source"] == "manufacturer:04b9"
    assert (one["ble"]["active"], two["ble"]["active"], two["ble"]["every_s"]) == (False, True, 30)
    assert one["home_assistant"] == "homeassistant" and len(one["sensors"]) == 0
    assert len(project.load(write(tmp_path, secrets="")).devices) == 2  # loading asks for no secret


def with_line(old: str, new: str) -> str:
    assert GOOD.count(old) >= 1, old
    return GOOD.replace(old, new, 1)


# What is wrong: the text, then line, key, a part of the reason, a part of the fix.
WRONG = [
    (with_line("every_s = 30", "evry_s = 30"), 8, "ble.evry_s", "no such key", "write every_s"),
    (with_line("every_s = 30", "window_ms = 300"), 8, "ble.window_ms", "longer than the interval", "at most"),
    (GOOD.partition("[ble]")[0] + "[ble]\nsensors = 1\n", 8, "ble.sensors", "it is 1: it must be a list", "1 to 16"),
    (with_line('"A4:C1', '"A4C1'), 12, "ble.sensors[0].address", 'it is "A4C1:38', "a4:c1:38:12:34:56"),
    (with_line('address = "A4:C1:38:12:34:56"\n', ""), 9, "ble.sensors[0].address", "exactly one", "local_name"),
    (with_line('{ secret = "kitchen-{device}" }', f'"{KEY}"'), 13, "ble.sensors[0].bindkey", "a key never", "secret ="),
    (with_line('{ secret = "band" }', f'"{KEY}"'), 18, "ble.sensors[1].irk", "a key never stands", "secret ="),
    (with_line('"A4:C1:38:12:34:56"', f'"{KEY}"'), 12, "ble.sensors[0].address", "six pairs", "address"),
    (with_line("bindkey =", "bindky ="), 13, "ble.sensors[0].bindky", "no such key", "write bindkey"),
    (with_line('"bthome"', '"ruuvi"'), 13, "ble.sensors[0].bindkey", "ruuvi has no key", "remove it"),
    (with_line("0.2", "-1"), 14, "ble.sensors[0].change", "numbers from 0 on", "change"),
    (with_line('["heart_rate"]', '["heart"]'), 19, "ble.sensors[1].services", "a list of environmental", "services"),
    (with_line('name = "band"', 'name = "kitchen"'), 16, "ble.sensors[1].name", "another sensor has it", "another"),
    (with_line('name = "band"\n', ""), 15, "ble.sensors[1].name", "missing and required", "add name"),
    (with_line('format = "<h"', 'format = "<x"'), 27, "ble.sensors[2].values[0].format", "one letter of", "format"),
    (with_line('format = "<h"\n', ""), 24, "ble.sensors[2].values[0].format", "missing and required", "add format"),
    (with_line("[[ble.sensors.values]]", "[ble.sensors.values]"), 24, "ble.sensors[2].values", "a list of 1", "values"),
    (with_line("manufacturer:", "characteristic:"), 26, "ble.sensors[2].values[0].source", "mapped", "manufacturer"),
    (with_line('["heart_rate"]', "[]\nbond = true"), 19, "ble.sensors[1].services", "it is []", "services"),
    (with_line('["heart_rate"]', '["battery"]\nbond = true'), 20, "ble.sensors[1].bond", "pico_w cannot bond", "esp32"),
    (with_line('id = "pico-1"', 'id = "pico.1"'), 29, "devices[0].id", "takes no '.' in names", "'-'"),
    (with_line('"homeassistant"', '"a/#"'), 1, "home_assistant", "the prefix of", "home_assistant"),
    (with_line("[ble]\nevery_s = 30\n", "ble = 3\n").partition("[[ble.s")[0], 7, "brokers[0].ble", "no such key", ""),
    ("ble = 3\n" + GOOD.partition("[ble]")[0], 1, "ble", "a table", "ble"),
    (GOOD.partition("[ble]")[0] + "[[ble.sensors]]\n[ble.sensors.values]\n", 8, "ble.sensors[0].values", "a list", ""),
    (GOOD.partition("[ble]")[0] + "[ble]\nsensors = [1]\n", 8, "ble.sensors[0]", "a table", "[[ble.sensors]]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "reason", "fix"), WRONG, ids=range(len(WRONG)))
def test_wrong_files(tmp_path: Path, text: str, line: int, key: str, reason: str, fix: str) -> None:
    error = refused(write(tmp_path, text))
    assert error.what == f"{tmp_path / project.FILE}, line {line}: {key} cannot be used", str(error)
    assert reason in error.because and fix in error.try_, str(error)


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        ("", "there is no secret kitchen-pico-1"),
        (f'kitchen-pico-1 = "{KEY}0"', "line 1: the secret kitchen-pico-1 cannot be used"),
        (f'kitchen-pico-1 = "{KEY[:-1]}x"', "line 1: the secret kitchen-pico-1 cannot be used"),
        (f'kitchen-pico-1 = "{project_secrets.PLACEHOLDER}"', "kitchen-pico-1 is not filled in"),
    ],
)
def test_wrong_secrets(tmp_path: Path, secrets: str, words: str) -> None:
    error = refused(write(tmp_path, secrets=secrets))
    assert words in error.what, str(error)
    if "cannot be used" in words:
        assert error.because == "ble.sensors[0].bindkey: it must be 32 hexadecimal digits"


def test_keys_from_the_environment_and_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOTLET_SECRET_BAND", "f" * 32)
    device = project.load(write(tmp_path)).device("pico-1")
    assert device.config["ble"]["sensors"][1]["irk"] == "f" * 32
    asked = project.load(tmp_path, secret_cmd=f"sh -c 'echo {KEY}'").device("pico-1")
    assert asked.config["ble"]["sensors"][0]["bindkey"] == KEY


def test_a_fleet_has_sensors_of_its_own(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.csv"
    fleet.write_text(
        "id,ble.sensors[0].address,ble.sensors[0].every_s,ble.sensors[2].values[0].scale,ble.interval_ms\n"
        "gw-1,00:11:22:33:44:55,2.5,0.1,500\ngw-2,,,,\n"
    )
    write(tmp_path, secrets=SECRETS + f'kitchen-gw-1 = "{KEY}"\nkitchen-gw-2 = "{KEY}"\n')
    one, two = (device.config["ble"] for device in project.load(tmp_path, fleet=fleet).devices[2:])
    assert (one["sensors"][0]["address"], one["sensors"][0]["every_s"]) == ("00:11:22:33:44:55", 2.5)
    assert (one["sensors"][2]["values"][0]["scale"], one["interval_ms"]) == (0.1, 500)
    assert two["sensors"][0]["address"] == "A4:C1:38:12:34:56" and "interval_ms" not in two
    for key in ("bindkey", "irk"):
        fleet.write_text(f"id,ble.sensors[0].{key}\na,{KEY}\n")
        error = refused(tmp_path, fleet=fleet)
        assert "a key never stands" in error.because and f"{key}-{{device}}" in error.try_, str(error)
    fleet.write_text("id,ble.sensors[0].address\na,x\n")
    assert refused(tmp_path, fleet=fleet).what.endswith("line 2: ble.sensors[0].address cannot be used")


def test_what_a_board_can_do_is_told_before_it_is_in_the_field(tmp_path: Path) -> None:
    second = '[[ble.sensors]]\nname = "b2"\nformat = "gatt"\naddress = "00:00:00:00:00:02"\n[[devices]]\nid = "pico-1"'
    one, two = project.load(write(tmp_path, with_line('[[devices]]\nid = "pico-1"', second))).devices
    assert one.note == "2 sensors need a connection and pico_w has 1: they take turns, one after the other"
    assert two.note is None
    said: list[str] = []
    report = provision.run(project.load(tmp_path), [one, two], provision.Options(), said.append)
    assert one.note in report.notes
    assert any("rootlet broker --home-assistant homeassistant" in note for note in report.notes)
    bonded = with_line('id = "pico-1"', 'id = "pico-1"\nboard = "esp32_s3"')
    bonded = bonded.replace("services =", "bond = true\nservices =")
    assert project.load(write(tmp_path, bonded)).devices[0].config["ble"]["sensors"][1]["bond"] is True


def test_what_the_boards_can_do() -> None:
    for board in boards.all_boards():
        known = {"rp2": ("btstack", 1, False), "esp32": ("nimble", 4, True)}[board["port"]]
        assert (board["ble"]["stack"], board["ble"]["connections"], board["ble"]["bonding"]) == known
        assert any(source.startswith("ble: ") for source in board["sources"])


VALUES = ["0", "-1", "nan", "true", '""', '"x"', "[]", "[[]]", "[1]", "{}", '{secret="x"}', '["a"]', "[{}]",
          "[{name='a'}]",
          "1979-05-27", '"' + "y" * 3000 + '"', '"00:00:00:00:00:00"', '"gatt"', '"ibeacon"', "{x=1}"]  # fmt: skip
LINES = ["[ble]", "[[ble]]", "[ble.sensors]", "[[ble.sensors]]", "[[ble.sensors.values]]", "[ble.sensors.change]", "]",
         "ble = 1", "sensors = []", "values = [{}]", "irk = {secret = 'band'}", "bond = true", "change.x = 1", "",
         "ble.sensors = [1]", "name.x = 1", f"address = '{KEY}'", f"bindkey = '{KEY}'", f"x = '{KEY}'"]  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 33), st.sampled_from([*VALUES, *LINES])), min_size=1, max_size=4))
def test_whatever_stands_in_ble_is_taken_or_refused_in_three_lines(
    tmp_path: Path, changes: list[tuple[int, str]]
) -> None:
    rows = GOOD.split("\n")
    for number, new in changes:
        key, equals, _ = rows[number].partition(" = ")
        rows[number] = f"{key} = {new}" if new in VALUES and equals else new
    try:
        for device in project.load(write(tmp_path, "\n".join(rows))).devices:
            config.check(json.loads(json.dumps(device.config, allow_nan=False)))
    except Failure as failure:
        assert len(str(failure).splitlines()) == 3 and KEY[:12] not in str(failure)


def test_keys_are_hidden_in_what_is_shown(tmp_path: Path) -> None:
    config_json = {"ble": {"sensors": [{"name": "x", "bindkey": KEY, "irk": "ab" * 16}]}}
    masker = masking.Masker(masking.in_config(config_json))
    for text in (KEY, KEY.upper(), "AB" * 16, repr(bytes.fromhex(KEY)), bytes.fromhex(KEY).hex(" ")):
        assert masking.MASK in masker.text(f"said {text} here"), text
    for text in (f"bindkey: {KEY}", f'"irk": "{KEY}"', f"bindkey {KEY}", f"BINDKEY={KEY}"):
        assert KEY not in masking.Masker().text(text), text


def test_the_examples_of_the_page_are_accepted(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "ble.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", page, re.S)
    assert len(examples) >= 3
    for example in examples:
        load = project.load(write(tmp_path, GOOD.partition("[ble]")[0] + example + '[[devices]]\nid = "pico-1"\n'))
        assert len(config.check(load.device().config)["ble"]["sensors"]) == 1


def test_the_limits_of_the_page_are_those_of_the_boards() -> None:
    page = (ROOT / "docs" / "ble.md").read_text()
    head, *rows = (line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| "))
    facts = {row[0]: row[1:] for row in rows}
    for board in boards.all_boards():
        name = board["name"].removeprefix("Raspberry Pi ").removeprefix("Generic ").removesuffix(" module")
        column = next(i for i, cell in enumerate(head[1:] or []) if name in cell.split(", "))
        assert facts["stack in MicroPython's firmware"][column].lower() == board["ble"]["stack"]
        assert facts["connections at once (`gatt`)"][column].startswith(f"{board['ble']['connections']};")
        assert facts["bonding (`bond = true`)"][column] == ("yes" if board["ble"]["bonding"] else "no")
