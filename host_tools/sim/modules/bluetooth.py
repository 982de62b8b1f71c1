"""Simulated: the radio of the board is a socket to the host's `air` (sim/air.py), which has the real host stack.

No interrupts here: events are delivered while the program sleeps or its asyncio loop waits, and in active(True). What
modbluetooth keeps on its stack only for the call (the tuple, the memoryviews, a UUID) is spoilt after it.
"""

import io
import struct
import sys
import time

import _sim
import machine
import micropython
import select
import uctypes
import usocket
import utime

FLAG_READ = 2
FLAG_WRITE_NO_RESPONSE = 4
FLAG_WRITE = 8
FLAG_NOTIFY = 16
FLAG_INDICATE = 32

_ESP = _sim.board["port"] == "esp32"
# errno of the ports: rp2 has MicroPython's own numbers, esp32 those of its C library.
_ENOTCONN, _EALREADY, _ETIMEDOUT = (128, 120, 116) if _ESP else (107, 114, 110)
_MOST = 4 if _ESP else 1  # connections
_SLICE_MS = 8  # longest wait between two looks at the socket
_READY = 200
_SECRETS = (29, 30)
# Per event: format of the numbers, then what follows them: a(ddress), d(ata), u(uid), k(ey and value).
_LAYOUT = {
    5: ("<BBBb", "a"), 6: ("<B", ""), 7: ("<HB", "a"), 8: ("<HB", "a"), 9: ("<HHH", "u"), 10: ("<HH", ""),
    11: ("<HHHB", "u"), 12: ("<HH", ""), 13: ("<HH", "u"), 14: ("<HH", ""), 15: ("<HH", "d"), 16: ("<HHH", ""),
    17: ("<HHH", ""), 18: ("<HH", "d"), 19: ("<HH", "d"), 21: ("<HH", ""), 27: ("<HHHHH", ""), 28: ("<HBBBB", ""),
    29: ("<BB", "k"), 30: ("<B", "k"), _READY: ("<B", "a"),
}  # fmt: skip

_plain_sleep_ms = utime.sleep_ms  # `time` and `utime` are one module, whose place _hook() takes
_sock = None
_poll = None
_ready = False
_mac = None
_handler = None
_buffer = bytearray(640)
_view = memoryview(_buffer)
_have = 0
_need = 2
_inside = 0  # how deep in handlers: the heap is locked as often
_scan = 0  # number of the scan that runs, else 0
_scans = 0
_connecting = None
_conns = {}  # handle: [address, the operation that runs (BTstack has one at a time), MTU]
_exchanged = set()
_settings = {}


class UUID(bytearray):
    def __init__(self, value):
        if isinstance(value, int):
            if value > 65535:
                raise ValueError("invalid UUID")
            value = struct.pack("<H", value & 65535)
        elif isinstance(value, str) or len(value) not in (2, 4, 16):
            text = value if isinstance(value, str) else bytes(value).decode()
            text = text.replace("-", "")
            for c in text:
                if c not in "0123456789abcdefABCDEF":
                    raise ValueError("invalid char in UUID")
            if len(text) != 32:
                raise ValueError("UUID too " + ("long" if len(text) > 32 else "short"))
            value = bytes(reversed(bytes.fromhex(text)))
        super().__init__(value)

    def __hash__(self):
        return hash(bytes(self))

    def __eq__(self, other):
        # Byte by byte: a handler may compare, and cannot allocate.
        if not isinstance(other, UUID) or len(self) != len(other):
            return False
        for i in range(len(self)):
            if self[i] != other[i]:
                return False
        return True

    def __lt__(self, other):
        return (len(self), bytes(self)) < (len(other), bytes(other))

    def __repr__(self):
        text = bytes(reversed(self)).hex()
        if len(text) < 32:
            return "UUID(0x" + text + ")"
        return "UUID('%s-%s-%s-%s-%s')" % (text[:8], text[8:12], text[12:16], text[16:20], text[20:])

    __str__ = __repr__


def _send(op, fmt="", *args, data=b""):
    head = struct.pack("<B" + fmt, op, *args)
    try:
        _sock.setblocking(True)
        _sock.write(struct.pack("<H", len(head) + len(data)) + head + data)
        _sock.setblocking(False)
    except OSError:
        _close()


def _close():
    """The radio is off, or lost: nothing more is heard."""
    global _sock, _ready, _scan, _connecting, _have, _need
    if _sock:
        _poll.unregister(_sock)
        _sock.close()
    _sock = _connecting = None
    _ready = False
    _scan = _have = 0
    _need = 2
    _conns.clear()
    _exchanged.clear()


