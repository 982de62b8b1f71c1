"""Runs on a board: bytes of heap in use at steps of a gateway's life, above what was in use before.

The firmware is not changed for it: functions are put in the place of its own where they are already loaded.
"""

import builtins
import gc
import json
import sys

with open("bench.json") as f:
    JOB = json.load(f)
for name in JOB["built_in"]:  # of a board's own; the stand-ins of a virtual board are not the firmware's
    __import__(name)
FOUND = {}
say = print


class Done(BaseException):
    pass


def note(step):
    """The most that was seen at a step."""
    gc.collect()
    FOUND[step] = max(FOUND.get(step, 0), gc.mem_alloc())


def before(holder, name, step):
    function = getattr(holder, name)

    def noting(*args, **more):
        note(step)
        return function(*args, **more)

    setattr(holder, name, noting)


def loaded():
    judge = sys.modules["rootlet.judge"].Judge
    tls = sys.modules["rootlet.tls"]
    before(tls, "_handshake", "handshake begins")
    verify = judge.__call__

    def judged(self, der, depth):
        result = verify(self, der, depth)
        note("handshake")
        return result

    judge.__call__ = judged
    before(sys.modules["rootlet.wifi"], "join", "idle")
    outbox = sys.modules["rootlet.outbox"].Outbox
    acked = outbox.acked
    counted = [0]

    def counting(self, number):
        acked(self, number)
        counted[0] += 1
        if counted[0] == JOB["readings"]:
            note("steady")
            raise Done

    outbox.acked = counting


def said(*words, **more):
    say(*words, **more)
    text = " ".join([str(word) for word in words])
    if "rootlet starts" in text:
        note("program")
        start = sys.modules["rootlet.start"]
        settings = start.settings

        def configured():
            found = settings()
            note("configuration")
            health = sys.modules["rootlet.health"]
            begin = health.start

            def all_loaded(*args):  # what the gateway does when all is there
                note("loaded")
                loaded()
                health.start = begin
                begin(*args)

            health.start = all_loaded
            return found

        start.settings = configured


builtins.print = said
note("alone")
FREE = gc.mem_free()
try:
    execfile("start_boot.py")
    execfile("start_main.py")
except Done:
    pass
builtins.print = say
ALONE = FOUND.pop("alone")
print("result", json.dumps({"bytes": {step: FOUND[step] - ALONE for step in FOUND}, "free": FREE}))
