"""RuuviTag advertisements: data format 5 (RAWv2), https://docs.ruuvi.com/communication/bluetooth-advertisements/data-format-5-rawv2"""

from struct import unpack_from

from .errors import RootletError

# quantity unit divisor marker of "not available", in the order of the fields.
_FIELDS = "temperature Cel 200 -32768,humidity %RH 400 65535,pressure Pa 1 65535,acceleration_x [g] 1000 -32768,\
acceleration_y [g] 1000 -32768,acceleration_z [g] 1000 -32768,voltage V 1000 2047,tx_power dBm 1 31,\
movement_counter - 1 255,sequence - 1 65535"


def decode(data, address, key, state):
    """Decode manufacturer data of 0x0499, after the company id. address, key: not used.

    Returns [(quantity, value, unit), ...] without what the tag marks as not available; [] for a measurement that was
    heard before (its sequence number is kept in state). Raises RootletError BLE_DATA.
    """
    if not data or data[0] != 5:
        raise RootletError("BLE_DATA", "Ruuvi data format %s, not 5" % (data[0] if data else "absent"))
    if len(data) != 24:
        raise RootletError("BLE_DATA", "Ruuvi format 5 has 24 bytes, not %d" % len(data))
    raw = list(unpack_from(">hHHhhhHBH", data, 1))
    power = raw[6]
    raw[6:7] = (power >> 5, power & 31)
    if raw[-1] != 65535:
        if state.get("sequence") == raw[-1]:
            return []
        state["sequence"] = raw[-1]
    values = []
    for value, row in zip(raw, _FIELDS.split(",")):
        quantity, unit, by, absent = row.split(" ")
        if value == int(absent):
            continue
        if quantity == "pressure":
            value += 50000  # Pa
        elif quantity == "voltage":
            value += 1600  # mV
        elif quantity == "tx_power":
            value = value * 2 - 40  # dBm
        if by != "1":
            value /= int(by)
        values.append((quantity, value, None if unit == "-" else unit))
    return values
