"""`rootlet inspect` and `rootlet certs audit` against real servers: the verdict, and the advice for a board."""

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from typer.testing import CliRunner

from host_tools import boards
from host_tools import inspect as looking
from host_tools.commands.app import app
from host_tools.failure import Exit, Failure
from host_tools.inspect import audit, boards_fit, chain, dial, future, probe, wire
from host_tools.inspect.mbedtls import PORTS
from host_tools.inspect.report import text
from host_tools.paths import FIRMWARE
from tests.device_runner import run_job
from tests.integration import hostile
from tests.integration.chains import DAY, NOW, certificate, rsa_key, write
from tests.integration.test_hostile import chains as hostile_chains

HOME = {"dns": ("localhost",), "ips": ("127.0.0.1",)}
YEAR = 365 * DAY


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inspect")


@pytest.fixture(scope="module")
def root(folder):
    root = certificate("Test Root", ca=True, end=NOW + 10 * YEAR)
    write(folder, "root", root)
    return root


@pytest.fixture(scope="module")
def keys():
    made = {
        "P-256": ec.generate_private_key(ec.SECP256R1()),
        "P-384": ec.generate_private_key(ec.SECP384R1()),
        "RSA-2048": rsa_key(2048),
        "RSA-4096": rsa_key(4096),
        "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    return made


@contextlib.contextmanager
def tls_server(folder, name, *links, low=None, high=None, client_ca=None, ciphers=None):
    """A TLS server of that chain that waits for the client to close. Yields its port."""
    cert, key = write(folder, name, *links)
    context = hostile.tls_context(cert, key)
    if ciphers:
        context.set_ciphers(ciphers)
    if low:
        context.minimum_version = low
    if high:
        context.maximum_version = high
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)

    def handle(conn, ending):
        with context.wrap_socket(conn, server_side=True) as tls:
            while tls.recv(4096):
                pass
            tls.unwrap()

    with hostile.serve(handle) as port:
        yield port


