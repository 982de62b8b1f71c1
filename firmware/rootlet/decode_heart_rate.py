"""Heart Rate Measurement, 0x2A37. Source: Bluetooth SIG, GATT Specification Supplement, "Heart Rate Measurement"."""

import struct

from .errors import RootletError

_MOST = 9  # RR intervals that fit into a notification of the default MTU; of more, the newest


def decode(uuid, data):
    """Values of a measurement, [(quantity, value, unit)], as far as the sensor gives them.

    heart_rate "/min"; contact 1 or 0 (skin contact, only from a sensor that can tell); energy "kJ" since its last
    reset; rr_interval "s", oldest first, one entry for each interval, at most 9.
    Raises RootletError BLE_DATA where the length does not fit the flags.
    """
    size = len(data)
    flags = data[0] if size else 0
    at = 3 if flags & 1 else 2
    end = at + (2 if flags & 8 else 0)
    # Bits 5 to 7 are reserved: what they may add one day comes after what is known today.
    if size < end or (size > end and not flags & 0xF0) or (flags & 0xF0 == 0x10 and (size - end) % 2):
        raise RootletError("BLE_DATA", "heart rate: %d bytes do not fit flags 0x%02x" % (size, flags))
    values: list = [("heart_rate", struct.unpack_from("<H", data, 1)[0] if flags & 1 else data[1], "/min")]
    if flags & 4:
        values.append(("contact", flags >> 1 & 1, None))
    if flags & 8:
        values.append(("energy", struct.unpack_from("<H", data, at)[0], "kJ"))
    if flags & 16:
        count = (size - end) // 2
        for i in range(max(0, count - _MOST), count):
            # Steps of 1/1024 s: 4 decimals tell them apart.
            values.append(("rr_interval", round(struct.unpack_from("<H", data, end + 2 * i)[0] / 1024, 4), "s"))
    return values
