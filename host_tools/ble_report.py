"""Tells what a scan has heard: a table, JSON, sections for rootlet.toml. Strangers wrote it: all is escaped."""

from typing import Any

from host_tools.ble_scan import MOST, Device, Scan, Value
from host_tools.certinfo import printable

_SHOWN = 48  # characters of a name or a text value
_NUMBERS = {1: "<B", 2: "<h", 4: "<i", 8: "<q"}


def short(text: object, most: int = _SHOWN) -> str:
    shown = printable(str(text))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def in_words(values: list[Value]) -> str:
    """Values as a person reads them."""
    return ", ".join(f"{short(name)} {short(value)}{' ' + short(unit) if unit else ''}" for name, value, unit in values)


def topic(device: Device) -> str:
    """Where the gateway would publish it."""
    return f"rootlet/{{device}}/{device.sensor}"


def _key(device: Device) -> str:
    if device.key == "right":
        return "decrypted"
    return (
        f"encrypted: its bindkey is needed; --bindkey {device.heard.address}"
        if device.key == "needed"
        else short(device.note or "the bindkey does not fit", 120)
    )


def table(devices: list[Device]) -> list[str]:
    """Lines for a person: a row each, then what it would publish and where."""
    head = ("ADDRESS", "KIND", "RSSI", "HEARD", "FORMAT", "NAME")
    rows = [
        (device.heard.address, device.heard.kind, str(device.heard.rssi), str(device.heard.count),
         device.format or "unknown", short(device.local_name) if device.local_name else "-")
        for device in devices
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    lines = [line(head)]
    for device, row in zip(devices, rows, strict=True):
        lines.append(line(row))
        said = [_key(device)] if device.key else []
        if device.values:
            said.append(in_words(device.values))
        if device.format == "gatt":
            said.append(
                f"services {', '.join(device.services)}; for more: rootlet ble scan --connect {device.heard.address}"
            )
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


def value_row(source: str, data: bytes, quantity: str) -> str:
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
    if device.format is None:
        lines.append("# unknown: say what the bytes mean; quantity, format, offset, scale, add, unit")
        lines.append("values = [")
        for i, (source, data) in enumerate(device.raw):
            lines.append(f"  # {source} = {data.hex()}")
            lines.append(value_row(source, data, f"value-{i + 1}"))
        lines.append("]")
    return "\n".join(lines) + "\n"


def toml(devices: list[Device]) -> str:
    """Sections for rootlet.toml, below its [ble]."""
    return "\n".join(filter(None, (section(device) for device in devices)))


def hints(told: Scan, devices: list[Device], *, everything: bool, active: bool) -> list[str]:
    """What may help where less was heard than wished for."""
    out = []
    unknown = sum(device.format is None for device in devices)
    if not devices:
        out.append("nothing was heard; many sensors send rarely: wake them, go nearer, or listen longer: --seconds 60")
    elif unknown and not everything:
        out.append(f"{unknown} senders of unknown formats: --all shows them")
    if devices and not active and any(device.local_name is None for device in devices):
        out.append("some told no name: --active asks for it")
    if told.lost or told.over:
        out.append(
            f"the air is full: {told.lost} advertisements were lost, {told.over} came from beyond {MOST} addresses"
        )
    return out
