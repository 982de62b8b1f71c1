"""Connections to BLE peripherals: made and explored one after the other, and kept as far as the stack goes.

A peripheral that is slow, mute, endless or wrong costs its own connection only: each step has its deadline. GATT
procedures: Bluetooth Core Specification, volume 3, part G, section 4.
"""

import asyncio
import time

from . import ble_radio as radio_
from .errors import RootletError

_STEP_MS = 5000  # for each answer
_CONNECT_MS = 8000
_PAIR_MS = 20000
_SETUP_MS = 40000  # for everything until the first value
_COUNTED_MS = 60000
_WHOLE_MS = 60000  # least time between two reads of what notifies
_TURN_MS = 15000  # of a connection that others wait for
_POLL_MS = 20
_MOST = 12  # characteristics of one peripheral
_NOTIFIES, _INDICATES, _READS = 0x10, 0x20, 0x02
_CCCD = 0x2902
_NOT_FOUND = 10  # statuses: volume 3, part F, section 3.4.1.1
_ENCRYPT = (5, 12, 14, 15)
_PLAIN = 20  # bytes of a value without a larger MTU
_NONE, _NOWHERE = 65535, b"\0" * 6  # in place of a connection that was not made: NimBLE's handle, BTstack's address


def _refused(uuid, status):
    name = "%04x" % uuid if isinstance(uuid, int) else uuid
    return RootletError("BLE_PAIR" if status in _ENCRYPT else "BLE_GATT", "%s is refused, status %d" % (name, status))


class Peer:
    """A connection. Args: value: function (uuid, data, size, ticks) for each value that comes."""

    def __init__(self, value):
        self.value = value
        self.handle = None
        self.ended = False
        self.lived = 0  # ms; no more is counted from a minute on, since ticks go round
        self.done: dict = {}  # status by event: procedures that have ended
        self.found: list = []  # [index in wanted, a, b, size]
        self.names: dict = {}  # handle of a value: UUID
        self.readable: list = []
        self.problem = None  # RootletError of a characteristic that does not work

    def take(self, event, kind, a, b, size, ticks, data):
        """An event of this connection."""
        if event == radio_.DISCONNECTED:
            self.ended = True
        elif event in (radio_.NOTIFY, radio_.INDICATE, radio_.READ):
            uuid = self.names.get(a)
            if uuid is not None:
                self.value(uuid, data[:size], size, ticks)
        elif event in (radio_.SERVICE, radio_.CHARACTERISTIC, radio_.DESCRIPTOR):
            if len(self.found) < _MOST:
                self.found.append((kind, a, b, size))
        elif event == radio_.ENCRYPTED:
            self.done[event] = 0 if a else 1
        else:
            self.done[event] = b


