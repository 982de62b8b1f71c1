"""Runs on a board: verified handshakes by MicroPython's own tls alone, without any code of the firmware."""

import gc
import json
import socket
import time

import tls

with open("bench.json") as f:
    JOB = json.load(f)


def read(name):
    with open(name, "rb") as f:
        return f.read()


def processor():
    return time.clock() if hasattr(time, "clock") else 0


def join(ssid, password):
    import network

    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    wlan.connect(ssid, password)
    began = time.ticks_ms()
    while not wlan.isconnected():
        if time.ticks_diff(time.ticks_ms(), began) > 30000:
            raise OSError("no WiFi")
        time.sleep_ms(10)


if JOB.get("wifi"):
    join(*JOB["wifi"])
for row in JOB["bare"]:
    address = socket.getaddrinfo(row["host"], row["port"], 0, socket.SOCK_STREAM)[0][-1]
    root = read(row["root"])
    identity = row.get("identity") and [read(name) for name in row["identity"]]
    took, spent = [], []
    for _ in range(JOB["rounds"]):
        gc.collect()
        at = processor()
        began = time.ticks_us()
        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        context.verify_mode = tls.CERT_REQUIRED
        context.load_verify_locations(root)
        if identity:
            context.load_cert_chain(*identity)
        raw = socket.socket()
        raw.connect(address)
        try:
            raw.setsockopt(6, 1, 1)  # TCP_NODELAY: else an acknowledgement that is delayed is what takes the time
        except OSError:
            pass
        sock = context.wrap_socket(raw, server_hostname=row["host"])
        took.append(time.ticks_diff(time.ticks_us(), began))
        spent.append(int((processor() - at) * 1000000))
        sock.close()
    print("result", json.dumps({"name": row["name"], "us": took, "processor_us": spent}))
