"""Readings of BLE sensors: the radio is kept listening, messages go to whom they are of, values to who publishes."""

import asyncio
import gc
import struct
import time

from . import ble_adverts, ble_formats
from .backoff import Backoff
from .ble_radio import DATA, SCAN_RESULT, TICKS, Radio, ticks
from .ble_sensor import Sensor, decoder
from .errors import RootletError

_POLL_MS = 20
_AT_ONCE = 16  # events taken before others run
_QUIET_MS = 60000  # without any advertisement: scan anew; a learned address is forgotten
_SOON_MS = 2000
_NEAR_MS = 3000  # heard within that time, it is likely to take a connection
_AGAIN_MS = 300000  # before the same error of the same sensor is told again
_FIRST_MS, _LAST_MS = 2000, 120000  # pauses between connections
_USELESS = 50  # messages before it is told that none is of the format


def _age(then):
    return (ticks() - then) & TICKS


def text(address):
    """An address as it is printed."""
    return ":".join(["%02x" % b for b in address])


class Listener:
    """Listens to the configured sensors.

    Args: settings: the checked "ble" section. hardware: the board file. take: function (name, quantity, value, unit,
    age in ms, address as text, rssi) for each reading. log: as start.log. failed: function that is told of a
    RootletError. feed: as watchdog.feed. ready: function that says whether readings are wanted now.
    """

    def __init__(self, settings, hardware, take, log, failed, feed, ready):
        self.settings = settings
        self.take = take
        self.log = log
        self.failed = failed
        self.feed = feed
        self.ready = ready
        self.sensors = [Sensor(row, settings["every_s"]) for row in settings["sensors"]]
        learning = [s for s in self.sensors if not s.fixed]
        facts = hardware.get("ble") or {}
        self.radio = Radio([s.address for s in self.sensors], bool(learning))
        self.learning = learning
        self.gatt = [s for s in self.sensors if s.row["format"] == "gatt"]
        self.central = None
        if self.gatt:
            from .ble_central import Central

            self.central = Central(self.radio, facts.get("connections", 1), self._scan)
        if facts.get("bonding") and [s for s in self.sensors if s.row["bond"]]:
            from .ble_bonds import Bonds

            self.radio.bonds = Bonds()
        self.skipped = 0  # messages beyond what is decoded in a second
        self.on = False
        self._heard = self._seconds = 0
        self._quiet = time.ticks_ms()

    def _told(self, sensor, error):
        """Tell an error of a sensor, not the same one all the time."""
        now = time.ticks_ms()
        # Less than 0: told so long ago that the ticks have gone round.
        if error.code in sensor.told and 0 <= time.ticks_diff(now, sensor.told[error.code]) < _AGAIN_MS:
            return
        sensor.told[error.code] = now
        self.failed(RootletError(error.code, "'%s': %s" % (sensor.name, error.fact)))

    def _scan(self):
        s = self.settings
        try:
            self.radio.scan(s["interval_ms"], s["window_ms"], s["active"])
            self._quiet = time.ticks_ms()
        except OSError:  # tried again soon
            self._quiet = time.ticks_add(time.ticks_ms(), _SOON_MS - _QUIET_MS)
            self._heard = self.radio.heard  # else what was heard before counts as heard since

    def _values(self, sensor, found, when, now=None):
        for quantity, value, unit in found:
            if sensor.due(quantity, value, when if now is None else now):
                sensor.held.pop(quantity, None)
                self.take(sensor.name, quantity, value, unit, _age(when), text(sensor.address), sensor.rssi)
            elif quantity in sensor.last:  # too early, and perhaps the last for hours
                sensor.held[quantity] = (value, unit, when)

    def _advert(self, source, kind, rssi, when, address, payload):
        """An advertisement, for whoever of the sensors it is."""
        for sensor in self.learning:
            # Who knows the IRK may change the address at any time; a name is kept by who had it first.
            if sensor.address is None or (sensor.irk and sensor.address != address and not sensor.busy):
                if sensor.matches(address, kind, payload):
                    sensor.address = self.radio.listed[self.sensors.index(sensor)] = address
        for sensor in self.sensors:
            if sensor.address == address:
                self._guarded(sensor, self._message, sensor, kind, rssi, when, payload)

    def _message(self, sensor, kind, rssi, when, payload):
        if sensor.at is None:
            self.log("ble", "%s is heard: %s, %d dBm" % (sensor.name, text(sensor.address), rssi))
        sensor.at, sensor.kind, sensor.rssi, sensor.fresh = when, kind, rssi, True
        if sensor.row["format"] == "gatt" or not self.ready():
            return
        # Sensors send each message several times; one that is told already is not even decoded.
        if payload == sensor.payload and sensor.every_ms and not self._old(sensor):
            return
        if not sensor.affordable():
            self.skipped += 1
            return
        sensor.payload = payload
        if sensor.sources:
            for where, kind_, ident in sensor.sources:
                data = ble_adverts.find(payload, kind_, ident)
                if data is not None:
                    sensor.useless = -1
                    self._mapped(sensor, where, data, when)
        else:
            data = ble_adverts.find(payload, *sensor.place)
            if data is not None:
                sensor.useless = -1
                self._values(sensor, sensor.decode(data, sensor.address, sensor.key, sensor.state), when)
        if sensor.useless >= 0:
            sensor.useless += 1
            if sensor.useless == _USELESS:
                raise RootletError("BLE_DATA", "none of %d messages is of its format" % _USELESS)

    def _mapped(self, sensor, where, data, when):
        """Each value for itself: one that cannot be read must not take the others away."""
        for row in sensor.values:
            if row["source"] == where:
                self._guarded(sensor, lambda: self._values(sensor, sensor.mapped([row], where, data), when))

    def _old(self, sensor):
        """Whether one of the values may be published again."""
        now = ticks()
        return not sensor.last or max([(now - row[1]) & TICKS for row in sensor.last.values()]) >= sensor.every_ms

    def drain(self):
        """Take what has come, a few events. Returns how many."""
        for count in range(_AT_ONCE):
            found = self.radio.take()
            if found is None:
                return count
            event, source, kind, rssi, handle, a, b, size, when, address, data = found
            if event == SCAN_RESULT:
                self._guarded(None, self._advert, source, kind, rssi, when, address, data[:size])
            elif self.central:
                self.central.take(event, kind, handle, a, b, size, when, address, data)
        return _AT_ONCE

    def _guarded(self, sensor, function, *args):
        """Call what looks at bytes of strangers. Whatever comes of it, the gateway goes on."""
        try:
            return function(*args)
        except RootletError as e:
            error = e
            if sensor and sensor.prefix and e.code == "BLE_KEY" and not sensor.busy:  # one of the same name, perhaps
                sensor.address = self.radio.listed[self.sensors.index(sensor)] = None
        except MemoryError:
            gc.collect()
            error = RootletError("MEMORY", "%d B free after collecting" % gc.mem_free())
        except Exception as e:  # a decoder is tested with all kinds of bytes; if it is wrong all the same, it is told
            error = RootletError("BLE_DATA", repr(e)[:80])
        self._told(sensor or self.sensors[0], error)

    def _look_after(self):
        """Keep the scan going; forget learned addresses that have gone silent."""
        now = time.ticks_ms()
        if self.radio.heard != self._heard:
            self._heard, self._quiet = self.radio.heard, now
        if self.radio.bonds:
            self.radio.bonds.save()
        if not (self.central and self.central.connecting) and time.ticks_diff(now, self._quiet) > _QUIET_MS:
            self.radio.stop_scan()
            self._scan()
        self._seconds += 1
        for sensor in self.sensors:
            if sensor.at is None:
                if self._seconds > _QUIET_MS // 1000 and not sensor.missed:
                    sensor.missed = True
                    self.log("ble", "%s was not heard so far; is its address right, is it near?" % sensor.name)
            elif _age(sensor.at) > TICKS // 2:  # before the ticks go round
                sensor.at = None
                sensor.last.clear()
            for quantity in list(sensor.held):
                value, unit, when = sensor.held[quantity]
                if sensor.address is not None and self.ready() and value != sensor.last.get(quantity, (None,))[0]:
                    self._guarded(sensor, self._values, sensor, [(quantity, value, unit)], when, ticks())
        for sensor in self.learning:
            if sensor.address is not None and sensor.at is not None and _age(sensor.at) > _QUIET_MS:
                if not sensor.busy:
                    sensor.address = self.radio.listed[self.sensors.index(sensor)] = None
                    sensor.at = None
                    sensor.fresh = False

    def _peers(self):
        return list(self.central.peers.values()) if self.central else []

    async def _connected(self, sensor):
        """Keep a connection to a GATT sensor, for ever."""
        from .ble_central import Peer

        backoff = Backoff(_FIRST_MS, _LAST_MS)
        row = sensor.row
        services = [ble_formats.GATT[name] for name in row["services"]]
        wanted = [(s[0], s[2]) for s in services]
        decoders = {}
        for _, name, uuids in services:
            for uuid in uuids:
                decoders[uuid] = decoder(name).decode
        loose, mtu = [], 0
        for row_ in sensor.values:
            uuid = row_["source"].partition(":")[2]
            uuid = int(uuid, 16) if len(uuid) == 4 else uuid
            if uuid not in loose:
                loose.append(uuid)
            mtu = max(mtu, row_["offset"] + struct.calcsize(row_["format"]))

        def decoded(uuid, data, size, when):
            if not self.ready():
                return
            sensor.at = when
            if size > DATA:
                raise RootletError("BLE_DATA", "a value of %d B; %d are taken" % (size, DATA))
            if not sensor.affordable():
                self.skipped += 1
                return
            if uuid in decoders:
                self._values(sensor, decoders[uuid](uuid, data), when)
            if uuid in loose:
                where = "characteristic:" + ("%04x" % uuid if isinstance(uuid, int) else uuid)
                self._mapped(sensor, where, data, when)

        def value(*args):
            self._guarded(sensor, decoded, *args)

        def every():
            return max(sensor.every_ms, 1000)  # a command may change it

        def up():
            self.log("ble", "%s is connected: %s" % (sensor.name, text(sensor.address)))
            if peer.problem:
                self._told(sensor, peer.problem)

        bond = row["bond"] and self.radio.bonds is not None
        while True:
            while not (self.on and sensor.fresh and _age(sensor.at) < _NEAR_MS):
                await asyncio.sleep_ms(100)
            code = ""
            peer = Peer(value)
            sensor.busy = True
            try:
                await self.central.session(  # type: ignore[union-attr]
                    peer, sensor.kind, sensor.address, wanted, loose, every, mtu, bond, up
                )
            except RootletError as e:
                code = e.code
                self._told(sensor, e)
            except MemoryError:
                code = "MEMORY"
                gc.collect()
            if not code or peer.lived > _QUIET_MS:
                backoff.stable()
            sensor.busy = sensor.fresh = False
            await asyncio.sleep_ms(backoff.failed(code))

    async def run(self):
        """Listen for ever."""
        # Together: an exception that ends one of them ends all, and does not pass unseen.
        await asyncio.gather(self._work(), *[self._connected(s) for s in self.gatt])

    async def _work(self):
        """A radio that fails is started again."""
        backoff = Backoff(5000, 300000)
        while True:
            self.feed("ble radio", 10000)
            try:
                self.radio.start()
                self.on = True
                self._scan()
                self.log("ble", "listening for %d sensors" % len(self.sensors))
                await self._listen(backoff)
                error = RootletError("BLE_OFF", "an event was lost")
            except (OSError, ImportError, MemoryError) as e:
                error = RootletError("BLE_OFF", str(e) or "no memory")
            self.failed(error)
            self.on = False
            self._stop()
            pause = backoff.failed()
            self.feed("ble radio", pause)
            await asyncio.sleep_ms(pause)

    def _stop(self):
        if self.central and self.central.connecting:
            self.central.connecting[1].ended = True
        try:
            self.radio.stop()
        except OSError:
            pass
        for peer in self._peers():
            peer.ended = True
            del self.central.peers[peer.handle]  # type: ignore[union-attr]

    async def _listen(self, backoff):
        began = looked = time.ticks_ms()
        while not self.radio.failed:
            busy = self.drain()
            now = time.ticks_ms()
            if time.ticks_diff(now, looked) > 1000:
                looked = now
                self.feed("ble radio", 1000)
                self._look_after()
                if time.ticks_diff(now, began) > _AGAIN_MS:
                    backoff.stable()
            await asyncio.sleep_ms(0 if busy == _AT_ONCE else _POLL_MS)

    def status(self):
        """For the status topic: advertisements heard, events without room, messages not decoded, by sensor
        [seconds since it was heard, dBm]."""
        by_name = {s.name: [_age(s.at) // 1000, s.rssi] for s in self.sensors if s.at is not None}
        r = self.radio
        return {
            "heard": r.heard,
            "dropped": r.dropped,
            "skipped": self.skipped,
            "up": len(self._peers()),
            "seen": by_name,
        }