def _open():
    """Connect to the air; events of the start-up (secrets of esp32) are delivered before it returns."""
    global _sock, _poll
    port = _sim.script().get("ble", {}).get("port")
    if not port:
        raise OSError(5 if _ESP else _ETIMEDOUT)
    _sock = usocket.socket()
    try:
        _sock.setsockopt(1, 8, 8192)  # SOL_SOCKET, SO_RCVBUF: what a radio keeps for a board that does not listen
        _sock.connect(usocket.getaddrinfo("127.0.0.1", port)[0][-1])
    except OSError:
        _sock.close()
        _sock = None
        raise OSError(5 if _ESP else _ETIMEDOUT)
    _sock.setblocking(False)
    _poll = select.poll()
    _poll.register(_sock, select.POLLIN)
    _send(1, "B6s", _ESP, (b"\x28\xcd\xc1" if not _ESP else b"\x24\x0a\xc4") + machine.unique_id()[-3:])
    start = utime.ticks_ms()
    while not _ready:
        _wait(100)
        if _sock is None or utime.ticks_diff(utime.ticks_ms(), start) > 10000:
            _close()
            raise OSError(_ETIMEDOUT)


def _wait(ms):
    """Wait for an event for at most so long and deliver all that are there. Whether there was one."""
    heard = False
    for _ in _poll.ipoll(ms):
        heard = True
    while heard and _sock and _frame():
        pass
    return heard


def _frame():
    """Take what the socket has; deliver one event if it is complete. Whether there may be more."""
    global _have, _need
    n = _sock.readinto(_view[_have:_need])
    if n is None:
        return False
    if n == 0:
        _close()
        return False
    _have += n
    if _have == _need:
        if _need == 2:
            _need += _buffer[0] | _buffer[1] << 8
            return True
        length = _need
        _have = 0
        _need = 2
        _event(_buffer[2], 3, length)
    return True


def _event(code, at, end):
    global _ready, _mac, _scan, _connecting
    fmt, tail = _LAYOUT[code]
    values = struct.unpack_from(fmt, _buffer, at)
    at += struct.calcsize(fmt)
    uuid = None
    if code <= 6:
        if values[0] != _scan:
            return  # of a scan that the board has ended
        values = values[1:]
    if tail == "a":
        addr = _view[at : at + 6]
        if code == 5:
            values = (values[0], addr, values[1], values[2], _view[at + 6 : end])
        else:
            values += (addr,)
    elif tail == "u":
        uuid = UUID(_view[at:end])
        values += (uuid,)
    elif tail == "d":
        values += (_view[at:end],)
    elif tail == "k":
        n = _buffer[at]
        key = _view[at + 1 : at + 1 + n] if n else None
        values += (key,)
        if code == 30:
            at += 1 + n
            values += (_view[at + 1 : end] if _buffer[at] else None,)
    if code == _READY:
        _ready = True
        _mac = bytes(addr)
        return
    if code == 6:
        _scan = 0
    elif code == 7:
        _connecting = None
        if values[0] or _ESP:
            _conns[values[0]] = [bytes(addr), None, 23]
    elif code == 8:
        _conns.pop(values[0], None)
        _exchanged.discard(values[0])
        if _ESP and values[0] == 0xFFFF:
            _connecting = None
    elif code == 21 and values[0] in _conns:
        _conns[values[0]][2] = values[1]
    elif code in (10, 12, 14, 16, 17) and values[0] in _conns:
        _conns[values[0]][1] = None
    answer = _call(code, values)
    if code >= 29:
        if code == 30:
            _send(16, "B", bool(answer))
        elif answer is None:
            _send(15, "B", 0)
        else:
            _send(15, "B", 1, data=bytes(answer))
    # What was kept of the call is rubbish now, as it is on a board.
    for i in range(2, end):
        _buffer[i] = 0xA5
    for i in range(len(uuid) if uuid else 0):
        uuid[i] = 0xA5


def _call(code, values):
    """Call the handler as a board does: one that raises is not called again.

    Stricter than a board: it cannot allocate, but for secrets, which it has to copy.
    """
    global _handler, _inside
    if _handler is None:
        return None
    answer = error = None
    if code not in _SECRETS:
        micropython.heap_lock()
        _inside += 1
    try:
        answer = _handler(code, values)
    except Exception as e:
        error = e
    finally:
        if code not in _SECRETS:
            _inside -= 1
            micropython.heap_unlock()
    if values:  # the empty one is a constant
        uctypes.bytearray_at(id(values) + 8, 8)[:] = bytes(8)  # its length
    if error:
        print("Unhandled exception in IRQ callback handler")
        text = io.StringIO()
        sys.print_exception(error, text)
        for line in text.getvalue().split("\n")[:-1]:
            if '"/rom/' not in line:
                print(line)
        _handler = None
    return answer


