"""Certificates of many shapes for the tests of the X.509 reader, made by `cryptography`."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

START = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def certificate(key, subject, extensions, start=START, days=365, digest=None):
    """One self-signed certificate as DER. extensions: (extension, critical) pairs."""
    name = x509.Name(subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, digest).public_bytes(serialization.Encoding.DER)


def _cn(text):
    return [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Org"), x509.NameAttribute(NameOID.COMMON_NAME, text)]


def described():
    """(DER, what the reader should find: a dict of its attributes) for each shape."""
    p256, p384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
    rsa2048, rsa1024 = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 1024)
    san = x509.SubjectAlternativeName(
        [x509.DNSName("host.example"), x509.DNSName("*.Wild.example"), x509.IPAddress(ipaddress.ip_address("10.1.2.3"))]
    )
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    sha = hashes.SHA256()
    late = datetime.datetime(2049, 12, 31, 23, 59, 58, tzinfo=datetime.UTC)
    return [
        (
            certificate(p256, _cn("leaf"), [(san, False), (server, False)], digest=sha),
            {
                "key": ["EC", "P-256"],
                "dns": ["host.example", "*.wild.example"],
                "ips": ["0a010203"],
                "is_ca": False,
                "signature": "SHA256-ECDSA",
                "names": 3,
                "eku": ["2b06010505070301"],
                "key_usage": None,
            },
        ),
        (
            certificate(rsa2048, _cn("root"), [(x509.BasicConstraints(True, None), True), (usage, True)], digest=sha),
            {
                "key": ["RSA", 2048],
                "is_ca": True,
                "key_usage": 6,
                "signature": "SHA256-RSA",
                "names": 0,
                "san": None,
                "eku": None,
            },
        ),
        (
            certificate(p384, _cn("none"), [(x509.BasicConstraints(False, None), True)], late, 400, hashes.SHA384()),
            {
                "key": ["EC", "P-384"],
                "is_ca": False,
                "signature": "SHA384-ECDSA",
                "not_before": 2524607998,
                "not_after": 2524607998 + 400 * 86400,
            },
        ),
        (
            certificate(rsa1024, _cn("weak"), [], digest=hashes.SHA512()),
            {"key": ["RSA", 1024], "version": 3, "signature": "SHA512-RSA"},
        ),
        (
            certificate(ed25519.Ed25519PrivateKey.generate(), _cn("ed"), []),
            {"key": ["other", 0], "signature": "Ed25519"},
        ),
        (
            certificate(
                p256,
                [],
                [
                    (x509.NameConstraints([x509.DNSName("x.example")], None), True),
                    (
                        x509.AuthorityInformationAccess(
                            [
                                x509.AccessDescription(
                                    x509.oid.AuthorityInformationAccessOID.CA_ISSUERS,
                                    x509.UniformResourceIdentifier("http://ca.example/i.der"),
                                )
                            ]
                        ),
                        False,
                    ),
                ],
                digest=sha,
            ),
            {"name_constrained": True, "has_aia": True},
        ),
    ]


def certificates():
    """The certificates alone."""
    return [der for der, _ in described()]
