"""Recognises who sent advertisements, by the firmware's own decoders, and suggests a name for each."""

import importlib
import importlib.util
import math
import re
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from host_tools.ble_scan import Device, Heard, Scan, Value, uuid_of

_UUIDS = {0x02: 2, 0x03: 2, 0x04: 4, 0x05: 4, 0x06: 16, 0x07: 16}  # AD types of lists of services, bytes of each
_SERVICE_DATA = {0x16: 2, 0x20: 4, 0x21: 16}
_MANUFACTURER = 0xFF
_KEYED = ("bthome", "atc")
_VALUES = 32  # of one sender


class _Aes:
    """MicroPython's `cryptolib.aes`, as far as the decoders use it: encryption in ECB mode."""

    def __init__(self, key: bytes, mode: int) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        self._encryptor = Cipher(algorithms.AES(bytes(key)), modes.ECB()).encryptor()  # noqa: S305

    def encrypt(self, data: bytes, out: Any = None) -> Any:
        done = self._encryptor.update(bytes(data))
        if out is None:
            return done
        out[: len(done)] = done
        return out


def firmware(name: str) -> Any:
    """A module of the firmware; what only MicroPython has, it finds here."""
    if "cryptolib" not in sys.modules and importlib.util.find_spec("cryptolib") is None:
        module = types.ModuleType("cryptolib")
        module.aes = _Aes  # type: ignore[attr-defined]
        sys.modules["cryptolib"] = module
    return importlib.import_module(f"rootlet.{name}")


def fields(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """The AD structures of a payload, up to the first that is malformed."""
    for kind, data in firmware("ble_adverts").fields(payload):
        yield int(kind), bytes(data)


def _uuid_le(data: bytes) -> str:
    return uuid_of(data[::-1].hex())


def _raw(heard: Heard) -> list[tuple[str, bytes]]:
    """Manufacturer's and service data, by the source that a mapped value would have; the last of each."""
    out: dict[str, bytes] = {}
    for payload in heard.payloads:
        for kind, data in fields(payload):
            size = _SERVICE_DATA.get(kind, 0)
            if kind == _MANUFACTURER and len(data) >= 2:
                out[f"manufacturer:{data[:2][::-1].hex()}"] = data[2:]
            elif size and len(data) >= size:
                out["service:" + _uuid_le(data[:size])] = data[size:]
    return list(out.items())[:8]


def _advertised(heard: Heard) -> set[str]:
    found = set()
    for payload in heard.payloads:
        for kind, data in fields(payload):
            size = _UUIDS.get(kind)
            if size:
                found |= {_uuid_le(data[i : i + size]) for i in range(0, len(data) - size + 1, size)}
    return found


def _name(heard: Heard) -> tuple[str | None, bool]:
    """The local name, and whether the firmware may know a sensor by it."""
    from rootlet import config_ble

    best = b""
    for payload in heard.payloads:
        name = firmware("ble_adverts").local_name(payload)
        if name and len(name) >= len(best):
            best = bytes(name)
    if not best:
        return None, False
    try:
        text = best.decode()
    except UnicodeDecodeError:
        return best.decode(errors="replace"), False
    return text, text.isprintable() and bool(config_ble._name(text))


def _addresses(heard: Heard, data: bytes) -> list[bytes]:
    """Addresses a message may be for: where the system hides it, those that some formats carry."""
    return [heard.raw_address] if heard.kind != "system" else [data[:6], data[:6][::-1], bytes(6)]


def _decode(device: Device, name: str, key: bytes | None) -> bool:
    """Whether it sends this format; what it says goes into the device."""
    from rootlet import ble_formats
    from rootlet.errors import RootletError

    decode = firmware(f"decode_{name}").decode
    values: dict[str, Value] = {}
    state: dict[str, Any] = {}
    fits = False
    for payload in device.heard.payloads:
        data = firmware("ble_adverts").find(payload, *ble_formats.ADVERTS[name])
        if data is None:
            continue
        for address in _addresses(device.heard, data):
            try:
                rows = decode(data, address, key, state)
            except RootletError as e:
                if e.code == "BLE_KEY":
                    fits = True
                    device.key, device.note = device.key or ("wrong" if key else "needed"), e.fact
                continue
            fits = True
            values |= {str(row[0]): value(row) for row in rows}
            if key:
                device.key, device.note = "right", ""
            break
    device.values = list(values.values())[:_VALUES]
    return fits


def value(row: Any) -> Value:
    """A decoder's (quantity, value, unit) as JSON can hold it."""
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
        if _decode(device, format_, key):
            device.format = format_
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
