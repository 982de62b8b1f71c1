"""Sensors through one small interface: read() gives a list of (quantity, value, unit)."""

from .errors import RootletError


class InternalTemperature:
    """The chip's own temperature. The board file says how it is measured."""

    def __init__(self, row, board):
        self._how = board["temperature"]

    def read(self):
        if self._how["kind"] == "esp32_mcu":
            import esp32

            celsius = esp32.mcu_temperature()
        elif self._how["kind"] == "esp32_raw":
            import esp32

            celsius = (esp32.raw_temperature() - 32) / 1.8  # the classic ESP32 gives degrees Fahrenheit
        else:
            import machine

            volts = machine.ADC(self._how["channel"]).read_u16() * 3.3 / 65535
            celsius = 27 - (volts - 0.706) / 0.001721  # RP2040 datasheet, section 4.9.5
        return [("temperature", round(celsius, 2), "Cel")]


class Adc:
    """A voltage on an ADC pin, times `scale`."""

    def __init__(self, row, board):
        import machine

        self._adc = machine.ADC(machine.Pin(row["pin"]))
        self._scale = row["scale"]
        self._unit = row["unit"] or "V"

    def read(self):
        volts = self._adc.read_u16() * 3.3 / 65535
        return [("voltage", round(volts * self._scale, 4), self._unit)]


class Dht:
    """DHT11 or DHT22: temperature and relative humidity."""

    def __init__(self, row, board):
        import dht
        import machine

        kind = dht.DHT11 if row["kind"] == "dht11" else dht.DHT22
        self._sensor = kind(machine.Pin(row["pin"]))

    def read(self):
        self._sensor.measure()
        return [("temperature", self._sensor.temperature(), "Cel"), ("humidity", self._sensor.humidity(), "%RH")]


class Ds18b20:
    """The DS18B20s on one 1-Wire pin; with several, each quantity carries the end of its address."""

    def __init__(self, row, board):
        import ds18x20
        import machine
        import onewire

        self._bus = ds18x20.DS18X20(onewire.OneWire(machine.Pin(row["pin"])))
        self._roms = self._bus.scan()
        if not self._roms:
            raise RootletError("SENSOR", "no DS18B20 answers on pin %d" % row["pin"])
        self._converting = False

    def read(self):
        # A conversion takes 750 ms. Reading the one begun last time costs no waiting, at the price of one period.
        found = []
        if self._converting:
            for rom in self._roms:
                name = "temperature" if len(self._roms) == 1 else "temperature-" + "".join("%02x" % b for b in rom[-3:])
                found.append((name, round(self._bus.read_temp(rom), 3), "Cel"))
        self._bus.convert_temp()
        self._converting = True
        return found


class Simulated:
    """A sawtooth from 20 to 25, for demonstrations and tests."""

    def __init__(self, row, board):
        self._n = -1
        self._unit = row["unit"] or "Cel"

    def read(self):
        self._n += 1
        return [("simulated", 20 + self._n % 11 * 0.5, self._unit)]


_KINDS = {
    "internal_temperature": InternalTemperature,
    "adc": Adc,
    "dht11": Dht,
    "dht22": Dht,
    "ds18b20": Ds18b20,
    "simulated": Simulated,
}


def make(row, board):
    """A sensor from its row of the configuration.

    Args: row: kind, name, pin, scale and unit, as docs/configuration.md has them. board: the board file.
    Returns an object whose read() gives a list of (quantity, value, unit). Raises RootletError SENSOR.
    """
    try:
        return _KINDS[row["kind"]](row, board)
    except (OSError, ValueError, ImportError) as e:
        raise RootletError("SENSOR", "'%s': %s" % (row["name"], e)) from None


def read(sensor, name):
    """Read a sensor: a list of (quantity, value, unit).

    Args: sensor: as make gives it. name: for the error. Raises RootletError SENSOR for errors of the hardware.
    """
    try:
        return sensor.read()
    except (OSError, ValueError) as e:
        raise RootletError("SENSOR", "'%s': %s" % (name, e)) from None
