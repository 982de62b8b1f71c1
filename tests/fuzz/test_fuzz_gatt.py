"""A sensor may send anything: the decoders of GATT and of mapped values raise BLE_DATA or give well-formed values."""

import json
import math
import random
import struct
from collections import Counter

import pytest

from rootlet import decode_automation_io, decode_battery, decode_ess, decode_heart_rate, decode_mapped
from rootlet.errors import RootletError
from tests.fuzz import mutate
from tests.fuzz.mutate import INPUTS

DIGITAL = {"digital-%d" % i: (None, 0, 1) for i in range(1, 17)}
# decoder, UUID, sound values, quantities with their unit and range
CASES = {
    "temperature": (decode_ess, 0x2A6E, [b"\x59\x08", b"\x00\x80"], {"temperature": ("Cel", -273.15, 327.67)}),
    "humidity": (decode_ess, 0x2A6F, [b"\xd7\x11", b"\xff\xff"], {"humidity": ("%RH", 0, 100)}),
    "pressure": (decode_ess, 0x2A6D, [b"\x05\x76\x0f\x00"], {"pressure": ("Pa", 0, 429496729.5)}),
    "battery": (decode_battery, 0x2A19, [b"\x64", b"\x00"], {"battery": ("%", 0, 100)}),
    "heart_rate": (
        decode_heart_rate,
        0x2A37,
        [b"\x00\x48", b"\x1f\x48\x00\x02\x01\x00\x04\x89\x03", b"\x16\x48\x00\x04\x00\x04", b"\x09\x48\x00\x01\x01"],
        {
            "heart_rate": ("/min", 0, 65535), "contact": (None, 0, 1), "energy": ("kJ", 0, 65535),
            "rr_interval": ("s", 0, 64),
        },
    ),
    "analog": (decode_automation_io, 0x2A58, [b"\xe4\x0c"], {"analog": ("mV", 0, 65535)}),
    "digital": (decode_automation_io, 0x2A56, [b"\x01", b"\x55\xe4"], DIGITAL),
}  # fmt: skip


def inputs(dice, sound):
    """Bytes of any kind: random ones of a length that may fit, and sound ones with up to three changes."""
    while True:
        data = dice.choice(sound)
        if not dice.randrange(4):
            data = dice.randbytes(len(data) if dice.randrange(2) else dice.randrange(40))
        for _ in range(dice.randrange(4)):
            data = mutate.change(dice, data, dice.choice(sound))
        yield memoryview(data) if dice.randrange(2) else data


def decoded(decode, *args):
    """The values, or None for BLE_DATA with a fact of one printable line."""
    try:
        return decode(*args)
    except RootletError as e:
        assert e.code == "BLE_DATA"
        assert e.fact.isprintable() and 0 < len(e.fact) < 100
        return None


@pytest.mark.parametrize("name", CASES)
def test_anything_a_gatt_sensor_sends(name):
    decoder, uuid, sound, rows = CASES[name]
    tally = Counter()
    source = inputs(random.Random(name), sound)
    for _ in range(INPUTS // len(CASES)):
        data = next(source)
        try:
            values = decoded(decoder.decode, uuid, data)
        except BaseException as e:
            raise AssertionError(f"{type(e).__name__}: {e} for {bytes(data)!r}") from e
        tally[values is None] += 1
        for quantity, value, unit in values or ():
            known, low, high = rows[quantity]
            assert unit == known and low <= value <= high, (quantity, value, unit, bytes(data))
            assert type(value) in (int, float) and len(json.dumps(value)) <= 12, value
        assert len(values or ()) <= 16
    assert min(tally[True], tally[False]) > 0.05 * sum(tally.values()), tally


def mapping(dice):
    """A row that the configuration's check lets through."""
    letter = dice.choice("bBhHiIlLqQfd")
    return {
        "quantity": "level",
        "source": dice.choice(("manufacturer:0499", "service:fcd2")),
        "format": dice.choice("<>") + letter,
        "offset": dice.choice((0, 0, 1, 5, 511)),
        "scale": dice.choice((1, 1, 1.0, 0.1, 0.001, -2, 0, 0.0, 1e9, -1e9, 1e-300)),
        "add": dice.choice((0, 0, 0.0, -40, 0.5, 1e9)),
        "unit": dice.choice((None, "V")),
    }


def test_anything_a_mapped_sensor_sends():
    dice = random.Random(2758)
    source = inputs(dice, [bytes(range(8)), b"\xff" * 8, struct.pack("<d", math.pi), struct.pack("<f", math.inf)])
    tally = Counter()
    for _ in range(INPUTS):
        rows = [mapping(dice) for _ in range(dice.randrange(1, 4))]
        data = next(source)
        try:
            values = decoded(decode_mapped.decode, rows, "manufacturer:0499", data)
        except BaseException as e:
            raise AssertionError(f"{type(e).__name__}: {e} for {rows!r}, {bytes(data)!r}") from e
        tally[values is None] += 1
        for quantity, value, unit in values or ():
            assert quantity == "level" and unit in (None, "V")
            assert type(value) in (int, float) and math.isfinite(value)
            if isinstance(value, float):
                assert float("%.7g" % value) == value
            assert json.loads(json.dumps(value)) == value
    assert min(tally[True], tally[False]) > 0.1 * INPUTS, tally
