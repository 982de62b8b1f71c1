"""Random lives of an outbox on MicroPython's littlefs, whose power goes in a program or an erase.

Arguments: folders of the firmware and of outbox_life.py, number of cuts, seed. Prints a summary as JSON.
"""

import gc
import json
import random
import sys

sys.path[:0] = sys.argv[1:3]
CUTS = int(sys.argv[3])
SEED = int(sys.argv[4])

from outbox_life import Life
from ram_flash import Cut, Flash

from rootlet import outbox

CASES = (
    {"hold_ms": 0, "max_bytes": 1 << 20},
    {"hold_ms": 1000, "max_bytes": 1 << 20, "ram": 8},
    {"hold_ms": 0, "max_bytes": 1 << 20, "window": 2},
    {"hold_ms": 500, "max_bytes": 16384, "ram": 8},
    {"hold_ms": 500, "max_bytes": 16384, "ram": 8, "full": "keep_latest"},
)
LIFE = 25  # cuts
gc.threshold(200000)
cuts = made = again = 0
while cuts < CUTS:
    flash = Flash(48)
    flash.format()
    flash.mount()
    options = dict({"window": 8}, **CASES[cuts // LIFE % len(CASES)])
    life = Life(outbox, Cut, SEED * 100000 + cuts, **options)
    while life.cuts < LIFE:
        flash.cut_at = flash.changes + random.getrandbits(7) + 1
        flash.torn = random.getrandbits(8) + random.getrandbits(1)
        cut = life.run(300)
        if not cut:
            flash.cut_at = None
            life.box.flush()
        flash = flash.restart()
        flash.mount()
        life.check()
        gc.collect()
    cuts += life.cuts
    made += life.made
    again = max(again, life.again)
print(json.dumps({"cuts": cuts, "entries": made, "again": again}))
