"""The private CA: what its certificates say, judged by OpenSSL and by MicroPython; modes, overwriting, refusals."""

import contextlib
import json
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from typer.testing import CliRunner

from host_tools import ca, certinfo, certs
from host_tools.commands.ca import app
from host_tools.failure import Exit, Failure
from host_tools.x509_names import host_name, parse_subject, parse_time, server_names

NAMES = ["broker.example.org", "*.lab.example.org", "münchen.example"]
IPS = ["127.0.0.1", "::1"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    return ca.init(tmp_path_factory.mktemp("ca"), subject="/C=FR/O=Acmé/CN=Acme root")


@pytest.fixture(scope="module")
def server(authority: ca.Authority) -> ca.Issued:
    return authority.issue_server(NAMES, IPS)


@pytest.fixture(scope="module")
def device(authority: ca.Authority) -> ca.Issued:
    return authority.issue_device("pico-1")


def openssl(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *args], capture_output=True, text=True, timeout=20, check=False, input="")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def extension(cert: x509.Certificate, kind: type) -> x509.Extension:
    return cert.extensions.get_extension_for_class(kind)


@contextlib.contextmanager
def tls_server(issued: ca.Issued, client_ca: Path | None = None) -> Iterator[int]:
    """A TLS server on loopback that answers each connection with one line; yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert_pem, issued.key_pem)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            raw.settimeout(10)
            with raw, contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as tls:
                peer = tls.getpeercert() or {}
                tls.sendall(json.dumps(peer.get("subject", "anyone")).encode() + b"\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(15)


def test_root_says_what_a_ca_must(authority: ca.Authority) -> None:
    cert = authority.cert
    basic = extension(cert, x509.BasicConstraints)
    usage = extension(cert, x509.KeyUsage)
    assert basic.critical and basic.value.ca
    assert usage.critical and usage.value.key_cert_sign and not usage.value.digital_signature
    assert extension(cert, x509.SubjectKeyIdentifier).value.digest
    assert not [e for e in cert.extensions if isinstance(e.value, x509.NameConstraints)]
    assert cert.subject.rfc4514_string() == "CN=Acme root,O=Acmé,C=FR"
    assert cert.version is x509.Version.v3


def test_server_certificate_has_all_names_in_its_san(authority: ca.Authority, server: ca.Issued) -> None:
    cert = server.cert
    san = extension(cert, x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == [
        "broker.example.org",
        "*.lab.example.org",
        "xn--mnchen-3ya.example",
    ]
    assert [str(ip) for ip in san.get_values_for_type(x509.IPAddress)] == IPS
    basic = extension(cert, x509.BasicConstraints)
    assert basic.critical and not basic.value.ca
    assert list(extension(cert, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    usage = extension(cert, x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature
    assert not usage.value.key_encipherment and not usage.value.key_cert_sign
    root_ski = extension(authority.cert, x509.SubjectKeyIdentifier).value.digest
    assert extension(cert, x509.AuthorityKeyIdentifier).value.key_identifier == root_ski
    assert extension(cert, x509.SubjectKeyIdentifier).value.digest != root_ski
    assert server.cert_der.read_bytes() == ssl.PEM_cert_to_DER_cert(server.cert_pem.read_text())


def test_device_certificate_is_for_clients(device: ca.Issued, authority: ca.Authority) -> None:
    assert device.cert.subject.rfc4514_string() == "CN=pico-1"
    assert list(extension(device.cert, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    san = extension(device.cert, x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["pico-1"]
    odd = authority.issue_device("pico_1").cert
    names = extension(odd, x509.SubjectAlternativeName).value.get_values_for_type(x509.DirectoryName)
    assert [n.rfc4514_string() for n in names] == ["CN=pico_1"]


def test_serial_numbers_are_random(authority: ca.Authority, server: ca.Issued, device: ca.Issued) -> None:
    serials = {c.serial_number for c in (authority.cert, server.cert, device.cert)}
    assert len(serials) == 3
    assert all(serial.bit_length() > 64 for serial in serials)


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048"])
def test_openssl_accepts_every_key_type_strictly(tmp_path: Path, key_type: str) -> None:
    made = ca.init(tmp_path, subject="/CN=r", key_type=key_type)
    leaf = made.issue_server(["a.example"], key_type=key_type)
    assert f"{certinfo.cert_key_name(leaf.cert).replace('-', '').lower()}" == key_type
    done = openssl("verify", "-x509_strict", "-CAfile", str(made.cert_pem), str(leaf.cert_pem))
    assert done.returncode == 0, done.stderr
    assert openssl("pkey", "-inform", "DER", "-in", str(leaf.key_der), "-noout").returncode == 0


@pytest.mark.parametrize("key_type", ["rsa3072", "rsa4096"])
def test_large_rsa_leaf(authority: ca.Authority, key_type: str) -> None:
    leaf = authority.issue_server([f"{key_type}.example"], key_type=key_type)
    assert certinfo.cert_key_name(leaf.cert) == f"RSA-{key_type[3:]}"


@pytest.mark.parametrize(
    ("args", "good"),
    [
        (["-purpose", "sslserver"], True),
        (["-purpose", "sslclient"], False),
        (["-verify_hostname", "broker.example.org"], True),
        (["-verify_hostname", "one.lab.example.org"], True),
        (["-verify_hostname", "other.example.org"], False),
        (["-verify_ip", "127.0.0.1"], True),
        (["-verify_ip", "::1"], True),
        (["-verify_ip", "127.0.0.2"], False),
    ],
)
def test_openssl_checks_purpose_and_names(
    authority: ca.Authority, server: ca.Issued, args: list[str], good: bool
) -> None:
    done = openssl("verify", "-x509_strict", *args, "-CAfile", str(authority.cert_pem), str(server.cert_pem))
    assert (done.returncode == 0) is good, done.stderr


def test_openssl_takes_the_device_for_a_client(authority: ca.Authority, device: ca.Issued) -> None:
    for purpose, good in (("sslclient", True), ("sslserver", False)):
        done = openssl("verify", "-purpose", purpose, "-CAfile", str(authority.cert_pem), str(device.cert_pem))
        assert (done.returncode == 0) is good


def test_openssl_server_and_client_agree(authority: ca.Authority, server: ca.Issued) -> None:
    # Port 0: s_server says which one it got, so nothing has to be guessed or waited for.
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-naccept", "2"]
    command += ["-cert", str(server.cert_pem), "-key", str(server.key_pem)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = next(line for line in process.stdout if line.startswith("ACCEPT")).split(":")[-1].strip()
            for name, code in (("broker.example.org", 0), ("wrong.example.org", 1)):
                done = openssl(
                    "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(authority.cert_pem),
                    "-verify_return_error", "-verify_hostname", name, "-brief",
                )  # fmt: skip
                assert done.returncode == code, done.stderr
        finally:
            process.kill()


def test_micropython_verifies_the_server_and_shows_its_own_certificate(
    authority: ca.Authority, server: ca.Issued, device: ca.Issued, tmp_path: Path
) -> None:
    made = certs.embed([authority.cert_pem], tmp_path / "from_py" / "trust_roots.py")
    (tmp_path / "from_mpy").mkdir()
    made.compiled.rename(tmp_path / "from_mpy" / "trust_roots.mpy")
    script = tmp_path / "client.py"
    script.write_text(
        "import sys, socket, tls\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import trust_roots\n"
        "assert trust_roots.BUILD_TIME > 1700000000\n"
        "subject, not_after, sha256, der = trust_roots.ROOTS[0]\n"
        "assert subject == 'CN=Acme root,O=Acm\u00e9,C=FR', subject\n"
        "assert len(sha256) == 64 and not_after > trust_roots.BUILD_TIME\n"
        "c = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)\n"
        "c.verify_mode = tls.CERT_REQUIRED\n"
        "c.load_verify_locations(der)\n"
        "c.load_cert_chain(open(sys.argv[4], 'rb').read(), open(sys.argv[5], 'rb').read())\n"
        "s = socket.socket()\n"
        "s.connect(socket.getaddrinfo('127.0.0.1', int(sys.argv[2]))[0][-1])\n"
        "t = c.wrap_socket(s, server_hostname=sys.argv[3])\n"
        "print(trust_roots.__file__[-4:], t.readline().decode().strip())\n"
    )

    def run(folder: str, name: str) -> subprocess.CompletedProcess[str]:
        micropython = Path(sys.executable).parent / "micropython"
        return subprocess.run(
            [micropython, script, tmp_path / folder, str(port), name, device.cert_der, device.key_der],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip

    with tls_server(server, client_ca=authority.cert_pem) as port:
        for folder, ending in (("from_py", "s.py"), ("from_mpy", ".mpy")):
            done = run(folder, "broker.example.org")
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.startswith(ending)
            assert '[[["commonName", "pico-1"]]]' in done.stdout
        done = run("from_mpy", "wrong.example.org")
        assert done.returncode != 0
        assert "does not match" in done.stdout + done.stderr


def test_file_modes(tmp_path: Path) -> None:
    made = ca.init(tmp_path / "new")
    leaf = made.issue_server(["a.example"])
    assert mode(tmp_path / "new") == 0o700
    assert mode(made.directory / "ca.key.pem") == 0o400
    assert mode(leaf.key_pem) == mode(leaf.key_der) == 0o600
    assert mode(leaf.cert_pem) == mode(leaf.cert_der) == mode(made.cert_pem) == 0o644
    assert not [p for p in made.directory.rglob("*") if p.name.startswith(".")]


def test_nothing_is_overwritten_without_force_and_force_keeps_a_backup(tmp_path: Path) -> None:
    made = ca.init(tmp_path)
    leaf = made.issue_server(["a.example"])
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for again in (lambda: ca.init(tmp_path), lambda: made.issue_server(["a.example"])):
        with pytest.raises(Failure, match="exists already"):
            again()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    made.issue_server(["a.example"], force=True)
    ca.init(tmp_path, force=True)
    backup = tmp_path / "ca.key.pem.bak"
    assert backup.read_bytes() == before[tmp_path / "ca.key.pem"]
    assert mode(backup) == 0o400
    assert leaf.key_pem.with_name("server-a.example.key.pem.bak").read_bytes() == before[leaf.key_pem]
    assert leaf.key_pem.read_bytes() != before[leaf.key_pem]


def test_one_file_in_the_way_stops_all(tmp_path: Path) -> None:
    (tmp_path / "ca.crt.der").write_bytes(b"mine")
    with pytest.raises(Failure, match="exists already"):
        ca.init(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["ca.crt.der"]


def test_passphrase_encrypts_the_key(tmp_path: Path) -> None:
    ca.init(tmp_path, passphrase="four words are better")
    key = tmp_path / "ca.key.pem"
    assert b"ENCRYPTED" in key.read_bytes()
    assert openssl("pkey", "-in", str(key), "-passin", "pass:four words are better", "-noout").returncode == 0
    assert openssl("pkey", "-in", str(key), "-passin", "pass:wrong", "-noout").returncode != 0
    assert ca.load(tmp_path, "four words are better").issue_device("pico-1").cert_pem.exists()
    with pytest.raises(Failure, match="encrypted"):
        ca.load(tmp_path)
    with pytest.raises(Failure) as caught:
        ca.load(tmp_path, "a wrong secret")
    assert "passphrase is wrong" in str(caught.value) and "a wrong secret" not in str(caught.value)
    with pytest.raises(Failure, match="passphrase"):
        ca.init(tmp_path / "b", passphrase="abc")
    assert not (tmp_path / "b").exists()


def test_key_and_certificate_must_belong_together(tmp_path: Path) -> None:
    ca.init(tmp_path / "a")
    ca.init(tmp_path / "b")
    (tmp_path / "b" / "ca.crt.pem").write_bytes((tmp_path / "a" / "ca.crt.pem").read_bytes())
    with pytest.raises(Failure, match="not one CA"):
        ca.load(tmp_path / "b")
    with pytest.raises(Failure, match="no CA in"):
        ca.load(tmp_path / "none")


def test_a_leaf_never_outlives_its_ca(tmp_path: Path) -> None:
    made = ca.init(tmp_path, days=30)
    short = made.issue_server(["a.example"])
    assert short.cert.not_valid_after_utc == made.cert.not_valid_after_utc
    assert "because the CA ends then" in short.notes[0]
    for wish in ({"days": 31}, {"not_after": datetime.now(UTC) + timedelta(days=31)}):
        with pytest.raises(Failure) as caught:
            made.issue_server(["b.example"], **wish)  # type: ignore[arg-type]
        assert "after the CA itself" in caught.value.because
    assert made.issue_server(["b.example"], days=29).notes == ()


def test_exact_dates_make_an_expired_certificate(authority: ca.Authority) -> None:
    start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, 12, tzinfo=UTC)
    old = authority.issue_server(["old.example"], not_before=start, not_after=end)
    assert (old.cert.not_valid_before_utc, old.cert.not_valid_after_utc) == (start, end)
    assert old.facts()["status"] == "expired"
    done = openssl("verify", "-CAfile", str(authority.cert_pem), str(old.cert_pem))
    assert "certificate has expired" in done.stderr


@pytest.mark.parametrize(
    ("wish", "because"),
    [
        ({"days": 0}, "0 days"),
        ({"days": 10**9}, "1950 to 9999"),
        ({"days": 3, "not_after": datetime(2030, 1, 1, tzinfo=UTC)}, "both"),
        ({"not_after": datetime(2020, 1, 1, tzinfo=UTC)}, "before it starts"),
        ({"not_before": datetime(1900, 1, 1, tzinfo=UTC)}, "1950 to 9999"),
    ],
)
def test_senseless_dates_are_refused(authority: ca.Authority, wish: dict[str, object], because: str) -> None:
    with pytest.raises(Failure) as caught:
        authority.issue_server(["x.example"], **wish)  # type: ignore[arg-type]
    assert because in caught.value.because
    assert caught.value.code is Exit.USAGE


@pytest.mark.parametrize(
    ("key_type", "because"),
    [("ed25519", "Mbed TLS"), ("Ed448", "Mbed TLS"), ("rsa1024", "2048"), ("p521", "there are"), ("", "there are")],
)
def test_keys_a_board_cannot_use_are_refused(tmp_path: Path, key_type: str, because: str) -> None:
    with pytest.raises(Failure) as caught:
        ca.init(tmp_path / "ca", key_type=key_type)
    assert because in caught.value.because
    assert not (tmp_path / "ca").exists()


@pytest.mark.parametrize(
    ("subject", "because"),
    [
        ("CN=x", "does not start with '/'"),
        ("/CN", "not NAME=VALUE"),
        ("/", "not NAME=VALUE"),
        ("/CN=a/b", "'b' is not NAME=VALUE"),
        ("/XX=a", "'XX' is not one of"),
        ("/CN=", "no value"),
        ("/C=France/CN=x", "at most 2"),
        ("/C=fr/CN=x", "two capital letters"),
        ("/CN=" + "x" * 65, "at most 64"),
        ("/CN=a\nb", "control character"),
        ("/C=FR", "neither CN nor O"),
        ("/CN=a\\", "lone backslash"),
    ],
)
def test_wrong_subjects_name_the_part(subject: str, because: str) -> None:
    with pytest.raises(Failure) as caught:
        parse_subject(subject)
    assert because in caught.value.because


def test_subject_escapes_and_order() -> None:
    name = parse_subject(r"/c=FR/ST=Ile-de-France/L=Paris/O=A\/B \\ C/OU=x+y=z/CN=root/emailAddress=a@b.example")
    assert [a.value for a in name] == ["FR", "Ile-de-France", "Paris", "A/B \\ C", "x+y=z", "root", "a@b.example"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a..b",
        "-a.example",
        "a_b.example",
        "a b",
        "*.local",
        "*",
        "a.*.b",
        "1.2.3.300",
        "\uff11.\uff12.\uff13.\uff14",
        "x" * 64,
    ],
)
def test_wrong_host_names_are_refused(name: str) -> None:
    with pytest.raises(Failure) as caught:
        host_name(name)
    assert caught.value.code is Exit.USAGE


def test_an_ip_among_the_names_becomes_an_ip_address() -> None:
    assert [type(n) for n in server_names(["192.0.2.1", "A.Example.", "a.example"], ["192.0.2.1"])] == [
        x509.IPAddress,
        x509.DNSName,
    ]
    for bad in ("300.1.1.1", "host", "fe80::1%eth0"):
        with pytest.raises(Failure):
            server_names([], [bad])
    with pytest.raises(Failure, match="needs a name"):
        server_names([], [])


@pytest.mark.parametrize("device_id", ["", "a/b", "a+", "#", "../x", "é", "x" * 49, "a b", "a\n"])
def test_wrong_device_ids_are_refused(authority: ca.Authority, device_id: str) -> None:
    with pytest.raises(Failure, match="device id"):
        authority.issue_device(device_id)


def test_a_name_too_long_for_a_cn_stands_in_a_critical_san(authority: ca.Authority) -> None:
    name = ".".join(["a" * 60] * 4)
    leaf = authority.issue_server([name])
    assert list(leaf.cert.subject) == []
    assert extension(leaf.cert, x509.SubjectAlternativeName).critical
    done = openssl("verify", "-x509_strict", "-verify_hostname", name, "-CAfile", str(authority.cert_pem),
                   str(leaf.cert_pem))  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_control_characters_of_a_certificate_do_not_reach_the_terminal(authority: ca.Authority) -> None:
    facts = certinfo.describe(authority.cert) | {"subject": "CN=\x1b[2Jx\ny"}
    assert "subject      CN=\\x1b[2Jx\\ny\n" in certinfo.text(facts)


def test_times_are_utc() -> None:
    assert parse_time("2027-01-31", "--x") == datetime(2027, 1, 31, tzinfo=UTC)
    assert parse_time("2027-01-31T12:00:00Z", "--x").hour == 12
    assert parse_time("2027-01-31T12:00:00+02:00", "--x").hour == 10
    with pytest.raises(Failure, match="--x 'soon'"):
        parse_time("soon", "--x")


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROOTLET_CA_PASSPHRASE", raising=False)
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery\n")

    def run(*args: str) -> str:
        result = CliRunner().invoke(app, list(args), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert "correct horse" not in result.output
        return result.output

    with pytest.raises(Failure, match="passphrase"):
        run("init", "--passphrase")
    made = run("init", "--passphrase-file", "secret", "--subject", "/CN=Acme root", "--days", "100")
    assert "CN=Acme root" in made and "sha256" in made and "bytes DER" in made and "encrypted" in made
    with pytest.raises(Failure, match="passphrase"):
        run("issue", "server", "a.example")
    made = run("issue", "server", "a.example", "--ip", "127.0.0.1", "--passphrase-file", "secret")
    assert "a.example, 127.0.0.1" in made and "because the CA ends then" in made
    monkeypatch.setenv("ROOTLET_CA_PASSPHRASE", "correct horse battery")
    run("issue", "device", "pico-1", "--not-before", "2020-01-01", "--not-after", "2020-01-02T00:00:00Z")
    listed = json.loads(run("list", "--json"))
    assert [(e["kind"], e["name"], e["status"]) for e in listed] == [
        ("ca", "ca", "valid"),
        ("device", "pico-1", "expired"),
        ("server", "a.example", "valid"),
    ]
    shown = json.loads(run("show", "pico-1", "--json"))
    der = Path("ca-data/issued/device-pico-1.crt.der")
    assert shown["der_bytes"] == len(der.read_bytes())
    assert shown["sha256"] == json.loads(run("show", str(der), "--json"))["sha256"]
    assert "a.example" in run("show", "server-a.example") and "pico-1" in run("list")
    with pytest.raises(Failure, match="no certificate 'nobody'"):
        run("show", "nobody")
    with pytest.raises(Failure, match="private key"):
        run("show", "ca-data/issued/device-pico-1.key.der")
