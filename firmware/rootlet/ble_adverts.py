"""Reads BLE advertisements: the AD structures of a payload, the local name, resolvable private addresses. No I/O."""

from cryptolib import aes

_SHORT_NAME, _NAME = 8, 9  # Assigned Numbers 2.3: shortened and complete local name


def fields(payload):
    """The AD structures of a payload; one that is cut short, or a length of 0, ends them.

    Args: payload: bytes-like, advertising or scan response data (Core Vol 3 Part C 11).
    Yields (AD type, data); data is a slice of the payload, so a memoryview of it is good as long as the payload is.
    """
    at = 0
    while at + 1 < len(payload):
        end = at + 1 + payload[at]
        if end == at + 1 or end > len(payload):
            return
        yield payload[at + 1], payload[at + 2 : end]
        at = end


def find(payload, ad_type, ident):
    """What follows the id in the first AD structure of that type and id, or None.

    Args: payload: as of fields. ad_type: 0x16 service data, 0xFF manufacturer data, 0x21 service data of a long UUID.
    ident: 16-bit UUID or company id; or bytes as they are on the air (least significant first) for longer ones.
    """
    if isinstance(ident, int):
        ident = ident.to_bytes(2, "little")
    size = len(ident)
    for kind, data in fields(payload):
        if kind == ad_type and bytes(data[:size]) == ident:
            return data[size:]
    return None


def local_name(payload):
    """The local name as bytes, the complete one rather than the shortened; None where there is none."""
    name = None
    for kind, data in fields(payload):
        if kind == _NAME:
            return bytes(data)
        if kind == _SHORT_NAME:
            name = bytes(data)
    return name


def resolves(address, irk):
    """Whether a resolvable private address was made with this key (Core Vol 6 Part B 1.3.2.3).

    That is by function ah, Core Vol 3 Part H 2.2.2.
    Args: address: 6 bytes, most significant first. irk: 16 bytes, most significant first.
    """
    if address[0] & 0xC0 != 0x40:  # another kind of address
        return False
    block = bytearray(16)
    block[13:] = address[:3]
    aes(irk, 1).encrypt(block, block)
    return block[13:] == bytes(address[3:])
