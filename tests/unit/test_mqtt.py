"""mqtt.Client against a broker made of bytes: packets, window, DUP, bounds, and every way of ending early."""

import pytest

from rootlet import mqtt, tls
from rootlet.errors import RootletError
from rootlet.stream import Stream
from tests.unit.fake_socket import FakeSocket

CONNACK = b"\x20\x02\x00\x00"


@pytest.fixture
def dial(monkeypatch):
    """Returns a function that makes a connected client whose broker sends the given pieces after CONNACK."""

    def make(*pieces, client=None, connack=CONNACK, stalls=False, **options):
        client = client or mqtt.Client("me", "broker", 8883, None, timeout_ms=50, **options)
        fake = FakeSocket([connack, *pieces], stalls=stalls)

        def connect(host, port, hello, trust, timeout_ms):
            fake.hello = hello
            return Stream(fake, fake, host, timeout_ms)

        monkeypatch.setattr(tls, "connect", connect)
        client.fake = fake
        client.connect()
        return client

    return make


def refused(code, function, *args, **named):
    with pytest.raises(RootletError) as e:
        function(*args, **named)
    assert e.value.code == code, e.value


@pytest.mark.parametrize("size", [0, 100, 113, 114, 127, 128, 5000, 16250])
def test_publish_is_one_write_with_the_right_length(dial, size):
    client = dial()
    client.publish("a/b", b"x" * size)
    assert len(client.fake.writes) == 1
    packet = bytes(client.fake.sent)
    body = 5 + size
    length = bytes([body]) if body < 128 else bytes([body & 127 | 128, body >> 7])
    assert packet == b"\x30" + length + b"\x00\x03a/b" + b"x" * size


def test_too_large_is_refused_before_anything_is_sent(dial):
    client = dial()
    refused("MQTT_TOO_LARGE", client.publish, "t", b"x" * 16385, qos=1)
    assert not client.fake.sent
    assert not client.inflight


def test_qos_1_waits_only_when_the_window_is_full(dial):
    client = dial(b"\x40\x02\x00\x01", stalls=True, window=2)
    acked = []
    client.on_ack = acked.append
    assert [client.publish("t", b"m", qos=1) for _ in range(3)] == [1, 2, 3]
    assert acked == [1]
    assert sorted(client.inflight) == [2, 3]
    refused("MQTT_TIMEOUT", client.publish, "t", b"m", qos=1)


def test_unacknowledged_messages_are_sent_again_marked_dup(dial):
    client = dial(stalls=True)
    client.publish("t", b"one", qos=1)
    client.publish("t", b"two", qos=1)
    first = bytes(client.fake.sent)
    client.close()
    dial(b"\x40\x02\x00\x01", b"\x40\x02\x00\x02", client=client)
    again = bytes(client.fake.sent)
    size = len(first) // 2
    assert again == bytes([0x3A]) + first[1:size] + bytes([0x3A]) + first[size + 1 :]
    client.flush()
    assert not client.inflight


def test_what_is_sent_again_keeps_its_order(dial):
    client = dial(stalls=True, window=64)
    client.pid = 65500
    for i in range(60):
        client.publish("t", b"%02d" % i, qos=1)
    client.close()
    dial(client=client, stalls=True)
    again = bytes(client.fake.sent)
    assert [int(again[i + 7 : i + 9]) for i in range(0, len(again), 9)] == list(range(60))


def test_what_its_owner_holds_is_not_sent_again(dial):
    client = dial(stalls=True)
    client.publish("t", b"mine", qos=1, keep=False)
    client.publish("t", b"kept", qos=1)
    assert client.fake.sent[0] == 0x32
    client.close()
    dial(b"\x40\x02\x00\x01\x40\x02\x00\x02", client=client)
    acked = []
    client.on_ack = acked.append
    assert bytes(client.fake.sent).count(b"kept") == 1 and b"mine" not in client.fake.sent
    client.flush()
    assert acked == [2]


def test_dup_as_the_caller_says(dial):
    client = dial(stalls=True)
    client.publish("t", b"", qos=1, dup=True, keep=False)
    assert client.fake.sent[0] == 0x3A


def test_packet_ids_wrap_and_skip_those_on_their_way(dial):
    client = dial(stalls=True)
    client.pid = 65534
    assert [client.publish("t", b"", qos=1) for _ in range(2)] == [65535, 1]
    client.pid = 65534
    assert client.publish("t", b"", qos=1) == 2


@pytest.mark.parametrize(
    ("reply", "code"),
    [(b"\x20\x02\x00\x05", "MQTT_REFUSED"), (b"\x20\x02\x00\x03", "MQTT_UNAVAILABLE"), (b"HTTP", "MQTT_PACKET")],
)
def test_a_broker_that_says_no(dial, reply, code):
    refused(code, dial, connack=reply)


@pytest.mark.parametrize("size", range(4))
def test_connack_cut_off(dial, size):
    refused("MQTT_CLOSED", dial, connack=CONNACK[:size] or None)


