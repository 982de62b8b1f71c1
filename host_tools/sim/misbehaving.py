"""Bluetooth LE peripherals that break the rules, or die at the worst moment, for the virtual air (air.py)."""

import asyncio
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

from bumble import att, gatt
from bumble.core import UUID
from bumble.device import Connection
from bumble.link import LocalLink

from host_tools.sim import adverts_made as made
from host_tools.sim.peripheral_base import Peripheral
from host_tools.sim.peripherals import Sensor, Thermometer

# Opcodes of requests (Core Specification 5.4, Vol 3, Part F, 3.4).
_ERROR, _FIND_INFORMATION, _FIND_BY_VALUE, _READ_BY_TYPE, _READ, _READ_BY_GROUP, _WRITE = 1, 4, 6, 8, 10, 16, 18
_READS = (_READ, 12)
_NOT_FOUND = 0x0A
_NAMES = ("temperature", "humidity", "pressure", "battery")


def _answer(peripheral: Peripheral, connection: Connection, pdu: bytes) -> None:
    peripheral.device.send_l2cap_pdu(connection.handle, att.ATT_CID, pdu)


def _group(rows: list[tuple[int, int, bytes]]) -> bytes:
    """A Read By Group Type Response: first handle, last handle, UUID, each as wrong as one likes."""
    return bytes((0x11, 4 + len(rows[0][2]))) + b"".join(struct.pack("<HH", a, b) + uuid for a, b, uuid in rows)


def _readable(uuid: str) -> gatt.Characteristic[bytes]:
    properties, permissions = gatt.Characteristic.Properties.READ, gatt.Characteristic.Permissions.READABLE
    return gatt.Characteristic(uuid, properties, permissions, b"\0")


class Liar(Thermometer):
    """A thermometer that lies.

    Args: lie:
        "empty", "short", "long" (512 bytes): values of no or another length;
        "special": the values that stand for "not known" (0x8000, 0xFFFF …) or that are out of their range;
        "services": its services end before they begin, overlap, or have the handles 0 and 0xFFFF;
        "characteristics": value handles outside of the service, 0, or its own declaration;
        "truncated": answers whose length byte does not fit what follows, and answers to what was not asked;
        "ghosts": after a subscription, notifications for handles that do not exist, empty and too long ones;
        "adverts": advertisements that break the rules of AD structures, one after the other, by `seed`.
    """

    lies = ("empty", "short", "long", "special", "services", "characteristics", "truncated", "ghosts", "adverts")

    def __init__(self, address: str, name: str | None = None, *, lie: str, seed: int = 0, **others: Any) -> None:
        if lie not in self.lies:
            raise ValueError(f"the lie {lie!r} is none of {', '.join(self.lies)}")
        super().__init__(address, name, **others)
        self.lie = lie
        self.told = 0
        self._adverts = made.malformed(seed)
        values = {
            "empty": (b"",) * 4,
            "short": (b"\x01",) * 3 + (b"",),
            "long": (bytes(range(256)) * 2,) * 4,
            "special": (b"\x00\x80", b"\xff\xff", b"\xff\xff\xff\xff", b"\xff"),
        }
        if lie in values:
            self._set(dict(zip(_NAMES, values[lie], strict=True)))

    async def start(self, link: LocalLink) -> None:
        """See Peripheral."""
        await super().start(link)
        if self.lie == "adverts":
            self._spawn(self._advertise_lies())

    async def _advertise_lies(self) -> None:
        while True:
            self.radio.le_legacy_advertiser.advertising_data = self._adverts[self.told % len(self._adverts)]
            self.radio.le_legacy_advertiser.send_advertising_data()  # beside its own, so that each is sent
            self.told += 1
            await asyncio.sleep(self._interval_ms / 1000)

    def on_request(self, connection: Connection, pdu: bytes) -> bool:
        """See Peripheral."""
        answer = b""
        first = struct.unpack_from("<H", pdu, 1)[0] if len(pdu) > 2 else 0
        environmental = struct.pack("<H", 0x181A)
        if self.lie == "services" and pdu[0] == _READ_BY_GROUP and first < 0x30:
            rows = [(0x20, 0x10), (0, 0), (0x18, 0x2F), (0x2F, 0x2F), (0xFFFF, 0)]
            answer = _group([(*row, environmental) for row in rows])
        elif self.lie == "services" and pdu[0] == _FIND_BY_VALUE:
            answer = b"\x07" + struct.pack("<HHHH", 0x20, 0x10, 0, 0xFFFF)
        elif self.lie == "characteristics" and pdu[0] == _READ_BY_TYPE:
            rows = [(first, 0), (first, first), (first, 0xFFFF), (1, 1)]
            answer = b"\x09\x07" + b"".join(struct.pack("<HBHH", a, 0x12, b, 0x2A6E) for a, b in rows)
        elif self.lie == "truncated" and not pdu[0] & 1 and pdu[0] != 2:
            wrong = {
                _READ_BY_GROUP: b"\x11\x06\x01",
                _READ_BY_TYPE: b"\x09\xff\x02",
                _FIND_INFORMATION: b"\x05\x01\x03",
            }
            answer = (wrong.get(pdu[0], b"\x13"), b"\x01\x10", b"\x11\x00\x00\x00")[self.told % 3]
        elif self.lie == "ghosts" and pdu[0] == _WRITE:
            asyncio.get_running_loop().call_soon(self._ghosts, connection)
        if answer:
            self.told += 1
            _answer(self, connection, answer)
        return not answer

    def _ghosts(self, connection: Connection) -> None:
        for handle, data in ((0, b"\x01"), (0xFFFE, b"\x01\x02"), (1, b""), (0xFFFF, bytes(connection.att_mtu - 3))):
            _answer(self, connection, b"\x1b" + struct.pack("<H", handle) + data)
            self.told += 1


