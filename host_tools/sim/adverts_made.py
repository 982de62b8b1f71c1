"""Advertising payloads of sensors, made from their public specifications, for the virtual air.

Nothing here is shared with the firmware's decoders: the two are written apart, so that they check each other.
Each function returns a whole payload (AD structures, at most 31 bytes; Core Specification 5.4, Vol 3, Part C, 11).
"""

import random
import struct
import uuid
from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

MAX_PAYLOAD = 31  # of a legacy advertisement
_FLAGS = b"\x02\x01\x06"  # LE General Discoverable, BR/EDR not supported
_NAME, _SERVICES, _SERVICE_DATA, _MANUFACTURER = 0x09, 0x03, 0x16, 0xFF

# BTHome v2 (https://bthome.io/format): name -> object id, bytes, signed, what one unit of the last digit is.
BTHOME_OBJECTS: dict[str, tuple[int, int, bool, float]] = {
    "packet_id": (0x00, 1, False, 1),
    "battery": (0x01, 1, False, 1),
    "temperature": (0x02, 2, True, 0.01),
    "humidity": (0x03, 2, False, 0.01),
    "pressure": (0x04, 3, False, 0.01),  # hPa
    "illuminance": (0x05, 3, False, 0.01),
    "mass": (0x06, 2, False, 0.01),
    "dew_point": (0x08, 2, True, 0.01),
    "count": (0x09, 1, False, 1),
    "energy": (0x0A, 3, False, 0.001),
    "power": (0x0B, 3, False, 0.01),
    "voltage": (0x0C, 2, False, 0.001),
    "pm2_5": (0x0D, 2, False, 1),
    "pm10": (0x0E, 2, False, 1),
    "opening": (0x11, 1, False, 1),
    "co2": (0x12, 2, False, 1),
    "tvoc": (0x13, 2, False, 1),
    "moisture": (0x14, 2, False, 0.01),
    "door": (0x1A, 1, False, 1),
    "motion": (0x21, 1, False, 1),
    "window": (0x2D, 1, False, 1),
    "humidity_whole": (0x2E, 1, False, 1),
    "moisture_whole": (0x2F, 1, False, 1),
    "button": (0x3A, 1, False, 1),  # 1 press, 2 double press, 3 triple press, 4 long press …
    "count_16": (0x3D, 2, False, 1),
    "count_32": (0x3E, 4, False, 1),
    "rotation": (0x3F, 2, True, 0.1),
    "distance_mm": (0x40, 2, False, 1),
    "current": (0x43, 2, False, 0.001),
    "speed": (0x44, 2, False, 0.01),
    "temperature_tenths": (0x45, 2, True, 0.1),
    "acceleration": (0x51, 2, False, 0.001),  # m/s²
}


def field(ad_type: int, data: bytes) -> bytes:
    """One AD structure. Raises ValueError where it is longer than its length byte can say."""
    if len(data) > 254:
        raise ValueError(f"{len(data)} bytes do not fit an AD structure")
    return bytes((len(data) + 1, ad_type)) + data


def _payload(*fields: bytes, name: str | None = None) -> bytes:
    payload = b"".join(fields) + (field(_NAME, name.encode()) if name else b"")
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a payload of {len(payload)} bytes; an advertisement holds {MAX_PAYLOAD}")
    return payload


def address_bytes(address: str) -> bytes:
    """The 6 bytes of "C4:7C:8D:6A:3E:01", most significant first, as printed. Raises ValueError."""
    data = bytes.fromhex(address.replace(":", ""))
    if len(data) != 6 or address.count(":") not in (0, 5):
        raise ValueError(f"{address!r} is not an address like C4:7C:8D:6A:3E:01")
    return data


def _whole(value: float | None, unit: float, none: int, offset: float = 0) -> int:
    return none if value is None else round((value - offset) / unit)


def _pack(layout: str, *numbers: int) -> bytes:
    try:
        return struct.pack(layout, *numbers)
    except struct.error as error:
        raise ValueError(f"a value does not fit its field: {error}") from None


