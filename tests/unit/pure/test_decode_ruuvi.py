"""decode_ruuvi: the test vectors of the format's page, and repeated measurements.

https://docs.ruuvi.com/communication/bluetooth-advertisements/data-format-5-rawv2
"""

from binascii import unhexlify

from rootlet import decode_ruuvi
from rootlet.errors import RootletError

ADDRESS = unhexlify("cbb8334c884f")
VALID = "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"
MAXIMUM = "057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F"
MINIMUM = "058001000000008001800180010000000000CBB8334C884F"
INVALID = "058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF"

UNITS = (
    ("temperature", "Cel"), ("humidity", "%RH"), ("pressure", "Pa"), ("acceleration_x", "[g]"),
    ("acceleration_y", "[g]"), ("acceleration_z", "[g]"), ("voltage", "V"), ("tx_power", "dBm"),
    ("movement_counter", None), ("sequence", None),
)  # fmt: skip


def decode(text, state=None):
    return decode_ruuvi.decode(memoryview(unhexlify(text)), ADDRESS, None, {} if state is None else state)


def check(text, values):
    assert decode(text) == [(quantity, value, unit) for (quantity, unit), value in zip(UNITS, values)]  # noqa: B905


def test_published_vectors():
    check(VALID, (24.3, 53.49, 100044, 0.004, -0.004, 1.036, 2.977, 4, 66, 205))
    check(MAXIMUM, (163.835, 163.835, 115534, 32.767, 32.767, 32.767, 3.646, 20, 254, 65534))
    check(MINIMUM, (-163.835, 0, 50000, -32.767, -32.767, -32.767, 1.6, -40, 0, 0))
    assert decode(INVALID) == []


def test_only_what_is_not_available_is_left_out():
    text = VALID[:2] + "8000" + VALID[6:]
    assert [row[0] for row in decode(text)] == [quantity for quantity, _ in UNITS[1:]]
    text = VALID[:26] + "AC3F" + VALID[30:]  # only the power of the two that share a word
    assert [row[0] for row in decode(text)] == [q for q, _ in UNITS if q != "tx_power"]


def test_a_measurement_is_given_once():
    state = {}
    assert decode(VALID, state)
    assert decode(VALID, state) == []
    assert decode(MAXIMUM, state)
    assert decode(VALID, state), "only the last one counts: the tag may have started again"
    unnumbered = VALID[:32] + "FFFF" + VALID[36:]
    assert decode(unnumbered, state) and decode(unnumbered, state), "without a number nothing is told apart"
    assert decode(VALID, state) == []
    assert state == {"sequence": 205}


def fact(text):
    try:
        decode(text)
    except RootletError as e:
        return e.code + " " + e.fact
    return None


def test_what_is_no_such_message():
    assert fact("03291A1ECE1EFC18F94202CA0B53") == "BLE_DATA Ruuvi data format 3, not 5"
    assert fact("") == "BLE_DATA Ruuvi data format absent, not 5"
    assert fact(VALID[:-2]) == "BLE_DATA Ruuvi format 5 has 24 bytes, not 23"
    assert fact(VALID + "00") == "BLE_DATA Ruuvi format 5 has 24 bytes, not 25"
