"""The board's configuration: JSON, checked key by key, with errors that name key, value, reason and fix."""

import json
import os
import sys

from .errors import RootletError, unload
from .trust import pin_bytes

_SECRET = ("password", "psk", "bindkey", "irk")


def _text(v, longest=64):
    return isinstance(v, str) and 0 < len(v) <= longest


def _is_hex(v):
    """A key itself where the name of its file belongs: it must not come into a log."""
    return len(v) >= 32 and all(c in "0123456789abcdefABCDEF" for c in v)


def _key_file(v):
    return _text(v) and not _is_hex(v)


def _device(v):
    return _text(v, 48) and all(ord(c) < 128 and (c.isalpha() or c.isdigit() or c in "-_.") for c in v)


def _country(v):
    return isinstance(v, str) and len(v) == 2 and all("A" <= c <= "Z" for c in v)


def _number(low, high):
    def check(v):
        return isinstance(v, (int, float)) and not isinstance(v, bool) and low <= v <= high

    return check


def _whole(low, high):
    def check(v):
        return isinstance(v, int) and not isinstance(v, bool) and low <= v <= high

    return check


def _psk(v):
    return isinstance(v, str) and (v == "" or 8 <= len(v) <= 63)


def _servers(v):
    return isinstance(v, list) and 0 < len(v) <= 8 and all(_text(s, 100) for s in v)


def _url(v):
    return _ascii(v, 512) and v.startswith("https://")


def _ascii(v, longest=253):
    return _text(v, longest) and all(0x20 < ord(c) < 0x7F for c in v)


def _pins(v):
    return isinstance(v, list) and 0 < len(v) <= 4 and all(_text(p) and pin_bytes(p) is not None for p in v)


def _topic(v):
    return _text(v, 200) and not [c for c in "#+\0" if c in v]


def _commands(v):
    return isinstance(v, list) and len(v) <= len(COMMANDS) and all(name in COMMANDS for name in v)


def _dict(v):
    return isinstance(v, dict)


def _prefix(v):
    return _topic(v) and len(v) <= 64 and v[0] != "/" and v[-1] != "/"


def _one_of(*allowed):
    def check(v):
        return v in allowed

    return check


_NEEDED = object()
COMMANDS = ("status", "interval", "rotate", "update", "reboot")
SENSOR_KINDS = ("internal_temperature", "adc", "dht11", "dht22", "ds18b20", "simulated")

