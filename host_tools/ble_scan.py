"""What a BLE scan has heard: read, recognised by the firmware's own decoders, and told as a table, as JSON, as TOML.

Names and payloads come from strangers: all of it is bounded, and escaped where it is shown.
"""

import importlib
import math
import re
import struct
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_tools import deploy
from host_tools.certinfo import printable
from host_tools.failure import Exit, Failure
from host_tools.find_board import Found

MOST = 64  # addresses
_PAYLOADS = 12  # of one address
_LONGEST = 512 * 1024  # of what a board may say
_SPARE_S = 30.0  # to stop the board's program, send the script and restart
_EXPLORE_S = 90.0
_SHOWN = 48  # characters of a name or a text value
_SCRIPT = Path(__file__).parent / "on_board" / "scanning.py"
_CONNECTABLE = (0, 1)  # ADV_IND, ADV_DIRECT_IND
_UUIDS = {0x02: 2, 0x03: 2, 0x04: 4, 0x05: 4, 0x06: 16, 0x07: 16}  # AD types of lists of services, bytes of each
_SERVICE_DATA = {0x16: 2, 0x20: 4, 0x21: 16}
_MANUFACTURER = 0xFF
_BASE = "-0000-1000-8000-00805f9b34fb"
_NUMBERS = {1: "<B", 2: "<h", 4: "<i", 8: "<q"}
_KEYED = ("bthome", "atc")

ADDRESS = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
Value = tuple[str, Any, str | None]


@dataclass
class Heard:
    """One address. `kind`: "public", "static", "resolvable", "private" (random, not resolvable), "random", "system"
    (an identifier that the operating system made up). `rssi`: dBm, the last. `payloads`: AD structures, in order."""

    address: str
    kind: str
    rssi: int
    count: int = 0
    connectable: bool = False
    payloads: list[bytes] = field(default_factory=list)

    @property
    def raw_address(self) -> bytes:
        """6 bytes, most significant first; zeros where the address is not known."""
        return bytes.fromhex(self.address.replace(":", "")) if ADDRESS.fullmatch(self.address) else bytes(6)


@dataclass
class Scan:
    """A scan. `lost`: advertisements that found no room; `over`: those of addresses beyond MOST."""

    heard: list[Heard] = field(default_factory=list)
    lost: int = 0
    over: int = 0


@dataclass
class Device:
    """What a sender was recognised as. `format`: None if unknown. `key`: "", "needed", "wrong", "replay" or "right".

    `sensor`: a name for it. `values`: (quantity, value, unit). `services`: of format gatt. `raw`: (source, data).
    `local_name`: as heard, or None; `name_usable`: whether a sensor may be known by it.
    """

    heard: Heard
    local_name: str | None
    name_usable: bool
    format: str | None = None
    key: str = ""
    sensor: str = ""
    values: list[Value] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    raw: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass
class Characteristic:
    """`uuid`: short hexadecimal form where there is one. `value`: None if not read; `status`: ATT's, if refused."""

    service: str
    uuid: str
    properties: int
    value: bytes | None = None
    size: int = 0
    status: int = 0


# On the board


def scan(found: Found, seconds: float, active: bool) -> Scan:
    """Let a board hear. Its program is stopped for it, and restarted. Raises Failure."""
    return read_scan(_run(found.port, f"scan({seconds!r}, {bool(active)!r})", seconds + _SPARE_S))


def explore(found: Found, address: str, seconds: float) -> list[Characteristic]:
    """Let a board connect to a peripheral, list what it has, and read it. Raises Failure."""
    raw = address_of(address).replace(":", "")
    said = _run(found.port, f"explore({raw!r}, {seconds!r})", seconds + _EXPLORE_S + _SPARE_S)
    return read_characteristics(said, address)


def _run(port: str, call: str, timeout_s: float) -> list[list[str]]:
    script = f"{_SCRIPT.read_text()}\n{call}\n"
    try:
        said = deploy._mpremote(port, "exec", script, "+", "reset", timeout_s=timeout_s)
    except BaseException as error:  # a person may break it off: the board's program must go on all the same
        if not (isinstance(error, Failure) and ("busy" in error.what or "no board" in error.what)):
            from host_tools.ask_board import _restart

            _restart(port)
        raise
    rows = [line.split(" ")[1:] for line in said[:_LONGEST].splitlines() if line.startswith("rootlet-ble ")]
    for row in rows:
        if row[:2] == ["fault", "radio"]:
            raise Failure(f"the board on {port} has no Bluetooth that works", printable(" ".join(row[2:]))[:100],
                          "firmware for a board with Bluetooth: rootlet boards --known")  # fmt: skip
    if not any(row[:1] in (["end"], ["fault"]) for row in rows):
        raise Failure(f"the scan of {port} cannot be used", "its end is missing", "the same command again")
    return rows


