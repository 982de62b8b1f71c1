"""The ring between the radio's interrupt and the program: nothing allocated, nobody's share exceeded, no end lost."""

import sys


class Ble:
    def active(self, on=None):
        return on

    def irq(self, handler):
        self.handler = handler

    def config(self, **words):
        pass


class Bluetooth:
    BLE = Ble


sys.modules["bluetooth"] = Bluetooth

from rootlet import ble_radio
from rootlet.ble_radio import SLOTS, Radio

try:
    import micropython

    lock, unlock = micropython.heap_lock, micropython.heap_unlock
except (ImportError, AttributeError):

    def lock():
        pass

    unlock = lock

A, B, C = b"\x01\x02\x03\x04\x05\x06", b"\xc1\x02\x03\x04\x05\x06", b"\xff\0\0\0\0\x01"


def radio(listed=(A, B), open=False):
    made = Radio(list(listed), open)
    made.start()
    return made


def tell(made, event, *data):
    """As MicroPython does, in an interrupt: no allocation is possible."""
    lock()
    try:
        return made.ble.handler(event, data)
    finally:
        unlock()


def taken(made):
    found = []
    while True:
        one = made.take()
        if one is None:
            return found
        found.append(one)


def test_an_advertisement_comes_out_as_it_went_in():
    r = radio()
    tell(r, 5, 1, B, 0, -61, b"\x02\x01\x06")
    [(event, source, kind, rssi, handle, a, b, size, when, address, data)] = taken(r)
    assert (event, source, kind, rssi, handle) == (5, 1, 1, -61, 0)
    assert address == B and data[:size] == b"\x02\x01\x06" and len(data) == ble_radio.DATA
    assert (ble_radio.ticks() - when) & ble_radio.TICKS < 5000
    assert taken(r) == []


def test_strangers_are_let_go_or_come_by_the_number_after_the_last():
    r = radio()
    tell(r, 5, 0, C, 0, -50, b"")
    assert taken(r) == [] and r.heard == 1 and r.dropped == 0
    r = radio(open=True)
    tell(r, 5, 0, C, 0, -50, b"")
    assert [e[1] for e in taken(r)] == [2]


def test_an_address_that_is_not_known_yet_matches_nobody():
    r = radio((None, A))
    tell(r, 5, 0, A, 0, -50, b"")
    assert [e[1] for e in taken(r)] == [1]
    r.listed[0] = C
    tell(r, 5, 0, C, 0, -50, b"")
    assert [e[1] for e in taken(r)] == [0]


def test_one_source_gets_its_share_and_no_more():
    r = radio()
    for n in range(50):
        tell(r, 5, 0, A, 0, -50, bytes([n]))
    for n in range(3):
        tell(r, 5, 0, B, 0, -50, bytes([n]))
    found = taken(r)
    assert [e[10][0] for e in found if e[1] == 0] == list(range(8))
    assert [e[10][0] for e in found if e[1] == 1] == [0, 1, 2]
    assert r.dropped == 42 and not r.failed
    tell(r, 5, 0, A, 0, -50, b"\x09")
    assert len(taken(r)) == 1


def test_the_end_of_a_procedure_finds_room_where_data_fill_the_ring():
    r = radio()
    for handle in range(8):
        for _ in range(20):
            tell(r, 18, handle, 5, b"x")
    assert r.dropped > 100
    for handle in range(4):
        tell(r, 10, handle, 0)
        tell(r, 8, handle, 0, A)
    assert not r.failed
    found = taken(r)
    assert len(found) == SLOTS and [e[0] for e in found[-8:]] == [10, 8] * 4
    for _ in range(SLOTS + 1):
        tell(r, 10, 1, 0)
    assert r.failed
    r.start()
    assert not r.failed and taken(r) == []


def test_a_value_that_is_too_long_is_cut_and_its_size_told():
    r = radio()
    tell(r, 18, 3, 77, bytes(range(200)))
    [(event, source, _, _, handle, a, _, size, _, _, data)] = taken(r)
    assert (event, handle, a, size) == (18, 3, 77, 200) and data == bytes(range(ble_radio.DATA))


def test_only_what_is_wanted_of_a_discovery_takes_room():
    r = radio()
    r.wanted = [0x181A, 0x180F]
    for n in range(500):
        tell(r, 9, 0, n + 1, n + 2, 0x1234)
    tell(r, 9, 0, 10, 20, 0x180F)
    tell(r, 10, 0, 7)
    r.wanted = [0x2A6E]
    tell(r, 11, 0, 15, 12, 0x12, 0x2A6E)
    tell(r, 13, 0, 13, 0x2902)
    found = [(e[0], e[2], e[5], e[6], e[7]) for e in taken(r)]
    assert found == [(9, 1, 10, 20, 1), (10, 0, 0, 7, 0), (11, 0, 15, 12, 0x12)]
    assert r.dropped == 0


def test_what_makes_no_sense_is_counted_and_raises_nothing():
    r = radio()
    for event, data in ((5, ()), (18, (1,)), (7, (1, 2)), (10, ()), (99, (1, 2, 3)), (11, (1, 70000, 2, 3, 0x2A6E))):
        tell(r, event, *data)
    r.wanted = [0x2A6E]
    tell(r, 11, 1, 7000000, 2, 3, 0x2A6E)
    taken(r)
    assert r.dropped >= 4


def test_a_ring_that_has_turned_many_times_keeps_its_order():
    r = radio()
    seen = []
    for n in range(1000):
        tell(r, 5, 0, (A, B)[n % 2], 0, -1, bytes([n & 255]))
        if n % 5 == 4:
            seen += [e[10][0] for e in taken(r)]
    assert seen == [n & 255 for n in range(1000)]


def test_connections_and_what_they_end_with():
    r = radio()
    tell(r, 7, 64, 1, B)
    tell(r, 21, 64, 185)
    tell(r, 28, 64, True, False, True, 16)
    tell(r, 15, 64, 12, b"\x10\x0a")
    tell(r, 16, 64, 12, 0)
    tell(r, 17, 64, 13, 3)
    tell(r, 8, 65535, 255, A)
    assert [(e[0], e[4], e[5], e[6]) for e in taken(r)] == [
        (7, 64, 0, 0), (21, 64, 185, 0), (28, 64, 1, 0), (15, 64, 12, 0), (16, 64, 12, 0), (17, 64, 13, 3),
        (8, 65535, 0, 0),
    ]  # fmt: skip
