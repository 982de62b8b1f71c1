"""A TLS socket made of a list of pieces: short reads and writes, "not yet", the end, wherever a test wants."""

import socket


class FakeSocket:
    """Gives `incoming` piece by piece (None: nothing yet; an OSError is raised) and takes at most `room` bytes a write.

    Where `fault` is given, (offset, what): once `offset` bytes are written, what comes next raises it (an OSError), is
    not taken now (None), or is never taken ("stall").

    Written bytes are in `sent`, the sizes of the writes in `writes`. When the pieces are used up, it is at its end,
    or has nothing yet for ever (`stalls`).
    """

    def __init__(self, incoming=(), room=1 << 20, busy_writes=False, stalls=False, fault=None):
        self.incoming = list(incoming)
        self.fault = fault
        self.room = room
        self.sent = bytearray()
        self.writes = []
        self.closed = False
        self._busy = busy_writes
        self._turn = 0
        self._stalls = stalls
        # A real descriptor that is always ready both ways, so that polling returns at once.
        self._near, self._far = socket.socketpair()
        self._far.send(b"!")

    def fileno(self):
        return self._near.fileno()

    def readinto(self, buf):
        if not self.incoming:
            return None if self._stalls else 0
        piece = self.incoming.pop(0)
        if piece is None:
            return None
        if isinstance(piece, OSError):
            raise piece
        size = min(len(buf), len(piece))
        buf[:size] = piece[:size]
        if size < len(piece):
            self.incoming.insert(0, piece[size:])
        return size

    def write(self, data):
        self._turn += 1
        if self._busy and self._turn % 2:
            return None
        part = bytes(data)[: self.room]
        if self.fault:
            left, what = self.fault[0] - len(self.sent), self.fault[1]
            if left <= 0:
                if what != "stall":
                    self.fault = None
                if isinstance(what, OSError):
                    raise what
                return None
            part = part[:left]
        self.sent += part
        self.writes.append(len(part))
        return len(part)

    def close(self):
        self.closed = True
        self._near.close()
        self._far.close()
