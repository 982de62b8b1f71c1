"""The project file: what is accepted, what is refused and in which words, and where secrets come from."""

import json
import os
import stat
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_tools import project, project_check, project_new, project_secrets, toml_lines
from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT
from rootlet import config

CANARY = "canary-7f3a9c41"

GOOD = """\
[project]
name = "garden"
[wifi]
country = "FR"
[[wifi.networks]]
ssid = "home"
password = { secret = "wifi-home" }
[[wifi.networks]]
ssid = "open"
[clock]
servers = ["127.0.0.1"]
[[brokers]]
name = "home"
host = "broker.home"
[[brokers]]
name = "shared"
host = "10.0.0.2"
auth = "psk"
[[brokers]]
name = "hired"
host = "mqtt.example.org"
auth = "password"
password = { secret = "mqtt-{device}" }
[mqtt]
topic = "g/{device}/{sensor}"
[trust]
public_roots = ["ISRG Root"]
[[sensors]]
kind = "adc"
name = "light"
pin = 26
[[devices]]
id = "pico-1"
[[devices]]
id = "node-2"
board = "esp32_generic"
serial = "ABC"
broker = "shared"
wifi = { country = "DE" }
[[devices.sensors]]
kind = "dht22"
name = "air"
pin = 4
[[devices]]
id = "pico-3"
broker = "hired"
"""


def write(folder: Path, text: str = GOOD, secrets: str | None = f'wifi-home = "{CANARY}"\nmqtt-pico-3 = "m"\n') -> Path:
    (folder / project.FILE).write_text(text)
    if secrets is not None:
        path = folder / project_secrets.FILE
        path.touch(0o600)
        path.write_text(secrets)
    return folder


