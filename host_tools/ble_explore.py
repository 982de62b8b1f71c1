"""Tells what an explored peripheral has: services, characteristics, values, and its section for rootlet.toml."""

import re
from typing import Any

from host_tools.ble_recognise import firmware, value
from host_tools.ble_report import in_words, quoted, short, value_row
from host_tools.ble_scan import Characteristic, Value

_PROPERTIES = ((0x02, "read"), (0x04, "write"), (0x08, "write"), (0x10, "notify"), (0x20, "indicate"))
_SERVICE_NAMES = {
    "1800": "generic access", "1801": "generic attribute", "180a": "device information", "180f": "battery",
    "181a": "environmental", "180d": "heart_rate", "1815": "automation_io",
}  # fmt: skip
_NOT_READINGS = ("1800", "1801", "180a")
_ATT = {
    2: "reading is not permitted",
    5: "it wants pairing",
    8: "it wants authorisation",
    15: "it wants encryption",
    255: "it was refused",
}


def values_of(one: Characteristic) -> list[Value] | None:
    """A characteristic's values by the firmware's decoders; None where none knows it."""
    from rootlet import ble_formats
    from rootlet.errors import RootletError

    if one.value is None or len(one.uuid) != 4:
        return None
    number = int(one.uuid, 16)
    for service, decoder, characteristics in ble_formats.GATT.values():
        if number in characteristics and one.service == f"{service:04x}":
            try:
                rows = firmware(f"decode_{decoder}").decode(number, one.value)
            except RootletError:
                return None
            return [value(row) for row in rows][:32]
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


def table(found: list[Characteristic]) -> list[str]:
    """Lines for a person."""
    lines: list[str] = []
    service = None
    for one in found:
        if one.service != service:
            service = one.service
            name = _SERVICE_NAMES.get(service)
            lines.append(f"service {service}{f' ({name})' if name else ''}")
        words = f"  characteristic {one.uuid}  {', '.join(properties(one)) or '-'}"
        values = values_of(one)
        if one.status:
            words += f"  not read: {_ATT.get(one.status, f'ATT error {one.status}')}"
        elif one.value is not None:
            text = _text_of(one.value)
            more = f" … ({one.size} bytes)" if one.size > len(one.value) else ""
            words += f"  {one.value.hex() or '(empty)'}{more}" + (f"  {quoted(short(text))}" if text else "")
            words += f"  = {in_words(values)}" if values else ""
        lines.append(words)
    return lines


def as_json(address: str, found: list[Characteristic]) -> dict[str, Any]:
    """All of it, for machines."""
    rows = [
        {
            "service": one.service,
            "characteristic": one.uuid,
            "properties": properties(one),
            "value": None if one.value is None else one.value.hex(),
            "size": one.size,
            "status": one.status,
            "values": [{"quantity": q, "value": v, "unit": u} for q, v, u in values_of(one) or []],
        }
        for one in found
    ]
    return {"address": address, "characteristics": rows, "toml": toml(address, found)}


def toml(address: str, found: list[Characteristic]) -> str:
    """The section of an explored peripheral, with a skeleton for what no decoder knows."""
    from rootlet import ble_formats

    there = {one.service for one in found}
    services = [name for name, row in ble_formats.GATT.items() if f"{row[0]:04x}" in there]
    rows: list[str] = []
    seen: set[str] = set()
    for one in found:
        known = values_of(one) is not None or _by_decoder(one)
        useless = one.service in _NOT_READINGS or not one.properties & 0x32 or (one.value and _text_of(one.value))
        if known or useless or one.uuid in seen or len(seen) >= 8:
            continue
        seen.add(one.uuid)
        if one.value:
            rows.append(f"  # {one.uuid} = {one.value.hex()}")
        rows.append(value_row(f"characteristic:{one.uuid}", one.value or b"\0\0", f"value-{len(seen)}"))
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
