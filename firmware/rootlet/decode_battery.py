"""Battery Level, 0x2A19: uint8, percent. Source: Bluetooth SIG, GATT Specification Supplement, "Battery Level"."""

from .errors import RootletError


def decode(uuid, data):
    """[("battery", 0 to 100, "%")]. Raises RootletError BLE_DATA for anything but one byte of at most 100."""
    if len(data) != 1 or data[0] > 100:
        raise RootletError("BLE_DATA", "battery: one byte of 0 to 100 needed, %s given" % list(data[:4]))
    return [("battery", data[0], "%")]
