"""A flash whose power goes at one chosen change, for tests on CPython and on MicroPython."""

import os

_kept: list = []


def folder(name):
    """An empty folder that is a flash; name: on MicroPython, which is started in a folder of its own."""
    try:
        from tempfile import TemporaryDirectory
    except ImportError:
        os.mkdir(name)
        return os.getcwd() + "/" + name + "/"
    _kept.append(TemporaryDirectory())
    return _kept[-1].name + "/"


class Cut(Exception):
    """The power goes."""


class Flash:
    """os and open for the modules under test; cuts the power at one change.

    root: the folder. cut_at: the change, counted from 1, or None. fat: renames only to a free name.
    """

    def __init__(self, root, cut_at=None, fat=False):
        self.root = root
        self.changes = 0
        self.cut_at = cut_at
        self.fat = fat

    def change(self):
        self.changes += 1
        if self.changes == self.cut_at:
            raise Cut()

    def stat(self, path):
        return os.stat(self.root + path)

    def statvfs(self, path):
        return (4096, 4096, 100, 50)

    def ilistdir(self, path):
        inside = self.root + path
        return [(name, os.stat(inside + "/" + name)[0] & 0x4000, 0) for name in os.listdir(inside)]

    def urandom(self, size):
        return os.urandom(size)

    def remove(self, path):
        self.change()
        os.remove(self.root + path)

    def mkdir(self, path):
        self.change()
        os.mkdir(self.root + path)

    def rmdir(self, path):
        self.change()
        os.rmdir(self.root + path)

    def rename(self, old, new):
        self.change()
        if self.fat:
            try:
                os.stat(self.root + new)
            except OSError:
                pass
            else:
                raise OSError(17)
        os.rename(self.root + old, self.root + new)

    def open(self, path, mode="r"):
        if "w" not in mode and "a" not in mode:
            return open(self.root + path, mode)
        self.change()
        return File(self, self.root + path, mode)


class File:
    """A file being written: half of what is written is there when the power goes in a write."""

    def __init__(self, flash, path, mode):
        self.flash = flash
        self.file = open(path, mode)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        try:
            self.flash.change()
        except Cut:
            self.file.write(data[: len(data) // 2])
            raise
        self.file.write(data)
