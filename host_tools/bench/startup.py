"""The time from reset to the first PUBACK of a reading, by phase, against a bare handshake of the same board.

Counted is what a board does from the first line of boot.py on. The interpreter's own start is not the firmware's, nor
is the loading of what is built into a board, and on a virtual one stands in for it. Each round starts the board twice,
for the gateway and for the bare handshake, so that both are the first of their interpreter.
"""

import tempfile
from pathlib import Path
from typing import Any

from host_tools.bench import gateways
from host_tools.bench.place import ON_BOARD, Place, VirtualPlace
from host_tools.bench.rows import Row

GROUP = "startup"
BARE = "bare handshake, mutual TLS"
LIMIT = 2.0  # of a bare handshake, for all but the simulated WiFi's own time
# What ends each phase, in order, and what it is called. A mark that a start has not is of no time at all.
PHASES = (
    ("boot", "boot.py"),
    ("program", "main.py, health"),
    ("configuration", "configuration"),
    ("imports", "imports (WiFi joins meanwhile)"),
    ("wifi", "WiFi joined"),
    ("clock", "clock, SNTP"),
    ("read", "first reading"),
    ("tcp", "TCP"),
    ("tls", "TLS handshake"),
    ("connack", "MQTT CONNACK"),
    ("puback", "reading published, PUBACK"),
)


def phases(marks: dict[str, float]) -> dict[str, float]:
    """What each phase took, from the marks of one start (microseconds from reset), in ms. They add up to the whole."""
    found, last = {}, 0.0
    for mark, name in PHASES:
        at = max(last, marks.get(mark, last))
        found[name] = (at - last) / 1000
        last = at
    return found


Round = tuple[dict[str, float], float, float]


def starts(here: VirtualPlace, made: gateways.Gateway, rounds: int) -> list[Round]:
    """(marks of a start, ms of a bare handshake after another start, ms of processor time of it) of each round."""
    found = []
    bare = {"name": BARE, "host": here.address, "port": made.job["port"], "root": "root.der",
            "identity": ["device.crt.der", "device.key.der"]}  # fmt: skip
    for _ in range(rounds):
        [marks] = here.run(ON_BOARD / "startup.py", made.job, made.files)
        [handshake] = here.run(ON_BOARD / "bare_handshake.py", made.job | {"bare": [bare], "rounds": 1}, made.files)
        found.append((marks, handshake["us"][0] / 1000, handshake["processor_us"][0] / 1000))
    return found


def _rows(found: list[Round], form: str, bare: str) -> list[Row]:
    def row(name: str, values: list[float], **more: Any) -> Row:
        return Row(GROUP, name, "ms", tuple(values), bare, "less", **more)

    each = [phases(marks) for marks, _, _ in found]
    whole = [marks["puback"] / 1000 for marks, _, _ in found]
    rows = [Row(GROUP, bare, "ms", tuple(ms for _, ms, _ in found), better="less", note="first of its interpreter")]
    rows += [row(f"{form}: {name}", [one[name] for one in each], allowance=4.0) for _, name in PHASES]
    note = f"without the {gateways.JOIN_MS} ms that the simulated WiFi takes"
    rows.append(row(f"{form}: reset to PUBACK", whole))
    rows.append(
        row(
            f"{form}: the firmware's own",
            [ms - gateways.JOIN_MS for ms in whole],
            note=note,
            promised=LIMIT,
            headline=True,
        )
    )
    # Of the interpreter alone: whatever else the machine does, and without any waiting. Whole milliseconds or less.
    spent = f"{bare}, processor time"
    rows.append(Row(GROUP, spent, "ms", tuple(ms for _, _, ms in found), better="less"))
    took = tuple(marks["processor"] / 1000 for marks, _, _ in found)
    rows.append(Row(GROUP, f"{form}: reset to PUBACK, processor time", "ms", took, spent, "less"))
    return rows


def measure(place: Place, quick: bool) -> list[Row]:
    """Rows in ms, of the virtual board (the same kind as the place's): from the file system, and frozen."""
    rows = []
    for form, frozen in (("files", False), ("frozen", True)):
        with (
            tempfile.TemporaryDirectory() as folder,
            gateways.surroundings(place, frozen) as here,
            gateways.gateway(here, Path(folder)) as made,
        ):
            found = starts(here, made, 1 if quick else 15)
        rows += _rows(found, form, f"{BARE} ({form})")
    return rows
