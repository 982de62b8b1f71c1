"""outbox: the power goes at any change of the flash, in many random lives; ROOTLET_OUTBOX_CUTS says how many cuts."""

import os
import random

from cut_flash import Cut, Flash, folder
from outbox_life import Life

from rootlet import outbox

FLASH = folder("flash_outbox_cuts")
CUTS = int(os.getenv("ROOTLET_OUTBOX_CUTS") or 1200)
SMALL = not hasattr(os, "fsync")  # MicroPython with a small heap: fewer and shorter lives
CASES = (
    {"hold_ms": 0, "max_bytes": 1 << 20},
    {"hold_ms": 1000, "max_bytes": 1 << 20, "ram": 8},
    {"hold_ms": 1000, "max_bytes": 1 << 20, "window": 3},
    {"hold_ms": 0, "max_bytes": 1 << 20, "window": 1},
    {"hold_ms": 500, "max_bytes": 4096, "ram": 8},
    {"hold_ms": 500, "max_bytes": 8192, "ram": 8, "full": "keep_latest"},
)


def empty(name):
    try:
        for file in os.listdir(FLASH + name):
            os.remove(FLASH + name + "/" + file)
    except OSError:
        pass


def live(cuts, seed, options, fat=False):
    """One life with that many cuts."""
    options = dict({"window": 8, "folder": "box"}, **options)
    empty("box")
    life = Life(outbox, Cut, seed, **options)
    while life.cuts < cuts:
        flash = Flash(FLASH, random.getrandbits(5 if SMALL else 6) + 1, fat)
        outbox.os = flash
        outbox.open = flash.open
        cut = life.run(100 if SMALL else 400)
        flash.cut_at = None
        if not cut:
            life.box.flush()
        life.check()
    assert life.made > cuts
    return life


def test_nothing_is_lost_wherever_the_power_goes():
    each = CUTS // len(CASES) // (10 if SMALL else 1) + 1
    for i, options in enumerate(CASES):
        done = 0
        seed = 0
        while done < each:
            life = live(5 if SMALL else 20, seed * 10 + i, options)
            done += life.cuts
            seed += 1


def test_no_more_than_a_window_comes_again_and_often_so_many():
    most = 0
    for seed in range(10):
        most = max(most, live(5, seed, {"hold_ms": 0, "max_bytes": 1 << 20, "window": 4}).again)
    assert 2 <= most <= 4


def test_on_fat():
    live(6 if SMALL else 60, 1, {"hold_ms": 0, "max_bytes": 1 << 20}, fat=True)
