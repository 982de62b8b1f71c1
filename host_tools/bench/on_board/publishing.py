"""Runs on a board: publishing by Rootlet, by stock umqtt.simple and by a bare loop, to one broker, step after step.

The bare loop is the limit: packets framed beforehand, acknowledgements counted by their bytes, over the socket that
Rootlet's own connection uses. A run with QoS 0 ends with one message of QoS 1: its PUBACK says that the broker has
taken in all before it.
"""

import gc

gc.threshold(8192)  # as boot.py sets it

import json
import select
import sys
import time

import tls
import umqtt.simple
from rootlet import board, memory, mqtt, packets, trust
from rootlet import link as links
from rootlet import outbox as boxes
from rootlet import tls as verified

with open("bench.json") as f:
    JOB = json.load(f)
TOPIC = b"rootlet/bench/load"
CERT, KEY = "device.crt.der", "device.key.der"
TRUST = trust.load("trust_roots", lambda: JOB["now"], board.load()["tls"]).with_identity(CERT, KEY)


class Ussl:
    """The module that stock umqtt.simple imports and MicroPython no longer has: here with verification."""

    @staticmethod
    def wrap_socket(sock, server_hostname):
        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        context.verify_mode = tls.CERT_REQUIRED
        for root in TRUST.roots:
            context.load_verify_locations(root)
        context.load_cert_chain(trust.read_file(CERT), trust.read_file(KEY))
        return context.wrap_socket(sock, server_hostname=server_hostname)


sys.modules["ussl"] = Ussl


def hello():
    """A verified connection to the broker with its session open, as Rootlet makes it."""
    packet = packets.connect_packet("bench", None, None, 60, None, True)
    stream = verified.connect(JOB["host"], JOB["port"], packet, TRUST)
    if stream.read(4) != b"\x20\x02\x00\x00":
        raise ValueError("no CONNACK")
    return stream


class Stock:
    def __init__(self, step):
        self.client = umqtt.simple.MQTTClient(
            b"bench", JOB["host"], JOB["port"], keepalive=60, ssl=True, ssl_params={"server_hostname": JOB["host"]}
        )
        if step.get("stream"):
            self.client.sock = hello()
        else:
            self.client.connect()
        self.publish = self.client.publish
        self.wait = self.client.wait_msg
        self.subscribe = self.client.subscribe
        self.set_callback = self.client.set_callback

    def flush(self):
        pass

    def close(self):
        self.client.disconnect()


class Rootlet:
    def __init__(self, step):
        self.client = mqtt.Client("bench", JOB["host"], JOB["port"], TRUST, window=step.get("window", 1))
        self.client.connect()
        self.publish = self.client.publish
        self.flush = self.client.flush
        self.wait = self.client.wait_msg
        self.subscribe = self.client.subscribe
        self.set_callback = self.client.set_callback

    def close(self):
        self.client.disconnect()


class Raw:
    """The bare loop."""

    def __init__(self, step):
        self.stream = hello()
        self.sock = self.stream._sock
        self.poller = select.poll()
        self.poller.register(self.stream._raw, select.POLLIN)
        # An identifier comes again when `window` messages after it have been sent, so after its acknowledgement.
        payload = bytes(step["size"])
        self.framed = [packets.publish_packet(TOPIC, payload, False, 1, i + 1, False) for i in range(step["window"])]
        self.plain = packets.publish_packet(TOPIC, payload)
        self.buf = bytearray(256)

    def send(self, packet):
        n = self.sock.write(packet)
        if n == len(packet):
            return
        rest = memoryview(packet)[n or 0 :]
        self.poller.modify(self.stream._raw, select.POLLOUT)
        while rest:
            self.poller.poll(10000)
            rest = rest[self.sock.write(rest) or 0 :]
        self.poller.modify(self.stream._raw, select.POLLIN)

    def read(self):
        """Bytes that came."""
        while True:
            n = self.sock.readinto(self.buf)
            if n:
                return n
            if n == 0 or not self.poller.poll(10000):
                raise ValueError("the broker is gone")

    def unacknowledged(self, count):
        for _ in range(count - 1):
            self.send(self.plain)
        self.windowed(1)

    def windowed(self, count):
        framed, window = self.framed, len(self.framed)
        sent = acked = came = 0
        while acked < count:
            while sent < count and sent - acked < window:
                self.send(framed[sent % window])
                sent += 1
            came += self.read()
            acked = came >> 2

    def round_trip(self):
        self.send(self.framed[0])
        self.read()

    def close(self):
        self.stream.write(b"\xe0\0")
        self.stream.close()


