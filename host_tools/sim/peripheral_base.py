"""What the scripted Bluetooth LE peripherals of the virtual air (air.py) have in common.

Those with a GATT server are bumble devices with the real host stack. The methods of all may be called from any thread
but that of the loop they were started on; they wait until the thing is done.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from bumble import gatt, hci
from bumble.controller import Controller
from bumble.core import BaseBumbleError
from bumble.device import Connection, Device, DeviceConfiguration
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink

from host_tools.sim import adverts_made as made

STEP_S = 10  # longest that one call from another thread waits
_T = TypeVar("_T")


def parse_address(text: str, public: bool | None = None) -> hci.Address:
    """bumble's form of "C4:7C:8D:6A:3E:01". public None: by its two top bits, as static (11) and private (01) random
    addresses have them; others are public. Raises ValueError."""
    data = made.address_bytes(text)
    if public is None:
        public = data[0] >> 6 not in (1, 3)
    kind = hci.AddressType.PUBLIC_DEVICE if public else hci.AddressType.RANDOM_DEVICE
    return hci.Address(data[::-1], kind)


class Radio(Controller):
    """The controller of a peripheral; rssi in dBm is what boards hear it with."""

    rssi = -60


class Started:
    """What all have: a loop once they are started, and calls into it from other threads."""

    def __init__(self, address: str, public: bool | None = None, rssi: int = -60) -> None:
        self.address = address
        self._address = parse_address(address, public)
        self._rssi = rssi
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link: LocalLink | None = None

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the peripheral is not started")
        try:
            inside = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            inside = False
        if inside:
            work.close()
            raise RuntimeError("the peripheral's own loop cannot wait for it: call it from another thread")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STEP_S)

    def _radio(self, link: LocalLink, on_link: bool) -> Radio:
        self._loop = asyncio.get_running_loop()
        self._link = link
        # bumble's link keys its radios by both addresses: an unused public one must not be all zeros for many.
        public = self._address if self._address.is_public else hci.Address.generate_static_address()
        radio = Radio(self.address, link=link if on_link else None, public_address=public)
        radio.rssi = self._rssi
        return radio


class _Device(Device):
    """A bumble device that shows each ATT PDU to a hook first; the hook returns whether it goes on."""

    hook: Callable[[Connection, bytes], bool] | None = None

    def on_gatt_pdu(self, connection_handle: int, pdu: bytes) -> None:
        connection = self.connections.get(connection_handle)
        if connection is not None and (self.hook is None or self.hook(connection, pdu)):
            super().on_gatt_pdu(connection_handle, pdu)


class Peripheral(Started):
    """A connectable one. Subclasses give services().

    Args:
        address: "C4:7C:8D:6A:3E:01"; public: its kind, see parse_address().
        name: local name, sent in the advertisement and read by GATT; None: none in the advertisement.
        interval_ms: between two advertisements.
        encrypted: reads and subscriptions need an encrypted link (SMP Just Works; keys are kept until it ends).
        rssi: dBm.
        payload: of the advertisement; None: flags, the services' 16-bit UUIDs and the name.
    """

    listed: tuple[int, ...] = ()  # 16-bit services in the advertisement

    def __init__(
        self,
        address: str,
        name: str | None = None,
        *,
        interval_ms: int = 100,
        encrypted: bool = False,
        public: bool | None = None,
        rssi: int = -60,
        payload: bytes | None = None,
    ) -> None:
        super().__init__(address, public, rssi)
        self.name = name
        self.connected = threading.Event()
        self.subscribed = threading.Event()
        self.connections_made = 0
        self._interval_ms = interval_ms
        self._encrypted = encrypted
        self._payload = made.named(name or "", self.listed) if payload is None else payload
        self._tasks: set[asyncio.Task[None]] = set()

    def services(self) -> list[gatt.Service]:
        """The services of the GATT server, made anew at each start."""
        return []

    def on_request(self, connection: Connection, pdu: bytes) -> bool:
        """Each ATT PDU from the central, before the server. Return whether the server gets it."""
        return True

    def on_connected(self, connection: Connection) -> None:
        """A central has connected."""

    async def start(self, link: LocalLink) -> None:
        """Begin to advertise, in the running loop."""
        self.radio = self._radio(link, on_link=True)
        host = Host(self.radio, AsyncPipeSink(self.radio))
        config = DeviceConfiguration(name=self.name or "", address=self._address)
        self.device = _Device(config=config, host=host)
        self.device.hook = self.on_request
        self.device.add_services(self.services())
        if self._encrypted:
            for attribute in self.device.gatt_server.attributes:
                if attribute.type == gatt.GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR:
                    attribute.permissions |= gatt.Characteristic.Permissions.WRITE_REQUIRES_ENCRYPTION
        self.device.on(self.device.EVENT_CONNECTION, self._on_connection)
        self.device.on("characteristic_subscription", self._on_subscription)
        await self.device.power_on()
        if self._address.is_public:
            self.radio.random_address = self._address  # bumble's own link sends data from this one
        await self._advertise()

    async def _advertise(self) -> None:
        own = hci.OwnAddressType.PUBLIC if self._address.is_public else hci.OwnAddressType.RANDOM
        ticks = self._interval_ms * 0.625  # bumble's controller takes the ticks of 0.625 ms for milliseconds
        await self.device.start_advertising(
            own_address_type=own,
            auto_restart=True,
            advertising_data=self._payload,
            advertising_interval_min=ticks,
            advertising_interval_max=ticks,
        )

    async def stop(self) -> None:
        """Disconnect and leave the air."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(BaseBumbleError, hci.HCI_Error):
            await self.device.stop_advertising()
            await self._disconnect()
            await self.device.stop_advertising()  # it restarts when a connection ends
        self.radio.le_legacy_advertiser.stop()
        if self._link is not None and self.radio in self._link.controllers:
            self._link.remove_controller(self.radio)
        await self.device.power_off()
        self._loop = None

    async def _disconnect(self) -> None:
        for connection in list(self.device.connections.values()):
            with contextlib.suppress(BaseBumbleError, hci.HCI_Error):
                await connection.disconnect()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_connection(self, connection: Connection) -> None:
        self.connections_made += 1
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)
        self.connected.set()
        self.on_connected(connection)

    def _on_disconnection(self, reason: int) -> None:
        self.connected.clear()
        self.subscribed.clear()

    def _on_subscription(self, bearer: Any, characteristic: Any, notify: bool, indicate: bool) -> None:
        if notify or indicate:
            self.subscribed.set()

    def wait_connected(self, timeout_s: float = STEP_S) -> bool:
        """Whether a central is connected, at most timeout_s from now."""
        return self.connected.wait(timeout_s)

    def drop(self) -> None:
        """Disconnect whoever is connected; the advertising goes on."""
        self._do(self._disconnect())

    def silence(self) -> None:
        """Leave without a word, as an empty battery does: the central's supervision timeout must notice."""
        self._do(self._silence())

    async def _silence(self) -> None:
        if self._link is None or self.radio not in self._link.controllers:
            return
        self._link.remove_controller(self.radio)
        self.radio.link = None  # type: ignore[assignment]
        for wire in list(self.radio.le_connections.values()):
            self.radio.on_le_disconnected(wire, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)

    def wake(self) -> None:
        """Advertise again after silence()."""
        self._do(self._wake())

    async def _wake(self) -> None:
        if self._link is not None and self.radio not in self._link.controllers:
            self.radio.link = self._link
            self._link.add_controller(self.radio)
            await self._advertise()
