"""decode_bthome: every example of https://bthome.io/format/, encryption, replays, and what is cut or unknown."""

from binascii import unhexlify

from rootlet import decode_bthome
from rootlet.errors import RootletError

ADDRESS = unhexlify("5448e68f80a5")
KEY = unhexlify("231d39c1d7cc1ab1aee224cd096db932")

# One line an object id, with the example of the page: message, quantity, value, unit.
SENSORS = """518756 acceleration 22.151 m/s2
630057D0FF acceleration -3.123456 m/s2
0161 battery 97 %
6001 channel 1
12E204 co2 1250 ppm
56E803 conductivity 1000 uS/cm
0960 count 96
3D0960 count 24585
3E2A2C0960 count 1611213866
59EA count -22
5AEAEA count -5398
5BEA0234EA count -365690134
434E34 current 13.39 A
5D02EA current -5.63 A
08CA06 dewpoint 17.38 Cel
5E9F8C direction 359.99 deg
400C00 distance 12 mm
414E00 distance 7.8 m
424E3400 duration 13.390 s
4d12138a14 energy 344593.170 kWh
0A138A14 energy 1346.067 kWh
4B138A14 gas 1346.067 m3
4C41018A01 gas 25821.505 m3
528756 gyroscope 22.151 deg/s
03BF13 humidity 50.55 %RH
2E23 humidity 35 %RH
05138A14 illuminance 13460.67 lx
6402 light_level 2
065E1F mass 80.3 kg
073E1D mass 74.86 [lb_av]
14020C moisture 30.74 %
2F23 moisture 35 %
0D120C pm25 3090 ug/m3
0E021C pm10 7170 ug/m3
0B021B00 power 69.14 W
5C02FBFFFF power -12.78 W
5FA00F precipitation 400.0 mm
04138A01 pressure 100883 Pa
3F020C rotation 307.4 deg
61AC0D rotational_speed 3500 /min
6503 settings_revision 3
444E34 speed 133.90 m/s
624099DFFF speed -2.123456 m/s
57EA temperature -22 Cel
58EA temperature -7.7 Cel
451101 temperature 27.3 Cel
02CA09 temperature 25.06 Cel
505d396164 timestamp 1684093277 s
133301 tvoc 307 ug/m3
0C020C voltage 3.074 V
4A020C voltage 307.4 V
4E87562A01 volume 19551.879 L
478756 volume 2215.1 L
48DC87 volume 34780 mL
5587562A01 volume_storage 19551.879 L
49DC87 volume_flow_rate 34.780 m3/h
4632 uv_index 5.0
4F87562A01 water 19551.879 L
F00100 device_type 1"""

FLAGS = """1501 battery_low
1601 battery_charging
1700 carbon_monoxide
1801 cold
1900 connectivity
1A00 door
1B01 garage_door
1C01 gas_detected
0F01 generic_boolean
1D00 heat
1E01 light
1F01 lock
2001 moisture_detected
2100 motion
2201 moving
2301 occupancy
1100 opening
2400 plug
1001 power_on
2500 presence
2601 problem
2701 running
2800 safety
2901 smoke
2A00 sound
2B00 tamper
2C01 vibration
2D01 window"""

TEXTS = (
    ("530C48656C6C6F20576F726C6421", "text", "Hello World!"),
    ("5302c3a9", "text", "\xe9"),
    ("5300", "text", ""),
    ("540C48656C6C6F20576F726C6421", "raw", "48656c6c6f20576f726c6421"),
    ("F100010204", "firmware", "4.2.1.0"),
    ("F2000106", "firmware", "6.1.0"),
    ("3A01", "button", "press"),
    ("3A02", "button", "double_press"),
    ("3A03", "button", "triple_press"),
    ("3A04", "button", "long_press"),
    ("3A05", "button", "long_double_press"),
    ("3A06", "button", "long_triple_press"),
    ("3A80", "button", "hold_press"),
    ("3A07", "button", "event_7"),
    ("3B0000", "command", "off"),
    ("3B0001", "command", "on"),
    ("3B0002", "command", "toggle"),
    ("3B010305", "command", "step_up 5"),
    ("3B010405", "command", "step_down 5"),
    ("3Be2050102", "command", "event_5 1 2"),
    ("3C0103", "dimmer", "rotate_left 3"),
    ("3C020A", "dimmer", "rotate_right 10"),
)


