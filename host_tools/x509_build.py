"""The parts a certificate is built from: keys a board can use, dates, usage bits, serial numbers."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from host_tools import x509_names
from host_tools.failure import Exit, Failure

KEY_TYPES = ("p256", "p384", "rsa2048", "rsa3072", "rsa4096")
HOST_KEY_TYPES = ("ed25519", "ed448")
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
HostKey = ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

# Clocks differ: a certificate that starts this very second would be refused by a board that is a little behind.
_BACKDATE = timedelta(hours=1)
_FIRST = datetime(1950, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@dataclass(frozen=True)
class Life:
    """The dates that were asked for, turned into dates a certificate can have."""

    days: int | None
    not_before: datetime | None
    not_after: datetime | None
    default_days: int

    def span(self) -> tuple[datetime, datetime]:
        """Start and end. Raises Failure (usage) for dates that make no sense."""
        now = datetime.now(UTC).replace(microsecond=0)
        if self.days is not None and self.not_after is not None:
            raise _bad_dates("--days and --not-after both say when it ends", "give one of them")
        if self.days is not None and self.days < 1:
            raise _bad_dates(f"it would last {self.days} days", "--days 1 or more")
        start = x509_names.utc(self.not_before) if self.not_before else now - _BACKDATE
        outside = _bad_dates("a certificate holds dates from 1950 to 9999 (RFC 5280)", "other dates")
        if self.not_after is not None:
            end = x509_names.utc(self.not_after)
        else:
            days = self.default_days if self.days is None else self.days
            try:
                end = (start if self.not_before else now) + timedelta(days=days)
            except OverflowError:
                raise outside from None
        if start < _FIRST or end > _LAST:
            raise outside
        if end <= start:
            raise _bad_dates(f"it would end {day(end)}, before it starts {day(start)}", "other dates")
        return start, end

    def within(self, ca: x509.Certificate) -> tuple[datetime, datetime, list[str]]:
        """As span, but not past the CA's own end: a default is shortened with a note, an explicit date is refused."""
        start, end = self.span()
        last = ca.not_valid_after_utc
        if end <= last:
            return start, end, []
        if self.days is not None or self.not_after is not None:
            raise _bad_dates(
                f"it would end {day(end)}, after the CA itself, which ends {day(last)}",
                "fewer --days, or a new CA with `rootlet ca init`",
            )
        if last <= start:
            raise _bad_dates(f"the CA ended {day(last)}", "a new CA with `rootlet ca init`")
        return start, last, [f"it ends {day(last)}, earlier than usual, because the CA ends then"]


def new_host_key(key_type: str) -> PrivateKey | HostKey:
    """As new_key, and also HOST_KEY_TYPES: for a server that no board connects to."""
    kind = key_type.lower()
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "ed448":
        return ed448.Ed448PrivateKey.generate()
    return new_key(key_type)


def new_key(key_type: str) -> PrivateKey:
    """A fresh private key of one of KEY_TYPES. Raises Failure (usage), with the reason, for any other."""
    kind = key_type.lower()
    if kind == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "p384":
        return ec.generate_private_key(ec.SECP384R1())
    if kind in KEY_TYPES:
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:]))
    because = f"there are {', '.join(KEY_TYPES)}"
    if kind in HOST_KEY_TYPES:
        because = "Mbed TLS, the TLS library of MicroPython, lacks Ed25519 and Ed448: no board could verify it"
        raise Failure(
            f"--key {kind} cannot be used for boards",
            because,
            f"--key p256; for a server that no board connects to: ca issue server NAME --host-only --key {kind}",
            Exit.USAGE,
        )
    if kind in ("rsa1024", "rsa512"):
        because = "RSA below 2048 bits is refused by boards and browsers alike"
    raise Failure(f"--key {key_type[:40]} cannot be used", because, "--key p256", Exit.USAGE)


def key_bytes(
    key: PrivateKey | HostKey,
    encoding: serialization.Encoding,
    protection: serialization.KeySerializationEncryption | None = None,
) -> bytes:
    """The key as PKCS #8, which OpenSSL and Mbed TLS both read."""
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, protection or serialization.NoEncryption())


def protection_by(passphrase: str | None) -> serialization.KeySerializationEncryption:
    """How to store a key: encrypted, or in the clear for None. Raises Failure (usage) for a useless passphrase."""
    if passphrase is None:
        return serialization.NoEncryption()
    secret = passphrase.encode()
    if not 4 <= len(secret) <= 1023:
        raise Failure(
            "the passphrase cannot be used",
            "OpenSSL takes 4 to 1023 bytes",
            "a passphrase of several words",
            Exit.USAGE,
        )
    return serialization.BestAvailableEncryption(secret)


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """The hash to sign with: as strong as the key (SHA-384 under P-384)."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def key_usage(*, ca: bool) -> x509.KeyUsage:
    """keyCertSign and cRLSign for a CA, digitalSignature alone for the rest."""
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey | HostKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    """A certificate with a random serial number and a subject key identifier, still to be given its extensions."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def day(moment: datetime) -> str:
    """The date of a moment, such as 2026-11-21."""
    return moment.strftime("%Y-%m-%d")


def _bad_dates(because: str, try_: str) -> Failure:
    return Failure("the certificate's dates cannot be used", because, try_, Exit.USAGE)