class Endless(Sensor):
    """Too much of everything.

    Args: what:
        "notify": once subscribed, `rate` notifications a second of `size` bytes (or of what the MTU takes);
        "services": `count` services with two characteristics each, all true;
        "lists": the list of services, and of characteristics, goes on to the last handle, one a request.
    """

    kinds = ("notify", "services", "lists")

    def __init__(
        self,
        address: str,
        name: str | None = None,
        *,
        what: str = "notify",
        rate: int = 500,
        size: int = 244,
        count: int = 120,
        **others: Any,
    ) -> None:
        if what not in self.kinds:
            raise ValueError(f"{what!r} is none of {', '.join(self.kinds)}")
        super().__init__(address, name, **others)
        self.what = what
        self.sent = 0
        self.asked = 0
        self._rate = rate
        self._size = size
        self._count = count
        self._values["value"] = bytes(size)

    def services(self) -> list[gatt.Service]:
        """See Peripheral."""
        made_up = [gatt.Service(UUID.from_16_bits(0x181A), [self.characteristic("value", 0x2A6E)])]
        if self.what == "services":
            for number in range(self._count):
                head, tail = f"{number:08X}-0000-4000-8000-", "00000000000"
                two = [_readable(f"{head}{tail}{i}") for i in "12"]
                made_up.append(gatt.Service(f"{head}{tail}0", two))
        return made_up

    def _on_subscription(self, bearer: Any, characteristic: Any, notify: bool, indicate: bool) -> None:
        super()._on_subscription(bearer, characteristic, notify, indicate)
        if self.what == "notify" and notify:
            self._spawn(self._flood(bearer, characteristic.handle))

    async def _flood(self, connection: Connection, handle: int) -> None:
        begun, here = time.monotonic(), 0
        while self.subscribed.is_set() and connection.handle in self.device.connections:
            for _ in range(int((time.monotonic() - begun) * self._rate) + 1 - here):
                data = self.sent.to_bytes(4, "little") + bytes(max(0, self._size - 4))
                _answer(self, connection, b"\x1b" + struct.pack("<H", handle) + data[: connection.att_mtu - 3])
                self.sent += 1
                here += 1
            await asyncio.sleep(0.002)

    def on_request(self, connection: Connection, pdu: bytes) -> bool:
        """See Peripheral."""
        if self.what != "lists" or pdu[0] not in (_READ_BY_GROUP, _READ_BY_TYPE, _FIND_INFORMATION, _FIND_BY_VALUE):
            return True
        self.asked += 1
        first, last = struct.unpack_from("<HH", pdu, 1)
        if pdu[0] == _READ_BY_GROUP:
            answer = _group([(first, first, b"\x1a\x18")])
        elif pdu[0] == _READ_BY_TYPE:
            answer = b"\x09\x07" + struct.pack("<HBHH", first, 0x12, min(first + 1, 0xFFFF), 0x2A6E)
        elif pdu[0] == _FIND_INFORMATION:
            answer = b"\x05\x01" + struct.pack("<HH", first, 0x2902)
        else:
            answer = b"\x07" + struct.pack("<HH", first, first)
        if first == 0 or first > last:
            answer = bytes((_ERROR, pdu[0])) + struct.pack("<HB", first, _NOT_FOUND)
        _answer(self, connection, answer)
        return False


