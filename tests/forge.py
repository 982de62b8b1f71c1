"""Writes certificates as `cryptography` would not: any version, any dates, any extensions, any signature."""

import datetime
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
HASHES: dict[str, Any] = {
    "MD5": hashes.MD5, "SHA1": hashes.SHA1, "SHA224": hashes.SHA224, "SHA256": hashes.SHA256,
    "SHA384": hashes.SHA384, "SHA512": hashes.SHA512,
}  # fmt: skip
_RSA = {"MD5": 4, "SHA1": 5, "PSS": 10, "SHA256": 11, "SHA384": 12, "SHA512": 13, "SHA224": 14}
_EC = {"SHA1": "1", "SHA224": "3.1", "SHA256": "3.2", "SHA384": "3.3", "SHA512": "3.4"}
_CURVES: dict[str, Any] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1, "k1": ec.SECP256K1}


@cache
def key(kind: str, number: int = 0) -> Any:
    """A key of a kind (P-256, RSA-2048, Ed25519, …), made once."""
    if kind.startswith("RSA-"):
        return rsa.generate_private_key(65537, int(kind[4:]))
    return ed25519.Ed25519PrivateKey.generate() if kind == "Ed25519" else ec.generate_private_key(_CURVES[kind]())


def tlv(tag: int, *values: bytes) -> bytes:
    """One DER element."""
    value = b"".join(values)
    size = len(value)
    if size < 128:
        return bytes((tag, size)) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    out = b""
    for arc in (first * 40 + second, *rest):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.insert(0, arc & 0x7F | 0x80)
        out += bytes(digits)
    return tlv(0x06, out)


def moment(when: datetime.datetime, general: bool | None = None) -> bytes:
    """A Time: UTCTime up to 2049, unless told otherwise."""
    if when.year >= 2050 if general is None else general:
        return tlv(0x18, when.strftime("%Y%m%d%H%M%SZ").encode())
    return tlv(0x17, when.strftime("%y%m%d%H%M%SZ").encode())


def name(text: str | None) -> x509.Name:
    parts = [] if text is None else [(NameOID.ORGANIZATION_NAME, "Corpus"), (NameOID.COMMON_NAME, text)]
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def usage(*names: str) -> x509.KeyUsage:
    every = ("digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign "
             "crl_sign encipher_only decipher_only")  # fmt: skip
    return x509.KeyUsage(**{one: one in names for one in every.split()})


@dataclass
class Spec:
    """A certificate to be made. None leaves an extension out."""

    subject: str | None
    kind: str = "P-256"
    number: int = 0
    version: int = 3
    serial: int = 0x1234567890
    start: datetime.datetime = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    end: datetime.datetime = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
    general_time: bool | None = None
    ca: bool | None = False
    ca_critical: bool = True
    path_len: int | None = None
    usage: x509.KeyUsage | None = None
    eku: list[x509.ObjectIdentifier] | None = None
    san: list[x509.GeneralName] | None = None
    san_critical: bool = False
    digest: str = "SHA256"
    inner_digest: str | None = None
    aki: bool = True
    ski: bool = True
    extra: list[tuple[str, bytes, bool]] = field(default_factory=list)
    issuer: str | None = None
    signer: Any = None
    spoil: bool = False

    @property
    def key(self) -> Any:
        return key(self.kind, self.number)


def spki(public: Any) -> bytes:
    out: bytes = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return out


def _algorithm(signer: Any, digest: str) -> bytes:
    if isinstance(signer, rsa.RSAPrivateKey):
        number = oid(f"1.2.840.113549.1.1.{_RSA[digest]}")
        if digest != "PSS":
            return tlv(0x30, number, tlv(0x05))
        sha256 = tlv(0x30, oid("2.16.840.1.101.3.4.2.1"), tlv(0x05))
        mgf = tlv(0x30, oid("1.2.840.113549.1.1.8"), sha256)
        return tlv(0x30, number, tlv(0x30, tlv(0xA0, sha256), tlv(0xA1, mgf), tlv(0xA2, integer(32))))
    if isinstance(signer, ed25519.Ed25519PrivateKey):
        return tlv(0x30, oid("1.3.101.112"))
    return tlv(0x30, oid(f"1.2.840.10045.4.{_EC[digest]}"))


