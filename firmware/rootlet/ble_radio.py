"""Bluetooth LE as MicroPython gives it: what its interrupt tells goes into a ring of fixed size, to be taken later.

Nothing is allocated in the interrupt, and nothing raised: MicroPython removes a handler that raises. Strangers are let
go there already. No source may fill the ring: each has its share, and the ends of procedures have room of their own.
Events and their fields: MicroPython's docs, library/bluetooth.rst.
"""

import struct
import time

DATA = 64  # bytes kept of an advertisement (31 at most) or of a value
SLOTS = 32  # a power of two
_KEPT = 8  # of them only for what ends a procedure or a connection
_SHARE = 8  # for one source
_FORMAT = "<BBBbHHHHI6s%ds" % DATA
_SIZE = struct.calcsize(_FORMAT)
TICKS = 0x3FFFFFFF
_HANDLES = 8
_NOBODY = b"\0" * 6

SCAN_RESULT, CONNECTED, DISCONNECTED = 5, 7, 8
SERVICE, SERVICES_DONE, CHARACTERISTIC, CHARACTERISTICS_DONE, DESCRIPTOR, DESCRIPTORS_DONE = 9, 10, 11, 12, 13, 14
READ, READ_DONE, WRITE_DONE, NOTIFY, INDICATE, MTU, ENCRYPTED = 15, 16, 17, 18, 19, 21, 28
_GET_SECRET, _SET_SECRET = 29, 30
# Made here: a tuple in the interrupt would be allocated.
_VALUES = (NOTIFY, INDICATE, READ)
_FOUND = (SERVICE, CHARACTERISTIC, DESCRIPTOR)
_ENDS = (SERVICES_DONE, CHARACTERISTICS_DONE, DESCRIPTORS_DONE)


def ticks():
    """time.ticks_ms() modulo 2**30, as a number."""
    return time.ticks_diff(time.ticks_ms(), 0) & TICKS


