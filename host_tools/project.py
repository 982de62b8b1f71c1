"""The project: a folder with rootlet.toml, which says what every device is, and secrets.toml, which is never in git."""

import copy
import csv
import functools
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_tools import boards, project_ble, project_check, toml_lines
from host_tools.failure import Exit, Failure
from host_tools.project_check import Source, wrong
from host_tools.project_secrets import KEYS, Secret, Secrets, last, variable
from rootlet import config as board_config
from rootlet.errors import RootletError

FILE = "rootlet.toml"
DEFAULT_BOARD = "pico_w"
BOARD_CERT, BOARD_KEY, BOARD_PSK = "device.crt.der", "device.key.der", "device.psk"
_MOST_BYTES = 1 << 20
_MOST_ROWS = 100_000
_OWN_COLUMNS = ("id", "board", "serial", "broker")


@dataclass(frozen=True)
class Trust:
    """What a device verifies servers by; `public_roots`: "none", "all" or parts of root names."""

    own_ca: bool = True
    ca_files: tuple[str, ...] = ()
    public_roots: str | tuple[str, ...] = "none"
    deny: tuple[str, ...] = ()
    max_bytes: int | None = None


@dataclass(frozen=True)
class Device:
    """One device. `auth` is "mtls", "psk" or "password"; `serial` the USB serial number, or None."""

    id: str
    board: str
    serial: str | None
    auth: str
    trust: Trust
    _template: dict[str, Any] = field(repr=False)
    _secrets: Secrets = field(repr=False)

    @property
    def config(self) -> dict[str, Any]:
        """The whole board configuration, secrets in it. Raises Failure where one is absent or cannot be used."""
        filled: dict[str, Any] = _fill(self._template, self._value)
        try:
            board_config.check(filled)
        except RootletError as e:
            raise Failure(f"the configuration of {self.id} cannot be used", e.fact, e.fix, Exit.USAGE) from None
        return filled

    @property
    def host(self) -> str:
        """The broker's name or address, as it must stand in its certificate."""
        return str(self._template["mqtt"]["host"])

    @property
    def topic(self) -> str:
        """Where it publishes, with {device} and {sensor} still in it."""
        return str(self._template["mqtt"].get("topic", "rootlet/{device}/{sensor}"))

    @property
    def note(self) -> str | None:
        """What a person should know of its Bluetooth before it is in the field, or None."""
        ble = self._template.get("ble")
        return project_ble.note(_board(self.board), ble) if ble else None

    @property
    def discovery(self) -> str | None:
        """The prefix of Home Assistant's discovery topics, or None."""
        prefix = self._template.get("home_assistant")
        return None if prefix is None else str(prefix)

    @property
    def takes_updates(self) -> bool:
        """Whether it has the public key of remote updates."""
        return bool(self._template.get("update", {}).get("key"))

    def _value(self, secret: Secret) -> str:
        value, where = self._secrets.get(secret)
        tables = {"wifi": board_config._NETWORK, "ble": project_ble.SENSOR}
        rows = tables.get(secret.key.partition(".")[0], board_config._MQTT)
        check, must = next((row[1], row[3]) for row in rows if row[0] == last(secret.key))
        if not check(value):
            raise Failure(f"{where}: the secret {secret.name} cannot be used", f"{secret.key}: it must be {must}",
                          f"another value for {secret.name}", Exit.USAGE)  # fmt: skip
        return value


@dataclass(frozen=True)
class Project:
    """A project, checked; secrets are asked for by Device.config, not before."""

    folder: Path
    name: str
    devices: tuple[Device, ...]

    @property
    def ca_dir(self) -> Path:
        """Where the CA is."""
        return self.folder / "ca-data"

    def out(self, device_id: str) -> Path:
        """The folder of a provisioned device."""
        return self.folder / "build" / "devices" / device_id

    def device(self, device_id: str | None = None) -> Device:
        """A device by its id; for None the only one. Raises Failure (usage), with what to type."""
        ids = [device.id for device in self.devices]
        if device_id is None and len(ids) == 1:
            return self.devices[0]
        if not ids:
            raise Failure(f"{self.name} has no device", f"{self.folder / FILE} has no [[devices]]",
                          'add [[devices]] with id = "pico-1"', Exit.USAGE)  # fmt: skip
        if device_id is None:
            shown = ", ".join(ids[:10]) + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
            choices = "  or  ".join(f"the same command with {name}" for name in ids[:3])
            raise Failure(f"{self.name} has {len(ids)} devices", f"none was named; there are {shown}", choices,
                          Exit.USAGE)  # fmt: skip
        for device in self.devices:
            if device.id == device_id:
                return device
        like = f"the same command with {project_check.near(device_id, ids) or ids[0]}"
        there = f"{len(ids)} others" if len(ids) > 5 else ", ".join(ids)
        raise Failure(f"there is no device {device_id[:48]!r}", f"{self.name} has {there}", like, Exit.USAGE)


