"""The keys of rootlet.toml, and errors that name file, line, key, reason and fix. What a board takes is said by
`rootlet.config`: its tables are used here, so that both have the same words."""

import difflib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tools import project_ble, toml_lines
from host_tools.failure import Exit, Failure
from host_tools.project_secrets import KEYS
from rootlet import config as board

Check = Callable[[Any], bool]
Row = tuple[str, Check, str]
AUTHS = ("mtls", "psk", "password")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,47}")
_LONG_HEX = re.compile(r"[0-9a-fA-F]{32,}")
SECRET_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]|\{device\}){0,40}")
_BY_NAME = 'a secret by its name, such as { secret = "wifi-home" }; its value goes into secrets.toml'


def is_name(value: object) -> bool:
    """Whether a value may name a project, a device, a broker: it also names a folder."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_device(value: object) -> bool:
    """Whether a value may name a device: not one of those whose certificates may read all and send commands."""
    return is_name(value) and str(value).lower() not in ("observer", "operator")


def _text(longest: int) -> Check:
    return lambda v: isinstance(v, str) and 0 < len(v) <= longest and v.isprintable()


def _texts(v: object) -> bool:
    return isinstance(v, list) and 0 < len(v) <= 200 and all(_text(200)(item) for item in v)


def _whole(low: int, high: int) -> Check:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high


def _secret(v: object) -> bool:
    name = v.get("secret") if isinstance(v, dict) and len(v) == 1 else None
    return isinstance(name, str) and SECRET_NAME.fullmatch(name) is not None


def _table(v: object) -> bool:
    return isinstance(v, dict)


def _board_rows(rows: Iterable[tuple[Any, ...]], without: Iterable[str] = ()) -> tuple[Row, ...]:
    """Rows of the board's table: a password or key is the name of a secret here."""
    return tuple(
        (row[0], _secret, _BY_NAME) if row[0] in KEYS else (row[0], row[1], row[3])
        for row in rows
        if row[0] not in without
    )


MUST_NAME = "1 to 48 letters, digits, '-', '_' or '.', the first no '.'"
MUST_DEVICE = MUST_NAME + "; not observer or operator"
_OF_BROKER = ("host", "port", "user", "password", "pins")
_BY_AUTH = ("cert", "key", "psk")
# Sections that are the board's own, by name; sections that a later firmware adds are taken as they come.
_BOARD_TABLES: dict[str, tuple[Row, ...]] = {
    "wifi": _board_rows(board._WIFI),
    "clock": _board_rows(board._CLOCK),
    "https": _board_rows(board._HTTPS),
    "mqtt": _board_rows(board._MQTT, (*_OF_BROKER, *_BY_AUTH)),
    "outbox": _board_rows(board._OUTBOX),
    "update": _board_rows(board._UPDATE),
    "ble": _board_rows(project_ble.TABLE),
}
_LISTS: dict[str, tuple[tuple[Row, ...], tuple[str, ...]]] = {
    "networks": (_board_rows(board._NETWORK), ("ssid",)),
    "sensors": (_board_rows(board._SENSOR), ("kind", "name")),
    "ble.sensors": (_board_rows(project_ble.SENSOR), project_ble.NEEDED_OF_SENSOR),
    "ble.sensors.values": (_board_rows(project_ble.VALUE), project_ble.NEEDED_OF_VALUE),
}
_OTHERS = tuple(
    row for row in board._TOP if row[0] not in (*_BOARD_TABLES, "device", "trust", "roots", "sensors")
)  # fmt: skip
_TRUST: tuple[Row, ...] = (
    ("own_ca", lambda v: isinstance(v, bool), "true or false: whether boards trust the project's CA"),
    ("ca_files", _texts, "a list of certificate files, PEM or DER, that boards trust too"),
    (
        "public_roots",
        lambda v: v in ("all", "none") or _texts(v),
        '"none", "all", or a list of parts of root names such as ["ISRG Root"]',
    ),
    ("deny", _texts, "a list of parts of root names to leave out"),
    ("max_bytes", _whole(1000, 1 << 24), "1000 to 16777216 bytes"),
)
_BROKER: tuple[Row, ...] = (
    ("name", is_name, MUST_NAME),
    ("auth", lambda v: v in AUTHS, '"mtls", "psk" or "password"'),
    *_board_rows(row for row in board._MQTT if row[0] in _OF_BROKER),
)
SHARED: tuple[Row, ...] = (
    *((name, _table, "a table") for name in _BOARD_TABLES),
    *_board_rows(row for row in board._TOP if row[0] == "sensors"),
    *((row[0], row[1], row[3]) for row in _OTHERS),
    ("trust", _table, "a table with own_ca, ca_files, public_roots, …"),
)
_DEVICE: tuple[Row, ...] = (
    ("id", is_device, MUST_DEVICE),
    ("board", lambda v: isinstance(v, str), "an id that `rootlet boards --known` lists"),
    ("serial", _text(64), "the USB serial number that `rootlet boards` shows"),
    ("broker", is_name, "the name of one of [[brokers]]"),
    *SHARED,
)
_DEFAULTS = tuple(row for row in _DEVICE if row[0] in ("board", "broker"))
_PROJECT: tuple[Row, ...] = (
    ("name", is_name, MUST_NAME),
    ("fleet", _text(200), "a CSV file of devices, beside rootlet.toml"),
)
_TOP: tuple[Row, ...] = (
    ("project", _table, "a table with name"),
    ("defaults", _table, "a table with board, broker"),
    *SHARED,
    ("brokers", lambda v: isinstance(v, list) and 0 < len(v) <= 16, "a list of 1 to 16 brokers: [[brokers]]"),
    ("devices", lambda v: isinstance(v, list) and len(v) <= 1000, "a list of up to 1000 devices: [[devices]]"),
)


