"""Measures brokers on this machine: memory for each idle connection, messages a second, and what a handshake costs."""

import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from host_tools import ca, limits
from host_tools.broker import Broker
from host_tools.engines import table
from host_tools.failure import Failure

STEPS = (0, 500, 1000)
_WINDOW = 100
_SENDERS = 4
_SENDING_S = 2.0
_PAYLOAD = b"x" * 64
_SETTLE_S = 1.0


@dataclass(frozen=True)
class Load:
    """What a broker took. resident: connections to bytes of its processes; messages: acknowledged a second, QoS 1."""

    engine: str
    resident: dict[int, int]
    messages: float

    @property
    def each(self) -> float:
        """Bytes for each idle connection, between the least and the most connections."""
        least, most = min(self.resident), max(self.resident)
        return (self.resident[most] - self.resident[least]) / (most - least)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and all below it, in bytes (Linux)."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(after[1]), []).append(int(entry.parent.name))
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        waiting += parents.get(one, [])
        try:
            pages = int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except OSError:
            continue
        total += pages * os.sysconf("SC_PAGE_SIZE")
    return total


def _length(count: int) -> bytes:
    out = bytearray()
    while True:
        count, low = count >> 7, count & 127
        out.append(low | (128 if count else 0))
        if not count:
            return bytes(out)


def _packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + _length(len(body)) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _connect(context: ssl.SSLContext, port: int, name: str) -> ssl.SSLSocket:
    """A connection with an MQTT 3.1.1 session and no keepalive. Raises Failure."""
    try:
        raw = socket.create_connection(("localhost", port), timeout=30)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = context.wrap_socket(raw, server_hostname="localhost")
        stream.sendall(_packet(0x10, _text("MQTT") + b"\x04\x02\x00\x00" + _text(name)))
        answer = stream.recv(4)
    except OSError as error:
        raise Failure(f"connection {name} failed", str(error), "rootlet bench --brokers --debug") from None
    if answer != b"\x20\x02\x00\x00":
        raise Failure(f"connection {name} was refused", f"CONNACK {answer.hex()}", "rootlet bench --brokers --debug")
    return stream


def _send(stream: ssl.SSLSocket, device: str, until: float, counted: list[int]) -> None:
    """Publish with QoS 1, a window at a time, until then; adds how many were acknowledged."""
    topic = _text(f"rootlet/{device}/bench")
    window = b"".join(_packet(0x32, topic + i.to_bytes(2, "big") + _PAYLOAD) for i in range(1, _WINDOW + 1))
    done = 0
    while time.monotonic() < until:
        stream.sendall(window)
        missing = 4 * _WINDOW  # a PUBACK has 4 bytes
        while missing:
            got = len(stream.recv(missing))
            if not got:
                raise Failure("the broker ended a connection", "while messages were sent", "see its log.txt")
            missing -= got
        done += _WINDOW
    counted.append(done)


def load(engine: str, folder: Path, steps: tuple[int, ...] = STEPS) -> Load:
    """Measure one broker. Args: folder: for its files. steps: idle connections, ascending. Raises Failure."""
    limits.raise_files()
    authority = ca.init(folder / "ca", subject="/CN=Bench CA")
    server, device = authority.issue_server(["localhost"]), authority.issue_device("bench")
    context = ssl.create_default_context(cafile=str(authority.cert_pem))
    context.load_cert_chain(device.cert_pem, device.key_pem)
    files = (server.cert_pem, server.key_pem, authority.cert_pem)
    # One identity for all: an operator, since a device may have few connections at some brokers.
    options = {"engine": engine, "devices": ["bench"], "observers": (), "operators": ["bench"]}
    with Broker(*files, workdir=folder, **options) as broker, ExitStack() as stack:  # type: ignore[arg-type]
        resident: dict[int, int] = {}
        with ExitStack() as idle:
            for step in steps:
                for i in range(max(resident, default=0), step):
                    idle.enter_context(_connect(context, broker.port, f"idle-{i}"))
                time.sleep(_SETTLE_S)  # memory of handshakes is given back a moment later, and nothing tells when
                resident[step] = resident_bytes(broker.pid)
        streams = [stack.enter_context(_connect(context, broker.port, f"send-{i}")) for i in range(_SENDERS)]
        counted: list[int] = []
        began = time.monotonic()
        senders = [
            threading.Thread(target=_send, args=(stream, "bench", began + _SENDING_S, counted)) for stream in streams
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        return Load(engine, resident, sum(counted) / (time.monotonic() - began))


def handshakes(kind: str, version: ssl.TLSVersion, folder: Path, rounds: int = 200) -> float:
    """Mutual TLS handshakes that one core can serve in a second, counted in CPU time of the server's side alone.

    Args: kind: key type of the CA, the server and the device, of x509_build.KEY_TYPES.
    """
    authority = ca.init(folder / f"ca-{kind}-{version.name}", subject=f"/CN=Bench {kind}", key_type=kind)
    server = authority.issue_server(["localhost"], key_type=kind)
    device = authority.issue_device("bench", key_type=kind)
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, me in ((ours, server), (theirs, device)):
        context.load_cert_chain(me.cert_pem, me.key_pem)
        context.load_verify_locations(authority.cert_pem)
        context.minimum_version = context.maximum_version = version
    ours.verify_mode = ssl.CERT_REQUIRED
    ours.options |= ssl.OP_NO_TICKET  # the boards resume nothing
    spent = 0.0
    for _ in range(rounds):
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = {False: theirs.wrap_bio(down, up, server_hostname="localhost"), True: ours.wrap_bio(up, down, True)}
        left = {False, True}
        while left:
            for serving in (False, True):
                if serving not in left:
                    continue
                began = time.thread_time()
                try:
                    ends[serving].do_handshake()
                    left.discard(serving)
                except ssl.SSLWantReadError:
                    pass
                if serving:
                    spent += time.thread_time() - began
    return rounds / spent


def run(say: Callable[[str], None], engines: list[str] | None = None) -> list[Load]:
    """Measure all installed brokers and say each figure. Args: say: takes each line."""
    names = [table.choose(name).NAME for name in engines or ()]  # refused before anything is measured
    names = names or [name for name in table.NAMES if table.engine(name).find()]
    with tempfile.TemporaryDirectory(prefix="rootlet-bench-") as folder:
        say("full mutual handshakes a second and core, the server's side alone (OpenSSL by Python):")
        for kind in ("p256", "rsa2048"):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                say(f"  {kind:<8} {version.name:<8} {handshakes(kind, version, Path(folder)):8.0f}")
        say("memory of the broker with idle connections (mutual TLS), and QoS 1 messages of 64 bytes by four senders:")
        found = []
        for name in names:
            place = Path(folder) / name
            place.mkdir()
            found.append(load(name, place))
            sizes = ", ".join(f"{step}: {size / 1e6:.1f} MB" for step, size in found[-1].resident.items())
            say(f"  {name:<10} {sizes}; {found[-1].each / 1e3:.1f} KB each; {found[-1].messages:.0f} messages/s")
        return found
