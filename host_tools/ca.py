"""A private certificate authority in a directory: makes the root, server and device certificates."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from host_tools import certinfo, x509_names
from host_tools.failure import Exit, Failure
from host_tools.safe_write import CA_PRIVATE, PRIVATE, File, make_directory, write_all

DEFAULT_DIRECTORY = Path("ca-data")
DEFAULT_SUBJECT = "/O=Rootlet/CN=Rootlet private CA"
KEY_TYPES = ("p256", "p384", "rsa2048", "rsa3072", "rsa4096")
CA_DAYS = 3650
SERVER_DAYS = 397
DEVICE_DAYS = 825
# Clocks differ: a certificate that starts at this very second would be refused by a board that is a little behind.
_BACKDATE = timedelta(hours=1)
_FIRST = datetime(1950, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_ED = ("ed25519", "ed448", "x25519", "x448")

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate that was made: `kind` is "server" or "device"; `notes` say what a person should know."""

    kind: str
    name: str
    cert: x509.Certificate
    cert_pem: Path
    cert_der: Path
    key_pem: Path
    key_der: Path
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What `certinfo.describe` says, with the files."""
        return _issued_facts(self.kind, self.name, self.cert, self.cert_pem, self.key_der)


@dataclass(frozen=True)
class Authority:
    """A CA that can issue: made by `init` or `load`."""

    directory: Path
    cert: x509.Certificate
    key: PrivateKey = field(repr=False)

    @property
    def cert_pem(self) -> Path:
        """The CA certificate as PEM."""
        return self.directory / "ca.crt.pem"

    @property
    def cert_der(self) -> Path:
        """The CA certificate as DER."""
        return self.directory / "ca.crt.der"

    def issue_server(
        self,
        names: Iterable[str],
        ips: Iterable[str] = (),
        *,
        days: int | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        key_type: str = "p256",
        force: bool = False,
    ) -> Issued:
        """A serverAuth certificate for host names and IP addresses; the first name is also its CN and file name.

        Args:
            names: host names; international ones become A-labels; `*.` may stand for one label.
            ips: IP addresses.
            days: life from now; by default SERVER_DAYS, or as long as the CA lives.
            not_before, not_after: exact dates (UTC where naive) in place of `days`.
            key_type: one of KEY_TYPES.
            force: replace one of the same name; the old files stay as .bak.
        Raises: Failure.
        """
        san = x509_names.server_names(names, ips)
        first = str(san[0].value)
        life = _Life(days, not_before, not_after, SERVER_DAYS)
        return self._issue("server", first, san, ExtendedKeyUsageOID.SERVER_AUTH, life, key_type, force)

    def issue_device(
        self,
        device_id: str,
        *,
        days: int | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        key_type: str = "p256",
        force: bool = False,
    ) -> Issued:
        """A clientAuth certificate with CN=device_id, for mutual TLS. Arguments as for issue_server."""
        san = [x509_names.device_name(device_id)]
        life = _Life(days, not_before, not_after, DEVICE_DAYS)
        return self._issue("device", device_id, san, ExtendedKeyUsageOID.CLIENT_AUTH, life, key_type, force)

    def _issue(
        self,
        kind: str,
        name: str,
        san: list[x509.GeneralName],
        use: x509.ObjectIdentifier,
        life: "_Life",
        key_type: str,
        force: bool,
    ) -> Issued:
        start, end, notes = life.within(self.cert)
        key = _new_key(key_type)
        # A name too long for a CN (RFC 5280 ub-common-name) stands in the SAN alone, which is critical then.
        subject = x509_names.common_name(name) if len(name) <= 64 else x509.Name([])
        ski = self.cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        cert = (
            _builder(subject, self.cert.subject, key, start, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            # Without keyEncipherment no TLS suite without forward secrecy can use this key.
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectAlternativeName(san), critical=not list(subject))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
            .sign(self.key, _hash(self.key))
        )
        folder = self.directory / "issued"
        make_directory(folder)
        stem = f"{kind}-{_file_name(name)}"
        crt_pem, crt_der, key_pem, key_der = (
            folder / f"{stem}.{end}" for end in ("crt.pem", "crt.der", "key.pem", "key.der")
        )
        files = [
            File(key_pem, _key_bytes(key, serialization.Encoding.PEM), PRIVATE),
            File(key_der, _key_bytes(key, serialization.Encoding.DER), PRIVATE),
            File(crt_pem, cert.public_bytes(serialization.Encoding.PEM)),
            File(crt_der, certinfo.der(cert)),
        ]
        write_all(files, force=force)
        return Issued(kind, name, cert, crt_pem, crt_der, key_pem, key_der, tuple(notes))


@dataclass(frozen=True)
class _Life:
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
        try:
            base = start if self.not_before else now
            end = base + timedelta(days=self.default_days if self.days is None else self.days)
        except OverflowError:
            end = _LAST + timedelta(0) if self.days is None else _too_long(self.days)
        if self.not_after is not None:
            end = x509_names.utc(self.not_after)
        if start < _FIRST or end > _LAST:
            raise _bad_dates("a certificate holds dates from 1950 to 9999 (RFC 5280)", "other dates")
        if end <= start:
            raise _bad_dates(f"it would end {_day(end)}, before it starts {_day(start)}", "other dates")
        return start, end

    def within(self, ca: x509.Certificate) -> tuple[datetime, datetime, list[str]]:
        """As span, but not past the CA's own end: a default is shortened with a note, an explicit date is refused."""
        start, end = self.span()
        last = ca.not_valid_after_utc
        if end <= last:
            return start, end, []
        if self.days is not None or self.not_after is not None:
            raise _bad_dates(
                f"it would end {_day(end)}, after the CA itself, which ends {_day(last)}",
                "fewer --days, or a new CA with `rootlet ca init`",
            )
        if last <= start:
            raise _bad_dates(f"the CA ended {_day(last)}", "a new CA with `rootlet ca init`")
        return start, last, [f"it ends {_day(last)}, earlier than usual, because the CA ends then"]