def find(start: Path | None = None) -> Path | None:
    """The folder with rootlet.toml: this one or the nearest above it; None where there is none."""
    here = (start or Path()).absolute()
    return next((folder for folder in (here, *here.parents) if (folder / FILE).is_file()), None)


def load(path: Path, *, fleet: Path | None = None, secret_cmd: str | None = None) -> Project:
    """Read and check a project. No secret is read yet.

    Args:
        path: the folder, or its rootlet.toml. fleet: a CSV file of more devices, in place of project.fleet.
        secret_cmd: a command that prints the secret whose name is its last argument.
    Raises: Failure, which names file, line, key, reason and fix.
    """
    file = path if path.name == FILE else path / FILE
    text = _read(file)
    try:
        data = tomllib.loads(text)
        source = Source(file, toml_lines.lines(text))
    except tomllib.TOMLDecodeError as error:
        raise _no_toml(file, text, error) from None
    except RecursionError:
        raise wrong(file, 1, "the file", "it is nested too deeply", "see docs/project.md") from None
    project_check.check(source, data)
    folder = file.parent
    secrets = Secrets(folder, secret_cmd)
    base = _base(data)
    devices = [_device(source, data, base, i, secrets) for i in range(len(data.get("devices", [])))]
    named = data.get("project", {}).get("fleet")
    if fleet is None and named is not None:
        fleet = folder / named
    if fleet is not None:
        devices += _Fleet(fleet, source, data, base, secrets).devices({device.id.lower() for device in devices})
    _variables(source, devices)
    name = data.get("project", {}).get("name") or folder.absolute().name
    return Project(folder, name, tuple(devices))


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Failure(f"cannot read {file}", error.strerror or "it cannot be opened", "rootlet new NAME",
                      Exit.USAGE) from None  # fmt: skip
    if len(data) > _MOST_BYTES:
        raise wrong(file, 1, "the file", f"it is larger than {_MOST_BYTES} bytes", "put devices into a CSV file: fleet")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise wrong(file, line, "the text", "it is not UTF-8", f"save {file.name} as UTF-8") from None


def _no_toml(file: Path, text: str, error: tomllib.TOMLDecodeError) -> Failure:
    """A syntax error. Someone may have put a password here, so that no more than the key is shown."""
    said = str(error)
    found = re.search(r"\(at line (\d+)", said)
    line = int(found[1]) if found else text.count("\n") + 1
    rows = text.split("\n")
    key = re.match(r"\s*([A-Za-z0-9_.-]+)\s*=", rows[line - 1]) if line <= len(rows) else None
    reason = "it is not TOML"
    for words in ("Cannot overwrite", "Cannot declare", "Unclosed", "Invalid value", "Expected", "Unescaped"):
        if said.startswith(words):
            reason += {"Cannot overwrite": ": it is given twice", "Cannot declare": ": the table is there twice",
                       "Invalid value": ": a text stands between quotes"}.get(words, "")  # fmt: skip
    return wrong(
        file, line, key[1] if key else "the text", reason, f"correct line {line} of {file.name}; https://toml.io"
    )


