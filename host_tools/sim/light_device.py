"""One simulated device: a light client on CPython that packs, waits and keeps by the firmware's own modules."""

import asyncio
import json
import resource
import socket
import ssl
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rootlet import __version__
from rootlet.backoff import Backoff
from rootlet.errors import RootletError
from rootlet.outbox import Outbox
from rootlet.packets import connect_packet, publish_packet
from rootlet.reading import reading

# As in the firmware's link.py.
TIMEOUT_S = 15
ACK_S = 15
STABLE_S = 60
_READ = 4096
_LONGEST = 16384
_MOST_SAMPLES = 50000
_CERT_CODES = {10: "CERT_EXPIRED", 9: "CERT_NOT_YET_VALID", 62: "CERT_NAME", 64: "CERT_NAME"}
_UNKNOWN_CA = (18, 19, 20, 21)


def _samples() -> "array[float]":
    return array("f")


@dataclass
class Counts:
    """What the devices of one process have done so far."""

    connected: int = 0
    made: int = 0
    published: int = 0
    again: int = 0
    acknowledged: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)  # by second of Unix time
    handshakes: "array[float]" = field(default_factory=_samples)  # seconds

    def snapshot(self) -> dict[str, Any]:
        """The numbers that change often."""
        return {
            "connected": self.connected,
            "made": self.made,
            "published": self.published,
            "again": self.again,
            "acknowledged": self.acknowledged,
            "attempts": self.attempts.total(),
            "failures": dict(self.failures),
            "handshakes": len(self.handshakes),
        }

    def details(self) -> dict[str, Any]:
        """Histogram, samples, and the memory of this process in bytes."""
        return {
            "histogram": sorted(self.attempts.items()),
            "handshake_s": list(self.handshakes),
            "memory": memory(),
        }


def memory() -> int:
    """The resident size of this process, bytes; where only its peak can be asked for, that."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def context(ca: Path, identity: Path) -> ssl.SSLContext:
    """What a board has: TLS 1.2, the one CA, its own certificate and key (both in the PEM file `identity`)."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.load_verify_locations(cafile=ca)
    made.load_cert_chain(identity)
    return made


