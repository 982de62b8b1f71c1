"""Captures a TLS conversation on this machine: packets for Wireshark, and each message in words."""

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tools import ca, certs, deploy, tshark
from host_tools.broker import Broker
from host_tools.failure import Exit, Failure
from host_tools.packets import PacketFile
from host_tools.paths import BUILD
from host_tools.recorder import Recorder
from host_tools.safe_write import PRIVATE, File, make_directory, write_all
from host_tools.sim.board import VirtualBoard

OUT = BUILD / "capture"
DEVICE = "pico-capture"
TOPIC = f"rootlet/{DEVICE}/chip"
_LIMIT = 256 * 1024 * 1024
_MQTT_PORT = 8883
_BOARD = "pico_w"
_SCRIPT = Path(__file__).parent / "sim" / "capture_mqtt.py"
_MOST_NAMED = 20  # MQTT packets
_LAST_WORDS_S = 5  # for the server to close after the client has ended

Say = Callable[[str], None]


@dataclass(frozen=True)
class Capture:
    """What was captured. key_log: None where there is none. port: the server's, as in the file."""

    packets: Path
    key_log: Path | None
    port: int


def place(text: str) -> tuple[str, int]:
    """A server on this machine from HOST:PORT. Raises Failure for any other machine, without looking its name up."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]").lower()
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536 or not host:
        raise Failure("that is no server", f"{text!r} is not HOST:PORT", "--server localhost:8883", Exit.USAGE)
    if host == "localhost" or host.endswith(".localhost"):
        return "localhost", int(port)
    if not _is_loopback(host):
        raise Failure(
            "only a server on this machine can be captured",
            f"{host} is not a loopback address: what others say to each other is theirs",
            "run rootlet capture on the server's machine, with --server 127.0.0.1:PORT",
            Exit.USAGE,
        )
    return host, int(port)


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _packet_file(out: Path) -> tuple[Path, PacketFile]:
    """A new packet file; one of an earlier capture is replaced."""
    path = out / "capture.pcapng"
    make_directory(out)
    try:
        path.unlink(missing_ok=True)
        return path, PacketFile(path.open("xb"), _LIMIT)
    except OSError as e:
        raise Failure(f"cannot write {path}", e.strerror or str(e), "another --out") from None


def demo(say: Say, out: Path = OUT) -> Capture:
    """The virtual board publishes one reading to a broker by mutual TLS, and it is captured.

    Args: say: takes each line. out: folder for capture.pcapng and keys.log, which are replaced.
    Raises: Failure.
    """
    make_directory(out)
    key_log = out / "keys.log"
    # There before the broker opens it, so that it is private from its first byte on.
    write_all([File(key_log, b"", PRIVATE)], force=True, keep_backup=False)
    path, packets = _packet_file(out)
    with tempfile.TemporaryDirectory(prefix="rootlet-capture-") as temporary, packets:
        folder = Path(temporary)
        authority = ca.init(folder / "ca", subject="/O=Rootlet capture/CN=Throw-away CA")
        server = authority.issue_server(["localhost"], ips=["127.0.0.1"])
        device = authority.issue_device(DEVICE)
        roots = certs.embed([authority.cert_pem], folder / "trust_roots.py")
        files = folder / "board"
        deploy.stage(files, board=_BOARD, trust=roots.compiled, cert=device.cert_der, key=device.key_der)
        for started in ("boot.py", "main.py"):
            (files / started).unlink()
        with Broker(
            server.cert_pem, server.key_pem, authority.cert_pem, workdir=folder, engine="amqtt", key_log=key_log
        ) as broker:
            say("a virtual Pico W publishes one reading to amqtt by mutual TLS")
            with Recorder(packets, ("127.0.0.1", broker.port), say, shown_port=_MQTT_PORT) as recorder:
                (files / "capture.json").write_text(json.dumps(_job(recorder.port)))
                with VirtualBoard(files, board=_BOARD) as board:
                    output = deploy.run_on_board(board.port, _SCRIPT, timeout_s=60)
                recorder.wait_idle(_LAST_WORDS_S)
    if "published" not in output:
        last = (output.strip().splitlines() or ["it said nothing"])[-1]
        raise Failure("the virtual board did not publish", last, "rootlet capture --debug")
    return Capture(path, key_log, _MQTT_PORT)


def _job(port: int) -> dict[str, Any]:
    now = int(time.time())
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    reading = {"device": DEVICE, "sensor": "chip", "quantity": "temperature", "value": 24.5, "unit": "Cel"}
    reading |= {"time": when, "seq": 1}
    return {"device": DEVICE, "host": "localhost", "port": port, "now": now, "topic": TOPIC, "reading": reading}


def client(
    say: Say,
    command: list[str],
    server: str,
    *,
    port: int = 0,
    out: Path = OUT,
    key_log: Path | None = None,
    timeout_s: float = 600,
) -> Capture:
    """Run a client against a server on this machine and capture what they say, until the client ends.

    Args:
        say: takes each line. command: the client and its arguments; "{port}" in them becomes the proxy's port.
        server: HOST:PORT, loopback only. port: of the proxy, on 127.0.0.1; 0 takes a free one.
        out: folder for capture.pcapng, which is replaced. key_log: what the server or the client writes, if one does.
        timeout_s: after this the client is ended.
    Raises: Failure, also where the client never connected.
    """
    where = place(server)
    path, packets = _packet_file(out)
    with packets, Recorder(packets, where, say, port=port) as recorder:
        say(f"127.0.0.1:{recorder.port} passes on to {server}; the client: {command[0]}")
        ended = _run([part.replace("{port}", str(recorder.port)) for part in command], timeout_s)
        recorder.wait_idle(_LAST_WORDS_S)
        say(f"the client ended {ended}")
        connections = recorder.connections
    if not connections:
        raise Failure(
            "nothing was captured",
            f"the client made no connection to 127.0.0.1:{recorder.port}",
            "give the client that address; {port} in its command becomes the port",
        )
    if key_log and not key_log.is_file():
        raise Failure(
            f"there is no key log {key_log}", "neither the server nor the client has made it", "see docs/capture.md"
        )
    return Capture(path, key_log, where[1])


def _run(command: list[str], timeout_s: float) -> str:
    """Run the client to its end; how it ended, in words."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as e:
        raise Failure(
            f"cannot run {command[0]}", e.strerror or str(e), "rootlet capture … -- COMMAND ARGUMENTS", Exit.USAGE
        ) from None
    try:
        code = process.wait(timeout_s)
        return f"with exit code {code}" if code >= 0 else f"by signal {-code}"
    except subprocess.TimeoutExpired:
        return f"because {timeout_s:g} s were over"
    except KeyboardInterrupt:
        # The terminal tells the client too; what was captured until here is worth the report.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LAST_WORDS_S)
        return "by Ctrl-C"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def report(say: Say, capture: Capture, *, decrypt: bool = False, protocol: str = "mqtt") -> None:
    """Say what was made and how to read it; with `decrypt`, what tshark finds inside.

    Raises: Failure where tshark is absent, or has the key log and cannot decrypt.
    """
    say(f"{capture.packets}: the packets")
    if capture.key_log is None:
        say("no key log: what is encrypted stays so. With one of the server or the client: --keylog FILE")
    else:
        say(f"{capture.key_log}: the keys; whoever has both files reads everything that was said: keep it private")
        say(f"  wireshark -o tls.keylog_file:{capture.key_log} {capture.packets}")
    if not decrypt:
        return
    where = (capture.packets, capture.key_log, capture.port)
    packets = tshark.mqtt_packets(*where) if protocol == "mqtt" else []
    lines = tshark.contents(*where, protocol)
    if not lines and not packets:
        because = "there is no key log" if capture.key_log is None else "its key log does not fit, or holds no keys yet"
        raise Failure(
            "tshark finds nothing inside the TLS", because, "--keylog FILE, or the other --protocol (mqtt, http)"
        )
    say("tshark, with the keys, reads:")
    if packets:
        shown = ", ".join(f"{sender} {name}" for sender, name in packets[:_MOST_NAMED])
        say(f"  {shown}{'' if len(packets) <= _MOST_NAMED else f' and {len(packets) - _MOST_NAMED} more'}")
    for line in lines:
        say(f"  {line}")
    for sender, number in tshark.alerts(*where, protocol):
        say(f"  the {sender}'s alert: {alert_words(number)}")


def alert_words(number: str) -> str:
    """The words for an alert's number as tshark gives it."""
    from host_tools.tls_words import ALERTS

    return ALERTS.get(int(number), f"number {number}") if number.isdigit() else number
