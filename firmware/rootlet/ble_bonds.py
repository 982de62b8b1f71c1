"""The keys of bonded BLE peers: handed to the stack when it asks, kept on flash.

The stack gives and wants them in its interrupt (MicroPython docs, library/bluetooth.rst, _IRQ_GET_SECRET); flash is
written later, by save(). Whoever reads the board's flash has them, like all its secrets.
"""

import json
import os
from binascii import hexlify, unhexlify

PATH = "bonds.json"
_MOST = 33  # records: two of each of 16 sensors, and the board's own
_LONGEST = 128
_RETRY = 60  # calls of save() after one that failed
_IDENTITY = 10  # NimBLE's kind of the board's own identity key: without it the bonds are those of another board


class Bonds:
    """What the stack has asked to keep, the oldest first."""

    def __init__(self):
        self._rows: list = []  # [kind, key, value]
        self.changed = False
        self._pause = 0
        try:
            with open(PATH) as f:
                for kind, key, value in json.loads(f.read(16384)):
                    self._rows.append((kind, unhexlify(key), unhexlify(value)))
        except (OSError, ValueError, TypeError):
            pass  # peers have to pair again
        self._shorten()

    def _shorten(self):
        while len(self._rows) > _MOST:
            self._rows.pop(1 if self._rows[0][0] == _IDENTITY else 0)

    def get(self, kind, index, key):
        """The value for a key; for None in its place the index-th of that kind; None if there is none."""
        for row in self._rows:
            if row[0] == kind:
                if key is None:
                    if not index:
                        return row[2]
                    index -= 1
                elif row[1] == key:
                    return row[2]
        return None

    def set(self, kind, key, value):
        """Keep a value, or forget it (None). Returns whether that was done."""
        key = bytes(key)
        if value is not None and len(key) + len(value) > _LONGEST:
            return False
        before = len(self._rows)
        if value is not None and self.get(kind, 0, key) == value:
            return True
        self._rows[:] = [row for row in self._rows if not (row[0] == kind and row[1] == key)]
        self.changed = True
        if value is None:
            return len(self._rows) != before
        row = (kind, key, bytes(value))
        if kind == _IDENTITY:
            self._rows.insert(0, row)
        else:
            self._rows.append(row)
        self._shorten()
        return True

    def save(self):
        """Write them to flash if they have changed; to be called each second.

        A new file, then renamed over the old. Raises nothing.
        """
        self._pause = max(0, self._pause - 1)
        if not self.changed or self._pause:
            return
        self.changed = False
        try:
            with open(PATH + ".new", "w") as f:
                json.dump(
                    [(kind, hexlify(key).decode(), hexlify(value).decode()) for kind, key, value in self._rows], f
                )
            os.rename(PATH + ".new", PATH)
        except (OSError, MemoryError):
            self.changed = True
            self._pause = _RETRY