# Each row: key, check, default (or _NEEDED), what it must be.
_TOP: tuple = (
    ("device", _device, _NEEDED, "1 to 48 letters, digits, '-', '_' or '.'"),
    ("wifi", _dict, _NEEDED, "an object with networks, country, …"),
    ("clock", _dict, {}, "an object with servers, timeout_s"),
    ("trust", _device, "trust_roots", "the name of a cert module made by `rootlet certs embed`"),
    ("roots", _text, "roots.bin", "the file of a root store made by `rootlet certs store`"),
    ("watchdog_s", lambda v: _whole(0, 3600)(v) and not 0 < v < 30, 60, "0 for none, or 30 to 3600 seconds"),
    ("https", _dict, None, "an object with url"),
    ("mqtt", _dict, _NEEDED, "an object with host, port, …"),
    ("outbox", _dict, {}, "an object with mode, …"),
    ("update", _dict, {}, "an object with key, pins, downgrade"),
    ("sensors", lambda v: isinstance(v, list) and len(v) <= 32, (), "a list of 1 to 32 sensors"),
    ("ble", _dict, None, "an object with sensors, …"),
    ("home_assistant", _prefix, None, 'the prefix of Home Assistant\'s discovery topics, such as "homeassistant"'),
)
_WIFI = (
    ("networks", lambda v: isinstance(v, list) and 0 < len(v) <= 8, _NEEDED, "a list of 1 to 8 networks"),
    ("country", _country, "XX", 'a two-letter country code in capitals, such as "FR"'),
    ("hostname", lambda v: _device(v) and len(v) <= 32, None, "1 to 32 letters, digits or '-'"),
    ("power", _one_of("none", "performance", "powersave"), "performance", "none, performance or powersave"),
    ("timeout_s", _whole(1, 120), 20, "1 to 120 seconds"),
    ("restart_after", _whole(0, 1000), 3, "0 for never, or after how many failures the radio is restarted"),
    ("reboot_after", _whole(0, 1000), 20, "0 for never, or after how many failures the board is restarted"),
)
_NETWORK = (
    ("ssid", lambda v: _text(v, 32), _NEEDED, "1 to 32 characters"),
    ("password", _psk, "", "8 to 63 characters, or empty for an open network"),
)
_CLOCK = (
    (
        "servers",
        _servers,
        ["pool.ntp.org", "time.cloudflare.com", "time.google.com"],
        'a list of 1 to 8 "host" or "host:port"',
    ),
    ("timeout_s", _whole(1, 30), 3, "1 to 30 seconds"),
    ("every_s", _whole(60, 432000), 21600, "60 to 432000 seconds"),
)
_PINS = ("pins", _pins, None, "a list of 1 to 4 pins as `rootlet certs pin FILE` prints them, sha256//…")
_HTTPS = (
    (
        "url",
        _url,
        _NEEDED,
        "an address that starts with https://, in ASCII (other letters: the xn-- form)",
    ),
    ("timeout_s", _whole(1, 120), 20, "1 to 120 seconds"),
    ("max_bytes", _whole(1, 16777216), 262144, "1 to 16777216 bytes"),
    _PINS,
)
_MQTT: tuple = (
    (
        "host",
        _ascii,
        _NEEDED,
        "the broker's DNS name or IPv4 address, as in its certificate, in ASCII (other letters: the xn-- form)",
    ),
    ("port", _whole(1, 65535), 8883, "1 to 65535; 8883 is usual"),
    ("user", lambda v: _text(v, 256), None, "text"),
    ("password", lambda v: _text(v, 256), None, "text"),
    ("cert", _text, None, "the file of the board's certificate, DER"),
    ("key", _text, None, "the file of the board's private key, DER"),
    ("psk", _key_file, None, "the file of the key shared with the broker, 16 to 32 raw bytes"),
    ("keepalive_s", _whole(5, 65535), 60, "5 to 65535 seconds"),
    ("topic", _topic, "rootlet/{device}/{sensor}", "text without '#' and '+'; {device} and {sensor} are filled in"),
    ("qos", _whole(0, 1), 1, "0 or 1"),
    (
        "retain",
        lambda v: isinstance(v, bool),
        True,
        "true or false: whether status and discovery are kept by the broker",
    ),
    ("queue", _whole(1, 1000), 32, "1 to 1000 readings held in RAM"),
    ("brokers", lambda v: isinstance(v, list) and len(v) <= 3, [], "a list of at most 3 more brokers"),
    ("session", _one_of("clean", "persistent"), "clean", "clean or persistent"),
    ("window", _whole(1, 64), 16, "1 to 64 messages on their way at once"),
    ("retry_first_s", _number(0.1, 3600), 4, "0.1 to 3600 seconds"),
    ("retry_longest_s", _number(0.1, 86400), 60, "0.1 to 86400 seconds"),
    ("failback_s", _whole(10, 432000), 900, "10 to 432000 seconds"),
    (
        "status_s",
        lambda v: v == 0 or _whole(10, 86400)(v),
        300,
        "0 (once a connection), or 10 to 86400 seconds",
    ),
    ("commands", _commands, [], "a list of allowed commands: " + ", ".join(COMMANDS)),
    _PINS,
)
_BROKER: tuple = (_MQTT[0], _MQTT[1])
_OUTBOX = (
    ("mode", _one_of("flash", "ram"), "flash", "flash or ram"),
    ("max_bytes", _whole(4096, 1048576), 65536, "4096 to 1048576 bytes of the flash"),
    ("hold_s", _number(0, 3600), 10, "0 to 3600 seconds in RAM alone"),
    ("full", _one_of("drop_oldest", "keep_latest"), "drop_oldest", "drop_oldest or keep_latest"),
)
_UPDATE = (
    ("key", _key_file, None, "the file of the updates' public key, 384 raw bytes"),
    _PINS,
    ("downgrade", lambda v: isinstance(v, bool), False, "true or false"),
)
_SENSOR = (
    ("kind", _one_of(*SENSOR_KINDS), _NEEDED, "one of " + ", ".join(SENSOR_KINDS)),
    ("name", _device, _NEEDED, "1 to 48 letters, digits, '-', '_' or '.'"),
    ("pin", _whole(0, 60), None, "a GPIO number"),
    (
        "every_s",
        _number(0.05, 86400),
        10,
        "0.05 to 86400 seconds",
    ),
    (
        "scale",
        lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and -1e9 <= v <= 1e9,
        1,
        "a number, at most 1e9",
    ),
    ("unit", lambda v: _text(v, 16), None, 'text such as "V"'),
)


def _show(key, value, known=True):
    """A value for an error text. What is or may hold a secret is left out: a mistyped "password" too."""
    if key.split(".")[-1] in _SECRET or (isinstance(value, str) and not known):
        return "(not shown)"
    if value and isinstance(value, (dict, list)):
        return "{…}" if isinstance(value, dict) else "[…]"
    text = json.dumps(value)
    if _is_hex(text.strip('"')):  # a key in the wrong place
        return "(not shown)"
    return text if len(text) <= 60 else text[:57] + "..."


def _wrong(key, value, reason, fix, known=True):
    return RootletError("CONFIG", "%s is %s: %s" % (key, _show(key, value, known), reason), fix)


def _close(name, names):
    """The known key most like a mistyped one: most letters in common, if most of them are."""
    best, score = None, 0
    for known in names:
        common = len([c for c in known if c in name]) * 2 - abs(len(known) - len(name))
        if common > score and common >= len(known):
            best, score = known, common
    return best


