"""Runs on a board: how long it takes to find the root a server needs, against the whole verified handshake."""

import gc
import json
import time

from rootlet import board, pick, store, tls, trust
from rootlet.deadline import Deadline

with open("bench.json") as f:
    JOB = json.load(f)
STORE = store.Store("roots.bin")
TRUST = trust.Trust([], lambda: JOB["now"], needs=board.load()["tls"], store=STORE)
HELLO = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def us(function, *arguments):
    gc.collect()
    began = time.ticks_us()
    result = function(*arguments)
    return time.ticks_diff(time.ticks_us(), began), result


def median(values):
    return sorted(values)[len(values) // 2]


for name, port in JOB["servers"]:
    addresses = tls.resolve("localhost", port)
    looks, lookups, handshakes = [], [], []
    for _ in range(JOB["rounds"]):
        took, peek = us(tls._peek, addresses, "localhost", port, TRUST, JOB["now"], Deadline(9000))
        looks.append(took)
        took, (issuer, roots) = us(pick.choose, peek, TRUST)
        lookups.append(took)
        place = (addresses, "localhost", port, HELLO, TRUST, roots, JOB["now"], Deadline(9000), 9000)
        took, stream = us(tls._open, *place)
        handshakes.append(took)
        stream.close()
    row = {"name": name, "peek_us": median(looks), "lookup_us": median(lookups), "handshake_us": median(handshakes)}
    print("result", json.dumps(row))
