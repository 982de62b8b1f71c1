"""An outbox that lives through power cuts, and somebody who knows what must come out of it."""

import random


class Clock:
    """time, as far as the outbox needs it."""

    def __init__(self):
        self.now = 0

    def ticks_ms(self):
        return self.now

    def ticks_diff(self, a, b):
        return a - b


class Life:
    """A seeded random life.

    Args: module: rootlet.outbox. cut: the exception of a cut. seed: of the life; options: of Outbox.
    """

    def __init__(self, module, cut, seed, **options):
        random.seed(seed)
        self.module = module
        self.clock = module.time = Clock()
        self.cut = cut
        self.options = options
        self.made = 0  # entries ever put
        self.topics = {}  # payload: topic
        self.waiting = {}  # payload: number; put and not acknowledged
        self.acked = set()  # payloads acknowledged in this run
        self.never = set()  # payloads that must not come again
        self.box = None
        self.cuts = 0
        self.again = 0  # most that were acknowledged and came again

    def run(self, steps):
        """From a power-up to the cut, or for some steps. Returns whether it was cut."""
        self.box = None
        try:
            self.box = self.module.Outbox(**self.options)
            for _ in range(steps):
                self.step()
        except self.cut:
            self.cuts += 1
            return True
        return False

    def step(self):
        box = self.box
        what = random.getrandbits(4)
        if what < 7:
            topic = b"topic-%d" % random.getrandbits(2)
            pad = random.getrandbits(random.getrandbits(2) * 3 + 1)
            payload = b"%d %s" % (self.made, b"x" * pad)
            self.made += 1
            self.topics[payload] = topic
            self.waiting[payload] = self.box._next  # on flash or not, when the power goes in put()
            box.put(topic, payload)
        elif what < 14:
            entry = box.next()
            if entry:
                self.out.append(entry)
                number, topic, payload, again = entry
                assert self.topics[payload] == topic
                assert again or payload not in self.acked
            if self.out and random.getrandbits(2):
                at = 0 if random.getrandbits(2) else random.getrandbits(8) % len(self.out)
                number, _, payload, _ = self.out.pop(at)
                if self.waiting.pop(payload, None) is not None:
                    self.acked.add(payload)
                box.acked(number)
        elif what < 15:
            self.clock.now += random.getrandbits(random.getrandbits(4) + 1)
            box.tick()
        elif random.getrandbits(2):
            box.flush()
        else:
            box.rewind()
            self.out.clear()

    def check(self):
        """After a cut, with the power back: what is on flash is what must be there. Returns the payloads, in order."""
        safe = self.box.safe if self.box else 1 << 60
        must = [payload for payload in self.waiting if self.waiting[payload] < safe]
        if not self.box:
            must = list(self.kept)
        options = dict(self.options)
        options["window"] = 1000000
        probe = self.module.Outbox(**options)
        found = {}
        order = []
        while True:
            entry = probe.next()
            if not entry:
                break
            number, topic, payload, _ = entry
            assert self.topics[payload] == topic, payload
            assert payload not in self.never
            found[payload] = number
            order.append(payload)
        assert len(probe) == len(order)
        serials = [int(payload.split(b" ")[0]) for payload in order]
        assert serials == sorted(set(serials)), serials
        self.missing(must, found)
        again = [payload for payload in order if payload in self.acked]
        self.again = max(self.again, len(again))
        assert len(again) <= self.options["window"], again
        self.never.update(payload for payload in self.acked if payload not in found)
        self.acked = set()
        self.waiting = found
        self.kept = order
        self.out = []
        return order

    out: list = []
    kept: list = []

    def missing(self, must, found):
        """Judge what is not there."""
        full = self.options.get("full", "drop_oldest")
        lost = [payload for payload in must if payload not in found]
        if not lost:
            return
        assert self.options["max_bytes"] < 65536, lost
        if full == "drop_oldest":
            newest = max(int(payload.split(b" ")[0]) for payload in lost)
            for payload in found:
                if payload in must:
                    assert int(payload.split(b" ")[0]) > newest, (payload, lost)
        else:
            for payload in lost:
                topic = self.topics[payload]
                serial = int(payload.split(b" ")[0])
                newer = [p for p in self.topics if self.topics[p] == topic and int(p.split(b" ")[0]) > serial]
                assert newer, payload
