"""The device's side of a test: runs firmware calls, on CPython and on MicroPython alike, and prints what came of them.

Called as: device.py FIRMWARE_DIR UMQTT_DIR JOB, where JOB is a JSON file: {"roots": [DER files], "clock": seconds or
null, "cert", "key", "timeout_ms", "steps": [{"do": name, …}]}. Prints one JSON line a step.
"""

import gc
import json
import sys
import time

sys.path[:0] = sys.argv[1:3]
if hasattr(gc, "threshold") and sys.implementation.name == "micropython":
    gc.threshold(8192)  # as boot.py has it, while all is loaded
if sys.implementation.name == "cpython":
    sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/cpython")
    import micropython_api  # noqa: F401

from rootlet import https, mqtt, trust
from rootlet.errors import RootletError

with open(sys.argv[3]) as f:
    JOB = json.load(f)
TIMEOUT = JOB.get("timeout_ms", 5000)


def now():
    if JOB.get("clock") is None:
        raise RootletError("CLOCK_NOT_SET", "no time server answered")
    return JOB["clock"]


def read(name):
    with open(name, "rb") as f:
        return f.read()


STORE = None
if "store" in JOB:
    from rootlet.store import Store

    STORE = Store(JOB["store"])
TRUST = trust.Trust([read(r) for r in JOB["roots"]], now, JOB.get("needs"), store=STORE)
TRUST = TRUST.with_identity(JOB.get("cert"), JOB.get("key")).with_pins(JOB.get("pins"))
if JOB.get("psk"):
    from rootlet import psk

    TRUST = psk.trust(TRUST, JOB["psk"]["identity"], JOB["psk"]["file"])
CLIENTS = {}


def get(step):
    limits = {k: step[k] for k in ("max_bytes", "redirects") if k in step}
    trusted = TRUST.with_pins(step.get("pins"))
    with https.get(step["url"], trusted, timeout_ms=TIMEOUT, **limits) as response:
        body = b"" if step.get("discard") else response.read()
        size = response.size
        for piece in response if step.get("discard") else ():
            size += len(piece)
        s = response.stream
        return {
            "status": response.status,
            "size": size or response.size,
            "body": body[:64].decode(),
            "chain": s.chain,
            "version": s.version,
            "cipher": s.cipher,
        }


def post(step):
    body = b"\xff" * step["bytes"] if "bytes" in step else step["body"]
    more = {k: step[k] for k in ("content_type", "headers") if k in step}
    with https.post(step["url"], TRUST, body, timeout_ms=TIMEOUT, **more) as response:
        return {"status": response.status, "body": response.read()[:64].decode()}


def client(step):
    c = CLIENTS.get(step["id"])
    if c is None:
        c = mqtt.Client(
            step["id"],
            step.get("host", "localhost"),
            step["port"],
            TRUST,
            user=step.get("user"),
            password=step.get("password"),
            keepalive=step.get("keepalive", 30),
            timeout_ms=TIMEOUT,
        )
        CLIENTS[step["id"]] = c
        if "will" in step:
            c.set_last_will(step["will"][0], step["will"][1], qos=1)
    return c


def mqtt_connect(step):
    return {"session": client(step).connect()}


def publish(step):
    c = client(step)
    acked = [0]

    def count(pid):
        acked[0] += 1

    c.on_ack = count
    before = time.ticks_ms()
    for i in range(step["count"]):
        c.publish(step["topic"], step["text"] % i, qos=step["qos"])
    c.flush()
    return {"acked": acked[0], "ms": time.ticks_diff(time.ticks_ms(), before)}


def subscribe(step):
    c = client(step)
    got = []
    c.set_callback(lambda topic, message: got.append([topic.decode(), message.decode()]))
    c.subscribe(step["topic"], step["qos"])
    if step.get("echo"):
        c.publish(step["echo"], "hello", qos=1)
    end = time.ticks_add(time.ticks_ms(), TIMEOUT)
    while len(got) < step["count"] and time.ticks_diff(end, time.ticks_ms()) > 0:
        if not c.check_msg():
            time.sleep(0.01)
    return {"got": got}


def ping(step):
    c = client(step)
    c.ping()
    end = time.ticks_add(time.ticks_ms(), TIMEOUT)
    while time.ticks_diff(end, time.ticks_ms()) > 0:
        if c.check_msg():
            return {"pong": True}
        time.sleep(0.01)
    return {"pong": False}


def disconnect(step):
    client(step).disconnect()
    return {}


def drop(step):
    client(step).close()
    return {}


def store(step):
    from rootlet.store import Store

    return {"count": Store(step["path"]).count}


STEPS = {f.__name__: f for f in (get, post, mqtt_connect, publish, subscribe, ping, disconnect, drop, store)}
for step in JOB["steps"]:
    began = time.ticks_ms()
    try:
        result = STEPS[step["do"]](step)
    except RootletError as e:
        result = {"code": e.code, "fact": e.fact, "text": str(e)}
    result["ms"] = result.get("ms", time.ticks_diff(time.ticks_ms(), began))
    gc.collect()
    print(json.dumps(result))
