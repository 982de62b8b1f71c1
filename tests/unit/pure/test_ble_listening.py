"""What must not be lost, and what must not be told twice: held values, texts, errors, addresses that change."""

import sys

from ble_setup import LEVEL, A, B, Setup, level, wait

from rootlet import ble_gateway

WHERE = {"address": "c1:02:03:04:05:06"}


def bthome(*objects):
    data = b"\xd2\xfc\x40" + b"".join(objects)
    return b"\x02\x01\x06" + bytes([len(data) + 1, 0x16]) + data


def said(s, ms):
    """Readings after so many milliseconds, with the looking after that is due by then."""
    real = wait(ms)
    try:
        s.listener._look_after()
        return s.values()
    finally:
        ble_gateway.ticks = real


def test_a_value_that_came_too_early_is_told_when_it_is_due():
    s = Setup(dict(WHERE, format="bthome", values=(), every_s=10))
    s.hear(A, bthome(b"\x00\x01", b"\x1a\x01"))
    assert s.values() == [("s0", 1)]
    for _ in range(3):
        s.hear(A, bthome(b"\x00\x02", b"\x1a\x00"))
    assert s.values() == [] and said(s, 5000) == []
    assert said(s, 11000) == [("s0", 0)]
    assert said(s, 30000) == []


def test_the_age_of_such_a_value_is_its_own():
    s = Setup(dict(WHERE, every_s=10))
    s.hear(A, level(1))
    s.hear(A, level(2))
    s.values()
    real = wait(12000)
    try:
        s.listener._look_after()
    finally:
        ble_gateway.ticks = real
    [(_, _, value, _, age, _, _)] = s.readings
    assert value == 2 and 11900 <= age < 15000


def test_texts_have_a_rate_and_buttons_have_none():
    s = Setup(dict(WHERE, format="bthome", values=(), every_s=60))
    for n in range(4):
        s.hear(A, bthome(b"\x00" + bytes([n]), b"\x53\x02o" + bytes([97 + n])))
    assert [v for _, v in s.values()] == ["oa"]
    s = Setup(dict(WHERE, format="bthome", values=(), every_s=60))
    for n in range(4):
        s.hear(A, bthome(b"\x00" + bytes([n]), b"\x3a\x01"))
    assert len(s.values()) == 4
    for n in range(100):
        s.hear(A, bthome(b"\x00" + bytes([9 + n]), b"\x3a\x01", b"\x3a\x01", b"\x3a\x01"))
        while s.listener.drain():
            pass
    assert len(s.values()) <= 16


def test_errors_that_alternate_are_told_once_each():
    s = Setup(dict(WHERE, format="bthome", values=(), bindkey="00" * 16))
    for n in range(4):
        s.hear(A, bthome(b"\x00" + bytes([n]), b"\x1a\x01"))
        s.hear(A, b"\x05\x16\xd2\xfc\xff" + bytes([n]))
    s.values()
    assert 1 <= len(s.failures) <= 2 and len({e.code for e in s.failures}) == len(s.failures)


def test_who_knows_the_irk_changes_the_address_at_once():
    s = Setup({"irk": "ec0234a357c8ad05341010a60a397d9b"})
    s.hear(bytes([0x70, 0x81, 0x94, 0x0D, 0xFB, 0xAA]), level(1))
    assert s.values() == [("s0", 1)]
    from rootlet import ble_adverts

    real = ble_adverts.resolves
    ble_adverts.resolves = lambda address, irk: address[0] == 0x41
    try:
        s.hear(bytes([0x41, 1, 2, 3, 4, 5]), level(2))
        assert s.values() == [("s0", 2)]
    finally:
        ble_adverts.resolves = real


def test_a_sensor_that_waits_for_a_connection_keeps_its_address():
    s = Setup({"local_name": "x"})
    s.hear(A, b"\x02\x09x" + level(1))
    s.values()
    s.listener.sensors[0].busy = True
    said(s, 100000)
    assert s.listener.sensors[0].address == A


def test_a_value_that_cannot_be_read_takes_no_other_away():
    far = dict(LEVEL)
    far.update({"quantity": "far", "offset": 9})
    s = Setup(dict(WHERE, values=[far, LEVEL]))
    s.hear(A, level(7))
    assert s.values() == [("s0", 7)]
    [error] = s.failures
    assert error.code == "BLE_DATA" and "far" in error.fact


def test_a_sensor_of_another_format_is_told():
    s = Setup(dict(WHERE, format="bthome", values=()))
    for n in range(200):
        s.listener.sensors[0].budget = 9
        s.hear(A, level(n))
        s.values()
    [error] = s.failures
    assert error.code == "BLE_DATA" and "format" in error.fact


def test_a_sensor_that_is_not_heard_is_told_once():
    s = Setup(WHERE, {"address": "c1:02:03:04:05:07"})
    s.hear(B, level(1))
    s.values()
    for _ in range(200):
        s.listener._look_after()
    assert [line for line in s.lines if "not heard" in line[1]] == [("ble", s.lines[-1][1])]
    assert s.lines[-1][1].startswith("s0 ")


def test_a_board_without_a_bluetooth_module_fails_at_start_and_not_before():
    s = Setup(WHERE)
    radio = s.listener.radio
    radio.ble, radio.on = None, False
    kept = sys.modules.pop("bluetooth")
    try:
        radio.start()
        raise AssertionError("it started")
    except (ImportError, OSError):
        pass
    finally:
        sys.modules["bluetooth"] = kept
    radio.stop()
