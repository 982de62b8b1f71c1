"""Runs on a board: QoS 1 publishing by stock umqtt.simple and by Rootlet, same broker, same TLS, in one run.

The limit is a bare loop: packets framed beforehand, one write each, acknowledgements counted by their bytes.
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
PAYLOAD = b"x" * 64


class Ussl:
    """The module that stock umqtt.simple imports and MicroPython no longer has: here with verification."""

    @staticmethod
    def wrap_socket(sock, server_hostname):
        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        context.verify_mode = tls.CERT_REQUIRED
        for root in TRUST.roots:
            context.load_verify_locations(root)
        context.load_cert_chain(trust.read_file("device.crt.der"), trust.read_file("device.key.der"))
        return context.wrap_socket(sock, server_hostname=server_hostname)


def stock(count):
    sys.modules["ussl"] = Ussl
    client = umqtt.simple.MQTTClient(
        b"bench", JOB["host"], JOB["port"], keepalive=60, ssl=True, ssl_params={"server_hostname": JOB["host"]}
    )
    client.connect()
    began = time.ticks_us()
    for _ in range(count):
        client.publish(TOPIC, PAYLOAD, qos=1)
    took = time.ticks_diff(time.ticks_us(), began)
    client.disconnect()
    return count * 1000000 / took


def rootlet(count, window):
    client = mqtt.Client("bench", JOB["host"], JOB["port"], TRUST, window=window)
    client.connect()
    began = time.ticks_us()
    for _ in range(count):
        client.publish(TOPIC, PAYLOAD, qos=1)
    client.flush()
    took = time.ticks_diff(time.ticks_us(), began)
    client.disconnect()
    return count * 1000000 / took


def timed(count, began):
    return count * 1000000 / time.ticks_diff(time.ticks_us(), began)


def raw(count, window):
    hello = packets.connect_packet("bench", None, None, 60, None, True)
    stream = verified.connect(JOB["host"], JOB["port"], hello, TRUST)
    if stream.read(4) != b"\x20\x02\x00\x00":
        raise ValueError("no CONNACK")
    sock = stream._sock
    poller = select.poll()
    poller.register(stream._raw, select.POLLIN)
    # An identifier comes again when `window` messages after it have been sent, so after its acknowledgement.
    framed = [packets.publish_packet(TOPIC, PAYLOAD, False, 1, i + 1, False) for i in range(window)]
    size = len(framed[0])
    buf = bytearray(4 * window)
    sent = acked = came = 0
    began = time.ticks_us()
    while acked < count:
        while sent < count and sent - acked < window:
            if sock.write(framed[sent % window]) != size:
                raise ValueError("a short write")  # never on loopback with so little on its way
            sent += 1
        n = sock.readinto(buf)
        if n:
            came += n
            acked = came >> 2
        elif n == 0 or not poller.poll(10000):
            raise ValueError("the broker is gone")
    rate = timed(count, began)
    stream.write(b"\xe0\0")
    stream.close()
    return rate


def through_outbox(count, mode, first=False):
    """As the gateway does it: into the outbox, from there by the link to the broker, out of it by PUBACK.

    Args: first: each is on flash before it is sent, thirty-two written at a time; else as by default, what is not
        acknowledged within ten seconds.
    """
    box = boxes.Outbox("bench_box", mode=mode)
    link = links.Link(JOB["mqtt"], "bench", TRUST, box)
    link.connect()
    poller = select.poll()
    poller.register(link.client.sock._raw, select.POLLIN)
    made = 0
    began = time.ticks_us()
    while made < count or len(box):
        if len(box) <= 32 and made < count:
            for _ in range(min(32, count - made)):
                box.put(TOPIC, PAYLOAD)
                made += 1
            if first:
                box.flush()
        box.tick()
        # Waiting as the bare loop does, not by the gateway's clock.
        if not link.pump() + link.listen() and not poller.poll(10000):
            raise ValueError("the broker is gone")
    rate = timed(count, began)
    if link.acked != count:
        raise ValueError("%d of %d acknowledged" % (link.acked, count))
    link.client.disconnect()
    box.flush()  # the acknowledgements too, or the next round would begin with some of these
    return rate


gc.collect()
TRUST = trust.load("trust_roots", lambda: JOB["now"], board.load()["tls"]).with_identity(
    "device.crt.der", "device.key.der"
)
result = {"free_bytes": gc.mem_free()}
result["stock"] = stock(JOB["stock_count"])
gc.collect()
result["window_1"] = rootlet(JOB["count"], 1)
gc.collect()
# In turn, several times, the best of each: something else may have the machine for a moment.
WAYS = {
    "raw": lambda: raw(JOB["count"], 16),
    "window_16": lambda: rootlet(JOB["count"], 16),
    "outbox_ram": lambda: through_outbox(JOB["count"], "ram"),
    "outbox_flash": lambda: through_outbox(JOB["count"], "flash"),
    "outbox_first": lambda: through_outbox(JOB["count"], "flash", True),
}
for _ in range(JOB["rounds"]):
    for name in WAYS:
        memory.settle()
        result[name] = max(result.get(name, 0), WAYS[name]())
print("result", json.dumps(result))
