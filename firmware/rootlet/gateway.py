"""The application: joins, sets the clock, fetches the page, reads sensors and publishes what they say."""

import asyncio
import gc
import json
import random
import time

from . import board, clock, health, https, leds, memory, mqtt, sensors, trees, trust, wifi
from .dates import timestamp
from .errors import RootletError
from .start import log

_FIRST_BACKOFF_MS = 1000
_LONGEST_BACKOFF_MS = 60000
_STABLE_MS = 60000
_ACK_MS = 15000
_IDLE_MS = 20


def backoff_ms(attempt):
    """Full jitter: anywhere up to twice as long at each attempt, at most a minute."""
    longest = min(_LONGEST_BACKOFF_MS, _FIRST_BACKOFF_MS << min(attempt, 6))
    return 100 + random.getrandbits(16) * longest // 65536


def _ignore(topic, message):
    """The gateway subscribes to nothing: what a broker sends all the same is let go."""


def _told(error):
    log("error", error)
    health.failed(error)


def _no_memory():
    gc.collect()
    return RootletError("MEMORY", "%d B free after collecting" % gc.mem_free())


class Queue:
    """Readings not yet handed to MQTT; bounded, the oldest is dropped and counted."""

    def __init__(self, size):
        self._size = size
        self._items = []
        self.dropped = 0

    def __len__(self):
        return len(self._items)

    def put(self, item):
        if len(self._items) >= self._size:
            self._items.pop(0)
            self.dropped += 1
        self._items.append(item)

    def get(self):
        return self._items.pop(0)


def reading(device, sensor, quantity, value, unit, seconds, sequence):
    """A reading as JSON text. seconds: Unix seconds of the reading. sequence: counts from 0 at each boot."""
    return json.dumps(
        {
            "device": device,
            "sensor": sensor,
            "quantity": quantity,
            "value": value,
            "unit": unit,
            "time": timestamp(seconds),
            "seq": sequence,
        }
    )


