"""Cert modules: what gets in, what is refused at build time, and that the bytes are the same each time."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from host_tools import ca, certs, pins
from host_tools.commands.certs import app
from host_tools.failure import Exit, Failure
from tests import forge

BUILD_TIME = 1_790_000_000
START = datetime.fromtimestamp(BUILD_TIME, UTC) - timedelta(days=10)
DER = serialization.Encoding.DER
PEM = serialization.Encoding.PEM


def root(
    key: Any = None,
    *,
    cn: str = "Röot 中",
    ca_flag: bool | None = True,
    days: float = 100,
    usage: bool | None = True,
    extra: tuple[x509.ExtensionType, bool] | None = None,
) -> x509.Certificate:
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(START).not_valid_after(START + timedelta(days=days))
    if ca_flag is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca_flag, None), True)
    if usage is not None:
        flags = dict.fromkeys(
            ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only"], False
        )  # fmt: skip
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=usage, crl_sign=usage, **flags), True
        )
    if extra:
        builder = builder.add_extension(*extra)
    no_hash = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(key, None if no_hash else hashes.SHA256())


def save(path: Path, *made: x509.Certificate) -> Path:
    path.write_bytes(b"# a comment\n" + b"\n".join(c.public_bytes(PEM) for c in made))
    return path


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("made", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_module_holds_every_root_once(tmp_path: Path) -> None:
    one, two = root(cn="b"), root(cn="a")
    bundle = save(tmp_path / "bundle.pem", one, two, one)
    single = tmp_path / "one.der"
    single.write_bytes(one.public_bytes(DER))
    made = certs.embed([bundle, single], tmp_path / "build" / "trust_roots.py", BUILD_TIME)
    module = load(made.module)
    assert module.BUILD_TIME == BUILD_TIME
    assert [row[0] for row in module.ROOTS] == ["CN=a", "CN=b"]
    subject, not_after, sha256, der = module.ROOTS[1]
    assert (subject, der) == ("CN=b", one.public_bytes(DER))
    assert not_after == int(one.not_valid_after_utc.timestamp())
    assert sha256 == one.fingerprint(hashes.SHA256()).hex()
    assert made.compiled.read_bytes()[:2] == b"M\x06"


def test_micropython_reads_both_forms(tmp_path: Path) -> None:
    made = certs.embed([save(tmp_path / "r.pem", root())], tmp_path / "build" / "trust_roots.py", BUILD_TIME)
    (tmp_path / "mpy").mkdir()
    made.compiled.rename(tmp_path / "mpy" / "trust_roots.mpy")
    code = "import trust_roots as t; print((t.BUILD_TIME, t.ROOTS))"
    for folder in ("build", "mpy"):
        done = subprocess.run(
            [Path(sys.executable).parent / "micropython", "-c", code],
            cwd=tmp_path / folder, capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        rows = tuple((r.subject, r.not_after, r.sha256, r.der) for r in made.roots)
        assert eval(done.stdout) == (BUILD_TIME, rows)


def test_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.pem", root(cn="a")), save(tmp_path / "b.pem", root(cn="b"))
    first = certs.embed([a, b], tmp_path / "x" / "trust_roots.py", BUILD_TIME)
    second = certs.embed([b, a, a], tmp_path / "elsewhere" / "trust_roots.py", BUILD_TIME)
    assert first.module.read_bytes() == second.module.read_bytes()
    assert first.compiled.read_bytes() == second.compiled.read_bytes()
    assert b"trust_roots.py" in first.compiled.read_bytes()
    assert str(tmp_path).encode() not in first.compiled.read_bytes()
    later = certs.embed([a, b], tmp_path / "x" / "trust_roots.py", BUILD_TIME + 1)
    assert later.module.read_bytes() != second.module.read_bytes()
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["trust_roots.mpy", "trust_roots.py"]


def test_build_time_comes_from_the_environment_or_midnight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(BUILD_TIME))
    path = save(tmp_path / "r.pem", root(days=36500))
    assert certs.embed([path], tmp_path / "t.py").build_time == BUILD_TIME
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    floor = certs.embed([path], tmp_path / "t.py").build_time
    assert floor % 86400 == 0
    assert 0 <= datetime.now(UTC).timestamp() - floor < 2 * 86400
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(Failure, match="SOURCE_DATE_EPOCH"):
        certs.embed([path], tmp_path / "t.py")
    with pytest.raises(Failure, match="build time -1"):
        certs.embed([path], tmp_path / "t.py", -1)


CONSTRAINTS = x509.NameConstraints([x509.DNSName("example.org")], None)
REFUSED: list[tuple[str, Callable[[], x509.Certificate], str]] = [
    ("leaf", lambda: root(ca_flag=False), "not a CA: basicConstraints"),
    ("no basicConstraints", lambda: root(ca_flag=None), "not a CA: basicConstraints"),
    ("no keyCertSign", lambda: root(usage=False), "keyCertSign"),
    ("expired", lambda: root(days=9.9), "expired 2026-09-2"),
    ("constrained", lambda: root(extra=(CONSTRAINTS, True)), "name constraints"),
    ("constrained, not critical", lambda: root(extra=(CONSTRAINTS, False)), "name constraints"),
    ("critical", lambda: root(extra=(x509.InhibitAnyPolicy(1), True)), "critical extension 2.5.29.54"),
    ("Ed25519", lambda: root(ed25519.Ed25519PrivateKey.generate()), "Ed25519"),
    ("Ed448", lambda: root(ed448.Ed448PrivateKey.generate()), "Ed448"),
    ("DSA", lambda: root(dsa.generate_private_key(1024)), "DSA"),
    ("RSA-1024", lambda: root(rsa.generate_private_key(65537, 1024)), "RSA-1024 key is too weak"),
    ("secp256k1", lambda: root(ec.generate_private_key(ec.SECP256K1())), "secp256k1"),
    ("P-224", lambda: root(ec.generate_private_key(ec.SECP224R1())), "secp224r1"),
]


@pytest.mark.parametrize(("make", "because"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_unusable_roots_are_refused(tmp_path: Path, make: Callable[[], x509.Certificate], because: str) -> None:
    path = save(tmp_path / "r.pem", root(), make())
    with pytest.raises(Failure) as caught:
        certs.embed([path], tmp_path / "out" / "t.py", BUILD_TIME)
    assert because in caught.value.because
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "key",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
        lambda: rsa.generate_private_key(65537, 2048),
    ],
)
def test_every_usable_key_is_taken(tmp_path: Path, key: Callable[[], Any]) -> None:
    path = save(tmp_path / "r.pem", root(key(), usage=None))
    assert len(certs.embed([path], tmp_path / "t.py", BUILD_TIME).roots) == 1


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("encoding", [PEM, DER])
def test_private_keys_are_refused_and_never_shown(tmp_path: Path, encoding: Any, encrypted: bool) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    lock = serialization.BestAvailableEncryption(b"pass") if encrypted else serialization.NoEncryption()
    data = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, lock)
    path = tmp_path / "key"
    path.write_bytes((root(key).public_bytes(PEM) if encoding is PEM else b"") + data)
    with pytest.raises(Failure, match="private key") as caught:
        certs.embed([path], tmp_path / "t.py", BUILD_TIME)
    lines = [line for line in data.splitlines() if len(line) > 20 and not line.startswith(b"--")]
    assert not any(line.decode("latin-1") in str(caught.value) for line in lines)
    assert not (tmp_path / "t.py").exists()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hello", "is not a certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is damaged"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is not only certificates"),
    ],
)
def test_files_without_certificates_are_refused(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(data)
    with pytest.raises(Failure, match=what):
        certs.embed([path], tmp_path / "t.py", BUILD_TIME)


def test_a_cut_bundle_or_trailing_bytes_are_refused(tmp_path: Path) -> None:
    one = root()
    path = tmp_path / "f"
    path.write_bytes(one.public_bytes(PEM) + one.public_bytes(PEM)[:200])
    with pytest.raises(Failure, match="is damaged"):
        certs.embed([path], tmp_path / "t.py", BUILD_TIME)
    path.write_bytes(one.public_bytes(DER) + b"x")
    with pytest.raises(Failure, match="is not a certificate"):
        certs.embed([path], tmp_path / "t.py", BUILD_TIME)
    with pytest.raises(Failure, match="cannot read"):
        certs.embed([tmp_path / "absent"], tmp_path / "t.py", BUILD_TIME)
    with pytest.raises(Failure, match="nothing to embed"):
        certs.embed([], tmp_path / "t.py", BUILD_TIME)


@pytest.mark.parametrize("name", ["trust-roots.py", "t.txt", "class.py", "1.py"])
def test_a_module_must_be_importable(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failure, match="cannot be a module"):
        certs.embed([save(tmp_path / "r.pem", root())], tmp_path / name, BUILD_TIME)


def test_a_file_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print('mine')\n")
    with pytest.raises(Failure, match="exists already"):
        certs.embed([save(tmp_path / "r.pem", root())], tmp_path / "main.py", BUILD_TIME)
    assert (tmp_path / "main.py").read_text() == "print('mine')\n"


def test_the_whole_public_set_is_usable(tmp_path: Path) -> None:
    made = certs.embed([Path(certifi.where())], tmp_path / "t.py")
    assert len(made.roots) > 100
    assert len(load(made.module).ROOTS) == len(made.roots)


def test_command_line(tmp_path: Path) -> None:
    authority = ca.init(tmp_path / "ca", subject="/CN=Acme root")
    out = tmp_path / "build" / "trust_roots.py"
    result = CliRunner().invoke(
        app, ["embed", str(authority.cert_pem), "-o", str(out), "--build-time", "1790000000"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "CN=Acme root" in result.output and f"{len(authority.cert_der.read_bytes())} bytes DER" in result.output
    assert load(out).BUILD_TIME == 1790000000


def openssl_pin(cert: x509.Certificate) -> str:
    """The pin as curl's manual has it made."""
    steps = (["x509", "-pubkey", "-noout"], ["pkey", "-pubin", "-outform", "der"], ["dgst", "-sha256", "-binary"],
             ["enc", "-base64"])  # fmt: skip
    data = cert.public_bytes(PEM)
    for step in steps:
        data = subprocess.run(["openssl", *step], input=data, capture_output=True, check=True, timeout=30).stdout
    return "sha256//" + data.decode().strip()


