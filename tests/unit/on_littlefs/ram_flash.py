"""A Pico W's flash in RAM for MicroPython's own littlefs: counts erases, and loses its power at a chosen change."""

import os

BLOCK = 4096
BLOCKS = 212  # 868,352 B
PROGRAM = 256


class Cut(Exception):
    """The power goes."""


class Flash:
    """A block device.

    cut_at: the program or erase, counted from 1, in which the power goes; None: never. It stays off then. torn: how
    much of the last program is there, in 256ths; an erase that is cut leaves half of the block as it was.
    """

    def __init__(self, blocks=BLOCKS):
        self.data = bytearray(blocks * BLOCK)
        self.blocks = blocks
        self.erases = [0] * blocks
        self.programs = self.changes = 0
        self.cut_at = None
        self.torn = 0
        self.off = False

    def change(self):
        """Whether the power goes in this change."""
        if self.off:
            raise Cut()
        self.changes += 1
        self.off = self.changes == self.cut_at
        return self.off

    def readblocks(self, block, buffer, offset=0):
        if self.off:
            raise Cut()
        at = block * BLOCK + offset
        buffer[:] = memoryview(self.data)[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        size = len(buffer)
        self.programs += 1
        if self.change():
            size = size * self.torn // 256
            self.data[at : at + size] = memoryview(buffer)[:size]
            raise Cut()
        # What was not erased cannot be programmed: littlefs keeps to that, or the test is wrong.
        self.data[at : at + size] = buffer

    def ioctl(self, op, arg):
        if op == 4:
            return self.blocks
        if op == 5:
            return BLOCK
        if op == 6:
            self.erases[arg] += 1
            size = BLOCK
            if self.change():
                size = BLOCK // 2
            at = arg * BLOCK
            self.data[at : at + size] = b"\xff" * size
            if self.off:
                raise Cut()
        return 0

    def restart(self):
        """The same flash after the power came back; nobody reaches it through the old one, as closing a file might."""
        self.off = True
        new = Flash(0)
        new.data, new.blocks, new.erases = self.data, self.blocks, self.erases
        return new

    def format(self):
        os.VfsLfs2.mkfs(self, progsize=PROGRAM)

    def mount(self):
        """Mount it in place of the one before."""
        os.chdir("/")
        try:
            os.umount("/flash")
        except OSError:
            pass
        os.mount(os.VfsLfs2(self, progsize=PROGRAM), "/flash")
        os.chdir("/flash")


class Clock:
    """time, as far as the outbox needs it."""

    def __init__(self):
        self.now = 0

    def ticks_ms(self):
        return self.now

    def ticks_diff(self, a, b):
        return a - b
