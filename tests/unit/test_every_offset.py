"""A connection that ends, stalls, breaks or stutters at every byte: the same result, or its error, and nothing lost."""

import pytest

from rootlet import https, mqtt, tls
from rootlet.errors import RootletError
from rootlet.packets import publish_packet
from rootlet.stream import Stream
from rootlet.trust import Trust
from tests.unit.fake_socket import FakeSocket

RESET = 104
CONNACK = b"\x20\x02\x00\x00"
COMMAND = publish_packet(b"t/cmd", b"status", False, 1, 77)
# In the order in which a client with a window of 2 waits for them.
BROKER = CONNACK + b"\x40\x02\x00\x01" + COMMAND + b"\x40\x02\x00\x02\x90\x03\x00\x04\x01\xd0\x00\x40\x02\x00\x03"
MESSAGES = [b"zero", b"one" * 60, b"two"]


class Owner:
    """Has three messages to publish, and publishes again what was not acknowledged. keep: the client does that."""

    def __init__(self, keep, timeout_ms=20000):
        self.keep = keep
        self.client = mqtt.Client("me", "broker", 8883, None, window=2, timeout_ms=timeout_ms)
        self.client.on_ack = self._acked
        self.client.set_callback(lambda topic, message: self.commands.append(message))
        self.commands = []
        self.made = 0
        self.on_the_way = {}  # packet id -> message
        self.acked = []
        self.wires = []

    def _acked(self, pid):
        self.acked.append(self.on_the_way.pop(pid))

    def _publish(self, message, again):
        client = self.client
        while len(client.inflight) >= client.window:
            client._call(client.wait_msg)
        # What publish() holds before it fails is on its way.
        pid = client.pid % 65535 + 1
        try:
            assert client.publish("t", message, qos=1, dup=again, keep=self.keep) == pid
        finally:
            if pid in client.inflight:
                self.on_the_way[pid] = message
                self.made += not again

    def talk(self, monkeypatch, wire):
        """Everything there is to do. Returns the code of the error, or None."""
        client = self.client
        self.wires.append(wire)
        monkeypatch.setattr(tls, "connect", lambda host, port, hello, trust, timeout: Stream(wire, wire, host, timeout))
        try:
            client.connect()
            if not self.keep:
                again, self.on_the_way = self.on_the_way, {}
                for message in again.values():
                    self._publish(message, True)
            while self.made < len(MESSAGES):
                self._publish(MESSAGES[self.made], False)
            client.subscribe("t/cmd", 1)
            client.ping()
            client.flush()
            client.disconnect()
        except RootletError as e:
            client.close()
            return e.code
        finally:
            assert client.sock is None and wire.closed

    def finish(self, monkeypatch):
        """A second connection, to a broker without faults that acknowledges whatever comes."""
        self.client.timeout_ms = 20000
        assert self.talk(monkeypatch, Sound()) is None
        assert not self.client.inflight and not self.on_the_way
        assert sorted(self.acked) == sorted(MESSAGES), "each counted once"
        received = [message for wire in self.wires for message in published(bytes(wire.sent))]
        assert set(received) == set(MESSAGES), "none lost"


def packets(data):
    """(first byte, body) of the whole packets in bytes."""
    while len(data) > 1:
        size = data[1] & 0x7F
        head = 2
        if data[1] & 0x80:
            if len(data) < 3:
                return
            size |= data[2] << 7
            head = 3
        if len(data) < head + size:
            return
        yield data[0], data[head : head + size]
        data = data[head + size :]


def published(data):
    return [body[2 + body[1] + 2 :] for first, body in packets(data) if first & 0xF0 == 0x30]


class Sound(FakeSocket):
    """A broker that answers what it gets."""

    def __init__(self):
        super().__init__([CONNACK])
        self._seen = 0

    def readinto(self, buf):
        if not self.incoming:
            for first, body in list(packets(bytes(self.sent)))[self._seen :]:
                self._seen += 1
                if first & 0xF0 == 0x30:
                    at = 2 + body[1]
                    self.incoming.append(b"\x40\x02" + body[at : at + 2])
                elif first == 0x82:
                    self.incoming.append(b"\x90\x03" + body[:2] + b"\x01")
                elif first == 0xC0:
                    self.incoming.append(b"\xd0\x00")
        return super().readinto(buf)


def undisturbed(monkeypatch, keep):
    owner = Owner(keep)
    wire = FakeSocket([BROKER])
    assert owner.talk(monkeypatch, wire) is None
    assert sorted(owner.acked) == sorted(MESSAGES) and owner.commands == [b"status"]
    return bytes(wire.sent)


