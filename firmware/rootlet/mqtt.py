"""MQTT 3.1.1 over verified TLS: umqtt.simple's framing on our stream, one write per packet, QoS 1 with a window."""

import struct

from umqtt.simple import MQTTClient

from . import tls
from .errors import RootletError

_REFUSALS = ("", "protocol version", "client id", "server unavailable", "user or password", "not authorised")
_MAX_PACKET = 16384


def _length(n):
    """Remaining length (MQTT 3.1.1 section 2.2.3) as bytes."""
    out = bytearray()
    while True:
        n, low = n >> 7, n & 0x7F
        out.append(low | 0x80 if n else low)
        if not n:
            return bytes(out)


def _text(s):
    s = s.encode() if isinstance(s, str) else s
    if len(s) > 65535:
        raise RootletError("MQTT_TOO_LARGE", "a string of %d bytes" % len(s))
    return struct.pack("!H", len(s)) + s


def connect_packet(client_id, user, password, keepalive, will, clean):
    """A CONNECT packet (section 3.1).

    Args: will: (topic, payload, retain, qos) or None. keepalive: seconds, 0 to 65535. clean: clean session.
    """
    flags = 2 if clean else 0
    payload = _text(client_id)
    if will:
        topic, message, retain, qos = will
        flags |= 4 | qos << 3 | bool(retain) << 5
        payload += _text(topic) + _text(message)
    if user is not None:
        flags |= 0x80
        payload += _text(user)
        if password is not None:
            flags |= 0x40
            payload += _text(password)
    body = b"\x00\x04MQTT\x04" + bytes((flags,)) + struct.pack("!H", keepalive) + payload
    return b"\x10" + _length(len(body)) + body


