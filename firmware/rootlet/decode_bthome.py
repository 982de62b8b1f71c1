"""BTHome version 2 advertisements, plain and encrypted: https://bthome.io/format/ and https://bthome.io/encryption/

Replays: the counter of an encrypted message must be above that of the last one, for as long as the board runs. A sensor
that starts its counter anew (its battery was changed) is refused until the board is restarted, since nothing in its
message tells it from a recorded one. The counter has 32 bits: one message a second takes it 136 years.
"""

from binascii import hexlify

from .errors import RootletError

# Two bytes for each object id from 0x00 to 0x65, then for 0xf0 to 0xf2: how it is coded, and which of _NAMES it has.
# Coded, bits 0-2: size in bytes, 0 where a byte with the length comes first; bit 3: signed; bits 4-7: 0 to 6 divided by
# ten to that power, 7 times 0.35, 8 a flag, 9 an event, 10 text, 11 raw, 12 a version. 0: there is no such object.
# Pressure (0x04) is given in 0.01 hPa, which is 1 Pa.
_OBJECTS = (
    b"\x01\x00\x01\x01\x2a\x02\x22\x03\x03\x04\x23\x05\x22\x06\x22\x07"  # 00
    b"\x2a\x08\x01\x09\x33\x0a\x23\x0b\x32\x0c\x02\x0d\x02\x0e\x81\x0f"  # 08
    b"\x81\x10\x81\x11\x02\x12\x02\x13\x22\x14\x81\x15\x81\x16\x81\x17"  # 10
    b"\x81\x18\x81\x19\x81\x1a\x81\x1b\x81\x1c\x81\x1d\x81\x1e\x81\x1f"  # 18
    b"\x81\x20\x81\x21\x81\x22\x81\x23\x81\x24\x81\x25\x81\x26\x81\x27"  # 20
    b"\x81\x28\x81\x29\x81\x2a\x81\x2b\x81\x2c\x81\x2d\x01\x03\x01\x14"  # 28
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"  # 30
    b"\x00\x00\x00\x00\x91\x2e\x90\x2f\x92\x30\x02\x09\x04\x09\x1a\x31"  # 38
    b"\x02\x32\x12\x33\x33\x34\x32\x35\x22\x36\x1a\x02\x11\x37\x12\x38"  # 40
    b"\x02\x39\x32\x3a\x12\x0c\x33\x3b\x34\x3b\x34\x0a\x34\x38\x34\x3c"  # 48
    b"\x04\x3d\x32\x3e\x32\x3f\xa0\x40\xb0\x41\x34\x42\x02\x43\x09\x02"  # 50
    b"\x79\x02\x09\x09\x0a\x09\x0c\x09\x2c\x0b\x3a\x35\x22\x44\x12\x45"  # 58
    b"\x01\x46\x02\x47\x6c\x36\x6c\x3e\x01\x48\x01\x49\x02\x4a\xc4\x4b\xc3\x4b"  # 60
)
_NAMES = (
    "packet_id,battery %,temperature Cel,humidity %RH,pressure Pa,illuminance lx,mass kg,mass [lb_av],"
    "dewpoint Cel,count,energy kWh,power W,voltage V,pm25 ug/m3,pm10 ug/m3,generic_boolean,power_on,opening,"
    "co2 ppm,tvoc ug/m3,moisture %,battery_low,battery_charging,carbon_monoxide,cold,connectivity,door,"
    "garage_door,gas_detected,heat,light,lock,moisture_detected,motion,moving,occupancy,plug,presence,problem,"
    "running,safety,smoke,sound,tamper,vibration,window,button,command,dimmer,rotation deg,distance mm,"
    "distance m,duration s,current A,speed m/s,uv_index,volume L,volume mL,volume_flow_rate m3/h,gas m3,water L,"
    "timestamp s,acceleration m/s2,gyroscope deg/s,text,raw,volume_storage L,conductivity uS/cm,direction deg,"
    "precipitation mm,channel,rotational_speed /min,light_level,settings_revision,device_type,firmware,"
)
# Of buttons (0x3a), commands (0x3b) and dimmers (0x3c), by number.
_EVENTS = (
    ",press,double_press,triple_press,long_press,long_double_press,long_triple_press"
    "|off,on,toggle,step_up,step_down|,rotate_left,rotate_right"
)


