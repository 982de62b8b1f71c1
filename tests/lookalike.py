"""Roots that look like certifi's: the same names, dates, key types and sizes, but keys of our own."""

import random
import warnings
from functools import lru_cache
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from host_tools import roots
from tests.integration.chains import DAY, NOW, Entity, certificate

BUILD_TIME = int(NOW.timestamp()) // 86400 * 86400
VERSION = "look-alike"
# So many roots of each kind have a private key, so that servers can be had under them.
SIGNERS = {"RSA-4096": 3, "P-384": 3, "RSA-2048": 2, "P-256": 1, "P-521": 1}


@lru_cache
def real() -> list[x509.Certificate]:
    """certifi's roots."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x509.load_pem_x509_certificates(Path(certifi.where()).read_bytes())


def _copy(model: x509.Certificate, public, signer) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(model.subject)
        .issuer_name(model.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 400 * DAY)
        .not_valid_after(max(model.not_valid_after_utc, NOW + DAY))
        .add_extension(x509.BasicConstraints(True, None), True)
    )
    return builder.sign(signer, hashes.SHA256())


@lru_cache
def pki() -> tuple[list[x509.Certificate], list[Entity]]:
    """(all 117 roots, the ten of them that can sign). A public RSA key without a private one is an odd number."""
    left = dict(SIGNERS)
    dice = random.Random(4711)
    notary = ec.generate_private_key(ec.SECP256R1())
    everything, signers = [], []
    for model in real():
        key = model.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            kind = f"RSA-{key.key_size}"
            numbers = rsa.RSAPublicNumbers(65537, dice.getrandbits(key.key_size) | 1 | 1 << (key.key_size - 1))
            private = rsa.generate_private_key(65537, key.key_size) if left.get(kind) else None
            public = private.public_key() if private else numbers.public_key()
        else:
            kind = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}[key.curve.name]
            private = ec.generate_private_key(key.curve)
            public = private.public_key()
        cert = _copy(model, public, notary if private is None else private)
        everything.append(cert)
        if left.get(kind):
            left[kind] -= 1
            signers.append(Entity(cert, private))
    return everything, signers


def anchors(certs) -> list[roots.Anchor]:
    return [roots.anchor(cert) for cert in certs]


def write_store(path: Path, certs) -> Path:
    """A store of these roots in a file."""
    path.write_bytes(roots.build(anchors(certs), VERSION, BUILD_TIME))
    return path


def server_chain(root: Entity, *, root_sent: bool = False, **names) -> list[Entity]:
    """Leaf, intermediate and, where wanted, the root itself: what a server under this root sends."""
    middle = certificate("Middle of " + root.cert.subject.rfc4514_string()[:30], root, ca=True)
    leaf = certificate("leaf", middle, **(names or {"dns": ("localhost",)}))
    return [leaf, middle, root] if root_sent else [leaf, middle]
