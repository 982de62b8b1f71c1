"""The wire with faults: each fault does what it says, to open connections and to new ones."""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from host_tools.chaos import Faults, Wire


class Echo:
    """Sends back what it gets; `greeting` first."""

    def __init__(self, greeting: bytes = b"") -> None:
        self.greeting = greeting
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(conn,), daemon=True).start()

    def _echo(self, conn: socket.socket) -> None:
        with conn, contextlib.suppress(OSError):
            conn.sendall(self.greeting)
            while data := conn.recv(65536):
                conn.sendall(data)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def wire(echo: Echo) -> Iterator[Wire]:
    with Wire(echo.port) as wire:
        yield wire


def dial(wire: Wire) -> socket.socket:
    return socket.create_connection(("127.0.0.1", wire.port), timeout=5)


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            break
        data += piece
    return data


def test_bytes_pass_and_are_counted(wire: Wire) -> None:
    data = random.Random(1).randbytes(300_000)
    before = time.monotonic()
    with dial(wire) as sock:
        threading.Thread(target=sock.sendall, args=(data,), daemon=True).start()
        assert exactly(sock, len(data)) == data
        assert wire.open == 1
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    assert (wire.up_bytes, wire.down_bytes) == (len(data), len(data))
    assert before < wire.wait_connection(1) < time.monotonic()
    wire.wait(lambda w: w.open == 0)


def test_hundreds_of_connections(wire: Wire) -> None:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(dial(wire)) for _ in range(200)]
        wire.wait(lambda w: w.open == 200)
        for i, sock in enumerate(socks):
            sock.sendall(b"%4d" % i)
        assert [int(exactly(sock, 4)) for sock in socks] == list(range(200))
    wire.wait(lambda w: w.open == 0)
    assert len(wire.accepted) == 200


def test_delay_of_an_open_connection_keeps_order(wire: Wire) -> None:
    with dial(wire) as sock:
        sock.sendall(b"a")
        assert exactly(sock, 1) == b"a"
        wire.down = Faults(delay_ms=80, jitter_ms=60)
        began = time.monotonic()
        for i in range(20):
            sock.sendall(bytes([i]))
        assert exactly(sock, 20) == bytes(range(20))
        assert 0.08 <= time.monotonic() - began < 1
        wire.heal()
        began = time.monotonic()
        sock.sendall(b"b")
        assert exactly(sock, 1) == b"b"
        assert time.monotonic() - began < 0.08


def test_bandwidth(wire: Wire) -> None:
    wire.up = Faults(bytes_per_s=20_000)
    with dial(wire) as sock:
        began = time.monotonic()
        sock.sendall(bytes(8000))
        assert len(exactly(sock, 8000)) == 8000
    assert 0.35 < time.monotonic() - began < 3


def test_blackhole_of_an_open_and_of_a_new_connection(wire: Wire) -> None:
    with dial(wire) as sock:
        sock.sendall(b"a")
        assert exactly(sock, 1) == b"a"
        wire.blackhole()
        sock.sendall(b"lost")
        with dial(wire) as other:
            other.sendall(b"lost")
            for one in (sock, other):
                one.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    one.recv(1)
        wire.wait(lambda w: len(w.accepted) == 2)
        assert wire.open == 2  # the end of `other` vanished too
        wire.heal()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    with dial(wire) as sock:
        sock.sendall(b"b")
        assert exactly(sock, 1) == b"b"


def test_only_one_direction_vanishes(wire: Wire) -> None:
    wire.down = Faults(blackhole=True)
    with dial(wire) as sock:
        sock.sendall(b"abc")
        wire.wait(lambda w: w.up_bytes == 3)
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
    assert wire.down_bytes == 0


def test_refuse_and_accept_again_at_the_same_port(wire: Wire) -> None:
    port = wire.port
    with dial(wire) as sock:
        wire.wait(lambda w: w.open == 1)
        wire.refuse()
        with pytest.raises(ConnectionRefusedError):
            dial(wire)
        sock.sendall(b"a")  # what is open stays
        assert exactly(sock, 1) == b"a"
    wire.accept()
    assert wire.port == port
    dial(wire).close()


@pytest.mark.parametrize("reset", [False, True])
def test_cut_now(reset: bool, wire: Wire) -> None:
    with dial(wire) as sock:
        wire.wait(lambda w: w.open == 1)
        wire.cut(reset)
        assert wire.open == 0
        if reset:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        else:
            assert sock.recv(1) == b""


@pytest.mark.parametrize("reset", [False, True])
def test_cut_after_bytes_counts_from_when_it_was_set(reset: bool, wire: Wire) -> None:
    with dial(wire) as sock:
        sock.sendall(b"12345")
        assert exactly(sock, 5) == b"12345"
        wire.up = Faults(cut_after=3, reset=reset)
        sock.sendall(b"abcdef")
        wire.wait(lambda w: w.open == 0)
        assert wire.up_bytes == 8
        with contextlib.suppress(ConnectionResetError):
            assert exactly(sock, 100) in (b"", b"abc") and not reset
    with dial(wire) as sock:
        sock.sendall(b"abcdef")
        wire.wait(lambda w: w.open == 0 and len(w.accepted) == 2)
        assert wire.up_bytes == 11


def test_accept_and_close_at_once(wire: Wire) -> None:
    wire.down = Faults(cut_after=0)
    with dial(wire) as sock:
        assert sock.recv(1) == b""
    assert (wire.up_bytes, wire.down_bytes) == (0, 0)


def test_closed_before_an_application_record() -> None:
    handshake = b"\x16\x03\x03\x00\x04abcd" + b"\x14\x03\x03\x00\x01\x17"
    answer = b"\x17\x03\x03\x00\x02hi"
    server = Echo(handshake + answer * 2)
    with Wire(server.port) as wire:
        for rate in (0, 50):  # in one piece, and byte by byte
            for number in (0, 1):
                wire.down = Faults(cut_at_application=number, bytes_per_s=rate)
                with dial(wire) as sock:
                    assert exactly(sock, 100) == handshake + answer * number
    server.close()


def test_garbage_is_inserted_or_a_byte_inverted(wire: Wire) -> None:
    with dial(wire) as sock:
        wire.down = Faults(garbage_at=2, garbage=b"XYZ")
        sock.sendall(b"abcd")
        assert exactly(sock, 7) == b"abXYZcd"
        wire.down = Faults(garbage_at=1)
        sock.sendall(b"abcd")
        assert exactly(sock, 4) == b"a\x9dcd"
        sock.sendall(b"abcd")  # once in a connection
        assert exactly(sock, 4) == b"abcd"


def test_another_target(wire: Wire) -> None:
    other = Echo(b"other")
    wire.target = other.port
    with dial(wire) as sock:
        assert exactly(sock, 5) == b"other"
    other.close()


def test_no_server_there(wire: Wire) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        wire.target = reserved.getsockname()[1]
        with pytest.raises(ConnectionResetError), dial(wire) as sock:
            sock.recv(1)
    assert len(wire.accepted) == 1


def test_waiting_has_an_end(wire: Wire) -> None:
    with pytest.raises(TimeoutError, match="0 connections so far"):
        wire.wait_connection(1, 0.05)