def address_of(text: str) -> str:
    """An address as this module writes it. Raises Failure."""
    low = text.strip().lower().replace("-", ":")
    if not ADDRESS.fullmatch(low):
        raise Failure(f"{printable(text)[:60]} is no Bluetooth address", "it is six pairs of hexadecimal digits",
                      "such as a4:c1:38:12:34:56, as `rootlet ble scan` shows it", Exit.USAGE)  # fmt: skip
    return low


def kind_of(kind: int, address: bytes) -> str:
    """What an address is (Bluetooth Core Specification, volume 6, part B, section 1.3). kind: 0 public, else random."""
    if not kind:
        return "public"
    return {3: "static", 1: "resolvable", 0: "private"}.get(address[0] >> 6, "random")


def read_scan(rows: list[list[str]]) -> Scan:
    """What the board told; lines that are not as they should be are passed over."""
    found: dict[tuple[int, str], Heard] = {}
    told = Scan()
    for row in rows:
        try:
            if row[0] == "heard" and len(row) == 7:
                kind, raw, form, rssi, size = int(row[1]), bytes.fromhex(row[2]), int(row[3]), int(row[4]), int(row[5])
                payload = b"" if row[6] == "-" else bytes.fromhex(row[6])
                if len(raw) != 6 or (len(found) >= MOST and (kind, row[2]) not in found):
                    continue
                one = found.setdefault((kind, row[2]), Heard(raw.hex(":"), kind_of(kind, raw), rssi))
                one.rssi = rssi
                one.count = max(one.count, len(one.payloads) + 1)
                one.connectable = one.connectable or form in _CONNECTABLE
                if len(one.payloads) < _PAYLOADS and size >= len(payload):
                    one.payloads.append(payload)
            elif row[0] == "count" and len(row) == 5 and (int(row[1]), row[2]) in found:
                one = found[int(row[1]), row[2]]
                one.count, one.rssi = int(row[3]), int(row[4])
            elif row[0] == "end" and len(row) == 3:
                told.lost, told.over = int(row[1]), int(row[2])
        except (ValueError, IndexError):
            continue
    told.heard = list(found.values())
    return told


def read_characteristics(rows: list[list[str]], address: str) -> list[Characteristic]:
    """What the board found at a peripheral. Raises Failure."""
    out: list[Characteristic] = []
    by_handle: dict[int, Characteristic] = {}
    service = ""
    for row in rows:
        try:
            if row[0] == "fault":
                raise _fault(row, address)
            if row[0] == "service":
                service = uuid_of(row[1])
            elif row[0] == "characteristic" and len(out) < MOST:
                out.append(Characteristic(service, uuid_of(row[1]), int(row[3])))
                by_handle[int(row[2])] = out[-1]
            elif row[0] == "value" and int(row[1]) in by_handle:
                one = by_handle[int(row[1])]
                one.value, one.size = b"" if row[3] == "-" else bytes.fromhex(row[3]), int(row[2])
            elif row[0] == "unread" and int(row[1]) in by_handle:
                by_handle[int(row[1])].status = int(row[2])
        except (ValueError, IndexError):
            continue
    return out


def _fault(row: list[str], address: str) -> Failure:
    what = row[1] if len(row) > 1 else ""
    if what == "absent":
        return Failure(f"{address} was not heard", "it does not advertise now, or its address has changed",
                       "rootlet ble scan --all   (and wake the sensor up)")  # fmt: skip
    if what == "connect":
        return Failure(f"no connection to {address}", "it was heard, but did not answer",
                       "end other connections to it (a phone), go nearer and repeat")  # fmt: skip
    because = printable(" ".join(row[2:]))[:100] or "it ended"
    return Failure(f"{address} could not be explored", because, "go nearer and repeat")


