"""The application: joins, sets the clock, fetches the page, reads sensors and publishes what they say."""

import asyncio
import gc
import time

import machine

from . import board, clock, health, leds, memory, sensors, slots, telemetry, trees, trust, wifi
from .dates import timestamp
from .errors import RootletError, unload
from .kept import data as kept
from .link import Link
from .outbox import Outbox
from .reading import reading
from .start import log

_TICK_MS = 200
_TOLD_EACH = 50  # ticks between two complaints of a full outbox
_UPDATE_MS = 120000  # from one sign of life of an update to the next


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

    Args: settings: a checked configuration (config.load). hardware: the board file (board.load).
    """

    def __init__(self, settings, hardware):
        self.settings = settings
        self.board = hardware
        needs = hardware.get("tls")
        self.trust = self._load_trust(needs)
        clk = settings["clock"]
        self.clock = clock.Clock(self.trust.floor, clk["servers"], timeout_ms=clk["timeout_s"] * 1000)
        self.wlan = None
        self.unjoined = 0
        self.sequence = 0
        self.dropped = 0
        self.synced = time.ticks_ms()
        self.seen = 0
        m, o = settings["mqtt"], settings["outbox"]
        self.outbox = Outbox(
            max_bytes=o["max_bytes"], ram=m["queue"], hold_ms=int(o["hold_s"] * 1000), full=o["full"], mode=o["mode"],
            window=m["window"],
        )  # fmt: skip
        self.link = Link(m, settings["device"], self._broker_trust(), self.outbox)
        client = self.link.client
        client.set_last_will(self._topic("status"), '{"status": "offline"}', retain=True, qos=1)
        self.commands = self.after = self.news = None
        if m["commands"]:
            from .commands import Commands

            execute = {
                "status": self._publish_status,
                "interval": self._interval,
                "rotate": self._rotate,
                "update": self._update,
                "reboot": self._reboot,
            }
            self.commands = Commands(self._topic("cmd").encode(), m["commands"], execute)
        client.set_callback(self.commands.receive if self.commands else _ignore)
        self.state = telemetry.fresh()
        self.told = time.ticks_ms()

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
        sensor = None
        while True:
            period = int(row["every_s"] * 1000)
            health.feed(row["name"], period)
            if self.clock.good:
                try:
                    sensor = sensor or sensors.make(row, self.board)
                    for quantity, value, unit in sensors.read(sensor, row["name"]):
                        self._take(row["name"], quantity, value, unit)
                except RootletError as e:
                    _told(e)
                except MemoryError:
                    _told(_no_memory())
            await asyncio.sleep_ms(period if self.clock.good else 100)

    def _take(self, name, quantity, value, unit):
        """Put one reading into the outbox."""
        device = self.settings["device"]
        text = reading(device, name, quantity, value, unit, self.clock.now(), kept["boots"], self.sequence)
        self.sequence += 1
        self.outbox.put(self._topic(name), text)

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
            self.wlan = wifi.start(self.settings["wifi"], self.board)
        if wifi.address(self.wlan) is None:
            await self._join()
        if not self.clock.good:
            leds.show(leds.CLOCK)
            self._set_clock()

    async def _join(self):
        w = self.settings["wifi"]
        leds.show(leds.WIFI)
        health.feed("", len(w["networks"]) * w["timeout_s"] * 1000)
        try:
            ssid, ip = await wifi.join(self.wlan, w, self.board)
        except RootletError as e:
            self.unjoined += 1
            if wifi.failed(self.wlan, w, self.board, self.unjoined, e):
                _told(e)
                self.outbox.flush()
                wifi.stuck(self.unjoined, e)
            raise
        self.unjoined = 0
        log("wifi", "joined '%s', address %s" % (ssid, ip))

    def _set_clock(self):
        seconds = self.clock.sync()
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
        finally:
            unload("https")  # a page is seldom fetched
            unload("http1")
        self.clock.keep(stream.since)
        return True

    def _connect(self):
        client = self.link.client
        leds.show(leds.CONNECTING)
        self.link.connect()
        s = client.sock
        shared = client.trust.psk
        how = "pre-shared key" if shared else "mutual TLS" if client.trust.cert else "TLS"
        log("mqtt", "connected to %s:%d by %s" % (client.server, client.port, how))
        chain = "it knows the key of '%s'" % shared.identity if shared else "chain " + " > ".join(s.chain)
        log("mqtt", "verified: %s, %s, %s" % (s.version, s.cipher, chain))
        self._publish_status()
        self._subscribe()
        health.connected()
        if not shared:  # no certificate has confirmed the time
            self.clock.keep(s.since)

    def _publish_status(self, number=None, args=None):
        link, state = self.link, self.state
        state["reconnects"] = link.reasons
        state["handshake_ms"] = link.handshake_ms
        state["broker"] = "%s:%d" % link.broker
        m = self.settings["mqtt"]
        signal = wifi.rssi(self.wlan)
        text = telemetry.status(self.settings["device"], state, self.outbox, signal, m["cert"], self.clock.read())
        link.publish(self._topic("status"), text)
        self.told = time.ticks_ms()

    def _subscribe(self):
        """Ask for commands. A broker that gives none costs the commands, not the readings."""
        if not self.commands:
            return
        try:
            self.link.client.subscribe(self._topic("cmd"), 1)
        except RootletError as e:
            if e.code != "MQTT_SUBSCRIBE":
                raise
            _told(e)
        if self.news:
            self.link.publish(self._topic("reply"), self.news, False)
            self.news = None

    def _interval(self, number, args):
        """How often a sensor is read, until the next start."""
        for row in self.settings["sensors"]:
            if row["name"] == args["sensor"]:
                row["every_s"] = args["every_s"]
                return None
        raise RootletError("COMMAND", "no sensor has this name")

    def _rotate(self, number, args):
        slot = args["slot"]
        if not slots.complete(slot) or not slots.tried(slot):
            raise RootletError("SLOT", "slot %s is not whole, or was never connected with" % slot)
        from . import rotation

        try:
            rotation.switch(slot)
        except OSError as e:
            raise RootletError("SLOT", "flash: %s" % e) from None
        finally:
            unload("rotation")
        self.after = ("reboot", number, args)

    def _reboot(self, number, args):
        self.after = ("reboot", number, args)

    def _update(self, number, args):
        if not self.settings["update"]["key"]:
            raise RootletError("UPDATE_OFF", "update.key is not set")
        self.after = ("update", number, args)

    async def _carry_out(self):
        """What a command asked for and must not be done while connected. The answer to it has gone out."""
        what, number, args = self.after  # type: ignore[misc]
        self.after = None
        try:
            self.link.publish(self._topic("status"), '{"status": "offline", "why": "%s"}' % what)
            self.link.client.flush()
            self.link.client.disconnect()
        except RootletError as e:
            log("error", e)  # the broker will notice
            self.link.client.close()
        self.outbox.flush()
        if what == "update":
            log("update", "asked for")
            health.feed("", _UPDATE_MS)
            from . import commands, update

            try:
                await update.fetch(args["url"], self.trust, self.settings, self.board, log)
            except RootletError as e:
                _told(e)
                self.news = commands.answer(number, what, e)
                return
            finally:
                for name in ("update", "https", "http1"):
                    unload(name)
        log("gateway", "restarting, as asked")
        health.restarts(what)
        machine.reset()

    def _turn(self):
        """What is to be done now and then while connected. Returns whether to end the connection.

        Raises: RootletError WIFI_FAILED, CLOCK_NOT_SET.
        """
        health.feed()
        now = time.ticks_ms()
        if self.commands:
            text = self.commands.step()
            if text:
                self.link.publish(self._topic("reply"), text, False)
        every_s = self.settings["mqtt"]["status_s"]
        if every_s and time.ticks_diff(now, self.told) > every_s * 1000:
            self._publish_status()
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
                self._publish_status()
        if time.ticks_diff(now, self.synced) > self.settings["clock"]["every_s"] * 1000:
            self.synced = now
            try:
                self._set_clock()
            except RootletError as e:
                log("error", e)
        return self.after is not None

    async def run(self):
        """Work for ever: every failure is logged with its code and tried again after a pause."""
        # Together: an exception that ends one of them ends all, and does not pass unseen.
        tasks = [self._sense(row) for row in self.settings["sensors"]]
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
                else:
                    await self._carry_out()
            except RootletError as e:
                code = e.code
                _told(e)
                if code in ("CERT_EXPIRED", "CERT_NOT_YET_VALID", "CLOCK_NOT_SET"):
                    self.clock.good = False  # it may be the clock that is wrong: ask again
            except MemoryError:
                code = "MEMORY"
                _told(_no_memory())
            pause = self.link.ended(code)
            memory.reserve(self.board.get("tls"))
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