class Gateway:
    """Holds the parts together.

    Args: settings: a checked configuration (config.load). hardware: the board file (board.load).
    """

    def __init__(self, settings, hardware):
        self.settings = settings
        self.board = hardware
        needs = hardware.get("tls")
        self.trust = self._load_trust(needs)
        clk = settings["clock"]
        self.clock = clock.Clock(self.trust.floor, clk["servers"], timeout_ms=clk["timeout_s"] * 1000)
        self.queue = Queue(settings["mqtt"]["queue"])
        self.wlan = None
        self.sequence = 0
        self.sent = 0
        self.first = None  # packet id of the first reading, 0 once it is told
        self.client = self._client()

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

    def _client(self):
        m = self.settings["mqtt"]
        device = self.settings["device"]
        client = mqtt.Client(
            device, m["host"], m["port"], self._broker_trust(), m["user"], m["password"], m["keepalive_s"]
        )
        client.set_last_will(self._topic("status"), '{"status": "offline"}', retain=True, qos=1)
        client.on_ack = self._acknowledged
        client.set_callback(_ignore)
        return client

    def _topic(self, sensor):
        return self.settings["mqtt"]["topic"].replace("{device}", self.settings["device"]).replace("{sensor}", sensor)

    def _acknowledged(self, pid):
        if not self.sent:
            trees.confirm(log)
        self.sent += 1
        leds.blink()
        if pid == self.first:
            self._published_first()

    def _published_first(self):
        self.first = 0
        log("mqtt", "first reading published")

    async def _sense(self, row):
        """Read one sensor for ever, from when the clock is good: a reading without a time is worth little."""
        sensor = None
        period = int(row["every_s"] * 1000)
        while True:
            health.feed(row["name"], period)
            if self.clock.good:
                try:
                    sensor = sensor or sensors.make(row, self.board)
                    for quantity, value, unit in sensors.read(sensor, row["name"]):
                        item = (row["name"], quantity, value, unit, self.clock.now(), self.sequence)
                        self.sequence += 1
                        self.queue.put(item)
                except RootletError as e:
                    _told(e)
                except MemoryError:
                    _told(_no_memory())
            await asyncio.sleep_ms(period if self.clock.good else 100)

    async def _online(self):
        """WiFi joined and clock set, or a RootletError."""
        if self.wlan is None:
            self.wlan = wifi.start(self.settings["wifi"], self.board)
        if wifi.address(self.wlan) is None:
            leds.show(leds.WIFI)
            health.feed("", len(self.settings["wifi"]["networks"]) * self.settings["wifi"]["timeout_s"] * 1000)
            ssid, ip = await wifi.join(self.wlan, self.settings["wifi"], self.board)
            log("wifi", "joined '%s', address %s" % (ssid, ip))
        if not self.clock.good:
            leds.show(leds.CLOCK)
            self._set_clock()

    def _set_clock(self):
        seconds = self.clock.sync()
        log("clock", "%s by %s" % (timestamp(seconds), self.clock.source))

    def _fetch(self):
        """GET the configured page; a failure is logged and must not keep readings from the broker."""
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
        self.clock.keep(stream.since)
        return True

    def _connect(self):
        client = self.client
        leds.show(leds.CONNECTING)
        client.connect()
        s = client.sock
        shared = client.trust.psk
        how = "pre-shared key" if shared else "mutual TLS" if client.trust.cert else "TLS"
        log("mqtt", "connected to %s:%d by %s" % (client.server, client.port, how))
        chain = "it knows the key of '%s'" % shared.identity if shared else "chain " + " > ".join(s.chain)
        log("mqtt", "verified: %s, %s, %s" % (s.version, s.cipher, chain))
        client.publish(self._topic("status"), health.birth(self.settings["device"]), retain=True, qos=1)
        health.connected()
        if not shared:  # no certificate has confirmed the time
            self.clock.keep(s.since)

    async def _serve(self):
        """Publish readings as they come, until something breaks (raises RootletError)."""
        client = self.client
        qos = self.settings["mqtt"]["qos"]
        keepalive = self.settings["mqtt"]["keepalive_s"] * 1000
        resync = self.settings["clock"]["every_s"] * 1000
        synced = heard = asked = time.ticks_ms()
        dropped = 0
        while True:
            now = time.ticks_ms()
            health.feed()
            if client.check_msg():
                heard = now
                await asyncio.sleep_ms(0)  # a talkative broker must not keep the sensors waiting
                continue
            if wifi.address(self.wlan) is None:
                raise RootletError("WIFI_FAILED", "the connection was lost")
            waiting = len(client.inflight)
            if len(self.queue) and waiting < client.window:
                sensor, quantity, value, unit, seconds, sequence = self.queue.get()
                text = reading(self.settings["device"], sensor, quantity, value, unit, seconds, sequence)
                if not waiting:
                    heard = now
                pid = client.publish(self._topic(sensor), text, qos=qos)
                if self.first is None:
                    self.first = pid
                    if not pid:
                        self._published_first()
                await asyncio.sleep_ms(0)
                continue
            quiet = time.ticks_diff(now, heard)
            if (waiting and quiet > _ACK_MS) or quiet > keepalive + _ACK_MS:
                raise RootletError("MQTT_TIMEOUT", "nothing from the broker for %d s" % (quiet // 1000))
            if quiet > keepalive // 2 and time.ticks_diff(now, asked) > keepalive // 2:
                client.ping()
                asked = now
            if self.queue.dropped != dropped:
                dropped = self.queue.dropped
                log("error", "queue full, %d readings dropped so far" % dropped)
            if time.ticks_diff(now, synced) > resync:
                synced = now
                try:
                    self._set_clock()
                except RootletError as e:
                    log("error", e)
            await asyncio.sleep_ms(_IDLE_MS)

    async def run(self):
        """Work for ever: every failure is logged with its code and tried again after a pause."""
        # Together: an exception that ends one of them ends all, and does not pass unseen.
        await asyncio.gather(self._work(), health.keep(), *[self._sense(row) for row in self.settings["sensors"]])

    async def _work(self):
        attempt = 0
        fetched = self.settings["https"] is None
        while True:
            connected = None
            try:
                await self._online()
                fetched = fetched or self._fetch()
                self._connect()
                connected = time.ticks_ms()
                await self._serve()
            except RootletError as e:
                self.client.close()
                _told(e)
                if e.code in ("CERT_EXPIRED", "CERT_NOT_YET_VALID"):
                    self.clock.good = False  # it may be the clock that is wrong: ask again
            except MemoryError:
                self.client.close()
                _told(_no_memory())
            memory.reserve(self.board.get("tls"))
            stable = connected is not None and time.ticks_diff(time.ticks_ms(), connected) > _STABLE_MS
            attempt = 0 if stable else attempt + 1
            pause = backoff_ms(attempt)
            log("gateway", "next try in %d ms" % pause)
            health.feed("", pause)
            await asyncio.sleep_ms(pause)


async def main(settings):
    """Run for ever. What is missing on the flash is told, and ends the program. Args: settings: see start.settings."""
    try:
        gateway = Gateway(settings, board.load())
    except RootletError as e:
        log("error", e)
        return
    health.start(settings, gateway.board)
    await gateway.run()