def _section(data, rows, where):
    names = [row[0] for row in rows]
    for key in data:
        if key not in names:
            near = _close(key, names)
            fix = 'write "%s"' % near if near else "remove it; known here: " + ", ".join(names)
            # Escaped and cut: a key may be anything at all.
            raise _wrong(where + json.dumps(key)[1:-1][:60], data[key], "no such key", fix, known=False)
    out = {}
    for key, check, default, must in rows:
        if key not in data:
            if default is _NEEDED:
                raise RootletError("CONFIG", "%s is missing: it is required" % (where + key), "add it: " + must)
            out[key] = default
            continue
        value = data[key]
        # A key with no default may be given as null, which is the same as leaving it out.
        if not (value is None and default is None) and not check(value):
            known = check is not _dict and key != "networks"  # text where a section belongs may be a password
            raise _wrong(where + key, value, "it must be " + must, "set %s to %s" % (where + key, must), known)
        out[key] = value
    return out


def _objects(items, rows, where):
    out = []
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            raise _wrong("%s[%d]" % (where, i), item, "it must be an object", "write {…}", known=False)
        out.append(_section(item, rows, "%s[%d]." % (where, i)))
    return out


def check(data):
    """Check a configuration and fill in defaults.

    Args: data: what json.load gave.
    Returns a new dict, every key present. Raises RootletError CONFIG.
    """
    if not isinstance(data, dict):
        raise RootletError("CONFIG", "it is no JSON object", "start with { and end with }")
    out = _section(data, _TOP, "")
    out["wifi"] = _section(out["wifi"], _WIFI, "wifi.")
    out["wifi"]["networks"] = _objects(out["wifi"]["networks"], _NETWORK, "wifi.networks")
    out["clock"] = _section(out["clock"], _CLOCK, "clock.")
    if out["https"] is not None:
        out["https"] = _section(out["https"], _HTTPS, "https.")
    out["mqtt"] = mqtt = _section(out["mqtt"], _MQTT, "mqtt.")
    mqtt["brokers"] = _objects(mqtt["brokers"], _BROKER, "mqtt.brokers")
    out["outbox"] = _section(out["outbox"], _OUTBOX, "outbox.")
    for one, other in (("cert", "key"), ("key", "cert"), ("password", "user")):
        if mqtt[one] is not None and mqtt[other] is None:
            raise RootletError("CONFIG", "mqtt.%s is given without mqtt.%s" % (one, other), "give both, or neither")
    for other in ("cert", "pins") if mqtt["psk"] is not None else ():
        if mqtt[other] is not None:
            fix = "a connection by a shared key has no certificates: remove one of the two"
            raise RootletError("CONFIG", "mqtt.psk is given beside mqtt.%s" % other, fix)
    out["update"] = _section(out["update"], _UPDATE, "update.")
    out["sensors"] = sensors = _objects(out["sensors"], _SENSOR, "sensors")
    seen = []
    for i, sensor in enumerate(sensors):
        if sensor["name"] in seen:
            raise _wrong("sensors[%d].name" % i, sensor["name"], "another sensor has it", "choose another name")
        seen.append(sensor["name"])
        if sensor["pin"] is None and sensor["kind"] in ("adc", "dht11", "dht22", "ds18b20"):
            raise RootletError("CONFIG", "sensors[%d].pin is missing: %s needs it" % (i, sensor["kind"]), "add pin")
    if out["ble"] is not None:
        there = "rootlet.config_ble" in sys.modules  # a host checks many, and keeps it
        from . import config_ble

        try:
            out["ble"] = config_ble.check(out["ble"], seen)
        finally:
            if not there:
                unload("config_ble")
    elif not sensors:
        word = "[]: it must be" if "sensors" in data else "missing: it is required,"
        raise RootletError("CONFIG", "sensors is %s a list of 1 to 32 sensors" % word, "add one, or ble")
    if out["home_assistant"] is not None:
        _discoverable(out)
    return out


def _discoverable(out):
    """Home Assistant takes letters, digits, '-' and '_' in its topics, and nothing else."""
    ble = out["ble"]["sensors"] if out["ble"] else []
    rows = [("device", out["device"])]
    for where, sensors in (("sensors", out["sensors"]), ("ble.sensors", ble)):
        rows += [("%s[%d].name" % (where, i), s["name"]) for i, s in enumerate(sensors)]
    for key, name in rows:
        if "." in name:
            raise _wrong(key, name, "home_assistant is given, which takes no '.' in names", "write '-' in its place")


def load(path="config.json"):
    """Read and check a configuration file. Args: path: its name. Returns as check does. Raises RootletError CONFIG."""
    try:
        if os.stat(path)[6] > 16384:
            raise RootletError("CONFIG", "%s is larger than 16 KB" % path, "shorten it")
        with open(path) as f:
            data = json.load(f)
    except OSError:
        raise RootletError("CONFIG", "%s cannot be read" % path, "copy one to the board: `rootlet deploy`") from None
    except (ValueError, RuntimeError):  # no JSON, no text at all, or nested deeper than a host's reader goes
        raise RootletError("CONFIG", "%s is not valid JSON" % path, "check it with `python3 -m json.tool`") from None
    return check(data)
