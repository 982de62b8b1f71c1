"""Runs on a board: the same pages by several ways, in turn, from one server over TLS: time, and bytes of heap.

The limit is the verified TLS socket alone: the same request sent, what comes read into one buffer, none of it parsed.
"""

import gc

gc.threshold(8192)  # as boot.py sets it

import json
import time

import tls
from rootlet import board, https, memory, trust
from rootlet import tls as verified
from rootlet.deadline import Deadline
from rootlet.judge import Judge

with open("bench.json") as f:
    JOB = json.load(f)
HOST = JOB["host"]
TIMES = ("whole_us", "body_us", "cpu_us")
BUFFER = bytearray(4096)  # made once, used by each way that reads into a buffer


class Heap:
    """The most that the heap holds while a page is read, above what it held before.

    As it comes: collected before the page, not while it is read, so what is thrown away counts. Live: collected at
    each reading.
    """

    def __init__(self, live):
        self.live = live
        gc.collect()
        gc.threshold(-1)
        self.before = self.most = gc.mem_alloc()

    def see(self):
        if self.live:
            gc.collect()
        now = gc.mem_alloc()
        if now > self.most:
            self.most = now

    def end(self):
        memory.settle()
        return self.most - self.before


def nothing():
    pass


def clocks():
    """Microseconds by the clock, and of processor time where the port tells (0 else)."""
    return time.ticks_us(), int(time.clock() * 1000000) if hasattr(time, "clock") else 0


def connect(port):
    """A blocking socket, straight under TLS; the server's certificate is judged as always."""
    judge = Judge(HOST, TRUST, JOB["now"], TRUST.roots)
    plain = verified._dial_any(verified.resolve(HOST, port), HOST, port, Deadline(20000))
    plain.setblocking(True)
    context = verified._context(TRUST.roots, judge)
    context.verify_mode = tls.CERT_REQUIRED
    return context.wrap_socket(plain, server_hostname=HOST), plain


def ask(sock, path, connection):
    """Send a request, read the head."""
    sock.write(("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: %s\r\n\r\n" % (path, HOST, connection)).encode())
    while sock.readline() != b"\r\n":
        pass
    return clocks()


def take(sock, size, see):
    """Read `size` bytes through the buffer."""
    came = 0
    view = memoryview(BUFFER)
    while came < size:
        n = sock.readinto(view if size - came >= len(BUFFER) else view[: size - came])
        if not n:
            raise ValueError("the server is gone")
        came += n
        see()


def raw(port, path, see):
    size = int(path[1:])
    sock, plain = connect(port)
    linked = ask(sock, path, "close")
    take(sock, size, see)
    sock.close()
    plain.close()
    return linked + (size,)


def again(port, path, see):
    """The second page of a connection: its time alone."""
    size = int(path[1:])
    sock, plain = connect(port)
    ask(sock, path, "keep-alive")
    take(sock, size, nothing)
    began = time.ticks_us()
    linked = ask(sock, path, "close")
    take(sock, size, see)
    ended = time.ticks_us()
    sock.close()
    plain.close()
    return linked + (size, time.ticks_diff(ended, began))


def get(port, path):
    return https.get("https://%s:%d%s" % (HOST, port, path), TRUST, timeout_ms=120000, max_bytes=1 << 24)


def readinto(port, path, see):
    with get(port, path) as response:
        linked = clocks()
        see()
        while response.readinto(BUFFER):
            see()
    return linked + (response.size,)


def pieces(port, path, see):
    with get(port, path) as response:
        linked = clocks()
        see()
        for _ in response:
            see()
    return linked + (response.size,)


def read_n(port, path, see):
    with get(port, path) as response:
        linked = clocks()
        see()
        while response.read(1024):
            see()
    return linked + (response.size,)


def whole(port, path, see):
    with get(port, path) as response:
        linked = clocks()
        body = response.read()
        see()
    return linked + (len(body),)


def _requested(port, path):
    import requests

    return requests.get("https://%s:%d%s" % (HOST, port, path))


def requests_whole(port, path, see):
    response = _requested(port, path)
    linked = clocks()
    size = len(response.content)
    see()
    response.close()
    return linked + (size,)


def requests_raw(port, path, see):
    response = _requested(port, path)
    linked = clocks()
    came = 0
    size = int(path[1:])
    view = memoryview(BUFFER)
    while came < size:
        came += response.raw.readinto(view[: size - came])
        see()
    response.close()
    return linked + (came,)


WAYS = {f.__name__: f for f in (raw, again, readinto, pieces, read_n, whole, requests_whole, requests_raw)}


def once(row, port, path, see):
    """One page by one way: microseconds in all, after the head, and of processor then; None where memory ran out."""
    gc.collect()
    began = time.ticks_us()
    try:
        found = WAYS[row["way"]](port, path, see)
    except (MemoryError, ImportError) as e:
        row["failed"] = repr(e)
        return None
    ended, all_spent = clocks()
    linked, spent, size = found[:3]
    if size != row["bytes"]:
        raise ValueError("%s: %d bytes of %s" % (row["way"], size, path))
    whole_us = found[3] if len(found) > 3 else time.ticks_diff(ended, began)
    return whole_us, time.ticks_diff(ended, linked), all_spent - spent


TRUST = trust.load("trust_roots", lambda: JOB["now"], board.load()["tls"])
memory.settle()
rows = [dict(row, **{name: [] for name in TIMES}) for row in JOB["rows"]]
for row in rows:
    path = "/%d" % row["bytes"]
    port = JOB["ports"][row["framing"]]
    once(row, port, path, nothing)  # what it loads at the first time is no part of it
    for name in ("heap", "live") if "failed" not in row else ():
        heap = Heap(name == "live")
        once(row, port, path, heap.see)
        row[name] = heap.end()
for _ in range(JOB["rounds"]):
    for row in rows:
        if "failed" not in row:
            found = once(row, JOB["ports"][row["framing"]], "/%d" % row["bytes"], nothing)
            if found:
                for name, value in zip(TIMES, found):
                    row[name].append(value)
for row in rows:
    print("result", json.dumps(row))