def ruuvi(
    address: str,
    temperature: float | None = None,
    humidity: float | None = None,
    pressure: float | None = None,
    acceleration: tuple[float | None, float | None, float | None] = (None, None, None),
    voltage: float | None = None,
    tx_power: int | None = None,
    movements: int | None = None,
    sequence: int | None = None,
) -> bytes:
    """RuuviTag's data format 5, RAWv2.

    Args: temperature in °C, humidity in %RH, pressure in Pa, acceleration x, y, z in g, voltage in V (1.6 to 3.646),
    tx_power in dBm (-40 to 20, even), movements 0 to 254, sequence 0 to 65534. None: "not available".

    Source: docs.ruuvi.com, Bluetooth advertisements, "Data format 5 (RAWv2)"; all fields big-endian.
    """
    power = _whole(voltage, 0.001, 0x7FF, 1.6) << 5 | _whole(tx_power, 2, 0x1F, -40)
    data = _pack(
        ">BhHHhhhHBH",
        5,
        _whole(temperature, 0.005, -0x8000),
        _whole(humidity, 0.0025, 0xFFFF),
        _whole(pressure, 1, 0xFFFF, 50000),
        *(_whole(axis, 0.001, -0x8000) for axis in acceleration),
        power,
        _whole(movements, 1, 0xFF),
        _whole(sequence, 1, 0xFFFF),
    )
    return _payload(_FLAGS, field(_MANUFACTURER, b"\x99\x04" + data + address_bytes(address)))


def bthome_objects(objects: Mapping[str, float | str | bytes]) -> bytes:
    """The measurements of a BTHome v2 message, in rising order of their ids, as the format asks for.

    Args: objects: by the names of BTHOME_OBJECTS; "text" (0x53) and "raw" (0x54) take a str and bytes; "dimmer"
    (0x3C) the steps, negative to the left.
    """
    made: list[tuple[int, bytes]] = []
    for name, value in objects.items():
        if name in ("text", "raw"):
            data = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[arg-type]
            made.append((0x53 if name == "text" else 0x54, bytes((len(data),)) + data))
        elif not isinstance(value, (int, float)):
            raise ValueError(f"BTHome's {name} takes a number, not {value!r}")
        elif name == "dimmer":
            made.append((0x3C, bytes((1 if value < 0 else 2 if value else 0, abs(int(value))))))
        elif name in BTHOME_OBJECTS:
            ident, size, signed, unit = BTHOME_OBJECTS[name]
            try:
                made.append((ident, round(value / unit).to_bytes(size, "little", signed=signed)))
            except OverflowError:
                raise ValueError(f"BTHome's {name} cannot be {value}") from None
        else:
            raise ValueError(f"BTHome has no object {name!r} here")
    return b"".join(bytes((ident,)) + data for ident, data in sorted(made))


def bthome(
    objects: Mapping[str, float | str | bytes] | bytes,
    bindkey: bytes | None = None,
    counter: int = 0,
    address: str | None = None,
    name: str | None = None,
    trigger: bool = False,
) -> bytes:
    """A BTHome v2 advertisement: service data of 0xFCD2.

    Args: objects: see bthome_objects(), or its ready bytes. bindkey: 16 bytes: AES-CCM with a 4-byte MIC over the
    nonce address, UUID, device information, counter (32 bits). address: needed with a bindkey. trigger: the device
    sends at events only.

    Source: https://bthome.io/format, https://bthome.io/encryption
    """
    plain = objects if isinstance(objects, bytes) else bthome_objects(objects)
    information = 0x40 | (4 if trigger else 0) | (1 if bindkey else 0)
    head = b"\xd2\xfc" + bytes((information,))
    if bindkey is None:
        return _payload(_FLAGS, field(_SERVICE_DATA, head + plain), name=name)
    if address is None:
        raise ValueError("an encrypted BTHome message needs its sender's address")
    count = _pack("<I", counter)
    sealed = AESCCM(bindkey, tag_length=4).encrypt(address_bytes(address) + head + count, plain, None)
    return _payload(_FLAGS, field(_SERVICE_DATA, head + sealed[:-4] + count + sealed[-4:]), name=name)


def atc(
    address: str,
    temperature: float = 20,
    humidity: float = 50,
    battery: int = 100,
    voltage: float = 3,
    counter: int = 0,
) -> bytes:
    """The "atc1441" format of thermometers with custom firmware: 13 bytes of service data 0x181A, big-endian.

    Args: °C (in tenths), %RH (whole), %, V, 0 to 255.
    Source: github.com/atc1441/ATC_MiThermometer, README, "Advertising format"; pvvx's README, "atc1441 format".
    """
    data = address_bytes(address) + _pack(
        ">hBBHB", round(temperature * 10), round(humidity), battery, round(voltage * 1000), counter & 0xFF
    )
    return _payload(field(_SERVICE_DATA, b"\x1a\x18" + data))


def pvvx(
    address: str,
    temperature: float = 20,
    humidity: float = 50,
    battery: int = 100,
    voltage: float = 3,
    counter: int = 0,
    flags: int = 0,
) -> bytes:
    """pvvx's "custom" format: 15 bytes of service data 0x181A, little-endian, also the address.

    Args: °C and %RH (in hundredths), %, V, 0 to 255, the flags byte.
    Source: github.com/pvvx/ATC_MiThermometer, README, "Custom format".
    """
    data = address_bytes(address)[::-1] + _pack(
        "<hHHBBB",
        round(temperature * 100),
        round(humidity * 100),
        round(voltage * 1000),
        battery,
        counter & 0xFF,
        flags,
    )
    return _payload(field(_SERVICE_DATA, b"\x1a\x18" + data))


