"""Simulated: a 1-Wire bus that holds the DS18B20s which the script has on its pin."""

import _sim


class OneWireError(Exception):
    pass


class OneWire:
    def __init__(self, pin):
        self._pin = str(pin._id)

    def _temperatures(self):
        return _sim.script().get("sensors", {}).get("ds18x20", {}).get(self._pin, [])

    def scan(self):
        return [bytearray((0x28, n + 1, 0, 0, 0, 0, n + 1, n)) for n in range(len(self._temperatures()))]

    def reset(self, required=False):
        found = bool(self._temperatures())
        if required and not found:
            raise OneWireError
        return found
