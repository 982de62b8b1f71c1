"""A board that has its radio on: requests of its `bluetooth` stand-in, answered by bumble's host stack as a central.

What comes back are the events of MicroPython's modbluetooth, in its order and with the differences between BTstack
(rp2) and NimBLE (esp32): docs/ble-stacks.md.

Frames, both ways: length of the rest (2 bytes, little-endian), code (1 byte), payload.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bumble import att, gatt_client, hci, keys, ll, pairing
from bumble.controller import Controller
from bumble.core import UUID, BaseBumbleError, ProtocolError
from bumble.device import Connection, ConnectionParametersPreferences, Device
from bumble.host import Host
from bumble.transport.common import AsyncPipeSink

from host_tools.sim.air_link import Link, Radio, advertised

logger = logging.getLogger(__name__)

ANSWER_S = 10  # longest that a board may take to answer for a secret
UNSENT_BYTES = 4096  # scan results are dropped while so much waits to be taken by the board
LONGEST = 600  # bytes of a value in a frame; an attribute has 512 at most
RSSI = -60

_SCAN_RESULT, _SCAN_DONE, _CONNECTED, _DISCONNECTED = 5, 6, 7, 8
_READ_RESULT, _READ_DONE, _WRITE_DONE, _NOTIFY, _INDICATE, _MTU = 15, 16, 17, 18, 19, 21
_PARAMETERS, _ENCRYPTION, _GET_SECRET, _SET_SECRET, _READY = 27, 28, 29, 30, 200
_RESULT_OF = {7: 9, 8: 11, 9: 13}  # per request of discovery: its result; one more is its done
_ADV_NONCONN_IND, _SCAN_RSP = 3, 4
_PARAMETERS, _ENCRYPTION, _GET_SECRET, _SET_SECRET, _READY = 27, 28, 29, 30, 200
_PRIMARY_SERVICE, _CHARACTERISTIC = UUID.from_16_bits(0x2800), UUID.from_16_bits(0x2803)
_NO_ADDRESS = bytes(6)
_IRK, _OUR_KEY, _PEER_KEY = 10, 1, 2  # types of NimBLE's secrets
_SECRET = struct.Struct("<B16sH8s16sB")  # flags, LTK, EDIV, random number, IRK, whether there is one


class Client(gatt_client.Client):
    """Hands on every notification and indication that the peer sends, subscribed to or not, as a board does."""

    def __init__(self, connection: Connection, send: Callable[[int, bytes], None]) -> None:
        super().__init__(connection)
        self._handle = connection.handle
        self._send = send

    def on_att_handle_value_notification(self, notification: att.ATT_Handle_Value_Notification) -> None:
        """Event 18."""
        self._value(_NOTIFY, notification.attribute_handle, notification.attribute_value)

    def on_att_handle_value_indication(self, indication: att.ATT_Handle_Value_Indication) -> None:
        """Event 19; both stacks confirm by themselves."""
        self._value(_INDICATE, indication.attribute_handle, indication.attribute_value)
        self.send_confirmation(att.ATT_Handle_Value_Confirmation())

    def _value(self, code: int, handle: int, value: bytes) -> None:
        self._send(code, struct.pack("<HH", self._handle, handle) + value[:LONGEST])


class Board:
    """One board that has its radio on."""

    def __init__(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[bool], None]
    ) -> None:
        self._link = link
        self._reader = reader
        self._writer = writer
        self._count = count
        self._esp = False
        self._radio: Radio | None = None
        self._device: Device | None = None
        self._scan: tuple[int, bool] | None = None  # its number, whether it asks for responses
        self._scan_end: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._secret: asyncio.Future[bytes | None] | None = None
        self._secrets = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bond = False

    @property
    def connected(self) -> int:
        """How many connections it has."""
        return len(self._radio.le_connections) if self._radio else 0

    def _send(self, code: int, payload: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(struct.pack("<HB", len(payload) + 1, code) + payload)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a request of a board failed", exc_info=task.exception())

    async def _frame(self) -> tuple[int, bytes]:
        (length,) = struct.unpack("<H", await self._reader.readexactly(2))
        body = await self._reader.readexactly(length)
        return body[0], body[1:]

    async def serve(self) -> None:
        """Until the board goes away."""
        sock = self._writer.get_extra_info("socket")
        # Little waits in the kernel: what a board does not take is dropped here, where it is counted.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * UNSENT_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code, hello = await asyncio.wait_for(self._frame(), ANSWER_S)
        if code != 1:
            raise ConnectionError("not a board")
        self._esp = hello[0] == 1
        address = await self._free_address(hello[1:7])
        self._radio = Radio("board", link=self._link, public_address=address)
        self._radio.on_advert = self._on_advert
        self._device = Device(
            name="board",
            address=hci.Address.generate_static_address(),
            host=Host(self._radio, AsyncPipeSink(self._radio)),
        )
        self._device.keystore = Secrets(self._ask, self._tell) if self._esp else None
        self._device.on("connection", self._on_connection)
        opening = self._start(self._open(address))
        while True:
            code, payload = await self._frame()
            if code in (15, 16):
                self._on_secret(code, payload)
            elif opening.done():
                _REQUESTS[code](self, payload)

    async def _open(self, address: hci.Address) -> None:
        if self._device is None:
            return
        store = self._device.keystore
        # Before it is there: to read all keys is the work of the start of NimBLE, after the IRK (see Secrets).
        self._device.keystore = keys.MemoryKeyStore()
        await asyncio.wait_for(self._device.power_on(), ANSWER_S)
        if isinstance(store, Secrets):
            await store.open()
            self._device.keystore = store
        self._send(_READY, bytes(1) + bytes(reversed(bytes(address))))

    async def _free_address(self, wanted: bytes) -> hci.Address:
        """The board's address; the board before its reset may still hold it for a moment."""
        for attempt in range(100):
            address = _address(0, wanted)
            if all(radio.public_address != address for radio in self._link.controllers):
                return address
            await asyncio.sleep(0.01)
            if attempt >= 20:
                wanted = wanted[:5] + bytes([(wanted[5] + 1) & 255])
        raise ConnectionError("too many boards")

    def leave(self) -> None:
        """The board is gone: what it was connected to loses the connection."""
        self._stop_scan()
        for task in list(self._tasks):
            task.cancel()
        if self._radio is None:
            return
        timeout = ll.TerminateInd(hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)
        for wire in list(self._radio.le_connections.values()):
            wire.send_ll_control_pdu(timeout)
        self._radio.le_connections.clear()
        self._radio.pending_le_connection = None
        self._link.remove_controller(self._radio)

    # Scan

    def _on_scan(self, payload: bytes) -> None:
        number, duration_ms, _, _, active = struct.unpack("<BiiiB", payload)
        self._stop_scan()
        self._scan = (number, bool(active))
        if duration_ms > 0:
            self._scan_end = asyncio.get_running_loop().call_later(duration_ms / 1000, self._scan_done)

    def _stop_scan(self, payload: bytes = b"") -> None:
        self._scan = None
        if self._scan_end is not None:
            self._scan_end.cancel()
            self._scan_end = None

    def _scan_done(self) -> None:
        if self._scan is not None:
            number = self._scan[0]
            self._stop_scan()
            self._send(_SCAN_DONE, bytes([number]))

    def _on_advert(self, sender: Controller, pdu: ll.AdvertisingPdu) -> None:
        if self._scan is None or sender is self._radio:
            return
        if isinstance(pdu, ll.AdvInd | ll.AdvNonConnInd | ll.AdvExtInd):
            kind, response = advertised(sender, pdu)
            self._result(sender, pdu.advertiser_address, kind, pdu.data)
            if self._scan[1] and kind != _ADV_NONCONN_IND and response:
                self._result(sender, pdu.advertiser_address, _SCAN_RSP, response)

    def _result(self, sender: Controller, address: hci.Address, kind: int, data: bytes) -> None:
        if self._scan is None:
            return
        if self._writer.transport.get_write_buffer_size() > UNSENT_BYTES:
            self._count(False)
            return
        self._count(True)
        rssi = getattr(sender, "rssi", RSSI)
        head = struct.pack("<BBBb", self._scan[0], address.address_type & 1, kind, rssi)
        self._send(_SCAN_RESULT, head + bytes(reversed(bytes(address))) + bytes(data[:255]))

    # Connections

    def _on_connect(self, payload: bytes) -> None:
        kind, address, duration_ms, low_us, high_us = struct.unpack("<B6siII", payload)
        if self._connecting is None:
            self._connecting = self._start(self._connect(_address(kind, address), duration_ms, low_us, high_us))

    async def _connect(self, address: hci.Address, duration_ms: int, low_us: int, high_us: int) -> None:
        if self._device is None or self._radio is None:
            return
        supervision_s = 2.56 if self._esp else max(0.1, duration_ms / 1000)
        self._radio.supervision_s = supervision_s
        preferences = ConnectionParametersPreferences(
            connection_interval_min=(low_us or (30000 if self._esp else 10000)) / 1000,
            connection_interval_max=(high_us or (50000 if self._esp else 30000)) / 1000,
            max_latency=0 if self._esp else 4,
            supervision_timeout=round(supervision_s * 1000),
        )
        try:
            # BTstack waits for ever, until gap_connect(None).
            await self._device.connect(
                address,
                own_address_type=hci.OwnAddressType.PUBLIC,
                connection_parameters_preferences={hci.Phy.LE_1M: preferences},
                timeout=duration_ms / 1000 if self._esp and duration_ms > 0 else None,
            )
        except (BaseBumbleError, TimeoutError, hci.HCI_Error):
            # NimBLE says that the connection is lost that never was; BTstack that handle 0 is connected.
            if self._esp:
                self._send(_DISCONNECTED, struct.pack("<HB6s", 0xFFFF, 0xFF, _NO_ADDRESS))
            else:
                self._send(_CONNECTED, struct.pack("<HB6s", 0, 0, _NO_ADDRESS))
        finally:
            self._connecting = None

    def _on_cancel(self, payload: bytes) -> None:
        if self._device is not None and self._connecting is not None:
            self._start(self._device.cancel_connection())  # type: ignore[no-untyped-call]

    def _on_connection(self, connection: Connection) -> None:
        handle = connection.handle
        address = connection.peer_address
        peer = struct.pack("<B6s", address.address_type & 1, bytes(reversed(bytes(address))))
        connection.gatt_client = Client(connection, self._send)

        def lost(reason: int) -> None:
            # After the failed answers of requests that were under way.
            asyncio.get_running_loop().call_later(
                0.005,
                self._send,
                _DISCONNECTED,
                struct.pack("<H", handle) + (peer if self._esp else b"\xff" + _NO_ADDRESS),
            )

        def updated() -> None:
            now = connection.parameters
            numbers = (now.connection_interval / 1.25, now.peripheral_latency, now.supervision_timeout / 10, 0)
            self._send(_PARAMETERS, struct.pack("<HHHHH", handle, *map(int, numbers)))

        connection.on(connection.EVENT_DISCONNECTION, lost)
        connection.on(connection.EVENT_CONNECTION_PARAMETERS_UPDATE, updated)
        self._send(_CONNECTED, struct.pack("<H", handle) + peer)

    def _connection(self, payload: bytes) -> Connection | None:
        (handle,) = struct.unpack_from("<H", payload)
        return self._device.connections.get(handle) if self._device else None

    def _on_disconnect(self, payload: bytes) -> None:
        connection = self._connection(payload)
        if connection is not None:
            reason = hci.HCI_ErrorCode.REMOTE_USER_TERMINATED_CONNECTION_ERROR
            self._start(_quietly(connection.disconnect(reason)))

    # GATT

    async def _request(self, connection: Connection, request: att.ATT_PDU) -> tuple[int, Any]:
        """Status as the board's stack gives it, and the answer."""
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_lost(reason: int) -> None:
            if not lost.done():
                lost.set_result(None)

        connection.on(connection.EVENT_DISCONNECTION, on_lost)
        answer = asyncio.ensure_future(connection.gatt_client.send_request(request))
        try:
            await asyncio.wait({answer, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                answer.cancel()
                return (7 if self._esp else 0x1F), None
            response = answer.result()
        except (BaseBumbleError, TimeoutError):
            return (13 if self._esp else 0x7F), None
        finally:
            lost.cancel()
            connection.remove_listener(connection.EVENT_DISCONNECTION, on_lost)
        if isinstance(response, att.ATT_Error_Response):
            return (0x100 if self._esp else 0) + int(response.error_code), None
        return 0, response

    def _on_discover(self, code: int, payload: bytes) -> None:
        connection = self._connection(payload)
        if connection is not None:
            self._start(self._discover(code, connection, payload))

    async def _discover(self, code: int, connection: Connection, payload: bytes) -> None:
        _, first, last = struct.unpack_from("<HHH", payload)
        wanted = payload[6:]
        done = _RESULT_OF[code] + 1
        head = struct.pack("<H", connection.handle)
        step = {7: self._services, 8: self._characteristics, 9: self._descriptors}[code]
        status = await step(connection, first, last, wanted, head)
        if status & 0xFF == att.ErrorCode.ATTRIBUTE_NOT_FOUND:  # the end of every discovery
            status = 0
        self._send(done, head + struct.pack("<H", status))

    async def _services(self, connection: Connection, first: int, last: int, wanted: bytes, head: bytes) -> int:
        while first <= last:
            if wanted:
                status, answer = await self._request(
                    connection, att.ATT_Find_By_Type_Value_Request(first, last, _PRIMARY_SERVICE, wanted)
                )
                rows = [(a, b, wanted) for a, b in answer.handles_information] if answer else []
            else:
                status, answer = await self._request(
                    connection, att.ATT_Read_By_Group_Type_Request(first, last, _PRIMARY_SERVICE)
                )
                rows = list(answer.attributes) if answer else []
            if status or not rows:
                return status
            for start, end, uuid in rows:
                self._send(9, head + struct.pack("<HH", start, end) + uuid)
            if rows[-1][1] < first or rows[-1][1] == 0xFFFF:
                return 0
            first = rows[-1][1] + 1
        return 0

    async def _characteristics(self, connection: Connection, first: int, last: int, wanted: bytes, head: bytes) -> int:
        found: bytes | None = None  # the one whose last handle is not known yet
        value = 0

        def tell(end: int) -> None:
            if found is not None and (not wanted or _same_uuid(found[1:], wanted)):
                self._send(11, head + struct.pack("<HHB", end, value, found[0]) + found[1:])

        status = 0
        while first <= last:
            status, answer = await self._request(connection, att.ATT_Read_By_Type_Request(first, last, _CHARACTERISTIC))
            rows = list(answer.attributes) if answer else []
            for handle, row in rows:
                tell(handle - 1)
                (value,) = struct.unpack_from("<H", row, 1)
                found = row[:1] + row[3:]
            if status or not rows or rows[-1][0] < first:
                break
            first = rows[-1][0] + 1
        tell(last)
        return status

    async def _descriptors(self, connection: Connection, first: int, last: int, wanted: bytes, head: bytes) -> int:
        first += 1
        while first <= last:
            status, answer = await self._request(connection, att.ATT_Find_Information_Request(first, last))
            rows = list(answer.information) if answer else []
            if status or not rows:
                return status
            for handle, uuid in rows:
                self._send(13, head + struct.pack("<H", handle) + uuid)
            if rows[-1][0] < first:
                return 0
            first = rows[-1][0] + 1
        return 0

    def _on_read(self, payload: bytes) -> None:
        connection = self._connection(payload)
        if connection is not None:
            self._start(self._read(connection, struct.unpack_from("<H", payload, 2)[0]))

    async def _read(self, connection: Connection, handle: int) -> None:
        # One request, as both stacks: of a longer value the first MTU - 1 bytes.
        status, answer = await self._request(connection, att.ATT_Read_Request(handle))
        head = struct.pack("<HH", connection.handle, handle)
        if answer is not None:
            self._send(_READ_RESULT, head + answer.attribute_value[:LONGEST])
        self._send(_READ_DONE, head + struct.pack("<H", status))

    def _on_write(self, payload: bytes) -> None:
        connection = self._connection(payload)
        if connection is not None:
            _, handle, mode = struct.unpack_from("<HHB", payload)
            self._start(self._write(connection, handle, mode, payload[5 : 5 + connection.att_mtu - 3]))

    async def _write(self, connection: Connection, handle: int, mode: int, data: bytes) -> None:
        if not mode:
            await connection.gatt_client.send_command(att.ATT_Write_Command(handle, data))
            return
        status, _ = await self._request(connection, att.ATT_Write_Request(handle, data))
        self._send(_WRITE_DONE, struct.pack("<HHH", connection.handle, handle, status))

    def _on_mtu(self, payload: bytes) -> None:
        connection = self._connection(payload)
        if connection is not None:
            self._start(self._exchange(connection, struct.unpack_from("<H", payload, 2)[0]))

    async def _exchange(self, connection: Connection, mtu: int) -> None:
        _, answer = await self._request(connection, att.ATT_Exchange_MTU_Request(mtu))
        if answer is not None:
            now = max(att.ATT_DEFAULT_MTU, min(mtu, answer.server_rx_mtu))
            connection.on_att_mtu_update(now)
            self._send(_MTU, struct.pack("<HH", connection.handle, now))

    # Pairing (NimBLE only)

    def _on_pair(self, payload: bytes) -> None:
        connection = self._connection(payload)
        if connection is not None:
            self._start(self._pair(connection, *struct.unpack_from("<BBBB", payload, 2)))

    async def _pair(self, connection: Connection, bond: int, mitm: int, secure: int, io: int) -> None:
        if self._device is None:
            return
        store = self._device.keystore
        if isinstance(store, Secrets):
            store.bond = bool(bond)
        known = await store.get(str(connection.peer_address)) if store else None
        bonded = authenticated = False
        result: dict[str, keys.PairingKeys] = {}
        connection.on(connection.EVENT_PAIRING, lambda made: result.update(made=made))
        # MicroPython's numbers of what the board can show and read are those of SMP.
        capability = pairing.PairingDelegate.IoCapability(io)
        self._device.pairing_config_factory = lambda _: pairing.PairingConfig(
            sc=bool(secure), mitm=bool(mitm), bonding=bool(bond), delegate=pairing.PairingDelegate(capability)
        )
        try:
            await asyncio.wait_for(connection.encrypt() if known else connection.pair(), 30)
        except (BaseBumbleError, ProtocolError, TimeoutError, hci.HCI_Error, asyncio.CancelledError) as error:
            logger.info("pairing failed: %r", error)
        made = known or result.get("made")
        if made is not None:
            key = made.ltk or made.ltk_central
            authenticated = bool(key and key.authenticated)
            bonded = bool(known) or bool(bond)
        on = connection.is_encrypted
        numbers = (on, on and authenticated, on and bonded, 16 if on else 0)
        self._send(_ENCRYPTION, struct.pack("<HBBBB", connection.handle, *map(int, numbers)))

    def _on_secret(self, code: int, payload: bytes) -> None:
        if self._secret is not None and not self._secret.done():
            self._secret.set_result(payload[1:] if payload[0] else None)

    async def _answer(self, code: int, payload: bytes) -> bytes | None:
        async with self._secrets:
            self._secret = asyncio.get_running_loop().create_future()
            self._send(code, payload)
            try:
                return await asyncio.wait_for(self._secret, ANSWER_S)
            except TimeoutError:
                return None

    async def _ask(self, kind: int, index: int, key: bytes) -> bytes | None:
        return await self._answer(_GET_SECRET, bytes([kind, index, len(key)]) + key)

    async def _tell(self, kind: int, key: bytes, value: bytes) -> bool:
        payload = bytes([kind, len(key)]) + key + bytes([len(value)]) + value
        return await self._answer(_SET_SECRET, payload) is not None


async def _quietly(work: Awaitable[Any]) -> None:
    with contextlib.suppress(BaseBumbleError, hci.HCI_Error):
        await work


def _address(kind: int, most_significant_first: bytes) -> hci.Address:
    return hci.Address(bytes(reversed(most_significant_first)), hci.AddressType(kind & 1))


def _same_uuid(one: bytes, other: bytes) -> bool:
    return bool(UUID.from_bytes(one) == UUID.from_bytes(other))


class Secrets(keys.KeyStore):
    """The keys of an ESP32: its program keeps them, by events 29 and 30, as it does for NimBLE."""

    def __init__(
        self,
        ask: Callable[[int, int, bytes], Awaitable[bytes | None]],
        tell: Callable[[int, bytes, bytes], Awaitable[bool]],
    ) -> None:
        self._ask = ask
        self._tell = tell
        self.bond = False

    async def open(self) -> None:
        """What NimBLE asks for at its start: its own IRK, then every peer's key, until there is none."""
        if await self._ask(_IRK, 0, b"irk") is None and not await self._tell(_IRK, b"irk", secrets.token_bytes(16)):
            return
        index = 0
        while index < 16 and await self._ask(_PEER_KEY, index, b"") is not None:
            index += 1

    async def get(self, name: str) -> keys.PairingKeys | None:
        value = await self._ask(_PEER_KEY, 0, _store_key(name))
        if value is None or len(value) != _SECRET.size:
            return None
        flags, ltk, ediv, rand, irk, with_irk = _SECRET.unpack(value)
        key = keys.PairingKeys.Key(ltk, bool(flags & 1), ediv, rand)
        return keys.PairingKeys(
            ltk=key if flags & 2 else None,
            ltk_central=None if flags & 2 else key,
            irk=keys.PairingKeys.Key(irk) if with_irk else None,
        )

    async def get_all(self) -> list[tuple[str, keys.PairingKeys]]:
        return []

    async def update(self, name: str, keys: keys.PairingKeys) -> None:
        key = keys.ltk or keys.ltk_central
        if not self.bond or key is None:
            return
        flags = int(key.authenticated) | (2 if keys.ltk else 0)
        irk = keys.irk.value if keys.irk else bytes(16)
        value = _SECRET.pack(flags, key.value, key.ediv or 0, key.rand or bytes(8), irk, keys.irk is not None)
        for kind in (_OUR_KEY, _PEER_KEY):
            await self._tell(kind, _store_key(name), value)


def _store_key(name: str) -> bytes:
    """NimBLE's ble_addr_t: type, then the address, least significant byte first."""
    address = hci.Address(name)
    return bytes([address.address_type & 1]) + bytes(address)


_REQUESTS: dict[int, Callable[[Board, bytes], None]] = {
    2: Board._on_scan,
    3: Board._stop_scan,
    4: Board._on_connect,
    5: Board._on_cancel,
    6: Board._on_disconnect,
    7: lambda board, payload: board._on_discover(7, payload),
    8: lambda board, payload: board._on_discover(8, payload),
    9: lambda board, payload: board._on_discover(9, payload),
    10: Board._on_read,
    11: Board._on_write,
    12: Board._on_mtu,
    13: Board._on_pair,
}
