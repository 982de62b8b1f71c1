"""Peripherals from plain data: the "ble" section of a virtual board's script."""

import inspect
from collections.abc import Callable
from typing import Any

from host_tools.failure import Exit, Failure
from host_tools.sim import adverts_made as made
from host_tools.sim.advertisers import Advertiser, Crowd
from host_tools.sim.air import Peripheral
from host_tools.sim.misbehaving import Dropper, Endless, Liar, Mute
from host_tools.sim.peripherals import AnalogInput, Custom, HeartRate, Thermometer

_SENDER = {"every_ms": 1000, "public": None, "rssi": -60, "irk": None, "change_s": 900}
_DEVICES: dict[str, Callable[..., Peripheral]] = {
    "thermometer": Thermometer,
    "heart_rate": HeartRate,
    "analog_input": AnalogInput,
    "custom": Custom,
    "liar": Liar,
    "endless": Endless,
    "dropper": Dropper,
    "mute": Mute,
    "crowd": Crowd,
}
_COUNTERS = {
    "ruuvi": ("sequence", 0xFFFF),
    "atc": ("counter", 256),
    "pvvx": ("counter", 256),
    "eddystone": ("adverts", 2**32),
}


def _ruuvi(address: str, values: dict[str, Any]) -> bytes:
    if "acceleration" in values:
        values = {**values, "acceleration": tuple(values["acceleration"])}
    return made.ruuvi(address, **values)


def _bthome(address: str, values: dict[str, Any], bindkey: bytes | None, counter: int, name: str | None) -> bytes:
    return made.bthome(values, bindkey, counter, address, name)


_FORMATS: dict[str, Callable[[str, dict[str, Any]], bytes]] = {
    "ruuvi": _ruuvi,
    "atc": lambda address, values: made.atc(address, **values),
    "pvvx": lambda address, values: made.pvvx(address, **values),
    "eddystone": lambda address, values: made.eddystone_tlm(**values),
    "ibeacon": lambda address, values: made.ibeacon(**values),
}
KINDS = (*_FORMATS, "bthome", "raw", *_DEVICES)


def from_script(row: dict[str, Any]) -> Peripheral:
    """A peripheral, not yet started.

    Args: row: {"kind": one of KINDS, …}. Of the formats (ruuvi, bthome, atc, pvvx, eddystone, ibeacon): "address",
    "values" (the arguments of its function in adverts_made.py), "every_ms", "rssi", "public", "irk" and "change_s"; the
    counters in the values rise by one at each advertisement. bthome also takes "bindkey", "counter" and "name"; raw
    takes "payload" (hex) instead of values. Of the others: the arguments of the class, bytes as hex digits.

    Raises: Failure (usage) on an unknown kind, a wrong or missing key, or a value that does not fit.
    """
    if not isinstance(row, dict):
        raise _wrong("?", f"{row!r} is not an object", "write it as an object with a kind and an address")
    rest = dict(row)
    kind = rest.pop("kind", None)
    if kind not in KINDS:
        raise _wrong(str(kind), f"its kind is {kind!r}", f"use one of {', '.join(KINDS)}")
    try:
        return _device(kind, rest) if kind in _DEVICES else _sender(kind, rest)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        because = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise _wrong(kind, because, "correct it; the keys: docs/virtual-ble.md") from None


def all_from_script(script: dict[str, Any]) -> list[Peripheral]:
    """The peripherals of {"ble": {"peripherals": [...]}}; none where there is no such section. Raises Failure."""
    section = script.get("ble")
    rows = section.get("peripherals", []) if isinstance(section, dict) else []
    if not isinstance(rows, list):
        raise _wrong("?", "ble.peripherals is not a list", "write it as a list of objects")
    return [from_script(row) for row in rows]


def _wrong(kind: str, because: str, try_: str) -> Failure:
    return Failure(f"the script's Bluetooth peripheral {kind!r} cannot be used", because, try_, Exit.USAGE)


def _refuse(rest: dict[str, Any], known: set[str]) -> None:
    if unknown := set(rest) - known:
        raise ValueError(f"it has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")


def _device(kind: str, rest: dict[str, Any]) -> Peripheral:
    make = _DEVICES[kind]
    known: set[str] = set()
    for one in inspect.getmro(make) if isinstance(make, type) else ():
        known |= {
            name
            for name, what in inspect.signature(one).parameters.items()
            if what.kind not in (what.VAR_KEYWORD, what.VAR_POSITIONAL)
        }
    if kind == "crowd":
        known = set(inspect.signature(Crowd).parameters)
    _refuse(rest, known)
    if kind != "crowd" and "address" not in rest:
        raise KeyError("address")
    for key in ("value", "payload"):
        if isinstance(rest.get(key), str):
            rest[key] = bytes.fromhex(rest[key])
    return make(**rest)


def _sender(kind: str, rest: dict[str, Any]) -> Peripheral:
    own = {"raw": {"payload"}, "bthome": {"values", "bindkey", "counter", "name"}}.get(kind, {"values"})
    _refuse(rest, {"address", *own, *_SENDER})
    address = str(rest["address"])
    settings = {**_SENDER, **{key: rest[key] for key in _SENDER if key in rest}}
    payload = _payload(kind, address, rest)
    if callable(payload):
        payload(0)  # what does not fit is said now
    return Advertiser(
        address,
        payload,
        interval_ms=settings["every_ms"],
        irk=_key(settings["irk"]),
        change_s=settings["change_s"],
        public=settings["public"],
        rssi=settings["rssi"],
    )


def _payload(kind: str, address: str, rest: dict[str, Any]) -> bytes | Callable[[int], bytes]:
    if kind == "raw":
        return bytes.fromhex(rest["payload"])
    values = dict(rest.get("values", {}))
    if kind == "bthome":
        key, first, name = _key(rest.get("bindkey")), int(rest.get("counter", 1)), rest.get("name")

        def sealed(sent: int) -> bytes:
            numbered = {**values, "packet_id": (values["packet_id"] + sent) % 256} if "packet_id" in values else values
            return _bthome(address, numbered, key, (first + sent) % 2**32, name)

        return sealed
    counter, limit = _COUNTERS.get(kind, ("", 1))
    make = _FORMATS[kind]
    if counter not in values:
        return make(address, values)
    return lambda sent: make(address, {**values, counter: (values[counter] + sent) % limit})


def _key(text: str | None) -> bytes | None:
    """16 bytes of 32 hex digits. Raises ValueError, which does not repeat the secret."""
    if text is None:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 16:
        raise ValueError("a key is not 32 hex digits")
    return key
