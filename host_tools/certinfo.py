"""Says what a certificate is, for people and as JSON: names, dates, fingerprint, and its size on a board."""

import re
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID

from host_tools.failure import Failure

MAX_BYTES = 16 * 1024 * 1024
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_USES = {ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth", ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth"}
_BEGIN = re.compile(rb"-----BEGIN ([^\r\n]{1,64}?)-----")


def key_name(key: Any) -> str:
    """The usual name of a public or private key: P-256, RSA-2048, Ed25519, …"""
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return _CURVES.get(key.curve.name, key.curve.name)
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return f"RSA-{key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return "Ed25519"
    if isinstance(key, ed448.Ed448PublicKey | ed448.Ed448PrivateKey):
        return "Ed448"
    if isinstance(key, dsa.DSAPublicKey | dsa.DSAPrivateKey):
        return f"DSA-{key.key_size}"
    return type(key).__name__


def cert_key_name(cert: x509.Certificate) -> str:
    """As key_name, for the key in a certificate; "unknown" where it cannot be read."""
    try:
        return key_name(cert.public_key())
    except (UnsupportedAlgorithm, ValueError):
        return "unknown"


def der(cert: x509.Certificate) -> bytes:
    """The certificate as DER."""
    return cert.public_bytes(serialization.Encoding.DER)


def sha256(cert: x509.Certificate) -> str:
    """SHA-256 of the DER, 64 lower-case hex digits."""
    return cert.fingerprint(hashes.SHA256()).hex()


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Every certificate of a PEM file or bundle, or the one of a DER file.

    Raises: Failure where the file holds a private key (its content is never shown), something else, or nothing.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise Failure(f"cannot read {path}", error.strerror or str(error), f"ls -l {path}") from None
    if len(data) > MAX_BYTES:
        raise Failure(f"{path} is too large", f"it is over {MAX_BYTES} bytes", "give the CA certificate alone")
    if not data.strip():
        raise Failure(f"{path} is empty", "it holds no certificate", "give a PEM or DER certificate")
    labels = [label.decode("ascii", "replace") for label in _BEGIN.findall(data)]
    if any("PRIVATE KEY" in label for label in labels) or b"PRIVATE KEY-----" in data:
        raise _private_key(path)
    if not labels:
        return [_read_der(path, data)]
    for label in labels:
        if label != "CERTIFICATE":
            raise Failure(f"{path} is not only certificates", f"it holds a '{label}'", "give PEM certificates alone")
    try:
        with warnings.catch_warnings():
            # Old roots have a serial number of zero; as a trust anchor that does no harm.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            certificates = x509.load_pem_x509_certificates(data)
    except ValueError:
        certificates = []
    if len(certificates) != len(labels):
        raise Failure(
            f"{path} is damaged",
            f"{len(labels)} certificates begin in it, and not all of them can be read",
            f"openssl x509 -in {path} -noout -text",
        )
    return certificates


def _private_key(path: Path) -> Failure:
    return Failure(
        f"{path} holds a private key",
        "only certificates belong here; a key must never leave the place it was made for",
        "give the certificate file, such as ca.crt.pem",
    )


def _read_der(path: Path, data: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(data)
    except ValueError:
        pass
    try:
        serialization.load_der_private_key(data, None)
        raise _private_key(path)
    except TypeError:  # an encrypted one
        raise _private_key(path) from None
    except (ValueError, UnsupportedAlgorithm):
        raise Failure(
            f"{path} is not a certificate", "it is neither PEM nor one DER certificate", f"file {path}"
        ) from None


def describe(cert: x509.Certificate, now: datetime | None = None) -> dict[str, Any]:
    """What there is to say about a certificate, ready for JSON.

    Args: now: the moment to judge `status` by.
    """
    moment = now or datetime.now(UTC)
    start, end = cert.not_valid_before_utc, cert.not_valid_after_utc
    status = "not yet valid" if moment < start else "expired" if moment > end else "valid"
    dns: list[str] = []
    ips: list[str] = []
    directory: list[str] = []
    uses: list[str] = []
    ca = False
    for extension in _extensions(cert):
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            dns = value.get_values_for_type(x509.DNSName)
            ips = [str(ip) for ip in value.get_values_for_type(x509.IPAddress)]
            directory = [name.rfc4514_string() for name in value.get_values_for_type(x509.DirectoryName)]
        elif isinstance(value, x509.ExtendedKeyUsage):
            uses = [_USES.get(oid, oid.dotted_string) for oid in value]
        elif isinstance(value, x509.BasicConstraints):
            ca = value.ca
    return {
        "subject": cert.subject.rfc4514_string(),
        "issuer": cert.issuer.rfc4514_string(),
        "dns": dns,
        "ips": ips,
        "directory_names": directory,
        "ca": ca,
        "uses": uses,
        "key": cert_key_name(cert),
        "serial": f"{cert.serial_number:x}",
        "not_before": start.isoformat().replace("+00:00", "Z"),
        "not_after": end.isoformat().replace("+00:00", "Z"),
        "status": status,
        "sha256": sha256(cert),
        "der_bytes": len(der(cert)),
    }


def _extensions(cert: x509.Certificate) -> list[x509.Extension[x509.ExtensionType]]:
    try:
        return list(cert.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return []


def printable(name: str) -> str:
    """A name from a certificate, with control characters escaped: it may come from anyone and goes to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def text(facts: dict[str, Any]) -> str:
    """The facts of `describe` as lines for a person."""
    names = [*facts["dns"], *facts["ips"], *facts["directory_names"]]
    lines = [
        f"subject      {facts['subject'] or '(none)'}",
        f"issuer       {facts['issuer']}",
        f"names        {', '.join(names) or '-'}",
        f"for          {'CA' if facts['ca'] else ', '.join(facts['uses']) or '-'} ({facts['key']})",
        f"valid        {facts['not_before']} to {facts['not_after']} ({facts['status']})",
        f"sha256       {facts['sha256']}",
        f"on a board   {facts['der_bytes']} bytes DER"
        + (f" + {facts['key_der_bytes']} bytes key" if facts.get("key_der_bytes") else ""),
    ]
    return "\n".join(printable(line) for line in lines)


def issued_by(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's name and key are those that a certificate was signed with."""
    try:
        cert.verify_directly_issued_by(issuer)
    except Exception:
        return False
    return True