class Radio:
    """The board's radio.

    Args: listed: list of addresses (6 bytes, most significant first, or None) that are let in, one a sensor. open:
    whether strangers are, too: where a sensor is known by name or by a resolvable address.
    """

    def __init__(self, listed, open=False):
        self.ble = None  # not before start: there may be none
        self.listed = listed
        self.open = open
        self.wanted: list = []  # UUIDs that discovery is to find
        self.bonds = None  # keeps the keys of bonded peers, see ble_bonds
        self.heard = self.dropped = 0  # advertisements; events that found no room
        self.lost = 0  # of them, of connections
        self.on = False
        self.failed = False  # the end of a procedure was lost: start again
        self._ring = bytearray(SLOTS * _SIZE)
        # Each of these is written by one side only, the interrupt or who takes: it may come between any two steps.
        self._in = self._out = 0  # slots, counted on and on
        self._put_by = bytearray(len(listed) + 1 + _HANDLES)  # by source: sensors, strangers, connections; modulo 256
        self._taken_by = bytearray(len(self._put_by))

    def start(self):
        """Switch it on. Raises OSError."""
        while self.take():
            pass
        self.failed = False
        if self.ble is None:
            import bluetooth

            self.ble = bluetooth.BLE()
        self.ble.irq(self._irq)  # before the radio is on: NimBLE asks for the keys of bonds while it starts
        self.ble.active(True)
        if self.bonds:
            self.ble.config(bond=True, le_secure=True, mitm=False, io=3)
        self.on = True

    def stop(self):
        """Switch it off; connections end without another event. Raises OSError."""
        if self.on:
            self.cancel()
            self.stop_scan()
        self.on = False
        if self.ble:
            self.ble.active(False)

    def cancel(self):
        """No longer try to connect. On a radio that is off BTstack would crash by it."""
        try:
            if self.on:
                self.ble.gap_connect(None)  # type: ignore[call-arg,arg-type,union-attr]
        except OSError:
            pass  # there is nothing to cancel

    def scan(self, interval_ms, window_ms, active):
        """Listen for `window_ms` of each `interval_ms`; active: ask for scan responses. Raises OSError."""
        self.ble.gap_scan(0, interval_ms * 1000, window_ms * 1000, active)  # type: ignore[union-attr]

    def stop_scan(self):
        """No scan from here on, if there is one."""
        try:
            self.ble.gap_scan(None)  # type: ignore[arg-type,union-attr]
        except OSError:
            pass

    def _irq(self, event, data):
        try:
            return self._event(event, data)
        except Exception:
            self.dropped += 1

    def _event(self, event, data):
        if event == SCAN_RESULT:
            kind, address, form, rssi, payload = data
            self.heard = (self.heard + 1) & TICKS  # beyond that a number is allocated
            source = 0
            for known in self.listed:
                if known is not None and address == known:
                    break
                source += 1
            else:
                if not self.open:
                    return None
            self._put(event, source, kind, rssi, form, 0, 0, address, payload)
        elif event in _VALUES:
            handle, value, payload = data
            self._put(event, self._of(handle), 0, 0, handle, value, 0, _NOBODY, payload)
        elif event in _FOUND:
            uuid = data[len(data) - 1]
            index = 0
            for known in self.wanted:
                if uuid == known:
                    break
                index += 1
            else:
                return None
            more = data[3] if event == CHARACTERISTIC else index
            last = data[2] if event != DESCRIPTOR else 0
            # The index goes where an advertisement has its kind of address.
            self._put(event, self._of(data[0]), index, 0, data[0], data[1], last, _NOBODY, _NOBODY, more)
        elif event == CONNECTED or event == DISCONNECTED:
            handle, kind, address = data
            self._put(event, -1, kind, 0, handle, 0, 0, address, _NOBODY)
        elif event in _ENDS:
            self._put(event, -1, 0, 0, data[0], 0, data[1], _NOBODY, _NOBODY)
        elif event == READ_DONE or event == WRITE_DONE:
            self._put(event, -1, 0, 0, data[0], data[1], data[2], _NOBODY, _NOBODY)
        elif event == MTU:
            self._put(event, self._of(data[0]), 0, 0, data[0], data[1], 0, _NOBODY, _NOBODY)
        elif event == ENCRYPTED:
            self._put(event, self._of(data[0]), 0, 0, data[0], 1 if data[1] else 0, 0, _NOBODY, _NOBODY)
        elif event == _GET_SECRET and self.bonds:
            return self.bonds.get(data[0], data[1], data[2])
        elif event == _SET_SECRET and self.bonds:
            return self.bonds.set(data[0], data[1], data[2])
        return None

    def _of(self, handle):
        """The source that a connection is."""
        return len(self.listed) + 1 + handle % _HANDLES

    def _put(self, event, source, kind, rssi, handle, a, b, address, payload, more=0):
        room = SLOTS - ((self._in - self._out) & TICKS)
        if source >= 0:
            if room <= _KEPT or (self._put_by[source] - self._taken_by[source]) & 255 >= _SHARE:
                self.dropped += 1
                if source > len(self.listed):
                    self.lost += 1
                return
            self._put_by[source] = (self._put_by[source] + 1) & 255
        elif room <= 0:
            self.failed = True
            return
        size = more if payload is _NOBODY else len(payload)
        struct.pack_into(
            _FORMAT, self._ring, self._in % SLOTS * _SIZE, event, source & 255, kind, rssi, handle, a, b, size,
            ticks(), address, payload,
        )  # fmt: skip
        self._in = (self._in + 1) & TICKS

    def take(self):
        """The oldest event, or None.

        Returns (event, source, kind, rssi, handle, a, b, size, ticks, address, data). source: index in `listed`, or
        its length for a stranger. size: bytes there were, of which data has DATA at most, padded by zeros; of a
        characteristic its properties. kind: of an address (0 public, 1 random); of what was discovered its index in
        `wanted`. ticks: see ticks().
        """
        if self._in == self._out:
            return None
        found = struct.unpack_from(_FORMAT, self._ring, self._out % SLOTS * _SIZE)
        source = found[1]
        if source != 255:
            self._taken_by[source] = (self._taken_by[source] + 1) & 255
        self._out = (self._out + 1) & TICKS
        return found
