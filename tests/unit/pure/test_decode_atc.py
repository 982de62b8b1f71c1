"""decode_atc: messages of both firmwares, plain and encrypted.

The samples are those of the firmware's own repository, python-interface/atc_mi_interface/atc_mi_format_test.py in
https://github.com/pvvx/ATC_MiThermometer, with the bindkey given there.
"""

from binascii import unhexlify

from rootlet import decode_atc
from rootlet.errors import RootletError

ADDRESS = unhexlify("a4c138aabbcc")
KEY = unhexlify("aa" * 16)
ATC = "a4c138aabbcc00ce33430a6ec3"
PVVX = "ccbbaa38c1a46c07fa13d60a52090f"
ATC_SEALED = "bde9b75db856f303"
PVVX_SEALED = "bd86c53ffab900c1515859"


def decode(text, key=None, state=None):
    return decode_atc.decode(memoryview(unhexlify(text)), ADDRESS, key, {} if state is None else state)


def values(*row):
    names = (("temperature", "Cel"), ("humidity", "%RH"), ("battery", "%"), ("voltage", "V"), ("flags", None))
    return [(name, value, unit) for (name, unit), value in zip(names, row) if value is not None]  # noqa: B905


def test_published_samples():
    assert decode(ATC) == values(20.6, 51, 67, 2.67)
    assert decode(PVVX) == values(19.0, 51.14, 82, 2.774, 15)
    assert decode(ATC_SEALED, KEY) == values(19.0, 25.0, 86, None, 4)
    assert decode(PVVX_SEALED, KEY) == values(19.0, 51.13, 81, None, 15)


def test_ends_of_the_ranges():
    assert decode("a4c138aabbccff9c6464ffff00") == values(-10.0, 100, 100, 65.535)
    assert decode("ccbbaa38c1a418fc00000000ff0000") == values(-10.0, 0, 255, 0, 0)
    assert decode(PVVX[:-2]) == values(19.0, 51.14, 82, 2.774), "builds without a trigger send no flags"


def test_the_same_message_again():
    for text, key in ((ATC, None), (PVVX, None), (ATC_SEALED, KEY), (PVVX_SEALED, KEY)):
        state = {}
        assert decode(text, key, state)
        assert decode(text, key, state) == []
        assert list(state) == ["last"] and type(state["last"]) is bytes
    state = {}
    assert decode(ATC, None, state)
    assert decode(ATC[:-2] + "c4", None, state) == values(20.6, 51, 67, 2.67), "a new count is a new measurement"


def code(*given):
    try:
        decode(*given)
    except RootletError as e:
        return e.code + " " + e.fact
    return None


def test_keys():
    assert code(ATC_SEALED) == code(PVVX_SEALED) == "BLE_KEY encrypted: a bindkey is needed"
    assert code(ATC, KEY) == code(PVVX, KEY) == "BLE_KEY not encrypted, though a bindkey is set"
    assert code(ATC_SEALED, bytes(16)) == code("bc" + PVVX_SEALED[2:], KEY) == "BLE_KEY the bindkey does not fit"
    state = {}
    assert code(ATC_SEALED, bytes(16), state) and not state, "what was refused is not remembered"


def test_what_is_no_such_message():
    assert code("a4c138aabbcd" + ATC[12:]) == "BLE_DATA the message names another address"
    assert code(ATC[:12] + PVVX[12:]) == "BLE_DATA the message names another address", "the order of bytes counts"
    for size in (0, 1, 7, 9, 10, 12, 16, 240):
        assert code("00" * size) == "BLE_DATA no ATC or pvvx message has %d bytes" % size
