"""Gives CPython the few MicroPython calls the firmware uses, so that the same files run on both.

It shows that the logic is right on a second interpreter; it shows nothing of memory or of Mbed TLS.
"""

import asyncio
import gc
import os
import struct
import sys
import time
import traceback
from binascii import hexlify
from types import ModuleType


def _module(name: str, **members: object) -> None:
    module = ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def _ticks_ms() -> int:
    return time.monotonic_ns() // 1_000_000


time.ticks_ms = _ticks_ms  # type: ignore[attr-defined]
time.ticks_add = lambda a, b: a + b  # type: ignore[attr-defined]
time.ticks_diff = lambda a, b: a - b  # type: ignore[attr-defined]
os.ilistdir = lambda path=".": ((e.name, 0x4000 if e.is_dir() else 0x8000, 0) for e in os.scandir(path))  # type: ignore[attr-defined]
gc.mem_free = lambda: 1 << 30  # type: ignore[attr-defined]
gc.mem_alloc = lambda: 0  # type: ignore[attr-defined]
asyncio.sleep_ms = lambda ms: asyncio.sleep(ms / 1000)  # type: ignore[attr-defined]
_module("usocket", socket=None)
_module("ustruct", pack=struct.pack, pack_into=struct.pack_into, unpack=struct.unpack)
_module("ubinascii", hexlify=hexlify)
sys.print_exception = lambda e, file=None: traceback.print_exception(e, file=file)  # type: ignore[attr-defined]
