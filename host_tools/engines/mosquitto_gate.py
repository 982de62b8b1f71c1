"""A CA file that lets in the listed names alone: Mosquitto itself refuses nobody by the name in a certificate.

To what OpenSSL trusts, name constraints apply (RFC 5280 section 4.2.1.10; it checks those of the trust anchor, too). So
Mosquitto is given the CA's name and key in a certificate of its own, which permits the subjects CN=NAME of the list and
no others. Its signature is by a key that is thrown away: nobody checks that of a root, and no other program gets it.
"""

from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from host_tools import certinfo
from host_tools.engines.settings import Settings, private
from host_tools.failure import Failure
from host_tools.x509_build import signature_hash
from host_tools.x509_names import common_name


def write(settings: Settings, names: Iterable[str]) -> tuple[Path, Path]:
    """Write the CA file for these names, and the server's chain; returns both.

    The chain gets the CA's own certificate: else OpenSSL would complete it with ours, and so tell the list to all.
    """
    wanted = sorted(set(names))
    authorities = certinfo.read_certificates(settings.ca)
    gates = b"".join(_gate(one, wanted).public_bytes(Encoding.PEM) for one in authorities)
    chain = certinfo.read_certificates(settings.cert)
    if len(chain) == 1:
        issuer = next((one for one in authorities if certinfo.issued_by(chain[0], one)), None)
        chain += [issuer] if issuer else []
    text = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
    return private(settings, "listed.pem", gates.decode()), private(settings, "chain.pem", text.decode())


def _gate(authority: x509.Certificate, names: list[str]) -> x509.Certificate:
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    public = authority.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        key = ec.generate_private_key(public.curve)
    elif isinstance(public, rsa.RSAPublicKey):
        key = rsa.generate_private_key(65537, 2048)
    else:
        because = "its key is neither RSA nor of an elliptic curve"
        raise Failure("Mosquitto cannot keep to a list of devices of that CA", because, "--engine amqtt")
    made = (
        x509.CertificateBuilder()
        .subject_name(authority.subject)
        .issuer_name(authority.subject)
        .public_key(public)
        .serial_number(authority.serial_number)
        .not_valid_before(authority.not_valid_before_utc)
        .not_valid_after(authority.not_valid_after_utc)
    )
    for extension in authority.extensions:
        if not isinstance(extension.value, x509.NameConstraints):
            made = made.add_extension(extension.value, extension.critical)
    # An empty list of what is permitted would permit all: a name that nobody can have is in it.
    permitted = [x509.DirectoryName(common_name(name)) for name in names or ["\x00"]]
    constraints = x509.NameConstraints(permitted, None)
    return made.add_extension(constraints, critical=True).sign(key, signature_hash(key))