def _do(f, a=None, b=None, c=None, d=None, e=None):
    """Call a function of the radio; from a handler too, where the heap is locked for the program but not for this."""
    depth = _inside
    for _ in range(depth):
        micropython.heap_unlock()
    try:
        return f(a, b, c, d, e)
    finally:
        for _ in range(depth):
            micropython.heap_lock()


def _active():
    if not _sock:
        raise OSError(19)
    _hook()


def _conn(handle, code=None):
    """The connection, which is free for an operation of BTstack, or marks it busy. OSError as the stacks give."""
    _active()
    c = _conns.get(handle)
    if c is None:
        raise OSError(_ENOTCONN if _ESP or code in (15, 17) else 22)
    if not _ESP and code:
        if c[1] is not None:
            raise OSError(_EALREADY)
        c[1] = code
    return c


def _set_active(on, b, c, d, e):
    if on:
        if _sock and not _ESP:
            return
        if _sock:
            _end_scan(False)
            _close()
        _hook()
        _open()
    elif _sock:
        if _ESP:
            _end_scan(False)
        _close()


def _end_scan(always):
    global _scan
    if _scan or always:
        if _scan:
            _send(3)
        _scan = 0
        _call(6, ())


def _gap_scan(duration, interval, window, active, e):
    global _scan, _scans
    _active()
    if duration is None:
        return _end_scan(not _ESP)
    if _ESP and (_scan or _connecting):
        raise OSError(_EALREADY if _scan else 16)
    _scans = _scans % 255 + 1
    _scan = _scans
    _send(2, "BiiiB", _scan, duration, interval, window, bool(active))


def _gap_connect(kind, addr, duration, low, high):
    global _connecting
    if kind is None:
        _active()
        if _connecting is None:
            if _ESP:
                raise OSError(_EALREADY)
            return
        return _send(5)
    addr = bytes(addr)
    if len(addr) != 6:
        raise ValueError("invalid addr")
    _active()
    if _ESP:
        if _scan:
            _end_scan(False)
        if _connecting:
            raise OSError(_EALREADY)
        if len(_conns) >= _MOST:
            raise OSError(12)
        for c in _conns.values():
            if c[0] == addr:
                raise OSError(5)
    else:
        if _connecting:
            raise OSError(22)
        for c in _conns.values():
            raise OSError(22 if c[0] == addr else 12)
    _connecting = addr
    _send(4, "B6siII", kind, addr, 2000 if duration is None else duration, low or 0, high or 0)


def _gap_disconnect(handle, b, c, d, e):
    _active()
    if handle in _conns:
        _send(6, "H", handle)
        return True
    if _ESP:
        return False
    _call(8, (handle, 255, memoryview(bytes(6))))
    return True


def _discover(op, handle, first, last, uuid):
    if uuid is not None and not isinstance(uuid, UUID):
        raise TypeError("UUID")
    if uuid is not None and len(uuid) == 4 and not _ESP:
        raise OSError(22)
    _conn(handle, op)
    _send(op, "HHH", handle, first, last, data=bytes(uuid) if uuid is not None else b"")


def _read(conn, handle, c, d, e):
    _conn(conn, 15)
    _send(10, "HH", conn, handle)


def _write(conn, handle, data, mode, e):
    if isinstance(data, str):
        data = data.encode()
    data = bytes(data)
    if mode not in (0, 1):
        raise OSError(22)
    c = _conn(conn, None)
    if not _ESP and len(data) > c[2] - 3:
        raise OSError(22)  # NimBLE cuts it instead
    _conn(conn, 17 if mode else None)
    _send(11, "HHB", conn, handle, mode, data=data)


def _exchange(conn, b, c, d, e):
    _conn(conn)
    if _ESP and conn in _exchanged:
        raise OSError(_EALREADY)
    _exchanged.add(conn)
    _send(12, "HH", conn, _settings.get("mtu", 256 if _ESP else 1017))