class Dropper(Thermometer):
    """Disconnects at a step, each time it is reached.

    Args:
        at: "connect", "services", "characteristics", "descriptors", "read", "subscribe", or "notify" (after so many
            notifications: `after`; they go out every 5 ms once subscribed).
        times: how often; then it behaves. None: always.
        silent: it goes without a word instead (supervision timeout), and wakes after wake_s seconds.
    """

    steps: ClassVar[dict[str, tuple[int, ...]]] = {
        "connect": (),
        "services": (_READ_BY_GROUP, _FIND_BY_VALUE),
        "characteristics": (_READ_BY_TYPE,),
        "descriptors": (_FIND_INFORMATION,),
        "read": _READS,
        "subscribe": (_WRITE,),
        "notify": (),
    }

    def __init__(
        self,
        address: str,
        name: str | None = None,
        *,
        at: str,
        after: int = 3,
        times: int | None = None,
        silent: bool = False,
        wake_s: float = 1,
        **others: Any,
    ) -> None:
        if at not in self.steps:
            raise ValueError(f"the step {at!r} is none of {', '.join(self.steps)}")
        super().__init__(address, name, **others)
        self.at = at
        self.dropped = 0
        self.did_drop = threading.Event()
        self._after = after
        self._times = times
        self._silent = silent
        self._wake_s = wake_s

    def on_connected(self, connection: Connection) -> None:
        """See Peripheral."""
        if self.at == "connect":
            self._go()

    def on_request(self, connection: Connection, pdu: bytes) -> bool:
        """See Peripheral."""
        return not (pdu[0] in self.steps[self.at] and self._go())

    def _go(self) -> bool:
        if self._times is not None and self.dropped >= self._times:
            return False
        self.dropped += 1
        self._spawn(self._leave())
        return True

    async def _leave(self) -> None:
        if self._silent:
            await self._silence()
            self.did_drop.set()
            await asyncio.sleep(self._wake_s)
            await self._wake()
        else:
            await self._disconnect()
            self.did_drop.set()

    def _on_subscription(self, bearer: Any, characteristic: Any, notify: bool, indicate: bool) -> None:
        already = self.subscribed.is_set()
        super()._on_subscription(bearer, characteristic, notify, indicate)
        if self.at == "notify" and not already and (notify or indicate):
            self._spawn(self._count_down(characteristic))

    async def _count_down(self, characteristic: Any) -> None:
        notify: Callable[[Any], Any] = self.device.notify_subscribers
        for _ in range(self._after):
            await asyncio.sleep(0.005)
            await (self.device.indicate_subscribers if self._mode == "indicate" else notify)(characteristic)
        self._go()


class Mute(Thermometer):
    """Accepts the connection and never answers an ATT request. `asked` counts them."""

    asked = 0

    def on_request(self, connection: Connection, pdu: bytes) -> bool:
        """See Peripheral."""
        self.asked += 1
        return False
