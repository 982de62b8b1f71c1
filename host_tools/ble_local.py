"""A BLE scan by this computer's own adapter, through `bleak`; the same answers as a board's."""

import asyncio
import importlib
import re
import struct
from collections.abc import Coroutine
from typing import Any

from host_tools import ble_scan
from host_tools.ble_scan import Characteristic, Heard, Scan
from host_tools.certinfo import printable
from host_tools.failure import Failure

_PAYLOADS = 12  # of one address
_VALUE = 64  # bytes kept of a value
_CONNECT_S, _READ_S = 20.0, 5.0
_PROPERTIES = {"read": 0x02, "write-without-response": 0x04, "write": 0x08, "notify": 0x10, "indicate": 0x20}


def _bleak() -> Any:
    try:
        return importlib.import_module("bleak")
    except ImportError:
        raise Failure(
            "this computer cannot scan", "the library bleak is not installed", "pip install 'rootlet[ble]'"
        ) from None


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it; what the system refuses becomes a Failure, of whichever kind of error it is."""
    try:
        return asyncio.run(work)
    except Failure:
        raise
    except FileNotFoundError:
        because = "there is no D-Bus system bus, through which BlueZ is asked"
        fix = "systemctl start dbus bluetooth; or the same without --local, with a board"
        raise Failure("this computer's adapter cannot be used", because, fix) from None
    except Exception as error:
        because = printable(str(error) or type(error).__name__)[:150]
        fix = "switch Bluetooth on, allow it for this terminal; or the same without --local, with a board"
        raise Failure("this computer's adapter cannot be used", because, fix) from None


def heard(device: Any, data: Any, known: Heard | None = None) -> Heard:
    """One advertisement as a board would have told it.

    Args: device, data: bleak's BLEDevice and AdvertisementData. known: what was heard of this sender before.
    """
    address, kind = _address(device)
    one = known or Heard(address, kind, data.rssi)
    one.rssi = data.rssi
    one.count += 1
    # The systems do not tell whether one may connect; who lists services without data of them mostly is.
    one.connectable = one.connectable or bool(data.service_uuids)
    payload = b"".join(_joined(_structures(data)))
    if payload and payload not in one.payloads and len(one.payloads) < _PAYLOADS:
        one.payloads.append(payload)
    return one


def _address(device: Any) -> tuple[str, str]:
    """On macOS the system gives each sender an identifier of its own in place of its address."""
    address = str(device.address).lower()
    if not ble_scan.ADDRESS.fullmatch(address):
        return re.sub(r"[^0-9a-f-]", "", address)[:36], "system"
    details = device.details if isinstance(device.details, dict) else {}
    type_ = (details.get("props") or {}).get("AddressType")
    if type_ == "random":
        return address, ble_scan.kind_of(1, bytes.fromhex(address.replace(":", "")))
    return address, "public" if type_ == "public" else "random"


def _structures(data: Any) -> list[tuple[int, bytes]]:
    out: list[tuple[int, bytes]] = []
    if data.local_name:
        out.append((0x09, data.local_name.encode(errors="replace")))
    for company, content in data.manufacturer_data.items():
        out.append((0xFF, struct.pack("<H", company & 0xFFFF) + bytes(content)))
    for uuid, content in data.service_data.items():
        short, ident = _ident(uuid)
        out.append((0x16 if short else 0x21, ident + bytes(content)))
    for uuid in data.service_uuids[:16]:
        short, ident = _ident(uuid)
        out.append((0x03 if short else 0x07, ident))
    return out


def _ident(uuid: str) -> tuple[bool, bytes]:
    """(whether it has 16 bits, its bytes, least significant first)"""
    name = ble_scan.uuid_of(uuid)
    return len(name) == 4, bytes.fromhex(name.replace("-", ""))[::-1]


async def _listen(bleak: Any, seconds: float) -> Scan:
    found: dict[str, Heard] = {}
    told = Scan()

    def take(device: Any, data: Any) -> None:
        address = str(device.address)
        if address not in found and len(found) >= ble_scan.MOST:
            told.over += 1
            return
        try:
            found[address] = heard(device, data, found.get(address))
        except ValueError:
            told.lost += 1

    async with bleak.BleakScanner(detection_callback=take):
        await asyncio.sleep(seconds)
    told.heard = list(found.values())
    return told


def scan(seconds: float) -> Scan:
    """What this computer's adapter hears. Raises Failure."""
    told: Scan = _run(_listen(_bleak(), seconds))
    return told


async def _explore(bleak: Any, address: str, seconds: float) -> list[Characteristic]:
    device = await bleak.BleakScanner.find_device_by_address(address, timeout=seconds)
    if device is None:
        raise Failure(f"{address} was not heard", "it does not advertise now, or its address has changed",
                      "rootlet ble scan --local --all   (and wake the sensor up)")  # fmt: skip
    out: list[Characteristic] = []
    async with bleak.BleakClient(device, timeout=_CONNECT_S) as client:
        for service in client.services:
            for one in service.characteristics:
                if len(out) < ble_scan.MOST:
                    out.append(await _read(client, service, one))
    return out


async def _read(client: Any, service: Any, one: Any) -> Characteristic:
    bits = 0
    for word in one.properties:
        bits |= _PROPERTIES.get(word, 0)
    row = Characteristic(ble_scan.uuid_of(service.uuid), ble_scan.uuid_of(one.uuid), bits)
    if bits & 0x02:
        try:
            value = bytes(await asyncio.wait_for(client.read_gatt_char(one), _READ_S))
        except Exception:  # each system has its own; the rest can still be read
            row.status = 255
        else:
            row.value, row.size = value[:_VALUE], len(value)
    return row


def explore(address: str, seconds: float) -> list[Characteristic]:
    """Connect by this computer's adapter, list what a peripheral has, and read it. Raises Failure."""
    found: list[Characteristic] = _run(_explore(_bleak(), address, seconds))
    return found


def _joined(fields: list[tuple[int, bytes]]) -> list[bytes]:
    """Payloads out of AD structures that a system has taken apart; one too long for its length byte is left out."""
    return [struct.pack("BB", len(data) + 1, kind) + data for kind, data in fields if len(data) < 255]