def _base(data: dict[str, Any]) -> dict[str, Any]:
    """What all devices share, still without a broker."""
    names = [row[0] for row in project_check.SHARED]
    return {name: data[name] for name in names if name in data}


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key; anything else, lists too, takes the place of the former."""
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict) and "secret" not in value
        out[key] = _merged(out[key], value) if both else value
    return out


def _secret_values(value: Any, device: str, path: toml_lines.Path = ()) -> Any:
    """A deep copy with Secret objects where the file names a secret; {device} in its name is the device id."""
    if isinstance(value, dict):
        if set(value) == {"secret"} and path and path[-1] in KEYS:
            return Secret(value["secret"].replace("{device}", device), toml_lines.dotted(path))
        return {key: _secret_values(item, device, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_secret_values(item, device, (*path, i)) for i, item in enumerate(value)]
    return copy.copy(value)


def _fill(value: Any, by: Any) -> Any:
    if isinstance(value, Secret):
        return by(value)
    if isinstance(value, dict):
        return {key: _fill(item, by) for key, item in value.items()}
    return [_fill(item, by) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class _Wish:
    """A device before it is checked: its own tables merged over the shared ones."""

    id: str
    board: str | None
    serial: str | None
    broker: str | None
    settings: dict[str, Any]


class _Bad(Exception):
    """What is wrong with a device: path in its settings, reason, fix."""

    def __init__(self, path: toml_lines.Path, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.path, self.reason, self.fix = path, reason, fix


def _made(data: dict[str, Any], wish: _Wish, secrets: Secrets) -> Device:
    """Check a device as the board will, and make it. Raises _Bad."""
    defaults = data.get("defaults", {})
    brokers = {broker["name"]: broker for broker in data["brokers"]}
    board = wish.board or defaults.get("board") or DEFAULT_BOARD
    if board not in _board_ids():
        like = project_check.near(board, _board_ids())
        fix = f"write {like}" if like else f"one of {', '.join(_board_ids())}"
        raise _Bad(("board",), f"there is no board {project_check.show('board', board)}", fix)
    chosen = wish.broker or defaults.get("broker") or data["brokers"][0]["name"]
    if chosen not in brokers:
        like = project_check.near(chosen, brokers)
        fix = f"write {like}" if like else f"one of {', '.join(brokers)}"
        raise _Bad(("broker",), f"there is no broker {project_check.show('broker', chosen)}", fix)
    broker = dict(brokers[chosen])
    broker.pop("name")
    auth = broker.pop("auth", "mtls")
    settings = dict(wish.settings)
    trust = _trust(settings.pop("trust", {}))
    mqtt = {**settings.get("mqtt", {}), **broker}
    if auth == "mtls":
        mqtt |= {"cert": BOARD_CERT, "key": BOARD_KEY}
    elif auth == "psk":
        mqtt = {"port": 8884, **mqtt, "psk": BOARD_PSK}
    else:
        mqtt.setdefault("user", wish.id)
    template = _secret_values({"device": wish.id, **settings, "mqtt": mqtt}, wish.id)
    try:
        board_config.check(_fill(template, lambda secret: KEYS[last(secret.key)]))
    except RootletError as e:
        path = toml_lines.undotted(e.fact.split(" ")[0])
        path = ("id",) if path == ("device",) else path
        raise _Bad(path, e.fact, e.fix) from None
    for i, sensor in enumerate(template.get("sensors", ())):
        _pin(board, sensor, ("sensors", i, "pin"))
    bad = project_ble.refused(_board(board), template["ble"]) if template.get("ble") else None
    if bad:
        raise _Bad(*bad)
    if (
        not trust.own_ca
        and not trust.ca_files
        and trust.public_roots == "none"
        and (auth != "psk" or "https" in template)
    ):
        raise _Bad(("trust",), "nothing is left to verify servers by", "own_ca = true, ca_files or public_roots")
    return Device(wish.id, board, wish.serial, auth, trust, template, secrets)


@functools.cache
def _board_ids() -> list[str]:
    return boards.ids()


@functools.cache
def _board(board_id: str) -> boards.Board:
    return boards.load(board_id)


def _pin(board: str, sensor: dict[str, Any], path: toml_lines.Path) -> None:
    pin, pins = sensor.get("pin"), _board(board)["pins"]
    if pin is not None and pin in pins["reserved"]:
        raise _Bad(path, f"GPIO {pin} of {board} is used by the board itself", f"none of {pins['reserved']}")
    if sensor["kind"] == "adc" and pins["adc"] and pin not in pins["adc"]:
        raise _Bad(path, f"GPIO {pin} of {board} has no analogue input", f"one of {pins['adc']}")


def _trust(table: dict[str, Any]) -> Trust:
    listed: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return Trust(**listed)


def _device(source: Source, data: dict[str, Any], base: dict[str, Any], i: int, secrets: Secrets) -> Device:
    table = data["devices"][i]
    own = {key: value for key, value in table.items() if key not in _OWN_COLUMNS}
    wish = _Wish(table["id"], table.get("board"), table.get("serial"), table.get("broker"), _merged(base, own))
    try:
        return _made(data, wish, secrets)
    except _Bad as bad:
        raise _placed(source, data, bad, i, wish) from None


def _placed(source: Source, data: dict[str, Any], bad: _Bad, i: int | None, wish: _Wish) -> Failure:
    """The error at the line where the key is given: in the device, in its broker, in what all share, in defaults."""
    places: list[toml_lines.Path] = [] if i is None else [("devices", i, *bad.path)]
    if bad.path[:1] == ("mqtt",):
        wanted = wish.broker or data.get("defaults", {}).get("broker")
        number = next((n for n, broker in enumerate(data["brokers"]) if broker["name"] == wanted), 0)
        places.append(("brokers", number, *bad.path[1:]))
    places += [bad.path, ("defaults", *bad.path)]
    exact = [path for path in places if path in source.lines]
    # A key that is missing has no line: then the table that it belongs into.
    partial = [path for path in places if path[:-1] and path[:-1] in source.lines]
    path = next(iter(exact or partial or places))
    reason = bad.reason if i is None else f"{wish.id}: {bad.reason}"
    return source.wrong(path, reason, bad.fix)


def _variables(source: Source, devices: list[Device]) -> None:
    """Two secrets in one environment variable would be one secret."""
    seen: dict[str, Secret] = {}
    for device in devices:
        for secret in _named(device._template):
            first = seen.setdefault(variable(secret.name), secret)
            if first.name != secret.name:
                reason = f"the secrets {first.name} and {secret.name} have one environment variable"
                raise source.wrong((), reason, "another name for one of them")


def _named(value: Any) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _named(item)


@dataclass(frozen=True)
class _Fleet:
    """A CSV file of devices: id, board, serial, broker, and any key of the project file as a column."""

    file: Path
    source: Source
    data: dict[str, Any]
    base: dict[str, Any]
    secrets: Secrets

    def devices(self, taken: set[str]) -> list[Device]:
        out: list[Device] = []
        lines: dict[str, int] = {}
        serials: dict[str, int] = {}
        try:
            with self.file.open(encoding="utf-8-sig", newline="") as stream:
                rows = csv.reader(stream, strict=True)
                columns = self._columns([cell.strip() for cell in next(rows, [])])
                for row in rows:
                    if not any(row):
                        continue
                    line = rows.line_num
                    cells = {name: cell.strip() for name, cell in zip(columns, row, strict=False) if cell.strip()}
                    if len(row) != len(columns):
                        raise self._wrong(line, "the row", f"it has {len(row)} cells, the first line {len(columns)}",
                                          "as many commas as in the first line")  # fmt: skip
                    device = self._made(line, cells)
                    low = device.id.lower()
                    if low in taken or low in lines:
                        where = f"line {lines[low]}" if low in lines else self.source.file.name
                        raise self._wrong(line, "id", f"{device.id} is there already, in {where}", "another id")
                    if device.serial and serials.setdefault(device.serial.lower(), line) != line:
                        reason = f"it is there already, in line {serials[device.serial.lower()]}"
                        raise self._wrong(line, "serial", reason, "the serial number of this board")
                    lines[low] = line
                    out.append(device)
                    if len(out) > _MOST_ROWS:
                        raise self._wrong(line, "the file", f"more than {_MOST_ROWS} devices", "two projects")
        except OSError as error:
            raise Failure(f"cannot read {self.file}", error.strerror or "it cannot be opened",
                          f"ls -l {shlex.quote(str(self.file))}", Exit.USAGE) from None  # fmt: skip
        except UnicodeDecodeError:
            raise self._wrong(1, "the text", "it is not UTF-8", f"save {self.file.name} as UTF-8") from None
        except csv.Error as error:
            raise self._wrong(rows.line_num, "the row", f"it is not CSV: {error}", "quotes round a comma") from None
        return out

    def _wrong(self, line: int, key: str, reason: str, fix: str) -> Failure:
        return wrong(self.file, line, key, reason, fix)

    def _columns(self, names: list[str]) -> list[str]:
        known = (*_OWN_COLUMNS, *(row[0] for row in project_check.SHARED))
        for i, name in enumerate(names):
            path = toml_lines.undotted(name)
            if name in names[:i]:
                raise self._wrong(1, name, "two columns have this name", "remove one of them")
            key = next((str(step) for step in path if step in KEYS), None)
            if key:
                word, like = project_check.word(key), {"password": "wifi"}.get(key, key)
                raise self._wrong(1, name, f"a {word} never stands in this file",
                                  f'in rootlet.toml: {key} = {{ secret = "{like}-{{device}}" }}')  # fmt: skip
            if not path or path[0] not in known or (len(path) == 1 and name not in _OWN_COLUMNS) or path[0] == "trust":
                like = project_check.near(name, known)
                fix = (
                    f"write {like}" if like and like != name else "id, board, serial, broker, or such as wifi.hostname"
                )
                raise self._wrong(1, project_check.show("", name), "there is no such column", fix)
        if "id" not in names:
            raise self._wrong(1, "id", "the column is missing", "a first line such as: id,board,serial")
        return names

    def _made(self, line: int, cells: dict[str, str]) -> Device:
        if not project_check.is_device(cells.get("id")):
            shown = project_check.show("id", cells.get("id", ""))
            reason = f"it is {shown}: it must be {project_check.MUST_DEVICE}"
            raise self._wrong(line, "id", reason, "such as gw-0001")
        settings = self.base
        for name, cell in cells.items():
            if name not in _OWN_COLUMNS:
                if settings is self.base:
                    settings = copy.deepcopy(self.base)
                self._put(line, settings, name, cell)
        wish = _Wish(cells["id"], cells.get("board"), cells.get("serial"), cells.get("broker"), settings)
        try:
            return _made(self.data, wish, self.secrets)
        except _Bad as bad:
            name = toml_lines.dotted(bad.path)
            if name in cells:
                raise self._wrong(line, name, bad.reason, bad.fix) from None
            if (self.source.lines.keys()) & {bad.path, ("defaults", *bad.path)} or bad.path[:1] == ("mqtt",):
                raise _placed(self.source, self.data, bad, None, wish) from None
            raise self._wrong(line, name or wish.id, bad.reason, bad.fix) from None

    def _put(self, line: int, settings: dict[str, Any], name: str, cell: str) -> None:
        """Set one key; a cell is taken for a number only where the key takes no text."""
        path = toml_lines.undotted(name)
        at: Any = settings
        for step in path[:-1]:
            if isinstance(step, str) and isinstance(at, dict):
                at = at.setdefault(step, {})
            elif isinstance(step, int) and isinstance(at, list) and step < len(at):
                at = at[step]
            else:
                raise self._wrong(line, name, f"{self.source.file.name} has nothing there", "add it there first")
        if not isinstance(at, dict) or not isinstance(path[-1], str):
            raise self._wrong(line, name, f"{self.source.file.name} has no such table", "add it there first")
        at[path[-1]] = _typed(path, cell)


def _typed(path: toml_lines.Path, cell: str) -> Any:
    tables = {"wifi": board_config._NETWORK if "networks" in path else board_config._WIFI, "clock": board_config._CLOCK,
              "https": board_config._HTTPS, "mqtt": board_config._MQTT, "outbox": board_config._OUTBOX,
              "sensors": board_config._SENSOR, "update": board_config._UPDATE,
              "ble": project_ble.rows(path)}  # fmt: skip
    check = next((row[1] for row in tables.get(str(path[0]), ()) if row[0] == path[-1]), None)
    for kind in (str, int, float):
        try:
            if check is not None and check(kind(cell)):
                return kind(cell)
        except ValueError:
            continue
    return cell
