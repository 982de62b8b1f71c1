"""Started by MicroPython at power-up, before main.py: chooses which copy of the program runs, /app_a or /app_b.

It needs nothing of either copy and seldom changes. The file `app` says which is wanted; a copy counts only where its
`complete`, written last, lists its files with their sizes. One that has not yet worked (no `tried`) has three starts.
"""

import gc
import json
import os
import sys

STARTS = 3


def size(name):
    """Bytes in a file; -1 where there is none."""
    try:
        return os.stat(name)[6]
    except OSError:
        return -1


def marker():
    """What is asked for: "a", "b", None where nothing is, "" where nobody can tell."""
    said = None
    # A file system that cannot rename over a file may leave a new marker alone under its first name.
    for name in ("app", "app.new"):
        try:
            with open(name, "rb") as f:
                text = f.read(3)
        except OSError as e:
            if e.args[0] != 2:
                said = ""
            continue
        for tree in ("a", "b"):
            if text == tree.encode() + b"\n":
                return tree
        # Half of a new marker says nothing; half of the marker itself is damage.
        said = "" if name == "app" else said
    return said


def whole(tree):
    """When a tree was made, Unix seconds, if all its files are there with their sizes; else None."""
    place = "app_" + tree + "/"
    try:
        if size(place + "complete") > 16384:
            return None
        with open(place + "complete") as f:
            data = json.load(f)
        for name in data["files"]:
            if size(place + name) != data["files"][name][0]:
                return None
        return data["made"] if isinstance(data["made"], int) else None
    except Exception:  # whatever lies there, a board must start
        return None


def choose():
    """The tree to run: "a" or "b"; None for a program beside this file, or where there is none at all."""
    wanted = marker()
    flat = size("rootlet/gateway.mpy") >= 0 or size("rootlet/gateway.py") >= 0
    if wanted is None and flat:
        return None
    best = (2, 0, "") if flat else (-1, 0, "")
    for tree in ("a", "b"):
        made = whole(tree)
        if made is None:
            continue
        tried = size("app_" + tree + "/tried") >= 0
        if tree == wanted and (tried or size("app_" + tree + "/starts") < STARTS):
            rank = 4
        else:
            rank = 3 if tried else tree == wanted
        best = max(best, (rank, made, tree))
    chosen = best[2] or None
    if wanted is not None and chosen != wanted:
        why = "does not connect" if wanted and whole(wanted) is not None else "is not whole"
        print("boot: %s; going back" % ("app_%s %s" % (wanted, why) if wanted else "the marker cannot be read"))
    return chosen


def start():
    """Put the chosen tree first on sys.path."""
    # Where a new main.py was cut off between two names: only on a file system that cannot rename over a file.
    if size("main.py") < 0 <= size("main.py.new"):
        os.rename("main.py.new", "main.py")
    tree = choose()
    if tree and "/app_" + tree not in sys.path:
        sys.path.insert(0, "/app_" + tree)
    print("boot: %s" % ("app_" + tree if tree else "no tree"))


try:
    start()
except Exception as e:
    print("boot:", e)
gc.collect()
# Often: garbage between what stays would scatter it over the whole heap, and TLS needs 17 KB in one piece.
gc.threshold(8192)
