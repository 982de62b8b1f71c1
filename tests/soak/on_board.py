"""Runs on a board: publishes by QoS 1 through one connection after another; tells its memory after each.

Its lines: "mem CONNECTIONS ACKNOWLEDGED FREE LARGEST" (bytes; LARGEST is 0 where it was not looked for), "end …".
"""

import gc
import json
import time

from rootlet import memory

# As boot.py: collected often, what stays lies close together and the free heap in one piece.
gc.threshold(8192)
# What TLS takes of this heap on this interpreter: its context is one object of 3 KB, the rest is outside.
NEEDS = {"heap": "gc", "block_bytes": 3104, "out_block_bytes": 512, "free_bytes": 8192}
memory.reserve(NEEDS)  # as the gateway does, before all the rest is loaded

from rootlet import link, mqtt, outbox, trust
from rootlet.errors import RootletError

with open("soak.json") as f:
    JOB = json.load(f)
TOPIC = b"rootlet/dev-1/load"
COMMANDS = b"rootlet/dev-1/cmd/x"
PAYLOAD = bytearray(b"00000000" + b"x" * 56)
PATIENCE_MS = 30000


def number_payload(n):
    """64 bytes that begin with a number, made in place."""
    for i in range(7, -1, -1):
        PAYLOAD[i] = 48 + n % 10
        n //= 10
    return PAYLOAD


class Kept:
    """The client itself holds what is on its way."""

    def __init__(self, trusted):
        self.client = mqtt.Client("dev-1", JOB["host"], JOB["port"], trusted, timeout_ms=5000)
        self.made = self.acked = 0
        self.client.on_ack = self._acked
        self.connect = self.client.connect

    def _acked(self, pid):
        self.acked += 1

    def step(self):
        """Publish one message. Returns whether there was one."""
        if self.made >= JOB["publishes"]:
            return False
        client = self.client
        while len(client.inflight) >= client.window:  # not inside publish: a message is made when there is room
            client._call(client.wait_msg)
        try:
            client.publish(TOPIC, number_payload(self.made), qos=1)
        finally:
            self.made += 1  # sent or not, the client holds it
        return True

    def drain(self):
        """Wait until nothing is on its way."""
        self.client.flush()

    def broken(self, code):
        self.client.close()


class Boxed:
    """As the gateway works: into the outbox, from there by the link, out of it by PUBACK."""

    def __init__(self, trusted):
        self.made = 0
        # On flash: each before it is sent, so that the flash is in use all the time.
        self.box = outbox.Outbox(mode=JOB["through"], hold_ms=0)
        settings = {
            "host": JOB["host"], "port": JOB["port"], "brokers": [], "qos": 1, "user": None, "password": None,
            "keepalive_s": 30, "window": 16, "session": "clean", "retry_first_s": 0.1, "retry_longest_s": 0.1,
            "failback_s": 900,
        }  # fmt: skip
        self.link = link.Link(settings, "dev-1", trusted, self.box)
        self.client = self.link.client
        self.connect = self.link.connect

    @property
    def acked(self):
        return self.link.acked

    def drain(self):
        while len(self.box):
            self.step(False)

    def step(self, more=True):
        box, k = self.box, self.link
        while more and self.made < JOB["publishes"] and len(box) < 2 * self.client.window:
            box.put(TOPIC, bytes(number_payload(self.made)))
            self.made += 1
        box.tick()
        if not k.pump() + k.listen():
            k.check()
        return True

    def broken(self, code):
        self.link.ended(code)


def connected(through):
    """Connect, as often as it takes until the broker is there again."""
    end = time.ticks_add(time.ticks_ms(), PATIENCE_MS)
    while True:
        try:
            through.connect()
            through.client.subscribe(COMMANDS, 1)
            return
        except RootletError as e:
            ended(through, e.code)
            if e.code in ("TLS_MEMORY", "TLS_NO_ROOTS") or time.ticks_diff(end, time.ticks_ms()) < 0:
                print(e.code, e.fact)
                raise
            time.sleep_ms(20)


def tell(connections, acked):
    gc.collect()
    free = gc.mem_free()
    largest = 0
    if connections % JOB["largest_every"] == 0:
        largest = memory.largest_block()
        gc.collect()
    print("mem", connections, acked, free, largest)


CODES = {}


def ended(through, code):
    CODES[code] = CODES.get(code, 0) + 1
    through.broken(code)
    memory.reserve(NEEDS)


def main():
    trusted = trust.load("trust_roots", lambda: JOB["now"], NEEDS).with_identity("device.crt.der", "device.key.der")
    through = Kept(trusted) if JOB["through"] == "client" else Boxed(trusted)
    client = through.client
    client.set_callback(lambda topic, message: None)
    gc.collect()
    print("start", gc.mem_alloc(), gc.mem_free())
    connections = 0
    began = time.ticks_ms()
    while through.acked < JOB["publishes"]:
        connected(through)
        connections += 1
        memory.settle()
        try:
            through.drain()  # what is on its way would count as memory
            tell(connections, through.acked)
            count = 0
            while through.acked < JOB["publishes"]:
                if not through.step():
                    client._call(client.wait_msg)
                count += 1
                if count % 200 == 0:
                    client.ping()
        except RootletError as e:
            ended(through, e.code)
    tell(connections, through.acked)
    client.disconnect()
    print("end", json.dumps({"made": through.made, "acked": through.acked, "connections": connections, "codes": CODES,
                             "ms": time.ticks_diff(time.ticks_ms(), began)}))  # fmt: skip


gc.collect()
main()
