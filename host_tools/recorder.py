"""A TCP proxy on loopback that writes down what passes: packets into a file, TLS messages as lines of English."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from host_tools.failure import Exit, Failure
from host_tools.packets import Connection, PacketFile
from host_tools.tls_words import Conversation, Line, Sender

_CHUNK = 16384
_MOST_CONNECTIONS = 64  # at a time
_CONNECT_TIMEOUT_S = 10

Say = Callable[[str], None]


class Recorder:
    """Listens on 127.0.0.1 and passes each connection on to the server; entering waits until it listens.

    Args:
        packets: where the packets go. server: host and port on this machine. say: takes each line, in a thread of ours.
        port: to listen on; 0 takes a free one. shown_port: the server's port as the file is to show it.
    Raises: Failure, on entering, where the port is taken; on leaving, where the file could not be written.
    """

    def __init__(
        self, packets: PacketFile, server: tuple[str, int], say: Say, *, port: int = 0, shown_port: int | None = None
    ) -> None:
        self._packets = packets
        self._server = server
        self._say = say
        self.port = port
        self.shown_port = shown_port or server[1]
        self.connections = 0
        self.messages = 0
        self._open = 0
        self._idle = threading.Event()
        self._idle.set()
        self._began: float | None = None
        self._failure: Failure | None = None
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="recorder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._listener = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except OSError as e:
            self._stop_loop()
            where = f"127.0.0.1:{self.port}"
            raise Failure(
                "the proxy cannot listen", f"{where}: {e.strerror}", "another --listen, or 0", Exit.USAGE
            ) from e
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._stop_loop()
        if self._failure and e is None:
            raise self._failure

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no connection is open; whether that came in time."""
        return self._idle.wait(timeout_s)

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _end(self) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= _MOST_CONNECTIONS:
            self._say(f"one more connection than {_MOST_CONNECTIONS} at a time: refused")
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (a coroutine of a server always runs in one)
        self._tasks.add(task)
        self._open += 1
        self._idle.clear()
        try:
            await self._serve(reader, writer)
        except OSError:
            pass  # one of the two has gone: the file and the lines tell
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        record = _Record(self, self._packets, self.connections, writer.get_extra_info("peername")[1])
        try:
            there = await asyncio.wait_for(asyncio.open_connection(*self._server), _CONNECT_TIMEOUT_S)
        except OSError as e:
            record.note(f"{self._server[0]}:{self._server[1]} accepts no connection ({e.strerror or e})")
            return
        try:
            # Both directions end by themselves; where one is reset, the other cannot go on.
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump("client", reader, there[1], record))
                group.create_task(_pump("server", there[0], writer, record))
        except* OSError:
            pass
        finally:
            there[1].transport.abort()
            record.end()

    def print(self, connection: int, lines: list[Line]) -> None:
        """Say lines, numbered through all connections."""
        for line in lines:
            self.messages += 1
            other = "server" if line.sender == "client" else "client"
            which = f"[{connection}] " if connection > 1 else ""
            self._say(f"{self.messages:3}  {line.seconds:7.3f} s  {line.sender} -> {other}  {which}{line.text}")

    def seconds(self) -> float:
        """Seconds since the first connection began."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        return now - self._began

    def write(self, action: Callable[[], None]) -> None:
        """Write to the file; where that fails the conversation goes on, and leaving tells."""
        if self._failure:
            return
        full = self._packets.full
        try:
            action()
        except OSError as e:
            self._failure = Failure(
                "the capture cannot be written", e.strerror or str(e), "free space, or another --out"
            )
        if self._packets.full and not full:
            self._say("the file has reached its limit: what follows is passed on, but not written down")


class _Record:
    """What is written down of one connection."""

    def __init__(self, recorder: Recorder, packets: PacketFile, number: int, client_port: int) -> None:
        self._recorder = recorder
        self._number = number
        self._words = Conversation()
        self._packets: Connection | None = None
        self._seconds = recorder.seconds()

        def begin() -> None:
            self._packets = Connection(packets, client_port, recorder.shown_port, time.time())

        recorder.write(begin)

    def data(self, sender: Sender, data: bytes) -> None:
        if packets := self._packets:
            self._recorder.write(lambda: packets.data(sender, data, time.time()))
        self._recorder.print(self._number, self._words.feed(sender, data, self._recorder.seconds()))

    def close(self, sender: Sender, *, reset: bool = False) -> None:
        if packets := self._packets:
            self._recorder.write(lambda: packets.end(sender, time.time(), reset=reset))
        if reset:
            self.note(f"the {sender} reset the TCP connection", sender)

    def note(self, text: str, sender: Sender = "server") -> None:
        self._recorder.print(self._number, [Line(self._recorder.seconds(), sender, text)])

    def end(self) -> None:
        self._recorder.print(self._number, self._words.end(self._recorder.seconds()))


async def _pump(sender: Sender, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: _Record) -> None:
    """Pass on one direction to its end; written down before it is passed on, so that causes come first."""
    while True:
        try:
            data = await reader.read(_CHUNK)
        except OSError:
            record.close(sender, reset=True)
            raise
        if not data:
            break
        record.data(sender, data)
        try:
            writer.write(data)
            await writer.drain()
        except OSError:
            return  # the other side has gone, which its own direction tells; it may have left a last word
    record.close(sender)
    with contextlib.suppress(OSError):
        writer.write_eof()
