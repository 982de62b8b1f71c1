"""Values of a device without a decoder: the configuration says where each number lies in its data."""

import struct

from .errors import RootletError


def decode(rows, source, data):
    """Values of the rows that read this source, [(quantity, value, unit)].

    value = number * scale + add. Whole numbers stay exact where scale and add are whole. Others are rounded to 7
    significant digits, what the 32-bit floats of the boards hold: so 3 * 0.1 is 0.3.

    Args:
        rows: "values" of the configuration, checked: dicts of quantity, source, format (struct, one number), offset
            (bytes), scale, add, unit.
        source: "manufacturer:0499", "service:fcd2", "characteristic:2a6e", …, lower case.
        data: bytes-like: of an advertisement what follows the id, of a characteristic its value.
    Raises RootletError BLE_DATA where data is too short, or the number is not a finite one.
    """
    values = []
    for row in rows:
        if row["source"] != source:
            continue
        form, at, scale, add = row["format"], row["offset"], row["scale"], row["add"]
        need = at + struct.calcsize(form)
        if len(data) < need:
            raise RootletError("BLE_DATA", "%s: %d bytes needed, %d given" % (row["quantity"], need, len(data)))
        value = struct.unpack_from(form, data, at)[0]
        if scale != 1:
            value *= scale
        if add:
            value += add
        if isinstance(value, float):
            if value - value != 0:  # infinite, or not a number
                raise RootletError("BLE_DATA", "%s is not a finite number" % row["quantity"])
            value = float("%.7g" % value)
        values.append((row["quantity"], value, row["unit"]))
    return values
