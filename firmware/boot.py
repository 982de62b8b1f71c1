"""Started by MicroPython at power-up, before main.py; collects early, so that the heap starts in one piece."""

import gc

gc.collect()
gc.threshold(gc.mem_free() // 4 + gc.mem_alloc())
