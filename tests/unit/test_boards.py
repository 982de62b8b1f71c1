"""The board files: their shape, the constants that the firmware relies on, and how they are listed."""

import copy
import json
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from host_tools import boards
from host_tools.commands.boards import boards as boards_command
from host_tools.failure import Exit, Failure
from host_tools.paths import BOARDS, FIRMWARE

IDS = ["esp32_c3", "esp32_generic", "esp32_s3", "pico2_w", "pico_w"]


def test_every_board_file_is_good() -> None:
    assert [board["id"] for board in boards.all_boards()] == IDS
    for board in boards.all_boards():
        assert boards.problems(board) == []


def test_unknown_board_lists_the_known_ones() -> None:
    with pytest.raises(Failure) as caught:
        boards.load("pico_x")
    assert caught.value.code is Exit.USAGE
    assert all(known in caught.value.because for known in IDS)


def test_a_board_id_is_no_path() -> None:
    with pytest.raises(Failure):
        boards.load("../boards/pico_w")


@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (["heap_bytes"], "200K", "board.heap_bytes"),
        (["heap_bytes"], True, "board.heap_bytes"),
        (["port"], "stm32", "board.port"),
        (["epoch_year"], 1980, "board.epoch_year"),
        (["tls", "heap"], "none", "board.tls.heap"),
        (["busy_errnos"], [11, "EAGAIN"], "board.busy_errnos"),
        (["wlan", "status", "3"], "fine", "board.wlan.status"),
        (["wlan", "pm"], {"none": 1}, "board.wlan.pm"),
        (["temperature"], {"kind": "rp2_adc"}, "board.temperature"),
        (["flash", "filesystem_bytes"], 1 << 30, "board.flash"),
        (["pins", "led"], 5, "board.led"),
        (["image", "format"], "hex", "board.image.format"),
        (["image", "ids"], ["RP2040"], "board.image.ids"),
        (["image", "ids"], [], "board.image.ids"),
        (["reset", "3"], "bitten", "board.reset"),
        (["watchdog", "off"], [1], "board.watchdog.off"),
        (["surplus"], 1, "board.surplus"),
        (["quirks"], None, "board.quirks"),
    ],
)
def test_each_fault_is_named(keys: list[str], value: object, named: str) -> None:
    data: Any = copy.deepcopy(boards.load("pico_w"))
    place = data
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    found = boards.problems(data)
    assert found and all(problem.startswith(named) for problem in found)


def test_missing_key_is_named() -> None:
    data: Any = copy.deepcopy(boards.load("pico_w"))
    del data["wlan"]["pm"]
    assert boards.problems(data) == ["board.wlan.pm: missing"]


def test_constants_of_the_ports() -> None:
    pico, esp = boards.load("pico_w"), boards.load("esp32_s3")
    # CYW43_PM_VALUE(mode 2, 200 ms, beacon 1, DTIM 1, assoc 10); modes 0 and 1 with 10 ms.
    assert pico["wlan"]["pm"] == {
        "none": 0x10,
        "performance": 10 << 20 | 1 << 16 | 1 << 12 | 20 << 4 | 2,
        "powersave": 0x11,
    }
    assert esp["wlan"]["pm"] == {"none": 0, "performance": 1, "powersave": 2}
    assert pico["heap_bytes"] == 205184
    assert [board["epoch_year"] for board in boards.all_boards()] == [2000, 2000, 2000, 1970, 1970]


@pytest.mark.parametrize("board_id", IDS)
def test_constants_and_status_words_agree(board_id: str) -> None:
    wlan = boards.load(board_id)["wlan"]
    words = {
        "STAT_IDLE": "idle",
        "STAT_CONNECTING": "joining",
        "STAT_GOT_IP": "got_ip",
        "STAT_WRONG_PASSWORD": "wrong_password",
        "STAT_NO_AP_FOUND": "no_ap",
        "STAT_CONNECT_FAIL": "failed",
    }
    for constant, word in words.items():
        assert wlan["status"][str(wlan["constants"][constant])] == word


def _run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(boards_command)
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_listing_has_a_line_for_each_board() -> None:
    lines = _run("--known").splitlines()
    assert lines[0].split()[:2] == ["ID", "NAME"]
    assert [line.split()[0] for line in lines[1:]] == IDS


def test_listing_as_json_is_the_files() -> None:
    assert json.loads(_run("--known", "--json")) == [json.loads((BOARDS / f"{name}.json").read_text()) for name in IDS]


def test_manifest_freezes_the_firmware_package() -> None:
    packages: dict[str, Any] = {}
    others: list[str] = []

    def package(name: str, files: tuple[str, ...] = (), base_path: str = ".") -> None:
        packages[name] = (BOARDS / base_path).resolve()

    names = {"package": package} | dict.fromkeys(("freeze", "include", "require"), others.append)
    exec(compile((BOARDS / "manifest.py").read_text(), "manifest.py", "exec"), names)
    assert packages["rootlet"] == FIRMWARE
    assert (packages["rootlet"] / "rootlet" / "__init__.py").is_file()
    # The esp32 port's own list has another umqtt.simple: freezing both ends the build.
    assert "umqtt" in packages and "$(PORT_DIR)/boards/manifest.py" not in others
