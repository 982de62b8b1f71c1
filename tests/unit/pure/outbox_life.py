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
        self.made = 0  # entries ever put; each is known by its place among them
        self.waiting = {}  # entry: its number; put and not acknowledged
        self.acked = set()  # in this run
        self.never = set()  # must not come again
        self.box = None
        self.out = []  # handed out, not acknowledged
        self.kept = []  # what the last check found
        self.left = 0  # entries not acknowledged, with those that were dropped
        self.cuts = 0
        self.again = 0  # most that were acknowledged and came again

    def run(self, steps):
        """From a power-up to the cut, or for some steps. Returns whether it was cut."""
        self.box = None
        try:
            box = self.box = self.module.Outbox(**self.options)
            self.left = len(box)
            for _ in range(steps):
                self.step()
                assert len(box) == self.left - box.dropped
                assert box.stored <= self.options["max_bytes"]
        except self.cut:
            self.cuts += 1
            return True
        return False

    def step(self):
        box = self.box
        what = random.getrandbits(4)
        if what < 7:
            self.waiting[self.made] = box._next  # on flash or not, when the power goes in put()
            self.made += 1
            self.left += 1
            box.put(*content(self.made - 1))
        elif what < 14:
            entry = box.next()
            if entry:
                self.out.append((entry[0], which(entry)))
                assert entry[3] or self.out[-1][1] not in self.acked
            if self.out and random.getrandbits(2):
                at = 0 if random.getrandbits(2) else random.getrandbits(8) % len(self.out)
                number, mine = self.out.pop(at)
                if self.waiting.pop(mine, None) is not None:
                    self.acked.add(mine)
                self.left -= 1
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
        """After a cut, with the power back: what is on flash is what must be there."""
        must = self.kept
        if self.box:
            safe = self.box.safe
            must = [mine for mine in self.waiting if self.waiting[mine] < safe]
        options = dict(self.options)
        options["window"] = 1000000
        probe = self.module.Outbox(**options)
        found = {}
        order = []
        while True:
            entry = probe.next()
            if not entry:
                break
            mine = which(entry)
            assert mine < self.made and mine not in self.never
            found[mine] = entry[0]
            order.append(mine)
        assert len(probe) == len(order)
        assert order == sorted(set(order))
        lost = [mine for mine in must if mine not in found]
        if lost:
            self.judge(lost, [mine for mine in must if mine in found])
        again = len([mine for mine in order if mine in self.acked])
        self.again = max(self.again, again)
        assert again <= self.options["window"]
        self.never.update([mine for mine in self.acked if mine not in found])
        self.acked = set()
        self.waiting = found
        self.kept = order
        self.out = []

    def judge(self, lost, kept):
        """Only an outbox that is full may lose something, and only what it says."""
        assert self.options["max_bytes"] < 65536
        if self.options.get("full") == "keep_latest":
            for mine in lost:
                assert [newer for newer in range(mine + 1, self.made) if topic(newer) == topic(mine)]
        else:
            assert not kept or max(lost) < min(kept)


def topic(mine):
    return b"topic-%d" % (mine * 7919 // 64 % 5)


def content(mine):
    """Topic and payload of an entry; most are short."""
    size = mine * 104729 // 32 % 1024
    return topic(mine), b"%d %s" % (mine, b"x" * (size >> (size & 7)))


def which(entry):
    """Which entry that is; it must be whole."""
    mine = int(entry[2].split(b" ")[0])
    assert content(mine) == (entry[1], entry[2])
    return mine