def init(
    directory: Path = DEFAULT_DIRECTORY,
    *,
    subject: str = DEFAULT_SUBJECT,
    key_type: str = "p256",
    passphrase: str | None = None,
    days: int | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    force: bool = False,
) -> Authority:
    """Make a CA: a self-signed certificate and its key.

    Args:
        directory: where; made if absent, for its owner only.
        subject: openssl's slash form, such as `/C=FR/O=Acme/CN=Acme root`.
        key_type: one of KEY_TYPES.
        passphrase: encrypts the key file (PKCS #8, AES-256); None leaves it in the clear.
        days: life from now, by default CA_DAYS; or exact dates by not_before and not_after.
        force: replace a CA that is there; the old files stay as .bak.
    Raises: Failure.
    """
    name = x509_names.parse_subject(subject)
    start, end = _Life(days, not_before, not_after, CA_DAYS).span()
    protection = _protection(passphrase)
    key = _new_key(key_type)
    # No name constraints, ever: Mbed TLS refuses to load a CA that has them.
    cert = (
        _builder(name, name, key, start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .sign(key, _hash(key))
    )
    make_directory(directory)
    files = [
        File(directory / "ca.key.pem", _key_bytes(key, serialization.Encoding.PEM, protection), CA_PRIVATE),
        File(directory / "ca.crt.pem", cert.public_bytes(serialization.Encoding.PEM)),
        File(directory / "ca.crt.der", certinfo.der(cert)),
    ]
    write_all(files, force=force)
    return Authority(directory, cert, key)


def is_encrypted(directory: Path) -> bool:
    """Whether the CA's key needs a passphrase. Raises Failure where there is no CA."""
    return b"ENCRYPTED" in _read_key(directory)


def load(directory: Path = DEFAULT_DIRECTORY, passphrase: str | None = None) -> Authority:
    """Open a CA for issuing.

    Args: passphrase: for an encrypted key; ignored for one in the clear.
    Raises: Failure where there is no CA, the passphrase is absent or wrong, or key and certificate do not match.
    """
    data = _read_key(directory)
    encrypted = b"ENCRYPTED" in data
    key_file = directory / "ca.key.pem"
    if encrypted and not passphrase:
        raise Failure(
            f"{key_file} is encrypted", "no passphrase was given", "--passphrase-file FILE, or ROOTLET_CA_PASSPHRASE",
            Exit.USAGE,
        )  # fmt: skip
    try:
        key = serialization.load_pem_private_key(data, passphrase.encode() if encrypted and passphrase else None)
    except (ValueError, TypeError):
        because = "the passphrase is wrong" if encrypted else "it is not a PEM private key"
        raise Failure(f"cannot open {key_file}", because, "the right passphrase, or the key's backup") from None
    cert = ca_certificate(directory)
    if not isinstance(key, PrivateKey) or key.public_key() != cert.public_key():
        raise Failure(
            f"{directory} is not one CA", "ca.key.pem does not belong to ca.crt.pem", "restore both from one backup"
        )
    return Authority(directory, cert, key)


def ca_certificate(directory: Path) -> x509.Certificate:
    """The CA's certificate; needs no key. Raises Failure where there is none."""
    path = directory / "ca.crt.pem"
    if not path.exists():
        raise _no_ca(directory)
    return certinfo.read_certificates(path)[0]


def entries(directory: Path = DEFAULT_DIRECTORY) -> list[dict[str, Any]]:
    """Facts of the CA's certificate and of all it issued, as `certinfo.describe` gives them."""
    found = [_issued_facts("ca", "ca", ca_certificate(directory), directory / "ca.crt.pem", None)]
    for path in sorted((directory / "issued").glob("*.crt.pem")):
        stem = path.name.removesuffix(".crt.pem")
        kind, _, name = stem.partition("-")
        cert = certinfo.read_certificates(path)[0]
        found.append(_issued_facts(kind, name, cert, path, path.with_name(f"{stem}.key.der")))
    return found


def find(what: str, directory: Path = DEFAULT_DIRECTORY) -> list[dict[str, Any]]:
    """Facts of the certificates in a file, or of the one issued under a name ("ca" is the CA itself).

    Raises: Failure where nothing or more than one thing has that name.
    """
    path = Path(what)
    if path.is_file():
        return [{"file": str(path), **certinfo.describe(cert)} for cert in certinfo.read_certificates(path)]
    wanted = _file_name(what)
    known = entries(directory)
    hits = [e for e in known if wanted in (e["name"], f"{e['kind']}-{e['name']}")]
    if len(hits) == 1:
        return hits
    names = ", ".join(e["name"] if e["kind"] == "ca" else f"{e['kind']}-{e['name']}" for e in hits or known)
    if hits:
        raise Failure(f"'{what}' is more than one", f"there are {names}", f"rootlet ca show {names.split(', ')[0]}",
                      Exit.USAGE)  # fmt: skip
    raise Failure(f"there is no certificate '{what}'", f"no such file, and {directory} has {names}",
                  "rootlet ca list", Exit.USAGE)  # fmt: skip
