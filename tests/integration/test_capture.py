"""`rootlet capture`: what it writes, tshark decrypts; what it says is what happened."""

import io
import os
import shutil
import ssl
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from host_tools import ca, capture, tshark
from host_tools.failure import Exit, Failure
from host_tools.packets import PacketFile
from host_tools.paths import ROOT
from host_tools.recorder import Recorder
from host_tools.safe_write import PRIVATE, File, write_all
from host_tools.servers import HttpsServer

needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed and could not be")

ORDER = [
    "client -> server  Client Hello: offers TLS 1.2, ",
    "server -> client  Server Hello: chooses TLS 1.2 with TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "server -> client  Certificate: ",
    "server -> client  Server Key Exchange: a fresh key for this connection on P-256",
    "server -> client  Certificate Request: ",
    "server -> client  Server Hello Done: ",
    "client -> server  Certificate: 1 certificate, ",
    "client -> server  Client Key Exchange: ",
    "client -> server  Certificate Verify: ",
    "client -> server  Change Cipher Spec: ",
    "client -> server  Finished, encrypted",
    "server -> client  Change Cipher Spec: ",
    "server -> client  Finished, encrypted",
    "client -> server  Application Data, the first",
    "server -> client  Application Data, the first",
    "server -> client  Alert, encrypted: the last word of this side, so close_notify",
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[capture.Capture, list[str]]:
    """One demo capture and its lines."""
    lines: list[str] = []
    made = capture.demo(lines.append, tmp_path_factory.mktemp("capture") / "out")
    return made, lines


def test_the_lines_tell_the_handshake_in_order(shown: tuple[capture.Capture, list[str]]) -> None:
    text = "\n".join(shown[1])
    at = -1
    for part in ORDER:
        at = text.find(part, at + 1)
        assert at >= 0, f"{part} is absent or out of order in:\n{text}"
    assert "asks for 'localhost' (SNI)" in text
    assert "for 'pico-capture', issued by 'Throw-away CA'" in text
    numbers = [int(line.split()[0]) for line in shown[1][1:]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_key_log_is_private(shown: tuple[capture.Capture, list[str]]) -> None:
    key_log = shown[0].key_log
    assert key_log
    assert stat.S_IMODE(key_log.stat().st_mode) == 0o600
    assert "CLIENT_RANDOM " in key_log.read_text()
    report: list[str] = []
    capture.report(report.append, shown[0])
    assert any("keep it private" in line for line in report)


@needs_tshark
def test_tshark_decrypts_with_the_key_log_only(shown: tuple[capture.Capture, list[str]]) -> None:
    made = shown[0]
    lines = tshark.contents(made.packets, made.key_log, made.port)
    assert len(lines) == 1
    assert lines[0].startswith("rootlet/pico-capture/chip  {") and '"value": 24.5' in lines[0]
    assert tshark.alerts(made.packets, made.key_log, made.port) == [("server", "0")]
    assert tshark.contents(made.packets, None, made.port) == []
    assert tshark.alerts(made.packets, None, made.port) == []
    # The payload is nowhere in what tshark knows without the keys, and it is in what it knows with them.
    everything = ("-V", "-x", "-o", "mqtt.show_msg_as_text:TRUE")
    assert '"value": 24.5' in tshark.read(made.packets, made.key_log, made.port, "mqtt", *everything)
    blind = tshark.read(made.packets, None, made.port, "mqtt", *everything)
    assert "pico-capture" in blind  # the certificate, in the clear
    assert "24.5" not in blind and "temperature" not in blind
    assert b"temperature" not in made.packets.read_bytes()


@needs_tshark
def test_the_packets_are_a_good_tcp_conversation(shown: tuple[capture.Capture, list[str]]) -> None:
    made = shown[0]
    faults = ("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y")
    flagged = "tcp.analysis.flags || tcp.checksum.status == Bad || ip.checksum.status == Bad || _ws.malformed"
    assert tshark.read(made.packets, None, made.port, "mqtt", *faults, flagged) == ""
    flags = tshark.read(made.packets, None, made.port, "mqtt", "-T", "fields", "-e", "tcp.flags").split()
    assert flags[:3] == ["0x0002", "0x0012", "0x0010"]
    assert flags[-2:] == ["0x0011", "0x0011"]


@needs_tshark
def test_report_with_tshark(shown: tuple[capture.Capture, list[str]]) -> None:
    report: list[str] = []
    capture.report(report.append, shown[0], decrypt=True)
    text = "\n".join(report)
    assert "  rootlet/pico-capture/chip  {" in text
    packets = "client CONNECT, server CONNACK, client PUBLISH, server PUBACK, client DISCONNECT"
    assert f"  {packets}\n" in text
    assert "the server's alert: close_notify" in text
    blind = capture.Capture(shown[0].packets, None, shown[0].port)
    with pytest.raises(Failure) as caught:
        capture.report(report.append, blind, decrypt=True)
    assert caught.value.because == "there is no key log"


def test_without_tshark_the_reason_is_told(shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(Failure) as caught:
        capture.report(lambda line: None, shown[0], decrypt=True)
    assert caught.value.what == "tshark is not installed"
    assert "apt-get install tshark" in caught.value.try_


CLIENT = """
import ssl, sys, urllib.request
context = ssl.create_default_context(cafile=sys.argv[1])
context.maximum_version = ssl.TLSVersion[sys.argv[3]]
print(urllib.request.urlopen(f"https://localhost:{sys.argv[2]}/page", context=context, timeout=10).read())
"""


@pytest.fixture
def https(pki, tmp_path: Path):
    key_log = tmp_path / "server-keys.log"
    write_all([File(key_log, b"", PRIVATE)])
    with HttpsServer(pki.server.cert_pem, pki.server.key_pem, {"/page": b"a page within"}, key_log) as server:
        yield server, key_log


@needs_tshark
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_client_command_against_a_server(version: str, https, pki, tmp_path: Path) -> None:
    server, key_log = https
    lines: list[str] = []
    command = [sys.executable, "-c", CLIENT, str(pki.authority.cert_pem), "{port}", version]
    made = capture.client(
        lines.append, command, f"localhost:{server.port}", out=tmp_path / "out", key_log=key_log, timeout_s=60
    )
    text = "\n".join(lines)
    assert "Client Hello: offers" in text and "the client ended with exit code 0" in text
    assert ("TLS 1.3 hides the rest" in text) == (version == "TLSv1_3")
    found = "\n".join(tshark.contents(made.packets, key_log, made.port, "http"))
    assert "GET /page" in found or "Host: localhost" in found
    assert "a page within" in found
    assert tshark.contents(made.packets, None, made.port, "http") == []


def test_a_refused_certificate_is_told_in_words(https, pki, tmp_path: Path) -> None:
    lines: list[str] = []
    stranger = ca.init(tmp_path / "other", subject="/CN=Other CA").cert_pem
    command = [sys.executable, "-c", CLIENT, str(stranger), "{port}", "TLSv1_2"]
    capture.client(lines.append, command, f"localhost:{https[0].port}", out=tmp_path / "out", timeout_s=60)
    text = "\n".join(lines)
    assert "client -> server  Alert, fatal: unknown_ca: the CA of the certificate is not trusted here" in text
    assert "the client ended with exit code 1" in text


@pytest.mark.parametrize("server", ["192.168.1.10:8883", "broker.home:8883", "8.8.8.8:443", "[2001:db8::1]:443"])
def test_other_machines_are_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        capture.client(print, ["true"], server, out=tmp_path)
    assert caught.value.code == Exit.USAGE
    assert "not a loopback address" in caught.value.because
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("server", ["localhost", "localhost:0", "localhost:x", ":1", "localhost:99999"])
def test_what_is_no_server(server: str) -> None:
    with pytest.raises(Failure, match="that is no server"):
        capture.place(server)


def test_a_client_that_never_connects(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="nothing was captured"):
        capture.client(lambda line: None, [sys.executable, "-c", "pass"], "localhost:1", out=tmp_path)


def test_a_client_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot run no-such-program"):
        capture.client(lambda line: None, ["no-such-program"], "localhost:1", out=tmp_path)


def test_a_server_that_is_not_there_is_told(pki, tmp_path: Path) -> None:
    import socket

    lines: list[str] = []
    with socket.socket() as s:  # bound and not listening: nobody else can take the port
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        command = [sys.executable, "-c", CLIENT, str(pki.authority.cert_pem), "{port}", "TLSv1_2"]
        capture.client(lines.append, command, f"127.0.0.1:{port}", out=tmp_path, timeout_s=60)
    assert f"127.0.0.1:{port} accepts no connection" in "\n".join(lines)


def test_the_file_has_a_limit_and_the_conversation_has_not(https, pki, tmp_path: Path) -> None:
    lines: list[str] = []
    path = tmp_path / "small.pcapng"
    context = ssl.create_default_context(cafile=str(pki.authority.cert_pem))
    with (
        PacketFile(path.open("xb"), 1000) as packets,
        Recorder(packets, ("127.0.0.1", https[0].port), lines.append) as recorder,
    ):
        page = urllib.request.urlopen(f"https://localhost:{recorder.port}/page", context=context, timeout=10).read()
        assert recorder.wait_idle(10)
    assert page == b"a page within"
    assert path.stat().st_size < 1500
    assert sum("reached its limit" in line for line in lines) == 1


class FullDisk(io.BytesIO):
    """Takes some bytes, then none."""

    def write(self, data) -> int:
        if self.tell() + len(data) > 900:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_a_full_disk_is_told_and_does_not_break_the_conversation(https, pki) -> None:
    context = ssl.create_default_context(cafile=str(pki.authority.cert_pem))
    where = ("127.0.0.1", https[0].port)
    with pytest.raises(Failure, match="the capture cannot be written") as caught:
        with PacketFile(FullDisk(), 10**6) as packets, Recorder(packets, where, lambda line: None) as recorder:
            page = urllib.request.urlopen(f"https://localhost:{recorder.port}/page", context=context, timeout=10).read()
            assert recorder.wait_idle(10)
    assert page == b"a page within"
    assert caught.value.because == "No space left on device"


def test_a_client_that_does_not_end_is_ended(https, tmp_path: Path) -> None:
    hang = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).recv(1); input()"
    lines: list[str] = []
    command = [sys.executable, "-c", hang, "{port}"]
    made = capture.client(lines.append, command, f"localhost:{https[0].port}", out=tmp_path / "out", timeout_s=1)
    assert "the client ended because 1 s were over" in lines
    assert made.packets.stat().st_size > 0


@needs_tshark
def test_the_key_log_of_the_client_serves_too(https, pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key_log = tmp_path / "client-keys.log"
    command = [sys.executable, "-c", CLIENT, str(pki.authority.cert_pem), "{port}", "TLSv1_2"]
    where = f"localhost:{https[0].port}"
    with pytest.raises(Failure, match="there is no key log"):
        capture.client(lambda line: None, command, where, out=tmp_path / "out", key_log=key_log)
    monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))
    made = capture.client(lambda line: None, command, where, out=tmp_path / "out", key_log=key_log)
    assert "a page within" in "".join(tshark.contents(made.packets, key_log, made.port, "http"))


def test_the_command(pki, https, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "firmware")])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "host_tools", "capture", *arguments],
            capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment, check=False,
        )  # fmt: skip

    client = [sys.executable, "-c", CLIENT, str(pki.authority.cert_pem), "{port}", "TLSv1_2"]
    done = run("--listen", "0", "--server", f"localhost:{https[0].port}", "--out", "out", "--", *client)
    assert done.returncode == 0, done.stderr
    assert "Server Hello" in done.stdout and "a page within" in done.stdout and "no key log" in done.stdout
    assert (tmp_path / "out" / "capture.pcapng").stat().st_size > 1000
    for wrong in (["--", "true"], ["--listen", "0"], ["--listen", "0", "--server", "example.org:443", "--", "true"]):
        done = run(*wrong)
        assert done.returncode == 2
        assert [line.split(":")[0] for line in done.stderr.strip().splitlines()] == ["error", "because", "try"]
