"""Runs on a board: which one it is."""

import gc
import json
import sys

import machine

freq = machine.freq()
found = {
    "micropython": ".".join(str(part) for part in sys.implementation.version[:3]),
    "machine": getattr(sys.implementation, "_machine", sys.platform),
    "hz": freq[0] if isinstance(freq, tuple) else freq,
    "bits": 64 if sys.maxsize > 1 << 32 else 32,
    "heap_bytes": gc.mem_free() + gc.mem_alloc(),
}
print("result", json.dumps(found))
