"""decode_eddystone: telemetry in the form of https://github.com/google/eddystone, and the frames beside it."""

from binascii import unhexlify

from rootlet import decode_eddystone
from rootlet.errors import RootletError

# The frame of tools/eddystone-validator there (TlmValidatorTest.java): 5000 mV, 21 degrees, both counts 1.
TLM = "200013881500" + "00000001" * 2


def decode(text):
    return decode_eddystone.decode(memoryview(unhexlify(text)), bytes(6), None, {})


def test_telemetry():
    assert decode(TLM) == [
        ("voltage", 5.0, "V"),
        ("temperature", 21.0, "Cel"),
        ("adv_count", 1, None),
        ("uptime", 0.1, "s"),
    ]
    assert decode("20000bb8ff80" + "ffffffff" * 2) == [
        ("voltage", 3.0, "V"),
        ("temperature", -0.5, "Cel"),
        ("adv_count", 4294967295, None),
        ("uptime", 429496729.5, "s"),
    ]


def test_what_the_beacon_does_not_support_is_left_out():
    assert [row[0] for row in decode("200000008000" + "00000001" * 2)] == ["adv_count", "uptime"]


def test_frames_without_readings():
    assert decode("00e7" + "00" * 18) == decode("10ee036578616d706c6507") == decode("30ee0102030405060708") == []


def code(text):
    try:
        decode(text)
    except RootletError as e:
        return e.code + " " + e.fact
    return None


def test_what_cannot_be_read():
    assert code("2001" + "00" * 16) == "BLE_DATA encrypted Eddystone telemetry (eTLM) cannot be read"
    assert code("2002" + TLM[4:]) == "BLE_DATA Eddystone TLM version 2 of 14 bytes"
    assert code(TLM[:-2]) == "BLE_DATA Eddystone TLM version 0 of 13 bytes"
    assert code(TLM + "00") == "BLE_DATA Eddystone TLM version 0 of 15 bytes"
    assert code("") == "BLE_DATA no Eddystone frame"
    assert code("40") == "BLE_DATA Eddystone frame 0x40"
    assert code("20") == "BLE_DATA Eddystone frame 0x20"
    assert code("21" + TLM[2:]) == "BLE_DATA Eddystone frame 0x21"
