"""sntp: the request, and every reply that must not be believed."""

import struct

from rootlet import sntp

NONCE = b"\x01\x02\x03\x04\x05\x06\x07\x08"


def reply(first=0x24, stratum=2, originate=NONCE, seconds=4004227801):
    return bytes((first, stratum)) + bytes(22) + originate + bytes(8) + struct.pack("!II", seconds, 0)


def refused(data):
    try:
        sntp.parse(data, NONCE)
    except sntp.BadReply:
        return True
    return False


def test_request():
    packet = sntp.request(NONCE)
    assert len(packet) == 48
    assert packet[0] & 7 == 3
    assert packet[40:] == NONCE


def test_good_replies():
    assert sntp.parse(reply(), NONCE) == 4004227801 - 2208988800
    assert sntp.parse(reply(first=0x1C), NONCE) == 4004227801 - 2208988800
    assert sntp.parse(reply() + b"extension", NONCE) == 4004227801 - 2208988800


def test_the_count_wraps_in_2036():
    assert sntp.parse(reply(seconds=0xFFFFFFFF), NONCE) == 2085978495
    assert sntp.parse(reply(seconds=1), NONCE) == 2085978497


def test_replies_that_must_not_be_believed():
    assert refused(b"")
    assert refused(reply()[:47])
    assert refused(reply(first=0x23)), "a request is no reply"
    assert refused(reply(first=0xE4)), "leap indicator 3: not synchronised"
    assert refused(reply(stratum=0)), "kiss of death"
    assert refused(reply(stratum=16))
    assert refused(reply(originate=bytes(8))), "not an answer to our request"
    assert refused(reply(seconds=0))
