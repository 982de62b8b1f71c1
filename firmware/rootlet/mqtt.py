"""MQTT 3.1.1 over verified TLS: umqtt.simple on our stream, one write per packet, QoS 1 with a window."""

import struct

from umqtt.simple import MQTTClient

from . import tls
from .deadline import Deadline
from .errors import RootletError
from .packets import LARGEST, connect_packet, length, publish_packet, text

_REFUSALS = ("", "protocol version", "client id", "server unavailable", "user or password", "not authorised")
LONGEST_IN = 2048  # bytes of topic and payload that are taken in; what is longer is let go


def _in_our_words(e):
    codes = {"NET_TIMEOUT": "MQTT_TIMEOUT", "NET_CLOSED": "MQTT_CLOSED"}
    return RootletError(codes[e.code], e.fact) if e.code in codes else e


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
        self.inflight: dict = {}  # packet id -> PUBLISH packet (None: its owner holds it), until its PUBACK
        self.on_ack = None
        self._granted = None
        self.retained = False  # whether the message that is being handed over was kept by the broker

    def connect(self, clean_session=True):
        """Connect, and send again, marked DUP, what was not acknowledged before.

        Returns whether the broker kept a session. Raises RootletError MQTT_REFUSED, MQTT_UNAVAILABLE, MQTT_PACKET and
        tls.connect's.
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
                code = "MQTT_UNAVAILABLE" if reply[3] == 3 else "MQTT_REFUSED"
                raise RootletError(code, "reason %d: %s, client id '%s'" % (reply[3], reason, self.client_id))
            for pid in [pid for pid in self.inflight if self.inflight[pid] is None]:
                del self.inflight[pid]
            # In the order they were sent first: a dict of MicroPython has none.
            for pid in sorted(self.inflight, key=lambda pid: (pid - self.pid - 1) % 65535):
                packet = self.inflight[pid]
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
            raise _in_our_words(e) from None
        except (AssertionError, IndexError, ValueError):
            raise RootletError("MQTT_PACKET", "from %s" % self.server) from None

    def _next_pid(self):
        self.pid = self.pid % 65535 + 1
        while self.pid in self.inflight:
            self.pid = self.pid % 65535 + 1
        return self.pid

    def publish(self, topic, msg, retain=False, qos=0, dup=False, keep=True):
        """Send a message in one TLS record.

        With QoS 1 it waits only while `window` messages are unacknowledged; flush() waits for the rest.
        Args: topic, msg: str or bytes, together at most 16 KB. qos: 0 or 1. dup: it may have been sent before.
            keep: hold the packet until it is acknowledged, so that connect() sends it again; else the caller does.
        Returns the packet id, 0 for QoS 0. Raises RootletError MQTT_*.
        """
        topic = topic.encode() if isinstance(topic, str) else topic
        msg = msg.encode() if isinstance(msg, str) else msg
        pid = 0
        if qos:
            if len(self.inflight) >= self.window:
                self._down_to(self.window - 1)
            pid = self._next_pid()
        packet = publish_packet(topic, msg, retain, qos, pid, dup)
        if qos:
            self.inflight[pid] = packet if keep else None
        sock = self.sock
        if sock is None:
            raise RootletError("MQTT_CLOSED", "not connected")
        try:
            sock.write(packet)
        except RootletError as e:
            raise _in_our_words(e) from None
        return pid

    def _write(self, packet):
        """One write, so one TLS record and one TCP segment."""
        return self.sock.write(packet)

    def _until(self, done):
        """Take packets in until done(), at most timeout_ms: a broker may send anything but what is waited for."""
        deadline = Deadline(self.timeout_ms)
        while not done():
            if not deadline.left():
                raise RootletError("MQTT_TIMEOUT", "%s sends other things" % self.server)
            self._call(self.wait_msg)

    def _down_to(self, most):
        """Take packets in until at most so many messages are unacknowledged, as _until does, with less garbage."""
        deadline = Deadline(self.timeout_ms)
        while len(self.inflight) > most:
            if not self.check_msg():
                self._call(self.sock.wait, deadline)
            elif not deadline.left():
                raise RootletError("MQTT_TIMEOUT", "%s sends other things" % self.server)

    def flush(self):
        """Wait until every QoS 1 message is acknowledged. Raises RootletError MQTT_*."""
        self._down_to(0)

    def wait_msg(self):
        """Process one packet."""
        op = self.sock.read(1)[0]
        if op & 0xF0 == 0x30:
            self._incoming(op)
        elif op == 0x40:
            self._expect_length(2)
            self._acknowledged(struct.unpack("!H", self.sock.read(2))[0])
        elif op == 0x90:
            self._expect_length(3)
            self._granted = struct.unpack("!HB", self.sock.read(3))
        elif op == 0xD0:
            self._expect_length(0)
        else:
            raise RootletError("MQTT_PACKET", "type 0x%02x" % op)

    def _incoming(self, op):
        """A PUBLISH (section 3.3). One that is too long for us is acknowledged and let go: else it would come again."""
        read = self.sock.read
        size = self._recv_len()
        topic = struct.unpack("!H", read(2))[0]
        qos = op >> 1 & 3
        size -= 2 + topic + (2 if qos else 0)
        if size < 0 or qos > 1 or self.cb is None:
            raise RootletError("MQTT_PACKET", "bad PUBLISH")
        fits = topic + size <= LONGEST_IN
        topic = read(topic) if fits else self._skip(topic)
        pid = read(2) if qos else None
        message = read(size) if fits else self._skip(size)
        if fits:
            self.retained = bool(op & 1)
            self.cb(topic, message)
        if pid:
            self._write(b"\x40\x02" + pid)

    def _skip(self, size):
        while size:
            piece = min(size, 256)
            self.sock.read(piece)
            size -= piece

    def _acknowledged(self, pid):
        if pid in self.inflight:
            del self.inflight[pid]
            if self.on_ack:
                self.on_ack(pid)

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
        if n > LARGEST:
            raise RootletError("MQTT_TOO_LARGE", "%d bytes received, at most %d" % (n, LARGEST))
        return n

    def check_msg(self):
        """Process one packet if something has arrived. Returns whether it had."""
        sock = self.sock
        if sock is None:
            raise RootletError("MQTT_CLOSED", "not connected")
        # An acknowledgement that lies ready is taken without making garbage of its bytes.
        pid = sock.take(b"\x40\x02")
        if pid < 0:
            if not self._call(sock.ready):
                return False
            pid = sock.take(b"\x40\x02")
        if pid < 0:
            self._call(self.wait_msg)
        else:
            self._acknowledged(pid)
        return True

    def subscribe(self, topic, qos=0):
        """Subscribe and wait for the broker's consent. Raises RootletError MQTT_SUBSCRIBE."""
        if self.cb is None:
            raise RootletError("MQTT_SUBSCRIBE", "set_callback comes first")
        pid = self._next_pid()
        body = struct.pack("!H", pid) + text(topic) + bytes((qos,))
        self._granted = None
        self._call(self._write, b"\x82" + length(len(body)) + body)
        self._until(lambda: self._granted is not None and self._granted[0] == pid)
        if self._granted[1] == 0x80:  # type: ignore[index]
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
