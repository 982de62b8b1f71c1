"""Chains of certificates of each key type and length, for servers that handshakes are measured with."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from host_tools import certinfo
from host_tools.x509_build import PrivateKey, builder, key_bytes, key_usage, new_key, signature_hash
from host_tools.x509_names import common_name, server_names


@dataclass(frozen=True)
class Chain:
    """Files of a server, cert_pem with the leaf first, and the root that is not sent (PEM and DER)."""

    cert_pem: Path
    key_pem: Path
    root_pem: Path
    root_der: bytes


def make(folder: Path, kind: str, sent: int, host: str) -> Chain:
    """A chain whose keys are all of one type.

    Args: folder: made here. kind: of x509_build.KEY_TYPES. sent: certificates that the server sends, 1 to 3.
    """
    folder.mkdir(parents=True)
    start = datetime.now(UTC) - timedelta(days=1)
    end = start + timedelta(days=30)
    names = [common_name(f"Bench {kind} {sent} {depth}") for depth in range(sent)]
    issuer, key = names[0], new_key(kind)
    root = _authority(names[0], names[0], key, key, start, end)
    certs: list[x509.Certificate] = []
    for name in names[1:]:
        below = new_key(kind)
        certs.insert(0, _authority(name, issuer, below, key, start, end))
        issuer, key = name, below
    leaf_key = new_key(kind)
    leaf = (
        builder(common_name(host), issuer, leaf_key, start, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(server_names([host], ())), critical=False)
        .sign(key, signature_hash(key))
    )
    chain = Chain(folder / "server.pem", folder / "server.key", folder / "root.pem", certinfo.der(root))
    chain.cert_pem.write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in (leaf, *certs)))
    chain.key_pem.touch(0o600)
    chain.key_pem.write_bytes(key_bytes(leaf_key, Encoding.PEM))
    chain.root_pem.write_bytes(root.public_bytes(Encoding.PEM))
    return chain


def _authority(
    name: x509.Name, issuer: x509.Name, key: PrivateKey, signer: PrivateKey, start: datetime, end: datetime
) -> x509.Certificate:
    return (
        builder(name, issuer, key, start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(ca=True), critical=True)
        .sign(signer, signature_hash(signer))
    )
