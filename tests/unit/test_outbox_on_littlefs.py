"""The outbox on MicroPython's own littlefs, over a flash in RAM: cuts of power, and what it wears."""

import json
import os
import subprocess
from pathlib import Path

from host_tools.paths import FIRMWARE
from host_tools.sim.child import find_micropython

HERE = Path(__file__).parent
CUTS = int(os.environ.get("ROOTLET_OUTBOX_CUTS", "300"))
BLOCKS = 212
YEAR_S = 365 * 24 * 3600


def run(script, *arguments):
    done = subprocess.run(
        [find_micropython(), "-X", "heapsize=16M", str(HERE / "on_littlefs" / script), str(FIRMWARE), *arguments],
        capture_output=True,
        text=True,
        timeout=100 + CUTS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Lines before it: files that a cut left open, which the garbage collector cannot close.
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_is_lost_wherever_the_power_goes_in_littlefs():
    seen = run("cuts.py", str(HERE / "pure"), str(CUTS), "1")
    assert seen["cuts"] >= CUTS and seen["entries"] > 10 * CUTS
    assert 2 <= seen["again"] <= 8


def test_what_a_reading_each_second_wears():
    """docs/outbox.md has the figures of 60,000 readings; this is the order of magnitude."""
    readings = 3000
    worn = run("wear.py", str(readings))
    assert worn["connected, hold 10 s"][0] == 0
    a_year = {case: worn[case][0] / readings * YEAR_S / BLOCKS for case in worn}
    assert 20_000 < a_year["connected, hold 0"] < 60_000
    assert 5_000 < a_year["offline, hold 60 s"] < 12_000
    assert 12_000 < a_year["offline, hold 10 s"] < 30_000
    assert 100_000 < a_year["offline, hold 0"] < 200_000
