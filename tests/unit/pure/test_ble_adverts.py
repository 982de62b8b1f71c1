"""ble_adverts: AD structures, names and resolvable private addresses."""

from binascii import unhexlify

from rootlet import ble_adverts

# The example of https://bthome.io/format/: flags, complete local name, service data of 0xFCD2.
BTHOME = unhexlify("0201060b094449592d73656e736f720a16d2fc4002c40903bf13")


def test_fields_of_a_payload():
    assert list(ble_adverts.fields(BTHOME)) == [
        (1, b"\x06"),
        (9, b"DIY-sensor"),
        (0x16, unhexlify("d2fc4002c40903bf13")),
    ]
    assert [(kind, bytes(data)) for kind, data in ble_adverts.fields(memoryview(BTHOME))] == list(
        ble_adverts.fields(BTHOME)
    )
    assert list(ble_adverts.fields(b"\x01\x0a")) == [(10, b"")]


def test_a_malformed_tail_ends_it():
    for cut in range(4, 15):
        assert list(ble_adverts.fields(BTHOME[:cut])) == [(1, b"\x06")]
    assert list(ble_adverts.fields(b"\x02\x01\x06\x00\x02\x01\x06")) == [(1, b"\x06")], "zeros fill the rest"
    assert list(ble_adverts.fields(b"\x02\x01\x06\x1f\x09a")) == [(1, b"\x06")]
    assert list(ble_adverts.fields(b"")) == list(ble_adverts.fields(b"\x05")) == []


def test_find():
    assert ble_adverts.find(BTHOME, 0x16, 0xFCD2) == unhexlify("4002c40903bf13")
    assert bytes(ble_adverts.find(memoryview(BTHOME), 0x16, 0xFCD2)) == unhexlify("4002c40903bf13")
    assert ble_adverts.find(BTHOME, 0x16, 0x181A) is None
    assert ble_adverts.find(BTHOME, 0xFF, 0xFCD2) is None
    assert ble_adverts.find(b"\x02\x16\xd2", 0x16, 0xFCD2) is None, "half an id"
    assert ble_adverts.find(b"\x03\x16\xd2\xfc", 0x16, 0xFCD2) == b""
    two = b"\x04\x16\x1a\x18a\x04\x16\xd2\xfcb"
    assert ble_adverts.find(two, 0x16, 0xFCD2) == b"b", "one of another id comes first"
    uuid = bytes(range(16))
    assert ble_adverts.find(b"\x13\x21" + uuid + b"xy", 0x21, uuid) == b"xy"


def test_local_name():
    assert ble_adverts.local_name(BTHOME) == b"DIY-sensor"
    assert ble_adverts.local_name(memoryview(b"\x04\x08ATC")) == b"ATC"
    assert ble_adverts.local_name(b"\x04\x08ATC\x07\x09ATC_12") == b"ATC_12", "the complete name is the better one"
    assert ble_adverts.local_name(b"\x07\x09ATC_12\x04\x08ATC") == b"ATC_12"
    assert ble_adverts.local_name(b"\x02\x01\x06") is None


# Core 5.4, Vol 3 Part H D.7: the sample data of function ah.
IRK = unhexlify("ec0234a357c8ad05341010a60a397d9b")
ADDRESS = unhexlify("7081940dfbaa")


def test_resolvable_private_addresses():
    assert ble_adverts.resolves(ADDRESS, IRK)
    assert ble_adverts.resolves(memoryview(ADDRESS), IRK)
    for bit in range(48):
        changed = bytearray(ADDRESS)
        changed[bit // 8] ^= 1 << bit % 8
        assert not ble_adverts.resolves(bytes(changed), IRK), bit
    assert not ble_adverts.resolves(ADDRESS, bytes(16))


def test_other_kinds_of_address_are_not_tried():
    # The hash of a static or non-resolvable one may fit by what the sensor's owner chose.
    class Counting:
        tried = 0

        def __init__(self, key, mode):
            Counting.tried += 1

        def encrypt(self, data, out):
            out[:] = bytes(16)

    old, ble_adverts.aes = ble_adverts.aes, Counting
    try:
        for first in (0x00, 0x3F, 0x80, 0xC0, 0xFF):
            assert not ble_adverts.resolves(bytes((first, 0, 0, 0, 0, 0)), IRK)
        assert Counting.tried == 0
        assert ble_adverts.resolves(b"\x40\0\0\0\0\0", IRK) and Counting.tried == 1
    finally:
        ble_adverts.aes = old
