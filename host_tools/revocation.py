"""Taking certificates back: the CA's signed list of those that are revoked (CRL, RFC 5280 section 5).

Beside `ca.crl.pem` the folder `revoked` keeps a copy of each certificate, by serial number: the list has no names, and
some brokers know names alone.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from host_tools import certinfo, former
from host_tools.ca import CRL_FILE, Authority, ca_certificate, find
from host_tools.failure import Exit, Failure
from host_tools.safe_write import File, make_directory, write_all
from host_tools.x509_build import signature_hash

REASONS = {
    "unspecified": x509.ReasonFlags.unspecified,
    "key-compromise": x509.ReasonFlags.key_compromise,
    "superseded": x509.ReasonFlags.superseded,
    "cessation": x509.ReasonFlags.cessation_of_operation,
}
_MOST_BYTES = 8 << 20
_BEGIN = b"-----BEGIN X509 CRL-----"


@dataclass(frozen=True)
class Revoked:
    """A certificate that was taken back: name (its CN), serial number, reason, when; how many former ones with it."""

    name: str
    serial: int
    reason: str
    when: datetime
    more: int = 0


def crl_file(directory: Path) -> Path:
    """Where a CA's list is."""
    return directory / CRL_FILE


def existing(directory: Path) -> Path | None:
    """The CA's list, or None where nothing was ever revoked."""
    path = crl_file(directory)
    return path if path.exists() else None


def read(path: Path, issuer: x509.Certificate | None = None) -> x509.CertificateRevocationList:
    """A list from a PEM file. Args: issuer: the CA that must have signed it. Raises Failure."""
    try:
        with path.open("rb") as stream:
            found = x509.load_pem_x509_crl(stream.read(_MOST_BYTES))
        if issuer is not None and not found.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]
            raise ValueError("it is not signed by this CA")
    except (OSError, ValueError, TypeError) as error:
        because = (error.strerror if isinstance(error, OSError) else None) or str(error)[:120] or "it is no PEM CRL"
        raise Failure(
            f"cannot use the list of revoked certificates {path}",
            because,
            f"restore it from a backup, or mv {path} {path}.other",
        ) from None
    return found


def lists(path: Path) -> list[x509.CertificateRevocationList]:
    """All lists of a PEM file: there is one for each CA. Raises Failure."""
    read(path)
    with path.open("rb") as stream:
        parts = stream.read(_MOST_BYTES).split(_BEGIN)[1:]
    try:
        return [x509.load_pem_x509_crl(_BEGIN + part) for part in parts]
    except ValueError:
        because = "one of its parts is no PEM CRL"
        raise Failure(f"cannot use the list of revoked certificates {path}", because, "restore it") from None


def serials(path: Path) -> frozenset[int]:
    """The serial numbers of the lists in a file. Raises Failure."""
    return frozenset(line.serial_number for crl in lists(path) for line in crl)


def common_name(cert: x509.Certificate) -> str:
    """The identity at a broker, or "" where the subject has none."""
    names = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def revoke(authority: Authority, what: str, reason: str = "unspecified") -> Revoked:
    """Put a certificate onto the CA's list; of a device that is named by its id, those it had before, too.

    Args: what: a name as `find` takes it, or a file, which stands for itself alone. reason: a key of REASONS.
    Raises: Failure where it is not the CA's, is the CA itself, or is on the list already.
    """
    if reason not in REASONS:
        raise Failure(
            f"{reason[:40]!r} is no reason", f"it is one of {', '.join(REASONS)}", "--reason superseded", Exit.USAGE
        )
    file = Path(find(what, authority.directory)[0]["file"])
    cert = certinfo.read_certificates(file)[0]
    name = common_name(cert) or what
    if cert.serial_number == authority.cert.serial_number or not certinfo.issued_by(cert, authority.cert):
        because = "a CA cannot revoke itself" if cert == authority.cert else "another CA has issued it"
        raise Failure(f"{name} cannot be revoked here", because, "rootlet ca list", Exit.USAGE)
    now = datetime.now(UTC).replace(microsecond=0)
    path = crl_file(authority.directory)
    before = entries(authority.directory)
    known = {line.serial_number for line in before}
    certs = [cert, *([] if Path(what).is_file() else _still_good(former.of(file), authority, now))]
    new = {one.serial_number: one for one in certs if one.serial_number not in known}
    if not new:
        raise Failure(
            f"{name} is revoked already", f"serial number {cert.serial_number:x}", "rootlet ca list", Exit.USAGE
        )
    folder = authority.directory / "revoked"
    make_directory(folder)
    files = [
        *(File(folder / f"{serial:x}.crt.pem", one.public_bytes(Encoding.PEM)) for serial, one in new.items()),
        File(path, signed(authority, [*before, *(entry(serial, now, reason) for serial in new)])),
    ]
    write_all(files, force=True, keep_backup=False)
    return Revoked(name, cert.serial_number, reason, now, len(new.keys() - {cert.serial_number}))


