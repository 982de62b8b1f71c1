"""A broker may send anything: the client raises MQTT_* or nothing, and counts each message once."""

import random
import struct
from collections import Counter

import pytest

from rootlet import mqtt, packets, tls
from rootlet.deadline import Deadline
from rootlet.errors import RootletError
from rootlet.stream import Stream
from tests.fuzz import mutate
from tests.fuzz.mutate import INPUTS, Wire

CODES = {
    "MQTT_PACKET", "MQTT_CLOSED", "MQTT_TOO_LARGE", "MQTT_TIMEOUT", "MQTT_REFUSED", "MQTT_UNAVAILABLE",
    "MQTT_SUBSCRIBE",
}  # fmt: skip
CONNACK = b"\x20\x02\x00\x00"
PINGRESP = b"\xd0\x00"
LARGEST = 4 * packets.LARGEST  # the packet as read, its topic and message, and the buffer it came in


def puback(pid):
    return b"\x40\x02" + struct.pack("!H", pid)


def suback(pid, granted=1):
    return b"\x90\x03" + struct.pack("!HB", pid, granted)


def publish(topic, message, pid=0, flags=0):
    body = struct.pack("!H", len(topic)) + topic + (struct.pack("!H", pid) if flags & 6 else b"") + message
    return bytes((0x30 | flags,)) + packets.length(len(body)) + body


SOUND = [
    CONNACK,
    publish(b"rootlet/d/cmd", b'{"id":"1","command":"status"}', 9, 2),
    puback(1),
    puback(2),
    publish(b"t", b"", 0, 0),
    publish(b"t", b"x" * 200, 10, 0x0A),
    suback(4),
    PINGRESP,
    puback(3),
]