def refused(folder: Path, **more: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        for device in project.load(folder, **more).devices:
            assert device.config
    return caught.value


def test_each_device_has_what_its_board_accepts(tmp_path: Path) -> None:
    loaded = project.load(write(tmp_path))
    assert (loaded.name, [d.id for d in loaded.devices]) == ("garden", ["pico-1", "node-2", "pico-3"])
    one, two, three = (config.check(device.config) for device in loaded.devices)
    assert one["wifi"]["networks"][0]["password"] == CANARY
    assert one["wifi"]["networks"][1]["password"] == ""
    assert (one["mqtt"]["host"], one["mqtt"]["cert"], one["mqtt"]["topic"]) == (
        "broker.home", "device.crt.der", "g/{device}/{sensor}")  # fmt: skip
    assert (two["wifi"]["country"], len(two["wifi"]["networks"])) == ("DE", 2)
    assert (two["mqtt"]["port"], two["mqtt"]["psk"], two["mqtt"]["cert"]) == (8884, "device.psk", None)
    assert [s["name"] for s in two["sensors"]] == ["air"] and [s["name"] for s in one["sensors"]] == ["light"]
    assert (three["mqtt"]["user"], three["mqtt"]["password"]) == ("pico-3", "m")
    assert (loaded.devices[1].board, loaded.devices[1].serial) == ("esp32_generic", "ABC")
    assert loaded.out("pico-1") == tmp_path / "build" / "devices" / "pico-1"
    assert one["wifi"]["country"] == "FR"  # what one device overrides is its own
    assert CANARY not in repr(loaded)


def test_one_of_several_devices_must_be_named(tmp_path: Path) -> None:
    loaded = project.load(write(tmp_path))
    with pytest.raises(Failure) as caught:
        loaded.device()
    assert caught.value.code == Exit.USAGE and "node-2" in caught.value.because
    with pytest.raises(Failure) as caught:
        loaded.device("node2")
    assert "with node-2" in caught.value.try_
    assert loaded.device("node-2").id == "node-2"


def test_it_is_found_from_a_folder_below(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert project.find(below) is None
    assert project.find(write(tmp_path) / "a" / "b") == tmp_path


def with_line(old: str, new: str) -> str:
    assert GOOD.count(old) >= 1, old
    return GOOD.replace(old, new, 1)


# What is wrong: the text, then line, key, a part of the reason, a part of the fix.
WRONG = [
    (with_line('country = "FR"', 'country = "fr"'), 4, "wifi.country", 'it is "fr": it must be a two-letter', '"FR"'),
    (with_line('country = "FR"', 'contry = "FR"'), 4, "wifi.contry", "there is no such key", "write country"),
    (with_line('country = "FR"', 'contry = "FR"'.replace("FR", CANARY)), 4, "wifi.contry", "no such key", "country"),
    (with_line("[clock]", "[clok]"), 10, "clok", "there is no such key", "write clock"),
    (with_line('ssid = "home"', 'sid = "home"'), 6, "wifi.networks[0].sid", "no such key", "write ssid"),
    (with_line('ssid = "open"', 'ssid = ""'), 9, "wifi.networks[1].ssid", "1 to 32 characters", "1 to 32"),
    (with_line('ssid = "open"\n', ""), 8, "wifi.networks[1].ssid", "missing", "add ssid"),
    (with_line('{ secret = "wifi-home" }', f'"{CANARY}"'), 7, "wifi.networks[0].password", "never stands", "secret"),
    (with_line('"wifi-home"', '"Wifi Home"'), 7, "wifi.networks[0].password", "never stands in", "secret ="),
    (with_line('["127.0.0.1"]', "[]"), 11, "clock.servers", "a list of 1 to 8", "clock.servers"[6:]),
    (with_line('host = "broker.home"\n', ""), 12, "brokers[0].host", "missing", "add host"),
    (with_line('host = "broker.home"', 'host = "bröker"'), 14, "brokers[0].host", "in ASCII", "xn--"),
    (with_line('name = "shared"', 'name = "Home"'), 16, "brokers[1].name", "there already, in line 13", "another"),
    (with_line('auth = "psk"', 'auth = "none"'), 18, "brokers[1].auth", '"mtls", "psk" or "password"', "auth"),
    (with_line('auth = "psk"', 'auth = "psk"\nuser = "x"'), 19, "brokers[1].user", 'auth is "psk"', "remove it"),
    (with_line('auth = "psk"', 'auth = "psk"\nport = 70000'), 19, "brokers[1].port", "it is 70000", "1 to 65535"),
    (with_line('password = { secret = "mqtt-{device}" }\n', ""), 19, "brokers[2].password", "missing", "secret ="),
    (with_line('auth = "psk"', 'auth = "psk"\npsk = "x.psk"'), 19, "brokers[1].psk", "auth says", "remove"),
    (with_line('topic = "g/', 'topic = "g/#/'), 25, "mqtt.topic", "without '#'", "mqtt.topic"[5:]),
    (with_line("[mqtt]", '[mqtt]\nhost = "x"'), 25, "mqtt.host", "no such key", "remove it"),
    (with_line("[mqtt]", '[mqtt]\ncert = "x"'), 25, "mqtt.cert", "the broker's auth says", "auth of [[brokers]]"),
    (with_line('["ISRG Root"]', "true"), 27, "trust.public_roots", '"none", "all"', "public_roots"),
    (with_line('kind = "adc"', 'kind = "adcc"'), 29, "sensors[0].kind", "one of internal_temperature", "adc"),
    (with_line("pin = 26", "pin = 99"), 31, "sensors[0].pin", "a GPIO number", "GPIO"),
    (with_line("pin = 26", "pin = 23"), 31, "sensors[0].pin", "used by the board itself", "none of"),
    (with_line("pin = 26", "pin = 5"), 31, "sensors[0].pin", "no analogue input", "26"),
    (with_line("pin = 26\n", ""), 28, "sensors[0].pin", "adc needs it", "add pin"),
    (with_line('id = "pico-1"', 'id = "../x"'), 33, "devices[0].id", "1 to 48 letters", "id"),
    (with_line('id = "pico-1"', 'id = "Operator"'), 33, "devices[0].id", "not observer or operator", "id"),
    (with_line('id = "pico-3"', 'id = "PICO-1"'), 45, "devices[2].id", "there already, in line 33", "another id"),
    (with_line('id = "pico-1"', ""), 32, "devices[0].id", "missing and required", "add id"),
    (with_line('"esp32_generic"', '"esp32_generik"'), 36, "devices[1].board", "there is no board", "esp32_generic"),
    (with_line('broker = "shared"', 'broker = "sharde"'), 38, "devices[1].broker", "no broker", "write shared"),
    (with_line('country = "DE"', 'country = "D"'), 39, "devices[1].wifi.country", "two-letter", "FR"),
    (with_line("pin = 4", 'pin = "4"'), 43, "devices[1].sensors[0].pin", "GPIO", "pin"),
    (with_line("pin = 26", "pin = 26\nscale = inf"), 32, "sensors[0].scale", "at most 1e9", "a number"),
    ('"a\\nb\\u009b" = 1\n' + GOOD, 1, "a?b?", "no such key", "remove it"),
    ("x = " + "[" * 5000 + "]" * 5000 + "\n" + GOOD, 1, "the file", "nested too deeply", "docs/project.md"),
    (with_line("[wifi]", "[wifi"), 3, "the text", "not TOML", "correct line 3"),
    (with_line('"home"\n', f"{CANARY}\n"), 6, "ssid", "between quotes", "correct line 6"),
    (with_line('country = "FR"', 'country = "FR"\ncountry = "DE"'), 5, "country", "given twice", "correct line 5"),
    (GOOD.replace("[[brokers]]", "[[x]]"), 12, "x", "no such key", "remove it"),
    (with_line("[trust]\n", "[trust]\nown_ca = false\n").replace('["ISRG Root"]', '"none"'), 26, "trust", "verify", ""),
    (with_line('kind = "dht22"', 'kind = "dht22"\nname = "air"\npin = 1\n[[devices.sensors]]\nkind = "dht11"'), 46,
     "devices[1].sensors[1].name", "another sensor has it", "another name"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "reason", "fix"), WRONG, ids=range(len(WRONG)))
def test_wrong_files(tmp_path: Path, text: str, line: int, key: str, reason: str, fix: str) -> None:
    error = refused(write(tmp_path, text))
    assert error.what == f"{tmp_path / project.FILE}, line {line}: {key} cannot be used", str(error)
    assert reason in error.because and fix in error.try_, str(error)
    assert error.code == Exit.USAGE
    assert CANARY not in str(error)
    assert all("\n" not in part for part in (error.what, error.because, error.try_))


VALUES = ["0", "-1", "1e400", "nan", "true", '""', '"x"', "[]", "[[]]", "[1]", "{}", '{secret="x"}', '["a"]', "[{}]",
          "1979-05-27", "'\u00e9'", "{wifi={}}", '"' + "y" * 3000 + '"', "9" * 30]  # fmt: skip
LINES = ["[devices]", "[brokers]", "[wifi]", "[[wifi]]", "[[sensors]]", "[[trust]]", "[project.x]", "sensors = 1", "",
         "]", "[devices.mqtt]", "[[devices.wifi.networks]]", "[[defaults]]", "[https]", "url = 'https://x/'",
         "\x00", "devices = 5", "wifi.networks = {}", "defaults.board = 3"]  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 45), st.sampled_from([*VALUES, *LINES])), min_size=1, max_size=4))
