"""Turns CA certificates into the cert module a board imports, and refuses those a board could not use."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from keyword import iskeyword
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from host_tools import certinfo
from host_tools.failure import Exit, Failure
from host_tools.mpy import compile_source
from host_tools.safe_write import File, write_all
from rootlet import x509 as reader

_MARK = "# A cert module made by `rootlet certs embed`"
_LARGEST_RSA = 8192  # bits, Mbed TLS's MBEDTLS_MPI_MAX_SIZE
_CURVES = ("P-256", "P-384", "P-521")
_KNOWN_CRITICAL = (
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
)
# A root's own signature is not checked, but Mbed TLS refuses to load a certificate whose signature it cannot name.
_KNOWN_SIGNATURES = (
    SignatureAlgorithmOID.RSA_WITH_SHA1,
    SignatureAlgorithmOID.RSA_WITH_SHA256,
    SignatureAlgorithmOID.RSA_WITH_SHA384,
    SignatureAlgorithmOID.RSA_WITH_SHA512,
    SignatureAlgorithmOID.ECDSA_WITH_SHA1,
    SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512,
)
_LAST = 253402300799  # 9999-12-31T23:59:59Z, the last date a certificate can hold


@dataclass(frozen=True)
class Root:
    """One root as it stands in the cert module; `not_after` in Unix seconds."""

    subject: str
    not_after: int
    sha256: str
    der: bytes


@dataclass(frozen=True)
class Embedded:
    """What `embed` made: `module`, its `compiled` form, its `build_time` in Unix seconds, its `roots`."""

    module: Path
    compiled: Path
    build_time: int
    roots: tuple[Root, ...]


def embed(files: Iterable[Path], out: Path, build_time: int | None = None) -> Embedded:
    """Write a cert module and its .mpy. The same roots and build time give the same bytes.

    Args:
        files: PEM files or bundles and DER files; repeats are dropped.
        out: the module, NAME.py; NAME.mpy is written beside it. Its directory is made if absent.
        build_time: Unix seconds, the lower bound of the board's clock. By default SOURCE_DATE_EPOCH, else the last
            midnight UTC.
    Raises: Failure for a certificate that is not a usable CA, a private key, or nothing to embed.
    """
    moment = moment_of_build(build_time)
    _check_out(out)
    roots: dict[str, Root] = {}
    for path in files:
        for cert in certinfo.read_certificates(path):
            check_root(cert, path, moment)
            root = Root(
                cert.subject.rfc4514_string(),
                int(cert.not_valid_after_utc.timestamp()),
                certinfo.sha256(cert),
                certinfo.der(cert),
            )
            roots[root.sha256] = root
    if not roots:
        raise Failure("there is nothing to embed", "no CA file was given",
                      "rootlet certs embed ca-data/ca.crt.pem -o build/trust_roots.py", Exit.USAGE)  # fmt: skip
    ordered = tuple(sorted(roots.values(), key=lambda r: (r.subject, r.sha256)))
    source = _source(ordered, moment)
    bytecode = compile_source(source, out.name)
    compiled = out.with_suffix(".mpy")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make {out.parent}", error.strerror or str(error), f"ls -ld {out.parent}") from None
    write_all([File(out, source), File(compiled, bytecode)], force=True, keep_backup=False)
    return Embedded(out, compiled, moment, ordered)


def check_module(path: Path) -> None:
    """Refuse what a board cannot import as its cert module. Args: path: of the module. Raises Failure (usage)."""
    source = path if path.suffix in (".pem", ".der") else "CA_FILE"
    fix = f"rootlet certs embed {source} -o build/trust_roots.py, and give that"
    try:
        with path.open("rb") as stream:
            start = stream.read(max(len(_MARK), 2))
    except OSError as error:
        raise Failure(f"cannot read {path}", error.strerror or str(error), f"ls -l {path}", Exit.USAGE) from None
    if path.suffix == ".py" and start.startswith(_MARK.encode()):
        return
    if path.suffix == ".mpy" and start[:1] == b"M":
        return
    raise Failure(f"{path} is no cert module", "a board reads the .py or .mpy that `rootlet certs embed` writes", fix,
                  Exit.USAGE)  # fmt: skip


def moment_of_build(given: int | None) -> int:
    if given is None:
        text = os.environ.get("SOURCE_DATE_EPOCH")
        if text:
            if not (text.isascii() and text.isdigit() and len(text) < 13):
                raise Failure("SOURCE_DATE_EPOCH cannot be used", f"'{text[:40]}' is not Unix seconds",
                              "SOURCE_DATE_EPOCH=$(date +%s)", Exit.USAGE)  # fmt: skip
            given = int(text)
        else:
            now = int(datetime.now(UTC).timestamp())
            given = now - now % 86400
    if not 0 <= given <= _LAST:
        raise Failure(f"the build time {given} cannot be used", "it is not Unix seconds of a date before 10000",
                      "--build-time $(date +%s)", Exit.USAGE)  # fmt: skip
    return given


def _check_out(out: Path) -> None:
    """A module that can be imported, and no file of someone else's. Raises Failure (usage)."""
    if out.suffix != ".py" or not out.stem.isidentifier() or not out.stem.isascii() or iskeyword(out.stem):
        raise Failure(f"{out} cannot be a module", "its name is not one that Python can import, with .py at the end",
                      "-o build/trust_roots.py", Exit.USAGE)  # fmt: skip
    if not out.exists():
        return
    try:
        with out.open("rb") as stream:
            ours = stream.read(len(_MARK)) == _MARK.encode()
    except OSError:
        ours = False
    if not ours:
        raise Failure(f"{out} exists already", "it was not made by `rootlet certs embed`", "another file name for -o",
                      Exit.USAGE)  # fmt: skip


