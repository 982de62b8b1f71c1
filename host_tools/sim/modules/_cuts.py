"""Simulated: the power that goes in the middle of a write to the flash, or at a change of its names."""

import io

import _sim

_spec = None  # the cut of the power that the host or the script asks for
_left = 0  # writes or changes until then
_dead = False


def _cut():
    """The cut to come; {} where it will be asked for later."""
    global _spec, _left
    if _dead:
        _sim.wait()  # a timer's callback, in the moment before the host has ended this process
    spec = _sim.live("cut", _sim.script().get("faults", {}).get("cut")) or {}
    if spec != _spec:
        _spec = spec
        _left = spec.get("at_write") or spec.get("at_change") or 0
    return spec


def _due(kind):
    """Whether the power goes at this operation; counts it."""
    global _left
    if kind not in _cut() or not _left:
        return False
    _left -= 1
    return not _left


def _die():
    global _dead
    _dead = True
    _sim.mark("cut")
    _sim.wait()


def change(function, *args):
    """Change names on the flash; the power may go before or after."""
    if not _due("at_change"):
        return function(*args)
    if _spec.get("after"):
        function(*args)
    _die()


class Watched(io.IOBase):
    """A file open for writing while the power may go in the middle of a write()."""

    def __init__(self, file):
        self._file = file

    def write(self, data, *args):
        if _due("at_write"):
            data = memoryview(data.encode() if isinstance(data, str) else data)
            if args:
                data = data[args[0] : args[0] + args[1]] if len(args) > 1 else data[: args[0]]
            self._file.write(data[: _spec.get("keep", int(len(data) * _spec.get("part", 0)))])
            self._file.flush()
            _die()
        return self._file.write(data, *args)

    def ioctl(self, request, argument):
        if request == 4:
            self._file.close()
        elif request == 1:
            self._file.flush()
        return 0

    def close(self):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self._file.close()

    def __iter__(self):
        return iter(self._file)
