"""Runs on a board: publishes by QoS 1 through one connection after another; tells its memory after each.

Its lines: "mem CONNECTIONS ACKNOWLEDGED FREE LARGEST" (bytes; LARGEST is 0 where it was not looked for), "end …".
"""

import gc
import json
import time

from rootlet import memory

# Collected often, what stays lies close together and the free heap in one piece; else 3 KB would be the largest of 30.
gc.threshold(8192)
# What TLS takes of this heap on this interpreter: its context is one object of 3 KB, the rest is outside.
NEEDS = {"heap": "gc", "block_bytes": 3104, "out_block_bytes": 512, "free_bytes": 16384}
memory.reserve(NEEDS)  # as the gateway does, before all the rest is loaded

from rootlet import mqtt, outbox, trust
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

    def __init__(self, client):
        self.client = client
        self.made = self.acked = 0
        client.on_ack = self._acked

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

    def broken(self):
        pass


class Boxed:
    """The outbox holds it, on flash or in RAM: as the gateway works."""

    def __init__(self, client):
        self.client = client
        self.made = self.acked = 0
        self.numbers = {}
        self.box = outbox.Outbox(mode=JOB["through"], hold_ms=JOB["hold_ms"])
        client.on_ack = self._acked

    def _acked(self, pid):
        self.acked += 1
        self.box.acked(self.numbers.pop(pid))

    def drain(self):
        self.client.flush()
        while len(self.box):
            if not self.step(False):
                self.client._call(self.client.wait_msg)

    def step(self, more=True):
        client, box = self.client, self.box
        if more and self.made < JOB["publishes"] and len(box) < 2 * client.window:
            box.put(TOPIC, bytes(number_payload(self.made)))
            self.made += 1
        box.tick()
        while len(client.inflight) >= client.window:
            client._call(client.wait_msg)
        entry = box.next()
        if entry is None:
            return False
        number, topic, payload, again = entry
        # The packet may be on its way, and its acknowledgement come, before publish returns an identifier; but an
        # acknowledgement is taken only here, after it.
        self.numbers[client.publish(topic, payload, qos=1, dup=again, keep=False)] = number
        return True

    def broken(self):
        self.numbers.clear()
        self.box.rewind()


def connected(client):
    """Connect, as often as it takes until the broker is there again."""
    end = time.ticks_add(time.ticks_ms(), PATIENCE_MS)
    while True:
        try:
            client.connect()
            client.subscribe(COMMANDS, 1)
            return
        except RootletError as e:
            closed(client)
            if e.code in ("TLS_MEMORY", "TLS_NO_ROOTS") or time.ticks_diff(end, time.ticks_ms()) < 0:
                print(e)
                raise
            CODES[e.code] = CODES.get(e.code, 0) + 1
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


def closed(client):
    client.close()
    memory.reserve(NEEDS)


def main():
    trusted = trust.load("trust_roots", lambda: JOB["now"], NEEDS).with_identity("device.crt.der", "device.key.der")
    client = mqtt.Client("dev-1", JOB["host"], JOB["port"], trusted, timeout_ms=5000)
    client.set_callback(lambda topic, message: None)
    through = Kept(client) if JOB["through"] == "client" else Boxed(client)
    gc.collect()
    print("start", gc.mem_alloc(), gc.mem_free())
    connections = 0
    began = time.ticks_ms()
    while through.acked < JOB["publishes"]:
        connected(client)
        connections += 1
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
            CODES[e.code] = CODES.get(e.code, 0) + 1
            closed(client)
            through.broken()
    tell(connections, through.acked)
    client.disconnect()
    print("end", json.dumps({"made": through.made, "acked": through.acked, "connections": connections, "codes": CODES,
                             "ms": time.ticks_diff(time.ticks_ms(), began)}))  # fmt: skip


gc.collect()
main()
