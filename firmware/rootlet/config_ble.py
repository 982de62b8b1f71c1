"""The section "ble" of the configuration; config.py loads this module only where there is one."""

import struct

from .config import (
    _NEEDED,
    _device,
    _dict,
    _number,
    _objects,
    _one_of,
    _section,
    _show,
    _text,
    _whole,
    _wrong,
)
from .errors import RootletError

FORMATS = ("bthome", "ruuvi", "atc", "eddystone", "ibeacon", "mapped", "gatt")
SERVICES = ("environmental", "battery", "heart_rate", "automation_io")
_KEYED = ("bthome", "atc")
_WHO = ("address", "local_name", "irk")
_HEX = "0123456789abcdefABCDEF"
_BYTES = 64  # of a value that the radio's ring keeps
_NUMBERS = "bBhHiIlLqQfd"  # struct: one number, of a size that is the same on every machine


def _hex(v, length):
    return isinstance(v, str) and len(v) == length and all(c in _HEX for c in v)


def _flag(v):
    return isinstance(v, bool)


def _key(v):
    return _hex(v, 32)


def _address(v):
    # Nobody has all 0: it stands for an address that is still to be filled in.
    if not isinstance(v, str) or len(v) != 17 or v == "00:00:00:00:00:00":
        return False
    return all(_hex(pair, 2) for pair in v.split(":"))


def _name(v):
    # A name has 29 bytes at most in an advertisement; "*" alone would let everybody in.
    if not _text(v, 30) or v == "*" or [c for c in v if c < " " or "\ud800" <= c <= "\udfff"]:
        return False
    return len(v.encode()) <= (30 if v[-1] == "*" else 29)


def _quantity(v):
    return _text(v, 32) and all("a" <= c <= "z" or "0" <= c <= "9" or c in "-_" for c in v)


def _finite(v):
    return _number(-1e9, 1e9)(v)


def _change(v):
    return _dict(v) and len(v) <= 16 and all(_quantity(k) and _number(0, 1e9)(v[k]) for k in v)


def _services(v):
    return isinstance(v, list) and 0 < len(v) <= 4 and all(s in SERVICES for s in v) and len(set(v)) == len(v)


def _source(v):
    """ "manufacturer:0499", "service:fcd2", "characteristic:2a6e", or a 128-bit UUID for the latter two."""
    if not _text(v, 51):
        return False
    kind, _, ident = v.partition(":")
    if kind not in ("manufacturer", "service", "characteristic"):
        return False
    parts = [len(p) for p in ident.split("-")]
    long = parts == [8, 4, 4, 4, 12] and kind != "manufacturer"
    return (parts == [4] or long) and _hex(ident.replace("-", ""), sum(parts))


def _values(v):
    return isinstance(v, list) and len(v) <= 8


# Each row: key, check, default (or _NEEDED), what it must be. Defaults are shared by all sensors: nobody changes them.
_BLE: tuple = (
    ("active", _flag, False, "true or false"),
    ("interval_ms", _whole(10, 10240), 200, "10 to 10240 ms"),
    ("window_ms", _whole(10, 10240), 80, "10 to 10240 ms, at most interval_ms"),
    ("every_s", _number(0, 86400), 10, "0 to 86400 seconds"),
    ("sensors", lambda v: isinstance(v, list) and 0 < len(v) <= 16, _NEEDED, "a list of 1 to 16 sensors"),
)
_SENSOR: tuple = (
    ("name", _device, _NEEDED, "1 to 48 letters, digits, '-', '_' or '.'"),
    ("format", _one_of(*FORMATS), _NEEDED, "one of " + ", ".join(FORMATS)),
    ("address", _address, None, 'six pairs of hexadecimal digits, such as "a4:c1:38:12:34:56"'),
    ("local_name", _name, None, 'a name of 1 to 29 bytes, or its start and "*", such as "ATC_*"'),
    ("irk", _key, None, "32 hexadecimal digits"),
    ("bindkey", _key, None, "32 hexadecimal digits"),
    ("every_s", _number(0, 86400), None, "0 to 86400 seconds"),
    ("change", _change, {}, "an object of quantities and numbers from 0 on"),
    ("services", _services, SERVICES, "a list of " + ", ".join(SERVICES)),
    ("bond", _flag, False, "true or false"),
    ("values", _values, (), "a list of 1 to 8 values"),
)
_VALUE: tuple = (
    ("quantity", _quantity, _NEEDED, "1 to 32 small letters, digits, '-' or '_'"),
    ("source", _source, _NEEDED, 'such as "manufacturer:0499", "service:fcd2" or "characteristic:2a6e"'),
    (
        "format",
        lambda v: isinstance(v, str) and len(v) == 2 and v[0] in "<>" and v[1] in _NUMBERS,
        _NEEDED,
        "< or > and one letter of " + _NUMBERS,
    ),
    ("offset", _whole(0, _BYTES - 1), 0, "0 to 63 bytes"),
    ("scale", _finite, 1, "a number, at most 1e9"),
    ("add", _finite, 0, "a number, at most 1e9"),
    ("unit", lambda v: _text(v, 16), None, 'text such as "V"'),
)


