"""`rootlet flash` against a stand-in UF2 drive and, by the real esptool, a stand-in ROM loader; full images, mounted
again by littlefs-python and by MicroPython's own driver, and run on the virtual board.
"""

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
import typer
from typer.testing import CliRunner

from host_tools import boards, ca, firmware_files, flash, full_image, uf2
from host_tools.commands.flash import flash as flash_command
from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT
from host_tools.servers import HttpsServer, SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.sim.child import find_micropython
from tests import synthetic
from tests.integration.conftest import Pki
from tests.integration.test_gateway import SCRIPT, observer, readings, running_broker, settings, staged
from tests.integration.uf2_drive import Drive
from tests.rom_loader import RomLoader
from tests.unit.test_commands import run, three_lines

WAIT_FOR_PORT = flash.wait_for_port
ESP = [("esp32_generic", 0, 0x1000), ("esp32_s3", 9, 0), ("esp32_c3", 5, 0)]


@pytest.fixture
def pico(tmp_path: Path) -> Path:
    path = tmp_path / "pico.uf2"
    path.write_bytes(synthetic.rp2(100_000))
    return path


@pytest.fixture
def esp(tmp_path: Path) -> Path:
    path = tmp_path / "esp32.bin"
    path.write_bytes(synthetic.esp())
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree as it goes onto a board."""
    folder = tmp_path / "tree"
    (folder / "rootlet").mkdir(parents=True)
    (folder / "main.py").write_text("print('main')\n")
    (folder / "rootlet" / "a.mpy").write_bytes(bytes(range(256)) * 40)
    # Small files are kept within their folder's block, up to a size that both drivers must agree on.
    for size in (0, 1, 64, 127, 128, 129, 256, 300, 511, 512, 513, 1000, 1024, 4096):
        (folder / f"of-{size}").write_bytes(b"x" * size)
    return folder


def called(*arguments: object) -> str:
    """The command in this process; raises what it raises."""
    app = typer.Typer()
    app.command()(flash_command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def refused(code: Exit, *arguments: object) -> str:
    with pytest.raises(Failure) as caught:
        called(*arguments)
    assert caught.value.code is code, caught.value
    assert len(str(caught.value).splitlines()) == 3
    return str(caught.value)


def contents(tree: Path) -> dict[str, bytes]:
    return {p.relative_to(tree).as_posix(): p.read_bytes() for p in tree.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "wait_for_port", lambda before: "")


# The Pico's drive.


@pytest.mark.parametrize("board", ["pico_w", "pico2_w"])
def test_uf2_lands_byte_for_byte(board: str, tmp_path: Path) -> None:
    pages = synthetic.rp2_pages(300_000, "RP2040" if board == "pico_w" else "RP2350")
    data = synthetic.rp2(300_000) if board == "pico_w" else synthetic.rp2350(300_000)
    (tmp_path / "fw.uf2").write_bytes(data)
    drive_id = boards.load(board)["image"]["drive"]
    with Drive(tmp_path / "drive", drive_id, boards.load(board)["flash"]["size_bytes"]) as drive:
        said = called("--firmware", tmp_path / "fw.uf2", "--drive", drive.folder)
    whole = b"".join(pages[at] for at in sorted(pages))
    assert drive.flash[: len(whole)] == whole and set(drive.flash[len(whole) :]) == {0x5A}
    assert f"({board}), by the file" in said and "the board took it" in said
    assert firmware_files.check(data, boards.load(board), "x").sha256 in said


def test_dry_run_writes_nothing(pico: Path, tmp_path: Path) -> None:
    with Drive(tmp_path / "drive") as drive:
        said = called("--firmware", pico, "--drive", drive.folder, "--dry-run")
        assert drive.files() == {"INFO_UF2.TXT", "INDEX.HTM"} and "0x10000000 to 0x10018700" in said
    assert "nothing was written" in said and set(drive.flash) == {0x5A}


def test_the_drive_is_found(pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "_MOUNTS", (str(tmp_path / "media" / "*"),))
    (tmp_path / "media" / "stick").mkdir(parents=True)
    assert "Board-ID: RPI-RP2" in refused(Exit.NO_DEVICE, "--firmware", pico)
    with Drive(tmp_path / "media" / "RPI-RP2") as drive, Drive(tmp_path / "media" / "RP2350", "RP2350"):
        assert str(drive.folder) in called("--firmware", pico, "--dry-run")
        with Drive(tmp_path / "media" / "RPI-RP21"):
            said = refused(Exit.USAGE, "--firmware", pico)
    assert said.count("rootlet flash --drive") == 2


def spoilt(data: bytes) -> dict[str, bytes]:
    return {
        "family": synthetic.rp2350(),
        "riscv": uf2.build(0xE48BFF5A, synthetic.rp2_pages(chip="RP2350")),
        "too big": synthetic.rp2((2 << 20) + 256),
        "truncated": data[:-512],
        "cut in a block": data[:-100],
        "other chip": synthetic.esp(),
        "empty": b"",
        "text": b"<html>404</html>" * 32,
    }


@pytest.mark.parametrize("fault", sorted(spoilt(b"x" * 2000)))
def test_a_wrong_file_touches_no_drive(fault: str, pico: Path, tmp_path: Path) -> None:
    pico.write_bytes(spoilt(pico.read_bytes())[fault])
    with Drive(tmp_path / "drive") as drive:
        lines = three_lines(run("flash", "--board", "pico_w", "--firmware", str(pico), "--drive", str(drive.folder)), 4)
        assert drive.files() == {"INFO_UF2.TXT", "INDEX.HTM"}
    assert "nothing was written" in lines[0] and "micropython.org/download/RPI_PICO_W/" in lines[2]
    assert set(drive.flash) == {0x5A}


def test_another_chip_s_drive(pico: Path, tmp_path: Path) -> None:
    with Drive(tmp_path / "drive", "RP2350") as drive:
        assert "Board-ID: RP2350" in refused(Exit.UNVERIFIED, "--firmware", pico, "--drive", drive.folder)
        assert drive.files() == {"INFO_UF2.TXT", "INDEX.HTM"}


def test_no_drive_there(pico: Path, tmp_path: Path) -> None:
    three_lines(run("flash", "--firmware", str(pico), "--drive", str(tmp_path)), 3)
    (tmp_path / "INFO_UF2.TXT").mkdir()
    assert "cannot be read" in refused(Exit.NO_DEVICE, "--firmware", pico, "--drive", tmp_path)


def test_a_drive_that_stays(pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = firmware_files.check(pico.read_bytes(), boards.load("pico_w"), "x")
    with Drive(tmp_path / "drive", takes=False) as drive, pytest.raises(Failure, match="did not take"):
        flash.write_uf2(checked, drive.folder, print, timeout_s=0.2)


@pytest.mark.parametrize(("at", "code"), [(1, errno.EIO), (2, errno.ENODEV), (4, errno.EIO), (4, errno.ENOSPC)])
def test_a_cable_pulled(at: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the last flush may be the board's restart; any before it, or of another kind, is none."""
    checked = firmware_files.check(synthetic.rp2(100_000), boards.load("pico_w"), "x")
    calls, real = [], os.fsync

    def fsync(handle: int) -> None:
        calls.append(handle)
        real(handle)
        if len(calls) == at:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with Drive(tmp_path / "drive") as drive:
        if (at, code) == (4, errno.EIO):
            flash.write_uf2(checked, drive.folder, print)
        else:
            with pytest.raises(Failure, match="cut off|does not fit"):
                flash.write_uf2(checked, drive.folder, print)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "firmware")])}


