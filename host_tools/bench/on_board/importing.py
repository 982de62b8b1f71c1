"""Runs on a board: bytes of heap that each module of the firmware takes when it is loaded, in the order given."""

import gc
import json
import sys

with open("bench.json") as f:
    JOB = json.load(f)
for name in JOB["built_in"]:  # of a board's own; the stand-ins of a virtual board are not the firmware's
    __import__(name)
if JOB.get("first"):
    sys.path.insert(0, JOB["first"])


def taken(name):
    gc.collect()
    before = gc.mem_alloc()
    __import__(name)
    gc.collect()
    return gc.mem_alloc() - before


taken("umqtt")  # packages themselves, and what the first import of all costs
FOUND = {name: taken(name) for name in JOB["modules"]}
print("result", json.dumps({"bytes": FOUND}))
