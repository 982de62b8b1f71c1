"""A wire with faults between a program and its server: delays, cuts, garbage, silence, set while it runs."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

Direction = Literal["up", "down"]
_CHUNK = 16384
_MOST_WAITING = 1 << 20  # bytes that are delayed in one direction of one connection
_CALL_S = 10
_APPLICATION = 23  # TLS record of application data, RFC 5246 section 6.2.1
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s


@dataclass(frozen=True)
class Faults:
    """What happens to the bytes of one direction.

    Offsets count, in each connection, from when the faults were set or the connection began, whichever was later.

    delay_ms, jitter_ms: each piece arrives so much later, and up to jitter_ms later still; order is kept.
    bytes_per_s: bandwidth; 0 is unlimited.
    blackhole: what arrives vanishes, also the end of the connection, and nobody is told; both sockets stay open.
        When the blackhole is taken away, connections that have lost bytes are reset.
    cut_after: the connection is closed, both ways, after so many bytes.
    cut_at_application: it is closed before this TLS record of application data, counted from 0 at the start of the
        connection: a broker that throws out as soon as the handshake is done (0), or its first answer given (1).
    reset: such a cut is a TCP reset and not an orderly end.
    garbage_at: offset of `garbage`, which is inserted there; where that is empty, the byte there is inverted.
    """

    delay_ms: float = 0
    jitter_ms: float = 0
    bytes_per_s: int = 0
    blackhole: bool = False
    cut_after: int | None = None
    cut_at_application: int | None = None
    reset: bool = False
    garbage_at: int | None = None
    garbage: bytes = b""


class _Records:
    """Follows TLS records, to find those of application data."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self._count = 0

    def find(self, data: bytes, number: int | None) -> int | None:
        """Offset in `data` where application record `number` or a later one begins, or None. To be given all data."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            piece = data[at : at + 5 - len(self._header)]
            if not self._header and piece[0] == _APPLICATION:
                if number is not None and self._count >= number:
                    return at
                self._count += 1
            self._header += piece
            at += len(piece)
            if len(self._header) == 5:
                self._left = int.from_bytes(self._header[3:5], "big")
                self._header = b""
        return None


class _Link:
    """One connection through the wire."""

    def __init__(self, wire: "Wire", near: socket.socket, far: socket.socket) -> None:
        self.wire = wire
        self.sockets = (near, far)
        self.tasks: list[asyncio.Task[None]] = []
        self.lost = False
        self.ended = 0

    def start(self) -> None:
        near, far = self.sockets
        for direction, source, sink in (("up", near, far), ("down", far, near)):
            lane = _Lane(self, direction, source, sink)  # type: ignore[arg-type]
            self.tasks += [asyncio.create_task(lane.read()), asyncio.create_task(lane.write())]

    def close(self, reset: bool = False) -> None:
        """Close both sockets and end the tasks; may be called by one of them."""
        if self not in self.wire._links:
            return
        self.wire._forget(self)
        current = asyncio.current_task()
        for task in self.tasks:
            if task is not current:
                task.cancel()
        for one in self.sockets:
            _close(one, reset)


class _Lane:
    """One direction of a connection: a reader that stamps each piece with its time, and a writer with the faults."""

    def __init__(self, link: _Link, direction: Direction, source: socket.socket, sink: socket.socket) -> None:
        self.link, self.wire, self.direction = link, link.wire, direction
        self.source, self.sink = source, sink
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.due = 0.0
        self.moved = asyncio.Event()  # a piece came or went
        self.passed = 0  # bytes since the faults were set
        self.seen: Faults | None = None
        self.records = _Records()

    def faults(self) -> Faults:
        now = self.wire._faults[self.direction]
        if now is not self.seen:
            if self.seen is not None:
                self.passed = 0
            self.seen = now
        return now

    async def read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(self.source, _CHUNK)
            except OSError:
                self.link.close(reset=True)
                return
            f = self.faults()
            wait = (f.delay_ms + self.wire._random.random() * f.jitter_ms) / 1000
            self.due = max(self.due, time.monotonic() + wait)
            self.waiting.append((self.due, data))
            self.size += len(data)
            self.moved.set()
            if not data:
                return
            while self.size > _MOST_WAITING:
                self.moved.clear()
                await self.moved.wait()

    async def write(self) -> None:
        while True:
            while not self.waiting:
                self.moved.clear()
                await self.moved.wait()
            due, data = self.waiting[0]
            pause = due - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            self.waiting.popleft()
            self.size -= len(data)
            self.moved.set()
            try:
                going_on = await (self._pass(data) if data else self._end())
            except OSError:
                self.link.close(reset=True)
                return
            if not going_on:
                return

    async def _end(self) -> bool:
        """The source has closed: so is the sink, when both have, or when the blackhole is gone."""
        while self.faults().blackhole:
            self.link.lost = True
            await self.wire._next_change()
        self.link.ended += 1
        if self.link.ended == 2:
            self.link.close()
        else:
            self.sink.shutdown(socket.SHUT_WR)
        return False

    async def _pass(self, data: bytes) -> bool:
        """Forward a piece with the faults of the moment; whether the connection is still there."""
        while data:
            f = self.faults()
            if f.blackhole:
                self.link.lost = True
                return True
            rate = f.bytes_per_s
            piece = data[: max(1, rate // 50)] if rate else data
            data = data[len(piece) :]
            cut = self.records.find(piece, f.cut_at_application)
            if f.cut_after is not None and self.passed + len(piece) >= f.cut_after:
                cut = min(len(piece) if cut is None else cut, max(0, f.cut_after - self.passed))
            piece = piece if cut is None else piece[:cut]
            at = -1 if f.garbage_at is None else f.garbage_at - self.passed
            sent = piece
            if 0 <= at < len(piece):
                middle = f.garbage + piece[at : at + 1] if f.garbage else bytes([piece[at] ^ 0xFF])
                sent = piece[:at] + middle + piece[at + 1 :]
            if sent:
                await asyncio.get_running_loop().sock_sendall(self.sink, sent)
                self.passed += len(piece)
                self.wire._count(self.direction, len(sent))
            if cut is not None:
                self.link.close(f.reset)
                return False
            if rate:
                await asyncio.sleep(len(sent) / rate)
        return True


def _close(one: socket.socket, reset: bool = False) -> None:
    with contextlib.suppress(OSError):
        if reset:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.close()


class Wire:
    """A TCP proxy on 127.0.0.1 with faults. A context manager; every method may be called from any thread.

    Args: target: port on 127.0.0.1 that it leads to; `wire.target = port` leads new connections elsewhere.
    seed: of the jitter.

    `wire.port` is where the program connects to. `wire.up` (from the program) and `wire.down` (to it) are the Faults of
    each direction, which act on open connections too. `up_bytes` and `down_bytes` count what was forwarded, `accepted`
    holds the time of each connection by time.monotonic(), `open` is how many are open now.
    """

    def __init__(self, target: int, *, seed: int = 0) -> None:
        self.target = target
        self.port = 0
        self.accepted: list[float] = []
        self.open = 0
        self.up_bytes = self.down_bytes = 0
        self._faults: dict[Direction, Faults] = {"up": Faults(), "down": Faults()}
        self._random = random.Random(seed)  # noqa: S311
        self._links: set[_Link] = set()
        self._told = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._dialling: set[asyncio.Task[None]] = set()
        self._resets = False  # how those are ended that are still being connected
        self._changed = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._call(self._open())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._call(self._shut())
        self._call(self._close_all(False))
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_S)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)

    # What a test does to it.

    @property
    def up(self) -> Faults:
        """Faults from the program to the server."""
        return self._faults["up"]

    @up.setter
    def up(self, faults: Faults) -> None:
        self.set(up=faults)

    @property
    def down(self) -> Faults:
        """Faults from the server to the program."""
        return self._faults["down"]

    @down.setter
    def down(self, faults: Faults) -> None:
        self.set(down=faults)

    def set(self, *, up: Faults | None = None, down: Faults | None = None) -> None:
        """Set the faults of one direction or, at the same moment, of both."""
        self._call(self._set(up, down))

    def blackhole(self) -> None:
        """Both directions vanish: the connection is half-open at both ends, and new ones lead nowhere."""
        self.set(up=Faults(blackhole=True), down=Faults(blackhole=True))

    def heal(self) -> None:
        """Take all faults away and accept connections."""
        self.set(up=Faults(), down=Faults())
        self.accept()

    def refuse(self) -> None:
        """Close the listener: new connections are refused by TCP. Open ones stay."""
        self._call(self._shut())

    def accept(self) -> None:
        """Listen again, at the same port."""
        self._call(self._open())

    def cut(self, reset: bool = False) -> None:
        """End every open connection now. reset: by TCP resets."""
        self._call(self._close_all(reset))

    def wait(self, condition: Callable[["Wire"], bool], timeout_s: float = 10) -> None:
        """Wait until something is so; looked at whenever a connection or bytes came or went.

        Args: condition: a function of this wire. timeout_s: how long. Raises: TimeoutError.
        """
        with self._told:
            if not self._told.wait_for(lambda: condition(self), timeout_s):
                raise TimeoutError(f"{len(self.accepted)} connections so far, {self.open} open")

    def wait_connection(self, number: int, timeout_s: float = 10) -> float:
        """Wait for the number-th connection, counted from 1, at most timeout_s.

        Returns its time.monotonic(). Raises: TimeoutError.
        """
        self.wait(lambda wire: len(wire.accepted) >= number, timeout_s)
        return self.accepted[number - 1]

    # In the thread of the loop.

    async def _open(self) -> None:
        if self._listener is not None:
            return
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen(1024)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener))

    async def _shut(self) -> None:
        if self._accepting is not None and self._listener is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._listener.close()
        self._listener = self._accepting = None

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = await self._loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(0.01)  # no descriptors left, or a client that was gone already
                continue
            with self._told:
                self.accepted.append(time.monotonic())
                self.open += 1
                self._told.notify_all()
            task = asyncio.create_task(self._dial(near))
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)

    async def _dial(self, near: socket.socket) -> None:
        far = socket.socket()
        try:
            for one in (near, far):
                one.setblocking(False)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(far, ("127.0.0.1", self.target))
        except BaseException as e:
            _close(near, reset=self._resets if isinstance(e, asyncio.CancelledError) else True)
            far.close()
            self._closed()
            if not isinstance(e, OSError):
                raise
            return
        link = _Link(self, near, far)
        self._links.add(link)
        link.start()
        if self.down.cut_after == 0 or self.up.cut_after == 0:
            link.close(self.down.reset or self.up.reset)

    async def _close_all(self, reset: bool) -> None:
        self._resets = reset
        await asyncio.sleep(0)  # a task that has not begun could not clean up
        for task in list(self._dialling):
            task.cancel()
        tasks = [task for link in self._links for task in link.tasks] + list(self._dialling)
        for link in list(self._links):
            link.close(reset)
        if tasks:
            await asyncio.wait(tasks)

    async def _set(self, up: Faults | None, down: Faults | None) -> None:
        before = dict(self._faults)
        # A copy each time: what is set again counts again.
        if up is not None:
            self._faults["up"] = Faults(**vars(up))
        if down is not None:
            self._faults["down"] = Faults(**vars(down))
        for link in list(self._links):
            if link.lost and not any(f.blackhole for f in self._faults.values()):
                link.close(reset=True)
        if before != self._faults:
            self._changed.set()
            self._changed = asyncio.Event()

    async def _next_change(self) -> None:
        await self._changed.wait()

    def _forget(self, link: _Link) -> None:
        self._links.discard(link)
        self._closed()

    def _closed(self) -> None:
        with self._told:
            self.open -= 1
            self._told.notify_all()

    def _count(self, direction: Direction, size: int) -> None:
        with self._told:
            if direction == "up":
                self.up_bytes += size
            else:
                self.down_bytes += size
            self._told.notify_all()