def processor():
    """Seconds of processor time, where the port can tell: what others do on the machine is not in it."""
    return time.clock() if hasattr(time, "clock") else 0


def per_message(count, began, spent):
    """[messages a second, microseconds of processor time a message]"""
    took = time.ticks_diff(time.ticks_us(), began)
    return [count * 1000000 / took, (processor() - spent) * 1000000 / count]


def rate(step):
    """See per_message."""
    count, payload, qos = step["count"], bytes(step["size"]), step["qos"]
    way = WAYS[step["way"]](step)
    publish = getattr(way, "publish", None)
    memory.settle()
    began, spent = time.ticks_us(), processor()
    if publish is None:
        if qos:
            way.windowed(count)
        else:
            way.unacknowledged(count)
    else:
        for _ in range(count - 1):
            publish(TOPIC, payload, qos=qos)
        publish(TOPIC, payload, qos=1)
        way.flush()
    values = per_message(count, began, spent)
    way.close()
    return values


def latency(step):
    """Milliseconds from a publish to its PUBACK, or with QoS 0 until it has come back: median and 99th percentile.

    With QoS 0 the board is its own observer, subscribed to what it sends: so there is one clock.
    """
    count, payload, qos = step["count"], bytes(step["size"]), step["qos"]
    way = WAYS[step["way"]](step)
    times = []
    if not qos:
        way.set_callback(lambda topic, message: None)
        way.subscribe(TOPIC)
    memory.settle()
    for _ in range(count):
        began = time.ticks_us()
        if not hasattr(way, "publish"):
            way.round_trip()
        else:
            way.publish(TOPIC, payload, qos=qos)
            if qos:
                way.flush()
            else:
                way.wait()
        times.append(time.ticks_diff(time.ticks_us(), began))
    way.close()
    times.sort()
    return [times[count // 2] / 1000, times[count * 99 // 100] / 1000]


def garbage(step):
    """Bytes allocated for each message, once the window is full."""
    count, payload, qos = step["count"], bytes(step["size"]), step["qos"]
    way = WAYS[step["way"]](step)
    for _ in range(step["window"]):
        way.publish(TOPIC, payload, qos=qos)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    for _ in range(count):
        way.publish(TOPIC, payload, qos=qos)
    used = gc.mem_alloc() - before
    gc.enable()
    way.flush()
    way.close()
    return [used / count]


def through_outbox(step):
    """As the gateway does it: into the outbox, from there by the link to the broker, out of it by PUBACK.

    "first": each is on flash before it is sent, thirty-two written at a time; else as by default, what is not
    acknowledged within ten seconds.
    """
    count, payload = step["count"], bytes(step["size"])
    box = boxes.Outbox("bench_box", mode=step["mode"])
    link = links.Link(JOB["mqtt"], "bench", TRUST, box)
    link.connect()
    poller = select.poll()
    poller.register(link.client.sock._raw, select.POLLIN)
    memory.settle()
    made = 0
    began, spent = time.ticks_us(), processor()
    while made < count or len(box):
        if len(box) <= 32 and made < count:
            for _ in range(min(32, count - made)):
                box.put(TOPIC, payload)
                made += 1
            if step.get("first"):
                box.flush()
        box.tick()
        # Waiting as the bare loop does, not by the gateway's clock.
        if not link.pump() + link.listen() and not poller.poll(10000):
            raise ValueError("the broker is gone")
    values = per_message(count, began, spent)
    if link.acked != count:
        raise ValueError("%d of %d acknowledged" % (link.acked, count))
    link.client.disconnect()
    box.flush()  # the acknowledgements too, or the next round would begin with some of these
    return values


WAYS = {"stock": Stock, "rootlet": Rootlet, "raw": Raw}
MEASURES = {"rate": rate, "latency": latency, "outbox": through_outbox, "garbage": garbage}
# All in turn, several times: something else may have the machine for a moment.
for _ in range(JOB["rounds"]):
    for i, step in enumerate(JOB["steps"]):
        gc.collect()
        print("result", json.dumps({"step": i, "values": MEASURES[step["measure"]](step)}))
