"""Simulated: DHT11 and DHT22 on the pins of the script; no entry for a pin means that nothing answers there."""

import _sim


class DHTBase:
    def __init__(self, pin):
        self._pin = str(pin._id)
        self._now = {}

    def measure(self):
        now = _sim.script().get("sensors", {}).get("dht", {}).get(self._pin)
        if now is None:
            raise OSError(110 if _sim.board["port"] == "rp2" else 116)
        self._now = now


class DHT11(DHTBase):
    def temperature(self):
        return int(self._now.get("temperature", 0))

    def humidity(self):
        return int(self._now.get("humidity", 0))


class DHT22(DHTBase):
    def temperature(self):
        return self._now.get("temperature", 0) * 1.0

    def humidity(self):
        return self._now.get("humidity", 0) * 1.0
