"""Reads a sensor and POSTs its readings to an HTTPS address, signed; tries again until they are taken.

Each is kept on flash from a moment after it was made until the server has said 2xx.
"""

import asyncio
import hashlib
import json
import time
from binascii import hexlify

from rootlet import backoff, board, clock, https, memory, outbox, reading, sensors, slots, start, trees, trust, wifi
from rootlet.errors import RootletError

TIMEOUT_MS = 20000
AT_ONCE = 8  # readings in one request, at most
LONGEST = 3000  # bytes of them; https.post takes 4096
HOLD_MS = 10000
CLOCK_MS = 6 * 3600000  # from one question for the time to the next: the server takes no signature five minutes off
log = start.log


def hmac_sha256(key, message):
    """RFC 2104, in hexadecimal."""
    key = hashlib.sha256(key).digest() if len(key) > 64 else key
    key = key + bytes(64 - len(key))
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key) + message).digest()
    return hexlify(hashlib.sha256(bytes(b ^ 0x5C for b in key) + inner).digest()).decode()


def signature(secret, seconds, body):
    """What stands in X-Signature: the time is signed too, so that an old request cannot be sent again later."""
    return "t=%d,v1=%s" % (seconds, hmac_sha256(secret.encode(), b"%d." % seconds + body))


class Hook:
    def __init__(self, settings):
        self.settings = settings
        self.hardware = board.load()
        self.trust = trust.load("trust_roots", self.now, self.hardware.get("tls"))
        self.clock = clock.Clock(self.trust.floor, settings["clock"]["servers"])
        self.box = outbox.Outbox(hold_ms=HOLD_MS, window=AT_ONCE)
        self.pauses = backoff.Backoff()
        self.wifi = {"hostname": None, "power": "performance", "timeout_s": 20}
        self.wifi.update(settings["wifi"])
        for row in self.wifi["networks"]:
            row.setdefault("password", "")
        self.wlan = None
        self.asked = None  # ticks of the last question for the time
        self.start = None  # Unix seconds of this start: with `seq` it names a reading once and for all

    def now(self):
        return self.clock.now()

    async def sense(self):
        """Read for ever, from when the clock is good."""
        row = {"pin": None, "scale": 1, "unit": None}
        row.update(self.settings["sensor"])
        sensor = sensors.make(row, self.hardware)
        number = 0
        while True:
            if not self.clock.good:
                await asyncio.sleep_ms(200)
                continue
            try:
                now = self.clock.now()
                self.start = self.start or now
                for quantity, value, unit in sensors.read(sensor, row["name"]):
                    device = self.settings["device"]
                    text = reading.reading(device, row["name"], quantity, value, unit, now, self.start, number)
                    self.box.put("", text)
                    number += 1
            except RootletError as e:  # one bad reading of a DHT must not end the program
                log("error", e)
            await asyncio.sleep(self.settings["every_s"])

    async def online(self):
        """WiFi joined and the clock set. Raises RootletError."""
        if self.wlan is None:
            self.wlan = wifi.start(self.wifi, self.hardware)
        if wifi.address(self.wlan) is None:
            log("wifi", "joined '%s', address %s" % await wifi.join(self.wlan, self.wifi, self.hardware))
        if not self.clock.good or time.ticks_diff(time.ticks_ms(), self.asked) > CLOCK_MS:
            self.asked = time.ticks_ms()
            self.clock.sync()
            log("clock", "set by " + self.clock.source)

    def batch(self):
        """Readings that wait, oldest first: their numbers, and a JSON array of them."""
        numbers, texts, size = [], [], 0
        while len(numbers) < AT_ONCE and size < LONGEST:
            entry = self.box.next()
            if entry is None:
                break
            numbers.append(entry[0])
            texts.append(entry[2])
            size += len(entry[2])
        return numbers, b"[" + b",".join(texts) + b"]"

    def post(self, numbers, body):
        """One request. Raises RootletError where it is to be sent again."""
        signed = signature(self.settings["secret"], self.clock.now(), body)
        headers = {"Content-Type": "application/json", "X-Signature": signed}
        with https.post(self.settings["url"], self.trust, body, headers=headers, timeout_ms=TIMEOUT_MS) as response:
            status = response.status
        if status == 401:
            self.clock.good = False  # it may be the clock: ask again
        if status >= 500 or status in (401, 408, 425, 429):
            raise RootletError("HTTP_RESPONSE", "status %d" % status)
        for number in numbers:
            self.box.acked(number)
        if status >= 300:
            # The server will not take these, now or later: kept, they would block all that come after them.
            log("error", "status %d: %d readings are let go" % (status, len(numbers)))
            return
        log("https", "%d readings taken, status %d" % (len(numbers), status))
        trees.confirm(log)

    async def send(self):
        """Deliver for ever: what fails is logged and tried again after a pause, longer after each failure."""
        while True:
            try:
                await self.online()
                numbers, body = self.batch()
                if numbers:
                    self.post(numbers, body)
                    self.pauses.stable()
                else:
                    await asyncio.sleep_ms(500)
            except RootletError as e:
                log("error", e)
                self.box.rewind()
                pause = self.pauses.failed(e.code)
                log("hook", "next try in %d ms" % pause)
                await asyncio.sleep_ms(pause)

    async def keep(self):
        """Write to flash what has waited too long."""
        while True:
            self.box.tick()
            await asyncio.sleep_ms(200)

    async def run(self):
        await asyncio.gather(self.sense(), self.send(), self.keep())


memory.reserve(board.load().get("tls"))
trees.settle()
slots.start(log)
with open("settings.json") as f:
    hook = Hook(json.load(f))
try:
    asyncio.run(hook.run())
finally:
    hook.box.flush()
