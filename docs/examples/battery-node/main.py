"""A battery node: wakes, reads its sensors, sends at each Nth wake what has gathered on flash, and sleeps again."""

import asyncio
import json
import os
import sys
import time

import machine

from rootlet import board, clock, link, memory, outbox, reading, sensors, slots, start, trees, trust, wifi
from rootlet.errors import RootletError

SEND_EVERY = 6  # wakes from one connection to the next
LISTEN_S = 10  # after power-up: time for mpremote to get in
LEAST_SLEEP_S = 1
PATH = "node.json"  # the wakes so far, and the time at which the last sleep ends, 0: nobody knows

began = time.ticks_ms()
log = start.log


def load():
    """What the last wake left; none after a first start."""
    try:
        with open(PATH) as f:
            said = json.load(f)
        return said if isinstance(said["wakes"], int) and isinstance(said["until"], int) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(state):
    """A new file, then renamed over the old: a cut of power leaves one whole."""
    with open(PATH + ".new", "w") as f:
        json.dump(state, f)
    os.rename(PATH + ".new", PATH)


def awake_ms():
    return time.ticks_diff(time.ticks_ms(), began)


class Node:
    def __init__(self, powered):
        self.settings = start.settings()
        self.hardware = board.load()
        self.trust = self.trusted()
        c = self.settings["clock"]
        self.clock = clock.Clock(self.trust.floor, c["servers"], timeout_ms=c["timeout_s"] * 1000)
        m, o = self.settings["mqtt"], self.settings["outbox"]
        # hold_ms: RAM does not outlive the sleep, so all goes to flash at once.
        self.box = outbox.Outbox(
            max_bytes=o["max_bytes"], ram=m["queue"], hold_ms=0, full=o["full"], window=m["window"]
        )
        self.before = load()
        self.wakes = self.before["wakes"] + 1 if self.before else 0
        self.powered = powered  # no wake from sleep: nobody knows how long the power was off
        self.dated = False

    def trusted(self):
        """How the broker is judged: by the shared key where there is one, else by the embedded roots."""
        m, needs = self.settings["mqtt"], self.hardware.get("tls")
        if m["psk"]:
            from rootlet import psk

            return psk.trust(trust.Trust([], self.now, needs=needs, floor=psk.FLOOR), self.settings["device"], m["psk"])
        roots = trust.load(self.settings["trust"], self.now, needs, self.settings["roots"])
        return roots.with_identity(m["cert"], m["key"]).with_pins(m["pins"])

    def now(self):
        return self.clock.now()

    def guess(self):
        """Set the clock where the sleep has stopped it. Returns whether it can date a reading.

        An ESP32 counts on. A Pico W starts at 2021: the sleep is added to what was before it.
        """
        if self.powered or not self.before or not self.before["until"]:
            return False
        if self.clock.read() < self.before["until"]:
            clock.set_rtc(self.before["until"] + awake_ms() // 1000)
        return True

    def read(self):
        """One reading of each sensor, to flash."""
        count = 0
        for row in self.settings["sensors"]:
            try:
                sensor = sensors.make(row, self.hardware)
                found = sensors.read(sensor, row["name"])
                if not found:  # a DS18B20 converts first
                    time.sleep_ms(750)
                    found = sensors.read(sensor, row["name"])
            except RootletError as e:
                log("error", e)
                continue
            device = self.settings["device"]
            topic = self.settings["mqtt"]["topic"].replace("{device}", device).replace("{sensor}", row["name"])
            for quantity, value, unit in found:
                now = self.clock.read()
                self.box.put(topic, reading.reading(device, row["name"], quantity, value, unit, now, self.wakes, count))
                count += 1

    def send(self):
        """Everything that waits, by one connection; what is not acknowledged stays. Raises RootletError."""
        line = link.Link(self.settings["mqtt"], self.settings["device"], self.trust, self.box)
        count = len(self.box)
        try:
            line.connect(True)
            log("mqtt", "connected in %d ms" % line.handshake_ms)
            while len(self.box):
                line.check()
                if not line.listen() + line.pump():
                    time.sleep_ms(5)
            line.client.disconnect()
            log("mqtt", "%d readings sent" % count)
            trees.confirm(log)
        finally:
            line.client.close()

    def online(self):
        """WiFi, the clock, the broker; and WiFi off again, whatever happens. Raises RootletError."""
        try:
            wlan = wifi.start(self.settings["wifi"], self.hardware)
        except (OSError, RuntimeError) as e:
            raise RootletError("WIFI_FAILED", str(e)) from None
        try:
            asyncio.run(wifi.join(wlan, self.settings["wifi"], self.hardware))
            was = self.clock.read()
            asked = time.ticks_ms()
            took = self.clock.sync() - was - time.ticks_diff(time.ticks_ms(), asked) // 1000
            if self.dated:
                log("clock", "it was %d s slow" % took)
            else:
                self.dated = True
                self.read()
            self.send()
        finally:
            wlan.disconnect()
            wlan.active(False)

    def wake(self):
        """One wake, up to the sleep."""
        self.dated = self.guess()
        if self.dated:
            self.read()
        log("node", "wake %d, %d readings wait" % (self.wakes, len(self.box)))
        if not self.dated or self.wakes % SEND_EVERY == 0:
            self.online()

    def sleep(self):
        """Keep what the next wake needs, and sleep. Does not return."""
        every_ms = int(min(row["every_s"] for row in self.settings["sensors"]) * 1000)
        pause = max(LEAST_SLEEP_S * 1000, every_ms - awake_ms())
        self.box.flush()
        save({"wakes": self.wakes, "until": self.clock.read() + pause // 1000 if self.dated else 0})
        log("node", "awake for %d ms, sleeps for %d ms" % (awake_ms(), pause))
        machine.deepsleep(pause)


def main():
    hardware = board.load()
    memory.reserve(hardware.get("tls"))
    powered = hardware["reset"].get(str(machine.reset_cause())) == "power"
    if powered and LISTEN_S:
        log("node", "Ctrl-C stops it, for %d s" % LISTEN_S)
        time.sleep(LISTEN_S)
    trees.settle()
    slots.start(log)
    node = Node(powered)
    try:
        node.wake()
    except RootletError as e:
        log("error", e)
    except Exception as e:
        sys.print_exception(e)
    node.sleep()


main()
