"""The application: joins, sets the clock, fetches the page, reads sensors and publishes what they say."""

import asyncio
import gc
import time

from . import clock, health, leds, memory, trees, trust, wifi
from .dates import timestamp
from .errors import RootletError, unload
from .kept import data as kept
from .link import Link
from .outbox import Outbox
from .reading import reading
from .start import log

_TICK_MS = 200
_ANNOUNCED = 64  # quantities that are told to Home Assistant
_OF_ONE = 16  # of them, of one sensor: a forger may invent many
_TOLD_EACH = 50  # ticks between two complaints of a full outbox


def _ignore(topic, message):
    """The gateway subscribes to nothing: what a broker sends all the same is let go."""


def _told(error):
    log("error", error)
    health.failed(error)


def _no_memory():
    gc.collect()
    return RootletError("MEMORY", "%d B free after collecting" % gc.mem_free())


class Gateway:
    """Holds the parts together.

    Args: settings: a checked configuration (config.load). hardware: the board file (board.load). wlan: of wifi.begin.
    """

    def __init__(self, settings, hardware, wlan=None):
        self.settings = settings
        self.board = hardware
        needs = hardware.get("tls")
        self.trust = self._load_trust(needs)
        clk = settings["clock"]
        self.clock = clock.Clock(self.trust.floor, clk["servers"], timeout_ms=clk["timeout_s"] * 1000)
        self.wlan = wlan
        self.joining = wlan is not None
        self.timed = asyncio.Event()  # set while the clock is good
        self.sequence = 0
        self.dropped = 0
        self.synced = time.ticks_ms()
        self.seen = 0
        self.misses = 0  # failures to join WiFi in a row
        self.known: dict = {}  # see telemetry
        self.told = None  # when the status was published; None: it is due
        self.first = True  # no connection yet since the start
        m, o = settings["mqtt"], settings["outbox"]
        self.outbox = Outbox(
            max_bytes=o["max_bytes"], ram=m["queue"], hold_ms=int(o["hold_s"] * 1000), full=o["full"], mode=o["mode"],
            window=m["window"],
        )  # fmt: skip
        health.on_end[:] = [self.outbox.flush]
        self.topics: dict = {}
        self.link = Link(m, settings["device"], self._broker_trust(), self.outbox)
        client = self.link.client
        client.set_last_will(self._topic("status"), '{"status": "offline"}', retain=m["retain"], qos=1)
        self.remote = None
        if m["commands"]:
            from .remote import Remote

            self.remote = Remote(self)
        client.set_callback(self.remote.receive if self.remote else _ignore)
        self.ble = None
        if settings["ble"]:
            from .ble_gateway import Listener

            self.ble = Listener(settings["ble"], hardware, self._hear, log, _told, health.feed, self._timed)
        self.announced: list = []  # (sensor, quantity, unit) for Home Assistant
        self.told_of = 0  # of them, in this connection
        self.said = 0  # packet of the last of them
        self.shy = False  # a connection ended with one unanswered: not in the next, else no reading might ever arrive

    def _load_trust(self, needs):
        """The embedded roots. A board that has a shared key and no page to fetch needs none."""
        try:
            return trust.load(self.settings["trust"], self._now, needs, self.settings["roots"])
        except RootletError:
            if not self.settings["mqtt"]["psk"] or self.settings["https"]:
                raise
        from . import psk

        return trust.Trust([], self._now, needs=needs, floor=psk.FLOOR)

    def _broker_trust(self):
        m = self.settings["mqtt"]
        if not m["psk"]:
            return self.trust.with_identity(m["cert"], m["key"]).with_pins(m["pins"])
        from . import psk

        return psk.trust(self.trust, self.settings["device"], m["psk"])

    def _now(self):
        return self.clock.now()

    def _topic(self, sensor):
        return self.settings["mqtt"]["topic"].replace("{device}", self.settings["device"]).replace("{sensor}", sensor)

    async def _sense(self, row):
        """Read one sensor for ever, from when the clock is good: a reading without a time is worth little."""
        from . import sensors  # a gateway of BLE sensors has none of its own

        sensor = None
        while True:
            health.rest(row["name"])
            await self.timed.wait()
            health.feed(row["name"], int(row["every_s"] * 1000))
            try:
                sensor = sensor or sensors.make(row, self.board)
                for quantity, value, unit in sensors.read(sensor, row["name"]):
                    self._take(row["name"], quantity, value, unit)
            except RootletError as e:
                _told(e)
            except MemoryError:
                _told(_no_memory())
            began = time.ticks_ms()
            while self.clock.good and time.ticks_diff(time.ticks_ms(), began) < int(row["every_s"] * 1000) - 1000:
                health.feed(row["name"], 1000)
                await asyncio.sleep_ms(1000)  # a command may change every_s meanwhile
            left = int(row["every_s"] * 1000) - time.ticks_diff(time.ticks_ms(), began)
            await asyncio.sleep_ms(max(0, left) if self.clock.good else 0)

    def _timed(self):
        return self.clock.good

    def _hear(self, name, quantity, value, unit, age_ms, address, rssi):
        """A reading of a BLE sensor."""
        self._take(name, quantity, value, unit, (age_ms + 500) // 1000, (address, rssi))

    def _take(self, name, quantity, value, unit, age=0, source=None):
        """Put one reading into the outbox. Args: age: seconds since it was made. source: see reading."""
        device = self.settings["device"]
        now = self.clock.now() - age
        text = reading(device, name, quantity, value, unit, now, kept["boots"], self.sequence, source)
        self.sequence += 1
        if self.settings["home_assistant"] and len(self.announced) < _ANNOUNCED:
            what = (name, quantity, unit)
            if what not in self.announced and len([1 for row in self.announced if row[0] == name]) < _OF_ONE:
                self.announced.append(what)
        if name not in self.topics:
            self.topics[name] = self._topic(name).encode()  # one for all its readings
        self.outbox.put(self.topics[name], text)

    async def _keep_outbox(self):
        """Write to flash what has waited too long, connected or not."""
        told = 0
        while True:
            try:
                self.outbox.tick()
            except MemoryError:
                _told(_no_memory())
            told -= 1
            if self.outbox.dropped != self.dropped and told <= 0:
                self.dropped = self.outbox.dropped
                told = _TOLD_EACH
                log("error", "outbox full, %d readings dropped so far" % self.dropped)
            await asyncio.sleep_ms(_TICK_MS)

    async def _online(self):
        """WiFi joined and clock set, or a RootletError."""
        if self.wlan is None:
            try:
                self.wlan = wifi.start(self.settings["wifi"], self.board)
            except (OSError, RuntimeError) as e:
                raise RootletError("WIFI_FAILED", str(e)) from None
        if self.joining or wifi.address(self.wlan) is None:
            leds.show(leds.WIFI)
            health.feed("", len(self.settings["wifi"]["networks"]) * self.settings["wifi"]["timeout_s"] * 1000)
            ssid, ip = await self._join()
            log("wifi", "joined '%s', address %s" % (ssid, ip))
        if not self.clock.good:
            leds.show(leds.CLOCK)
            self._set_clock()
            await asyncio.sleep_ms(0)  # the sensors first: what comes next holds up all others

    async def _join(self):
        try:
            begun, self.joining = self.joining, False
            found = await wifi.join(self.wlan, self.settings["wifi"], self.board, begun)
        except RootletError as e:
            self.misses += 1
            if wifi.failed(self.wlan, self.settings["wifi"], self.board, self.misses, e, self.clock.good):
                log("error", e)
                self.outbox.flush()
                wifi.stuck(self.misses, e)
            raise
        self.misses = 0
        return found

    def _set_clock(self):
        seconds = self.clock.sync()
        self.timed.set()
        log("clock", "%s by %s" % (timestamp(seconds), self.clock.source))

    def _fetch(self):
        """GET the configured page; a failure is logged and must not keep readings from the broker."""
        from . import https

        h = self.settings["https"]
        timeout_ms = h["timeout_s"] * 1000
        try:
            trusted = self.trust.with_pins(h["pins"])
            with https.get(h["url"], trusted, timeout_ms=timeout_ms, max_bytes=h["max_bytes"]) as response:
                stream = response.stream
                for _ in response:
                    pass
                # Without the query: it may hold a key.
                place = response.url.partition("?")[0]
                log("https", "GET %s: status %d, %d bytes" % (place, response.status, response.size))
                log("https", "verified: %s, %s, chain %s" % (stream.version, stream.cipher, " > ".join(stream.chain)))
        except RootletError as e:
            _told(e)
            return False
        except MemoryError:
            log("error", _no_memory())
            return True  # it will not fit the next time either, and must not keep readings from the broker
        finally:
            unload("https")  # a page is seldom fetched
            unload("http1")
        self.clock.keep(stream.since)
        return True

    def _connect(self):
        client = self.link.client
        leds.show(leds.CONNECTING)
        self.link.connect(self.remote is not None and self.remote.mute)
        s = client.sock
        shared = client.trust.psk
        how = "pre-shared key" if shared else "mutual TLS" if client.trust.cert else "TLS"
        log("mqtt", "connected to %s:%d by %s" % (client.server, client.port, how))
        chain = "it knows the key of '%s'" % shared.identity if shared else "chain " + " > ".join(s.chain)
        log("mqtt", "verified: %s, %s, %s" % (s.version, s.cipher, chain))
        if self.remote:
            self.remote.subscribe()
        self.told_of = self.said = 0
        if self.first:  # what was read meanwhile goes before the status
            self.first, self.told = False, None
        else:
            self._tell()
        health.connected()
        memory.settle()
        if not shared:  # no certificate has confirmed the time
            self.clock.keep(s.since)

    def _tell(self):
        """Publish the status."""
        from . import telemetry

        m = self.settings["mqtt"]
        text = telemetry.status(
            self.settings["device"],
            self.known,
            self.link,
            self.outbox,
            wifi.rssi(self.wlan),
            m["cert"],
            self.clock.now(),
            self.ble and self.ble.status(),
        )
        unload("telemetry")
        self.link.publish(self._topic("status"), text, m["retain"])
        self.told = time.ticks_ms()

    def _announce(self):
        """Tell Home Assistant of one more quantity."""
        from . import home_assistant

        sensor, quantity, unit = self.announced[self.told_of]
        topic, text = home_assistant.config(
            self.settings["home_assistant"],
            self.settings["device"],
            sensor,
            quantity,
            unit,
            self._topic(sensor),
            self._topic("status"),
        )
        self.told_of += 1
        if self.told_of == len(self.announced):
            unload("home_assistant")
        self.said = self.link.publish(topic, text, self.settings["mqtt"]["retain"])

    def _turn(self):
        """What is to be done now and then while connected. Returns whether to leave. Raises RootletError."""
        health.feed()
        if wifi.address(self.wlan) is None:
            raise RootletError("WIFI_FAILED", "the connection was lost")
        self.clock.now()  # it may have jumped behind what has certainly passed
        if self.link.acked != self.seen:
            if not self.seen:
                log("mqtt", "first reading published")
            self.seen = self.link.acked
            leds.blink()
        if self.link.answered:
            self.link.answered = False
            if trees.trial():
                trees.confirm(log)
                self.told = None  # whoever sent the update waits for it
        if time.ticks_diff(time.ticks_ms(), self.synced) > self.settings["clock"]["every_s"] * 1000:
            self.synced = time.ticks_ms()
            try:
                self._set_clock()
            except RootletError as e:
                log("error", e)
        if self.told_of < len(self.announced) and not self.shy and self.said not in self.link.client.inflight:
            self._announce()
        every = self.settings["mqtt"]["status_s"] * 1000
        if self.told is None:
            if self.link.acked or not len(self.outbox):
                self._tell()
        elif every and time.ticks_diff(time.ticks_ms(), self.told) > every:
            self._tell()
        return self.remote is not None and self.remote.turn()

    async def run(self):
        """Work for ever: every failure is logged with its code and tried again after a pause."""
        # Together: an exception that ends one of them ends all, and does not pass unseen.
        tasks = [self._sense(row) for row in self.settings["sensors"]]
        if self.ble:
            tasks.append(self.ble.run())
        await asyncio.gather(self._work(), self._keep_outbox(), health.keep(), *tasks)

    async def _work(self):
        fetched = self.settings["https"] is None
        while True:
            code = ""
            try:
                await self._online()
                fetched = fetched or self._fetch()
                self._connect()
                if await self.link.serve(self._turn):
                    self.link.client.disconnect()
                    log("mqtt", "back to the first broker")
                elif self.remote:
                    self.remote.leave()
            except RootletError as e:
                code = e.code
                _told(e)
                if code in ("CERT_EXPIRED", "CERT_NOT_YET_VALID", "CLOCK_NOT_SET"):
                    self.clock.good = False  # it may be the clock that is wrong: ask again
                    self.timed.clear()
            except MemoryError:
                code = "MEMORY"
                _told(_no_memory())
            self.shy = self.said in self.link.client.inflight
            pause = self.link.ended(code)
            if self.remote:
                self.remote.mute = code == "MQTT_TOO_LARGE"
            memory.reserve(self.board.get("tls"))
            log("gateway", "next try in %d ms" % pause)
            health.feed("", pause)
            await asyncio.sleep_ms(pause)


async def main(settings, hardware, failed=None, wlan=None):
    """Run for ever. What is missing on the flash is told, and ends the program.

    Args: settings: see start.settings. hardware: the board file. failed: see pending.carry_out. wlan: of wifi.begin.
    """
    try:
        gateway = Gateway(settings, hardware, wlan)
    except RootletError as e:
        log("error", e)
        try:
            if wlan:
                wlan.active(False)
        except (OSError, RuntimeError):  # the program ends either way
            pass
        return
    if failed and gateway.remote:
        gateway.remote.failed(failed[0], "update", failed[1])
    health.start(settings, gateway.board)
    await gateway.run()
