"""What a broker sends as a command may be anything: it is a command, or a RootletError COMMAND."""

import json
import os
import random
from typing import Any

from rootlet import commands
from rootlet.errors import RootletError

INPUTS = int(os.environ.get("ROOTLET_FUZZ_INPUTS", "20000"))
SEED = int(os.environ.get("ROOTLET_FUZZ_SEED", "1"))
GOOD: tuple[dict[str, Any], ...] = (
    {"id": "a1", "command": "status"},
    {"id": "a1", "command": "reboot"},
    {"id": "x-9", "command": "interval", "sensor": "chip", "every_s": 5},
    {"id": "x_9", "command": "rotate", "slot": "a"},
    {"id": "z.9", "command": "update", "url": "https://updates.example/v2.bin"},
)
PIECES = (
    b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"true", b"1e999", b"-0", b"NaN", b"\\u0000", b"\\ud800",
    b"\x00", b"\xff", b'"id"', b'"command"', b'"status"', b'"interval"', b'"sensor"', b'"every_s"', b'"url"',
    b"9" * 400, b"[" * 200, b'{"a":' * 100,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 10**300, "", "a" * 33, "a" * 2000, [], {}, ["a"], {"a": 1}, "\x1b[2J", "\u00e9", "\ud800",
    "reboot", "a", float("nan"), float("inf"),
)  # fmt: skip


def changed(rng: random.Random) -> bytes:
    """A message: random bytes, a sum of pieces, a good one with other values, or with other bytes."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(60))
    if kind == 1:
        return b"".join(rng.choices(PIECES, k=rng.randrange(1, 12)))
    data = dict(rng.choice(GOOD))
    if kind == 2:
        for _ in range(rng.randrange(1, 3)):
            data[rng.choice([*data, "more", "url", "slot"])] = rng.choice(VALUES)
        return json.dumps(data).encode()
    text = bytearray(json.dumps(data).encode())
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(text))
        text[at : at + rng.randrange(3)] = rng.choice([rng.randbytes(1), rng.choice(PIECES)])
        text = text or bytearray(b"x")
    return bytes(text)


def test_any_message_is_a_command_or_refused() -> None:
    rng = random.Random(SEED)
    seen = {"taken": 0, "refused": 0}
    for _ in range(INPUTS):
        message = changed(rng)
        try:
            number, name, args = commands.parse(message, commands.NAMES)
        except RootletError as e:
            assert e.code == "COMMAND" and len(e.fact) < 120, message
            assert e.fact.isascii() and e.fact.isprintable()
            json.loads(commands.answer(getattr(e, "number", None), None, e))
            seen["refused"] += 1
        else:
            assert name in commands.NAMES and 0 < len(number) <= 32 and len(args) <= 2
            again = json.dumps({"id": number, "command": name, **args}).encode()
            assert commands.parse(again, commands.NAMES) == (number, name, args)
            seen["taken"] += 1
    assert seen["taken"] > INPUTS // 400 and seen["refused"] > INPUTS // 2
