"""The decoders of GATT characteristics: each one, exactly, and what is none."""

import json
import struct
import sys

from rootlet import decode_automation_io, decode_battery, decode_ess, decode_heart_rate
from rootlet.ble_formats import ADVERTS, GATT
from rootlet.errors import RootletError


def refused(decode, uuid, data):
    """The fact of BLE_DATA, or None."""
    try:
        decode(uuid, data)
    except RootletError as e:
        assert e.code == "BLE_DATA"
        return e.fact
    return None


def seven(value):
    """A number as text of up to 7 digits; on CPython, which prints the shortest that says it, the JSON is the same."""
    text = "%.7g" % value
    assert sys.implementation.name != "cpython" or float(json.dumps(value)) == float(text), value
    return text


def test_the_tables_hold_what_others_rely_on():
    assert ADVERTS["bthome"] == (0x16, 0xFCD2) and len(ADVERTS) == 5
    assert set(GATT) == {"environmental", "battery", "heart_rate", "automation_io"}
    assert GATT["environmental"] == (0x181A, "ess", (0x2A6E, 0x2A6F, 0x2A6D))
    uuids = [uuid for _, _, uuids in GATT.values() for uuid in uuids]
    assert len(set(uuids)) == len(uuids), "one decoder for each"


def test_temperature():
    decode = decode_ess.decode
    assert decode(0x2A6E, b"\x59\x08") == [("temperature", 21.37, "Cel")]
    assert decode(0x2A6E, struct.pack("<h", -1)) == [("temperature", -0.01, "Cel")]
    assert decode(0x2A6E, struct.pack("<h", -27315)) == [("temperature", -273.15, "Cel")]
    assert decode(0x2A6E, b"\xff\x7f") == [("temperature", 327.67, "Cel")]
    assert decode(0x2A6E, b"\x00\x80") == [], "not known"
    assert "-273.16" in refused(decode, 0x2A6E, struct.pack("<h", -27316))


def test_humidity():
    decode = decode_ess.decode
    assert decode(0x2A6F, b"\x00\x00") == [("humidity", 0, "%RH")]
    assert decode(0x2A6F, struct.pack("<H", 4567)) == [("humidity", 45.67, "%RH")]
    assert decode(0x2A6F, struct.pack("<H", 10000)) == [("humidity", 100, "%RH")]
    assert decode(0x2A6F, b"\xff\xff") == [], "not known"
    assert "100.01" in refused(decode, 0x2A6F, struct.pack("<H", 10001))


def test_pressure():
    decode = decode_ess.decode
    assert decode(0x2A6D, struct.pack("<I", 1013253)) == [("pressure", 101325.3, "Pa")]
    assert decode(0x2A6D, bytes(4)) == [("pressure", 0, "Pa")]


def test_no_value_has_more_digits_than_the_sensor_gave():
    for raw in range(-27315, 32768, 7):
        value = decode_ess.decode(0x2A6E, struct.pack("<h", raw))[0][1]
        assert len(seven(value).partition(".")[2]) <= 2, value
        assert round(value * 100) == raw
    for raw in range(0, 2000000, 997):
        value = decode_ess.decode(0x2A6D, struct.pack("<I", raw))[0][1]
        assert len(seven(value).partition(".")[2]) <= 1, value
        assert round(value * 10) == raw


def test_data_may_be_a_memoryview():
    assert decode_ess.decode(0x2A6E, memoryview(b"\x59\x08"))[0][1] == 21.37
    assert decode_battery.decode(0x2A19, memoryview(b"\x32"))[0][1] == 50
    assert decode_heart_rate.decode(0x2A37, memoryview(b"\x00\x48"))[0][1] == 72
    assert decode_automation_io.decode(0x2A58, memoryview(b"\x00\x01"))[0][1] == 256
    assert refused(decode_battery.decode, 0x2A19, memoryview(b"\xff"))


def test_another_length_is_told():
    for uuid, size in ((0x2A6E, 2), (0x2A6F, 2), (0x2A6D, 4)):
        for given in range(8):
            fact = refused(decode_ess.decode, uuid, bytes(given))
            assert (fact is None) == (given == size)
            assert fact is None or ("%04x" % uuid in fact and "%d given" % given in fact)


def test_battery():
    decode = decode_battery.decode
    assert decode(0x2A19, b"\x00") == [("battery", 0, "%")]
    assert decode(0x2A19, b"\x64") == [("battery", 100, "%")]
    assert "101" in refused(decode, 0x2A19, b"\x65")
    assert refused(decode, 0x2A19, b"") and refused(decode, 0x2A19, b"\x01\x02")


def test_heart_rate_alone():
    decode = decode_heart_rate.decode
    assert decode(0x2A37, b"\x00\x48") == [("heart_rate", 72, "/min")]
    assert decode(0x2A37, b"\x01\x2c\x01") == [("heart_rate", 300, "/min")]
    assert decode(0x2A37, b"\x02\x48") == [("heart_rate", 72, "/min")], "this sensor cannot tell about contact"


def test_heart_rate_with_all_it_can_have():
    decode = decode_heart_rate.decode
    assert decode(0x2A37, b"\x04\x48") == [("heart_rate", 72, "/min"), ("contact", 0, None)]
    assert decode(0x2A37, b"\x06\x48") == [("heart_rate", 72, "/min"), ("contact", 1, None)]
    data = b"\x1f" + struct.pack("<HHHH", 72, 258, 1024, 905)
    assert decode(0x2A37, data) == [
        ("heart_rate", 72, "/min"),
        ("contact", 1, None),
        ("energy", 258, "kJ"),
        ("rr_interval", 1, "s"),
        ("rr_interval", 0.8838, "s"),
    ]
    assert decode(0x2A37, b"\x10\x48") == [("heart_rate", 72, "/min")], "no beat since the last one"


def test_of_many_intervals_the_newest_are_kept():
    values = decode_heart_rate.decode(0x2A37, b"\x10\x48" + struct.pack("<12H", *range(1024, 13 * 1024, 1024)))
    assert [v[1] for v in values[1:]] == list(range(4, 13))


def test_heart_rate_whose_length_does_not_fit():
    decode = decode_heart_rate.decode
    wrong = (
        b"", b"\x00", b"\x01\x48", b"\x08\x48", b"\x08\x48\x01", b"\x09\x48\x00\x01", b"\x10\x48\x01", b"\x00\x48\x00",
        b"\x18\x48\x01\x00\x01", b"\x08\x48\x01\x00\x01",
    )  # fmt: skip
    for data in wrong:
        assert refused(decode, 0x2A37, data), data
    assert decode(0x2A37, b"\x20\x48\x00")[0][1] == 72, "what a reserved flag adds is passed over"


def test_analog():
    decode = decode_automation_io.decode
    assert decode(0x2A58, b"\xe4\x0c") == [("analog", 3300, "mV")]
    assert decode(0x2A58, b"\xff\xff") == [("analog", 65535, "mV")]
    for given in (0, 1, 3, 4):
        assert "%d given" % given in refused(decode, 0x2A58, bytes(given))


def test_digital():
    decode = decode_automation_io.decode
    # From the lowest bits up: active, inactive, tri-state, unknown
    assert decode(0x2A56, b"\xe1") == [("digital-1", 1, None), ("digital-2", 0, None)]
    assert decode(0x2A56, b"\x00\x40")[-1] == ("digital-8", 1, None)
    assert decode(0x2A56, b"\xff") == []
    assert refused(decode, 0x2A56, b"") and refused(decode, 0x2A56, bytes(5))
