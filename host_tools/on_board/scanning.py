"""The board's part of `rootlet ble scan`: hears advertisements, or explores one peripheral; nothing stays.

What it prints, a line each, begins with "rootlet-ble "; host_tools/ble_scan.py reads it. Events and their fields:
MicroPython's docs, library/bluetooth.rst. Memory is bounded whoever is in the air: the ring and the tables below.
"""

import binascii
import struct
import time

_DATA = 64  # bytes kept of an advertisement or a value
_FORMAT = "<BBBbHHHH6s%ds" % _DATA
_SIZE = struct.calcsize(_FORMAT)
_SLOTS = 64
_ADDRESSES = 64
_PAYLOADS = 12  # told of one address
_SERVICES, _CHARACTERISTICS = 24, 64
_STEP_MS, _CONNECT_MS, _EXPLORE_MS = 5000, 8000, 60000
_NONE = b""
_ring = bytearray(_SIZE * _SLOTS)
_in = 0  # slots, counted on and on; each of the two is written by one side only
_out = 0
_lost = 0


def _put(event, kind, form, rssi, a, b, c, size, address, data):
    global _in, _lost
    if _in - _out >= _SLOTS:
        _lost += 1
        return
    struct.pack_into(
        _FORMAT, _ring, _in % _SLOTS * _SIZE, event, kind, form, rssi, a, b, c, size, address, data
    )  # fmt: skip
    _in += 1


def _irq(event, data):
    """MicroPython removes a handler that raises."""
    global _lost
    try:
        _copy(event, data)
    except Exception:
        _lost += 1


def _copy(event, data):
    """Copies an event into the ring; nothing is allocated here."""
    if event == 5:  # scan result: kind, address, form, rssi, payload
        _put(5, data[0], data[2], data[3], 0, 0, 0, len(data[4] or _NONE), data[1], data[4] or _NONE)
    elif event == 7 or event == 8:  # connected, disconnected: handle, kind, address
        _put(event, data[1], 0, 0, data[0], 0, 0, 0, data[2], _NONE)
    elif event == 9:  # service: handle, start, end, UUID
        _put(9, 0, 0, 0, data[0], data[1], data[2], 0, _NONE, data[3])
    elif event == 11:  # characteristic: handle, end, value's handle, properties, UUID
        _put(11, 0, 0, 0, data[0], data[2], data[3], 0, _NONE, data[4])
    elif event == 15:  # read: handle, value's handle, value
        _put(15, 0, 0, 0, data[0], data[1], 0, len(data[2] or _NONE), _NONE, data[2] or _NONE)
    elif event == 10 or event == 12:  # discovery ends: handle, status
        _put(event, 0, 0, 0, data[0], 0, data[1], 0, _NONE, _NONE)
    elif event == 16:  # reading ends: handle, value's handle, status
        _put(16, 0, 0, 0, data[0], data[1], data[2], 0, _NONE, _NONE)
    elif event == 6:  # the scan ends
        _put(6, 0, 0, 0, 0, 0, 0, 0, _NONE, _NONE)


def _take():
    """The oldest event, or None: (event, kind, form, rssi, a, b, c, size, address, data)."""
    global _out
    if _in == _out:
        return None
    found = struct.unpack_from(_FORMAT, _ring, _out % _SLOTS * _SIZE)
    _out += 1
    return found


def _until(event, ms):
    """Events as they come, up to and with this one; None where the time is up."""
    began = time.ticks_ms()
    while True:
        found = _take()
        if found is None:
            if time.ticks_diff(time.ticks_ms(), began) > ms:
                yield None
                return
            time.sleep_ms(4)
            continue
        yield found
        if found[0] == event:
            return


def _tell(*words):
    print("rootlet-ble", *words)


def _hex(data):
    return binascii.hexlify(data).decode() or "-"


def _radio():
    """(BLE, whether it was active before), or None where the board has none."""
    try:
        import bluetooth

        ble = bluetooth.BLE()
        before = ble.active()
        ble.active(True)
    except (ImportError, OSError) as e:
        _tell("fault", "radio", e if isinstance(e, OSError) else "none")
        return None
    ble.irq(_irq)
    return ble, before


def _leave(radio):
    ble, before = radio
    ble.irq(None)
    if not before:
        ble.active(False)


def _stop(ble):
    try:
        ble.gap_scan(None)
    except OSError:
        pass