def uuid_of(text: str) -> str:
    """A UUID as the configuration writes it: 4 hexadecimal digits, or the long form with dashes. Raises ValueError."""
    digits = text.replace("-", "").lower()
    bytes.fromhex(digits)
    if len(digits) == 4:
        return digits
    if len(digits) == 8:
        long = digits + _BASE
    elif len(digits) == 32:
        long = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    else:
        raise ValueError("no UUID")
    return long[4:8] if long.startswith("0000") and long.endswith(_BASE) else long


# Recognised


def _cryptolib() -> None:
    """MicroPython's `cryptolib`, as far as the decoders use it: AES in ECB mode."""
    if "cryptolib" in sys.modules:
        return
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    class Aes:
        def __init__(self, key: bytes, mode: int) -> None:
            self._cipher = Cipher(algorithms.AES(bytes(key)), modes.ECB())  # noqa: S305

        def encrypt(self, data: bytes, out: Any = None) -> Any:
            done = self._cipher.encryptor().update(bytes(data))
            if out is None:
                return done
            out[: len(done)] = done
            return out

    module = types.ModuleType("cryptolib")
    module.aes = Aes  # type: ignore[attr-defined]
    sys.modules["cryptolib"] = module


def _fields(payload: bytes) -> Iterator[tuple[int, bytes]]:
    from rootlet import ble_adverts

    for kind, data in ble_adverts.fields(payload):
        yield int(kind), bytes(data)


def _uuid_le(data: bytes) -> str:
    return uuid_of(data[::-1].hex())


def _raw(heard: Heard) -> list[tuple[str, bytes]]:
    """Manufacturer's and service data, by the source that a mapped value would have; the last of each."""
    out: dict[str, bytes] = {}
    for payload in heard.payloads:
        for kind, data in _fields(payload):
            size = _SERVICE_DATA.get(kind, 0)
            if kind == _MANUFACTURER and len(data) >= 2:
                out[f"manufacturer:{data[:2][::-1].hex()}"] = data[2:]
            elif size and len(data) >= size:
                out["service:" + _uuid_le(data[:size])] = data[size:]
    return list(out.items())[:8]


def _advertised(heard: Heard) -> set[str]:
    found = set()
    for payload in heard.payloads:
        for kind, data in _fields(payload):
            size = _UUIDS.get(kind)
            if size:
                found |= {_uuid_le(data[i : i + size]) for i in range(0, len(data) - size + 1, size)}
    return found


def _name(heard: Heard) -> tuple[str | None, bool]:
    """The local name, and whether the firmware may know a sensor by it."""
    from rootlet import ble_adverts, config_ble

    best = b""
    for payload in heard.payloads:
        name = ble_adverts.local_name(payload)
        if name and len(name) >= len(best):
            best = bytes(name)
    if not best:
        return None, False
    try:
        text = best.decode()
    except UnicodeDecodeError:
        return best.decode(errors="replace"), False
    return text, text.isprintable() and bool(config_ble._name(text))


def _decode(heard: Heard, name: str, key: bytes | None) -> tuple[bool, str, list[Value]]:
    """(whether it is this format, what its key is, values)."""
    from rootlet import ble_adverts, ble_formats
    from rootlet.errors import RootletError

    ad_type, ident = ble_formats.ADVERTS[name]
    values: dict[str, Value] = {}
    state: dict[str, Any] = {}
    fits, keyed = False, ""
    for payload in heard.payloads:
        data = ble_adverts.find(payload, ad_type, ident)
        if data is None:
            continue
        if key is not None:
            _cryptolib()
        try:
            rows = importlib.import_module(f"rootlet.decode_{name}").decode(data, heard.raw_address, key, state)
        except RootletError as e:
            if e.code == "BLE_KEY":
                fits, keyed = True, keyed or ("wrong" if key else "needed")
            continue
        fits = True
        keyed = "right" if key else keyed
        values |= {str(row[0]): _value(row) for row in rows}
    if keyed == "right" and not values:
        keyed = ""
    return fits, keyed, list(values.values())[:32]


def _value(row: Any) -> Value:
    quantity, value, unit = row
    if isinstance(value, float) and not math.isfinite(value):
        value = None
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value).hex()
    return str(quantity), value, None if unit is None else str(unit)


