"""Runs on a board: publishes one reading by mutual TLS and takes leave in order, for `rootlet capture`."""

import json

from rootlet import board, memory

memory.reserve(board.load()["tls"])
from rootlet import mqtt, trust  # noqa: E402  (after the reservation)

with open("capture.json") as f:
    JOB = json.load(f)
TRUST = trust.load("trust_roots", lambda: JOB["now"], board.load()["tls"]).with_identity(
    "device.crt.der", "device.key.der"
)
client = mqtt.Client(JOB["device"], JOB["host"], JOB["port"], TRUST)
client.connect()
client.publish(JOB["topic"].encode(), json.dumps(JOB["reading"]).encode(), qos=1)
client.flush()
# MicroPython's own close() sends no close_notify. The broker does when it closes after DISCONNECT: wait for that.
client.sock.write(b"\xe0\0")
buffer = bytearray(64)
while client.sock.readinto(buffer):
    pass
client.close()
print("published")
