"""What is known of one configured BLE sensor: who it is, how it is decoded, which of its values are worth telling."""

from binascii import unhexlify

from . import ble_adverts, ble_formats
from .ble_radio import TICKS, ticks

_BURST = 8  # messages of one sensor that are decoded in a second
_LONGEST = 10  # times every_s: a value that does not change is published again after that
_QUANTITIES = 32  # of one sensor
_EVENTS = ("button", "command", "dimmer")


def decoder(name):
    """A decoder by its name; only what the configuration asks for is loaded."""
    module = "decode_" + name
    return getattr(__import__("rootlet." + module), module)


def _place(source):
    """The type of the field and the identifier that a source of "values" names."""
    kind, _, ident = source.partition(":")
    if kind == "manufacturer":
        return 0xFF, int(ident, 16)
    # 16-bit UUID, or 128-bit one, whose bytes are the other way round in the air.
    return (0x16, int(ident, 16)) if len(ident) == 4 else (0x21, bytes(reversed(unhexlify(ident.replace("-", "")))))


class Sensor:
    """What is known of one configured sensor. Args: row: of "sensors" in the checked "ble" section."""

    def __init__(self, row, every_s):
        self.row = row
        self.name = row["name"]
        self._every_s = every_s
        self.address = unhexlify(row["address"].replace(":", "")) if row["address"] else None
        self.fixed = self.address is not None
        self.kind = 0
        self.irk = unhexlify(row["irk"]) if row["irk"] else None
        self.key = unhexlify(row["bindkey"]) if row["bindkey"] else None
        self.prefix = None
        if row["local_name"]:
            self.prefix = row["local_name"].encode()
        self.state: dict = {}
        self.last: dict = {}  # by quantity: (value, ticks) as published
        self.held: dict = {}  # by quantity: (value, unit, ticks) that came too early
        self.payload = b""
        self.at = None  # ticks when it was heard
        self.fresh = False  # heard since the last connection
        self.rssi = 0
        self.second = self.budget = self.events = 0
        self.told: dict = {}  # ticks by code
        self.busy = False  # a session uses the address
        self.useless = 0  # messages without anything of its format; -1: there was one with it
        self.missed = False
        self.values = row["values"]
        self.sources: list = []  # (source, type of the field, identifier)
        if row["format"] == "mapped":
            for value in self.values:
                where = value["source"]
                if where not in [known[0] for known in self.sources]:
                    self.sources.append((where,) + _place(where))
        if self.values:
            self.mapped = decoder("mapped").decode
        if row["format"] in ble_formats.ADVERTS:
            self.place = ble_formats.ADVERTS[row["format"]]
            self.decode = decoder(row["format"]).decode

    @property
    def every_ms(self):
        """Least time between two values of a quantity; a command may change it."""
        every_s = self.row["every_s"]
        return int((self._every_s if every_s is None else every_s) * 1000)

    def matches(self, address, kind, payload):
        """Whether an advertisement of an unknown address is its own."""
        if self.irk:
            return kind == 1 and ble_adverts.resolves(address, self.irk)
        if not self.prefix:
            return False
        name = ble_adverts.local_name(payload)
        if name is None:
            return False
        name = bytes(name)
        return name.startswith(self.prefix[:-1]) if self.prefix[-1:] == b"*" else name == self.prefix

    def due(self, quantity, value, now):
        """Whether a value is worth publishing; then it counts as published."""
        if quantity.split("-")[0] in _EVENTS:  # each one counts, and decoders leave out repetitions
            self.events -= 1
            return self.events >= 0
        before = self.last.get(quantity)
        if before is None and len(self.last) >= _QUANTITIES:
            return False
        if before is not None and self.every_ms:
            age = (now - before[1]) & TICKS
            if age < self.every_ms:
                return False
            least = self.row["change"].get(quantity)
            if (
                least
                and not isinstance(value, str)
                and abs(value - before[0]) < least
                and age < self.every_ms * _LONGEST
            ):
                return False
        self.last[quantity] = (value, now)
        return True

    def affordable(self):
        """Whether one more message may be decoded in this second."""
        second = ticks() // 1000
        if second != self.second:
            self.second, self.budget, self.events = second, _BURST, _BURST
        self.budget -= 1
        return self.budget >= 0
