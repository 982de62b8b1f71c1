"""Xiaomi thermometers with the ATC or the pvvx firmware: both custom formats, plain and encrypted.

https://github.com/atc1441/ATC_MiThermometer#advertising-format-of-the-custom-firmware
https://github.com/pvvx/ATC_MiThermometer#custom-format-all-data-little-endian, encrypted: its src/custom_beacon.c
"""

from struct import unpack_from

from .errors import RootletError


def decode(data, address, key, state):
    """Decode service data of 0x181A, after the UUID. Its size tells the form: 13 bytes ATC, 15 pvvx (14 without the
    flags); encrypted 8 ATC, 11 pvvx.

    The encrypted forms have a counter of 8 bits, too short to tell a replay: they hide values, but a message recorded
    once can be sent again later. BTHome encrypted has no such gap.

    Returns [(quantity, value, unit), ...]; [] for the message that was heard last (kept in state).
    Raises RootletError BLE_DATA, or BLE_KEY where the key is missing or wrong, or is set and the message is plain.
    """
    size = len(data)
    sealed = size in (8, 11)
    if not sealed and size not in (13, 14, 15):
        raise RootletError("BLE_DATA", "no ATC or pvvx message has %d bytes" % size)
    data = bytes(data)
    mac = bytes(reversed(address))  # as on the air
    if not sealed and data[:6] != (bytes(address) if size == 13 else mac):  # the only mark these formats have
        raise RootletError("BLE_DATA", "the message names another address")
    if state.get("last") == data:
        return []
    plain = data
    if sealed or key:
        from .aes_ccm import opened

        # The nonce goes on with the head of the AD structure and the counter.
        nonce = mac + bytes((size + 3, 0x16, 0x1A, 0x18, data[0]))
        plain = opened(sealed, key, nonce, data[1:-4], data[-4:], b"\x11")
    voltage = flags = None
    if size == 13:
        temperature, humidity, battery, voltage = unpack_from(">hBBH", plain, 6)
        temperature /= 10
    elif size == 8:  # half degrees above -40, half per cent, trigger flag and battery
        temperature, humidity, battery = plain[0] / 2 - 40, plain[1] / 2, plain[2] & 127
        flags = plain[2] >> 5 & 4  # where the other forms have it
    else:
        if size == 11:
            temperature, humidity, battery, flags = unpack_from("<hHBB", plain)
        else:
            temperature, humidity, voltage, battery = unpack_from("<hHHB", plain, 6)
            flags = plain[14] if size == 15 else None
        temperature /= 100
        humidity /= 100
    state["last"] = data
    values = (
        ("temperature", temperature, "Cel"),
        ("humidity", humidity, "%RH"),
        ("battery", battery, "%"),
        ("voltage", None if voltage is None else voltage / 1000, "V"),
        ("flags", flags, None),
    )
    return [row for row in values if row[1] is not None]