def one_packet(dice, packet):
    """One packet that is a little wrong: its type, its length, an identifier, a return code."""
    kind = dice.randrange(7)
    if kind == 0:
        return bytes((dice.randrange(256),)) + packet[1:]
    body = packet[3:] if packet[1] & 0x80 else packet[2:]
    if kind == 1:  # a length that lies
        size = dice.choice((0, 1, len(body) - 1, len(body) + 1, 127, 128, 16384, 16385, 65536, 268435455))
        return packet[:1] + packets.length(max(0, size)) + body
    if kind == 2:  # a length that is none
        return packet[:1] + dice.choice((b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x00", b"\x82\x00")) + body
    if kind == 3:
        body = mutate.change(dice, body)
        return packet[:1] + packets.length(len(body)) + body
    if kind == 4:
        pid = dice.choice((0, 1, 2, 3, 4, 4, 5, 65535))
        return puback(pid) if dice.randrange(2) else suback(pid, dice.choice((0, 1, 0x80)))
    if kind == 5:
        return publish(b"t" * dice.choice((0, 1, 300)), b"m" * dice.choice((0, 1, 600, 17000)), 3, dice.randrange(16))
    return CONNACK[:3] + bytes((dice.randrange(8),))


def conversation(dice):
    """Bytes of a broker: a sound conversation with some packets changed, left out, repeated or in another order."""
    if not dice.randrange(50):
        return CONNACK * dice.randrange(2) + dice.randbytes(dice.randrange(200))
    packets = SOUND[:]
    for _ in range(dice.choice((0, 1, 1, 1, 2))):
        at = dice.randrange(len(packets)) if dice.randrange(8) else 0
        kind = dice.randrange(6)
        if kind == 0 and len(packets) > 1:
            packets.insert(dice.randrange(len(packets)), packets.pop(at))
        elif kind == 1 and len(packets) > 1:
            del packets[at]
        elif kind == 2:
            packets.insert(at, packets[at])
        else:
            packets[at] = one_packet(dice, packets[at])
    data = b"".join(packets)
    return data if dice.randrange(5) else mutate.change(dice, data)


def inputs(count, seed=3110):
    """(pieces, whether it stalls at the end or closes)"""
    dice = random.Random(seed)
    for _ in range(count):
        stalls = not dice.randrange(3)
        # With a timeout of 0, so that nobody waits, "nothing yet" would be a time-out.
        yield mutate.pieces(dice, conversation(dice), gaps=not stalls), stalls


class Session:
    """A client with its window of 2, what it sent, and what it was told. keep: who holds what is on its way."""

    def __init__(self, patch, keep):
        self.keep = keep
        self.client = mqtt.Client("me", "broker", 8883, None, window=2)
        self.client.on_ack = self._acked
        self.client.set_callback(self._got)
        self.acked = []
        self.sent = []
        self.got = 0
        self._patch = patch

    def _acked(self, pid):
        self.acked.append(pid)

    def _got(self, topic, message):
        self.got += len(topic) + len(message)

    def run(self, incoming, stalls):
        """All that a gateway does with a connection. Returns the code of the error, or None."""
        client = self.client
        wire = Wire(incoming, stalls)
        stream = Stream(wire, wire, "broker", 0 if stalls else 1000)
        if stalls:  # nobody waits for an acknowledgement either
            stream.wait = lambda deadline: Stream.wait(stream, Deadline(0))
        self._patch(lambda host, port, hello, trust, timeout: stream)
        try:
            client.connect()
            for _ in range(3):
                # An identifier is known only when publish returns, but the packet is on its way before.
                self.sent.append(client.pid % 65535 + 1)
                try:
                    client.publish("t", b"message", qos=1, keep=self.keep)
                except RootletError:
                    if self.sent[-1] not in client.inflight:
                        self.sent.pop()
                    raise
            client.subscribe("rootlet/d/cmd", 1)
            client.ping()
            while client.check_msg():
                pass
            client.flush()
            client.disconnect()
        except RootletError as e:
            client.close()
            return e.code
        finally:
            assert client.sock is None
            assert wire.closed

    def finish(self):
        """A sound broker takes what is left: nothing is lost, nothing acknowledged twice."""
        client = self.client
        left = sorted(client.inflight)
        assert Counter(self.acked) + Counter(left) == Counter(self.sent), (self.acked, left, self.sent)
        wire = Wire([CONNACK, *(puback(pid) for pid in left)])
        self._patch(lambda host, port, hello, trust, timeout: Stream(wire, wire, host, 1000))
        client.connect()
        if not self.keep:
            assert not client.inflight and not wire.sent, "what the client does not hold is not its to send"
            client.close()
            return
        assert len(wire.sent) == len(left)
        assert all(packet[0] == 0x3A for packet in wire.sent), "sent again, marked DUP"
        client.flush()
        client.close()
        assert sorted(self.acked) == sorted(self.sent)


@pytest.fixture
def session(monkeypatch):
    def patch(connect):
        tls.connect = connect

    monkeypatch.setattr(tls, "connect", None)  # put back afterwards
    return lambda keep=True: Session(patch, keep)


def test_anything_a_broker_sends_ends_in_a_documented_error(session):
    tally = Counter()
    for i, (incoming, stalls) in enumerate(inputs(INPUTS)):
        one = session(keep=i % 4 > 0)
        try:
            if i % 50:
                code = one.run(incoming, stalls)
            else:
                with mutate.bounded(LARGEST, incoming):
                    code = one.run(incoming, stalls)
            one.finish()
        except BaseException as e:
            raise AssertionError(f"{type(e).__name__}: {e} for {incoming!r}, stalls {stalls}") from e
        assert code is None or code in CODES, (code, incoming)
        tally[code] += 1
    # Each of them, and enough that go through: else what lies behind the first check is not tested.
    assert set(tally) == {None, *CODES}, tally
    assert tally[None] > 0.1 * INPUTS, tally


def test_what_announces_most_takes_no_more_memory_than_a_packet(session):
    heavy = [
        CONNACK + publish(b"t" * 8000, b"m" * 8300, 1, 2),
        CONNACK + publish(b"t", b"m" * 16300, 1, 2) * 20,
        CONNACK + b"\x30\xff\xff\xff\x7f" + b"x" * 40000,
        CONNACK + b"\x30\xff\x7f\xff\xff" + b"x" * 40000,
        CONNACK + PINGRESP * 20000,
        CONNACK + puback(7) * 20000,
        CONNACK + suback(1) * 20000,
    ]
    for data in heavy:
        incoming = [data[i : i + 4096] for i in range(0, len(data), 4096)]
        one = session()
        with mutate.bounded(LARGEST, data[:20]):
            assert one.run(incoming, False) in CODES
        one.finish()
