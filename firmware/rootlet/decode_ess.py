"""Environmental Sensing: temperature, humidity and pressure characteristics.

Source: Bluetooth SIG, GATT Specification Supplement, "Temperature", "Humidity" and "Pressure"; all are little endian.
"""

import struct

from .errors import RootletError


def decode(uuid, data):
    """Values of one characteristic, [(quantity, value, unit)]; empty where the sensor says that it does not know.

    Args: uuid: 0x2A6E temperature (sint16, 0.01 Cel), 0x2A6F humidity (uint16, 0.01 %), 0x2A6D pressure (uint32,
        0.1 Pa).
    Raises RootletError BLE_DATA for another length or a value the specification prohibits.
    """
    size = 4 if uuid == 0x2A6D else 2
    if len(data) != size:
        raise RootletError("BLE_DATA", "%04x: %d bytes needed, %d given" % (uuid, size, len(data)))
    if size == 4:
        return [("pressure", struct.unpack("<I", data)[0] / 10, "Pa")]
    if uuid == 0x2A6E:
        raw = struct.unpack("<h", data)[0]
        row, unknown, wrong = ("temperature", raw / 100, "Cel"), raw == -0x8000, raw < -27315
    else:
        raw = struct.unpack("<H", data)[0]
        row, unknown, wrong = ("humidity", raw / 100, "%RH"), raw == 0xFFFF, raw > 10000
    if unknown:
        return []
    if wrong:
        raise RootletError("BLE_DATA", "%s %s is out of range" % row[:2])
    return [row]
