"""Simulated: power-up. Puts the stand-ins in place, takes the host's files away, runs boot.py and main.py."""

import gc
import sys

_SHADOWED = ("network", "machine", "socket", "dht", "onewire", "ds18x20")


class _Sys:
    """The built-in sys, with the board's platform."""

    def __init__(self, real, port, machine):
        from collections import namedtuple

        i = real.implementation
        implementation = namedtuple("implementation", ("name", "version", "_machine", "_mpy", "_build"))
        self._real = real
        self.platform = port
        self.implementation = implementation(i.name, i.version, machine, i._mpy, "VIRTUAL")

    def __getattr__(self, name):
        return getattr(self._real, name)


def _prepare(files, control, rom):
    """Everything up to the point where the board's own code may run."""
    import _sim
    import vfs

    _sim.open_control(vfs.VfsPosix(control), rom)
    flash = vfs.VfsPosix(files)
    import time

    modules = sys.modules
    modules["time"] = modules["utime"] = time
    for name in _SHADOWED:
        modules[name] = __import__(name)
    modules["bluetooth"] = __import__("bluetooth" if "ble" in _sim.script() else "_no_bluetooth")
    modules["umachine"] = modules["machine"]
    modules["usocket"] = modules["socket"]
    if _sim.board["port"] == "esp32":
        modules["esp32"] = __import__("esp32")
    import _os
    import _vfs

    vfs.umount("/rom")
    vfs.umount("/")
    vfs.mount(_vfs.Flash(flash, _sim.board["filesystem_bytes"]), "/")
    modules["os"] = modules["uos"] = _os
    modules["vfs"] = _vfs
    modules["sys"] = modules["usys"] = _Sys(sys, _sim.board["port"], _sim.board["machine"])
    for name in ("_boot", "_os", "_vfs"):
        modules.pop(name, None)
    # Where the firmware is frozen into the interpreter, child.py has put it here.
    sys.path[:] = ["", "/frozen", ".frozen", "/lib"] if "/frozen" in sys.path else ["", ".frozen", "/lib"]
    sys.argv[:] = []
    _os.chdir("/")
    gc.collect()
    return _sim


def _print(error):
    """Print a traceback without the lines of this file, which no board has."""
    from io import StringIO

    text = StringIO()
    sys.print_exception(error, text)
    for line in text.getvalue().split("\n")[:-1]:
        if '"/rom/_boot.py"' not in line:
            print(line)


def _run(name, namespace):
    """Run a file of the board, if it is there. Whether the next one may run."""
    import os

    try:
        os.stat(name)
    except OSError:
        return True
    try:
        execfile(name, namespace)  # noqa: F821 (a built-in of MicroPython)
        return True
    except SystemExit:
        raise
    except BaseException as e:
        _print(e)
        return False


def run(namespace, files, control, main):
    """Start the board.

    Args: namespace: globals of __main__. files: folder of the host for the board's flash. control: folder shared
    with the host's program. main: whether main.py is to run (not after a soft reset in raw mode).
    """
    sim = _prepare(files, control, namespace["rom"])
    namespace.clear()
    namespace["__name__"] = "__main__"
    try:
        sim.mark("up")
        if _run("boot.py", namespace) and main:
            _run("main.py", namespace)
    except SystemExit:
        sim.mark("soft")
        sim.wait()
    except BaseException as e:
        _print(e)  # Ctrl-C between the files
    while True:
        try:
            sim.mark("repl")
            return
        except KeyboardInterrupt:
            pass