def test_incoming_publish_is_delivered_and_acknowledged(dial):
    got = []
    client = dial(b"\x32\x08\x00\x01t\x00\x07abc", stalls=True)
    client.set_callback(lambda topic, message: got.append((topic, message)))
    assert client.check_msg() is True
    assert got == [(b"t", b"abc")]
    assert bytes(client.fake.sent) == b"\x40\x02\x00\x07"
    assert client.check_msg() is False


@pytest.mark.parametrize("cut", range(1, 10))
def test_incoming_publish_cut_at_every_byte(dial, cut):
    client = dial(b"\x32\x08\x00\x01t\x00\x07abc"[:cut])
    client.set_callback(lambda topic, message: pytest.fail("delivered"))
    refused("MQTT_CLOSED", client.check_msg)


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (b"\x30\xff\xff\xff\xff\x01", "MQTT_PACKET"),
        (b"\x30\xff\xff\xff\x7f", "MQTT_TOO_LARGE"),
        (b"\x30\x03\x00\x09abcdefghi", "MQTT_PACKET"),
        (b"\x30\x03\xff\xff" + b"a" * 70000, "MQTT_PACKET"),
        (b"\x40\x03\x00\x01\x00", "MQTT_PACKET"),
        (b"\xd0\x01x", "MQTT_PACKET"),
        (b"\x10\x00", "MQTT_PACKET"),
        (b"\x34\x08\x00\x01t\x00\x07abc", "MQTT_PACKET"),
    ],
)
def test_packets_no_broker_may_send(dial, packet, code):
    client = dial(packet)
    client.set_callback(lambda topic, message: None)
    refused(code, client.check_msg)


def test_subscribe(dial):
    client = dial(b"\x90\x03\x00\x01\x01", stalls=True)
    refused("MQTT_SUBSCRIBE", client.subscribe, "t")
    client.set_callback(lambda topic, message: None)
    client.subscribe("x" * 200, 1)
    assert bytes(client.fake.sent) == b"\x82\xcd\x01\x00\x01\x00\xc8" + b"x" * 200 + b"\x01"


def test_subscribe_refused(dial):
    client = dial(b"\x90\x03\x00\x01\x80")
    client.set_callback(lambda topic, message: None)
    refused("MQTT_SUBSCRIBE", client.subscribe, "t", 1)


def test_ping_and_goodbye(dial):
    client = dial(b"\xd0\x00", stalls=True)
    client.ping()
    assert client.check_msg() is True
    client.disconnect()
    assert bytes(client.fake.sent) == b"\xc0\x00\xe0\x00"
    assert client.fake.closed
    client.disconnect()
    for use in (client.ping, client.check_msg, client.flush if client.inflight else client.ping):
        refused("MQTT_CLOSED", use)
    refused("MQTT_CLOSED", client.publish, "t", b"")


def incoming(topic, message, first=0x30, pid=b""):
    body = len(topic).to_bytes(2, "big") + topic + pid + message
    return bytes([first]) + mqtt.length(len(body)) + body


def test_a_message_that_is_too_long_is_acknowledged_and_let_go(dial):
    got = []
    long = incoming(b"t", b"x" * 9000, 0x32, b"\x00\x07")
    client = dial(long + incoming(b"t", b"short"), stalls=True)
    client.set_callback(lambda topic, message: got.append(message))
    while client.check_msg():
        pass
    assert got == [b"short"]
    assert bytes(client.fake.sent) == b"\x40\x02\x00\x07"


def test_a_retained_message_is_known_for_one(dial):
    seen = []
    client = dial(incoming(b"t", b"old", 0x31) + incoming(b"t", b"new"), stalls=True)
    client.set_callback(lambda topic, message: seen.append((message, client.retained)))
    while client.check_msg():
        pass
    assert seen == [(b"old", True), (b"new", False)]


@pytest.mark.parametrize("packet", [b"\x34\x05\x00\x01t\x00\x01", b"\x36\x05\x00\x01t\x00\x01", b"\x30\x02\x00\x09"])
def test_a_publish_that_cannot_be(dial, packet):
    client = dial(packet)
    client.set_callback(lambda topic, message: pytest.fail("delivered"))
    refused("MQTT_PACKET", client.check_msg)


@pytest.mark.parametrize("call", ["flush", "subscribe", "publish"])
def test_a_broker_that_sends_anything_but_the_answer(dial, call):
    client = dial(*[b"\xd0\x00" * 50] * 20000, stalls=True, window=1)
    client.set_callback(lambda topic, message: None)
    client.publish("t", b"m", qos=1)
    calls = {
        "flush": client.flush,
        "subscribe": lambda: client.subscribe("t"),
        "publish": lambda: client.publish("t", b"", qos=1),
    }
    refused("MQTT_TIMEOUT", calls[call])
    assert client.fake.incoming, "it went on until nothing came"