def _config(name, values, c, d, e):
    if not values:
        if name == "gap_name":
            return _settings.get("gap_name", b"MPY ESP32" if _ESP else b"MPY BTSTACK")
        if name not in ("mac", "mtu"):
            raise ValueError("unknown config param")
        _active()
        return (0, _mac) if name == "mac" else _settings.get("mtu", 256 if _ESP else 1017)
    if name is not None:
        raise TypeError("can't specify pos and kw args")
    for key, value in values.items():
        if key == "gap_name":
            _settings[key] = value.encode() if isinstance(value, str) else bytes(value)
        elif key == "mtu":
            _active()
            if not 23 <= value <= (527 if _ESP else 1017):
                raise OSError(22)
            _settings[key] = value
        elif key == "addr_mode":
            _active()
            if value != 0:
                raise OSError(22)  # the air knows boards by their public address only
        elif key in ("bond", "mitm", "le_secure", "io") and _ESP:
            _settings[key] = int(value)
        else:
            raise ValueError("unknown config param")


def _pair(conn, b, c, d, e):
    _conn(conn)
    s = _settings
    _send(13, "HBBBB", conn, s.get("bond", 0), s.get("mitm", 0), s.get("le_secure", 1), s.get("io", 3))


class BLE:
    _one = None

    def __new__(cls):
        if BLE._one is None:
            BLE._one = object.__new__(cls)
        return BLE._one

    def active(self, on=None):
        if on is not None:
            _do(_set_active, on)
        return _sock is not None

    def config(self, name=None, **values):
        if name is None and not values:
            raise TypeError("must query one param")
        return _config(name, values, None, None, None)

    def irq(self, handler):
        global _handler
        if handler is not None and not callable(handler):
            raise ValueError("invalid handler")
        _handler = handler

    def gap_scan(self, duration_ms=0, interval_us=1280000, window_us=11250, active=False):
        _do(_gap_scan, duration_ms, interval_us, window_us, active)

    def gap_connect(self, addr_type, addr=None, scan_duration_ms=2000, low=0, high=0):
        if addr is None and addr_type is not None:
            raise TypeError("invalid addr")
        _do(_gap_connect, addr_type, addr, scan_duration_ms, low, high)

    def gap_disconnect(self, conn):
        return _do(_gap_disconnect, conn)

    def gattc_discover_services(self, conn, uuid=None):
        _do(_discover, 7, conn, 1, 0xFFFF, uuid)

    def gattc_discover_characteristics(self, conn, first, last, uuid=None):
        _do(_discover, 8, conn, first, last, uuid)

    def gattc_discover_descriptors(self, conn, first, last):
        _do(_discover, 9, conn, first, last)

    def gattc_read(self, conn, handle):
        _do(_read, conn, handle)

    def gattc_write(self, conn, handle, data, mode=0):
        _do(_write, conn, handle, data, mode)

    def gattc_exchange_mtu(self, conn):
        _do(_exchange, conn)

    def gap_advertise(self, *args, **kwargs):
        raise NotImplementedError("the virtual board is a central only")

    gatts_register_services = gatts_read = gatts_write = gatts_notify = gatts_indicate = gap_advertise
    gatts_set_buffer = gap_advertise

    if _ESP:

        def gap_pair(self, conn):
            _do(_pair, conn)

        def gap_passkey(self, conn, action, passkey):
            _active()
            # NimBLE asks for one in the peripheral's role only, so there is never one to be given.
            raise OSError(2 if action in (2, 3, 4) else 22)


def _sleep_ms(ms):
    end = utime.ticks_add(utime.ticks_ms(), ms)
    while _sock and not _inside:
        left = utime.ticks_diff(end, utime.ticks_ms())
        if left <= 0:
            return
        _wait(left)
    _plain_sleep_ms(max(0, utime.ticks_diff(end, utime.ticks_ms())))


def _sleep(seconds):
    _sleep_ms(int(seconds * 1000))


def _wait_io(queue, ms):
    """In asyncio's place of waiting: the events of the radio come first, then those of the sockets."""
    while _sock and not _inside:
        if _wait(0):
            ms = 0
        if 0 <= ms <= _SLICE_MS:
            break
        before = utime.ticks_ms()
        _wait_sockets(queue, _SLICE_MS)
        _now = utime.ticks_diff(utime.ticks_ms(), before)
        if _now < _SLICE_MS:  # a socket was ready
            return
        if ms > 0:
            ms = max(0, ms - _now)
    _wait_sockets(queue, ms)


_wait_sockets = None


def _hook():
    """Take the places where a program waits. asyncio may be imported after this module."""
    global _wait_sockets
    time.sleep_ms = _sleep_ms
    time.sleep = _sleep
    core = sys.modules.get("asyncio.core")
    if core and _wait_sockets is None:
        _wait_sockets = core.IOQueue.wait_io_event
        core.IOQueue.wait_io_event = _wait_io