@dataclass(frozen=True)
class Source:
    """A file that is checked, and the lines of its keys."""

    file: Path
    lines: dict[toml_lines.Path, int]

    def line(self, path: toml_lines.Path) -> int:
        """The line of a key, or of what holds it; 1 where nothing of it is there."""
        for i in range(len(path), 0, -1):
            if path[:i] in self.lines:
                return self.lines[path[:i]]
        return 1

    def wrong(self, path: toml_lines.Path, reason: str, fix: str) -> Failure:
        """An error about a key. None of the arguments may hold a secret."""
        return wrong(self.file, self.line(path), toml_lines.dotted(path) or "the file", reason, fix)


def wrong(file: Path, line: int, key: str, reason: str, fix: str) -> Failure:
    """The one form of all errors about a file of the project."""
    return Failure(f"{file}, line {line}: {_shown(key)} cannot be used", _shown(reason), _shown(fix), Exit.USAGE)


def _shown(text: str) -> str:
    """A text of one line, whatever stands in a quoted key."""
    return "".join(c if c.isprintable() else "?" for c in text[:400])


def show(key: str, value: object) -> str:
    """A value for an error; what may be a secret is left out."""
    if "pass" in key or "secret" in key or "key" in key or "psk" in key or "irk" in key:
        return "what stands there"
    if isinstance(value, (dict, list)) and value:
        return "{…}" if isinstance(value, dict) else "[…]"
    text = json.dumps(value, default=str, ensure_ascii=False)
    if _LONG_HEX.fullmatch(text.strip('"')):  # a key in the wrong place
        return "what stands there"
    return text if len(text) <= 60 else text[:57] + "..."


def word(key: str) -> str:
    """What an error calls a secret."""
    return "password" if key == "password" else "key"


def near(word: str, known: Iterable[str]) -> str:
    """The known word most like another one, or ""."""
    return next(iter(difflib.get_close_matches(word, list(known), 1, 0.6)), "")


def _section(source: Source, path: toml_lines.Path, data: dict[str, Any], rows: tuple[Row, ...]) -> None:
    names = [row[0] for row in rows]
    for key in data:
        if key in names:
            continue
        where = (*path, key)
        if key in _BY_AUTH:
            raise source.wrong(
                where, "the broker's auth says which files a board has", "remove it; see auth of [[brokers]]"
            )
        like = near(key, names)
        fix = f"write {like}" if like else f"remove it; known here: {', '.join(names)}"
        raise source.wrong(where, "there is no such key", fix)
    for key, check, must in rows:
        if key not in data:
            continue
        value, where = data[key], (*path, key)
        if key in KEYS and not check(value):
            reason = f"a {word(key)} never stands in this file, which git keeps"
            raise source.wrong(where, reason, f"set {key} to {_BY_NAME}")
        if not check(value):
            reason = f"it is {show(toml_lines.dotted(where), value)}: it must be {must}"
            raise source.wrong(where, reason, f"set {key} to {must}")