def decode(text, key=None, state=None):
    return decode_bthome.decode(memoryview(unhexlify(text)), ADDRESS, key, {} if state is None else state)


def test_examples_of_the_sensors():
    for line in SENSORS.split("\n"):
        message, quantity, value, unit = (line + " ").split(" ")[:4]
        assert decode("40" + message) == [(quantity, float(value), unit or None)], line


def test_examples_of_the_flags():
    for line in FLAGS.split("\n"):
        message, quantity = line.split(" ")
        assert decode("40" + message) == [(quantity, int(message[2:]), None)]
        assert decode("40" + message[:2] + "ff") == [(quantity, 1, None)]


def test_examples_of_texts_and_events():
    for message, quantity, value in TEXTS:
        assert decode("40" + message) == [(quantity, value, None)], message


def test_every_id_of_the_table_is_here():
    seen = {int(line[:2], 16) for line in (SENSORS + "\n" + FLAGS).split("\n")} | {int(row[0][:2], 16) for row in TEXTS}
    for ident in range(1, 256):
        try:
            known = bool(decode("40%02x" % ident + "01" * 8 + "00" * 8))
        except RootletError as e:
            known = "unknown" not in e.fact
        assert known == (ident in seen), ident


def test_signs_and_ends_of_the_ranges():
    assert decode("40020080" + "02ff7f")[0][1] == -327.68
    assert decode("40020080" + "02ff7f")[1] == ("temperature-2", 327.67, "Cel")
    assert decode("405780" + "577f") == [("temperature", -128, "Cel"), ("temperature-2", 127, "Cel")]
    assert decode("405b00000080" + "5bffffff7f")[0][1] == -2147483648
    assert decode("403effffffff")[0][1] == 4294967295
    assert decode("404dffffffff")[0][1] == 4294967.295


def test_several_of_a_quantity():
    assert decode("40" + "02ca09" + "03bf13" + "2e23" + "02cb09" + "451101") == [
        ("temperature", 25.06, "Cel"),
        ("humidity", 50.55, "%RH"),
        ("humidity-2", 35, "%RH"),
        ("temperature-2", 25.07, "Cel"),
        ("temperature-3", 27.3, "Cel"),
    ]
    assert decode("403a003a01") == [("button-2", "press", None)], "no event of the first button"
    assert decode("403a00") == decode("403c0000") == []


def test_devices_that_send_on_events_only():
    assert decode("4402ca09") == [("temperature", 25.06, "Cel")]


def test_packet_ids():
    state = {}
    assert decode("40000902ca09", None, state) == [("temperature", 25.06, "Cel")]
    assert decode("40000902ca09", None, state) == []
    assert decode("40000902cb09", None, state) == [], "the id counts"
    assert decode("4002cb09", None, state) == decode("4002cb09", None, state) == [("temperature", 25.07, "Cel")]
    assert decode("40000a02ca09", None, state) and decode("40000902ca09", None, state), "only the last one counts"
    assert state == {"packet": 9, "unknown": None}


def fact(*given):
    try:
        decode(*given)
    except RootletError as e:
        return e.code + " " + e.fact
    return None


def test_unknown_objects_end_the_reading():
    state = {}
    assert decode("4002ca09" + "e0ff" + "03bf13", None, state) == [("temperature", 25.06, "Cel")]
    assert state["unknown"] == 0xE0
    assert decode("4002ca09", None, state) and state["unknown"] is None
    for ident in (0x30, 0x39, 0x66, 0x89, 0x8A, 0xEF, 0xF3, 0xFF):
        assert fact("40%02x0000" % ident) == "BLE_DATA BTHome object 0x%02x is unknown" % ident
    assert fact("400001e0ff", None, state) == "BLE_DATA BTHome object 0xe0 is unknown"


def test_what_is_cut_short_gives_nothing():
    for message in ("02", "02ca", "3a", "3b", "3b00", "3b0103", "3c01", "53", "530c48", "54", "f1000102", "00"):
        said = "BLE_DATA BTHome object 0x%s is cut short or too long" % message[:2]
        assert fact("40" + message) == fact("400161" + message) == said
    assert decode("405340" + "41" * 64)[0][1] == "A" * 64
    assert decode("405440" + "41" * 64)[0][1] == "41" * 64
    assert fact("405341" + "41" * 65) == "BLE_DATA BTHome object 0x53 is cut short or too long"
    assert fact("40530187") == fact("405302c328") == "BLE_DATA BTHome object 0x53 is not UTF-8"


