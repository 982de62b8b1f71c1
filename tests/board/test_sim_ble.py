"""`rootlet sim` with Bluetooth peripherals in its script: a board hears and connects to what the script names."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("bumble")

from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT
from host_tools.sim import adverts_made as made
from host_tools.sim.peripheral_script import KINDS, all_from_script
from host_tools.sim.serve import serve
from host_tools.sim.surroundings import Surroundings

RUUVI, HALL = "C4:7C:8D:6A:3E:01", "C4:7C:8D:6A:3E:02"
LISTEN = """
import bluetooth, time
address, payload, size = bytearray(6), bytearray(31), 0
def irq(event, data):  # it must not allocate
    global size
    if event == 5 and not size:
        for i in range(6):
            address[i] = data[1][i]
        for i in range(len(data[4])):
            payload[i] = data[4][i]
        size = len(data[4])
ble = bluetooth.BLE()
ble.irq(irq)
ble.active(True)
ble.gap_scan(0, 30000, 30000, False)
known = []
while True:
    time.sleep_ms(1)
    if size:
        line = "%s %s\\n" % (address.hex(), payload[:size].hex())
        size = 0
        if line not in known:
            known.append(line)
            with open("heard", "a") as f:
                f.write(line)
"""


def _until(holds, what: str, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_the_board_hears_what_the_script_names(tmp_path: Path) -> None:
    files, script = tmp_path / "flash", tmp_path / "script.json"
    files.mkdir()
    (files / "main.py").write_text(LISTEN)
    ruuvi = {"kind": "ruuvi", "address": RUUVI, "values": {"temperature": 21.5}, "every_ms": 50}
    script.write_text(json.dumps({"ble": {"peripherals": [ruuvi]}}))
    said: list[str] = []
    failed: list[BaseException] = []

    def heard(line: str) -> bool:
        return (files / "heard").exists() and line in (files / "heard").read_text().splitlines()

    def user() -> None:
        try:
            first = made.ruuvi(RUUVI, temperature=21.5)
            _until(lambda: heard(f"{made.address_bytes(RUUVI).hex()} {first.hex()}"), "the first")
            script.write_text('{"ble": {"peripherals": [{"kind": "toaster"}]}}')
            _until(lambda: any("kept as it was" in line for line in said), "the refusal")
            hall = {"kind": "thermometer", "address": HALL, "name": "hall"}
            script.write_text(json.dumps({"ble": {"peripherals": [ruuvi, hall]}}))
            second = made.named("hall", (0x181A,))
            _until(lambda: heard(f"{made.address_bytes(HALL).hex()} {second.hex()}"), "the second")
        except BaseException as error:
            failed.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=user)
    thread.start()
    serve(said.append, "pico_w", files, script, None)
    thread.join()
    assert not failed, (failed, said)
    assert "Bluetooth: 1 peripherals around it" in said


def test_a_script_with_a_wrong_peripheral_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"ble": {"peripherals": [{"kind": "ruuvi"}]}}')
    done = subprocess.run(
        [sys.executable, "-m", "host_tools", "sim", "--fs", str(tmp_path / "flash"), "--script", str(script)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == Exit.USAGE
    assert done.stderr.splitlines() == [
        "error: the script's Bluetooth peripheral 'ruuvi' cannot be used",
        "because: 'address' is missing",
        "try: correct it; the keys: docs/virtual-ble.md",
    ]


def test_surroundings_leave_another_air_alone() -> None:
    around = Surroundings()
    for script in ({}, {"ble": {"port": 5}}):
        assert around.arrange(script) == (script, None)
    for section in (5, {"port": 5, "peripherals": []}):
        with pytest.raises(Failure):
            around.arrange({"ble": section})
    around.close()
    try:
        script, count = around.arrange({"ble": {}, "wifi": {}})
        assert count == 0 and script["ble"]["port"] > 0 and "wifi" in script
    finally:
        around.close()


def test_the_examples_of_the_documentation_work(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "virtual-ble.md").read_text()
    script = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert script and example
    assert len(all_from_script(json.loads(script[1]))) == 2
    for kind in KINDS:
        assert f"`{kind}`" in page
    (tmp_path / "example.py").write_text(example[1])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "example.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the board heard both\n"
