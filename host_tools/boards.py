"""The boards Rootlet knows: reads boards/<id>.json and checks its shape."""

import json
import re
from collections.abc import Collection
from typing import Any, Literal, NotRequired, TypedDict, cast

from host_tools.failure import Exit, Failure
from host_tools.paths import BOARDS

RESET_WORDS = frozenset({"power", "hard", "watchdog", "deepsleep", "soft"})
"""What a number of machine.reset_cause() may mean; the firmware knows these words only."""

WLAN_WORDS = frozenset({"wrong_password", "no_ap", "failed", "idle", "joining", "no_ip", "got_ip"})
"""What a WLAN status number may mean; the firmware knows these words only."""


class Flash(TypedDict):
    """Flash layout, bytes."""

    size_bytes: int
    filesystem_bytes: int
    romfs_bytes: int


class Image(TypedDict):
    """How firmware gets onto it: file format, name at micropython.org, address of the file's first byte, UF2 families
    or chip id (hex), Board-ID of the boot loader's drive, and the file system's block and program sizes, bytes.
    """

    format: Literal["uf2", "esp"]
    download: str
    offset: int
    ids: list[str]
    drive: str
    block_bytes: int
    prog_bytes: int


class Pins(TypedDict):
    """GPIO numbers (or names) by use."""

    led: str | int | None
    adc: list[int]
    reserved: list[int]


class Wlan(TypedDict):
    """WLAN numbers of the port: status -> word, network.STAT_* constants, pm -> value, errno of a failed DNS query."""

    status: dict[str, str]
    constants: dict[str, int]
    pm: dict[str, int]
    dns_errno: int
    hostname: str


class Tls(TypedDict):
    """What a TLS connection needs, bytes, and from which heap."""

    heap: Literal["gc", "idf"]
    block_bytes: int
    out_block_bytes: int
    free_bytes: int


class Ble(TypedDict):
    """What the firmware's Bluetooth stack can do: how many connections at once, and whether it keeps keys (bonds)."""

    stack: Literal["btstack", "nimble"]
    connections: int
    bonding: bool


class Watchdog(TypedDict):
    """The hardware's longest time in ms, 0 where it is long enough for all; [address, value] that switches it off."""

    longest_ms: int
    off: list[int]


class Temperature(TypedDict):
    """How the chip's own temperature is read."""

    kind: Literal["rp2_adc", "esp32_mcu", "esp32_raw"]
    channel: NotRequired[int]


class Board(TypedDict):
    """One board file."""

    id: str
    name: str
    port: Literal["rp2", "esp32"]
    chip: str
    arch: str
    cpu_hz: int
    heap_bytes: int
    sim_heap_bytes: int
    flash: Flash
    image: Image
    pins: Pins
    led: str | int | None
    reset: dict[str, str]
    watchdog: Watchdog
    timer: int
    epoch_year: Literal[1970, 2000]
    clock_start: str
    wlan: Wlan
    busy_errnos: list[int]
    tls: Tls
    ble: Ble
    temperature: Temperature
    quirks: list[str]
    sources: list[str]


_LED = (str, int, type(None))
_SHAPE: dict[str, Any] = {
    "id": str,
    "name": str,
    "port": {"rp2", "esp32"},
    "chip": str,
    "arch": {"armv6m", "armv7m", "armv7emsp", "xtensawin", "rv32imc"},
    "cpu_hz": int,
    "heap_bytes": int,
    "sim_heap_bytes": int,
    "flash": {"size_bytes": int, "filesystem_bytes": int, "romfs_bytes": int},
    "image": {
        "format": {"uf2", "esp"},
        "download": str,
        "offset": int,
        "ids": [str],
        "drive": str,
        "block_bytes": int,
        "prog_bytes": int,
    },
    "pins": {"led": _LED, "adc": [int], "reserved": [int]},
    "led": _LED,
    "reset": dict,
    "watchdog": {"longest_ms": int, "off": [int]},
    "timer": int,
    "epoch_year": {1970, 2000},
    "clock_start": str,
    "wlan": {"status": dict, "constants": dict, "pm": dict, "dns_errno": int, "hostname": str},
    "busy_errnos": [int],
    "tls": {"heap": {"gc", "idf"}, "block_bytes": int, "out_block_bytes": int, "free_bytes": int},
    "ble": {"stack": {"btstack", "nimble"}, "connections": int, "bonding": {False, True}},
    "temperature": dict,
    "quirks": [str],
    "sources": [str],
}
_HEX = re.compile(r"0x[0-9a-f]{1,8}")
_TEMPERATURE_KINDS = {"rp2_adc", "esp32_mcu", "esp32_raw"}


