"""Simulated: the board's flash, a folder of the host that code on the board cannot leave, with the flash's size."""
# ruff: noqa: F401

import _sim
from vfs import VfsFat, VfsLfs2, mount, umount

_BLOCK = 4096
_cuts = None


def _watching():
    """The functions of _cuts, where the host or the script wants cuts of the power; loaded then only, for memory."""
    global _cuts
    if _sim.live("cut", _sim.script().get("faults", {}).get("cut")) is None:
        return None
    if _cuts is None:
        _cuts = {"_sim": _sim}
        with _sim.rom.open("/_cuts.py", "r") as f:
            exec(f.read(), _cuts)
    return _cuts


def _change(function, *args):
    watching = _watching()
    return watching["change"](function, *args) if watching else function(*args)


class Flash:
    """A file system for vfs.mount().

    Args: posix: VfsPosix of the folder. size: bytes to report as its size.
    """

    def __init__(self, posix, size):
        self._posix = posix
        self._size = size
        self._cwd = "/"

    def _path(self, path):
        # ".." is resolved here and not by the host, where it would lead out of the folder.
        if path[:1] != "/":
            path = (self._cwd if self._cwd != "/" else "") + "/" + path
        if "/." not in path and "//" not in path and path[-1] != "/":
            return path
        parts = []
        for part in path.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        return "/" + "/".join(parts)

    def __repr__(self):
        return "<VirtualFlash>"

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def open(self, path, mode):
        if ("w" in mode or "a" in mode or "+" in mode) and _sim.script().get("faults", {}).get("flash_full"):
            raise OSError(28)
        path = self._path(path)
        if mode[0] == "r" and "+" not in mode or not _watching():
            return self._posix.open(path, mode)
        file = _change(self._posix.open, path, mode) if mode[0] == "w" else self._posix.open(path, mode)
        return _cuts["Watched"](file)

    def stat(self, path):
        # `import` takes any exception here for "no such file": a Ctrl-C would be lost, so the host repeats it.
        try:
            return self._stat(path)
        except KeyboardInterrupt:
            _sim.mark("again")
            return self._stat(path)

    def _stat(self, path):
        s = self._posix.stat(self._path(path))
        times = [t - _sim.epoch() for t in s[7:10]]
        return (s[0] & 0xC000, 0, 0, 0, 0, 0, 0 if s[0] & 0x4000 else s[6], times[0], times[1], times[2])[:10]

    def ilistdir(self, path):
        base = self._path(path)
        for entry in self._posix.ilistdir(base):
            name = entry[0]
            directory = entry[1] & 0x4000
            size = 0 if directory else self._posix.stat(base + "/" + name)[6]
            yield (name, 0x4000 if directory else 0x8000, 0, size)

    def _used(self, path):
        blocks = 0
        for name, kind, _, size in self.ilistdir(path):
            blocks += 1 + (self._used(path + "/" + name) if kind == 0x4000 else size // _BLOCK)
        return blocks

    def statvfs(self, path):
        blocks = self._size // _BLOCK
        free = max(0, blocks - 2 - self._used("/"))
        return (_BLOCK, _BLOCK, blocks, free, free, 0, 0, 0, 0, 255)

    def mkdir(self, path):
        _change(self._posix.mkdir, self._path(path))

    def rmdir(self, path):
        _change(self._posix.rmdir, self._path(path))

    def remove(self, path):
        _change(self._posix.remove, self._path(path))

    def rename(self, old, new):
        # VfsPosix of 1.28 mixes up two absolute paths; the process stands in the folder, so one may be relative.
        _change(self._posix.rename, self._path(old)[1:], self._path(new))

    def chdir(self, path):
        path = self._path(path)
        if not self._posix.stat(path)[0] & 0x4000:
            raise OSError(20)
        self._cwd = path

    def getcwd(self):
        return self._cwd
