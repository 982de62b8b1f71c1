"""packets: CONNECT and PUBLISH byte for byte, every flag, every size of the length field."""

from rootlet.errors import RootletError
from rootlet.packets import connect_packet, length, publish_packet, text

HEAD = b"\x00\x04MQTT\x04"


def refused(function, *args):
    try:
        function(*args)
    except RootletError as e:
        return e.code == "MQTT_TOO_LARGE"
    return False


def test_lengths_of_one_to_three_bytes():
    for n, expected in (
        (0, b"\0"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16383, b"\xff\x7f"),
        (16384, b"\x80\x80\x01"),
    ):
        assert length(n) == expected


def test_connect_says_everything():
    packet = connect_packet("id", "user", "pass", 60, ("t", b"gone", True, 1), True)
    body = HEAD + b"\xee\x00\x3c\x00\x02id\x00\x01t\x00\x04gone\x00\x04user\x00\x04pass"
    assert packet == b"\x10" + bytes((len(body),)) + body


def test_connect_says_nothing_that_was_not_given():
    assert connect_packet("", None, None, 0, None, False) == b"\x10\x0c" + HEAD + b"\x00\x00\x00\x00\x00"
    # A password without a user is not allowed: [MQTT-3.1.2-22].
    assert connect_packet("", None, "secret", 0, None, False) == b"\x10\x0c" + HEAD + b"\x00\x00\x00\x00\x00"


def test_publish_flags():
    for dup in (False, True):
        for retain in (False, True):
            first = 0x32 | dup << 3 | retain
            packet = publish_packet(b"t", b"m", retain, 1, 258, dup)
            assert packet == bytes((first, 6)) + b"\x00\x01t\x01\x02m"
    assert publish_packet(b"t", b"m") == b"\x30\x04\x00\x01tm"


def test_publish_around_the_sizes_of_its_length():
    for size in (124, 125, 16380, 16381):
        packet = publish_packet(b"t", b"x" * size)
        assert packet == b"\x30" + length(size + 3) + b"\x00\x01t" + b"x" * size
    assert refused(publish_packet, b"t", b"x" * 16382)
    assert refused(publish_packet, b"t", b"x" * 16380, False, 1, 1)


def test_text_is_bounded():
    assert text("é") == b"\x00\x02\xc3\xa9"
    assert refused(text, b"x" * 65536)
