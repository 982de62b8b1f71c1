"""Pre-shared keys on the host: random, private, never shown, and nothing else is put onto a board or into a broker."""

import json
import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from host_tools import deploy, psk
from host_tools.commands.app import app
from host_tools.failure import Exit, Failure


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_random_private_and_the_same_in_both_files(tmp_path: Path) -> None:
    one, two = psk.new("pico-1", tmp_path / "d"), psk.new("pico-2", tmp_path / "d")
    assert len(one.raw_file.read_bytes()) == 32
    assert one.raw_file.read_bytes().hex() == one.hex_file.read_text().strip()
    assert one.raw_file.read_bytes() != two.raw_file.read_bytes()
    assert {mode(path) for path in (tmp_path / "d" / "psk").iterdir()} == {0o600}
    assert mode(tmp_path / "d" / "psk") == 0o700


def test_a_key_is_not_overwritten_unasked(tmp_path: Path) -> None:
    made = psk.new("pico-1", tmp_path)
    before = made.raw_file.read_bytes()
    with pytest.raises(Failure):
        psk.new("pico-1", tmp_path)
    assert made.raw_file.read_bytes() == before
    psk.new("pico-1", tmp_path, force=True)
    assert made.raw_file.read_bytes() != before
    assert made.raw_file.with_name("pico-1.psk.bak").read_bytes() == before
    # A key that was replaced is no longer in the broker's list.
    assert before.hex() not in psk.mosquitto_lines(tmp_path)


@pytest.mark.parametrize("device", ["", "../up", "a:b", "a b", ".hidden", "x" * 49, "é", "a\nb:00"])
def test_an_id_that_would_break_the_broker_s_file_is_refused(device: str, tmp_path: Path) -> None:
    with pytest.raises(Failure) as e:
        psk.new(device, tmp_path)
    assert e.value.code == Exit.USAGE
    assert not list(tmp_path.rglob("*.key"))


def test_the_broker_s_lines(tmp_path: Path) -> None:
    one, two = psk.new("pico-1", tmp_path), psk.new("pico-2", tmp_path)
    expected = [f"{made.device}:{made.raw_file.read_bytes().hex()}" for made in (one, two)]
    assert psk.mosquitto_lines(tmp_path).splitlines() == expected
    assert [entry["device"] for entry in psk.entries(tmp_path)] == ["pico-1", "pico-2"]


def test_no_key_at_all(tmp_path: Path) -> None:
    assert psk.entries(tmp_path) == []
    with pytest.raises(Failure) as e:
        psk.mosquitto_lines(tmp_path)
    assert "rootlet psk new DEVICE" in e.value.try_


@pytest.mark.parametrize(
    "text", ["", "00" * 15, "00" * 33, "zz" * 32, "00" * 31 + "0", "00" * 32 + "\nevil:" + "00" * 32]
)
def test_a_damaged_key_file_is_refused_and_not_shown(text: str, tmp_path: Path) -> None:
    made = psk.new("pico-1", tmp_path)
    made.hex_file.write_text(text)
    with pytest.raises(Failure) as e:
        psk.mosquitto_lines(tmp_path)
    assert "pico-1.key is no pre-shared key" in e.value.what
    assert "0000" not in str(e.value) and "zz" not in str(e.value)


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o604, 0o620])
def test_a_key_that_others_can_read_is_refused(bits: int, tmp_path: Path) -> None:
    made = psk.new("pico-1", tmp_path)
    made.raw_file.chmod(bits)
    made.hex_file.chmod(bits)
    for call in (lambda: psk.check_raw(made.raw_file), lambda: psk.mosquitto_lines(tmp_path)):
        with pytest.raises(Failure) as e:
            call()
        assert e.value.what == "others can read the pre-shared key"
        assert f"{bits:o}" in e.value.because


@pytest.mark.parametrize("data", [b"", b"k" * 15, b"k" * 33, b"a1" * 16, b"a1" * 32 + b"\n"])
def test_only_a_raw_key_goes_onto_a_board(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "device.psk"
    path.touch(0o600)
    path.write_bytes(data)
    with pytest.raises(Failure) as e:
        deploy.stage(tmp_path / "tree", psk=path)
    assert e.value.code == Exit.USAGE
    assert not (tmp_path / "tree").exists()


def test_deploy_stages_the_key_for_its_owner_only(tmp_path: Path) -> None:
    made = psk.new("pico-1", tmp_path)
    tree = deploy.stage(tmp_path / "tree", psk=made.raw_file)
    assert (tree / "device.psk").read_bytes() == made.raw_file.read_bytes()
    assert mode(tree / "device.psk") == 0o600


@pytest.mark.parametrize("mqtt", [{}, {"psk": "other.psk"}])
def test_a_configuration_that_does_not_use_the_key_is_told(mqtt: dict[str, str], tmp_path: Path) -> None:
    made = psk.new("pico-1", tmp_path)
    config = tmp_path / "config.json"
    sensors = [{"kind": "simulated", "name": "demo"}]
    wifi = {"networks": [{"ssid": "home", "password": "secret-word"}]}
    config.write_text(
        json.dumps({"device": "pico-1", "wifi": wifi, "mqtt": {"host": "b.example", **mqtt}, "sensors": sensors})
    )
    with pytest.raises(Failure) as e:
        deploy.stage(tmp_path / "tree", config=config, psk=made.raw_file)
    assert e.value.what == "the configuration does not use the key"
    assert '"psk": "device.psk"' in e.value.try_


def test_a_shared_key_and_a_certificate_exclude_each_other(tmp_path: Path) -> None:
    files = []
    for option in ("--psk", "--cert", "--key"):
        path = tmp_path / option.strip("-")
        path.write_bytes(os.urandom(32))
        files += [option, str(path)]
    done = CliRunner().invoke(app, ["deploy", "--port", "/dev/null", *files])
    assert isinstance(done.exception, Failure)
    assert done.exception.what == "--psk and --cert exclude each other"


def test_the_help_says_what_is_given_up() -> None:
    for command in (["psk", "--help"], ["psk", "new", "--help"], ["broker", "--help"]):
        text = " ".join(CliRunner().invoke(app, command, env={"COLUMNS": "200", "TERM": "dumb"}).output.split())
        assert "forward secrecy" in text, command


def test_a_key_never_reaches_git() -> None:
    from host_tools.paths import ROOT

    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"*.key", "*.psk"} <= set(ignored)
