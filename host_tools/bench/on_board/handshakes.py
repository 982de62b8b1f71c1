"""Runs on a board: full verified handshakes, TCP included, of servers in turn: the firmware's, and bare ones.

A bare one is MicroPython's own tls with the same root (and identity), without any code of the firmware.
"""

import gc
import json
import os
import socket
import time

import tls as bare_tls

from rootlet import board, pick, store, tls, trust
from rootlet.deadline import Deadline

with open("bench.json") as f:
    JOB = json.load(f)
HOST = JOB["host"]
HELLO = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
IDENTITY = ("device.crt.der", "device.key.der")
NEEDS = board.load()["tls"]


def now():
    return JOB["now"]


def read(name):
    with open(name, "rb") as f:
        return f.read()


def timed(function, *arguments):
    gc.collect()
    began = time.ticks_us()
    result = function(*arguments)
    return time.ticks_diff(time.ticks_us(), began) / 1000, result


def bare(address, root, identity):
    context = bare_tls.SSLContext(bare_tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = bare_tls.CERT_REQUIRED
    context.load_verify_locations(root)
    if identity:
        context.load_cert_chain(*identity)
    raw = socket.socket()
    raw.connect(address)
    try:
        raw.setsockopt(6, 1, 1)  # TCP_NODELAY: else an acknowledgement that is delayed is what takes the time
    except (OSError, ValueError):
        pass
    return context.wrap_socket(raw, server_hostname=HOST)


def forget():
    try:
        os.remove("picked.json")
    except OSError:
        pass


def trusting(root, roots, mutual):
    found = trust.Trust([root] if root else [], now, NEEDS, 0, store.Store(roots) if roots else None)
    return found.with_identity(*IDENTITY) if mutual else found


def one(server):
    """Milliseconds by each way that is asked for."""
    port, root, mutual = server["port"], read(server["root"]), server["mutual"]
    took = {}
    if "bare" in server["ways"]:
        address = socket.getaddrinfo(HOST, port, 0, socket.SOCK_STREAM)[0][-1]
        identity = [read(name) for name in IDENTITY] if mutual else None
        took["bare"], sock = timed(bare, address, root, identity)
        sock.close()
    if "embedded" in server["ways"]:
        took["embedded"], stream = timed(tls.connect, HOST, port, HELLO, trusting(root, None, mutual))
        stream.close()
    if "store" in server["ways"]:
        forget()
        trusted = trusting(None, "roots.bin", mutual)
        if server["peek"]:
            place = (tls.resolve(HOST, port), HOST, port, trusted, now(), Deadline(9000))
            took["peek"], seen = timed(tls._peek, *place)
            took["look-up"], _ = timed(pick.choose, seen, trusted)
        took["first contact"], stream = timed(tls.connect, HOST, port, HELLO, trusted)
        stream.close()
        took["remembered"], stream = timed(tls.connect, HOST, port, HELLO, trusted)
        stream.close()
    return took


FOUND = [{} for _ in JOB["servers"]]
for _ in range(JOB["rounds"]):
    for found, server in zip(FOUND, JOB["servers"]):
        for way, ms in one(server).items():
            found.setdefault(way, []).append(ms)
for found, server in zip(FOUND, JOB["servers"]):
    print("result", json.dumps({"name": server["name"], "ms": found}))
