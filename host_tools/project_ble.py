"""Bluetooth LE in a project: the tables of [ble] and [[ble.sensors]], and what a board can do of it."""

from collections.abc import Iterator
from typing import Any

from host_tools import toml_lines
from host_tools.boards import Board
from rootlet import config_ble

Rows = tuple[tuple[Any, ...], ...]
TABLE: Rows = config_ble._BLE
SENSOR: Rows = config_ble._SENSOR
VALUE: Rows = config_ble._VALUE
NEEDED_OF_SENSOR = ("name", "format")
NEEDED_OF_VALUE = ("quantity", "source", "format")


def rows(path: toml_lines.Path) -> Rows:
    """The table that a key belongs to. Args: path: such as ("ble", "sensors", 0, "address")."""
    return VALUE if "values" in path else SENSOR if "sensors" in path else TABLE


def _connected(ble: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((i, row) for i, row in enumerate(ble["sensors"]) if row["format"] == "gatt")


def refused(board: Board, ble: dict[str, Any]) -> tuple[toml_lines.Path, str, str] | None:
    """What this board cannot do: path of the key, reason, fix; or None. ble: accepted by the board's own check."""
    for i, row in _connected(ble):
        if row.get("bond") and not board["ble"]["bonding"]:
            reason = f"{board['id']} cannot bond: its Bluetooth stack, {board['ble']['stack']}, is built without it"
            return ("ble", "sensors", i, "bond"), reason, "a board with bonding, such as esp32_generic, or remove it"
    return None


def note(board: Board, ble: dict[str, Any]) -> str | None:
    """What a person should know before the board is in the field, or None."""
    count, most = sum(1 for _ in _connected(ble)), board["ble"]["connections"]
    if count <= most:
        return None
    turns = "one after the other" if most == 1 else f"{most} at a time"
    return f"{count} sensors need a connection and {board['id']} has {most}: they take turns, {turns}"
