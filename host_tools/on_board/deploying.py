"""The board's part of a deployment. Sent after boot.py and rootlet/trees.py, whose names it uses; nothing stays.

The order makes it safe to cut off: the tree that runs is never touched; the other one loses its `complete` first, gets
it back last, when every file has been read back; then the files at the root, then the marker.
"""

import binascii
import hashlib
import json
import os
import sys

_PIECE = 1024


def _remove(name):
    if _there(name):
        os.remove(name)


def _mkdir(name):
    if not _there(name):
        os.mkdir(name)


def _list(folder):
    """[(name, whether it is a folder)]"""
    try:
        return [(row[0], row[1] == 0x4000) for row in os.ilistdir(folder)]
    except OSError:
        return []


def digest(name):
    """[size in bytes, SHA-256 in hex] of a file, or None."""
    h = hashlib.sha256()
    count = 0
    try:
        with open(name, "rb") as f:
            while True:
                piece = f.read(_PIECE)
                if not piece:
                    break
                count += len(piece)
                h.update(piece)
    except OSError:
        return None
    return [count, binascii.hexlify(h.digest()).decode()]


def walk(folder):
    """Every file in a folder and those in it, "a/b/c"."""
    for name, is_folder in _list(folder):
        full = folder + "/" + name
        if is_folder:
            for inner in walk(full):
                yield inner
        else:
            yield full


def running():
    """The tree that boot.py takes: "a", "b" or None."""
    tree = current()
    return tree[-1] if tree else None


def refuge(tree):
    """A tree other than this one that has worked and is whole, or None."""
    for other in "ab":
        if other != tree and whole(other) is not None and _there("app_" + other + "/tried"):
            return other
    return None


def facts(folders, names):
    """Print what the host plans by: what runs, what there is room for, and the digests of all the files.

    Args: folders: walked, where they are there. names: files at the root.
    """
    if not _there("boot.py") and _there("boot.py.new"):
        os.rename("boot.py.new", "boot.py")  # see replace()
    settle()
    tree = running()
    space = os.statvfs("/")
    i = sys.implementation
    said = {
        "micropython": ".".join([str(n) for n in i.version[:3]]),
        "mpy": getattr(i, "_mpy", None),
        "active": tree,
        "tried": bool(tree) and _there("app_" + tree + "/tried"),
        "marker": marker(),
        "refuge": refuge(tree),
        "flat": _there("rootlet"),
        "slot": _there("slot"),
        "free": space[0] * space[3],
    }
    print("facts", json.dumps(said))
    for folder in folders:
        for name in walk(folder):
            print("sha", *digest(name), name)
    for name in names:
        found = digest(name)
        if found:
            print("sha", *found, name)


def clear(folder):
    """Remove the files in a folder."""
    for name in list(walk(folder)):
        os.remove(name)


def erase(folder):
    """Remove a folder and all in it; what makes a tree count first."""
    _remove(folder + "/complete")
    for name, is_folder in _list(folder):
        if is_folder:
            erase(folder + "/" + name)
        else:
            os.remove(folder + "/" + name)
    if _there(folder):
        os.rmdir(folder)


def begin(tree, stale, folders, copies):
    """Make ready the tree that does not run.

    Args: tree: "a" or "b". stale: names in it that go. folders: names in it that are needed, parents first.
    copies: (file elsewhere on the board, name in the tree) that need not come over the wire.
    """
    place = "app_" + tree
    if running() == tree:
        raise ValueError("tree %s is in use" % tree)
    _mkdir(place)
    # It may be what a tree on trial would go back to: from here on there is none, and no former state either.
    _remove(place + "/complete")
    _remove(place + "/tried")
    _remove(place + "/starts")
    if running():
        clear("app_" + running() + "/former")
    clear(place + "/former")
    for name in stale:
        os.remove(place + "/" + name)
    for name in folders:
        _mkdir(place + "/" + name)
    for source, name in copies:
        with open(source, "rb") as old, open(place + "/" + name, "wb") as new:
            while True:
                piece = old.read(_PIECE)
                if not piece:
                    break
                new.write(piece)


def replace(name):
    """Put NAME.new in the place of NAME in one step.

    Where the file system cannot rename over a file (FAT), the old one goes first; a cut between the two leaves
    NAME.new alone, which boot.py (for main.py and the marker) and main.py (for boot.py) know how to take.
    """
    try:
        os.rename(name + ".new", name)
    except OSError:
        _remove(name)
        os.rename(name + ".new", name)


def seal(tree):
    """Declare a tree whole, if every file that `complete.new` lists reads back as it should."""
    place = "app_" + tree + "/"
    with open(place + "complete.new") as f:
        files = json.load(f)
    for key, folder in (("files", place), ("state", place + "state/")):
        for name in files[key]:
            if digest(folder + name) != files[key][name]:
                raise ValueError("%s%s is not what was sent" % (folder, name))
    replace(place + "complete")


def install(files):
    """Replace files at the root by their NAME.new. files: {name: [size, SHA-256]}."""
    for name in files:
        if digest(name + ".new") != files[name]:
            raise ValueError("%s.new is not what was sent" % name)
        replace(name)


def _forget_crashes():
    """Those of what was there before: a new program starts without. Starts are counted on: readings carry them."""
    try:
        with open("health.json") as f:
            boots = json.loads(f.read(1024))["boots"]
        with open("health.json.new", "w") as f:
            json.dump({"boots": boots, "end": "asked"}, f)
        replace("health.json")
    except (OSError, ValueError, KeyError, TypeError):
        _remove("health.json")


def switch(tree):
    """Make a tree ("a", "b"), or the program beside main.py (None), the one to run from the next start on."""
    if tree is None:
        _remove("app.new")
        _remove("app")
        return
    _forget_crashes()
    # A switch that was cut off here has left its marker under its first name, and it counts.
    if not _there("app") and marker():
        os.rename("app.new", "app")
    with open("app.new", "w") as f:
        f.write(tree + "\n")
    replace("app")


def back(tree):
    """Go back to a tree, or to the program beside main.py (None), and to the state that goes with it."""
    switch(tree)
    for path in TREES:
        if path in sys.path:
            sys.path.remove(path)
    start()
    settle()


def tidy(names):
    """Remove a former program's files at the root, and what is then empty."""
    for name in names:
        _remove(name)
    for folder in ("rootlet", "umqtt"):
        if _there(folder) and not _list(folder):
            os.rmdir(folder)
