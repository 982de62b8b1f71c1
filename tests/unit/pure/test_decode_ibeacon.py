"""decode_ibeacon: who the beacon is. The UUID is that of Apple's AirLocate sample."""

from binascii import unhexlify

from rootlet import decode_ibeacon
from rootlet.errors import RootletError

BEACON = "0215e2c56db5dffb48d2b060d0f5a71096e00001fffec5"


def decode(text):
    return decode_ibeacon.decode(memoryview(unhexlify(text)), bytes(6), None, {})


def test_who_it_is():
    assert decode(BEACON) == [
        ("uuid", "e2c56db5-dffb-48d2-b060-d0f5a71096e0", None),
        ("major", 1, None),
        ("minor", 65534, None),
        ("measured_power", -59, "dBm"),
    ]


def code(text):
    try:
        decode(text)
    except RootletError as e:
        return e.code + " " + e.fact
    return None


def test_what_else_apple_sends():
    for text in ("", "100513184b5f2a", BEACON[:-2], BEACON + "00", "0216" + BEACON[4:], "0315" + BEACON[4:]):
        assert code(text) == "BLE_DATA of Apple, but no iBeacon message"
