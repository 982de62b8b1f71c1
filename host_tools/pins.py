"""Pins of public keys, in the form curl has: sha256//BASE64 of the SHA-256 of the SubjectPublicKeyInfo."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from host_tools import certinfo
from host_tools.failure import Failure
from rootlet import x509
from rootlet.trust import pin_text


@dataclass(frozen=True)
class Pin:
    """The pin of one certificate, and whose it is: subject as RFC 4514 has it, the kind of its key."""

    pin: str
    subject: str
    key: str


def of_der(der: bytes) -> str:
    """The pin of one certificate. Raises rootlet.x509.Malformed."""
    start, end = x509.parse(der).spki
    text: str = pin_text(hashlib.sha256(der[start:end]).digest())
    return text


def of_file(path: Path) -> list[Pin]:
    """The pin of each certificate of a PEM file or bundle or of a DER file, in its order.

    Raises: Failure for what holds no certificate, a private key, or a certificate a board could not read.
    """
    pins = []
    for cert in certinfo.read_certificates(path):
        subject = certinfo.printable(cert.subject.rfc4514_string())
        try:
            pins.append(Pin(of_der(certinfo.der(cert)), subject, certinfo.cert_key_name(cert)))
        except x509.Malformed as error:
            raise Failure(
                f"'{subject}' in {path} cannot be pinned",
                f"a board could not read it: {error}",
                f"openssl x509 -in {path} -noout -text",
            ) from None
    return pins
