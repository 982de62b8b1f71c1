"""Runs on a board: QoS 1 publishing by stock umqtt.simple and by Rootlet, same broker, same TLS, in one run."""

import gc
import json
import sys
import time

import tls
import umqtt.simple
from rootlet import board, mqtt, trust

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


gc.collect()
TRUST = trust.load("trust_roots", lambda: JOB["now"], board.load()["tls"]).with_identity(
    "device.crt.der", "device.key.der"
)
result = {"free_bytes": gc.mem_free()}
result["stock"] = stock(JOB["stock_count"])
gc.collect()
result["window_1"] = rootlet(JOB["count"], 1)
gc.collect()
result["window_16"] = rootlet(JOB["count"], 16)
print("result", json.dumps(result))
