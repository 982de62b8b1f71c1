"""Erases of a Pico W's flash by one reading a second. Prints {case: [erases, those of the busiest block]} as JSON.

Arguments: folder of the firmware, number of readings.
"""

import gc
import json
import sys

sys.path.insert(0, sys.argv[1])
READINGS = int(sys.argv[2])


from ram_flash import Clock, Flash

from rootlet import outbox

clock = outbox.time = Clock()
READING = '{"device":"pico-1","sensor":"ble-1","quantity":"temperature","value":21.5,"unit":"C","time":1795239001}'
CASES = {
    "connected, hold 10 s": (10000, True),
    "connected, hold 0": (0, True),
    "offline, hold 60 s": (60000, False),
    "offline, hold 10 s": (10000, False),
    "offline, hold 0": (0, False),
}
gc.threshold(100000)
result = {}
for case, (hold_ms, connected) in CASES.items():
    flash = Flash()
    flash.format()
    flash.mount()
    box = outbox.Outbox(hold_ms=hold_ms)
    before = list(flash.erases)
    for _ in range(READINGS):
        box.put("rootlet/pico-1/ble-1", READING)
        for _ in range(10):
            clock.now += 100
            box.tick()
            entry = connected and box.next()
            if entry:
                box.acked(entry[0])
    assert not box.errors
    worn = [flash.erases[i] - before[i] for i in range(flash.blocks)]
    result[case] = [sum(worn), max(worn), flash.programs]
    flash.data = b""
print(json.dumps(result))