def recognise(heard: Heard, keys: Mapping[str, bytes] | None = None) -> Device:
    """What a sender is. keys: bindkeys (16 bytes) by address."""
    from rootlet import ble_formats

    name, usable = _name(heard)
    device = Device(heard, name, usable, raw=_raw(heard))
    for format_ in ble_formats.ADVERTS:
        key = (keys or {}).get(heard.address) if format_ in _KEYED else None
        fits, keyed, values = _decode(heard, format_, key)
        if fits:
            device.format, device.key, device.values = format_, keyed, values
            return device
    if heard.connectable:
        there = _advertised(heard)
        device.services = [service for service, row in ble_formats.GATT.items() if f"{row[0]:04x}" in there]
        device.format = "gatt" if device.services else None
    return device


def recognise_all(told: Scan, keys: Mapping[str, bytes] | None = None) -> list[Device]:
    """All senders, the known ones first, then the nearest; each has a name of its own."""
    devices = [recognise(one, keys) for one in told.heard]
    devices.sort(key=lambda device: (device.format is None, -device.heard.rssi, device.heard.address))
    used: set[str] = set()
    for device in devices:
        device.sensor = suggestion(device, used)
        used.add(device.sensor)
    return devices


def suggestion(device: Device, used: set[str]) -> str:
    """A sensor's name: small letters, digits and dashes, at most 28; none of `used`."""
    tail = re.sub(r"[^0-9a-f]", "", device.heard.address.lower())[-4:]
    base = re.sub(r"[^a-z0-9]+", "-", (device.local_name or "").lower()).strip("-")[:24].strip("-")
    if not base:
        base = f"{device.format or 'unknown'}-{tail}"
    name, number = base, 2
    if name in used and not name.endswith(tail):
        name = base = f"{base[:20]}-{tail}"
    while name in used:
        name = f"{base}-{number}"
        number += 1
    return name


# Told


def _short(text: object, most: int = _SHOWN) -> str:
    shown = printable(str(text))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def in_words(values: list[Value]) -> str:
    """Values as a person reads them."""
    return ", ".join(
        f"{_short(name)} {_short(value)}{' ' + _short(unit) if unit else ''}" for name, value, unit in values
    )


def topic(device: Device) -> str:
    """Where the gateway would publish it."""
    return f"rootlet/{{device}}/{device.sensor}"


_KEY_WORDS = {
    "needed": "encrypted: its bindkey is needed",
    "wrong": "the bindkey does not fit",
    "right": "decrypted",
}