@pytest.mark.parametrize("encoding", [PEM, DER])
def test_pins_are_those_of_openssl(tmp_path: Path, encoding: Any) -> None:
    made = [root(key) for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048),
                                  ed25519.Ed25519PrivateKey.generate())]  # fmt: skip
    if encoding is DER:
        made = made[:1]
    path = tmp_path / "bundle"
    path.write_bytes(b"".join(cert.public_bytes(encoding) for cert in made))
    expected = [openssl_pin(cert) for cert in made]
    assert [found.pin for found in pins.of_file(path)] == expected
    result = CliRunner().invoke(app, ["pin", str(path)], catch_exceptions=False)
    assert [line.split()[0] for line in result.output.splitlines()] == expected
    assert result.output.splitlines()[0].split()[1] == "P-384"


def test_no_pin_of_a_private_key_or_of_nothing(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "k.pem"
    path.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    with pytest.raises(Failure, match="holds a private key"):
        pins.of_file(path)
    with pytest.raises(Failure, match="cannot read"):
        pins.of_file(tmp_path / "absent")


def test_roots_that_the_reader_of_a_board_refuses_are_refused(tmp_path: Path) -> None:
    spec = forge.Spec("Twice", ca=True, usage=forge.usage("key_cert_sign"), aki=False)
    spec.extra = [("2.5.29.32", b"\x30\x06\x30\x04\x06\x02\x2a\x03", False)] * 2
    path = tmp_path / "twice.der"
    path.write_bytes(forge.issue(spec, spec))
    for function in (lambda: certs.embed([path], tmp_path / "t.py", BUILD_TIME), lambda: pins.of_file(path)):
        with pytest.raises(Failure) as caught:
            function()
        assert "a board could not read it: an extension twice" in caught.value.because


@pytest.mark.parametrize(
    ("name", "data"), [("ca.crt.pem", b"-----BEGIN"), ("x.py", b"print()"), ("x.mpy", b"RLROOTS1")]
)
def test_what_is_no_cert_module_is_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Failure, match="is no cert module") as caught:
        certs.check_module(tmp_path / name)
    assert caught.value.code == Exit.USAGE
    assert "rootlet certs embed" in caught.value.try_
