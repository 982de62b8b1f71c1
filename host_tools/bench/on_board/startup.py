"""Runs on a board: a start from boot.py's first line to the first PUBACK, by phase; the firmware is not changed for it.

The marks are set by functions put in the place of the firmware's own where they are already loaded.
"""

import builtins
import gc
import json
import sys
import time

with open("bench.json") as f:
    JOB = json.load(f)
for name in JOB["built_in"]:  # of a board's own; the stand-ins of a virtual board are not the firmware's
    __import__(name)
MARKS = []
SPENT = []  # of the processor, s
say = print


def processor():
    return time.clock() if hasattr(time, "clock") else 0


class Done(BaseException):
    pass


def mark(name):
    MARKS.append((name, time.ticks_us()))


def around(holder, name, before=None, after=None, then=None):
    function = getattr(holder, name)

    def timed(*args, **more):
        if before:
            mark(before)
        result = function(*args, **more)
        if after:
            mark(after)
        if then:
            then()
        return result

    setattr(holder, name, timed)


def first_ack():
    outbox = sys.modules["rootlet.outbox"].Outbox
    around(outbox, "put", after="read")
    acked = outbox.acked

    def done(self, number):
        acked(self, number)
        mark("puback")
        SPENT.append(processor())
        raise Done

    outbox.acked = done


def loaded():
    tls = sys.modules["rootlet.tls"]
    around(tls, "_dial", "dialling", "tcp")
    around(tls, "_handshake", "shaking", "tls")
    clock = sys.modules["rootlet.clock"].Clock
    around(clock, "sync", "asking", "clock")
    around(sys.modules["rootlet.mqtt"].Client, "connect", None, "connack")
    first_ack()


def said(*words, **more):
    say(*words, **more)
    text = " ".join([str(word) for word in words])
    if "rootlet starts" in text:
        mark("program")
        around(sys.modules["rootlet.start"], "settings", None, None, configured)
    elif "wifi: joined" in text:
        mark("wifi")


def configured():
    around(sys.modules["rootlet.board"], "load", None, "configuration", hardware)


def hardware():
    wifi = __import__("rootlet.wifi").wifi
    around(wifi, "start", None, "radio", begun)


def begun():
    health = sys.modules["rootlet.health"]
    start = health.start

    def all_loaded(*args):  # the first thing the gateway does when all is there
        mark("imports")
        loaded()
        health.start = start
        start(*args)

    health.start = all_loaded


builtins.print = said
gc.collect()
mark("reset")
SPENT.append(processor())
try:
    execfile("start_boot.py")
    mark("boot")
    execfile("start_main.py")
except Done:
    pass
builtins.print = say
first = {}
for name, at in MARKS:
    first.setdefault(name, at)
found = {name: time.ticks_diff(first[name], first["reset"]) for name in first}
found["processor"] = int((SPENT[1] - SPENT[0]) * 1000000)
print("result", json.dumps(found))
