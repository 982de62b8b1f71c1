"""MQTT 3.1.1 packets as bytes; no input or output here."""

import struct

from .errors import RootletError

LARGEST = 16384


def length(n):
    """Remaining length (MQTT 3.1.1 section 2.2.3) as bytes."""
    out = bytearray()
    while True:
        n, low = n >> 7, n & 0x7F
        out.append(low | 0x80 if n else low)
        if not n:
            return bytes(out)


def text(s):
    """A string with its length (section 1.5.3). Raises RootletError MQTT_TOO_LARGE."""
    s = s.encode() if isinstance(s, str) else s
    if len(s) > 65535:
        raise RootletError("MQTT_TOO_LARGE", "a string of %d bytes" % len(s))
    return struct.pack("!H", len(s)) + s


def connect_packet(client_id, user, password, keepalive, will, clean):
    """A CONNECT packet (section 3.1).

    Args: will: (topic, payload, retain, qos) or None. keepalive: seconds, 0 to 65535. clean: clean session.
    """
    flags = 2 if clean else 0
    payload = text(client_id)
    if will:
        topic, message, retain, qos = will
        flags |= 4 | qos << 3 | bool(retain) << 5
        payload += text(topic) + text(message)
    if user is not None:
        flags |= 0x80
        payload += text(user)
        if password is not None:
            flags |= 0x40
            payload += text(password)
    body = b"\x00\x04MQTT\x04" + bytes((flags,)) + struct.pack("!H", keepalive) + payload
    return b"\x10" + length(len(body)) + body


def publish_packet(topic, msg, retain=False, qos=0, pid=0, dup=False):
    """A PUBLISH packet (section 3.3) as bytearray.

    Args: topic, msg: bytes. qos: 0 or 1. pid: packet id, 1 to 65535, with QoS 1. dup: it may have been sent before.
    Raises: RootletError MQTT_TOO_LARGE.
    """
    at = len(topic)
    size = 2 + at + len(msg) + (2 if qos else 0)
    if size > LARGEST:
        raise RootletError("MQTT_TOO_LARGE", "%d bytes, at most %d" % (size, LARGEST))
    first = 0x30 | bool(dup) << 3 | qos << 1 | bool(retain)
    # Made in one piece: pieces put together would be several times its size of garbage.
    if size < 128:
        packet = bytearray(size + 2)
        struct.pack_into("!BBH", packet, 0, first, size, at)
        end = 4
    else:
        count = 3 if size < 16384 else 4
        packet = bytearray(size + count)
        packet[0] = first
        packet[1:count] = length(size)
        struct.pack_into("!H", packet, count, at)
        end = count + 2
    at += end
    packet[end:at] = topic
    if qos:
        struct.pack_into("!H", packet, at, pid)
        at += 2
    packet[at:] = msg
    return packet
