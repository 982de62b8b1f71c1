"""A virtual board whose MicroPython has the firmware in it: what that takes of the heap, and how it is deployed."""

import json
import re
from pathlib import Path

import pytest

from host_tools import deploy, deploy_jobs, trees
from host_tools.sim import child
from host_tools.sim.air import Air
from host_tools.sim.board import VirtualBoard

# What a gateway with Bluetooth sensors loads.
LOADED = (
    "start config config_ble gateway telemetry home_assistant ble_gateway ble_central aes_ccm decode_ruuvi"
    " decode_bthome decode_ess decode_battery catalogue"
).split()
TELL = """
import gc, micropython, sys
def tell(what):
    gc.collect()
    print(what, gc.mem_alloc())
    micropython.qstr_info()
for name in ("machine", "network", "socket", "bluetooth", "dht", "onewire", "ds18x20"):
    __import__(name)
tell("alone")
for name in %r:
    __import__("rootlet." + name)
tell("loaded")
print(sys.modules["rootlet.gateway"].__file__)
print("told")
"""


def names_bytes(text: str, what: str) -> tuple[int, int]:
    """(bytes of the heap in use, bytes of the table of names) as the board told them."""
    found = re.search(what + r" (\d+)\s+qstr pool:.*n_str_data_bytes=(\d+), n_total_bytes=(\d+)", text)
    assert found, text
    return int(found[1]), int(found[3]) - int(found[2])


@pytest.mark.parametrize("ble", [False, True])
def test_the_allowances_for_what_no_board_has_in_its_heap_are_no_larger_than_it(tmp_path: Path, ble: bool) -> None:
    (tmp_path / "main.py").write_text(TELL % (LOADED if ble else [n for n in LOADED if "ble" not in n]))
    with Air() as air:
        script = {"ble": {"port": air.port}} if ble else {}
        with VirtualBoard(tmp_path, board="esp32_generic", script=script, heap_bytes=400_000, frozen=True) as board:
            board.wait_for("^told", 20)
            image = (Path(board.port).parent / "frozen.romfs").stat().st_size
            text = board.output
    assert "/frozen/rootlet/gateway.mpy" in text
    alone, before = names_bytes(text, "alone")
    _, after = names_bytes(text, "loaded")
    stand_ins = child.FROZEN_MODULES_HEAP_BYTES + (child.FROZEN_BLE_HEAP_BYTES if ble else 0)
    assert alone - image - 2048 < stand_ins <= alone - image
    if ble:
        assert child.FROZEN_NAMES_HEAP_BYTES <= after - before < child.FROZEN_NAMES_HEAP_BYTES + 2048


def test_a_frozen_board_gets_all_but_the_program_by_deploy(tmp_path: Path) -> None:
    """And what it gets runs: the gateway starts from the interpreter's own modules and reads that configuration."""
    flash = tmp_path / "flash"
    config = tmp_path / "config.json"
    settings = {"device": "dev-1", "wifi": {"networks": [{"ssid": "home"}]}, "mqtt": {"host": "broker.test"}}
    config.write_text(json.dumps({**settings, "sensors": [{"kind": "internal_temperature", "name": "chip"}]}))
    with VirtualBoard(flash, frozen=True) as board:
        board.wait_for(">>> ", 20)
        job = deploy_jobs.Job("pico_w", {"config": config}, port=board.port, frozen=True)
        at = board.position
        deploy_jobs.run([job], trees.Options(wait_s=None), lambda _: None)
        board.wait_for("rootlet starts", 20, since=at)
        board.wait_for("TLS_NO_ROOTS: .*trust_roots", 20, since=at)  # the one thing that is missing here
    files = {str(path.relative_to(flash)) for path in flash.rglob("*") if path.is_file()}
    assert {"boot.py", "main.py", "config.json"} <= files
    assert not [name for name in files if name.endswith(".mpy")], files


def test_without_the_modules_a_stock_board_does_not_start(tmp_path: Path) -> None:
    deploy.stage(tmp_path / "flash", frozen=True)
    with VirtualBoard(tmp_path / "flash") as board:
        board.wait_for("no module named 'rootlet'", 20)
