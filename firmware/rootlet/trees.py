"""The program's own tree, /app_a or /app_b, as boot.py has chosen it; its trial, and the state that goes with it.

`state/` in a tree holds files that are to go beside main.py at its first start; `former/` those they replaced, until
the tree has worked. If it never does, the tree that runs in its place puts them back.
"""

import os
import sys

TREES = ("/app_a", "/app_b")


def _there(name):
    try:
        os.stat(name)
        return True
    except OSError:
        return False


def _names(folder):
    try:
        return [row[0] for row in os.ilistdir(folder)]
    except OSError:
        return []


def current():
    """The folder of the tree in use, or None where the program lies beside main.py."""
    for path in sys.path:
        if path in TREES:
            return path
    return None


def path(name):
    """Where a file of the program is: in the tree in use where that has it, else beside main.py."""
    tree = current()
    return tree + "/" + name if tree and name and _there(tree + "/" + name) else name


def _number(tree):
    """The version of a tree; its `complete` begins with it: {"made":N,"version":N. Where there is none, when made."""
    found = None
    try:
        with open(tree + "/complete", "rb") as f:
            text = f.read(80)
    except OSError:
        return None
    for key in (b'"made":', b'"version":'):
        digits = text.partition(key)[2].partition(b",")[0].strip()
        if digits.isdigit():
            found = int(digits)
    return found


def version():
    """The number of the version in use, or None where nobody has said one."""
    tree = current()
    return _number(tree) if tree else None


def trial():
    """Whether the tree in use has not worked yet."""
    tree = current()
    return bool(tree) and not _there(tree + "/tried")


def rolled_back():
    """The number of a version that was started, did not work, and does not run any more; None where there is none."""
    tree = current()
    for other in TREES:
        if other != tree and _there(other + "/starts") and not _there(other + "/tried"):
            return _number(other)
    return None


def settle():
    """Bring the files beside main.py to what belongs to the tree in use. May be cut off and repeated anywhere."""
    tree = current()
    for other in TREES:
        if _there(other + "/tried"):
            _drop(other + "/former")
        elif other != tree:
            for name in _names(other + "/former"):
                if _there(name):
                    os.remove(name)
                os.rename(other + "/former/" + name, name)
    if not tree:
        return
    for name in _names(tree + "/state"):
        former = tree + "/former/" + name
        if _there(name) and not _there(former):
            os.rename(name, former)
        elif _there(name):
            os.remove(name)
        os.rename(tree + "/state/" + name, name)


def _drop(folder):
    for name in _names(folder):
        os.remove(folder + "/" + name)


def confirm(log):
    """The tree has worked, the broker has acknowledged: its trial is over. Args: log: function (topic, text)."""
    tree = current()
    if not tree or _there(tree + "/tried"):
        return
    try:
        with open(tree + "/tried", "w") as f:
            f.write("ok\n")
        _drop(tree + "/former")
    except OSError as e:
        log("trees", "flash: %s" % e)
        return
    log("trees", tree[1:] + " works: its trial is over")