def test_whatever_stands_there_is_taken_or_refused_in_three_lines(
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
        assert len(str(failure).splitlines()) == 3 and CANARY not in str(failure)


FLEET_WRONG = [
    ("board\npico_w\n", 1, "id", "the column is missing", "id,board"),
    ("id,bord\na,pico_w\n", 1, '"bord"', "no such column", "write board"),
    ("id,id\na,b\n", 1, "id", "two columns", "remove"),
    ("id,wifi.networks[0].password\na,secret-1\n", 1, "wifi.networks[0].password", "never stands", "secret ="),
    ("id\na\n\nb\na\n", 5, "id", "a is there already, in line 2", "another id"),
    ("id\nPico-1\n", 2, "id", "there already, in rootlet.toml", "another id"),
    ("id,board\na,pico_x\n", 2, "board", "there is no board", "pico"),
    ("id,board\na\n", 2, "the row", "1 cells, the first line 2", "commas"),
    ("id\n..\n", 2, "id", "1 to 48 letters", "gw-0001"),
    ("id,sensors[0].pin\na,abc\n", 2, "sensors[0].pin", "GPIO", "pin"),
    ("id,sensors[3].pin\na,1\n", 2, "sensors[3].pin", "has nothing there", "add it there"),
    ("id,wifi.contry\na,FR\n", 2, "wifi.contry", "no such key", "country"),
    ("id,serial\na,S\nb,s\n", 3, "serial", "there already, in line 2", "serial number"),
    ('id\n"a\n', 2, "the row", "not CSV", "quotes"),
]


@pytest.mark.parametrize(("text", "line", "key", "reason", "fix"), FLEET_WRONG, ids=range(len(FLEET_WRONG)))
def test_wrong_fleets(tmp_path: Path, text: str, line: int, key: str, reason: str, fix: str) -> None:
    fleet = tmp_path / "fleet.csv"
    fleet.write_text(text)
    error = refused(write(tmp_path), fleet=fleet)
    assert error.what == f"{fleet}, line {line}: {key} cannot be used", str(error)
    assert reason in error.because and fix in error.try_, str(error)


def test_a_fleet_overrides_any_key(tmp_path: Path) -> None:
    text = with_line('name = "garden"', 'name = "garden"\nfleet = "fleet.csv"')
    (tmp_path / "fleet.csv").write_text(
        "id,board,serial,broker,wifi.networks[1].ssid,sensors[0].every_s,wifi.hostname\n"
        "gw-1,,S1,,12345678,2.5,gw-1\ngw-2,pico2_w,,shared,,,\n"
    )
    one, two = project.load(write(tmp_path, text)).devices[3:]
    assert one.config["wifi"]["networks"][1]["ssid"] == "12345678" and one.config["wifi"]["hostname"] == "gw-1"
    assert one.config["sensors"][0]["every_s"] == 2.5 and one.board == "pico_w"
    assert two.config["wifi"]["networks"][1]["ssid"] == "open" and "hostname" not in two.config["wifi"]
    assert (two.board, two.auth, two.serial) == ("pico2_w", "psk", None)


def test_loading_asks_for_no_secret(tmp_path: Path) -> None:
    assert len(project.load(write(tmp_path, secrets=None)).devices) == 3


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        (None, "there is no secret wifi-home"),
        (f'wifi-hom = "{CANARY}"', "there is no secret wifi-home"),
        (f'a = "x"\nwifi-home = "{project_secrets.PLACEHOLDER}"', "line 2: the secret wifi-home is not filled in"),
        ('wifi-home = ""', "line 1: the secret wifi-home is not filled in"),
        (f'wifi-home = "{CANARY}{"x" * 60}"', "line 1: the secret wifi-home cannot be used"),
        (f"a = 'x'\nwifi-home = {CANARY}", "line 2: this is not TOML"),
        (f'wifi-home = "{CANARY}', "line 1: this is not TOML"),
        (f"[{CANARY}]", "line 1: this is not a text"),
        (f'[wifi-home]\nx = "{CANARY}"', "line 1: this is not a text"),
        (f'wifi-home = "{CANARY}"\nwifi-home = "{CANARY}"', "line 2: this is not TOML"),
    ],
)
def test_wrong_secrets(tmp_path: Path, secrets: str | None, words: str) -> None:
    error = refused(write(tmp_path, secrets=secrets))
    assert words in error.what and project_secrets.FILE in error.what, str(error)
    assert CANARY not in str(error)
    if secrets and secrets.startswith("wifi-hom "):
        assert "line 1 has wifi-hom" in error.because


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_secrets_that_others_can_read(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path) / project_secrets.FILE
    path.chmod(mode)
    error = refused(tmp_path)
    assert error.try_ == f"chmod 600 {path}" and f"{mode:04o}" in error.because