class Link:
    """A verified TLS connection. asyncio's own TLS streams hold a buffer of 256 KB each; this holds none."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._buffer = bytearray()

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext) -> "Link":
        """Resolve, connect and shake hands, each within its time. Raises RootletError DNS, TCP*, TLS*, CERT*."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as e:
            raise RootletError("DNS", str(e)) from None
        failure = RootletError("DNS", "no address")
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await loop.sock_connect(sock, address)
            except TimeoutError:
                failure = RootletError("TCP_TIMEOUT", host)
            except ConnectionRefusedError:
                failure = RootletError("TCP_REFUSED", host)
            except OSError as e:
                failure = RootletError("TCP", str(e))
            else:
                return await cls._secure(sock, host, tls)
            sock.close()
        raise failure

    @classmethod
    async def _secure(cls, sock: socket.socket, host: str, tls: ssl.SSLContext) -> "Link":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            link = cls(tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False))
        except OSError as e:
            sock.close()
            raise RootletError("TLS_CLOSED", str(e)) from None
        link._loop.add_reader(link._sock.fileno(), link._ready.set)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await link._handshake()
        except BaseException as e:
            link.close()
            if isinstance(e, OSError):  # TimeoutError and ssl.SSLError are such
                raise _in_words(e) from None
            raise
        return link

    async def _handshake(self) -> None:
        while True:
            self._ready.clear()
            try:
                self._sock.do_handshake()  # type: ignore[attr-defined]
                return
            except ssl.SSLWantReadError:
                await self._ready.wait()
            except ssl.SSLWantWriteError:
                await self._writable()

    async def _writable(self) -> None:
        done = asyncio.Event()
        self._loop.add_writer(self._sock.fileno(), done.set)
        try:
            await done.wait()
        finally:
            self._loop.remove_writer(self._sock.fileno())

    async def send(self, packet: bytes | bytearray) -> None:
        """Write all of a packet. Raises RootletError MQTT_CLOSED, MQTT_TIMEOUT."""
        rest = memoryview(packet)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while rest:
                    try:
                        rest = rest[self._sock.send(rest) :]
                    except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                        await self._writable()
        except TimeoutError:
            raise RootletError("MQTT_TIMEOUT", "it takes nothing") from None
        except OSError as e:
            raise RootletError("MQTT_CLOSED", str(e)) from None

    def packet(self) -> tuple[int, bytes] | None:
        """The next whole packet as (first byte, body), or None. Raises RootletError MQTT_CLOSED, MQTT_PACKET."""
        self._ready.clear()
        found = take(self._buffer)
        if found is None:
            try:
                got = self._sock.recv(_READ)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return None
            except OSError as e:
                raise RootletError("MQTT_CLOSED", str(e)) from None
            if not got:
                raise RootletError("MQTT_CLOSED", "by the broker")
            self._buffer += got
            self._ready.set()  # there may be more than was read
            found = take(self._buffer)
        else:
            self._ready.set()
        return found

    async def wait(self, until: float) -> None:
        """Until something arrives, wake() is called, or the loop's clock says `until`."""
        alarm = self._loop.call_at(until, self._ready.set)
        try:
            await self._ready.wait()
        finally:
            alarm.cancel()

    def wake(self) -> None:
        """End a wait()."""
        self._ready.set()

    def close(self) -> None:
        """Close without a goodbye. May be called twice."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()


def _in_words(e: OSError) -> RootletError:
    if isinstance(e, TimeoutError):
        return RootletError("TLS_TIMEOUT", "no end of the handshake")
    if isinstance(e, ssl.SSLCertVerificationError):
        known = "CERT_UNKNOWN_CA" if e.verify_code in _UNKNOWN_CA else "TLS_FAILED"
        return RootletError(_CERT_CODES.get(e.verify_code, known), e.verify_message)
    if isinstance(e, ssl.SSLEOFError) or not isinstance(e, ssl.SSLError):
        return RootletError("TLS_CLOSED", str(e))
    return RootletError("TLS_REFUSED" if "ALERT" in str(e.reason) else "TLS_FAILED", str(e.reason))


def take(buffer: bytearray) -> tuple[int, bytes] | None:
    """Cut the first whole MQTT packet off (MQTT 3.1.1 section 2.2): (first byte, body), or None if it is not whole yet.

    Raises: RootletError MQTT_PACKET for a length of more than four bytes, MQTT_TOO_LARGE above 16 KB.
    """
    size = 0
    for i in range(1, 5):
        if i >= len(buffer):
            return None
        size |= (buffer[i] & 0x7F) << 7 * (i - 1)
        if not buffer[i] & 0x80:
            break
    else:
        raise RootletError("MQTT_PACKET", "length of more than four bytes")
    if size > _LONGEST:
        raise RootletError("MQTT_TOO_LARGE", f"{size} bytes received")
    end = i + 1 + size
    if len(buffer) < end:
        return None
    found = buffer[0], bytes(buffer[i + 1 : end])
    del buffer[:end]
    return found


def add(ranges: list[list[int]], number: int) -> None:
    """Put a number into a sorted list of [first, past the last]; almost always it prolongs the last one."""
    at = len(ranges)
    while at and ranges[at - 1][0] > number:
        at -= 1
    if at and number < ranges[at - 1][1]:
        return
    if at and ranges[at - 1][1] == number:
        ranges[at - 1][1] += 1
        if at < len(ranges) and ranges[at][0] == number + 1:
            ranges[at - 1][1] = ranges.pop(at)[1]
    elif at < len(ranges) and ranges[at][0] == number + 1:
        ranges[at][0] = number
    else:
        ranges.insert(at, [number, number + 1])


class Device:
    """A device that publishes a reading every so often, loses nothing it can keep, and comes back by itself.

    Args:
        name: id, also its MQTT client id. tls: see `context`; settings: a checked configuration of the firmware.
        counts: those of the process. every_s: seconds between readings. boot: number of this start.
        after_s: seconds until it is switched on. first: which of the settings' brokers it tries first.
    """

    def __init__(
        self,
        name: str,
        tls: ssl.SSLContext,
        settings: dict[str, Any],
        counts: Counts,
        *,
        every_s: float,
        boot: int,
        after_s: float,
        first: int = 0,
    ) -> None:
        self.name = name
        self.acked: list[list[int]] = []  # sequence numbers, as ranges
        self.made = 0
        self._after = after_s
        self._tls, self._counts, self._boot, self._every = tls, counts, boot, every_s
        mqtt = settings["mqtt"]
        self._mqtt = mqtt
        self._brokers = [(row["host"], row["port"]) for row in (mqtt, *mqtt["brokers"])]
        self._at = first % len(self._brokers)
        self._keepalive = mqtt["keepalive_s"]
        topic = mqtt["topic"].replace("{device}", name)
        self._status, self._topic = topic.replace("{sensor}", "status"), topic.replace("{sensor}", "chip")
        self._outbox = Outbox(mode="ram", full=settings["outbox"]["full"], window=mqtt["window"])
        self._inflight: dict[int, int | None] = {}  # packet id -> number in the outbox; None: not from there
        self._pid = 0
        self._due = 0.0
        self._ending = False
        self._link: Link | None = None

    @property
    def waiting(self) -> int:
        """Readings not acknowledged."""
        return len(self._outbox)

    @property
    def dropped(self) -> int:
        """Readings the outbox had no room for."""
        return int(self._outbox.dropped)

    def end(self) -> None:
        """No more readings; run() returns when all of them are acknowledged."""
        self._ending = True
        if self._link:
            self._link.wake()

    async def run(self) -> None:
        """Work until end() has been called and nothing is left to be sent."""
        await asyncio.sleep(self._after)
        loop = asyncio.get_running_loop()
        backoff = Backoff(int(self._mqtt["retry_first_s"] * 1000), int(self._mqtt["retry_longest_s"] * 1000))
        self._due = loop.time() + self._every
        while not (self._ending and not self.waiting):
            connected = None
            try:
                self._counts.attempts[int(time.time())] += 1
                self._link = await self._connect()
                connected = loop.time()
                self._counts.connected += 1
                await self._serve(self._link)
                return
            except RootletError as e:
                self._counts.failures[e.code] += 1
                if connected is not None and loop.time() - connected > STABLE_S:
                    backoff.stable()
                if connected is None:
                    self._at = (self._at + 1) % len(self._brokers)
                pause = backoff.failed(e.code) / 1000
            finally:
                if connected is not None:
                    self._counts.connected -= 1
                if self._link:
                    self._link.close()
                    self._link = None
            await asyncio.sleep(pause)
            self._sense(loop.time())

    async def _connect(self) -> Link:
        began = time.perf_counter()
        link = await Link.open(*self._brokers[self._at], self._tls)
        if len(self._counts.handshakes) < _MOST_SAMPLES:
            self._counts.handshakes.append(time.perf_counter() - began)
        will = (self._status, '{"status": "offline"}', True, 1)
        try:
            await link.send(connect_packet(self.name, None, None, self._keepalive, will, True))
            until = asyncio.get_running_loop().time() + TIMEOUT_S
            while (answer := link.packet()) is None:
                if asyncio.get_running_loop().time() >= until:
                    raise RootletError("MQTT_TIMEOUT", "no CONNACK")
                await link.wait(until)
            if answer[0] != 0x20 or len(answer[1]) != 2:
                raise RootletError("MQTT_PACKET", "no CONNACK")
            if answer[1][1]:
                raise RootletError("MQTT_UNAVAILABLE" if answer[1][1] == 3 else "MQTT_REFUSED", str(answer[1][1]))
            self._inflight.clear()
            self._outbox.rewind()
            birth = {"status": "online", "device": self.name, "version": __version__, "boots": self._boot,
                     "simulated": True}  # fmt: skip
            await self._publish(link, self._status, json.dumps(birth).encode(), None, retain=True)
        except BaseException:
            link.close()
            raise
        return link

    async def _publish(
        self, link: Link, topic: str | bytes, payload: bytes, number: int | None, *, retain: bool = False,
        again: bool = False,
    ) -> None:  # fmt: skip
        self._pid = self._pid % 65535 + 1
        while self._pid in self._inflight:
            self._pid = self._pid % 65535 + 1
        self._inflight[self._pid] = number
        topic = topic.encode() if isinstance(topic, str) else topic
        await link.send(publish_packet(topic, payload, retain, 1, self._pid, again))

    def _sense(self, now: float) -> None:
        """Make the readings that have become due; each has the time at which it was due."""
        while not self._ending and self._due <= now:
            seconds = int(time.time() - (now - self._due))
            value = 20 + (self.made % 100) / 10
            text = reading(self.name, "chip", "temperature", value, "Cel", seconds, self._boot, self.made)
            self._outbox.put(self._topic, text)
            self.made += 1
            self._counts.made += 1
            self._due += self._every

    def _received(self, first: int, body: bytes) -> None:
        if first == 0x40 and len(body) == 2:
            pid = int.from_bytes(body)
            if pid not in self._inflight:
                return
            number = self._inflight.pop(pid)
            if number is not None:
                self._outbox.acked(number)
                add(self.acked, number)  # the outbox holds nothing but readings: its numbers are theirs
                self._counts.acknowledged += 1
        elif first >> 4 not in (3, 13):  # a device subscribes to nothing; what is sent all the same is let go
            raise RootletError("MQTT_PACKET", f"type 0x{first:02x}")

    async def _serve(self, link: Link) -> None:
        """Publish readings as they come; returns when end() was called and all is done. Raises RootletError."""
        clock = asyncio.get_running_loop().time
        answer_s = min(ACK_S, self._keepalive * 0.75)
        heard = clock()
        due: float | None = heard  # when what was sent last without an answer was sent: the birth message
        while True:
            while (packet := link.packet()) is not None:
                heard = clock()
                self._received(*packet)
                due = heard if self._inflight else None
            now = clock()
            self._sense(now)
            while len(self._inflight) < self._mqtt["window"] and (entry := self._outbox.next()) is not None:
                number, topic, payload, again = entry
                due = now if due is None else due
                self._counts.published += 1
                self._counts.again += again
                await self._publish(link, topic, payload, number, again=again)
            if due is not None and now >= due + answer_s:
                raise RootletError("MQTT_TIMEOUT", f"silent for {now - heard:.1f} s")
            if self._ending and not self.waiting and not self._inflight:
                await link.send(b"\xe0\0")
                return
            if due is None and now >= heard + self._keepalive / 2:
                due = now
                await link.send(b"\xc0\0")
            until = heard + self._keepalive / 2 if due is None else due + answer_s
            await link.wait(until if self._ending else min(until, self._due))