def _hear(ble, ms, active):
    seen = {}
    over = 0
    ble.gap_scan(ms, 60000, 60000, active)
    for found in _until(6, ms + 1000):
        if found is None or found[0] != 5:
            continue
        _, kind, form, rssi, _, _, _, size, address, data = found
        row = seen.get((kind, address))
        if row is None:
            if len(seen) >= _ADDRESSES:
                over += 1
                continue
            seen[(kind, address)] = row = [0, rssi]
        row[0] += 1
        row[1] = rssi
        data = data[:size]
        mark = hash(data) ^ form << 4
        if mark not in row[2:] and len(row) < _PAYLOADS + 2:
            row.append(mark)
            _tell("heard", kind, _hex(address), form, rssi, size, _hex(data))
    _stop(ble)
    for kind, address in seen:
        row = seen[(kind, address)]
        _tell("count", kind, _hex(address), row[0], row[1])
    return over


def scan(seconds, active):
    """Tell what is heard within some seconds. active: ask for scan responses too."""
    radio = _radio()
    if radio is None:
        return
    try:
        over = _hear(radio[0], int(seconds * 1000), active)
        _tell("end", _lost, over)
    finally:
        _leave(radio)


def _find(ble, address, ms):
    """The kind of a peripheral's address, once it has been heard; None if it is not."""
    kind = None
    ble.gap_scan(ms, 60000, 60000, False)
    for found in _until(6, ms + 1000):
        if found is not None and found[0] == 5 and found[8] == address and kind is None:
            kind = found[1]
            _stop(ble)
    return kind


def _connect(ble, kind, address):
    """The handle of a connection, or None."""
    ble.gap_connect(kind, address, _CONNECT_MS)
    for wanted in (7, 8):
        for found in _until(wanted, _CONNECT_MS):
            if found is not None and found[0] == 7 and found[8] == address:
                return found[4]
            if found is not None and found[0] in (7, 8):  # BTstack: connected to no address; NimBLE: disconnected
                return None
        try:
            ble.gap_connect(None)  # it is too late; the end of that is told too
        except (OSError, TypeError):
            return None
    return None


def _find_rows(start, wanted, end, most):
    """Begin a discovery; what it finds: [(b, c, data)]. Raises OSError."""
    start()
    rows = []
    for found in _until(end, _STEP_MS):
        if found is None or found[0] == 8:
            raise OSError("no answer" if found is None else "the connection ended")
        if found[0] == wanted and len(rows) < most:
            rows.append((found[5], found[6], found[9]))
    return rows


def _uuid(data):
    """Hexadecimal, most significant byte first; the shortest form that it has."""
    size = 16 if data[4:16] != b"\0" * 12 else 2 if data[2:4] == b"\0\0" else 4
    return _hex(bytes([data[size - 1 - i] for i in range(size)]))


def _read(ble, handle, value):
    """Read a value and tell it. Raises OSError."""
    try:
        ble.gattc_read(handle, value)
    except OSError:
        _tell("unread", value, 255)
        return
    got = None
    for found in _until(16, _STEP_MS):
        if found is None or found[0] == 8:
            raise OSError("no answer" if found is None else "the connection ended")
        if found[0] == 15 and found[5] == value:
            got = found
        elif found[0] == 16:
            if found[6] or got is None:
                _tell("unread", value, found[6] & 255)
            else:
                _tell("value", value, got[7], _hex(got[9][: got[7]]))


def _explore(ble, handle):
    began = time.ticks_ms()
    left = _CHARACTERISTICS
    services = _find_rows(lambda: ble.gattc_discover_services(handle), 9, 10, _SERVICES)
    for start, end, data in services:
        _tell("service", _uuid(data))
        if left <= 0 or time.ticks_diff(time.ticks_ms(), began) > _EXPLORE_MS:
            continue
        rows = _find_rows(lambda: ble.gattc_discover_characteristics(handle, start, end), 11, 12, left)
        left -= len(rows)
        for value, properties, uuid in rows:
            _tell("characteristic", _uuid(uuid), value, properties)
            if properties & 2 and time.ticks_diff(time.ticks_ms(), began) < _EXPLORE_MS:
                _read(ble, handle, value)


def explore(address, seconds):
    """Connect to a peripheral (its address: 12 hexadecimal digits); tell its services, characteristics and values."""
    address = binascii.unhexlify(address)
    radio = _radio()
    if radio is None:
        return
    ble = radio[0]
    try:
        kind = _find(ble, address, int(seconds * 1000))
        if kind is None:
            _tell("fault", "absent", "-")
            return
        handle = _connect(ble, kind, address)
        if handle is None:
            _tell("fault", "connect", "-")
            return
        try:
            _explore(ble, handle)
        except OSError as e:
            _tell("fault", "explore", e)
        try:
            ble.gap_disconnect(handle)
            for _ in _until(8, 2000):
                pass
        except OSError:
            pass
        _tell("end", _lost, 0)
    finally:
        _leave(radio)
