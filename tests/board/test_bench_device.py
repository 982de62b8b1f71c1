"""`rootlet bench --device`: measured on a deployed board by its own WiFi; afterwards the board is as it was."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from host_tools import ca, certs, deploy
from host_tools.bench import report
from host_tools.bench.device import FOLDER, DevicePlace, towards
from host_tools.bench.place import ON_BOARD
from host_tools.commands.app import app
from host_tools.failure import Exit, Failure
from host_tools.sim.board import VirtualBoard

SCRIPT = {"wifi": {"networks": {"lab": {"password": "lab-password", "join_ms": 50}}, "scan_ms": 50}}
CONFIG: dict[str, Any] = {
    "device": "pico-1",
    "wifi": {"networks": [{"ssid": "lab", "password": "lab-password"}]},
    "mqtt": {"host": "localhost", "port": 1},
    "sensors": [{"kind": "simulated", "name": "demo"}],
}


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("staged")
    authority = ca.init(folder / "ca")
    roots = certs.embed([authority.cert_pem], folder / "trust_roots.py")
    config = folder / "config.json"
    config.write_text(json.dumps(CONFIG))
    return deploy.stage(folder / "tree", config=config, trust=roots.compiled)


@pytest.fixture
def board(staged: Path, tmp_path: Path) -> Iterator[VirtualBoard]:
    """A deployed board whose program is a loop: what it logs on flash while it runs is not at stake here."""
    files = tmp_path / "flash"
    shutil.copytree(staged, files)
    (files / "main.py").write_text("import time\nprint('main runs')\nwhile True:\n    time.sleep_ms(20)\n")
    with VirtualBoard(files, script=SCRIPT) as one:
        yield one


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "dir"
        for path in folder.rglob("*")
    }


def test_a_board_is_measured_and_left_as_it_was(
    board: VirtualBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(tmp_path / "flash")
    monkeypatch.setattr(report, "BUILD", tmp_path / "build")
    arguments = ["bench", "--device", board.port, "--address", "localhost", "--group", "roots", "--quick", "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert [row["name"] for row in data["rows"]] == ["p256: handshake", "p256: look", "p256: look-up"]
    place = data["place"]
    assert (place["board"], place["virtual"], place["hz"]) == ("pico_w", False, 125_000_000)
    assert "Pico W" in place["machine"]
    assert content(tmp_path / "flash") == before
    board.wait_for("main runs", timeout_s=10)


@pytest.mark.parametrize("seen", ["rootlet", "bench.json"])
def test_ctrl_c_in_the_middle_leaves_the_board_as_it_was(board: VirtualBoard, tmp_path: Path, seen: str) -> None:
    """While files are copied, and while it measures: the terminal tells mpremote, too."""
    before = content(tmp_path / "flash")
    arguments = ["bench", "--device", board.port, "--address", "localhost", "--group", "roots", "--quick"]
    process = subprocess.Popen(
        [sys.executable, "-m", "host_tools", *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (tmp_path / "flash" / FOLDER / seen).exists():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode
    assert content(tmp_path / "flash") == before
    board.wait_for("main runs", timeout_s=10)


def test_its_own_folder_is_all_that_it_sees_and_goes_also_after_a_failure(board: VirtualBoard, tmp_path: Path) -> None:
    before = content(tmp_path / "flash")
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os, sys\nfrom rootlet import board\nopen('made', 'w').close()\n"
        "print('result', json.dumps([os.getcwd(), sys.path[0], board.load()['id'], json.load(open('bench.json'))]))\n"
    )
    failing = tmp_path / "failing.py"
    failing.write_text("raise ValueError('as planned')\n")
    with pytest.raises(Failure, match="as planned"), DevicePlace(board.port, "localhost") as place:  # noqa: PT012
        assert place.run(script, {"n": 1}, {"a/b": b"c"}) == [[f"/{FOLDER}", f"/{FOLDER}", "pico_w", {"n": 1}]]
        assert (tmp_path / "flash" / FOLDER / "a" / "b").read_bytes() == b"c"
        place.run(failing, {}, {})
    assert content(tmp_path / "flash") == before


def test_without_wifi_it_says_so_and_removes_its_folder(staged: Path, tmp_path: Path) -> None:
    files = tmp_path / "flash"
    shutil.copytree(staged, files)
    (files / "main.py").unlink()
    before = content(files)
    with VirtualBoard(files, script={"wifi": {"networks": {}}}) as one:
        with pytest.raises(Failure) as e, DevicePlace(one.port, "localhost"):
            pass
        assert "lab" in e.value.because
    assert content(files) == before


def test_no_board_is_exit_code_3(tmp_path: Path) -> None:
    with pytest.raises(Failure) as e, DevicePlace(str(tmp_path / "absent")):
        pass
    assert e.value.code == Exit.NO_DEVICE


def test_the_address_towards_a_neighbour() -> None:
    assert towards("127.0.0.1") == "127.0.0.1"
    assert (ON_BOARD / "joining.py").exists()
