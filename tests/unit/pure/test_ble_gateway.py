"""Which advertisements become readings: allow-list by address, name and IRK, rates, thresholds, errors told once."""

import time

from ble_setup import LEVEL, A, B, Setup, level, wait

from rootlet import ble_gateway


def test_a_listed_address_is_read_and_a_stranger_is_not():
    s = Setup({"address": "c1:02:03:04:05:06"})
    s.hear(A, level(700))
    s.hear(B, level(9))
    while s.listener.drain():
        pass
    [(name, quantity, value, unit, age, address, rssi)] = s.readings
    assert (name, quantity, value, unit, address, rssi) == ("s0", "level", 700, "V", "c1:02:03:04:05:06", -60)
    assert 0 <= age < 5000


def test_by_name_whole_or_its_start():
    def named(name, value):
        return bytes([len(name) + 1, 9]) + name + level(value)

    s = Setup({"local_name": "Tag 1"}, {"local_name": "ATC_*"})
    s.hear(A, named(b"Tag 12", 1))
    assert s.values() == []
    s.hear(A, named(b"ATC_0506", 2))
    s.hear(B, named(b"Tag 1", 3))
    assert s.values() == [("s1", 2), ("s0", 3)]
    s.hear(A, level(4))  # without its name: the address is learned
    assert s.values() == [("s1", 4)]


def test_a_learned_address_that_is_silent_is_forgotten():
    s = Setup({"local_name": "x"})
    s.hear(A, b"\x02\x09x" + level(1))
    assert s.values() == [("s0", 1)]
    real = wait(61000)
    try:
        s.listener._look_after()
        assert s.listener.radio.listed == [None]
        s.hear(A, level(2))
        assert s.values() == []
        s.hear(B, b"\x02\x09x" + level(3))
        assert s.values() == [("s0", 3)]
    finally:
        ble_gateway.ticks = real


def test_by_irk():
    # Bluetooth Core Specification, volume 3, part H, appendix D.7.
    s = Setup({"irk": "ec0234a357c8ad05341010a60a397d9b"})
    s.hear(bytes([0x70, 0x81, 0x94, 0x0D, 0xFB, 0xAB]), level(1))
    s.hear(bytes([0x70, 0x81, 0x94, 0x0D, 0xFB, 0xAA]), level(2), kind=0)
    assert s.values() == []
    s.hear(bytes([0x70, 0x81, 0x94, 0x0D, 0xFB, 0xAA]), level(3))
    assert s.values() == [("s0", 3)]


def test_no_value_more_often_than_every_s():
    s = Setup({"address": "c1:02:03:04:05:06", "every_s": 5})
    for n in range(4):
        s.hear(A, level(n))
    assert s.values() == [("s0", 0)]
    for ms, expected in ((4000, []), (6000, [("s0", 6000)])):
        real = wait(ms)
        s.listener.radio.take()
        s.listener.sensors[0].budget = 8
        s.listener._message(s.listener.sensors[0], 1, -1, ble_gateway.ticks(), level(ms))
        ble_gateway.ticks = real
        assert s.values() == expected


def test_a_change_below_the_threshold_waits_for_ten_times_every_s():
    s = Setup({"address": "c1:02:03:04:05:06", "every_s": 1, "change": {"level": 10}})
    steps = ((0, 100, True), (2000, 105, False), (4000, 110, True), (6000, 101, False), (15000, 101, True))
    for ms, value, told in steps:
        real = wait(ms)
        s.listener._message(s.listener.sensors[0], 1, -1, ble_gateway.ticks(), level(value))
        ble_gateway.ticks = real
        assert s.values() == ([("s0", value)] if told else []), ms


def test_one_sensor_is_decoded_a_few_times_a_second_and_the_rest_counted():
    s = Setup({"address": "c1:02:03:04:05:06"}, {"address": "c1:02:03:04:05:07"})
    for n in range(100):
        s.hear(A, level(n))
        s.hear(B, level(n)) if n < 4 else None
        while s.listener.drain():
            pass
    found = s.values()
    of_a = len([1 for name, _ in found if name == "s0"])
    assert 8 <= of_a <= 16 and len(found) - of_a == 4
    assert s.listener.skipped == 100 - of_a
    assert s.listener.status()["skipped"] == s.listener.skipped and s.listener.status()["heard"] == 104


def test_two_sensors_may_have_one_address():
    other = dict(LEVEL)
    other.update({"quantity": "low", "format": "B"})
    s = Setup({"address": "c1:02:03:04:05:06"}, {"address": "c1:02:03:04:05:06", "values": [other]})
    s.hear(A, level(0x0102))
    assert s.values() == [("s0", 0x0102), ("s1", 2)]


def test_bytes_that_cannot_be_read_are_told_once_and_stop_nobody():
    s = Setup({"address": "c1:02:03:04:05:06"}, {"address": "c1:02:03:04:05:07"})
    for _ in range(3):
        s.hear(A, b"\x04\xff\x99\x04\x01")
        s.hear(B, level(5))
    assert s.values() == [("s1", 5)] * 3
    [error] = s.failures
    assert error.code == "BLE_DATA" and "'s0'" in error.fact


def test_what_a_decoder_did_not_expect_is_told_and_stops_nobody():
    s = Setup({"address": "c1:02:03:04:05:06"}, {"address": "c1:02:03:04:05:07"})

    def wrong(*args):
        raise IndexError("of some kind")

    s.listener.sensors[0].mapped = wrong
    s.hear(A, level(1))
    s.hear(B, level(5))
    assert s.values() == [("s1", 5)]
    assert [e.code for e in s.failures] == ["BLE_DATA"]


def test_the_age_of_a_reading_is_the_time_it_waited():
    s = Setup({"address": "c1:02:03:04:05:06"})
    s.hear(A, level(1))
    time.sleep(0.05)
    while s.listener.drain():
        pass
    assert 45 <= s.readings[0][4] < 5000


def test_what_comes_before_the_clock_is_good_does_not_count_as_told():
    s = Setup({"address": "c1:02:03:04:05:06", "every_s": 60})
    s.ready = False
    s.hear(A, level(1))
    assert s.values() == [] and s.listener.status()["seen"]["s0"][1] == -60
    s.ready = True
    s.hear(A, level(1))
    assert s.values() == [("s0", 1)]


def test_the_command_for_the_interval_reaches_a_sensor_of_this_kind():
    from rootlet.remote import Remote

    s = Setup({"address": "c1:02:03:04:05:06", "every_s": 60})

    class Gateway:
        settings = {"sensors": (), "ble": s.listener.settings}

    class Holder:
        _gateway = Gateway

    Remote._interval(Holder, 1, {"sensor": "s0", "every_s": 0.5})
    assert s.listener.sensors[0].every_ms == 500
