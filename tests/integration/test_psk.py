"""TLS by a pre-shared key, on real MicroPython and on the virtual board, against a real Mosquitto.

CPython takes no part beyond being refused: its ssl has pre-shared keys since 3.13 only.
"""

import json
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tools import deploy, psk
from host_tools.broker import Broker, choose
from host_tools.failure import Exit, Failure
from host_tools.paths import FIRMWARE
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from tests.device_runner import command, run_job
from tests.integration import hostile
from tests.integration.conftest import Pki
from tests.integration.test_gateway import SCRIPT, observer, readings, settings


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for device in ("dev-1", "dev-2"):
        psk.new(device, folder)
    return folder


@pytest.fixture(scope="module")
def shared(pki: Pki, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Mosquitto with a listener for certificates and one for pre-shared keys."""
    try:
        choose("mosquitto")
    except Failure:
        pytest.skip("Mosquitto is not installed and could not be")
    folder = tmp_path_factory.mktemp("broker")
    cert, key, ca = pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem
    with Broker(cert, key, ca, workdir=folder, psk=keys) as running:
        yield running


def job(port: int, file: Path, steps: list[dict[str, Any]], identity: str = "dev-1", **extra: Any) -> dict[str, Any]:
    """A job of the device (see device.py) that connects by a shared key."""
    return {
        "roots": [],
        "clock": int(time.time()),
        "psk": {"identity": identity, "file": str(file)},
        "steps": [{"id": identity, "port": port, **step} for step in steps],
        **extra,
    }


def connect(port: int, file: Path, folder: Path, identity: str = "dev-1", **extra: Any) -> dict[str, Any]:
    (result,) = run_job("micropython", job(port, file, [{"do": "mqtt_connect"}], identity, **extra), folder)
    return result


def raw(keys: Path, device: str = "dev-1") -> Path:
    return keys / "psk" / f"{device}.psk"


def test_messages_arrive_and_only_where_the_identity_may_write(
    shared: Broker, pki: Pki, keys: Path, tmp_path: Path
) -> None:
    steps = [
        # What CONNECT claims does not count: the identity of the key is the user.
        {"do": "mqtt_connect", "user": "observer", "password": "x"},
        {"do": "publish", "topic": "rootlet/dev-2/stolen", "text": "not yours %d", "count": 1, "qos": 1},
        {"do": "publish", "topic": "rootlet/dev-1/own", "text": "reading %d", "count": 20, "qos": 1},
        {"do": "subscribe", "topic": "rootlet/dev-1/cmd/#", "qos": 1, "echo": "rootlet/dev-1/cmd/led", "count": 1},
        {"do": "disconnect"},
    ]
    with observer(pki, shared.port) as seen:
        results = run_job("micropython", job(shared.psk_port, raw(keys), steps), tmp_path)
        messages = seen.wait_for(21, 20)
    assert results[0]["session"] is False
    assert results[2]["acked"] == 20
    assert results[3]["got"] == [["rootlet/dev-1/cmd/led", "hello"]]
    assert [payload for topic, payload in messages if topic == "rootlet/dev-1/own"] == [
        b"reading %d" % i for i in range(20)
    ]
    assert not [topic for topic, _ in messages if "dev-2" in topic]


def test_a_device_reads_nothing_of_another(shared: Broker, keys: Path, tmp_path: Path) -> None:
    steps = [
        {"do": "mqtt_connect", "user": "observer"},
        {"do": "subscribe", "topic": "rootlet/dev-2/#", "qos": 1, "echo": "rootlet/dev-2/x", "count": 1},
    ]
    results = run_job("micropython", job(shared.psk_port, raw(keys), steps, timeout_ms=1500), tmp_path)
    assert results[1].get("got") == [] or results[1].get("code") == "MQTT_SUBSCRIBE", results


@pytest.mark.parametrize("fault", ["another key", "another device's key", "unknown identity"])
def test_a_wrong_key_or_identity_is_refused_in_words(fault: str, shared: Broker, keys: Path, tmp_path: Path) -> None:
    file, identity = tmp_path / "device.psk", "dev-1"
    file.write_bytes(os.urandom(32))
    if fault == "another device's key":
        file = raw(keys, "dev-2")
    elif fault == "unknown identity":
        file, identity = raw(keys), "nobody"
    result = connect(shared.psk_port, file, tmp_path, identity)
    assert result["code"] == "TLS_PSK"
    assert f"for '{identity}'" in result["fact"]
    assert "same key: `rootlet psk new ID`" in result["text"]
    assert file.read_bytes().hex() not in json.dumps(result)


@pytest.mark.parametrize("size", [0, 15, 33, 64])
def test_a_key_too_short_or_too_long_is_refused_before_anything_is_sent(size: int, tmp_path: Path) -> None:
    came: list[bytes] = []
    file = tmp_path / "device.psk"
    file.write_bytes(b"k" * size)
    with hostile.serve(lambda conn, _: came.append(conn.recv(1))) as port:
        result = connect(port, file, tmp_path)
    assert result["code"] == "TLS_PSK"
    assert f"holds {size} bytes, it must be 16 to 32" in result["fact"]
    assert not any(came)


@pytest.mark.parametrize("size", [16, 32])
def test_the_shortest_and_the_longest_key_work(size: int, pki: Pki, tmp_path: Path) -> None:
    made = psk.new("dev-1", tmp_path)
    key = os.urandom(size)
    made.raw_file.write_bytes(key)
    made.hex_file.write_text(key.hex())
    cert, server_key, ca = pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem
    with Broker(cert, server_key, ca, workdir=tmp_path, psk=tmp_path) as broker:
        assert connect(broker.psk_port, made.raw_file, tmp_path)["session"] is False


def test_an_address_in_place_of_a_name(shared: Broker, keys: Path, tmp_path: Path) -> None:
    steps = [{"do": "mqtt_connect", "host": "127.0.0.1"}]
    (result,) = run_job("micropython", job(shared.psk_port, raw(keys), steps), tmp_path)
    assert result["session"] is False


def test_a_broker_that_knows_certificates_only(shared: Broker, keys: Path, tmp_path: Path) -> None:
    result = connect(shared.port, raw(keys), tmp_path)
    assert result["code"] == "TLS_PSK"
    assert "or no TLS-PSK" in result["fact"]


def test_a_certificate_is_of_no_use_where_keys_are_asked_for(shared: Broker, pki: Pki, tmp_path: Path) -> None:
    device = pki.clients["dev-1"]
    files = {"cert": str(device.cert_der), "key": str(device.key_der), "roots": [str(pki.authority.cert_der)]}
    steps = [{"do": "mqtt_connect", "id": "dev-1", "port": shared.psk_port}]
    (result,) = run_job("micropython", {"clock": int(time.time()), "steps": steps, **files}, tmp_path)
    assert result["code"] == "TLS_VERSION"


def test_a_key_that_is_absent_is_named(tmp_path: Path) -> None:
    with hostile.serve(lambda conn, _: None) as port:
        result = connect(port, tmp_path / "gone.psk", tmp_path)
    assert result["code"] == "TLS_IDENTITY"
    assert "gone.psk" in result["fact"]


def test_without_a_clock_nothing_is_sent(shared: Broker, keys: Path, tmp_path: Path) -> None:
    assert connect(shared.psk_port, raw(keys), tmp_path, clock=None)["code"] == "CLOCK_NOT_SET"


def test_a_shared_key_is_no_trust_for_a_page(keys: Path, tmp_path: Path) -> None:
    steps = [{"do": "get", "url": "https://localhost:1/"}]
    (result,) = run_job("micropython", job(0, raw(keys), steps), tmp_path)
    assert result["code"] == "TLS_NO_ROOTS"
    assert "a page needs roots" in result["fact"]


def test_python_without_pre_shared_keys_says_so(shared: Broker, keys: Path, tmp_path: Path) -> None:
    """CPython's stand-in for `tls` has no pre-shared keys, like MicroPython before 1.29."""
    (result,) = run_job("cpython", job(shared.psk_port, raw(keys), [{"do": "mqtt_connect"}]), tmp_path)
    assert result["code"] == "TLS_NO_PSK"
    assert "MicroPython 1.29 or newer" in result["text"]


def _exactly(conn: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = conn.recv(size - len(data))
        if not piece:
            raise OSError("closed")
        data += piece
    return data


def _record(conn: socket.socket) -> bytes:
    """The body of one TLS record."""
    return _exactly(conn, struct.unpack("!H", _exactly(conn, 5)[3:])[0])


def _offered(hello: bytes) -> list[int]:
    """The cipher suites of a ClientHello (RFC 5246 section 7.4.1.2)."""
    at = 4 + 2 + 32
    at += 1 + hello[at]
    size = struct.unpack("!H", hello[at : at + 2])[0]
    return list(struct.unpack(f"!{size // 2}H", hello[at + 2 : at + 2 + size]))


def _message(kind: int, body: bytes) -> bytes:
    message = bytes((kind,)) + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + struct.pack("!H", len(message)) + message


def _insisting(suite: int, certificate: bytes, seen: list[bytes]) -> hostile.Handler:
    """A server that answers whatever is offered with its own suite and a real, valid certificate."""

    def handle(conn: socket.socket, ending: threading.Event) -> None:
        seen.append(_record(conn))
        listed = len(certificate).to_bytes(3, "big") + certificate
        conn.sendall(
            _message(2, b"\x03\x03" + bytes(32) + b"\0" + struct.pack("!H", suite) + b"\0")
            + _message(11, len(listed).to_bytes(3, "big") + listed)
            + _message(14, b"")
        )
        while piece := conn.recv(4096):
            seen.append(piece)

    return handle


# TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_NULL_SHA256, and a suite
# with a pre-shared key that was not offered: TLS_PSK_WITH_AES_128_CBC_SHA.
@pytest.mark.parametrize("suite", [0xC02B, 0x009C, 0x003B, 0x008C])
def test_a_server_cannot_put_a_certificate_in_the_place_of_the_key(
    suite: int, pki: Pki, keys: Path, tmp_path: Path
) -> None:
    seen: list[bytes] = []
    handler = _insisting(suite, pki.server.cert_der.read_bytes(), seen)
    with hostile.serve(handler) as port:
        result = connect(port, raw(keys), tmp_path, timeout_ms=3000, roots=[str(pki.authority.cert_der)])
    assert result["code"].startswith("TLS_") and result["code"] != "TLS_TIMEOUT", result
    # Nothing but AEAD suites with a pre-shared key is offered (0x00FF is the renegotiation signal).
    assert set(_offered(seen[0])) == {0x00A8, 0x00A9, 0x00FF}
    # The answer is an alert and no handshake message, let alone data.
    assert all(piece[0] == 0x15 for piece in seen[1:] if piece), seen[1:]


def test_a_server_that_does_not_know_the_key_cannot_finish(keys: Path, tmp_path: Path) -> None:
    """It takes the suite and stays quiet or guesses; without the key its Finished cannot be right."""
    seen: list[bytes] = []

    def handle(conn: socket.socket, ending: threading.Event) -> None:
        seen.append(_record(conn))
        conn.sendall(_message(2, b"\x03\x03" + bytes(32) + b"\0" + b"\x00\xa8" + b"\0") + _message(14, b""))
        for _ in range(3):  # ClientKeyExchange, ChangeCipherSpec, Finished
            _record(conn)
        conn.sendall(b"\x14\x03\x03\x00\x01\x01" + b"\x16\x03\x03\x00\x28" + bytes(40))
        while piece := conn.recv(4096):
            seen.append(piece)

    with hostile.serve(handle) as port:
        result = connect(port, raw(keys), tmp_path, timeout_ms=3000)
    assert result["code"] == "TLS_FAILED", result
    assert all(piece[0] == 0x15 for piece in seen[1:] if piece), seen[1:]


_LOOSE = """
import sys
sys.path.insert(0, sys.argv[1])
from rootlet import psk, tls, trust
from rootlet.errors import RootletError

class Loose(psk.Psk):
    def prepare(self, context):
        super().prepare(context).set_ciphers([sys.argv[4]])
        return context

shared = psk.trust(trust.Trust([], lambda: 1), "dev-1", sys.argv[3])
shared.psk = Loose("dev-1", sys.argv[3])
try:
    stream = tls.connect("localhost", int(sys.argv[2]), b"hello", shared, 3000)
    print("connected", stream.cipher)
    stream.close()
except RootletError as e:
    print(e)
"""


@pytest.mark.parametrize("suite", ["AES128-GCM-SHA256", "AES128-CBC-SHA256"])
def test_the_suite_is_looked_at_again_after_the_handshake(suite: str, keys: Path, tmp_path: Path) -> None:
    """Should a library ever agree on what was not asked for: a suite outside the list ends the connection."""
    script = tmp_path / "loose.py"
    script.write_text(_LOOSE)
    server = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-nocert", "-tls1_2"]
    # On the command line of a test the key is nobody's secret.
    server += ["-psk", raw(keys).read_bytes().hex(), "-cipher", f"PSK-{suite}:@SECLEVEL=0"]
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = next(line for line in process.stdout if line.startswith("ACCEPT"))
            port = line.strip().rpartition(":")[2]
            mbedtls = "TLS-PSK-WITH-AES-128-" + suite.removeprefix("AES128-")
            done = subprocess.run(
                [*command("micropython"), str(script), str(FIRMWARE), port, str(raw(keys)), mbedtls],
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
        finally:
            process.kill()
    if "GCM" in suite:
        assert done.stdout.strip() == f"connected {mbedtls}"
    else:
        assert done.stdout.startswith("TLS_FAILED") and f"the server chose {mbedtls}" in done.stdout


def _flash(folder: Path, config: dict[str, Any], key: Path, trust: Path | None = None) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return deploy.stage(folder / "flash", config=path, psk=key, trust=trust)


def _settings(port: int, sntp: SntpServer) -> dict[str, Any]:
    config = settings(port, sntp.port)
    config["mqtt"] = {"host": "localhost", "port": port, "psk": "device.psk"}
    return config


def test_the_gateway_publishes_by_a_shared_key(shared: Broker, pki: Pki, keys: Path, tmp_path: Path) -> None:
    """No cert module on the board: a shared key needs none."""
    with SntpServer() as sntp:
        flash = _flash(tmp_path, _settings(shared.psk_port, sntp), raw(keys))
        assert stat.S_IMODE((flash / "device.psk").stat().st_mode) == 0o600
        assert not list(flash.glob("trust_roots*"))
        with observer(pki, shared.port) as seen, VirtualBoard(flash, script=SCRIPT) as board:
            got = readings(seen, 5)
            board.wait_for(r"mqtt: connected to localhost:\d+ by pre-shared key", 5)
            line = board.wait_for(r"mqtt: verified", 5)
            output = board.output
    assert {reading["device"] for reading in got} == {"dev-1"}
    assert got[0]["time"][:10] == time.strftime("%Y-%m-%d", time.gmtime())
    assert "TLSv1.2, TLS-PSK-WITH-AES-128-GCM-SHA256, it knows the key of 'dev-1'" in line
    assert raw(keys).read_bytes().hex() not in output
    # No certificate has confirmed the time, so it must not become the floor of the next start.
    assert not (flash / "clock.json").exists()


def test_the_gateway_with_a_wrong_key_says_why_and_goes_on_trying(shared: Broker, keys: Path, tmp_path: Path) -> None:
    with SntpServer() as sntp:
        flash = _flash(tmp_path, _settings(shared.psk_port, sntp), raw(keys, "dev-2"))
        with VirtualBoard(flash, script=SCRIPT) as board:
            line = board.wait_for(r"error: TLS_PSK", 20)
            # The key of the file is read again at each attempt: a board that is given the right one comes on line.
            (flash / "device.psk").write_bytes(raw(keys).read_bytes())
            board.wait_for(r"mqtt: connected", 20)
    assert "it has another key for 'dev-1', or none, or no TLS-PSK" in line


def test_a_page_still_needs_roots(shared: Broker, keys: Path, tmp_path: Path) -> None:
    with SntpServer() as sntp:
        config = _settings(shared.psk_port, sntp)
        config["https"] = {"url": "https://localhost:1/"}
        with VirtualBoard(_flash(tmp_path, config, raw(keys)), script=SCRIPT) as board:
            board.wait_for(r"error: TLS_NO_ROOTS", 20)


def test_amqtt_refuses(pki: Pki, keys: Path, tmp_path: Path) -> None:
    cert, key, ca = pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem
    with pytest.raises(Failure) as e:
        Broker(cert, key, ca, workdir=tmp_path, engine="amqtt", psk=keys)
    assert e.value.what == "amqtt has no pre-shared keys"
    assert e.value.code == Exit.USAGE


def test_no_open_listener_beside_the_keys(pki: Pki, keys: Path, tmp_path: Path) -> None:
    """Without certificates the other port would let anybody read what devices with a key send."""
    cert, key, ca = pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem
    with pytest.raises(Failure) as e:
        Broker(cert, key, ca, workdir=tmp_path, mtls=False, psk=keys)
    assert e.value.code == Exit.USAGE


def test_a_taken_port_is_named(pki: Pki, keys: Path, tmp_path: Path) -> None:
    cert, key, ca = pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Failure) as e, Broker(cert, key, ca, workdir=tmp_path, psk=keys, psk_port=port):
            pass
    assert "--psk-port" in e.value.try_


def test_the_broker_s_copy_of_the_keys_is_private(shared: Broker) -> None:
    path = shared._dir / "psk.txt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [line.partition(":")[0] for line in path.read_text().splitlines()] == ["dev-1", "dev-2"]


def test_the_broker_command(pki: Pki, keys: Path, tmp_path: Path) -> None:
    """It says where devices with a key go, and that there is no forward secrecy; Ctrl-C ends it."""
    run = [sys.executable, "-u", "-m", "host_tools", "broker", "--ca-dir", str(pki.authority.directory)]
    run += ["--port", "0", "--psk-port", "0", "--psk", str(keys)]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(4)]
            port = json.loads(lines[2].partition('"mqtt": ')[2])["port"]
            assert connect(port, raw(keys), tmp_path)["session"] is False
        finally:
            process.terminate()
            process.wait(20)
    assert lines[2].startswith("with a pre-shared key: ")
    assert "no forward secrecy" in lines[3]


def test_the_commands(tmp_path: Path) -> None:
    """`psk new`, `psk list`, `broker --psk`: what they print is of use, and never a key."""
    run = [sys.executable, "-m", "host_tools"]
    made = subprocess.run(
        [*run, "psk", "new", "pico-1", "--dir", str(tmp_path)], capture_output=True, text=True, timeout=30, check=True
    )
    key = raw(tmp_path, "pico-1").read_bytes()
    assert "no forward secrecy" in made.stdout
    assert "1.29 or newer" in made.stdout
    listed = subprocess.run(
        [*run, "psk", "list", "--dir", str(tmp_path)], capture_output=True, text=True, timeout=30, check=True
    )
    assert listed.stdout.startswith("pico-1 ")
    assert key.hex() not in made.stdout + made.stderr + listed.stdout
