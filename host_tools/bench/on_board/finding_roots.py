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
HELLO = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


def ms(function, *arguments):
    gc.collect()
    began = time.ticks_us()
    result = function(*arguments)
    return time.ticks_diff(time.ticks_us(), began) / 1000, result


for name, port in JOB["servers"]:
    addresses = tls.resolve(JOB["host"], port)
    looks, lookups, handshakes = [], [], []
    for _ in range(JOB["rounds"]):
        took, peek = ms(tls._peek, addresses, JOB["host"], port, TRUST, JOB["now"], Deadline(9000))
        looks.append(took)
        took, (issuer, roots) = ms(pick.choose, peek, TRUST)
        lookups.append(took)
        place = (addresses, JOB["host"], port, HELLO, TRUST, roots, JOB["now"], Deadline(9000), 9000)
        took, stream = ms(tls._open, *place)
        handshakes.append(took)
        stream.close()
    row = {"name": name, "look_ms": looks, "look_up_ms": lookups, "handshake_ms": handshakes}
    print("result", json.dumps(row))
