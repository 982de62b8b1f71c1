"""A folder of lists of revoked certificates, named as OpenSSL names them: the form in which Erlang reads them."""

import hashlib
import re
from collections import Counter
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from host_tools.engines.settings import Settings, private
from host_tools.safe_write import make_directory

_SEQUENCE, _SET, _UTF8 = 0x30, 0x31, 0x0C


def write(settings: Settings, crls: list[x509.CertificateRevocationList]) -> list[Path]:
    """Write the lists into `crls` of the settings' folder, as HASH.rN; what was there before goes."""
    folder = settings.directory / "crls"
    make_directory(folder)
    for old in folder.glob("*.r*"):
        old.unlink()
    count: Counter[str] = Counter()
    files = []
    for crl in crls:
        name = name_hash(crl.issuer)
        text = crl.public_bytes(Encoding.PEM).decode()
        files.append(private(settings, f"crls/{name}.r{count[name]}", text))
        count[name] += 1
    return files


def name_hash(name: x509.Name) -> str:
    """The hash that `openssl x509 -subject_hash` prints: of the name with spaces and case levelled out."""
    found = b"".join(
        _tlv(_SET, b"".join(sorted(_tlv(_SEQUENCE, _oid(part) + _tlv(_UTF8, _level(part.value))) for part in rdn)))
        for rdn in name.rdns
    )
    return f"{int.from_bytes(hashlib.sha1(found, usedforsecurity=False).digest()[:4], 'little'):08x}"


def _level(value: str | bytes) -> bytes:
    text = value if isinstance(value, str) else value.decode("latin-1")
    text = re.sub(r"[ \t\n\v\f\r]+", " ", text).strip(" ")
    return "".join(c.lower() if c.isascii() else c for c in text).encode()


def _tlv(tag: int, data: bytes) -> bytes:
    size = len(data)
    long = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([size]) if size < 128 else bytes([0x80 | len(long)]) + long) + data


def _oid(part: x509.NameAttribute[str | bytes]) -> bytes:
    """The attribute's type in DER (X.690 section 8.19)."""
    first, second, *rest = map(int, part.oid.dotted_string.split("."))
    found = bytearray()
    for number in (40 * first + second, *rest):
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.append(0x80 | number & 0x7F)
        found += bytes(reversed(septets))
    return _tlv(6, bytes(found))
