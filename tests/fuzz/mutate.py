"""Seeded changes to sound input, fast enough for a million: bytes, packets, pieces, JSON values; and who reads them.

ROOTLET_FUZZ_INPUTS says how many inputs each test takes (`make fuzz` sets it).
"""

import copy
import os
import random
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INPUTS = int(os.environ.get("ROOTLET_FUZZ_INPUTS", "20000"))
_EDGES = b"\x00\x01\x02\x04\x0a\x0d\x20\x7f\x80\x81\xfe\xff"


def change(dice: random.Random, data: bytes, spare: bytes = b"") -> bytes:
    """One change of some bytes, blind to what they mean. spare: bytes of another input, to splice in."""
    kind = dice.randrange(8)
    at = dice.randrange(len(data) + 1)
    if kind == 0:
        return data[:at] + bytes((dice.randrange(256),)) + data[at + 1 :]
    if kind == 1:
        return data[:at] + bytes((dice.choice(_EDGES),)) + data[at + 1 :]
    if kind == 2 and at < len(data):
        return data[:at] + bytes((data[at] ^ (1 << dice.randrange(8)),)) + data[at + 1 :]
    if kind == 3:
        return data[:at] + dice.randbytes(dice.randrange(1, 6)) + data[at:]
    end = min(len(data), at + dice.randrange(1, 9))
    if kind == 4:
        return data[:at] + data[end:]
    if kind == 5:
        return data[:end] + data[at:end] * dice.choice((1, 2, 50)) + data[end:]
    if kind == 6 and spare:
        start = dice.randrange(len(spare))
        return data[:at] + spare[start : start + dice.randrange(1, 40)] + data[at:]
    return data[:at]


def pieces(dice: random.Random, data: bytes, gaps: bool = True) -> list[bytes | None]:
    """The same bytes as a network may bring them: whole, byte by byte, in random pieces; None is "nothing yet"."""
    kind = dice.randrange(4)
    if kind == 0 or not data:
        return [data] if data else []
    out: list[bytes | None] = []
    at = 0
    while at < len(data):
        size = 1 if kind == 1 and len(data) < 200 else dice.randrange(1, 2 + len(data) // (2 if kind == 2 else 4))
        if gaps and not dice.randrange(6):
            out.append(None)
        out.append(data[at : at + size])
        at += size
    return out


class Endless(BaseException):
    """The reader went on and on. Not an Exception: nothing may catch it and call it a bad packet."""


# One descriptor that is always ready both ways, for every fake socket: a million pairs of their own would take longer
# than all the rest.
_near, _far = socket.socketpair()
_far.send(b"!")


class Wire:
    """A socket that brings `incoming` (None: nothing yet) and then its end, or nothing for ever (`stalls`).

    It counts its reads and raises Endless where they are more than `incoming` can need.
    """

    def __init__(self, incoming: list[bytes | None], stalls: bool = False) -> None:
        self.incoming = incoming[::-1]
        self.stalls = stalls
        self.closed = False
        self._at = 0
        self.sent: list[bytes] = []
        # A read gives a byte at least, a None, or the end; the end is seen a few times only.
        self.allowed = sum(len(piece) if piece else 1 for piece in incoming) + 50

    def fileno(self) -> int:
        return _near.fileno()

    def readinto(self, buf: memoryview) -> int | None:
        self.allowed -= 1
        if self.allowed < 0:
            raise Endless
        if not self.incoming:
            return None if self.stalls else 0
        piece = self.incoming[-1]
        if piece is None:
            self.incoming.pop()
            return None
        size = min(len(buf), len(piece) - self._at)
        buf[:size] = piece[self._at : self._at + size]
        self._at += size
        if self._at == len(piece):
            self.incoming.pop()
            self._at = 0
        return size

    def write(self, data: bytes) -> int:
        self.sent.append(bytes(data))
        return len(data)

    def close(self) -> None:
        self.closed = True


@contextmanager
def bounded(bytes_allowed: int, what: object) -> Iterator[None]:
    """Fail where what is done inside takes more memory than that at once. what: shown then."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= bytes_allowed, (peak, bytes_allowed, what)


# -- JSON

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 65536, 1 << 31, 1 << 64, 10**300, -(10**300), 0.0, -0.5, 1e308, float("inf"),
    float("nan"), "", "x", "0", " ", "null", "é", "\x00", "a\r\nb", "\ud800", "{device}", "../x", "x" * 65, "x" * 300,
    "x" * 5000, [], {}, [[]], [None], [{}], {"": 0}, {"x": {}}, ["x"] * 9, [0] * 300,
)  # fmt: skip


def places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """(container, key or index) of everything inside a JSON value."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found.append((value, key))
        places(value[key], found)
    return found


def deep(levels: int, kind: type) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value] if kind is list else {"x": value}
    return value


def json_change(dice: random.Random, value: Any) -> Any:
    """One change inside a JSON value (which is changed in place): types, sizes, keys. Returns the value."""
    found = places(value, [])
    if not found:
        return dice.choice(_VALUES)
    where, key = dice.choice(found)
    kind = dice.randrange(9)
    if kind == 0:
        del where[key]
    elif kind == 1 and isinstance(where, dict):  # mistyped
        name = key[: dice.randrange(len(key) + 1)] + dice.choice(("", "x", "_", "é", "\ud800")) + key[1:]
        where[name] = where.pop(key)
    elif kind == 2:  # nested, deeper than any reader goes
        where[key] = deep(dice.choice((1, 3, 60)), dice.choice((list, dict)))
    elif kind == 3:  # one more
        item = copy.deepcopy(where[key])
        if isinstance(where, list):
            where.extend([item] * dice.choice((1, 1, 9, 40)))
        else:
            where[dice.choice(("x", "", key + key, "x" * 400))] = item
    elif kind == 4:  # the same in another type
        old = where[key]
        where[key] = dice.choice(([old], {"x": old}, str(old), bool(old), None))
    elif kind == 5 and isinstance(where[key], (int, float)):
        try:
            where[key] = dice.choice((where[key] + 1, -where[key], where[key] * 1000, where[key] / 3, 1 << 70))
        except OverflowError:
            where[key] = 0
    elif kind == 6 and isinstance(where[key], str):
        text = where[key]
        at = dice.randrange(len(text) + 1)
        where[key] = text[:at] + dice.choice(("", " ", "#", "+", "\n", "é", "x" * 70, text)) + text[at + 1 :]
    else:
        new = dice.choice(_VALUES)
        where[key] = copy.deepcopy(new) if isinstance(new, (list, dict)) else new
    return value