def _is(value: object, kind: Any) -> bool:
    # bool is an int to Python, never to a board file.
    return isinstance(value, kind) and not isinstance(value, bool)


def _shape_problems(value: object, shape: Any, where: str) -> list[str]:
    if isinstance(shape, set):
        return [] if value in shape else [f"{where}: {value!r} is none of {sorted(shape)}"]
    if isinstance(shape, list):
        good = isinstance(value, list) and all(_is(item, shape[0]) for item in value)
        return [] if good else [f"{where}: not a list of {shape[0].__name__}"]
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{where}: not an object"]
        found = [f"{where}.{key}: missing" for key in shape.keys() - value.keys()]
        found += [f"{where}.{key}: unknown" for key in value.keys() - shape.keys()]
        for key in shape.keys() & value.keys():
            found += _shape_problems(value[key], shape[key], f"{where}.{key}")
        return found
    return [] if _is(value, shape) else [f"{where}: {value!r} has the wrong type"]


def _word_problems(where: str, rows: dict[str, str], words: Collection[str]) -> list[str]:
    """What is wrong with a table of numbers (as text) and words."""
    return [
        f"{where}: {number!r}: {word!r}"
        for number, word in rows.items()
        if not number.lstrip("-").isdigit() or word not in words
    ]


def problems(data: object) -> list[str]:
    """What is wrong with a board file's content; an empty list when nothing is."""
    found = _shape_problems(data, _SHAPE, "board")
    if found:
        return sorted(found)
    board = cast(Board, data)
    found += _word_problems("board.wlan.status", board["wlan"]["status"], WLAN_WORDS)
    found += _word_problems("board.reset", board["reset"], RESET_WORDS)
    if not isinstance(board["ble"]["bonding"], bool) or board["ble"]["connections"] < 1:
        found.append("board.ble: wants at least one connection, and true or false for bonding")
    if len(board["watchdog"]["off"]) not in (0, 2):
        found.append("board.watchdog.off: wants an address and a value, or nothing")
    for table in ("constants", "pm"):
        if not all(_is(value, int) for value in board["wlan"][table].values()):
            found.append(f"board.wlan.{table}: not all integers")
    if set(board["wlan"]["pm"]) != {"none", "performance", "powersave"}:
        found.append("board.wlan.pm: wants none, performance, powersave")
    kind = board["temperature"].get("kind")
    if kind not in _TEMPERATURE_KINDS or (kind == "rp2_adc" and not _is(board["temperature"].get("channel"), int)):
        found.append("board.temperature: wants a known kind, and a channel for rp2_adc")
    if board["flash"]["filesystem_bytes"] >= board["flash"]["size_bytes"]:
        found.append("board.flash: the file system is not smaller than the flash")
    if not board["image"]["ids"] or not all(_HEX.fullmatch(name) for name in board["image"]["ids"]):
        found.append("board.image.ids: wants numbers like 0xe48bff56")
    if board["led"] != board["pins"]["led"]:
        found.append("board.led: differs from board.pins.led")
    return sorted(found)


def ids() -> list[str]:
    """The ids of all boards, sorted."""
    return sorted(path.stem for path in BOARDS.glob("*.json"))


def load(board_id: str) -> Board:
    """The board file of that id.

    Raises:
        Failure: usage (exit code 2) on an unknown id, with the known ones; failed (1) on a damaged board file.
    """
    known = ids()
    if board_id not in known:
        raise Failure(
            f"there is no board '{board_id}'", f"known: {', '.join(known)}", "rootlet boards --known", code=Exit.USAGE
        )
    path = BOARDS / f"{board_id}.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Failure(f"boards/{path.name} is damaged", str(error), f"git checkout boards/{path.name}") from None
    found = problems(data)
    if not found and data["id"] != board_id:
        found = [f"board.id: {data['id']!r} is not the file's name"]
    if found:
        raise Failure(f"boards/{path.name} is damaged", "; ".join(found[:3]), f"git checkout boards/{path.name}")
    return cast(Board, data)


def all_boards() -> list[Board]:
    """All boards, by id. Raises Failure on a damaged board file."""
    return [load(board_id) for board_id in ids()]


def on_board(board: Board) -> dict[str, Any]:
    """What of a board's file the firmware reads: the rest would lie in its heap for nothing."""
    names = ("id", "port", "led", "reset", "watchdog", "timer", "tls", "ble", "temperature")
    wlan = {name: board["wlan"][name] for name in ("status", "pm")}
    return {**{name: board[name] for name in names}, "wlan": wlan}  # type: ignore[literal-required]
