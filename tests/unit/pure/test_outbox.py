"""outbox: order, acknowledgements, bounds, what survives a restart, and files that are not what they were."""

import os

from cut_flash import Flash, folder
from outbox_life import Clock

from rootlet import outbox

FLASH = folder("flash_outbox")
TOPIC = b"rootlet/pico-1/t"


class Failing(Flash):
    """A flash that can be full, slow to forgive, or not readable."""

    full = False
    changed = 0

    def open(self, path, mode="r"):
        if "r" not in mode:
            self.changed += 1
            if self.full:
                raise OSError(28)
        return Flash.open(self, path, mode)


flash = Failing(FLASH)
clock = Clock()


def start(**options):
    """As after a restart."""
    global flash, clock
    flash = outbox.os = Failing(FLASH)
    outbox.open = flash.open
    clock = outbox.time = Clock()
    return outbox.Outbox("box", **options)


def fresh(**options):
    """With an empty flash."""
    try:
        for file in os.listdir(FLASH + "box"):
            os.remove(FLASH + "box/" + file)
    except OSError:
        pass
    return start(**options)


def files():
    return sorted([name for name in os.listdir(FLASH + "box") if name[:5] != "acked"])


def read(name):
    with open(FLASH + "box/" + name, "rb") as f:
        return f.read()


def write(name, data):
    with open(FLASH + "box/" + name, "wb") as f:
        f.write(data)


def fill(box, count, first=0):
    for i in range(first, first + count):
        box.put(TOPIC, "%d" % i)


def payloads(box, ack=True):
    """All that comes out, as numbers."""
    found = []
    while True:
        entry = box.next()
        if not entry:
            return found
        assert entry[1] == TOPIC
        found.append(int(entry[2]))
        if ack:
            box.acked(entry[0])


def test_oldest_first_and_gone_when_acknowledged():
    box = fresh()
    assert box.next() is None and len(box) == 0
    assert [box.put("a/b", "x"), box.put(b"c", b"\0y"), box.put("d", bytearray(b"z"))] == [0, 1, 2]
    assert box.next() == (0, b"a/b", b"x", False)
    assert box.next() == (1, b"c", b"\0y", False)
    assert len(box) == 3
    box.acked(1)
    assert len(box) == 2 and box.safe == 0
    box.acked(1)
    box.acked(77)
    assert len(box) == 2
    box.acked(0)
    assert box.next() == (2, b"d", b"z", False)
    assert box.next() is None
    box.acked(2)
    assert len(box) == 0 and box.safe == 3
    assert not files() and not flash.changed


def test_a_lost_connection_hands_out_again_in_order():
    box = fresh()
    fill(box, 5)
    assert payloads(box, ack=False) == [0, 1, 2, 3, 4]
    box.acked(1)
    box.rewind()
    assert box.next() == (0, TOPIC, b"0", True)
    assert box.next() == (2, TOPIC, b"2", True)
    box.rewind()
    assert [box.next()[0] for _ in range(2)] == [0, 2]
    box.acked(3)  # late, before it was sent again
    box.acked(0)
    assert box.next() == (4, TOPIC, b"4", True)
    box.put(TOPIC, "5")
    assert box.next() == (5, TOPIC, b"5", False)


def test_only_a_window_is_handed_out():
    box = fresh(window=3)
    fill(box, 5)
    assert payloads(box, ack=False) == [0, 1, 2]
    box.acked(1)
    assert payloads(box, ack=False) == [3]
    # On flash, what is acknowledged behind one that is not counts too: all of it comes again after a cut.
    box = fresh(window=3, hold_ms=0)
    fill(box, 5)
    assert payloads(box, ack=False) == [0, 1, 2]
    box.acked(1)
    box.acked(2)
    assert box.next() is None
    box.acked(0)
    assert payloads(box, ack=False) == [3, 4]
    box = start(window=3, hold_ms=0)
    assert box.next() == (3, TOPIC, b"3", True)


def test_nothing_is_written_while_acknowledgements_come_in_time():
    box = fresh(hold_ms=1000)
    for i in range(200):
        fill(box, 1, i)
        clock.now += 900
        box.tick()
        assert payloads(box) == [i]
        box.tick()
    assert flash.changed == 0 and box.stored == 0


def test_what_waits_is_written_in_one_go():
    box = fresh(hold_ms=1000)
    fill(box, 3)
    clock.now += 999
    box.tick()
    assert not files() and box.safe == 0
    fill(box, 3, 3)
    clock.now += 1
    box.tick()
    assert len(files()) == 1 and box.safe == 6 and flash.changed == 1
    assert box.stored == os.stat(FLASH + "box/" + files()[0])[6]
    fill(box, 1, 6)
    clock.now += 999
    box.tick()
    assert box.safe == 6
    assert payloads(start()) == [0, 1, 2, 3, 4, 5]


def test_with_no_hold_each_is_on_flash_when_put_returns():
    box = fresh(hold_ms=0)
    for i in range(40):
        fill(box, 1, i)
        assert box.safe == i + 1
        assert payloads(start(hold_ms=0, window=100), ack=False) == list(range(i + 1))


