"""A Listener with a radio that is told by hand what is heard."""

import sys


class Ble:
    def __init__(self):
        self.scans = []

    def active(self, on=None):
        return on

    def irq(self, handler):
        self.handler = handler

    def config(self, **words):
        pass

    def gap_scan(self, *args):
        self.scans.append(args)


class Bluetooth:
    BLE = Ble


sys.modules["bluetooth"] = Bluetooth

from rootlet import ble_gateway
from rootlet.ble_gateway import Listener

ROW = {
    "name": "tag", "format": "ruuvi", "address": None, "local_name": None, "irk": None, "bindkey": None,
    "every_s": None, "change": {}, "services": ("battery",), "bond": False, "values": (),
}  # fmt: skip
A, B = b"\xc1\x02\x03\x04\x05\x06", b"\xc1\x02\x03\x04\x05\x07"


def level(value):
    """An advertisement whose manufacturer data is one 16-bit number."""
    return b"\x02\x01\x06\x05\xff\x99\x04" + bytes([value & 255, value >> 8])


LEVEL = {
    "quantity": "level",
    "source": "manufacturer:0499",
    "format": "<H",
    "offset": 0,
    "scale": 1,
    "add": 0,
    "unit": "V",
}


class Setup:
    def __init__(self, *rows, every_s=0):
        self.readings, self.failures, self.lines = [], [], []
        made = []
        for i, row in enumerate(rows):
            one = dict(ROW)
            one.update({"name": "s%d" % i, "format": "mapped", "values": [LEVEL]})
            one.update(row)
            made.append(one)
        settings = {"active": False, "interval_ms": 200, "window_ms": 80, "every_s": every_s, "sensors": made}
        self.ready = True
        self.listener = Listener(
            settings, {}, lambda *a: self.readings.append(a), lambda *a: self.lines.append(a),
            self.failures.append, None, lambda: self.ready,
        )  # fmt: skip
        self.listener.radio.start()

    def hear(self, address, payload, kind=1):
        self.listener.radio.ble.handler(5, (kind, address, 0, -60, payload))

    def values(self):
        while self.listener.drain():
            pass
        found = [(r[0], r[2]) for r in self.readings]
        self.readings.clear()
        return found


def wait(ms):
    """Time is an argument of nothing here; the clock itself is moved."""
    real = ble_gateway.ticks
    ble_gateway.ticks = lambda: (real() + ms) & ble_gateway.TICKS
    return real