def _sign(signer: Any, digest: str, data: bytes) -> bytes:
    if isinstance(signer, ed25519.Ed25519PrivateKey):
        return signer.sign(data)
    if isinstance(signer, ec.EllipticCurvePrivateKey):
        return signer.sign(data, ec.ECDSA(HASHES[digest]()))
    if digest == "PSS":
        return bytes(signer.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()))
    return bytes(signer.sign(data, padding.PKCS1v15(), HASHES[digest]()))


def _extensions(spec: Spec, signer: Any) -> list[bytes]:
    rows: list[tuple[x509.ExtensionType, bool]] = []
    if spec.usage is not None:
        rows.append((spec.usage, True))
    if spec.eku is not None:
        rows.append((x509.ExtendedKeyUsage(spec.eku), False))
    if spec.san is not None:
        rows.append((x509.SubjectAlternativeName(spec.san), spec.san_critical))
    if spec.ski:
        rows.append((x509.SubjectKeyIdentifier.from_public_key(spec.key.public_key()), False))
    if spec.aki:
        rows.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False))
    raw = []
    if spec.ca is not None:
        length = b"" if spec.path_len is None else integer(spec.path_len)
        raw.append(("2.5.29.19", tlv(0x30, b"\x01\x01\xff" if spec.ca else b"", length), spec.ca_critical))
    raw += [(value.oid.dotted_string, value.public_bytes(), critical) for value, critical in rows] + spec.extra
    return [
        tlv(0x30, oid(number), tlv(0x01, b"\xff") if critical else b"", tlv(0x04, value))
        for number, value, critical in raw
    ]


def issue(spec: Spec, above: Spec) -> bytes:
    """The certificate as DER, signed by the key of `above` (its own for a root), unless the spec says otherwise."""
    signer = spec.signer or above.key
    digest = spec.digest if isinstance(signer, rsa.RSAPrivateKey) or spec.digest in _EC else "SHA256"
    outer = _algorithm(signer, digest)
    extensions = _extensions(spec, signer) if spec.version == 3 else []
    tbs = tlv(
        0x30,
        tlv(0xA0, integer(spec.version - 1)) if spec.version > 1 else b"",
        integer(spec.serial),
        _algorithm(signer, spec.inner_digest or digest),
        name(spec.issuer or above.subject).public_bytes(),
        tlv(0x30, moment(spec.start, spec.general_time), moment(spec.end, spec.general_time)),
        name(spec.subject).public_bytes(),
        spki(spec.key.public_key()),
        tlv(0xA3, tlv(0x30, *extensions)) if extensions else b"",
    )
    signature = bytearray(_sign(signer, digest, tbs))
    if spec.spoil:
        signature[-1] ^= 1
    return tlv(0x30, tbs, outer, tlv(0x03, b"\0", bytes(signature)))


def signed_by(child: bytes, parent: bytes) -> bool:
    """Whether the parent's key made the child's signature: all that is asked here.

    A signature of a kind that the reader does not name counts as good, as a TLS library may know it.
    """
    from rootlet import x509 as reader

    _, start, end = reader.tlv(child, 0, len(child))
    _, _, tbs_end = reader.tlv(child, start, end)
    _, _, algorithm_end = reader.tlv(child, tbs_end, end)
    _, sig, _ = reader.tlv(child, algorithm_end, end)
    at, stop = reader.parse(parent).spki
    data, signature = child[start:tbs_end], child[sig + 1 : end]
    digest, _, kind = reader.parse(child).signature.partition("-")
    if kind not in ("RSA", "ECDSA"):
        return True
    try:
        public: Any = serialization.load_der_public_key(parent[at:stop])
        if kind == "RSA" and isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, data, padding.PKCS1v15(), HASHES[digest]())
        elif kind == "ECDSA" and isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, data, ec.ECDSA(HASHES[digest]()))
        else:
            return False
    except InvalidSignature:
        return False
    return True