def flight_for_a_board(port):
    """The bytes that a server answers to a board's Client Hello, to its Server Hello Done."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(probe.client_hello("localhost", PORTS["rp2"]))
        data = b""
        while not wire.read(data).hello_done:
            data += sock.recv(65536)
    return data


def look(folder, port, host="localhost", ca="root.pem", **extra):
    result = looking.inspect("127.0.0.1", port, sni=host, ca=folder / ca if ca else None, timeout=5, **extra)
    json.dumps(result)
    return result


@pytest.mark.parametrize(
    ("kind", "signature"),
    [("P-256", "ECDSA SHA-256"), ("P-384", "ECDSA SHA-"), ("RSA-2048", "RSA-PSS SHA-"), ("RSA-4096", "RSA-PSS SHA-")],
)
def test_a_good_server_of_each_key_kind(folder, root, keys, kind, signature):
    leaf = certificate("leaf", root, key=keys[kind], **HOME)
    with tls_server(folder, "good", leaf) as port:
        result = look(folder, port)
    assert result["exit"] == Exit.OK, text(result)
    assert result["connection"]["protocol"] == "TLSv1.3"
    assert result["connection"]["signature"].startswith(signature)
    assert result["connection"]["tickets"] == 2
    assert result["connection"]["asks_client_certificate"] is False
    assert result["board_connection"]["protocol"] == "TLSv1.2"
    assert result["board_connection"]["signature"].startswith("RSA PKCS#1" if "RSA" in kind else "ECDSA")
    assert result["board_connection"]["group"] == "P-256"
    assert [cert["role"] for cert in result["chain"]] == ["leaf", "root"]
    assert result["chain"][0]["key"] == kind
    assert result["name"] == {"asked": "localhost", "ok": True, "why": "localhost"}
    assert result["root"]["der_bytes"] == len(root.der())
    assert 300 < result["root"]["module_bytes"] < 1000
    assert [fit["can"] for fit in result["boards"]] == [True, True]


def test_ed25519_is_refused_for_a_board_and_said_why(folder, root, keys):
    leaf = certificate("leaf", root, key=keys["Ed25519"], **HOME)
    with tls_server(folder, "ed", leaf) as port:
        result = look(folder, port)
    assert result["exit"] == Exit.UNVERIFIED
    assert result["openssl"]["ok"] and result["connection"]["signature"] == "Ed25519"
    assert result["policy"]["code"] == "CERT_WEAK_KEY"
    assert not any(fit["can"] for fit in result["boards"])
    assert result["board_connection"]["fault"]["code"] == "TLS_VERSION"


def test_tls13_only_verifies_but_no_board_can_reach_it(folder, root):
    with tls_server(folder, "only13", certificate("a", root, **HOME), low=ssl.TLSVersion.TLSv1_3) as port:
        result = look(folder, port)
    assert result["policy"]["ok"] and result["openssl"]["ok"]
    assert result["exit"] == Exit.FAILED
    assert "protocol_version" in result["boards"][0]["problems"][0]


def test_tls12_only_is_fine(folder, root, keys):
    leaf = certificate("a", root, key=keys["RSA-2048"], **HOME)
    with tls_server(folder, "only12", leaf, high=ssl.TLSVersion.TLSv1_2) as port:
        result = look(folder, port)
    assert result["exit"] == Exit.OK
    assert result["connection"]["protocol"] == "TLSv1.2"
    assert result["connection"]["signature"].startswith("RSA")
    assert result["connection"]["tickets"] == 1


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls11_only_is_named_and_out_of_reach(folder, root):
    leaf = certificate("a", root, **HOME)
    old = ssl.TLSVersion.TLSv1_1
    with tls_server(folder, "only11", leaf, low=old, high=old) as port:
        result = look(folder, port)
    assert result["connection"]["protocol"] == "TLSv1.1"
    assert result["exit"] == Exit.FAILED and not result["boards"][0]["can"]


def test_a_suite_without_forward_secrecy_is_out_of_reach(folder, root, keys):
    leaf = certificate("a", root, key=keys["RSA-2048"], **HOME)
    twelve = ssl.TLSVersion.TLSv1_2
    with tls_server(folder, "rsa", leaf, high=twelve, ciphers="AES256-GCM-SHA384:@SECLEVEL=0") as port:
        result = look(folder, port)
    assert result["exit"] == Exit.FAILED and not result["boards"][0]["can"]
    assert "handshake_failure" in result["boards"][0]["problems"][0]
    assert result["connection"]["key_exchange"].startswith("RSA")


def test_chacha_only_is_out_of_reach(folder, root):
    leaf = certificate("a", root, **HOME)
    twelve = ssl.TLSVersion.TLSv1_2
    with tls_server(folder, "chacha", leaf, high=twelve, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305") as port:
        result = look(folder, port)
    assert result["exit"] == Exit.FAILED and result["policy"]["ok"]
    assert "handshake_failure" in result["boards"][0]["problems"][0]


def test_every_fault_of_a_chain_has_the_code_that_the_board_gives(folder):
    root = certificate("Test Root", ca=True)
    write(folder, "judge", root)
    cases = hostile_chains(root, folder)
    shallow = x509.load_der_x509_certificate((folder / "shallow.der").read_bytes())
    with (folder / "judge.pem").open("ab") as f:
        f.write(shallow.public_bytes(serialization.Encoding.PEM))
    for name, (code, _, host, links) in cases.items():
        with tls_server(folder, "case", *links) as port:
            result = look(folder, port, host, ca="judge.pem")
        told = result["policy"].get("code")
        assert told in code if isinstance(code, tuple) else told == code, (name, result["policy"])
        assert result["exit"] == (Exit.OK if code is None else Exit.UNVERIFIED), name
        assert [fit["accepts"] for fit in result["boards"]] == [code is None] * 2, name
        assert code is None or f"refuses the certificate ({told})" in text(result), name
        if told in ("CERT_EXPIRED", "CERT_SELF_SIGNED", "CERT_UNKNOWN_CA", "CERT_INCOMPLETE", "CERT_NOT_YET_VALID"):
            assert not result["openssl"]["ok"], name
        if told == "CERT_NAME":
            assert not result["name"]["ok"] and result["openssl"]["ok"], name


def test_a_missing_intermediate_is_named_with_its_address(folder, root):
    middle = certificate("Middle", root, ca=True)
    with tls_server(folder, "incomplete", certificate("a", middle, aia=True, **HOME)) as port:
        result = look(folder, port)
    assert result["policy"]["code"] == "CERT_INCOMPLETE"
    assert result["missing"] == {"issuer": "Middle", "url": "http://ca.example/issuer.der"}
    assert "http://ca.example/issuer.der" in text(result)


def test_extra_and_disordered_certificates_are_told(folder, root):
    one = certificate("One", root, ca=True)
    two = certificate("Two", one, ca=True)
    leaf = certificate("a", two, **HOME)
    stray = certificate("Stray", ca=True)
    with tls_server(folder, "extra", leaf, two, one, stray) as port:
        result = look(folder, port)
    assert result["exit"] == Exit.OK and not result["disordered"]
    assert [cert["label"] for cert in result["extra"]] == ["Stray"]
    with tls_server(folder, "mixed", leaf, one, two) as port:
        result = look(folder, port)
    # OpenSSL sorts them; Mbed TLS only looks further on.
    assert result["openssl"]["ok"] and result["policy"]["code"] == "CERT_UNKNOWN_CA"
    assert result["disordered"] and "in order" in text(result)
    assert on_a_board(folder, root, leaf, one, two).get("code") == "CERT_UNKNOWN_CA"
    assert on_a_board(folder, root, leaf, two, one).get("body") == "hello"


def on_a_board(folder, root, *links):
    """What the firmware itself, on MicroPython with Mbed TLS, says to a server of that chain."""
    (folder / "root.der").write_bytes(root.der())
    context = hostile.tls_context(*write(folder, "board", *links))
    answer = hostile.replies(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    with hostile.serve(hostile.over_tls(context, answer)) as port:
        steps = [{"do": "get", "url": f"https://localhost:{port}/"}]
        job = {"roots": ["root.der"], "clock": int(NOW.timestamp()) + 60, "timeout_ms": 3000, "steps": steps}
        return run_job("micropython", job, folder)[0]


def test_a_chain_larger_than_the_buffer_is_out_of_reach(folder, root, keys):
    strays = [certificate(f"Stray {i}", ca=True, key=keys["RSA-4096"], organisation="Z" * 60) for i in range(14)]
    leaf = certificate("a", root, **HOME)
    with tls_server(folder, "large", leaf, *strays) as port:
        result = look(folder, port)
    assert result["openssl"]["ok"] and result["policy"]["ok"] and result["exit"] == Exit.FAILED
    assert result["board_connection"]["certificate_message"] > 16384
    assert "larger than the buffer" in result["boards"][0]["problems"][0]
    assert on_a_board(folder, root, leaf, *strays).get("code") == "TLS_NOT_TLS"
    with tls_server(folder, "large", leaf, *strays[:8]) as port:
        assert look(folder, port)["exit"] == Exit.OK
    assert on_a_board(folder, root, leaf, *strays[:8]).get("body") == "hello"


def test_a_split_handshake_message_is_noted(folder, root):
    with tls_server(folder, "whole", certificate("a", root, **HOME), high=ssl.TLSVersion.TLSv1_2) as port:
        data = flight_for_a_board(port)
    bodies = b"".join(body for _, _, body in wire.records(data))
    pieces = [bodies[i : i + 100] for i in range(0, len(bodies), 100)]
    split = b"".join(b"\x16\x03\x03" + len(piece).to_bytes(2, "big") + piece for piece in pieces)

    def handle(conn, ending):
        conn.recv(4096)
        conn.sendall(split)
        conn.recv(4096)

    with hostile.serve(handle) as port:
        seen = probe.as_board("127.0.0.1", port, "localhost", PORTS["rp2"], 5)
    built = chain.build(seen.flight.certificates, chain.store(folder / "root.pem"))
    told = boards_fit.fit(boards.load("pico_w"), seen, built)
    assert told["can"] and "split over records" in told["notes"][0]
    assert not boards_fit.fit(boards.load("pico_w"), probe.Seen(flight=wire.read(data)), built)["notes"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_mutual_tls_is_recognised_and_no_fault(folder, root, version):
    leaf = certificate("a", root, **HOME)
    with tls_server(folder, "mutual", leaf, high=version, client_ca=folder / "root.pem") as port:
        result = look(folder, port)
    assert result["connection"]["asks_client_certificate"]
    assert result["connection"]["requires_client_certificate"]
    assert result["connection"]["tickets"] is None
    assert result["exit"] == Exit.OK
    assert "rootlet ca issue device" in result["boards"][0]["notes"][0]


def test_a_board_may_get_another_certificate(folder, root, keys):
    modern = write(folder, "modern", certificate("modern", root, key=keys["Ed25519"], **HOME))
    plain = write(folder, "plain", certificate("plain", root, key=keys["RSA-2048"], **HOME))
    context = hostile.tls_context(*modern)
    context.load_cert_chain(*plain)

    def handle(conn, ending):
        with context.wrap_socket(conn, server_side=True) as tls:
            while tls.recv(4096):
                pass

    with hostile.serve(handle) as port:
        result = look(folder, port)
    assert result["connection"]["signature"] == "Ed25519"
    assert result["chain"][0]["label"] == "plain" and result["board_connection"]["another_certificate"]
    assert result["exit"] == Exit.OK and "another certificate" in text(result)


def test_a_server_that_refuses_unknown_alpn_is_asked_again_without(folder, root):
    cert, key = write(folder, "alpn", certificate("a", root, **HOME))
    context = hostile.tls_context(cert, key)

    def handle(conn, ending):
        if b"http/1.1" in conn.recv(4096, socket.MSG_PEEK):
            conn.recv(4096)
            conn.sendall(b"\x15\x03\x03\x00\x02\x02\x78")
            return
        with context.wrap_socket(conn, server_side=True) as tls:
            while tls.recv(4096):
                pass

    with hostile.serve(handle) as port:
        result = look(folder, port)
    assert result["exit"] == Exit.OK and result["connection"]["alpn_offered"] == []


def test_the_public_store_is_the_default_and_its_roots_leave_it(folder, keys, monkeypatch, tmp_path):
    import certifi

    old = certificate("Public Root", ca=True, start=NOW - 12 * YEAR, end=NOW + 10 * YEAR)
    new = certificate("Public Root 2", ca=True, end=NOW + 20 * YEAR)
    bundle = tmp_path / "cacert.pem"
    bundle.write_bytes(old.pem() + new.pem())
    monkeypatch.setattr(certifi, "where", lambda: str(bundle))
    with tls_server(folder, "public", certificate("a", old, key=keys["P-256"], **HOME)) as port:
        result = look(folder, port, ca=None)
        out = tmp_path / "root.pem"
        done = run("inspect", f"127.0.0.1:{port}", "--save-root", str(out))
    assert result["exit"] == Exit.OK and result["store"] == "certifi"
    assert [row["role"] for row in result["breaks"]] == ["leaf", "store", "root"]
    assert [row["label"] for row in result["root"]["successors"]] == ["Public Root 2"]
    assert "--save-root" in text(result) and done.exit_code == 0
    assert run("certs", "embed", str(out), "-o", str(tmp_path / "trust_roots.py")).exit_code == 0


def test_what_breaks_is_told_soonest_first(folder):
    root = certificate("Old", ca=True, end=NOW + 300 * DAY)
    middle = certificate("Mid", root, ca=True, end=NOW + 5 * DAY)
    write(folder, "soon", root)
    with tls_server(folder, "breaks", certificate("a", middle, end=NOW + 40 * DAY, **HOME), middle) as port:
        result = look(folder, port, ca="soon.pem")
    assert [row["role"] for row in result["breaks"]] == ["intermediate", "leaf", "root"]
    assert result["breaks"][0]["at"] == int((NOW + 5 * DAY).timestamp())


def test_a_successor_and_a_cross_sign_are_found(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    old = certificate("Root One", ca=True, end=NOW + YEAR)
    new = certificate("Root Two", ca=True, end=NOW + 9 * YEAR, key=key)
    crossed = certificate("Root Two", old, ca=True, key=key, end=NOW + 200 * DAY)
    middle = certificate("Issuing", new, ca=True)
    links = (certificate("a", middle, **HOME), middle, crossed)
    write(folder, "old", old)
    with tls_server(folder, "cross", *links) as port:
        alone = look(folder, port, ca="old.pem")
        (folder / "both.pem").write_bytes(old.pem() + new.pem())
        both = look(folder, port, ca="both.pem")
    assert alone["exit"] == Exit.OK and alone["root"]["label"] == "Root One"
    assert [(c["subject"], c["needed"]) for c in alone["cross_signs"]] == [("Root Two", True)]
    assert "cross-sign" in [row["role"] for row in alone["breaks"]]
    assert both["root"]["label"] == "Root Two"
    assert [(c["subject"], c["needed"]) for c in both["cross_signs"]] == [("Root Two", False)]
    roots = chain.store(folder / "both.pem")
    first = next(r for r in roots if r.label == "Root One")
    assert [r.label for r in future.successors(first, roots, int(NOW.timestamp()), False)] == ["Root Two"]


def test_successors_in_the_public_store():
    roots = chain.store(None)

    def after(label):
        return [r.label for r in future.successors(by_label[label], roots, int(NOW.timestamp()), True)]

    by_label = {root.label: root for root in roots}
    assert after("ISRG Root X1") == ["ISRG Root X2"] and after("ISRG Root X2") == []
    # Written "DigiCert Inc" and "DigiCert, Inc."; both end in 2038, but one leaves the store in 2029.
    assert "DigiCert TLS RSA4096 Root G5" in after("DigiCert Global Root G2")


def test_when_a_root_leaves_the_store():
    import datetime

    def leaves(*day):
        start = datetime.datetime(*day, tzinfo=datetime.UTC)
        made = certificate("r", ca=True, start=start, end=start + 30 * YEAR)
        return datetime.datetime.fromtimestamp(future.leaves_store(chain.link(made.der())), datetime.UTC).date()

    day = datetime.date
    assert leaves(2000, 1, 1) == day(2025, 4, 15)
    assert leaves(2010, 6, 1) == day(2028, 4, 15)
    assert leaves(2014, 4, 14) == day(2029, 4, 15)
    assert leaves(2015, 6, 4) == day(2030, 6, 4)
    assert leaves(2016, 2, 29) == day(2031, 2, 28)


def test_control_characters_in_names_are_harmless(folder):
    root = certificate("Evil\x1b[31m\nroot", ca=True, organisation="Bad\x07")
    write(folder, "evil", root)
    with tls_server(folder, "evil", certificate("x\x1b]0;y\x07", root, **HOME)) as port:
        shown = text(look(folder, port, ca="evil.pem"))
    assert not [c for c in shown if not c.isprintable() and c != "\n"]
    assert "Evil" in shown


@pytest.mark.parametrize(
    ("handler", "code"),
    [
        (hostile.plain_text, "TLS_NOT_TLS"),
        (hostile.closes_mid_handshake, "TLS_CLOSED"),
        (hostile.stalls_mid_handshake, "TLS_TIMEOUT"),
        (hostile.drips, "TLS_TIMEOUT"),
    ],
)
def test_what_is_no_tls_server_ends_in_time(handler, code):
    with hostile.serve(handler) as port:
        before = time.monotonic()
        with pytest.raises(Failure) as caught:
            looking.inspect("127.0.0.1", port, timeout=1)
        assert time.monotonic() - before < 4
    assert caught.value.what.startswith(code) and caught.value.code is Exit.FAILED
    assert str(caught.value).count("\n") == 2


def test_a_server_that_never_stops_talking_is_cut_off():
    def flood(conn, ending):
        conn.recv(4096)
        record = b"\x16\x03\x03\x40\x00" + b"\x0b\xff\xff\xff" + bytes(16380)
        with contextlib.suppress(OSError):
            while not ending.is_set():
                conn.sendall(record)

    with hostile.serve(flood) as port:
        seen = probe.as_board("127.0.0.1", port, "", PORTS["rp2"], 5)
    assert seen.fault and seen.received <= dial.MAX_RECEIVED + 16384


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(Failure) as caught:
        looking.inspect("127.0.0.1", port, timeout=2)
    assert caught.value.what.startswith("TCP_REFUSED")


@pytest.mark.parametrize("bad", ["host:0", "host:99999", "host:x", "", "a b", "[::1]x", "h\x1b[m:1"])
def test_a_bad_target_is_a_usage_error(bad):
    with pytest.raises(Failure) as caught:
        dial.target(bad)
    assert caught.value.code is Exit.USAGE and "\x1b" not in str(caught.value)


def test_targets():
    assert dial.target("example.org") == ("example.org", 443)
    assert dial.target("bücher.example:8883") == ("xn--bcher-kva.example", 8883)
    assert dial.target("[::1]:8883") == ("::1", 8883)
    assert dial.target("10.0.0.1:1") == ("10.0.0.1", 1)


def _meter(port, counts):
    """A TCP relay that counts and keeps what the client sends first."""

    def pump(source, sink, name):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                counts[name] += len(data)
                if name == "out" and not counts["hello"]:
                    counts["hello"] = data
                sink.sendall(data)

    def handle(conn, _):
        with socket.create_connection(("127.0.0.1", port)) as up:
            threading.Thread(target=pump, args=(up, conn, "in"), daemon=True).start()
            pump(conn, up, "out")
            up.shutdown(socket.SHUT_RDWR)  # so that the other thread ends too

    return handle


@pytest.mark.skipif(shutil.which("micropython", path=str(Path(sys.executable).parent)) is None, reason="no micropython")
def test_the_board_probe_is_what_mbed_tls_does(folder, root, keys):
    """The same Client Hello, but for its random bytes, and the same bytes on the wire in both directions."""
    # RSA signatures have one length; an ECDSA signature varies by a few bytes.
    leaf = certificate("a", root, key=keys["RSA-2048"], **HOME)
    counts = {"in": 0, "out": 0, "hello": b""}
    client = (
        "import socket,sys,tls\n"
        "c=tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)\n"
        "c.verify_mode=tls.CERT_REQUIRED\n"
        "sys.path.insert(0,sys.argv[3])\n"
        "from rootlet.tls import CIPHERS\n"
        "c.set_ciphers(CIPHERS)\n"
        "c.load_verify_locations(open(sys.argv[1],'rb').read())\n"
        "s=socket.socket()\n"
        "s.connect(socket.getaddrinfo('127.0.0.1',int(sys.argv[2]))[0][-1])\n"
        "t=c.wrap_socket(s,server_hostname='localhost')\n"
        "print('done')\n"
        "sys.stdin.readline()\n"
    )
    (folder / "client.py").write_text(client)
    (folder / "root.der").write_bytes(root.der())
    with (
        tls_server(folder, "meter", leaf) as port,
        hostile.serve(_meter(port, counts)) as relay,
        subprocess.Popen(
            [
                Path(sys.executable).parent / "micropython",
                folder / "client.py", folder / "root.der", str(relay), FIRMWARE,
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as board,
    ):  # fmt: skip
        assert board.stdout.readline() == "done\n"
        wanted = (counts["out"], counts["in"])
        result = look(folder, port)
        board.stdin.close()
        board.wait(10)
    told = result["board_connection"]
    assert (told["bytes_sent"], told["bytes_received"]) == wanted
    ours, real = probe.client_hello("localhost", PORTS["rp2"]), counts["hello"]
    assert ours[:11] == real[:11] and ours[43:] == real[43:]


def test_the_wire_reader_survives_every_cut_and_flip(folder, root):
    """Whatever comes, it gives facts or BadWire."""
    with tls_server(folder, "cut", certificate("a", root, **HOME), high=ssl.TLSVersion.TLSv1_2) as port:
        data = flight_for_a_board(port)
    for i in range(len(data)):
        for changed in (data[:i], data[:i] + bytes([data[i] ^ 0x55]) + data[i + 1 :]):
            with contextlib.suppress(wire.BadWire):
                wire.read(changed)


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=True)


def test_the_command_prints_saves_and_exits(folder, root, tmp_path):
    with tls_server(folder, "cli", certificate("a", root, **HOME)) as port:
        out = tmp_path / "r.pem"
        arguments = ["inspect", f"127.0.0.1:{port}", "--ca", str(folder / "root.pem")]
        done = run(*arguments, "--save-root", str(out), "--board", "pico_w")
        assert done.exit_code == 0 and "what your board needs" in done.output and "esp32" not in done.output
        assert x509.load_pem_x509_certificate(out.read_bytes()) == root.cert
        done = run(*arguments, "--sni", "other.example", "--json")
        assert done.exit_code == 4 and json.loads(done.output)["policy"]["code"] == "CERT_NAME"


def test_a_cert_module_is_a_store_and_is_never_run(folder, root, tmp_path):
    module = tmp_path / "trust_roots.py"
    assert run("certs", "embed", str(folder / "root.pem"), "-o", str(module)).exit_code == 0
    with tls_server(folder, "module", certificate("a", root, **HOME)) as port:
        result = look(tmp_path, port, ca="trust_roots.py")
    assert result["exit"] == Exit.OK and f"it is in {module}" in text(result)
    for source in ("raise SystemExit(9)", "ROOTS = (open('/etc/passwd'),)", "ROOTS = 5", "(((", ""):
        module.write_text(source)
        with pytest.raises(Failure) as caught:
            chain.store(module)
        assert "no cert module" in caught.value.what


def configuration(folder, port, page, cert=None):
    path = folder / "config.json"
    mqtt = {"host": "localhost", "port": port} | ({"cert": cert, "key": "device.key.der"} if cert else {})
    path.write_text(json.dumps({
        "device": "d", "wifi": {"networks": [{"ssid": "x", "password": "secret-one"}]}, "mqtt": mqtt,
        "https": {"url": f"https://localhost:{page}/time"}, "sensors": [{"kind": "simulated", "name": "s"}],
    }))  # fmt: skip
    return path


def test_audit_of_a_project(folder, root, tmp_path):
    from cryptography.x509.oid import ExtendedKeyUsageOID

    good = certificate("a", root, end=NOW + 90 * DAY, **HOME)
    late = certificate("a", root, end=NOW + 5 * DAY, **HOME)
    device = certificate("d", root, eku=ExtendedKeyUsageOID.CLIENT_AUTH, dns=("d",), end=NOW + 400 * DAY)
    (tmp_path / "device.crt.der").write_bytes(device.der())
    with tls_server(folder, "broker", good) as broker, tls_server(folder, "page", late) as page:
        path = configuration(tmp_path, broker, page, "device.crt.der")
        rows = audit.audit([str(path)], within_s=86400, ca=folder / "root.pem")
        assert [row.status for row in rows] == ["ok", "ok", "ok"] and not audit.bad(rows)
        rows = audit.audit([str(path)], within_s=audit.horizon("30d"), ca=folder / "root.pem")
        assert [row.status for row in rows] == ["ok", "soon", "ok"] and audit.bad(rows)
        done = run("certs", "audit", "--ca", str(folder / "root.pem"), "--within", "1d", str(path))
        assert done.exit_code == 0 and len(done.output.splitlines()) == 3 and "secret-one" not in done.output
        done = run("certs", "audit", "--json", str(path))
        assert done.exit_code == 1
        assert [row["status"] for row in json.loads(done.output)] == ["FAIL", "FAIL", "ok"]


def test_audit_of_files_and_of_what_is_gone(folder, root, tmp_path):
    old = certificate("old", root, end=NOW - DAY / 2, **HOME)
    cert, _ = write(tmp_path, "old", old, root)
    rows = audit.audit([str(cert)], within_s=86400)
    assert [row.status for row in rows] == ["FAIL", "ok"] and "CERT_EXPIRED" in rows[0].what
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    rows = audit.audit([f"127.0.0.1:{port}"], within_s=1, timeout=2)
    assert rows[0].status == "FAIL" and "TCP_REFUSED" in rows[0].what
    (tmp_path / "config.json").write_text("{")
    assert "CONFIG" in audit.audit([str(tmp_path / "config.json")], within_s=1)[0].what
    for missing in ("nowhere.pem", "a/b"):
        with pytest.raises(Failure) as caught:
            audit.audit([missing], within_s=1)
        assert caught.value.code is Exit.USAGE


def test_audit_knows_a_device_certificate_by_its_use(root, tmp_path):
    wrong = certificate("d", root, dns=("d",))
    (tmp_path / "device.crt.der").write_bytes(wrong.der())
    path = configuration(tmp_path, 1, 1, "device.crt.der")
    rows = audit.audit([str(path)], within_s=1, timeout=1)
    assert rows[-1].status == "FAIL" and "clientAuth" in rows[-1].what


def test_horizons():
    assert audit.horizon("60d") == audit.horizon("60") == 60 * 86400
    assert audit.horizon("2w") == 14 * 86400 and audit.horizon("36h") == 36 * 3600
    with pytest.raises(Failure):
        audit.horizon("soon")
    with pytest.raises(Failure):
        audit.default_targets(Path("/nonexistent"))


def test_damaged_certificates_are_told_and_never_crash(folder, root):
    """Every byte of a leaf and of an intermediate changed, in turn: a verdict comes of it, and printable text."""
    middle = certificate("Middle", root, ca=True, aia=True)
    leaf = certificate("a", middle, aia=True, **HOME)
    roots = chain.store(folder / "root.pem")
    now = int(NOW.timestamp())
    good = [leaf.der(), middle.der()]
    assert chain.judge(chain.build(good, roots), roots, "localhost", now) is None
    for place, der in enumerate(good):
        for i in range(len(der)):
            sent = list(good)
            sent[place] = der[:i] + bytes([der[i] ^ 0xA5]) + der[i + 1 :]
            built = chain.build(sent, roots)
            assert chain.judge(built, roots, "localhost", now) is not None
            chain.peer_name(built.path[0], "localhost")
            json.dumps([chain.facts(item, "x", now) for item in [*built.path, *built.extra]])
            json.dumps([future.breaks(built, roots, True), future.cross_signs(built, roots), future.missing(built)])
