"""Certificate chains no client should take, made by `cryptography`, each wrong in one way only."""

import datetime
import ipaddress
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)


@dataclass
class Entity:
    """A certificate and its key."""

    cert: x509.Certificate
    key: Any

    def der(self) -> bytes:
        return self.cert.public_bytes(serialization.Encoding.DER)

    def pem(self) -> bytes:
        return self.cert.public_bytes(serialization.Encoding.PEM)


def _name(text: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, text),
        ]
    )


def certificate(
    name: str,
    issuer: Entity | None = None,
    *,
    ca: bool = False,
    dns: tuple[str, ...] = (),
    ips: tuple[str, ...] = (),
    eku: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH,
    key: Any = None,
    start: datetime.datetime = NOW - DAY,
    end: datetime.datetime = NOW + 30 * DAY,
    aia: bool = False,
    organisation: str = "Test",
    path_len: int | None = None,
    extra: tuple[x509.ExtensionType, bool] | None = None,
) -> Entity:
    """Issue a certificate; without an issuer it signs itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = _name(name, organisation)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.cert.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca, path_len), True)
    )
    if ca and not (extra and isinstance(extra[0], x509.KeyUsage)):
        builder = builder.add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), True
        )
    elif eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage([eku]), False)
    names = [*map(x509.DNSName, dns), *(x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    if extra:
        builder = builder.add_extension(*extra)
    if aia:
        where = x509.UniformResourceIdentifier("http://ca.example/issuer.der")
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), False)
    signer = issuer.key if issuer else key
    signed = builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return Entity(signed, key)


def sha1_certificate(folder: Path, name: str, issuer: Entity, dns: str) -> Entity:
    """A leaf signed with SHA-1. `cryptography` refuses to make one, so openssl does."""
    write(folder, "sha1-ca", issuer)
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(name, "Test")).sign(key, hashes.SHA256())
    (folder / "sha1.csr").write_bytes(request.public_bytes(serialization.Encoding.PEM))
    (folder / "sha1.cnf").write_text(f"subjectAltName=DNS:{dns}\nextendedKeyUsage=serverAuth\n")
    done = subprocess.run(
        ["openssl", "x509", "-req", "-sha1", "-in", "sha1.csr", "-CA", "sha1-ca.pem", "-CAkey", "sha1-ca.key",
         "-set_serial", "4711", "-days", "30", "-extfile", "sha1.cnf"],
        cwd=folder,
        capture_output=True,
        check=True,
        timeout=30,
    )  # fmt: skip
    return Entity(x509.load_pem_x509_certificate(done.stdout), key)


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def write(folder: Path, name: str, *chain: Entity) -> tuple[Path, Path]:
    """Write a chain (leaf first) and the leaf's key as PEM; returns both paths."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(b"".join(entity.pem() for entity in chain))
    key.write_bytes(
        chain[0].key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert, key


def key_der(entity: Entity) -> bytes:
    """The private key as MicroPython loads it."""
    der: bytes = entity.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return der