def table(devices: list[Device]) -> list[str]:
    """Lines for a person: a row each, then what it would publish and where."""
    head = ("ADDRESS", "KIND", "RSSI", "HEARD", "FORMAT", "NAME")
    rows = [
        (device.heard.address, device.heard.kind, str(device.heard.rssi), str(device.heard.count),
         device.format or "unknown", _short(device.local_name) if device.local_name else "-")
        for device in devices
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    lines = [line(head)]
    for device, row in zip(devices, rows, strict=True):
        lines.append(line(row))
        said = [_KEY_WORDS[device.key]] if device.key in _KEY_WORDS else []
        if device.values:
            said.append(in_words(device.values))
        if device.format == "gatt":
            said.append(f"services {', '.join(device.services)}; rootlet ble scan --connect {device.heard.address}")
        if device.format:
            lines += [f"    {part}" for part in said] + [f"    topic {topic(device)}"]
        else:
            lines += [f"    {source} = {data.hex() or '(empty)'}" for source, data in device.raw]
            lines += [] if device.raw else ["    no manufacturer's and no service data"]
    return lines


def as_json(told: Scan, devices: list[Device]) -> dict[str, Any]:
    """All of it, for machines."""
    rows = [
        {
            "address": device.heard.address,
            "kind": device.heard.kind,
            "rssi": device.heard.rssi,
            "heard": device.heard.count,
            "connectable": device.heard.connectable,
            "name": None if device.local_name is None else device.local_name.encode(errors="replace").decode(),
            "format": device.format,
            "key": device.key or None,
            "sensor": device.sensor,
            "topic": topic(device),
            "services": device.services,
            "values": [{"quantity": name, "value": value, "unit": unit} for name, value, unit in device.values],
            "raw": [{"source": source, "data": data.hex()} for source, data in device.raw],
        }
        for device in devices
    ]
    return {"devices": rows, "lost": told.lost, "beyond": told.over, "toml": toml(devices)}


# As TOML


def quoted(text: str) -> str:
    """A TOML basic string; what does not print is escaped, and what TOML cannot hold is replaced."""
    out = ""
    for c in text:
        if c in '"\\':
            out += "\\" + c
        elif c.isprintable():
            out += c
        elif 0xD800 <= ord(c) < 0xE000:
            out += "\N{REPLACEMENT CHARACTER}"
        else:
            out += f"\\U{ord(c):08X}" if ord(c) > 0xFFFF else f"\\u{ord(c):04X}"
    return f'"{out}"'


_CHANGES = "its address changes"


def _who(device: Device) -> list[str]:
    """The line that says which sensor it is."""
    heard = device.heard
    if heard.kind in ("resolvable", "private", "system"):
        if device.name_usable and device.local_name:
            why = "the address is not the sensor's own" if heard.kind == "system" else _CHANGES
            return [f"# {why}: known by its name", f"local_name = {quoted(device.local_name)}"]
        if heard.kind == "resolvable":
            note = f"# {_CHANGES}: the identity resolving key goes into secrets.toml: {device.sensor}-irk"
            return [note, f'irk = {{ secret = "{device.sensor}-irk" }}']
        if heard.kind == "system":
            note = "# the system hides the address: take it from the sensor's label, or scan with a board"
            return [note, 'address = "00:00:00:00:00:00"']
        return [
            f"# {_CHANGES}, and it tells no name: this will not be found for long",
            f"address = {quoted(heard.address)}",
        ]
    return [f"address = {quoted(heard.address)}"]


def _value_row(source: str, data: bytes, quantity: str) -> str:
    format_ = _NUMBERS.get(len(data)) or ("<h" if len(data) > 1 else "<B")
    return f'  {{ quantity = "{quantity}", source = "{source}", format = "{format_}", offset = 0, scale = 1 }},'


def section(device: Device) -> str:
    """The [[ble.sensors]] section of one device; "" where nothing can be said of it."""
    if device.format is None and not device.raw:
        return ""
    lines = ["[[ble.sensors]]", f"name = {quoted(device.sensor)}", f'format = "{device.format or "mapped"}"']
    lines += _who(device)
    if device.key:
        lines.append(
            f"# encrypted: its bindkey, 32 hexadecimal digits, goes into secrets.toml: {device.sensor}-bindkey"
        )
        lines.append(f'bindkey = {{ secret = "{device.sensor}-bindkey" }}')
    if device.format == "gatt":
        lines.append(f"services = [{', '.join(quoted(name) for name in device.services)}]")
    if device.format is None:
        lines.append("# unknown: say what the bytes mean; quantity, format, offset, scale, add, unit")
        lines.append("values = [")
        for i, (source, data) in enumerate(device.raw):
            lines.append(f"  # {source} = {data.hex()}")
            lines.append(_value_row(source, data, f"value-{i + 1}"))
        lines.append("]")
    return "\n".join(lines) + "\n"


def toml(devices: list[Device]) -> str:
    """Sections for rootlet.toml, below its [ble]."""
    return "\n".join(filter(None, (section(device) for device in devices)))


# Explored

_PROPERTIES = ((0x02, "read"), (0x04, "write"), (0x08, "write"), (0x10, "notify"), (0x20, "indicate"))
_SERVICE_NAMES = {
    "1800": "generic access", "1801": "generic attribute", "180a": "device information", "180f": "battery",
    "181a": "environmental", "180d": "heart_rate", "1815": "automation_io",
}  # fmt: skip
_NOT_READINGS = ("1800", "1801", "180a")
_ATT = {2: "reading is not permitted", 5: "it wants pairing", 8: "it wants authorisation", 15: "it wants encryption"}


def gatt_values(one: Characteristic) -> list[Value] | None:
    """A characteristic's values by the firmware's decoders; None where none knows it."""
    from rootlet import ble_formats
    from rootlet.errors import RootletError

    if one.value is None or len(one.uuid) != 4:
        return None
    number = int(one.uuid, 16)
    for service, decoder, characteristics in ble_formats.GATT.values():
        if number in characteristics and one.service == f"{service:04x}":
            try:
                rows = importlib.import_module(f"rootlet.decode_{decoder}").decode(number, one.value)
            except RootletError:
                return None
            return [_value(row) for row in rows][:32]
    return None


def _text_of(data: bytes) -> str | None:
    try:
        text = data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None
    return text if len(text) > 2 and text.isprintable() else None


def properties(one: Characteristic) -> list[str]:
    """What may be done with a characteristic."""
    return list(dict.fromkeys(word for bit, word in _PROPERTIES if one.properties & bit))


def gatt_table(found: list[Characteristic]) -> list[str]:
    """Lines for a person."""
    lines: list[str] = []
    service = None
    for one in found:
        if one.service != service:
            service = one.service
            name = _SERVICE_NAMES.get(service)
            lines.append(f"service {service}{f' ({name})' if name else ''}")
        words = f"  characteristic {one.uuid}  {', '.join(properties(one)) or '-'}"
        values = gatt_values(one)
        if one.status:
            words += f"  not read: {_ATT.get(one.status, f'ATT error {one.status}')}"
        elif one.value is not None:
            text = _text_of(one.value)
            more = f" … ({one.size} bytes)" if one.size > len(one.value) else ""
            words += f"  {one.value.hex() or '(empty)'}{more}" + (f"  {quoted(_short(text))}" if text else "")
            words += f"  = {in_words(values)}" if values else ""
        lines.append(words)
    return lines


def gatt_json(address: str, found: list[Characteristic]) -> dict[str, Any]:
    """All of it, for machines."""
    rows = [
        {
            "service": one.service,
            "characteristic": one.uuid,
            "properties": properties(one),
            "value": None if one.value is None else one.value.hex(),
            "size": one.size,
            "status": one.status,
            "values": [{"quantity": q, "value": v, "unit": u} for q, v, u in gatt_values(one) or []],
        }
        for one in found
    ]
    return {"address": address, "characteristics": rows, "toml": gatt_toml(address, found)}


def gatt_toml(address: str, found: list[Characteristic]) -> str:
    """The section of an explored peripheral, with a skeleton for what no decoder knows."""
    from rootlet import ble_formats

    there = {one.service for one in found}
    services = [name for name, row in ble_formats.GATT.items() if f"{row[0]:04x}" in there]
    rows: list[str] = []
    seen: set[str] = set()
    for one in found:
        known = gatt_values(one) is not None or _by_decoder(one)
        useless = one.service in _NOT_READINGS or not one.properties & 0x32 or (one.value and _text_of(one.value))
        if known or useless or one.uuid in seen or len(seen) >= 8:
            continue
        seen.add(one.uuid)
        if one.value:
            rows.append(f"  # {one.uuid} = {one.value.hex()}")
        rows.append(_value_row(f"characteristic:{one.uuid}", one.value or b"\0\0", f"value-{len(seen)}"))
    raw = re.sub(r"[^0-9a-f]", "", address.lower())[-4:]
    lines = ["[[ble.sensors]]", f'name = "gatt-{raw}"', 'format = "gatt"', f"address = {quoted(address)}"]
    if services:
        lines.append(f"services = [{', '.join(quoted(name) for name in services)}]")
    if rows:
        lines += [
            "# unknown: say what the bytes mean; quantity, format, offset, scale, add, unit",
            "values = [",
            *rows,
            "]",
        ]
    return "\n".join(lines) + "\n"


def _by_decoder(one: Characteristic) -> bool:
    """Whether the firmware has a decoder for a characteristic, read or not."""
    from rootlet import ble_formats

    return len(one.uuid) == 4 and any(
        one.service == f"{row[0]:04x}" and int(one.uuid, 16) in row[2] for row in ble_formats.GATT.values()
    )


def structures(fields: list[tuple[int, bytes]]) -> list[bytes]:
    """Payloads out of AD structures that a system has taken apart; one too long for its length byte is left out."""
    return [struct.pack("BB", len(data) + 1, kind) + data for kind, data in fields if len(data) < 255]


def hints(told: Scan, devices: list[Device], *, everything: bool, active: bool) -> list[str]:
    """What may help where less was heard than wished for."""
    out = []
    unknown = sum(device.format is None for device in devices)
    if not devices:
        out.append(
            "nothing was heard; sensors that sleep are rare: wake them, go nearer, or listen longer: --seconds 60"
        )
    elif unknown and not everything:
        out.append(f"{unknown} senders of unknown formats: --all shows them")
    if devices and not active and any(device.local_name is None for device in devices):
        out.append("some told no name: --active asks for it")
    if told.lost or told.over:
        out.append(
            f"the air is full: {told.lost} advertisements were lost, {told.over} came from beyond {MOST} addresses"
        )
    return out
