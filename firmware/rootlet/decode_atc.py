"""Xiaomi thermometers with the ATC or the pvvx firmware: both custom formats, plain and encrypted.

https://github.com/atc1441/ATC_MiThermometer#advertising-format-of-the-custom-firmware
https://github.com/pvvx/ATC_MiThermometer#custom-format-all-data-little-endian, encrypted: src/custom_beacon.h and .c there
"""

from struct import unpack_from

from .errors import RootletError

# By size of the data: 13 ATC, 14 pvvx without flags, 15 pvvx, 8 ATC encrypted, 11 pvvx encrypted.
_PLAIN = (13, 14, 15)
_ENCRYPTED = (8, 11)


def decode(data, address, key, state):
    """Decode service data of 0x181A, after the UUID.

    The encrypted forms have a counter of 8 bits, too short to tell a replay: they hide values, but a message recorded
    once can be sent again later. BTHome encrypted has no such gap.

    Returns [(quantity, value, unit), ...]; [] for the message that was heard last (kept in state).
    Raises RootletError BLE_DATA, or BLE_KEY where the key is missing or wrong, or is set and the message is plain.
    """
    size = len(data)
    if size not in _PLAIN and size not in _ENCRYPTED:
        raise RootletError("BLE_DATA", "no ATC or pvvx message has %d bytes" % size)
    data = bytes(data)
    if size in _PLAIN:
        mac = bytes(address) if size == 13 else bytes(reversed(address))
        if data[:6] != mac:  # the only mark these formats have
            raise RootletError("BLE_DATA", "the message names another address")
        if key:
            raise RootletError("BLE_KEY", "not encrypted, though a bindkey is set")
    elif not key:
        raise RootletError("BLE_KEY", "encrypted: a bindkey is needed")
    if state.get("last") == data:
        return []
    voltage = flags = None
    if size == 13:
        temperature, humidity, battery, voltage = unpack_from(">hBBH", data, 6)
        temperature /= 10
    elif size in _PLAIN:
        temperature, humidity, voltage, battery = unpack_from("<hHHB", data, 6)
        flags = data[14] if size == 15 else None
    else:
        from .aes_ccm import decrypt

        # The nonce: address as on the air, then the head of the AD structure and the counter. AAD: one byte, 0x11.
        nonce = bytes(reversed(address)) + bytes((size + 3, 0x16, 0x1A, 0x18, data[0]))
        plain = decrypt(key, nonce, data[1:-4], data[-4:], b"\x11")
        if plain is None:
            raise RootletError("BLE_KEY", "the bindkey is another, or the message was changed")
        if size == 8:  # half degrees above -40, half per cent, trigger flag and battery
            temperature, humidity, battery = plain[0] / 2 - 40, plain[1] / 2, plain[2] & 127
            flags = plain[2] >> 5 & 4  # where the other forms have it
        else:
            temperature, humidity, battery, flags = unpack_from("<hHBB", plain)
    if size not in (13, 8):
        temperature /= 100
        humidity /= 100
    state["last"] = data
    values = [("temperature", temperature, "Cel"), ("humidity", humidity, "%RH"), ("battery", battery, "%")]
    if voltage is not None:
        values.append(("voltage", voltage / 1000, "V"))
    if flags is not None:
        values.append(("flags", flags, None))
    return values