def _header(path: toml_lines.Path) -> str:
    """A list of tables as TOML names it: devices.sensors."""
    return ".".join(part for part in path if isinstance(part, str))


def _items(
    source: Source, path: toml_lines.Path, items: list[Any], rows: tuple[Row, ...], needed: Iterable[str]
) -> None:
    for i, item in enumerate(items):
        where = (*path, i)
        if not isinstance(item, dict):
            raise source.wrong(where, "it must be a table", f"write [[{_header(path)}]], or {{ … }}")
        _section(source, where, item, rows)
        for key in needed:
            if key not in item:
                must = next(row[2] for row in rows if row[0] == key)
                raise source.wrong((*where, key), "it is missing and required", f"add {key}: {must}")


def _shared(source: Source, path: toml_lines.Path, data: dict[str, Any]) -> None:
    """What stands at the top for all devices, or in one device for it alone."""
    for name, rows in (*_BOARD_TABLES.items(), ("trust", _TRUST)):
        if name in data:
            _section(source, (*path, name), data[name], rows)
    for holder, name in ((data.get("wifi", {}), "networks"), (data, "sensors")):
        if name in holder:
            rows, needed = _LISTS[name]
            where = (*path, "wifi", name) if name == "networks" else (*path, name)
            _items(source, where, holder[name], rows, needed)
    for i, sensor in enumerate(_list(source, (*path, "ble", "sensors"), "ble.sensors", data.get("ble", {}))):
        _list(source, (*path, "ble", "sensors", i, "values"), "ble.sensors.values", sensor)


def _list(source: Source, path: toml_lines.Path, name: str, holder: dict[str, Any]) -> list[dict[str, Any]]:
    """A list of tables that a table holds, checked; [] where there is none."""
    items: list[dict[str, Any]] = holder.get(str(path[-1]), [])
    _items(source, path, items, *_LISTS[name])
    return items


def check(source: Source, data: dict[str, Any]) -> None:
    """Check what rootlet.toml holds, key by key, before devices are made of it. Raises Failure."""
    _section(source, (), data, _TOP)
    _section(source, ("project",), data.get("project", {}), _PROJECT)
    _section(source, ("defaults",), data.get("defaults", {}), _DEFAULTS)
    _shared(source, (), data)
    if "brokers" not in data:
        raise source.wrong(("brokers",), "it is missing and required", "add [[brokers]] with name and host")
    _items(source, ("brokers",), data["brokers"], _BROKER, ("name", "host"))
    for i, broker in enumerate(data["brokers"]):
        _broker(source, ("brokers", i), broker)
    _unique(source, ("brokers",), "name", data["brokers"])
    _items(source, ("devices",), data.get("devices", []), _DEVICE, ("id",))
    for i, device in enumerate(data.get("devices", [])):
        _shared(source, ("devices", i), device)
    _unique(source, ("devices",), "id", data.get("devices", []))
    _unique(source, ("devices",), "serial", data.get("devices", []))


def _broker(source: Source, path: toml_lines.Path, broker: dict[str, Any]) -> None:
    auth = broker.get("auth", "mtls")
    for key in ("user", "password"):
        if auth != "password" and key in broker:
            raise source.wrong((*path, key), f'auth is "{auth}", which has none', 'remove it, or auth = "password"')
    if auth == "password" and "password" not in broker:
        raise source.wrong((*path, "password"), 'it is missing, and auth is "password"', f"add password: {_BY_NAME}")
    if auth == "psk" and "pins" in broker:
        fix = "a connection by a shared key has no certificates: remove it"
        raise source.wrong((*path, "pins"), 'auth is "psk"', fix)


def _unique(source: Source, path: toml_lines.Path, key: str, items: list[dict[str, Any]]) -> None:
    seen: dict[str, int] = {}
    for i, item in enumerate(items):
        if key not in item:
            continue
        # Also the name of a folder, and some file systems take capitals for small letters.
        first = seen.setdefault(item[key].lower(), i)
        if first != i:
            line = source.line((*path, first, key))
            reason = f"{show(key, item[key])} is there already, in line {line}"
            raise source.wrong((*path, i, key), reason, f"another {key}; capitals and small letters count as the same")
