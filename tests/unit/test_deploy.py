"""deploy: what goes onto a board, what never does, and three lines with the right exit code where it cannot."""

import fcntl
import hashlib
import json
import os
import pty
import re
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest

from host_tools import ca, certs, deploy, deploy_jobs, find_board, mpy, trees
from host_tools.bench import sizes
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
    core, total = sizes.package_bytes(tmp_path)
    assert 10_000 < core <= sizes.CORE_LIMIT
    assert core < total <= sizes.SIZE_LIMIT
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


def test_a_board_that_cannot_bond_is_told_before_anything_is_written(tmp_path: Path) -> None:
    row = {"name": "lock", "format": "gatt", "address": "a4:c1:38:12:34:56", "bond": True}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**CONFIG, "ble": {"sensors": [row]}}))
    with pytest.raises(Failure) as e:
        deploy.stage(tmp_path / "tree", board="pico_w", config=config)
    assert e.value.what == f"{config} is not for pico_w" and e.value.code == Exit.USAGE
    assert e.value.because.startswith("ble.sensors[0].bond: pico_w cannot bond")
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


def test_a_board_is_found_by_its_serial_number(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [Port("/dev/ttyACM0", 0x2E8A), Port("/dev/ttyACM1", 0x2E8A)]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: ports)
    assert find_board.find(serial="e6611").port == "/dev/ttyACM1"
    with pytest.raises(Failure, match="e6619 is not connected") as e:
        find_board.find(serial="e6619")
    assert e.value.code == Exit.NO_DEVICE and "e6610" in e.value.because
    with pytest.raises(Failure) as e:
        find_board.find(command="rootlet deploy pico-1")
    assert e.value.code == Exit.USAGE
    for port in ports:
        assert f"rootlet deploy pico-1 --port {port.device}" in e.value.try_


def test_a_certificate_for_another_device_is_refused(tmp_path: Path) -> None:
    authority = ca.init(tmp_path / "ca")
    made = authority.issue_device("pico-2")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({
        "device": "pico-3", "wifi": {"networks": [{"ssid": "x"}]}, "sensors": [{"kind": "simulated", "name": "s"}],
        "mqtt": {"host": "h", "cert": "device.crt.der", "key": "device.key.der"},
    }))  # fmt: skip
    with pytest.raises(Failure, match="for 'pico-2', the configuration for 'pico-3'") as e:
        deploy.check(config=config, cert=made.cert_der, key=made.key_der)
    assert e.value.code == Exit.USAGE


def test_modules_are_compiled_for_the_board(tmp_path: Path) -> None:
    assert mpy.abi(2822) == "6.3"
    assert mpy.abi(0x0106) == "6.1"
    for abi in ("6.3", "6.1", "5.0"):
        version, _, sub = abi.partition(".")
        code = mpy.compile_source(b"X = 1\n", "x.py", abi)
        assert code[:2] == bytes([ord("M"), int(version)])
        assert sub in ("0", "1", "3")
    for said, words in (
        (None, "cannot load"),
        (0, "cannot load"),
        (7, "version 7.0"),
        (0x0306 + 0x0100 * 4 + 1, "7.3"),
    ):
        with pytest.raises(Failure) as e:
            mpy.abi(said)
        assert words in str(e.value)
        assert len(str(e.value).splitlines()) == 3


def asked(**facts: Any) -> trees.Board:
    given: dict[str, Any] = {"active": "a", "marker": "a", "tried": True, "refuge": None, "flat": False, "slot": False}
    given |= {"port": "x", "micropython": "1.28.0", "mpy": 2822, "free": 1 << 20, "files": {}, **facts}
    return trees.Board(**given)


def sha(data: bytes) -> tuple[int, str]:
    return len(data), hashlib.sha256(data).hexdigest()