def test_what_is_no_bthome_of_version_2():
    assert decode("40") == []
    for text in ("", "20", "e102000c04138a01", "00", "60", "80"):
        assert fact(text) == "BLE_DATA not BTHome version 2"


# https://bthome.io/encryption/, and the others with the same key from tests/test_parser_v2.py of
# https://github.com/Bluetooth-Devices/bthome-ble
SEALED = "41e445f3c9962b332211006c7c4519"  # counter 1122867
NEXT = "413e932cc7175f342211005538" + "76af"  # 1122868
BEFORE = "41723d3035fb88322211009e74" + "14c0"  # 1122866
LAST = "41ba0db07aeef6ffffffff21fd4600"  # 4294967295
FIRST = "41de40b50e676600000000d7cb95de"  # 0
OTHERS = [("temperature", 25.07, "Cel"), ("humidity", 50.55, "%RH")]
READINGS = [("temperature", 25.06, "Cel"), ("humidity", 50.55, "%RH")]


def test_published_encrypted_messages():
    for text in (SEALED, NEXT, BEFORE, "41a47266c95f730011223378237214"):
        assert decode(text, KEY) == READINGS
    assert decode(LAST, KEY) == decode(FIRST, KEY) == OTHERS
    assert decode("4187b90011223372b0231f", KEY) == [("motion", 1, None)]


def test_replays():
    state = {}
    assert decode(SEALED, KEY, state) == READINGS
    assert decode(SEALED, KEY, state) == [], "sensors send each message several times"
    assert fact(BEFORE, KEY, state) == "BLE_KEY counter 1122866 is not above 1122867"
    assert decode(NEXT, KEY, state) == READINGS
    assert fact(SEALED, KEY, state) == "BLE_KEY counter 1122867 is not above 1122868"
    assert decode(LAST, KEY, state) == OTHERS
    assert fact(FIRST, KEY, state) == "BLE_KEY counter 0 is not above 4294967295", "neither a restart nor a wrap"
    assert state["counter"] == 4294967295
    assert decode(FIRST, KEY, {}) == OTHERS, "after a restart of the board any counter is the first"


def test_a_forged_message_changes_nothing():
    state = {}
    decode(SEALED, KEY, state)
    before = dict(state)
    for at in range(1, len(SEALED) // 2):
        changed = SEALED[: 2 * at] + "%02x" % (int(SEALED[2 * at : 2 * at + 2], 16) ^ 1) + SEALED[2 * at + 2 :]
        assert fact(changed, KEY, state) == "BLE_KEY the bindkey does not fit"
    assert fact("43" + SEALED[2:], KEY, state) == "BLE_KEY the bindkey does not fit", "the first byte is in the nonce"
    assert state == before
    assert decode(NEXT, KEY, state) == READINGS


def test_keys():
    assert fact(SEALED) == "BLE_KEY encrypted: a bindkey is needed"
    assert fact(SEALED, bytes(16)) == "BLE_KEY the bindkey does not fit"
    assert fact("4002ca09", KEY) == "BLE_KEY not encrypted, though a bindkey is set"
    for size in range(1, 9):
        assert fact("41" + "00" * size, KEY) == "BLE_KEY the bindkey does not fit"
    other = unhexlify("5448e68f80a6")
    try:
        decode_bthome.decode(unhexlify(SEALED), other, KEY, {})
    except RootletError as e:
        assert e.code == "BLE_KEY", "the address is in the nonce"
    else:
        raise AssertionError


def test_state_is_bounded_and_its_own():
    state = {}
    data = bytearray(unhexlify(SEALED))
    decode_bthome.decode(data, ADDRESS, KEY, state)
    data[:] = bytes(len(data))
    assert state["last"] == unhexlify(SEALED) and type(state["last"]) is bytes
    for n in range(40):
        decode("4000%02x02ca09" % n, None, state)
    assert set(state) == {"counter", "last", "packet", "unknown"}