READ_FAULTS = {
    "the end": (lambda k: [BROKER[:k]], False, "MQTT_CLOSED"),
    "a reset": (lambda k: [BROKER[:k], OSError(RESET)], False, "MQTT_CLOSED"),
    "a stall": (lambda k: [BROKER[:k]], True, "MQTT_TIMEOUT"),
    "nothing yet": (lambda k: [BROKER[:k], None, BROKER[k:]], False, None),
    "nothing yet, byte by byte": (
        lambda k: [p for i in range(len(BROKER)) for p in ([None] * (i % (k + 1) == k) + [BROKER[i : i + 1]])],
        False,
        None,
    ),
}


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", READ_FAULTS)
def test_mqtt_at_every_byte_read(monkeypatch, name, keep):
    make, stalls, code = READ_FAULTS[name]
    whole = undisturbed(monkeypatch, keep)
    for offset in range(len(BROKER)):
        owner = Owner(keep, 3 if stalls else 20000)
        wire = FakeSocket([piece for piece in make(offset) if piece != b""], stalls=stalls)
        assert owner.talk(monkeypatch, wire) == code, offset
        if code is None:
            assert (bytes(wire.sent), owner.commands) == (whole, [b"status"]), offset
            continue
        # It is delivered when it is whole and then acknowledged, else not at all.
        assert bool(owner.commands) == (offset >= BROKER.index(COMMAND) + len(COMMAND)), offset
        assert (b"\x40\x02\x00\x4d" in bytes(wire.sent)) == bool(owner.commands)
        owner.finish(monkeypatch)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(("what", "code"), [(OSError(RESET), "MQTT_CLOSED"), ("stall", "MQTT_TIMEOUT"), (None, None)])
def test_mqtt_at_every_byte_written(monkeypatch, what, code, keep):
    whole = undisturbed(monkeypatch, keep)
    for offset in range(len(whole)):
        owner = Owner(keep, 3 if what == "stall" else 20000)
        wire = FakeSocket([BROKER], fault=(offset, what))
        assert owner.talk(monkeypatch, wire) == code, offset
        assert bytes(wire.sent) == (whole[:offset] if code else whole)
        if code:
            owner.finish(monkeypatch)


def test_mqtt_by_single_bytes_both_ways(monkeypatch):
    whole = undisturbed(monkeypatch, True)
    owner = Owner(True)
    wire = FakeSocket([BROKER[i : i + 1] for i in range(len(BROKER))], room=1, busy_writes=True)
    assert owner.talk(monkeypatch, wire) is None
    assert bytes(wire.sent) == whole
    assert set(wire.writes) == {1}


URL = "https://host.example/page"
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX-Y: z\r\n\r\nhello world"
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"6;x=y\r\nhello \r\n5\r\nworld\r\n0\r\nTrail: er\r\n\r\n"
)


def by_readinto(page):
    """Into two bytes at a time, so that pieces end everywhere."""
    buf = bytearray(2)
    body = b""
    while n := page.readinto(buf):
        body += buf[:n]
    return body


WAYS = [
    lambda page: page.read(),
    by_readinto,
    lambda page: b"".join(bytes(piece) for piece in page),
    lambda page: b"".join(iter(lambda: bytes(page.read(3)), b"")),
]


def get(monkeypatch, incoming, stalls=False, way=WAYS[0]):
    """(code of the error, or None; body)"""
    wire = FakeSocket([piece for piece in incoming if piece != b""], stalls=stalls)
    monkeypatch.setattr(tls, "connect", lambda host, port, hello, trust, timeout: Stream(wire, wire, host, timeout))
    try:
        with https.get(URL, Trust([], lambda: 1795239001), timeout_ms=3 if stalls else 20000) as page:
            assert page.status == 200
            return None, way(page)
    except RootletError as e:
        return e.code, b""
    finally:
        assert wire.closed


@pytest.mark.parametrize("way", WAYS, ids=["read", "readinto", "iterated", "read(3)"])
@pytest.mark.parametrize("response", [COUNTED, CHUNKED], ids=["counted", "chunked"])
def test_http_at_every_byte(monkeypatch, response, way):
    good = (None, b"hello world")
    for k in range(len(response)):
        head, rest = response[:k], response[k:]
        assert get(monkeypatch, [head], way=way) == ("HTTP_TRUNCATED", b""), k
        assert get(monkeypatch, [head, OSError(RESET)], way=way) == ("HTTP_TRUNCATED", b""), k
        if way is WAYS[0] or k % 5 == 0:  # each waits for its deadline
            assert get(monkeypatch, [head], True, way) == ("HTTP_TIMEOUT", b""), k
        assert get(monkeypatch, [head, None, rest], way=way) == good, k
        assert get(monkeypatch, [head, rest], way=way) == good, k
    assert get(monkeypatch, [response[i : i + 1] for i in range(len(response))], way=way) == good
    assert get(monkeypatch, [p for i in range(len(response)) for p in (None, response[i : i + 1])], way=way) == good


@pytest.mark.parametrize("way", WAYS, ids=["read", "readinto", "iterated", "read(3)"])
def test_a_body_without_a_size_cut_at_every_byte(monkeypatch, way):
    """TLS that ended in order is its end; TCP alone is not."""
    response = b"HTTP/1.1 200 OK\r\nX-Y: z\r\n\r\nhello world"
    begins = response.index(b"hello")
    for k in range(len(response) + 1):
        assert get(monkeypatch, [response[:k], OSError(-0x7280)], way=way) == ("HTTP_TRUNCATED", b""), k
        in_order = get(monkeypatch, [response[:k], OSError(-0x7880)], way=way)
        assert in_order == ((None, response[begins:k]) if k >= begins else ("HTTP_TRUNCATED", b"")), k