def test_a_clock_that_wraps_round_after_days_of_silence_delays_nothing():
    box = fresh(hold_ms=1000)
    flash.full = True
    fill(box, 1)
    assert not box.flush() and payloads(box) == [0]
    flash.full = False
    clock.now -= 1 << 29  # as ticks_diff has it after a week
    fill(box, 1, 1)
    clock.now += 1000
    box.tick()
    assert box.safe == 2 and len(files()) == 1


def test_more_than_ram_holds_goes_to_flash_and_comes_back_in_order():
    box = fresh(ram=4)
    fill(box, 100)
    assert len(box) == 100 and box.safe >= 96 and len(box._waiting) <= 4
    assert payloads(box) == list(range(100)) and len(box) == 0
    fill(box, 3, 100)
    assert payloads(box) == [100, 101, 102]
    fill(box, 30, 103)
    assert [int(box.next()[2]) for _ in range(10)] == list(range(103, 113))
    fill(box, 30, 133)
    box.rewind()
    assert payloads(box) == list(range(103, 163))
    assert box.flush() and box.stored == 0 and not files()
    assert (box.dropped, box.errors) == (0, 0)


def test_a_restart_hands_out_what_was_left():
    box = fresh(window=4)
    fill(box, 10)
    assert payloads(box, ack=False) == [0, 1, 2, 3]
    for number in (0, 1, 3):
        box.acked(number)
    assert box.flush() and box.safe == 10
    box = start(window=4)
    assert len(box) == 7 and box.put(TOPIC, "10") == 10
    found = []
    for _ in range(8):
        entry = box.next()
        found.append((int(entry[2]), entry[3]))
        box.acked(entry[0])
    # 3 was never written: it was acknowledged before the flush. The first `window` may have been sent before.
    assert found == [(2, True), (4, True), (5, True), (6, True)] + [(i, False) for i in (7, 8, 9, 10)]
    assert box.flush() and len(start()) == 0


def test_acknowledgements_are_written_after_a_while():
    box = fresh(hold_ms=0, window=8)
    fill(box, 5)
    assert box.next()[0] == 0
    box.acked(0)
    box.tick()
    assert len(start(hold_ms=0)) == 5
    box = start(hold_ms=0)
    box.acked(box.next()[0])
    clock.now += 60000
    box.tick()
    assert len(start()) == 4


def test_the_oldest_go_when_the_flash_is_full():
    box = fresh(max_bytes=4096, ram=4)
    for i in range(200):
        box.put(TOPIC, "%100d" % i)
        assert box.stored <= 4096
    left = len(box)
    assert box.dropped == 200 - left and 15 < left < 40
    box.flush()
    assert sum([os.stat(FLASH + "box/" + name)[6] for name in files()]) == box.stored <= 4096
    left = len(box)
    assert payloads(box) == list(range(200 - left, 200)) and box.errors == 0


def test_the_oldest_go_when_ram_is_all_there_is():
    box = fresh(mode="ram", ram=4, hold_ms=0)
    fill(box, 10)
    box.tick()
    assert box.dropped == 6 and len(box) == 4 and not box.flush() and box.safe == 6
    assert payloads(box) == [6, 7, 8, 9] and flash.changed == 0


def test_the_latest_of_each_topic_stays():
    box = fresh(mode="ram", ram=4, full="keep_latest")
    for topic in ("a", "b", "b", "c", "b", "d", "a"):
        box.put(topic, "%d" % box._next)
    assert [box.next()[1:3] for _ in range(4)] == [(b"c", b"3"), (b"b", b"4"), (b"d", b"5"), (b"a", b"6")]
    assert box.dropped == 3
    box = fresh(max_bytes=8192, ram=4, full="keep_latest")
    box.put("rare", "first")
    box.put("rare", "second")
    for i in range(300):
        box.put("often-%d" % (i & 1), "%100d" % i)
        assert box.stored <= 8192
        if i == 150:
            box.put("seldom", "%d" % i)
    assert box.errors == 0 and box.dropped + len(box) == 303
    box.flush()
    for again in (box, start(max_bytes=8192, full="keep_latest")):
        found = []
        last = -1
        while True:
            entry = again.next()
            if not entry:
                break
            assert entry[0] > last
            last = entry[0]
            found.append((entry[1], int(entry[2]) if entry[1][:5] == b"often" else entry[2]))
            if again is not box:
                again.acked(last)
        if again is not box:
            assert found[0] == (b"rare", b"second") and (b"seldom", b"150") in found
            assert found[-2:] == [(b"often-0", 298), (b"often-1", 299)]
            assert len(again) == 0


def test_an_entry_that_is_too_long_is_counted():
    box = fresh()
    assert box.put(TOPIC, "x" * 5000) is None
    assert box.dropped == 1 and len(box) == 0
    assert box.put(TOPIC, "x" * (4096 - 18 - len(TOPIC))) == 0
    assert box.flush()
    assert len(start().next()[2]) == 4096 - 18 - len(TOPIC)