def is_revoked(directory: Path, serial: int) -> bool:
    """Whether the CA of this folder has taken the certificate with that serial number back."""
    return (directory / "revoked" / f"{serial:x}.crt.pem").exists()


def _still_good(certs: list[x509.Certificate], authority: Authority, now: datetime) -> list[x509.Certificate]:
    return [one for one in certs if one.not_valid_after_utc > now and certinfo.issued_by(one, authority.cert)]


def entries(directory: Path) -> list[x509.RevokedCertificate]:
    """What stands on a CA's list. Raises Failure for one that is damaged or not the CA's."""
    path = existing(directory)
    return [] if path is None else list(read(path, ca_certificate(directory)))


def entry(serial: int, when: datetime, reason: str = "unspecified") -> x509.RevokedCertificate:
    """A line of a list. Args: reason: a key of REASONS."""
    made = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when)
    if reason != "unspecified":  # RFC 5280 section 5.3.1: absent instead of unspecified
        made = made.add_extension(x509.CRLReason(REASONS[reason]), critical=False)
    return made.build()


def signed(authority: Authority, lines: list[x509.RevokedCertificate]) -> bytes:
    """The CA's next list, PEM."""
    now = datetime.now(UTC).replace(microsecond=0)
    number = 1
    if (path := existing(authority.directory)) is not None:
        found = read(path).extensions.get_extension_for_class(x509.CRLNumber)
        number = found.value.crl_number + 1
    ski = authority.cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.cert.subject)
        .last_update(now - timedelta(minutes=5))  # a broker whose clock is a little behind must take it, too
        # It is handed over by hand, and OpenSSL refuses every client once a list is out of date: as long as the CA.
        .next_update(authority.cert.not_valid_after_utc)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
    )
    for line in lines:
        made = made.add_revoked_certificate(line)
    return made.sign(authority.key, signature_hash(authority.key)).public_bytes(Encoding.PEM)


def revoked(directory: Path) -> list[Revoked]:
    """What a CA has taken back, the oldest first. Raises Failure for a list that is damaged or not the CA's."""
    found = []
    for line in entries(directory):
        copy = directory / "revoked" / f"{line.serial_number:x}.crt.pem"
        name = common_name(certinfo.read_certificates(copy)[0]) if copy.exists() else ""
        try:
            flag = line.extensions.get_extension_for_class(x509.CRLReason).value.reason
        except x509.ExtensionNotFound:
            flag = x509.ReasonFlags.unspecified
        reason = next((word for word, known in REASONS.items() if known == flag), flag.value)
        found.append(Revoked(name, line.serial_number, reason, line.revocation_date_utc))
    return found


def names(path: Path, directories: list[Path]) -> frozenset[str]:
    """The common names of all certificates on a list. Args: directories: of CAs, that have copies of them.

    Raises: Failure where one of them is not there.
    """
    missing = set(serials(path))
    found = set()
    for folder in (one / name for one in directories for name in ("revoked", "issued")):
        for copy in folder.glob("*.crt.pem") if missing else ():
            cert = certinfo.read_certificates(copy)[0]
            if cert.serial_number in missing:
                missing.discard(cert.serial_number)
                found.add(common_name(cert))
    if missing:
        raise Failure(
            "this broker could not keep a revoked certificate out",
            f"it knows clients by name, and of serial number {min(missing):x} in {path} no certificate is here",
            f"copy it to {path.parent / 'revoked'}, or --engine mosquitto, which reads the list itself",
        )
    return frozenset(found)


def listed(directory: Path) -> tuple[str, ...]:
    """The names of the device certificates that a CA has issued and not revoked, sorted.

    A name of which any certificate is revoked is left out, also where a new one was issued: who knows devices by name
    cannot tell the two apart.
    """
    gone = {one.name for one in revoked(directory)}
    names = set()
    for path in (directory / "issued").glob("device-*.crt.pem"):
        names.add(common_name(certinfo.read_certificates(path)[0]))
    return tuple(sorted(names - gone - {""}))
