"""Automation IO: the Analog and Digital characteristics. Source: Bluetooth SIG, GATT Specification Supplement."""

import struct

from .errors import RootletError


def decode(uuid, data):
    """Values of one characteristic, [(quantity, value, unit)].

    Args: uuid: 0x2A58 Analog: uint16, taken as millivolts (the specification leaves the scale to the device; for
        another one use "values" of the configuration). 0x2A56 Digital: 2 bits a signal, from the lowest up, 0 inactive,
        1 active; digital-1, digital-2, …; one that is tri-state (2) or unknown (3) is left out. At most 4 bytes.
    Raises RootletError BLE_DATA for another length.
    """
    size = len(data)
    if uuid == 0x2A58:
        if size != 2:
            raise RootletError("BLE_DATA", "analog: 2 bytes needed, %d given" % size)
        return [("analog", struct.unpack("<H", data)[0], "mV")]
    if not 0 < size <= 4:
        raise RootletError("BLE_DATA", "digital: 1 to 4 bytes needed, %d given" % size)
    values = []
    for i in range(size * 4):
        state = data[i // 4] >> i % 4 * 2 & 3
        if state < 2:
            values.append(("digital-%d" % (i + 1), state, None))
    return values
