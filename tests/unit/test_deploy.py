"""deploy: what goes onto a board, what never does, and three lines with the right exit code where it cannot."""

import fcntl
import json
import os
import pty
import termios
from pathlib import Path

import pytest

from host_tools import bench, ca, certs, deploy, find_board
from host_tools.failure import Exit, Failure
from host_tools.paths import FIRMWARE

CONFIG = {
    "device": "pico-1",
    "wifi": {"networks": [{"ssid": "home", "password": "secret-word"}]},
    "mqtt": {"host": "broker.example"},
    "sensors": [{"kind": "simulated", "name": "demo"}],
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    return ca.init(tmp_path_factory.mktemp("ca") / "ca")


@pytest.fixture(scope="module")
def device(authority: ca.Authority) -> ca.Issued:
    return authority.issue_device("pico-1")


def test_the_firmware_package_is_small_enough(tmp_path: Path) -> None:
    files = deploy.build_firmware(tmp_path)
    assert {path.stem for path in files} == {path.stem for path in (FIRMWARE / "rootlet").glob("*.py")}
    core, total = bench.package_bytes(tmp_path)
    assert 10_000 < core <= bench.CORE_LIMIT
    assert core < total <= bench.SIZE_LIMIT
    assert all(str(FIRMWARE).encode() not in path.read_bytes() for path in files)


def test_a_compile_error_names_file_and_line(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "bad.py").write_text("x = 1\nif x\n")
    with pytest.raises(Failure) as e:
        deploy.build_firmware(tmp_path / "out", source)
    assert "rootlet/bad.py" in e.value.what
    assert "SyntaxError" in e.value.because
    assert "line 2" in e.value.because


def test_the_tree_is_what_the_board_expects(tmp_path: Path, authority: ca.Authority, device: ca.Issued) -> None:
    roots = certs.embed([authority.cert_pem], tmp_path / "trust_roots.py")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG))
    tree = deploy.stage(
        tmp_path / "tree", config=config, trust=roots.compiled, cert=device.cert_der, key=device.key_der
    )
    names = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    assert {
        "boot.py", "main.py", "board.json", "config.json", "trust_roots.mpy", "device.crt.der", "device.key.der",
        "rootlet/gateway.mpy", "umqtt/simple.mpy",
    } <= names  # fmt: skip
    assert not any(name.startswith("rootlet/") and name.endswith(".py") for name in names)
    for secret in ("config.json", "device.key.der"):
        assert (tree / secret).stat().st_mode & 0o777 == 0o600
    assert tree.stat().st_mode & 0o77 == 0


def test_a_wrong_configuration_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    wrong = json.loads(json.dumps(CONFIG))
    wrong["mqtt"]["port"] = 70000
    config.write_text(json.dumps(wrong))
    with pytest.raises(Failure) as e:
        deploy.stage(tmp_path / "tree", config=config)
    assert "mqtt.port is 70000: it must be 1 to 65535" in e.value.because
    assert e.value.try_.startswith("set mqtt.port to 1 to 65535")
    assert not (tmp_path / "tree").exists()


def test_a_cas_key_never_goes_onto_a_board(tmp_path: Path, authority: ca.Authority, device: ca.Issued) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = tmp_path / "innocent.der"
    key.write_bytes(authority.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    for cert, private, word in (
        (authority.cert_der, key, "is a CA certificate"),
        (device.cert_der, key, "is not the key of"),
        (device.cert_der, authority.directory / "ca.key.pem", "by its name"),
    ):
        with pytest.raises(Failure) as e:
            deploy.stage(tmp_path / "tree", cert=cert, key=private)
        assert word in e.value.because
    assert not (tmp_path / "tree").exists()


def test_an_encrypted_or_broken_key_is_refused(tmp_path: Path, device: ca.Issued) -> None:
    broken = tmp_path / "broken.der"
    broken.write_bytes(b"not a key")
    with pytest.raises(Failure, match="cannot be read"):
        deploy.stage(tmp_path / "tree", cert=device.cert_der, key=broken)
    with pytest.raises(Failure, match="absent"):
        deploy.stage(tmp_path / "tree", cert=device.cert_der, key=tmp_path / "none.der")


def test_an_old_tree_is_not_mixed_with_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "old").write_text("")
    with pytest.raises(Failure, match="not empty"):
        deploy.stage(tmp_path / "tree")


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failure) as e:
        deploy.copy_to_board("/dev/ttyNONE7", tmp_path)
    assert e.value.code == Exit.NO_DEVICE
    assert len(str(e.value).splitlines()) == 3


def test_a_busy_port(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    name = os.ttyname(theirs)
    fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.ioctl(theirs, termios.TIOCEXCL)
    try:
        with pytest.raises(Failure) as e:
            deploy.copy_to_board(name, tmp_path)
    finally:
        os.close(theirs)
        os.close(ours)
    assert e.value.code == Exit.NO_DEVICE
    assert "busy" in e.value.what
    assert len(str(e.value).splitlines()) == 3


class Port:
    def __init__(self, device: str, vid: int | None) -> None:
        self.device, self.vid, self.serial_number = device, vid, "e661" + device[-1]


@pytest.mark.parametrize(
    ("ports", "code", "words"),
    [
        ([], Exit.NO_DEVICE, "no board found"),
        ([Port("/dev/ttyS0", None)], Exit.NO_DEVICE, "no board found"),
        ([Port("/dev/ttyACM0", 1), Port("/dev/ttyACM1", 1)], Exit.USAGE, "rootlet deploy --port /dev/ttyACM1"),
    ],
)
def test_which_board(ports: list[Port], code: Exit, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: ports)
    with pytest.raises(Failure) as e:
        find_board.find()
    assert e.value.code == code
    assert words in str(e.value)


def test_one_board_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [Port("/dev/ttyS0", None), Port("/dev/ttyACM0", 0x2E8A)]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: ports)
    assert find_board.find().port == "/dev/ttyACM0"