def check_root(cert: x509.Certificate, path: Path, build_time: int) -> None:
    """Raises Failure for a certificate that would not serve a board as a root."""
    who = certinfo.printable(cert.subject.rfc4514_string()) or certinfo.sha256(cert)[:16]

    def refuse(because: str, try_: str) -> Failure:
        return Failure(f"'{who}' in {path} cannot be a root", because, try_)

    def extension(kind: type[x509.ExtensionType]) -> x509.ExtensionType | None:
        return next((e.value for e in extensions if isinstance(e.value, kind)), None)

    try:
        reader.parse(certinfo.der(cert))
    except reader.Malformed as error:
        raise refuse(f"a board could not read it: {error}", f"openssl x509 -in {path} -noout -text") from None
    try:
        extensions = list(cert.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise refuse("its extensions cannot be read", f"openssl x509 -in {path} -noout -text") from None
    basic = extension(x509.BasicConstraints)
    if not isinstance(basic, x509.BasicConstraints) or not basic.ca:
        raise refuse("it is not a CA: basicConstraints does not say CA:TRUE", "give the CA that issued it")
    usage = extension(x509.KeyUsage)
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        raise refuse("it is not a CA: its keyUsage lacks keyCertSign", "give the CA that issued it")
    if extension(x509.NameConstraints) is not None:
        raise refuse("it has name constraints, which Mbed TLS cannot honour", "a CA without name constraints")
    for found in extensions:
        if found.critical and found.oid not in _KNOWN_CRITICAL:
            raise refuse(f"Mbed TLS does not know its critical extension {found.oid.dotted_string}", "another CA")
    end = cert.not_valid_after_utc
    if end.timestamp() < build_time:
        built = datetime.fromtimestamp(build_time, UTC)
        raise refuse(f"it expired {end:%Y-%m-%d}, before the build time {built:%Y-%m-%d}", "its successor")
    _check_key(cert, refuse)


def _check_key(cert: x509.Certificate, refuse: Callable[[str, str], Failure]) -> None:
    name = certinfo.cert_key_name(cert)
    supported = "RSA of 2048 bits or more, or P-256, P-384 or P-521"
    try:
        key = cert.public_key()
    except (UnsupportedAlgorithm, ValueError):
        raise refuse("its key is of a kind Mbed TLS lacks", f"a CA with {supported}") from None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < 2048:
            raise refuse(f"its {name} key is too weak", f"a CA with {supported}")
        if key.key_size > _LARGEST_RSA:
            raise refuse(f"its {name} key is too large for Mbed TLS", f"a CA with {supported}")
    elif not isinstance(key, ec.EllipticCurvePublicKey) or name not in _CURVES:
        raise refuse(f"its key is {name}, which Mbed TLS on a board lacks", f"a CA with {supported}")
    if cert.signature_algorithm_oid not in _KNOWN_SIGNATURES:
        oid = cert.signature_algorithm_oid.dotted_string
        raise refuse(f"it is signed by an algorithm ({oid}) that Mbed TLS on a board lacks", f"a CA with {supported}")


def _source(roots: tuple[Root, ...], build_time: int) -> bytes:
    lines = [f"{_MARK} from public certificates; change the inputs, not this file.", f"BUILD_TIME = {build_time}"]
    lines.append("ROOTS = (")
    lines += [f"    ({root.subject!r}, {root.not_after}, {root.sha256!r}, {root.der!r})," for root in roots]
    lines.append(")")
    return ("\n".join(lines) + "\n").encode()
