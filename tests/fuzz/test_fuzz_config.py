"""A configuration may be any JSON, or none: CONFIG with its fix or nothing, no secret told, bounded memory."""

import copy
import json
import random
from collections import Counter

from rootlet import config
from rootlet.errors import RootletError
from tests.fuzz import mutate
from tests.fuzz.mutate import INPUTS

SECRET = "S3cret-word"
KEY = "00112233445566778899aabbccddeeff"
SOUND = {
    "device": "dev-1",
    "wifi": {"networks": [{"ssid": "lab", "password": SECRET}, {"ssid": "open"}], "country": "FR", "timeout_s": 20},
    "clock": {"servers": ["127.0.0.1:123", "pool.ntp.org"], "timeout_s": 1, "every_s": 3600},
    "trust": "trust_roots",
    "watchdog_s": 60,
    "https": {"url": "https://host.example/page?x=1", "max_bytes": 1000, "pins": ["sha256//" + "A" * 43 + "="]},
    "mqtt": {
        "host": "broker.example", "port": 8883, "user": "me", "password": SECRET, "cert": "device.crt.der",
        "key": "device.key.der", "keepalive_s": 60, "topic": "rootlet/{device}/{sensor}", "qos": 1,
        "pins": ["sha256//" + "E" * 43 + "="],
    },
    "sensors": [
        {"kind": "simulated", "name": "sim", "every_s": 0.1},
        {"kind": "adc", "name": "light", "pin": 26, "scale": 0.5, "unit": "V"},
    ],
    "ble": {
        "active": True, "interval_ms": 100, "window_ms": 50, "every_s": 5,
        "sensors": [
            {"name": "door", "format": "bthome", "address": "A4:C1:38:12:34:56", "bindkey": KEY, "change": {"t": 0.2}},
            {"name": "tank", "format": "mapped", "local_name": "T*",
             "values": [{"quantity": "level", "source": "manufacturer:0499", "format": "<h", "unit": "cm"}]},
            {"name": "band", "format": "gatt", "irk": KEY, "bond": True, "services": ["battery"], "values": []},
        ],
    },
    "home_assistant": "homeassistant",
}  # fmt: skip
# The file is at most 16 KB; what is read from it takes some more, and a copy of what is checked.
LARGEST = 40 * 16384


def changed(dice):
    value = copy.deepcopy(SOUND)
    for _ in range(dice.choice((0, 1, 1, 1, 1, 2, 3, 8))):
        value = mutate.json_change(dice, value)
    return value


def checked(value):
    """The code of the error, or None."""
    before = json.dumps(value)
    try:
        out = config.check(value)
    except RootletError as e:
        assert e.fact and e.fix
        # A console shows it, and a host prints it.
        assert len(e.fact) < 1000, len(e.fact)
        (e.fact + e.fix).encode()
        assert "\n" not in e.fact and "\0" not in e.fact, e.fact
        assert SECRET not in e.fact + e.fix and KEY[:16] not in e.fact + e.fix, e.fact
        return e.code
    assert json.dumps(value) == before, "what was given is left as it was"
    assert sound(out)
    return None


def sound(out):
    """What the rest of the firmware takes for granted."""
    m = out["mqtt"]
    return (
        0 < len(out["device"]) <= 48
        and 0 < len(out["wifi"]["networks"]) <= 8
        and all(isinstance(n["ssid"], str) for n in out["wifi"]["networks"])
        and (out["watchdog_s"] == 0 or 30 <= out["watchdog_s"] <= 3600)
        and not isinstance(out["watchdog_s"], (bool, float))
        and (out["https"] is None or out["https"]["url"].startswith("https://"))
        and isinstance(m["port"], int) and 0 < m["port"] < 65536
        and m["qos"] in (0, 1)
        and isinstance(m["topic"], str) and not set(m["topic"]) & set("#+\0")
        and (m["cert"] is None) == (m["key"] is None)
        and len(out["sensors"]) <= 32
        and (len(out["sensors"]) > 0 or out["ble"] is not None)
        and (out["ble"] is None or sound_ble(out["ble"]))
        and len({s["name"] for s in out["sensors"]}) == len(out["sensors"])
        and all(0.05 <= s["every_s"] <= 86400 for s in out["sensors"])
        and all(abs(s["scale"]) < 1e300 for s in out["sensors"])
    )  # fmt: skip


def sound_ble(ble):
    """The same of BLE."""
    return (
        10 <= ble["window_ms"] <= ble["interval_ms"] <= 10240
        and 0 < len(ble["sensors"]) <= 16
        and len({s["name"] for s in ble["sensors"]}) == len(ble["sensors"])
        and all(sum(s[k] is not None for k in ("address", "local_name", "irk")) == 1 for s in ble["sensors"])
        and all(s["bindkey"] is None or len(bytes.fromhex(s["bindkey"])) == 16 for s in ble["sensors"])
        and all(len(s["values"]) <= 8 for s in ble["sensors"])
        and all(abs(v["scale"]) <= 1e9 and v["offset"] >= 0 for s in ble["sensors"] for v in s["values"])
    )


def test_any_changed_configuration_is_taken_or_refused_in_words():
    dice = random.Random(8259)
    tally = Counter()
    for _ in range(INPUTS):
        value = changed(dice)
        try:
            code = checked(value)
        except Exception as e:
            raise AssertionError(f"{type(e).__name__}: {e} for {value!r:.3000}") from e
        assert code in (None, "CONFIG"), code
        tally[code] += 1
    assert 0.1 * INPUTS < tally[None] < 0.6 * INPUTS, tally


def texts(count, seed=404):
    """Files: JSON that is broken as text, other bytes, deep nesting, numbers that no machine holds."""
    dice = random.Random(seed)
    whole = json.dumps(SOUND).encode()
    for _ in range(count):
        kind = dice.randrange(12)
        if kind == 0:
            yield dice.randbytes(dice.randrange(400))
        elif kind == 1:
            depth = dice.choice((10, 200, 2000, 8000))
            yield dice.choice((b"[", b'{"device":', b'{"mqtt":[')) * depth + b"]" * dice.choice((0, depth))
        elif kind == 2:
            number = dice.choice((b"9" * 5000, b"1e999", b"-1e-999", b"0x10", b"01", b"1.", b"NaN", b"9" * 400))
            yield whole.replace(dice.choice((b"8883", b"60", b"0.5", b"1000")), number)
        elif kind == 3:
            yield whole.replace(b"dev-1", dice.choice((b"\\ud800", b"\xff", b"\\u0000", b"x" * 17000, b"\\", b'"')))
        else:
            text = whole
            for _ in range(dice.choice((1, 1, 2, 3))):
                text = mutate.change(dice, text, b'{"a":[1,2,"x"]},null')
            yield text


def test_any_file_is_taken_or_refused_in_words(tmp_path):
    path = str(tmp_path / "config.json")
    tally = Counter()
    for i, text in enumerate(texts(INPUTS)):
        with open(path, "wb") as f:
            f.write(text)
        try:
            if i % 50:
                config.load(path)
            else:
                with mutate.bounded(LARGEST, text[:100]):
                    config.load(path)
            tally[None] += 1
        except RootletError as e:
            assert e.code == "CONFIG"
            assert len(e.fact) < 1000
            (e.fact + e.fix).encode()
            tally[e.fact[-14:] == "not valid JSON"] += 1
        except Exception as e:
            raise AssertionError(f"{type(e).__name__}: {e} for {text[:3000]!r}") from e
    assert min(tally[None], tally[True], tally[False]) > 0.02 * INPUTS, tally