def eddystone_tlm(
    voltage: float | None = None, temperature: float | None = None, adverts: int = 0, seconds: float = 0
) -> bytes:
    """Eddystone-TLM, unencrypted: service data of 0xFEAA.

    Args: voltage in V (None: 0, "not supported"), temperature in °C (8.8 fixed point; None: 0x8000), the count of
    advertisements and the seconds (sent in tenths) since the start.
    Source: github.com/google/eddystone, eddystone-tlm/tlm-plain.md; big-endian.
    """
    data = _pack(
        ">BBHhII",
        0x20,
        0,
        _whole(voltage, 0.001, 0),
        _whole(temperature, 1 / 256, -0x8000),
        adverts & 0xFFFFFFFF,
        round(seconds * 10) & 0xFFFFFFFF,
    )
    return _payload(_FLAGS, field(_SERVICES, b"\xaa\xfe"), field(_SERVICE_DATA, b"\xaa\xfe" + data))


def ibeacon(ident: str, major: int = 0, minor: int = 0, power: int = -59) -> bytes:
    """Apple's iBeacon: manufacturer data of 0x004C, type 2.

    Args: ident: the 128-bit UUID; major, minor: 16 bits each; power: dBm measured at one metre.
    Source: "Proximity Beacon Specification", Release R1, Apple Inc.; big-endian.
    """
    data = b"\x02\x15" + uuid.UUID(ident).bytes + _pack(">HHb", major, minor, power)
    return _payload(_FLAGS, field(_MANUFACTURER, b"\x4c\x00" + data))


def named(name: str, services: tuple[int, ...] = ()) -> bytes:
    """Flags, a list of 16-bit services, the complete local name: what a connectable sensor sends."""
    listed = field(_SERVICES, _pack(f"<{len(services)}H", *services)) if services else b""
    return _payload(_FLAGS, listed, name=name)


def resolvable_address(irk: bytes, prand: int | None = None) -> str:
    """A resolvable private address of an identity resolving key.

    Args: irk: 16 bytes, most significant first. prand: 22 random bits (the two above them are set to 01), or chosen.
    Source: Core Specification 5.4, Vol 6, Part B, 1.3.2.2 and Vol 3, Part H, 2.2.2 (the function ah).
    """
    chosen = random.getrandbits(22) if prand is None else prand & 0x3FFFFF
    head = (0x400000 | chosen).to_bytes(3, "big")
    cipher = Cipher(algorithms.AES(irk), modes.ECB()).encryptor()  # noqa: S305 - one block, as the standard says
    address = head + cipher.update(bytes(13) + head)[-3:]
    return ":".join(f"{byte:02X}" for byte in address)


def malformed(seed: int = 0) -> list[bytes]:
    """Payloads that break the rules of AD structures, each at most 31 bytes; the random ones follow the seed."""
    noise = random.Random(seed)  # noqa: S311 - to be repeatable
    return [
        b"",
        b"\x00",
        b"\x00" * 31,
        b"\xff",
        b"\x01",
        b"\x1e\x16\xd2\xfc\x40\x02\xca\x09",  # says 30 bytes, has 7
        b"\x02\x01\x06\xff\xff\x99\x04\x05",  # a length that runs far past the end
        b"\x02\x01\x06\x00\x03\x16\xd2\xfc",  # a structure of length zero before the data
        b"\x02\x01\x06\x01\x16",  # service data without its UUID
        b"\x02\x01\x06\x02\x16\xd2",  # half a UUID
        b"\x02\x01\x06\x03\xff\x99\x04",  # a maker's id, and nothing of it
        b"\x02\x01\x06\x04\x16\xd2\xfc\x41",  # encrypted BTHome without counter and MIC
        b"\x02\x01\x06\x07\x16\xd2\xfc\x40\x04\x13\x8a",  # BTHome's pressure, one byte short
        b"\x02\x01\x06\x09\x16\xd2\xfc\x40\x53\xff\x41\x42\x43",  # BTHome's text, longer than what is there
        b"\x02\x01\x06\x06\xff\x99\x04\x05\x12\xfc",  # RAWv2, cut
        b"\x02\x01\x06\x0c\x09" + b"\xff\xfe" * 5 + b"\x00",  # a local name that is no text
        *(noise.randbytes(noise.randrange(1, 32)) for _ in range(16)),
    ]