def test_secrets_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOTLET_SECRET_WIFI_HOME", "from the environment")
    device = project.load(write(tmp_path)).device("pico-1")
    assert device.config["wifi"]["networks"][0]["password"] == "from the environment"


def test_two_secrets_in_one_variable(tmp_path: Path) -> None:
    text = GOOD + '[[devices]]\nid = "a_b"\nbroker = "hired"\n[[devices]]\nid = "a-b"\nbroker = "hired"\n'
    assert "one environment variable" in refused(write(tmp_path, text)).because


def script(folder: Path, body: str) -> str:
    path = folder / "secret cmd.py"
    path.write_text(body)
    return f"{sys.executable} '{path}'"


def test_secrets_from_a_command(tmp_path: Path) -> None:
    command = script(tmp_path, "import sys; print('for ' + sys.argv[1] + ' $HOME;'); print('more')")
    loaded = project.load(write(tmp_path, secrets=None), secret_cmd=command)
    assert loaded.device("pico-1").config["wifi"]["networks"][0]["password"] == "for wifi-home $HOME;"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f"import sys; print('{CANARY}'); print('{CANARY}', file=sys.stderr); sys.exit(3)", "exit code 3"),
        (f"print('{CANARY}' * 1000000)", "more than 1024 bytes"),
        ("import sys; sys.stdout.buffer.write(bytes([255, 254]))", "not UTF-8"),
        ("print()", "it is empty"),
    ],
)
def test_commands_that_fail(tmp_path: Path, body: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    error = refused(write(tmp_path, secrets=None), secret_cmd=script(tmp_path, body))
    assert words in error.because and CANARY not in str(error)
    assert CANARY not in "".join(capfd.readouterr())


def test_a_command_that_does_not_end(tmp_path: Path) -> None:
    command = script(tmp_path, f"import time; print('{CANARY}', flush=True); time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(Failure, match="gave no secret") as caught:
        project_secrets.ask(command, "x", timeout_s=0.5)
    assert "0.5 s" in caught.value.because and time.monotonic() - start < 10
    with pytest.raises(Failure, match="cannot be run"):
        project_secrets.ask("/nowhere/at-all", "x")
    with pytest.raises(Failure, match="cannot be used"):
        project_secrets.ask("'open", "x")


TRICKY = '''# comment with [table] and "quote
a = 1 # = 2
"b.c" = 'it''s'
d . e = """
[not]
a table = \\""" x
"""
f = [1, # [one]
  [2, "]", {g = 3, h.i = '}'}],
]
t = 07:32:00
[ j ."k]" ]
l = """"quoted""""
[[m]]
[[m]]
n = {o = {}, p = []}
[m.q]
r = false
[[m.s]]
u = \'\'\'
x\'\'\'
[v]
'''.replace("'it''s'", "'its'")


def leaves(value: Any, path: toml_lines.Path = ()) -> set[toml_lines.Path]:
    found = {path} if path else set()
    if isinstance(value, dict):
        pairs: list[Any] = list(value.items())
    else:
        pairs = list(enumerate(value)) if isinstance(value, list) else []
    for key, item in pairs:
        found |= leaves(item, (*path, key))
    return found


@pytest.mark.parametrize("text", [TRICKY, GOOD, TRICKY.replace("\n", "\r\n")])
def test_the_lines_are_of_the_keys_that_tomllib_sees(text: str) -> None:
    table = tomllib.loads(text)
    lines = toml_lines.lines(text)
    assert set(lines) == leaves(table)
    rows = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert path[-1] in rows[line - 1], (path, line)
    assert toml_lines.undotted(toml_lines.dotted(("a", "b", 3, "c"))) == ("a", "b", 3, "c")


def test_a_new_project(tmp_path: Path) -> None:
    folder = tmp_path / "garden"
    project_new.new(folder, "pico2_w")
    secrets = folder / project_secrets.FILE
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {"secrets.toml", "build/", "ca-data/"} <= set((folder / ".gitignore").read_text().splitlines())
    error = refused(folder)
    assert "line 2: the secret wifi is not filled in" in error.what
    secrets.write_text(secrets.read_text().replace(project_secrets.PLACEHOLDER, "12345678"))
    [device] = project.load(folder).devices
    assert device.board == "pico2_w" and config.check(device.config)["device"] == "pico-1"


def test_a_new_project_overwrites_nothing(tmp_path: Path) -> None:
    before = tmp_path / "garden"
    before.mkdir()
    with pytest.raises(Failure, match="exists already"):
        project_new.new(before, "pico_w")
    assert os.listdir(before) == []
    for name in ("-x", ".x", "a b"):
        with pytest.raises(Failure, match="cannot be a project's name"):
            project_new.new(tmp_path / name, "pico_w")
    with pytest.raises(Failure, match="no board"):
        project_new.new(tmp_path / "x", "pico_x")
    assert not (tmp_path / "x").exists()


def test_every_key_is_in_the_page() -> None:
    page = (ROOT / "docs" / "project.md").read_text()
    tables = {"project.": project_check._PROJECT, "defaults.": project_check._DEFAULTS, "trust.": project_check._TRUST,
              "brokers[].": project_check._BROKER, "wifi.networks[].": project_check._LISTS["networks"][0],
              "sensors[].": project_check._LISTS["sensors"][0],
              "ble.sensors[].": project_check._LISTS["ble.sensors"][0],
              "ble.sensors[].values[].": project_check._LISTS["ble.sensors.values"][0],
              **{f"{name}.": rows for name, rows in project_check._BOARD_TABLES.items()}}  # fmt: skip
    for prefix, rows in tables.items():
        for row in rows:
            assert f"`{prefix}{row[0]}`" in page, prefix + row[0]
    for row in project_check._DEVICE[:4]:
        assert f"`devices[].{row[0]}`" in page
    for row in project_check._OTHERS[1:]:
        assert f"`{row[0]}`" in page


def test_values_that_may_be_secret_are_not_shown() -> None:
    """Also of keys that a later firmware may have."""
    for key in ("mqtt.passphrase", "x.secret", "mqtt.psk", "update.key"):
        assert CANARY not in project_check.show(key, CANARY)
    assert project_check.show("wifi.country", "fr") == '"fr"'
