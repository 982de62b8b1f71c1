"""Eddystone beacons: plain telemetry (TLM), https://github.com/google/eddystone/blob/master/eddystone-tlm/tlm-plain.md"""

from struct import unpack_from

from .errors import RootletError


def decode(data, address, key, state):
    """Decode service data of 0xFEAA, after the UUID. address, key, state: not used.

    Returns [(quantity, value, unit), ...] without what the beacon does not support; [] for the frames that only say who
    it is (UID, URL, EID). Raises RootletError BLE_DATA, also for encrypted telemetry.
    """
    frame = data[0] if data else -1
    if frame in (0x00, 0x10, 0x30):
        return []
    if frame != 0x20 or len(data) < 2:
        raise RootletError("BLE_DATA", "no Eddystone frame" if frame < 0 else "Eddystone frame 0x%02x" % frame)
    if data[1] == 1:
        raise RootletError("BLE_DATA", "encrypted Eddystone telemetry (eTLM) cannot be read")
    if data[1] or len(data) != 14:
        raise RootletError("BLE_DATA", "Eddystone TLM version %d of %d bytes" % (data[1], len(data)))
    voltage, temperature, count, tenths = unpack_from(">HhII", data, 2)
    values = (
        ("voltage", voltage / 1000 if voltage else None, "V"),
        ("temperature", temperature / 256 if temperature != -32768 else None, "Cel"),
        ("adv_count", count, None),
        ("uptime", tenths / 10, "s"),
    )
    return [row for row in values if row[1] is not None]