def test_a_full_flash_is_counted_and_tried_again_later():
    box = fresh(hold_ms=1000, ram=8)
    flash.full = True
    fill(box, 6)
    for _ in range(12):
        clock.now += 1000
        box.tick()
    assert box.errors == 2 and flash.changed == 2 and box.safe == 0
    fill(box, 6, 6)
    assert box.dropped == 4 and payloads(box, ack=False) == list(range(4, 12))
    box.acked(4)
    flash.full = False
    clock.now += 10000
    box.tick()
    assert box.safe == 12 and box.errors <= 3
    assert payloads(start()) == list(range(5, 12))


def test_a_flash_that_cannot_be_written_does_not_stop_the_sender():
    box = fresh(hold_ms=0, window=4)
    fill(box, 20)
    flash.full = True
    flash.remove = flash.mkdir
    assert payloads(box) == list(range(20))
    assert box.errors > 0 and len(box._done) <= 20
    assert len(start()) == 20


def test_a_full_flash_keeps_what_was_written():
    box = fresh(hold_ms=0)
    fill(box, 3)
    flash.full = True
    fill(box, 3, 3)
    assert box.safe == 3
    assert payloads(start()) == [0, 1, 2]


def sample(count=6):
    """A segment of some entries: (name, bytes)."""
    box = fresh()
    fill(box, count, 10)
    box.flush()
    [name] = files()
    return name, read(name)


def after(name, data):
    """(what comes out, errors) where the segment is `data`."""
    write(name, data)
    box = start()
    found = payloads(box, ack=False)
    assert len(box) == len(found)
    return found, box.errors


def test_every_truncation_keeps_the_whole_ones_and_what_comes_next():
    name, data = sample()
    size = len(data) // 6
    for cut in range(len(data)):
        fresh()
        found, errors = after(name, data[:cut])
        assert found == list(range(10, 10 + cut // size))
        assert errors == (cut % size > 0)
        box = start(hold_ms=0)
        fill(box, 1, 99)
        box = start()
        assert payloads(box) == list(range(10, 10 + cut // size)) + [99]
        box.flush()
        assert not files()


def test_every_damaged_byte_costs_one_entry():
    name, data = sample()
    size = len(data) // 6
    for at in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            fresh()
            found, errors = after(name, data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
            assert found == [10 + i for i in range(6) if i != at // size]
            assert errors == 1


def test_a_segment_that_was_swapped_or_overwritten_is_no_danger():
    name, data = sample()
    for wrong in (b"", b"\0" * 5000, b"\xff" * 300, outbox._MAGIC * 1000, data[:1] * 99, b"\xd5R" + b"\xff" * 2000):
        fresh()
        found, errors = after(name, wrong)
        assert found == [] and (errors > 0) == (len(wrong) > 0) and errors <= 6
        assert files() == []
    fresh()
    assert after(name[:15] + ("0" if name[15] != "0" else "1"), data) == ([], 1)  # another segment's bytes


def test_a_record_hidden_in_a_payload_never_comes_out():
    box = fresh()
    hidden = outbox._record(0, (5, b"alarm", b"forged"))
    box.put(TOPIC, b"x" + hidden * 5)
    box.put(TOPIC, "1")
    box.flush()
    [name] = files()
    data = read(name)
    write(name, b"?" + data[1:])
    box = start()
    assert payloads(box) == [1] and box.errors == 1


def test_the_folder_may_hold_anything():
    sample()
    for strange in ("a", "0" * 15, "0" * 17, "0" * 15 + "g", "\xe4" * 16, "acked.2"):
        write(strange, b"x" * 100)
    write("0" * 15 + "1", b"")
    os.mkdir(FLASH + "box/" + "0" * 15 + "2")
    box = start()
    assert payloads(box) == list(range(10, 16)) and box.errors == 1
    os.rmdir(FLASH + "box/" + "0" * 15 + "2")


def test_acknowledgements_that_cannot_be_believed_are_not():
    box = fresh(hold_ms=0, window=1)
    fill(box, 9)
    for _ in range(4):
        box.acked(box.next()[0])
    assert box.next()[0] == 4
    marks = [read("acked.0"), read("acked.1")]
    assert len(start()) == 5
    newer = "acked.%d" % (marks[1] > marks[0])
    whole = read(newer)
    for at in range(len(whole)):
        for bad in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole + b"x"):
            write(newer, bad)
            box = start()
            assert len(box) == 6 and box.errors == 1
    write(newer, b"")
    write("acked.0" if newer == "acked.1" else "acked.1", b"\xff" * 12)
    box = start()
    assert len(box) >= 5 and box.errors == 2


def test_a_file_that_vanishes_is_counted_and_the_rest_comes():
    box = fresh(ram=2)
    for i in range(60):
        box.put(TOPIC, "%100d" % i)
    box = start(ram=2)
    count = len(box)
    assert len(files()) > 2
    os.remove(FLASH + "box/" + files()[1])
    found = payloads(box)
    assert found[0] == 0 and found[-1] == count - 1 and len(found) < count
    assert box.errors > 0 and len(box) == 0