def _fail(fact, fix):
    return RootletError("CONFIG", fact, fix)


def _read(sensor, where):
    """What the keys of one sensor must be together; texts become small letters."""
    kind = sensor["format"]
    given = [who for who in _WHO if sensor[who] is not None]
    if len(given) != 1:
        why = " and ".join([where + who for who in given]) + " are given" if given else where + "address is missing"
        raise _fail(why + ": exactly one says which sensor it is", "give one of " + ", ".join(_WHO))
    if sensor["bindkey"] is not None and kind not in _KEYED:
        raise _wrong(where + "bindkey", sensor["bindkey"], kind + " has no key", "remove it")
    if kind != "gatt":
        for key, default in (("bond", False), ("services", SERVICES)):
            if sensor[key] != default:
                raise _wrong(where + key, sensor[key], "format is " + kind, 'remove it, or format = "gatt"')
    for key in ("address", "irk", "bindkey"):
        if sensor[key] is not None:
            sensor[key] = sensor[key].lower()
    if not sensor["values"]:
        if kind == "mapped":
            raise _fail(where + "values is missing: mapped needs it", "add it: a list of 1 to 8 values")
        return
    if kind not in ("mapped", "gatt"):
        raise _wrong(where + "values", sensor["values"], "%s has its own" % kind, 'remove it, or format = "mapped"')
    sensor["values"] = rows = _objects(sensor["values"], _VALUE, where + "values")
    seen = []
    for i, row in enumerate(rows):
        at = "%svalues[%d]." % (where, i)
        row["source"] = source = row["source"].lower()
        if source.startswith("characteristic:") != (kind == "gatt"):
            must = "characteristic:…" if kind == "gatt" else "manufacturer:… or service:…"
            raise _wrong(at + "source", source, "format is " + kind, "set it to " + must)
        if row["offset"] + struct.calcsize(row["format"]) > _BYTES:
            fix = "64 bytes less the size of its format, at most"
            raise _wrong(at + "offset", row["offset"], "64 bytes of a value are taken", fix)
        if row["quantity"] in seen:
            raise _wrong(at + "quantity", row["quantity"], "another value has it", "choose another name")
        seen.append(row["quantity"])


def check(section, used):
    """Check the section "ble" and fill in defaults.

    Args: section: what stands there. used: names of the board's own sensors.
    Returns a new dict, every key present; addresses, keys and sources in small letters. Raises RootletError CONFIG.
    """
    out = _section(section, _BLE, "ble.")
    if out["window_ms"] > out["interval_ms"]:
        fix = "at most interval_ms, which is %d" % out["interval_ms"]
        raise _wrong("ble.window_ms", out["window_ms"], "it is longer than the interval", fix)
    out["sensors"] = sensors = _objects(out["sensors"], _SENSOR, "ble.sensors")
    names = list(used)
    known: list = []
    for i, sensor in enumerate(sensors):
        where = "ble.sensors[%d]." % i
        if sensor["name"] in names:
            raise _wrong(where + "name", sensor["name"], "another sensor has it", "choose another name")
        names.append(sensor["name"])
        _read(sensor, where)
        who = [sensor[key] for key in ("format",) + _WHO]
        if who in known:
            key = [key for key in _WHO if sensor[key] is not None][0]
            fact = "%s is %s: sensor %s has it" % (
                where + key,
                _show(key, sensor[key]),
                names[len(used) + known.index(who)],
            )
            raise _fail(fact, "remove one of the two")
        known.append(who)
    return out
