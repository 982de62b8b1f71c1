"""outbox: memory that runs out, and a flash that cannot be read, at the worst moments."""

import test_outbox as former
from test_outbox import TOPIC, files, fresh, start

from rootlet import outbox


def all_that_comes(box):
    found = []
    while True:
        entry = box.next()
        if entry is None:
            return found
        found.append(entry[2])
        box.acked(entry[0])


def test_what_a_failed_write_has_left_behind_is_no_entry():
    """Memory runs out in the middle of a batch; the oldest entry is dropped before the next try."""
    box = fresh(ram=4, hold_ms=10000, window=4)
    for i in range(8):
        box.put(TOPIC, "v%d" % i)
    whole = outbox._record
    count = [0]

    def failing(word, entry):
        count[0] += 1
        if count[0] == 3:
            raise MemoryError
        return whole(word, entry)

    outbox._record = failing
    try:
        box.put(TOPIC, "v8")
    finally:
        outbox._record = whole
    assert box.errors == 1 and box.dropped == 1
    box.next()
    former.clock.now += 20000
    box.tick()
    box.rewind()
    assert all_that_comes(box) == [b"v%d" % i for i in range(9) if i != 4]
    assert len(box) == 0


def test_memory_that_runs_out_while_an_entry_is_handed_out_loses_none():
    class Full(list):
        fails = 1

        def append(self, item):
            if Full.fails:
                Full.fails -= 1
                raise MemoryError
            super().append(item)

    for stored in (False, True):
        Full.fails = 1
        box = fresh(ram=16, window=4)
        for i in range(3):
            box.put(TOPIC, "v%d" % i)
        if stored:
            box.flush()
            box = start(ram=16, window=4)
        box._out = Full()
        try:
            box.next()
            raise AssertionError("memory did not run out")
        except MemoryError:
            pass
        box.rewind()
        assert all_that_comes(box) == [b"v0", b"v1", b"v2"]


def test_a_segment_that_cannot_be_read_at_one_start_hides_nothing_at_the_next():
    box = fresh(hold_ms=0)
    for i in range(10):
        box.put(TOPIC, "old%d" % i)
    last = files()[-1]
    open_it = former.flash.open

    def unreadable(path, mode="r"):
        if last in path:
            raise OSError(5)
        return open_it(path, mode)

    outbox.open = unreadable
    second = outbox.Outbox("box", hold_ms=0)
    outbox.open = open_it
    assert second.errors
    for i in range(10):
        second.put(TOPIC, "new%d" % i)
    third = start(hold_ms=0, window=64)
    assert all_that_comes(third) == [b"old%d" % i for i in range(10)] + [b"new%d" % i for i in range(10)]


def test_what_is_on_flash_can_leave_ram_and_comes_in_its_order():
    box = fresh(ram=16, hold_ms=1000, window=4)
    for i in range(10):
        box.put(TOPIC, "v%d" % i)
    first = box.next()
    former.clock.now += 2000
    box.tick()
    box.put(TOPIC, "v10")
    box.release()
    assert [entry[2] for entry in box._waiting] == [b"v10"]
    assert len(box) == 11
    box.rewind()
    assert box.next()[2] == first[2] == b"v0"
    box.acked(0)
    assert all_that_comes(box) == [b"v%d" % i for i in range(1, 11)]
    box.release()  # with nothing to release
    assert len(box) == 0 and box.dropped == box.errors == 0


def test_nothing_leaves_ram_that_is_nowhere_else():
    for mode in ("ram", "flash"):
        box = fresh(ram=16, mode=mode)
        for i in range(5):
            box.put(TOPIC, "v%d" % i)
        box.release()
        assert all_that_comes(box) == [b"v%d" % i for i in range(5)]
