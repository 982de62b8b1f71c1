"""Scripted Bluetooth LE sensors with a GATT server, for the virtual air (air.py)."""

import struct
from collections.abc import Sequence
from typing import Any

from bumble import gatt
from bumble.core import UUID

from host_tools.sim.peripheral_base import Peripheral

_MODES = {
    "read": gatt.Characteristic.Properties.READ,
    "notify": gatt.Characteristic.Properties.READ | gatt.Characteristic.Properties.NOTIFY,
    "indicate": gatt.Characteristic.Properties.READ | gatt.Characteristic.Properties.INDICATE,
}
_PERMISSIONS = gatt.Characteristic.Permissions


class Sensor(Peripheral):
    """A peripheral with values that can be read, and notified or indicated when they are set.

    Args: mode: "notify", "indicate" or "read" (no CCCD). The others: see Peripheral.
    """

    def __init__(self, address: str, name: str | None = None, *, mode: str = "notify", **others: Any) -> None:
        if mode not in _MODES:
            raise ValueError(f"the mode {mode!r} is none of {', '.join(_MODES)}")
        super().__init__(address, name, **others)
        self._mode = mode
        self._values: dict[str, bytes] = {}
        self._characteristics: dict[str, gatt.Characteristic[bytes]] = {}

    def characteristic(self, key: str, uuid: UUID | int | str, mode: str | None = None) -> gatt.Characteristic[bytes]:
        """A characteristic that holds the value of that key."""
        permissions = _PERMISSIONS.READABLE
        if self._encrypted:
            permissions |= _PERMISSIONS.READ_REQUIRES_ENCRYPTION
        one: gatt.Characteristic[bytes] = gatt.Characteristic(
            _uuid(uuid), _MODES[mode or self._mode], permissions, self._values[key]
        )
        self._characteristics[key] = one
        return one

    def _set(self, values: dict[str, bytes]) -> None:
        self._values.update(values)
        if self._loop is not None:
            self._do(self._tell(values))

    async def _tell(self, values: dict[str, bytes]) -> None:
        for key, value in values.items():
            one = self._characteristics[key]
            one.value = value
            if self._mode == "indicate":
                await self.device.indicate_subscribers(one)
            elif self._mode == "notify":
                await self.device.notify_subscribers(one)


def _uuid(uuid: UUID | int | str) -> UUID:
    return UUID.from_16_bits(uuid) if isinstance(uuid, int) else UUID(uuid) if isinstance(uuid, str) else uuid


class Thermometer(Sensor):
    """Environmental Sensing (0x181A) and Battery (0x180F), as the Bluetooth SIG's Environmental Sensing Service 1.0 and
    GATT Specification Supplement have them: temperature 0x2A6E (sint16, 0.01 °C), humidity 0x2A6F (uint16, 0.01 %),
    pressure 0x2A6D (uint32, 0.1 Pa), battery level 0x2A19 (uint8, %).

    Args: the first values, in °C, %RH, Pa and %. The others: see Sensor and Peripheral.
    """

    listed = (0x181A,)

    def __init__(
        self,
        address: str,
        name: str | None = None,
        *,
        temperature: float = 21.5,
        humidity: float = 45,
        pressure: float = 101325,
        battery: int = 90,
        **others: Any,
    ) -> None:
        super().__init__(address, name, **others)
        self.set(temperature=temperature, humidity=humidity, pressure=pressure, battery=battery)

    def services(self) -> list[gatt.Service]:
        """See Peripheral."""
        rows = (("temperature", 0x2A6E), ("humidity", 0x2A6F), ("pressure", 0x2A6D))
        return [
            gatt.Service(UUID.from_16_bits(0x181A), [self.characteristic(*row) for row in rows]),
            gatt.Service(UUID.from_16_bits(0x180F), [self.characteristic("battery", 0x2A19)]),
        ]

    def set(self, **values: float) -> None:
        """New values (temperature, humidity, pressure, battery); subscribers are notified of each."""
        layouts = {"temperature": ("<h", 100), "humidity": ("<H", 100), "pressure": ("<I", 10), "battery": ("<B", 1)}
        if unknown := set(values) - set(layouts):
            raise ValueError(f"a thermometer has no {', '.join(sorted(unknown))}")
        try:
            packed = {key: struct.pack(layouts[key][0], round(v * layouts[key][1])) for key, v in values.items()}
        except struct.error as error:
            raise ValueError(f"a value does not fit its characteristic: {error}") from None
        self._set(packed)

    def notify(self) -> None:
        """Send the present values once more."""
        self._set(dict(self._values))


class HeartRate(Sensor):
    """Heart Rate Service 1.0 (0x180D): heart rate measurement 0x2A37, notified, not readable."""

    listed = (0x180D,)

    def __init__(self, address: str, name: str | None = None, *, bpm: int = 60, **others: Any) -> None:
        super().__init__(address, name, **others)
        self.set(bpm)

    def services(self) -> list[gatt.Service]:
        """See Peripheral."""
        one = self.characteristic("rate", 0x2A37)
        one.properties = gatt.Characteristic.Properties.NOTIFY
        return [gatt.Service(UUID.from_16_bits(0x180D), [one])]

    def set(
        self,
        bpm: int,
        contact: bool | None = None,
        energy: int | None = None,
        rr: Sequence[float] = (),
        wide: bool = False,
    ) -> None:
        """A measurement. contact: skin contact (None: not supported); energy: kJ; rr: seconds between beats, sent in
        1/1024 s; wide: 16 bits also below 256 beats a minute."""
        wide = wide or bpm > 255
        flags = int(wide) | (0 if contact is None else 6 if contact else 4)
        flags |= (8 if energy is not None else 0) | (16 if rr else 0)
        data = struct.pack("<BH" if wide else "<BB", flags, bpm)
        data += b"" if energy is None else struct.pack("<H", energy)
        self._set({"rate": data + b"".join(struct.pack("<H", round(one * 1024)) for one in rr)})


class AnalogInput(Sensor):
    """Automation IO 1.0 (0x1815) with one analog value, 0x2A58: uint16, here millivolts."""

    listed = (0x1815,)

    def __init__(self, address: str, name: str | None = None, *, millivolts: int = 1200, **others: Any) -> None:
        super().__init__(address, name, **others)
        self.set(millivolts)

    def services(self) -> list[gatt.Service]:
        """See Peripheral."""
        return [gatt.Service(UUID.from_16_bits(0x1815), [self.characteristic("analog", 0x2A58)])]

    def set(self, millivolts: int) -> None:
        """A new value, 0 to 65535."""
        self._set({"analog": struct.pack("<H", millivolts)})


class Custom(Sensor):
    """Any service with one characteristic. service, characteristic: 128-bit UUIDs as text, or 16-bit numbers."""

    def __init__(
        self,
        address: str,
        name: str | None = None,
        *,
        service: str | int,
        characteristic: str | int,
        value: bytes = b"",
        **others: Any,
    ) -> None:
        super().__init__(address, name, **others)
        self._uuids = (service, characteristic)
        self.set(value)

    def services(self) -> list[gatt.Service]:
        """See Peripheral."""
        return [gatt.Service(_uuid(self._uuids[0]), [self.characteristic("value", self._uuids[1])])]

    def set(self, value: bytes) -> None:
        """A new value."""
        self._set({"value": value})