def decode(data, address, key, state):
    """Decode service data of 0xFCD2, after the UUID.

    Args: address: 6 bytes as printed. key: the bindkey, 16 bytes, or None. state: keeps "counter" and "last" (encrypted),
    "packet" (its id), and "unknown": the id of the object at which reading ended, None where all were known.

    Returns [(quantity, value, unit), ...]; the second of a quantity is named quantity-2; [] for a message heard before.
    What follows an unknown object cannot be read, since its size is not known; the values before it are given.
    Raises RootletError BLE_DATA, or BLE_KEY: no key, a wrong one, a replay, or a plain message though a key is set.
    """
    data = bytes(data)
    if not data or data[0] >> 5 != 2:
        raise RootletError("BLE_DATA", "not BTHome version 2")
    if not key and not data[0] & 1:
        return _objects(data, state)
    if state.get("last") == data:
        return []
    from .aes_ccm import opened

    count = data[-8:-4]
    nonce = bytes(address) + b"\xd2\xfc" + data[:1] + count
    plain = opened(data[0] & 1, key, nonce, data[1:-8], data[-4:])
    counter = int.from_bytes(count, "little")
    if counter <= state.get("counter", -1):
        raise RootletError("BLE_KEY", "counter %d is not above %d" % (counter, state["counter"]))
    state["counter"] = counter
    state["last"] = data
    return _objects(data[:1] + plain, state)


def _objects(data, state):
    values = []
    seen: dict[str, int] = {}
    packet = bad = None
    at = 1
    while at < len(data):
        ident = data[at]
        row = 2 * (ident if ident < 0x66 else ident - 0x8A)  # 0xf0 comes after 0x65
        how = _OBJECTS[row] if ident < 0x66 or 0xF0 <= ident <= 0xF2 else 0
        if not how:
            bad = "unknown"
            break
        at += 1
        size = how & 7
        if not size:
            size = data[at] if at < len(data) else 0
            at += 1
            if ident == 0x3B:  # the length is that of what follows the command's number; its upper bits are reserved
                size = 1 + (size & 31)
        raw = data[at : at + size]
        at += size
        if at > len(data) or size > 64:
            bad = "cut short or too long"
            break
        try:
            value = _value(ident, how, raw)
        except UnicodeError:
            bad = "not UTF-8"
            break
        if not ident:
            packet = value
            continue
        name = 0
        for _ in range(_OBJECTS[row + 1]):
            name = _NAMES.find(",", name) + 1
        quantity, _, unit = _NAMES[name : _NAMES.find(",", name)].partition(" ")
        seen[quantity] = count = seen.get(quantity, 0) + 1
        if count > 1:
            quantity += "-%d" % count
        if value is not None:
            values.append((quantity, value, unit or None))
    if bad and (how or not values):
        raise RootletError("BLE_DATA", "BTHome object 0x%02x is %s" % (ident, bad))
    state["unknown"] = ident if bad else None
    if packet is not None:
        if state.get("packet") == packet:
            return []
        state["packet"] = packet
    return values


def _value(ident, how, raw):
    """The value of an object; None for the event that is none. Raises UnicodeError."""
    kind = how >> 4
    if kind < 9:
        value = int.from_bytes(raw, "little")
        if how & 8 and kind < 8 and raw[-1] & 128:
            value -= 1 << 8 * len(raw)
        if kind == 8:
            return 1 if value else 0
        if kind == 7:
            return value * 35 / 100
        return value / 10**kind if kind else value
    if kind == 9:
        number = raw[0]
        names = _EVENTS.split("|")[ident - 0x3A].split(",")
        name = names[number] if number < len(names) else "hold_press" if number == 128 else "event_%d" % number
        return " ".join([name] + [str(b) for b in raw[1:]]) if name else None
    if kind == 12:
        return ".".join([str(b) for b in reversed(raw)])
    return str(raw if kind == 10 else hexlify(raw), "utf-8")
