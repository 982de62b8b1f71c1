"""decode_mapped: numbers found, scaled, rounded; what is too short or no number."""

import json
import struct
import sys

from rootlet import decode_mapped
from rootlet.errors import RootletError

SOURCE = "manufacturer:0499"


def row(form, offset=0, scale=1, add=0, quantity="level", source=SOURCE, unit="V"):
    return {
        "quantity": quantity,
        "source": source,
        "format": form,
        "offset": offset,
        "scale": scale,
        "add": add,
        "unit": unit,
    }


def one(form, data, scale=1, add=0):
    values = decode_mapped.decode([row(form, 0, scale, add)], SOURCE, data)
    assert len(values) == 1 and values[0][0] == "level" and values[0][2] == "V"
    return values[0][1]


def refused(rows, data):
    try:
        decode_mapped.decode(rows, SOURCE, data)
    except RootletError as e:
        assert e.code == "BLE_DATA"
        return e.fact
    return None


def test_only_the_rows_of_the_source_in_their_order():
    rows = [
        row("<h", 1, 0.01, 0, "temperature", unit="Cel"),
        row("<B", 0, source="service:fcd2"),
        row("<B", 0, 1, 0, "count", unit=None),
    ]
    assert decode_mapped.decode(rows, SOURCE, b"\x05\x59\x08") == [("temperature", 21.37, "Cel"), ("count", 5, None)]
    assert decode_mapped.decode(rows, "service:fcd2", b"\x09") == [("level", 9, "V")]
    assert decode_mapped.decode(rows, "characteristic:2a6e", b"") == []
    assert decode_mapped.decode([], SOURCE, b"") == []


def test_every_format_both_ways():
    for letter, value in (
        ("b", -5), ("B", 200), ("h", -30000), ("H", 60000), ("i", -2000000000), ("I", 4000000000), ("l", -2000000000),
        ("L", 4000000000), ("q", -(1 << 62) - 1), ("Q", (1 << 64) - 1), ("f", 0.5), ("d", -0.25),
    ):  # fmt: skip
        for order in "<>":
            assert one(order + letter, struct.pack(order + letter, value)) == value, letter


def test_large_numbers_are_exact():
    big = struct.pack("<Q", 18446744073709551615)
    assert json.dumps(one("<Q", big)) == "18446744073709551615"
    assert json.dumps(one("<Q", big, 2, 1)) == "36893488147419103231"
    assert one("<Q", big, 1.0, 0.0) == 18446744073709551615, "a scale that is one"


def test_no_noise_of_floats():
    assert json.dumps(one("<B", b"\x03", 0.1)) == "0.3"
    assert json.dumps(one("<h", struct.pack("<h", 2137), 0.01)) == "21.37"
    assert json.dumps(one("<f", struct.pack("<f", 21.3))) == "21.3"
    assert json.dumps(one("<h", struct.pack("<h", 2137), 0.01, -40.1)) == "-18.73"
    for raw in range(0, 65536, 13):
        value = one("<H", struct.pack("<H", raw), 0.001)
        assert len("%.7g" % value) <= 6 and round(value * 1000) == raw
        # Some MicroPython builds print a few floats with their last bit wrong, whatever they come from.
        assert len(json.dumps(value)) <= 6 or sys.implementation.name != "cpython"


def test_seven_digits_are_kept():
    assert abs(one("<I", struct.pack("<I", 1234567), 0.01) - 12345.67) < 0.001
    assert one("<I", struct.pack("<I", 123456789), 0.01) == 1234568


def test_scale_and_add():
    assert one("<h", struct.pack("<h", -3), 2, 10) == 4
    assert one("<B", b"\x05", 0) == 0
    assert one("<B", b"\x05", -1.5, 0.5) == -7


def test_too_short_is_told_by_quantity_needed_and_given():
    rows = [row("<I", 3, quantity="pressure")]
    assert decode_mapped.decode(rows, SOURCE, bytes(7)) == [("pressure", 0, "V")]
    for given in range(7):
        assert refused(rows, bytes(given)) == "pressure: 7 bytes needed, %d given" % given


def test_what_is_not_finite():
    nan = float("nan")
    inf = float("inf")
    for form in ("<f", ">d"):
        for value in (nan, inf, -inf):
            assert refused([row(form, quantity="x")], struct.pack(form, value)) == "x is not a finite number"
            assert refused([row(form, 0, 0.0)], struct.pack(form, value)), "a scale of 0 does not hide it"
    assert refused([row("<d", 0, 1e9)], struct.pack("<d", 1e300)), "it grew beyond all numbers"


def test_data_may_be_a_memoryview():
    assert one("<h", memoryview(b"\x59\x08"), 0.01) == 21.37