class Central:
    """Makes connections. Args: radio: a Radio. most: connections at a time. scan: function that starts scanning."""

    def __init__(self, radio, most, scan):
        self.radio = radio
        self.free = most
        self.waiting = 0  # who would like to connect and cannot
        self.peers: dict = {}  # by handle
        self.connecting: tuple = ()  # (address, Peer)
        self._lock = asyncio.Lock()  # one explores at a time: what discovery wants is one list
        self.scan = scan

    def take(self, event, kind, handle, a, b, size, ticks, address, data):
        """An event that is none of scanning."""
        wanted = self.connecting[1] if self.connecting and self.connecting[1].handle is None else None
        if event == radio_.CONNECTED and address != _NOWHERE:
            if wanted and self.connecting[0] == address:
                wanted.handle = handle
                self.peers[handle] = wanted
            else:
                self._hang_up(handle)  # its waiting is over
        elif event == radio_.CONNECTED or (event == radio_.DISCONNECTED and handle == _NONE):
            if wanted:
                wanted.ended = True
        elif handle in self.peers:
            self.peers[handle].take(event, kind, a, b, size, ticks, data)
            if event == radio_.DISCONNECTED:
                del self.peers[handle]

    def _hang_up(self, handle):
        try:
            return self.radio.ble.gap_disconnect(handle)
        except OSError:
            return False

    async def _until(self, peer, event, what, ms=_STEP_MS):
        """Wait for the end of a procedure; its status, 0 or an error of ATT. Raises RootletError BLE_LOST, BLE_GATT."""
        began = time.ticks_ms()
        late = False
        while True:
            if event in peer.done:
                status = peer.done[event] & 255  # NimBLE adds 256 to what the Attribute Protocol says
                if status:
                    await asyncio.sleep_ms(_POLL_MS * 2)  # where the connection has ended, that is told next
                if not (status and peer.ended):
                    return status
            if peer.ended:
                raise RootletError("BLE_LOST", "the connection ended at %s" % what)
            if late:
                raise RootletError("BLE_GATT", "no answer to %s within %d s" % (what, ms // 1000))
            late = time.ticks_diff(time.ticks_ms(), began) > ms  # once more: the program itself may have been busy
            await asyncio.sleep_ms(_POLL_MS * 2 if late else _POLL_MS)

    async def connect(self, peer, kind, address):
        """Connect to an address. Raises RootletError BLE_CONNECT."""
        if not self.radio.on:
            raise RootletError("BLE_LOST", "the radio is off")
        self.radio.stop_scan()  # NimBLE would end it, and no controller must do both
        self.connecting = (address, peer)
        try:
            self.radio.ble.gap_connect(kind, address, _CONNECT_MS)
            if not await self._answered(peer, _CONNECT_MS):
                # What is late still comes, and must not be taken for the answer to the next one.
                self.radio.cancel()
                if not await self._answered(peer, _STEP_MS):
                    self.radio.failed = True
        except OSError as e:
            raise RootletError("BLE_CONNECT", "the radio refuses (error %s)" % e) from None
        finally:
            self.connecting = ()
            self.scan()
        if peer.handle is None:
            raise RootletError("BLE_CONNECT", "no connection within %d s" % (_CONNECT_MS // 1000))
        if peer.ended:  # the radio may be off, and BTstack crash by what comes next
            raise RootletError("BLE_LOST", "the connection ended at once")

    async def _answered(self, peer, ms):
        began = time.ticks_ms()
        while peer.handle is None and not peer.ended:
            if time.ticks_diff(time.ticks_ms(), began) > ms:
                return False
            await asyncio.sleep_ms(_POLL_MS)
        return True

    async def close(self, peer):
        """End a connection. Returns whether the stack says that it has."""
        if peer.handle is None or peer.ended:
            return True
        self._hang_up(peer.handle)
        began = time.ticks_ms()
        while not peer.ended:
            if time.ticks_diff(time.ticks_ms(), began) > _STEP_MS:
                self.peers.pop(peer.handle, None)
                return False
            await asyncio.sleep_ms(_POLL_MS)
        return True

    async def _discover(self, peer, uuids, start, what, done):
        """Run one discovery for some UUIDs. Returns what was found."""
        import bluetooth

        self.radio.wanted = [bluetooth.UUID(u) for u in uuids]
        peer.found = []
        peer.done.clear()
        lost = self.radio.lost
        start()
        status = await self._until(peer, done, what)
        self.radio.wanted = []
        if status:
            raise RootletError("BLE_GATT", "%s failed with status %d" % (what, status))
        if self.radio.lost != lost:  # a part would be taken for the whole, for as long as the connection lasts
            raise RootletError("BLE_GATT", "%s: more than there is room for" % what)
        return peer.found

    async def explore(self, peer, services, loose):
        """Find the characteristics that are wanted.

        Args: services: [(service UUID, UUIDs of characteristics)]. loose: UUIDs wanted in whatever service. UUIDs as
        int or 128-bit text. Returns [(UUID, value handle, end handle, properties)]. Raises RootletError.
        """
        ble, handle = self.radio.ble, peer.handle
        out: list = []
        ranges = []
        if services:
            uuids = [s[0] for s in services]
            for index, first, last, _ in await self._discover(
                peer,
                uuids,
                lambda: ble.gattc_discover_services(handle),
                "service discovery",
                radio_.SERVICES_DONE,
            ):
                if 0 < first < last:
                    ranges.append((first, last, services[index][1]))
        if loose:
            ranges.append((1, 65535, loose))
        for first, last, uuids in ranges:
            found = await self._discover(
                peer,
                uuids,
                lambda: ble.gattc_discover_characteristics(handle, first, last),
                "characteristic discovery",
                radio_.CHARACTERISTICS_DONE,
            )
            for index, end, value, properties in found:
                if value > 0 and len(out) < _MOST and not [row for row in out if row[1] == value]:
                    out.append((uuids[index], value, end, properties))
        if not out:
            raise RootletError("BLE_GATT", "none of the characteristics that are wanted is there")
        return out

    async def subscribe(self, peer, value, end, properties):
        """Ask for notifications, else indications, of one characteristic. Returns a status. Raises RootletError."""
        ble, handle = self.radio.ble, peer.handle
        found = []
        if end > value:
            found = await self._discover(
                peer,
                (_CCCD,),
                lambda: ble.gattc_discover_descriptors(handle, value, end),
                "descriptor discovery",
                radio_.DESCRIPTORS_DONE,
            )
        if not found:
            return _NOT_FOUND
        peer.done.clear()
        word = b"\x01\x00" if properties & _NOTIFIES else b"\x02\x00"
        ble.gattc_write(handle, found[0][1], word, 1)
        return await self._until(peer, radio_.WRITE_DONE, "subscribing")

    async def read(self, peer, value):
        """Read one value, which goes to peer.value. Returns a status. Raises RootletError."""
        peer.done.clear()
        self.radio.ble.gattc_read(peer.handle, value)
        return await self._until(peer, radio_.READ_DONE, "reading")

    async def _exchange(self, peer, mtu):
        """Ask for a larger MTU. Where the peer has asked already, or cannot, what comes shows whether it is enough."""
        try:
            self.radio.ble.config(mtu=mtu)
            self.radio.ble.gattc_exchange_mtu(peer.handle)
            if radio_.MTU not in peer.done:
                await self._until(peer, radio_.MTU, "MTU exchange")
        except OSError:
            pass
        except RootletError as e:
            if e.code != "BLE_GATT":
                raise

    async def _set_up(self, peer, kind, address, services, loose, mtu, bond):
        await self.connect(peer, kind, address)
        if mtu > _PLAIN:
            await self._exchange(peer, mtu + 3)
        if bond:
            peer.done.clear()
            self.radio.ble.gap_pair(peer.handle)
            if await self._until(peer, radio_.ENCRYPTED, "pairing", _PAIR_MS):
                raise RootletError("BLE_PAIR", "the connection is not encrypted")
        polled = []
        works = False
        for uuid, value, end, properties in await self.explore(peer, services, loose):
            peer.names[value] = uuid
            status = _NOT_FOUND
            told = properties & (_NOTIFIES | _INDICATES)
            if told:
                status = await self.subscribe(peer, value, end, properties)
            if properties & _READS:
                said = await self.read(peer, value)
                if not said:
                    peer.readable.append(value)
                if status:
                    status = said
                    if not said:
                        polled.append(value)  # also where subscribing has failed
            if status:  # one that does not work must not keep the others from being read
                peer.problem = _refused(uuid, status)
            else:
                works = True
        if not works:
            raise peer.problem
        return polled

    async def session(self, peer, kind, address, services, loose, every, mtu=0, bond=False, up=None):
        """Connect, explore, subscribe and read, until the connection ends or others wait for one.

        Args: kind, address: as heard. services, loose: see explore. every: function that gives the ms between two
        reads of what does not notify. mtu: longest value, bytes. bond: pair first. up: function called when all is
        set up.
        Returns whether it ended by itself, because others wait. Raises RootletError BLE_*.
        """
        self.waiting += 1
        try:
            while not self.free:
                await asyncio.sleep_ms(_POLL_MS * 5)
            self.free -= 1
        finally:
            self.waiting -= 1
        try:
            await self._lock.acquire()
            try:
                polled: list = await asyncio.wait_for_ms(
                    self._set_up(peer, kind, address, services, loose, mtu, bond), _SETUP_MS
                )
            finally:
                self.radio.wanted = []
                self._lock.release()  # not by `async with`: that allocates, and without memory it would stay locked
            if up:
                up()
            return await self._live(peer, polled, every)
        except asyncio.TimeoutError:
            raise RootletError("BLE_GATT", "not ready within %d s" % (_SETUP_MS // 1000)) from None
        except OSError as e:
            raise RootletError("BLE_LOST", "the radio refuses (error %s)" % e) from None
        finally:
            closed = False
            try:
                closed = await self.close(peer)
            finally:  # also where there is no memory for that
                self.free += 1
                if not closed:
                    self.radio.failed = True

    async def _live(self, peer, polled, every):
        began = last = whole = time.ticks_ms()
        while not peer.ended:
            now = time.ticks_ms()
            if peer.lived <= _COUNTED_MS:
                peer.lived = time.ticks_diff(now, began)
            if self.waiting and peer.lived > _TURN_MS:
                return True
            # What notifies may have nothing to tell for hours; now and then it is read, to show that it is alive.
            rare = peer.readable and time.ticks_diff(now, whole) >= max(_WHOLE_MS, 10 * every())
            if rare or (polled and time.ticks_diff(now, last) >= every()):
                for value in peer.readable if rare else polled:
                    status = await self.read(peer, value)
                    if status:
                        raise _refused(peer.names[value], status)
                whole = time.ticks_ms() if rare else whole
                # Not before the reads: a value that comes sooner than the last one would be too early.
                last = time.ticks_ms()
            await asyncio.sleep_ms(100)
        raise RootletError("BLE_LOST", "the peripheral has gone")
