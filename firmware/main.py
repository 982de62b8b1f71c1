"""Started by MicroPython after boot.py: counts the starts of a tree on trial, then runs the gateway under health."""

import gc
import os
import sys
import time

import machine

# The names of boot.py are here, too, and its code would stay in memory.
for name in ("marker", "whole", "choose", "start"):
    globals().pop(name, None)


def size(name):
    """Bytes in a file; -1 where there is none."""
    try:
        return os.stat(name)[6]
    except OSError:
        return -1


# Where a new boot.py was cut off between two names (see boot.py); it chooses the tree, so from the start again.
if size("boot.py") < 0 <= size("boot.py.new"):
    os.rename("boot.py.new", "boot.py")
    machine.soft_reset()

tree = next((path for path in sys.path if path in ("/app_a", "/app_b")), None)
trial = tree and size(tree + "/tried") < 0 and size(tree + "/starts") < 3
if tree and trial:
    try:
        with open(tree + "/starts", "ab") as f:
            f.write(b".")
    except OSError:
        pass  # a full flash must not keep the program from running
safe = False
try:
    from rootlet import health

    gc.collect()
    safe = not health.starting()
    if not safe:
        health.run()
except Exception as e:
    sys.print_exception(e)
if tree and trial and not safe and size(tree + "/tried") < 0:
    print("main: %s has ended before it was connected; starting again" % tree[1:])
    time.sleep(2)
    machine.soft_reset()
