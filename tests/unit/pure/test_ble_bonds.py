"""Keys of bonded peers: found by key and by number, bounded, kept over a restart, and lost without a crash."""

import os

from rootlet import ble_bonds
from rootlet.ble_bonds import Bonds


def clean():
    for name in (ble_bonds.PATH, ble_bonds.PATH + ".new"):
        try:
            os.remove(name)
        except OSError:
            pass


def made():
    clean()
    return Bonds()


def test_found_by_key_and_by_number_of_its_kind():
    b = made()
    assert b.set(1, memoryview(b"peer-a"), memoryview(b"key-a"))
    assert b.set(2, b"peer-a", b"our-a") and b.set(1, b"peer-b", b"key-b")
    assert b.get(1, 0, memoryview(b"peer-b")) == b"key-b"
    assert [b.get(1, i, None) for i in range(3)] == [b"key-a", b"key-b", None]
    assert b.get(2, 0, b"peer-b") is None
    clean()


def test_a_new_value_takes_the_place_of_the_old_and_none_forgets():
    b = made()
    b.set(1, b"peer", b"old")
    b.set(1, b"peer", b"new")
    assert b.get(1, 0, None) == b"new" and b.get(1, 1, None) is None
    assert b.set(1, b"peer", None) and b.get(1, 0, b"peer") is None
    assert not b.set(1, b"peer", None)
    clean()


def test_bounded_and_the_oldest_goes():
    b = made()
    for n in range(40):
        assert b.set(1, bytes([n]), b"v")
    assert b.get(1, 0, None) == b"v" and b.get(1, 0, bytes([39])) == b"v" and b.get(1, 0, bytes([0])) is None
    assert b.get(1, 32, None) == b"v" and b.get(1, 33, None) is None
    assert b.set(10, b"irk", b"ours")
    for n in range(40):
        b.set(2, bytes([n]), b"w")
    assert b.get(10, 0, b"irk") == b"ours" and b.get(2, 31, None) == b"w" and b.get(2, 32, None) is None
    assert not b.set(1, b"k", bytes(200)) and b.get(1, 0, b"k") is None
    clean()


def test_kept_over_a_restart_and_written_only_when_changed():
    b = made()
    b.save()
    try:
        os.stat(ble_bonds.PATH)
        raise AssertionError("written without a change")
    except OSError:
        pass
    b.set(1, b"peer", b"\x00\xffkey")
    b.save()
    assert not b.changed and Bonds().get(1, 0, b"peer") == b"\x00\xffkey"
    clean()


def test_a_damaged_file_is_as_none():
    for text in ("", "{}", "[1]", '[[1,"zz","00"]]', '[[1,"00"]]', "[[1,2,3]]", '[[1,"00","00"]'):
        clean()
        with open(ble_bonds.PATH, "w") as f:
            f.write(text)
        assert Bonds().get(1, 0, None) is None
    clean()


def test_a_flash_that_refuses_is_asked_again_a_minute_later():
    b = made()
    b.set(1, b"peer", b"key")
    good = ble_bonds.PATH
    ble_bonds.PATH = "absent/bonds.json"
    try:
        b.save()
    finally:
        ble_bonds.PATH = good
    for _ in range(59):
        b.save()
        assert b.changed
    b.save()
    assert not b.changed and Bonds().get(1, 0, b"peer") == b"key"
    assert b.set(1, b"peer", b"key") and not b.changed
    clean()