class Client(MQTTClient):
    """An MQTT client on a verified TLS connection. Raises RootletError for whatever goes wrong.

    Args:
        client_id, host, port, trust: who connects where, and how the broker is judged.
        user, password: or None. keepalive: seconds. window: QoS 1 messages on their way at once, 1 to 64.
        timeout_ms: for the connection, and for each wait for the broker.
    """

    def __init__(
        self, client_id, host, port, trust, user=None, password=None, keepalive=60, window=16, timeout_ms=15000
    ):
        super().__init__(client_id, host, port, user, password, keepalive)
        self.trust = trust
        self.window = window
        self.timeout_ms = timeout_ms
        self.pid = 0
        self.inflight: dict = {}  # packet id -> PUBLISH packet, until its PUBACK
        self.on_ack = None
        self._granted = None

    def connect(self, clean_session=True):
        """Connect, and send again, marked DUP, what was not acknowledged before.

        Returns whether the broker kept a session. Raises RootletError MQTT_REFUSED, MQTT_PACKET and tls.connect's.
        """
        will = (self.lw_topic, self.lw_msg, self.lw_retain, self.lw_qos) if self.lw_topic else None
        hello = connect_packet(self.client_id, self.user, self.pswd, self.keepalive, will, clean_session)
        self.close()
        self.sock = tls.connect(self.server, self.port, hello, self.trust, self.timeout_ms)
        try:
            reply = self._call(self.sock.read, 4)
            if reply[:2] != b"\x20\x02" or reply[2] > 1:
                raise RootletError("MQTT_PACKET", "no CONNACK, but %r" % reply)
            if reply[3]:
                reason = _REFUSALS[reply[3]] if reply[3] < len(_REFUSALS) else "unknown"
                raise RootletError("MQTT_REFUSED", "reason %d: %s, client id '%s'" % (reply[3], reason, self.client_id))
            for packet in self.inflight.values():
                packet[0] |= 8
                self._call(self.sock.write, packet)
        except RootletError:
            self.close()
            raise
        return bool(reply[2])

    def _call(self, function, *args):
        """Call into the stream or umqtt, with their errors in MQTT's words."""
        if self.sock is None:
            raise RootletError("MQTT_CLOSED", "not connected")
        try:
            return function(*args)
        except RootletError as e:
            codes = {"NET_TIMEOUT": "MQTT_TIMEOUT", "NET_CLOSED": "MQTT_CLOSED"}
            if e.code in codes:
                raise RootletError(codes[e.code], e.fact) from None
            raise
        except (AssertionError, IndexError, ValueError):
            raise RootletError("MQTT_PACKET", "from %s" % self.server) from None

    def _next_pid(self):
        self.pid = self.pid % 65535 + 1
        while self.pid in self.inflight:
            self.pid = self.pid % 65535 + 1
        return self.pid

    def publish(self, topic, msg, retain=False, qos=0):
        """Send a message in one TLS record.

        With QoS 1 it waits only while `window` messages are unacknowledged; flush() waits for the rest.
        Args: topic, msg: str or bytes, together at most 16 KB. qos: 0 or 1.
        Returns the packet id, 0 for QoS 0. Raises RootletError MQTT_*.
        """
        topic = topic.encode() if isinstance(topic, str) else topic
        msg = msg.encode() if isinstance(msg, str) else msg
        size = 2 + len(topic) + len(msg) + (2 if qos else 0)
        if size > _MAX_PACKET:
            raise RootletError("MQTT_TOO_LARGE", "%d bytes, at most %d" % (size, _MAX_PACKET))
        while qos and len(self.inflight) >= self.window:
            self._call(self.wait_msg)
        packet = bytearray((0x30 | qos << 1 | bool(retain),))
        packet.extend(_length(size))
        packet.extend(struct.pack("!H", len(topic)))
        packet.extend(topic)
        pid = 0
        if qos:
            pid = self._next_pid()
            packet.extend(struct.pack("!H", pid))
        packet.extend(msg)
        if qos:
            self.inflight[pid] = packet
        self._call(self._write, packet)
        return pid

    def _write(self, packet):
        """One write, so one TLS record and one TCP segment."""
        return self.sock.write(packet)

    def flush(self):
        """Wait until every QoS 1 message is acknowledged. Raises RootletError MQTT_*."""
        while self.inflight:
            self._call(self.wait_msg)

    def wait_msg(self):
        """Process one packet. umqtt reads PINGRESP and PUBLISH; the acknowledgements are ours."""
        op = super().wait_msg()
        if op is None:
            return None
        if op == 0x40:
            self._expect_length(2)
            pid = struct.unpack("!H", self.sock.read(2))[0]
            if self.inflight.pop(pid, None) is not None and self.on_ack:
                self.on_ack(pid)
        elif op == 0x90:
            self._expect_length(3)
            self._granted = struct.unpack("!HB", self.sock.read(3))
        else:
            raise RootletError("MQTT_PACKET", "type 0x%02x" % op)
        return op

    def _expect_length(self, n):
        if self.sock.read(1)[0] != n:
            raise RootletError("MQTT_PACKET", "bad length")

    def _recv_len(self):
        """Remaining length of an incoming PUBLISH, bounded: umqtt itself would allocate whatever is announced."""
        n = 0
        for shift in (0, 7, 14, 21):
            b = self.sock.read(1)[0]
            n |= (b & 0x7F) << shift
            if not b & 0x80:
                break
        else:
            raise RootletError("MQTT_PACKET", "length of more than four bytes")
        if n > _MAX_PACKET:
            raise RootletError("MQTT_TOO_LARGE", "%d bytes received, at most %d" % (n, _MAX_PACKET))
        return n

    def check_msg(self):
        """Process one packet if something has arrived. Returns whether it had."""
        if self.sock is None:
            raise RootletError("MQTT_CLOSED", "not connected")
        if not self._call(self.sock.ready):
            return False
        self._call(self.wait_msg)
        return True

    def subscribe(self, topic, qos=0):
        """Subscribe and wait for the broker's consent. Raises RootletError MQTT_SUBSCRIBE."""
        if self.cb is None:
            raise RootletError("MQTT_SUBSCRIBE", "set_callback comes first")
        pid = self._next_pid()
        body = struct.pack("!H", pid) + _text(topic) + bytes((qos,))
        self._granted = None
        self._call(self._write, b"\x82" + _length(len(body)) + body)
        while self._granted is None or self._granted[0] != pid:
            self._call(self.wait_msg)
        if self._granted[1] == 0x80:
            raise RootletError("MQTT_SUBSCRIBE", "topic %s" % topic)

    def ping(self):
        """Send PINGREQ."""
        self._call(super().ping)

    def disconnect(self):
        """Say goodbye, so that the broker does not send the last will, and close."""
        try:
            if self.sock:
                self._call(self._write, b"\xe0\0")
        finally:
            self.close()

    def close(self):
        """Close without a goodbye. May be called twice."""
        sock, self.sock = self.sock, None
        if sock:
            sock.close()
