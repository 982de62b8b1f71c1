"""What must not stop a gateway: floods, drips, a stray message, a clock that was set wrong, no socket left."""

import contextlib
import json
import socket
import threading
from pathlib import Path

import pytest

from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from tests import lookalike
from tests.device_runner import INTERPRETERS, run_job, run_script
from tests.integration import hostile
from tests.integration.chains import NOW, certificate, write
from tests.integration.conftest import Pki
from tests.integration.test_gateway import SCRIPT, observer, readings, running_broker, settings, staged

CONNACK = b"\x20\x02\x00\x00"
STRAY = b"\x30\x05\x00\x01a" + b"hi"


def job(steps, **more):
    return {"roots": ["root.der"], "clock": int(NOW.timestamp()) + 60, "steps": steps, **more}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resilience")
    root = certificate("Test Root", ca=True)
    (folder / "root.der").write_bytes(root.der())
    write(folder, "good", certificate("a", root, dns=("localhost", "localhost.example")))
    lookalike.write_store(folder / "roots.bin", [root.cert])
    return folder


def warnings_without_end(conn: socket.socket, ending: threading.Event) -> None:
    """Alerts that mean nothing, as fast as they are taken: Mbed TLS skips each without looking at a clock."""
    conn.recv(4096)
    while not ending.is_set():
        conn.sendall(b"\x15\x03\x03\x00\x02\x01\x5a" * 500)


@pytest.mark.parametrize("store", [False, True])
def test_a_handshake_without_end_is_ended_by_its_deadline(store, folder):
    more = {"store": "roots.bin"} if store else {}
    with hostile.serve(warnings_without_end) as port:
        todo = job([{"do": "get", "url": f"https://localhost:{port}/"}], timeout_ms=700, **more)
        [result] = run_job("micropython", todo, folder)
    assert result["code"] == "TLS_TIMEOUT", result
    assert result["ms"] < 2000


def speaks_mqtt(folder, answer):
    """A broker of a few lines behind TLS: `answer(tls, ending)` is called after the CONNECT."""

    def handle(conn, ending):
        with hostile.tls_context(folder / "good.pem", folder / "good.key").wrap_socket(conn, server_side=True) as tls:
            tls.recv(4096)
            answer(tls, ending)

    return handle


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_packet_that_drips_is_ended_by_its_deadline(interpreter, folder):
    def drips(tls, ending):
        for byte in CONNACK:
            tls.sendall(bytes([byte]))
            if ending.wait(0.35):
                return

    with hostile.serve(speaks_mqtt(folder, drips)) as port:
        todo = job([{"do": "mqtt_connect", "id": "d", "port": port}], timeout_ms=600)
        [result] = run_job(interpreter, todo, folder)
    assert result.get("code") in ("MQTT_TIMEOUT", "NET_TIMEOUT"), result


OUT_OF_SOCKETS = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import socket as real
from rootlet import tls, trust
from rootlet.errors import RootletError
def none_left(*args):
    raise OSError(23)
class Sockets:
    socket = staticmethod(none_left)
    getaddrinfo = staticmethod(real.getaddrinfo)
    SOCK_STREAM = real.SOCK_STREAM
tls.socket = Sockets
try:
    tls.connect("localhost", 1, b"x", trust.Trust([b"-"], lambda: 1))
except RootletError as e:
    print(json.dumps({"code": e.code, "fact": e.fact}))
"""


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_no_socket_is_an_error_of_our_own(interpreter, folder):
    script = folder / "sockets.py"
    head = "import sys\nsys.path.insert(0, %r)\nimport micropython_api\n" % str(Path(__file__).parents[1] / "cpython")
    script.write_text((head if interpreter == "cpython" else "") + OUT_OF_SOCKETS)
    assert run_script(interpreter, script, {}, folder) == {"code": "TCP", "fact": "no socket is free, error 23"}


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_root_in_the_store_beside_an_embedded_one_of_its_name(interpreter, folder, tmp_path):
    """The CA has renewed its key under the old name: the module has the old one, the store the new one."""
    old = certificate("Test Root", ca=True)
    (tmp_path / "root.der").write_bytes(old.der())
    (tmp_path / "roots.bin").write_bytes((folder / "roots.bin").read_bytes())
    context = hostile.tls_context(folder / "good.pem", folder / "good.key")
    with hostile.serve(hostile.over_tls(context, hostile.replies(b"HTTP/1.1 204 x\r\n\r\n"))) as port:
        todo = job([{"do": "get", "url": f"https://localhost:{port}/"}], store="roots.bin")
        [result] = run_job(interpreter, todo, tmp_path)
    if interpreter == "cpython":  # OpenSSL takes the first CA of a name, see test_pick
        assert result["code"] == "CERT_UNKNOWN_CA"
    else:
        assert result.get("status") == 204, result


def test_a_store_that_cannot_be_read(folder):
    [result] = run_job("micropython", job([{"do": "store", "path": "."}]), folder)
    assert result["code"] == "TLS_STORE"


def test_a_clock_set_wrong_is_asked_about_again(pki: Pki, tmp_path: Path) -> None:
    """Three years ahead every certificate has expired; once the time servers are right, so is the board."""
    with (
        running_broker(pki, tmp_path) as broker,
        SntpServer(offset_s=3 * 365 * 86400) as sntp,
        observer(pki, broker.port) as watcher,
    ):
        flash = staged(pki, tmp_path, settings(broker.port, sntp.port))
        with VirtualBoard(flash, board="pico_w", script=SCRIPT) as board:
            board.wait_for("CERT_EXPIRED", 30)
            sntp._offset = 0
            board.wait_for("mqtt: connected", 30)
            readings(watcher, 2)


def test_a_stray_message_does_not_end_the_gateway(pki: Pki, tmp_path: Path) -> None:
    heard = threading.Event()

    def broker(conn, ending):
        context = hostile.tls_context(pki.server.cert_pem, pki.server.key_pem)
        with contextlib.suppress(OSError), context.wrap_socket(conn, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(CONNACK + STRAY)
            while piece := tls.recv(4096):
                if b'"sim"' in piece:
                    heard.set()

    with hostile.serve(broker) as port, SntpServer() as sntp:
        flash = staged(pki, tmp_path, settings(port, sntp.port))
        with VirtualBoard(flash, board="pico_w", script=SCRIPT):
            assert heard.wait(30)
    assert json.loads((flash / "config.json").read_text())["device"] == "dev-1"
