"""iBeacon advertisements: who the beacon is, and its power. Apple's "Proximity Beacon Specification", release R1."""

from binascii import hexlify
from struct import unpack_from

from .errors import RootletError


def decode(data, address, key, state):
    """Decode manufacturer data of 0x004C, after the company id. address, key, state: not used.

    Returns [("uuid", text, None), ("major", number, None), ("minor", number, None), ("measured_power", number, "dBm")];
    the power is what is received at 1 m. Raises RootletError BLE_DATA.
    """
    if len(data) != 23 or data[0] != 2 or data[1] != 21:
        raise RootletError("BLE_DATA", "of Apple, but no iBeacon message")
    uuid = hexlify(data[2:18]).decode()
    uuid = "-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]))
    major, minor, power = unpack_from(">HHb", data, 18)
    return [("uuid", uuid, None), ("major", major, None), ("minor", minor, None), ("measured_power", power, "dBm")]