def without_rights(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a user to whom the modes of files apply: root is rid of the right to pass over them."""
    command = [sys.executable, "-m", "host_tools", "flash", *arguments]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root without setpriv")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--", *command]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


def test_permission_denied(pico: Path, esp: Path, tmp_path: Path) -> None:
    with Drive(tmp_path / "drive") as drive:
        drive.folder.chmod(0o555)
        to_drive = ("--firmware", "pico.uf2", "--drive", "drive")
        lines = three_lines(without_rights(tmp_path, *to_drive), 1)
        assert "nothing was written" in lines[0] and "Permission denied" in lines[1]
        (drive.folder / "INFO_UF2.TXT").chmod(0)
        assert "cannot be read" in three_lines(without_rights(tmp_path, *to_drive), 3)[0]
        assert drive.files() == {"INFO_UF2.TXT", "INDEX.HTM"}
        drive.folder.chmod(0)
        assert "cannot be read" in three_lines(without_rights(tmp_path, *to_drive), 3)[0]
        drive.folder.chmod(0o755)
    with RomLoader() as rom:
        os.chmod(rom.port, 0)
        lines = three_lines(without_rights(tmp_path, "--firmware", "esp32.bin", "--port", rom.port), 3)
        assert "may not be opened" in lines[0] and "dialout" in lines[2] and rom.writes == 0
    pico.chmod(0)
    assert "cannot be read" in three_lines(without_rights(tmp_path, "--firmware", "pico.uf2"), 2)[0]


# The ESP32's ROM loader, through the real esptool.


@pytest.mark.parametrize(("board", "chip", "offset"), ESP)
def test_esp_lands_byte_for_byte(board: str, chip: int, offset: int, esp: Path) -> None:
    data = synthetic.esp(chip, offset)
    esp.write_bytes(data)
    with RomLoader(chip) as rom:
        said = called("--firmware", esp, "--port", rom.port, "--no-stub")
    assert rom.flash[offset : offset + len(data)] == data
    end = (offset + len(data) + 4095) // 4096 * 4096
    assert set(rom.flash[:offset]) <= {0x5A} and set(rom.flash[end + 4096 :]) == {0x5A}
    assert f"({board}), by the file" in said and "Hash of data verified" in said and "Writing at" not in said


def test_esp_dry_run_opens_no_port(esp: Path) -> None:
    assert "dry run" in called("--firmware", esp, "--port", "/dev/ttyNONE7", "--dry-run")


@pytest.mark.parametrize(("board", "chip", "offset"), ESP)
def test_wrong_chip(board: str, chip: int, offset: int, esp: Path) -> None:
    esp.write_bytes(synthetic.esp(chip, offset))
    for other in {0, 9, 5} - {chip}:
        with RomLoader(other) as rom:
            said = refused(Exit.UNVERIFIED, "--firmware", esp, "--port", rom.port, "--no-stub")
        assert "has another chip; nothing was written" in said and "This chip is ESP32" in said
        assert rom.writes == 0 and set(rom.flash) == {0x5A}


@pytest.mark.parametrize("change", ["truncated", "chip", "too big", "uf2"])
def test_a_wrong_file_opens_no_port(change: str, esp: Path) -> None:
    good = esp.read_bytes()
    esp.write_bytes(
        {
            "truncated": good[:-1],
            "chip": synthetic.esp(9),
            "too big": good.ljust(4 << 20, b"\xff"),
            "uf2": synthetic.rp2(),
        }[change]
    )
    lines = three_lines(run("flash", "--board", "esp32_generic", "--firmware", str(esp), "--port", "/dev/ttyNONE7"), 4)
    assert "nothing was written" in lines[0]


def test_too_small_a_flash(esp: Path) -> None:
    esp.write_bytes(synthetic.esp(app_bytes=1_500_000))
    with RomLoader(flash_bytes=1 << 20) as rom:
        assert "flash has 1048576 bytes, the file wants 4194304" in refused(
            Exit.UNVERIFIED, "--firmware", esp, "--port", rom.port, "--no-stub"
        )
    assert rom.writes == 0


def test_no_port_and_a_busy_one(esp: Path) -> None:
    assert "no board on" in three_lines(run("flash", "--firmware", str(esp), "--port", "/dev/ttyNONE7"), 3)[0]
    with RomLoader() as rom, serial.Serial(rom.port, exclusive=True):
        lines = three_lines(run("flash", "--firmware", str(esp), "--port", rom.port, "--no-stub"), 3)
        assert "is busy" in lines[0] and "lsof" in lines[2] and rom.writes == 0


def test_a_flash_that_keeps_another_byte(esp: Path) -> None:
    with RomLoader(flip=0x12345) as rom:
        assert "differs" in refused(Exit.UNVERIFIED, "--firmware", esp, "--port", rom.port, "--no-stub")


def test_several_ports(esp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serial.tools import list_ports
    from serial.tools.list_ports_common import ListPortInfo

    ports = [ListPortInfo("/dev/ttyUSB7"), ListPortInfo("/dev/ttyUSB8")]
    monkeypatch.setattr(list_ports, "comports", lambda: ports)
    assert "no board found" in refused(Exit.NO_DEVICE, "--firmware", esp)
    ports[1].vid = 0x303A
    assert "/dev/ttyUSB8" in called("--firmware", esp, "--dry-run")
    ports[0].vid = 0x10C4
    assert "rootlet flash --port /dev/ttyUSB7  or  " in refused(Exit.USAGE, "--firmware", esp)


# Full images.


@pytest.mark.parametrize("board", boards.ids())
def test_full_image_holds_exactly_the_tree(board: str, tree: Path, tmp_path: Path) -> None:
    facts = boards.load(board)
    chip = int(facts["image"]["ids"][0], 16)
    offset = facts["image"]["offset"]
    firmware = {
        "pico_w": synthetic.rp2,
        "pico2_w": synthetic.rp2350,
    }.get(board, lambda: synthetic.esp(chip, offset))()
    (tmp_path / "fw").write_bytes(firmware)
    out = tmp_path / "image"
    said = called("--board", board, "--firmware", tmp_path / "fw", "--full", tree, "-o", out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600 and "16 files" in said
    size = facts["flash"]["filesystem_bytes"]
    if facts["image"]["format"] == "uf2":
        with Drive(tmp_path / "drive", facts["image"]["drive"], facts["flash"]["size_bytes"]) as drive:
            called("--firmware", out, "--drive", drive.folder)
        landed, start, plain = drive.flash, len(drive.flash) - size, uf2.parse(firmware).pages
        assert all(landed[at - 0x10000000 : at - 0x10000000 + 256] == page for at, page in plain.items())
    else:
        landed, start = bytearray(offset) + out.read_bytes(), 0x200000
        if board == "esp32_generic":
            with RomLoader(chip) as rom:
                called("--firmware", out, "--port", rom.port, "--no-stub")
            landed = rom.flash
        assert landed[offset : offset + len(firmware)] == firmware
    filesystem = bytes(landed[start : start + size])
    assert full_image.extract(filesystem, facts) == contents(tree)
    assert mounted_by_micropython(filesystem, facts["image"]["prog_bytes"], tmp_path) == contents(tree)
    assert "exists already" in refused(
        Exit.FAILED, "--board", board, "--firmware", tmp_path / "fw", "--full", tree, "-o", out
    )


_MOUNT = """
import os, vfs
class Flash:
    def __init__(self, data): self.data = data
    def readblocks(self, n, buf, at=0): buf[:] = self.data[n * 4096 + at : n * 4096 + at + len(buf)]
    def writeblocks(self, n, buf, at=0): self.data[n * 4096 + at : n * 4096 + at + len(buf)] = buf
    def ioctl(self, op, n):
        if op == 4: return len(self.data) // 4096
        if op == 5: return 4096
        if op == 6:
            self.data[n * 4096 : (n + 1) * 4096] = b"\\xff" * 4096
            return 0
with open("fs", "rb") as f:
    vfs.mount(vfs.VfsLfs2(Flash(bytearray(f.read())), progsize=PROG), "/x")
def walk(path):
    for name, kind, *_ in os.ilistdir(path):
        if kind == 0x4000:
            walk(path + "/" + name)
        else:
            with open(path + "/" + name, "rb") as f:
                print((path + "/" + name)[3:], f.read().hex())
walk("/x")
with open("/x/main.py", "w") as f:
    f.write("changed" * 100)
with open("/x/main.py") as f:
    print("!", f.read() == "changed" * 100)
"""


def mounted_by_micropython(image: bytes, prog_bytes: int, folder: Path) -> dict[str, bytes]:
    (folder / "fs").write_bytes(image)
    (folder / "mount.py").write_text(_MOUNT.replace("PROG", str(prog_bytes)))
    command = [find_micropython(), "-X", "heapsize=16M", "mount.py"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout
    *rows, last = said.splitlines()
    assert last == "! True"
    return {name: bytes.fromhex(text) for name, _, text in (row.partition(" ") for row in rows)}


def test_a_full_image_is_the_same_each_time(pico: Path, tree: Path) -> None:
    checked = firmware_files.check(pico.read_bytes(), boards.load("pico_w"), "x")
    assert flash.with_tree(checked, "x", tree)[0].data == flash.with_tree(checked, "x", tree)[0].data


def test_nothing_of_an_earlier_file_system_is_left(pico: Path, tree: Path) -> None:
    checked = firmware_files.check(pico.read_bytes(), boards.load("pico_w"), "x")
    pages = uf2.parse(flash.with_tree(checked, "x", tree)[0].data).pages
    start = 0x10000000 + (2 << 20) - 868352
    assert all(at in pages for at in range(start, 0x10200000, 256))
    # Whole sectors: no page of a sector without its fifteen others.
    assert all(at // 4096 * 4096 + n * 256 in pages for at in pages for n in range(16))


def test_a_file_system_for_another_flash_is_refused(esp: Path, tree: Path) -> None:
    """Firmware without a `vfs` partition sizes its file system by the chip: an image is for just that size."""
    esp.write_bytes(synthetic.esp(vfs=False))
    with RomLoader(flash_bytes=8 << 20) as rom:
        said = refused(Exit.UNVERIFIED, "--firmware", esp, "--full", tree, "--port", rom.port, "--no-stub")
        assert "made for 4194304" in said and rom.writes == 0
    with RomLoader() as rom:
        called("--firmware", esp, "--full", tree, "--port", rom.port, "--no-stub")
    assert full_image.extract(bytes(rom.flash[0x200000:]), boards.load("esp32_generic")) == contents(tree)
    called("--firmware", esp, "--full", tree, "--flash-mb", 8, "-o", esp.with_name("8"))
    image = esp.with_name("8").read_bytes()
    assert len(image) == (8 << 20) - 0x1000
    assert full_image.extract(image[0x200000 - 0x1000 :], boards.load("esp32_generic")) == contents(tree)


def test_flash_of_another_size(esp: Path, pico: Path) -> None:
    esp.write_bytes(synthetic.esp(flash_code=3))
    assert "expects 8388608" in refused(Exit.UNVERIFIED, "--firmware", esp, "--port", "/dev/ttyNONE7")
    with RomLoader() as rom:
        said = refused(Exit.UNVERIFIED, "--firmware", esp, "--flash-mb", 8, "--port", rom.port, "--no-stub")
        assert "has 4194304 bytes, the file wants 8388608" in said and rom.writes == 0
    assert "comes with 2 MB" in refused(Exit.USAGE, "--firmware", pico, "--flash-mb", 4)


def test_trees_that_go_on_no_board(pico: Path, tree: Path, pki: Pki, tmp_path: Path) -> None:
    def why(code: Exit = Exit.USAGE) -> str:
        out = tmp_path / "image"
        said = refused(code, "--firmware", pico, "--full", tree, "-o", out)
        assert not out.exists()
        return said

    (tree / "board.json").write_text('{"id": "esp32_s3"}')
    assert "for esp32_s3" in why()
    (tree / "board.json").unlink()
    for name in ("ca.key.pem", "x.pem"):
        (tree / name).write_text("-----BEGIN ENCRYPTED PRIVATE {}-----\n".format("KEY"))
        assert "private key" in why()
        (tree / name).unlink()
    (tree / "link").symlink_to("/etc/hostname")
    assert "link or a device" in why()
    (tree / "link").unlink()
    shutil.copy(pki.clients["dev-1"].cert_der, tree / "device.crt.der")
    shutil.copy(pki.clients["dev-2"].key_der, tree / "device.key.der")
    assert "do not belong together" in why(Exit.FAILED)
    (tree / "device.key.der").unlink()
    (tree / "big").write_bytes(bytes(900_000))
    assert "does not fit" in why(Exit.FAILED)
    (tree / "big").unlink()
    (tree / "main.py").rename(tree / "other.py")
    assert "no main.py" in why()
    pico.write_bytes(synthetic.rp2(1_300_000))
    (tree / "other.py").rename(tree / "main.py")
    assert "the file system begins at" in why(Exit.UNVERIFIED)


def test_a_full_image_connects(pki: Pki, pico: Path, tmp_path: Path) -> None:
    """From a staged tree through the image and the drive back to files, which the virtual board runs."""
    with running_broker(pki, tmp_path) as broker, SntpServer() as sntp:
        tree = staged(pki, tmp_path, settings(broker.port, sntp.port))
        with Drive(tmp_path / "drive") as drive:
            called("--firmware", pico, "--full", tree, "--drive", drive.folder)
        landed = full_image.extract(bytes(drive.flash[-868352:]), boards.load("pico_w"))
        assert landed == contents(tree) and "device.key.der" in landed
        for name, content in landed.items():
            (tmp_path / "again" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "again" / name).write_bytes(content)
        with observer(pki, broker.port) as watcher, VirtualBoard(tmp_path / "again", script=SCRIPT) as board:
            assert len(readings(watcher, 3)) == 3
            assert board.wait_for(r"mqtt: verified.*")


# What else may be asked for.


def test_a_file_for_several_boards(pico: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = boards.load("pico_w")
    monkeypatch.setattr(boards, "all_boards", lambda: [board, {**board, "id": "other"}])
    said = refused(Exit.USAGE, "--firmware", pico)
    assert "rootlet flash --board pico_w --firmware pico.uf2  or  rootlet flash --board other" in said


def test_the_serial_port_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    there = iter([{"/dev/ttyACM0"}, {"/dev/ttyACM0"}, {"/dev/ttyACM0", "/dev/ttyACM1"}])
    monkeypatch.setattr(flash, "serial_ports", lambda: next(there))
    assert WAIT_FOR_PORT({"/dev/ttyACM0"}) == "/dev/ttyACM1"
    monkeypatch.setattr(flash, "serial_ports", set)
    assert WAIT_FOR_PORT(set(), 0.01) == ""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--download"],
        ["-o", "x.uf2", "--firmware", "x.uf2"],
        ["--full", "x", "y"],
        ["nowhere"],
        ["--full", "nowhere", "--firmware", "x.uf2"],
        ["--firmware", "absent.uf2"],
        ["--firmware", "."],
    ],
)
def test_usage(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(Exit.USAGE, *arguments)


def test_no_firmware_names_the_link() -> None:
    assert "https://micropython.org/download/ESP32_GENERIC_C3/" in refused(Exit.USAGE, "--board", "esp32_c3")


def test_a_device_of_the_project(pki: Pki, pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "provisioned"
    made = staged(pki, tmp_path, settings(1, 2))
    folder.mkdir()
    for name in ("config.json", "device.crt.der", "device.key.der", "trust_roots.mpy"):
        shutil.copy(made / name, folder / name)
    board = boards.load("pico_w")
    monkeypatch.setattr(flash, "project_device", lambda name: (board, None, folder))
    called("--full", "dev-1", "--firmware", pico, "-o", tmp_path / "image.uf2")
    pages = uf2.parse((tmp_path / "image.uf2").read_bytes()).pages
    start = 0x10200000 - 868352
    image = b"".join(pages[at] for at in range(start, 0x10200000, 256))
    found = full_image.extract(image, board)
    assert found["device.key.der"] == pki.clients["dev-1"].key_der.read_bytes() and "rootlet/gateway.mpy" in found
    assert "has another board" in refused(Exit.USAGE, "--board", "esp32_s3", "--full", "dev-1", "--firmware", pico)
    (folder / "config.json").unlink()
    assert "not provisioned" in refused(Exit.FAILED, "--full", "dev-1", "--firmware", pico)


def test_board_json_on_the_board_says_nothing_of_flashing(pki: Pki, tmp_path: Path) -> None:
    assert b'"image"' not in (staged(pki, tmp_path, settings(1, 2)) / "board.json").read_bytes()


# The download, from a site on this machine.


@contextlib.contextmanager
def site(pki: Pki, routes: dict[str, bytes], issued: ca.Issued | None = None) -> Iterator[str]:
    issued = issued or pki.server
    with HttpsServer(issued.cert_pem, issued.key_pem, routes) as server:
        yield f"https://localhost:{server.port}"


def page(*names: str) -> bytes:
    return "".join(f'<a href="/resources/firmware/{name}">{name}</a>\n' for name in names).encode()


def test_download(pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "localhost")
    newest = "RPI_PICO_W-20251209-v1.27.0.uf2"
    names = page("RPI_PICO_W-20240105-v1.9.1.uf2", newest, "RPI_PICO_W-20261101-v1.29.0-preview.9.g0.uf2", newest)
    routes = {"/download/RPI_PICO_W/": names, f"/resources/firmware/{newest}": synthetic.rp2()}
    board, ca_file = boards.load("pico_w"), pki.authority.cert_pem
    with site(pki, routes) as url:
        path = firmware_files.download(board, tmp_path / "kept", url, ca_file)
        assert path.name == newest and path.read_bytes() == synthetic.rp2()
        path.write_bytes(b"kept")
        assert firmware_files.download(board, tmp_path / "kept", url, ca_file).read_bytes() == b"kept"
    routes[f"/resources/firmware/{newest}"] = synthetic.rp2()[:-512]
    with site(pki, routes) as url, pytest.raises(Failure) as caught:
        firmware_files.download(board, tmp_path / "other", url, ca_file)
    assert caught.value.code is Exit.UNVERIFIED and not (tmp_path / "other").exists()


def test_download_that_fails_says_what_to_do(pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "localhost")
    board = boards.load("pico_w")

    def failing(url: str, ca_file: Path | None) -> str:
        with pytest.raises(Failure, match="could not be downloaded") as caught:
            firmware_files.download(board, tmp_path / "kept", url, ca_file)
        assert "https://micropython.org/download/RPI_PICO_W/" in caught.value.try_
        assert "rootlet flash --board pico_w --firmware FILE" in caught.value.try_
        return caught.value.because

    with site(pki, {"/download/RPI_PICO_W/": page("ESP32_GENERIC-20251209-v1.27.0.bin")}) as url:
        assert "names no release" in failing(url, pki.authority.cert_pem)
        assert "certificate verify failed" in failing(url, None).lower()
        assert "unknown url type" in failing(url.replace("https", "http"), None).lower()
    assert "refused" in failing(url, pki.authority.cert_pem).lower()
    with site(pki, {}) as url:
        assert (
            "404" in failing(url, pki.authority.cert_pem) or "not found" in failing(url, pki.authority.cert_pem).lower()
        )
    with site(pki, {"/download/RPI_PICO_W/": b"x" * (5 << 20)}) as url:
        assert "more than" in failing(url, pki.authority.cert_pem)
    assert not (tmp_path / "kept").exists()


def test_esptool_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "find_spec", lambda name: None)
    checked = firmware_files.check(synthetic.esp(), boards.load("esp32_generic"), "x")
    with pytest.raises(Failure) as caught:
        flash.write_esp(checked, "/dev/ttyNONE7", print, print)
    assert "rootlet[flash]" in caught.value.try_


def test_esptool_is_never_imported() -> None:
    code = (
        "import sys, host_tools.commands.app, host_tools.flash, host_tools.full_image; print('esptool' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
