"""Simulated: DS18B20 thermometers on a 1-Wire bus; before a conversion they say 85 degrees, as real ones do."""


class DS18X20:
    def __init__(self, onewire):
        self.ow = onewire
        self._converted = None

    def scan(self):
        return self.ow.scan()

    def convert_temp(self):
        self.ow.reset(True)
        self._converted = list(self.ow._temperatures())

    def read_temp(self, rom):
        if rom[1] > len(self.ow._temperatures()):
            raise Exception("CRC error")
        if self._converted is None or rom[1] > len(self._converted):
            return 85.0
        return self._converted[rom[1] - 1] * 1.0