def test_the_plan_sends_only_what_the_board_has_nowhere(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("boot.py", "config.json", "rootlet/same.mpy", "rootlet/new.mpy", "rootlet/half.mpy"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(name.encode())
    files = {name: sha(name.encode()) for name in ("boot.py", "config.json")}
    files |= {"app_a/rootlet/same.mpy": sha(b"rootlet/same.mpy"), "app_b/rootlet/half.mpy": sha(b"rootlet/half.mpy")}
    files |= {"app_b/rootlet/gone.mpy": sha(b"x"), "app_a/roots.bin": sha(b"roots"), "trust_roots.mpy": sha(b"flat")}
    files |= {"app_b/starts": sha(b"..."), "app_b/former/config.json": sha(b"old")}
    made = trees.plan(asked(files=files), tree)
    assert made.target == "b" and not made.unchanged
    assert list(made.sent) == ["app_b/rootlet/new.mpy"]
    copies = [("app_a/rootlet/same.mpy", "rootlet/same.mpy"), ("app_a/roots.bin", "roots.bin")]
    assert sorted(made.copies) == sorted([*copies, ("trust_roots.mpy", "trust_roots.mpy")])
    assert made.stale == ["former/config.json", "rootlet/gone.mpy"]
    assert made.listing["state"] == {} and made.root == {}
    # In a project, what is not provisioned does not stay.
    assert "roots.bin" not in trees.plan(asked(files=files), tree, carry=False).listing["files"]
    # A configuration that differs goes to the tree, not over the one in use.
    made = trees.plan(asked(files={**files, "config.json": sha(b"other")}), tree)
    assert "app_b/state/config.json" in made.sent and "config.json" not in made.sent


def test_a_project_is_needed_for_its_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for device, everything in (("pico-1", False), (None, True)):
        with pytest.raises(Failure, match="no project") as e:
            deploy_jobs.from_project(device, everything, None)
        assert e.value.code == Exit.USAGE
    [job] = deploy_jobs.from_project(None, False, "/dev/ttyX")
    assert job.port == "/dev/ttyX" and not job.files


def test_several_devices_are_all_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def run_one(job: deploy_jobs.Job, options: trees.Options, say: trees.Say) -> None:
        tried.append(job.device)
        if job.device != "c":
            raise Failure(f"{job.device} is away", "it is", "find it", Exit.NO_DEVICE)

    monkeypatch.setattr(deploy_jobs, "run_one", run_one)
    with pytest.raises(Failure, match="2 of 3 devices failed: a, b") as e:
        deploy_jobs.run([deploy_jobs.Job("pico_w", device=name) for name in "abc"], trees.Options(), lambda _: None)
    assert tried == ["a", "b", "c"] and e.value.code == Exit.NO_DEVICE


def test_a_program_that_was_not_stopped_is_interrupted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [(1, "mpremote: could not enter raw repl"), (0, "done")]

    def run(command: list[str], **_: Any) -> Any:
        code, text = said.pop(0)
        return subprocess.CompletedProcess(command, code, text, "")

    monkeypatch.setattr(deploy.subprocess, "run", run)
    assert deploy._mpremote("x", "eval", "1") == "done"
    said[:] = [(1, "could not enter raw repl")] * 3
    with pytest.raises(Failure, match="refused"):
        deploy._mpremote("x", "eval", "1")
    said[:] = [(1, "OSError: 28")]
    with pytest.raises(Failure, match="refused"):
        deploy._mpremote("x", "eval", "1")


@pytest.mark.parametrize(
    ("line", "folded"),
    [
        ("_A = 20", "_A = const(20)"),
        ("_A_1 = 0x3FFF  # why", "_A_1 = const(0x3FFF)  # why"),
        ("_A = 7 * 86400000", "_A = const(7 * 86400000)"),
        ("_A, _B = 1, -2", "_A = const(1); _B = const(-2)"),
        ("A = 20", "A = 20"),
        ("_a = 20", "_a = 20"),
        ("    _A = 20", "    _A = 20"),
        ("_A = (1, 2)", "_A = (1, 2)"),
        ("_A = 20.5", "_A = 20.5"),
        ("_A = 1, 2", "_A = 1, 2"),
        ("_A = 1 if B else 2", "_A = 1 if B else 2"),
        ("_A = const(20)", "_A = const(20)"),
    ],
)
def test_a_modules_own_numbers_are_constants(line: str, folded: str) -> None:
    assert mpy.fold(f"x\n{line}\ny") == f"x\n{folded}\ny"


def test_no_module_of_the_firmware_uses_the_own_numbers_of_another() -> None:
    sources = {path.stem: path.read_text() for path in (FIRMWARE / "rootlet").glob("*.py")}
    count = 0
    for module, source in sources.items():
        for name in re.findall(r"^(_[A-Z][A-Z0-9_]*) = const|; (_[A-Z][A-Z0-9_]*) = const", mpy.fold(source), re.M):
            count += 1
            word = re.compile(rf"\b{name[0] or name[1]}\b")
            for other, text in sources.items():
                if other != module and word.search(text):
                    assert f"{module}.{name[0]}" not in text
                    for imported in re.findall(rf"from \.{module} import (\([^)]*\)|[^(\n]+)", text):
                        assert not word.search(imported), f"{other} imports {name} of {module}"
    assert count > 80


def test_a_folded_name_takes_no_room_in_the_module() -> None:
    plain = mpy.compile_source(b"LONGISH_NAME = 20\ndef f():\n    return LONGISH_NAME\n", "x.py")
    folded = mpy.compile_source(b"_LONGISH_NAME = 20\ndef f():\n    return _LONGISH_NAME\n", "x.py")
    assert b"LONGISH_NAME" in plain and b"LONGISH_NAME" not in folded
